"""A connection to PostgreSQL that falls silent at any statement: one wait, and the next one goes another way."""

import asyncio
import time

import pytest
from tests.attacks.proxy import Fault, Kind, Proxy
from tests.defaults import default_options, open_pool
from tests.services.databases import address_of, moved

from mergeline.embedded.ports import free_ports
from mergeline.store.apply import Store
from mergeline.store.pool import ANSWER_SLACK_S, PEER_GONE_AFTER

STATEMENT_MS_MAX = 100
ONE_WAIT_S = STATEMENT_MS_MAX / 1000 + ANSWER_SLACK_S


@pytest.fixture
async def proxy(database_url):
    async with Proxy("postgres", *free_ports(1), address_of(database_url)) as proxy:
        yield proxy


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.DEAF])
@pytest.mark.parametrize("at", ["begin", "lock_one", "commit"])
async def test_one_wait_and_no_second(proxy, database_url, kind, at):
    async def cut(name):
        if name == at:
            proxy.begin(Fault(kind))

    pool = await open_pool(moved(database_url, proxy.address), statement_ms_max=STATEMENT_MS_MAX)
    store = Store(pool, default_options(), cut)
    await pool.fetch("select")
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with store.statements() as db, db.transaction():
            await db.execute("lock_one", 1)
    assert ONE_WAIT_S <= time.monotonic() - started < 2 * ONE_WAIT_S - 0.1
    await proxy.heal()
    await pool.fetch("select")
    pool.terminate()


async def test_a_cancellation_stays_one_and_is_heard_at_once(proxy, database_url):
    """Whoever retries what failed would take it for a failure, and go on; whoever closes would wait for that."""

    async def cut(name):
        if name == "lock_one":
            proxy.begin(Fault(Kind.CUT))

    pool = await open_pool(moved(database_url, proxy.address))
    store = Store(pool, default_options(), cut)

    async def work():
        async with store.statements() as db, db.transaction():
            await db.execute("lock_one", 1)

    working = asyncio.create_task(work())
    while not any(link.dead for link in proxy.links):
        await asyncio.sleep(0.01)
    started = time.monotonic()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert time.monotonic() - started < ONE_WAIT_S
    pool.terminate()


async def test_the_server_is_told_to_notice_soon_when_a_worker_is_gone_without_a_word(database_url):
    """Else it keeps a dead worker's locks for hours. (A proxy answers in TCP for whoever is behind it.)"""
    pool = await open_pool(database_url)
    shown = {name: await pool.fetchval(f"show {name}") for name in PEER_GONE_AFTER}
    assert shown == PEER_GONE_AFTER
    pool.terminate()
