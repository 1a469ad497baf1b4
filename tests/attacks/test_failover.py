"""PostgreSQL fails over under load: the primary is killed, its standby promoted; nothing lost, nothing twice."""

import asyncio
import contextlib
import os
import random
import signal

import asyncpg
import pytest
from tests.attacks.attacked import attacked_world, pour
from tests.attacks.standby import Standby
from tests.attacks.workload import Workload
from tests.defaults import applied, default_options, open_pool
from tests.integration.desk import AT, CATALOG, Log
from tests.services import databases

from mergeline import embedded
from mergeline.app import EXIT_FAILED, EXIT_SETUP
from mergeline.domain.catalog import Catalog
from mergeline.store.apply import Store
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.failures import Kind, Unsettled, kind_of
from mergeline.store.migrations import migrate

PARTITIONS, WORKERS = 3, 2
BEFORE, AFTER = 900, 900
END_WHAT_WAITS = "select pg_{}_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
"""`terminate` as a shutdown does; `cancel` as an operator may, and the server then says no more than a warning."""


@pytest.fixture
async def primary():
    primary = embedded.Postgres()
    await asyncio.to_thread(primary.start)
    yield primary
    await asyncio.to_thread(primary.stop)


@pytest.fixture
async def standby(primary):
    standby = Standby(primary)
    await asyncio.to_thread(standby.start)
    yield standby
    await asyncio.to_thread(standby.stop)


@pytest.fixture
async def world(primary, standby, bootstrap_servers, topic_prefix, tmp_path):
    """Its workers know both servers, and take the one that can be written."""
    name = databases.new_name("failover")
    await databases.create(primary.database_url, name)
    await migrate(databases.url_of(primary.database_url, name))
    both = ",".join(databases.address_of(server.database_url) for server in (primary, standby))
    url = databases.moved(databases.url_of(primary.database_url, name), both) + "?target_session_attrs=read-write"
    async with attacked_world(bootstrap_servers, url, topic_prefix, tmp_path, PARTITIONS) as world:
        yield world


@contextlib.asynccontextmanager
async def out_of_touch(standby):
    """What the primary writes does not reach it, meanwhile."""
    connection = await asyncpg.connect(standby.database_url)
    receiver = await connection.fetchval("select pid from pg_stat_wal_receiver")
    await connection.close()
    os.kill(receiver, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(receiver, signal.SIGCONT)


@pytest.mark.parametrize("again", ["by its id", "by its place"])
@pytest.mark.parametrize("ended", ["terminate", "cancel"])
async def test_an_answer_that_a_standby_does_not_have_is_given_to_nobody(primary, standby, ended, again):
    """A commit that was ended while it waited is visible on the primary; published now, a failover would forget it."""
    await migrate(primary.database_url)
    operator = await asyncpg.connect(primary.database_url)
    await apply_catalogs(operator, [Catalog.model_validate(CATALOG)])
    await standby.be_waited_for()
    pool, log = await open_pool(primary.database_url, statement_ms_max=100), Log()
    store, message = Store(pool, default_options()), log.customer(1, "one")
    horizons = {AT: message.at.offset} if again == "by its place" else {}
    async with out_of_touch(standby):
        applying = asyncio.create_task(store.apply([message]))
        while not await operator.fetch(END_WHAT_WAITS.format(ended)):
            await asyncio.sleep(0.05)
        with pytest.raises((asyncpg.PostgresError, Unsettled)):
            await applying
        with pytest.raises(TimeoutError):
            await store.apply([message], horizons=horizons)
    (answer,) = await applied(store, [message], horizons=horizons)
    assert answer.kind == "answered"
    pool.terminate()
    await operator.close()


@pytest.mark.parametrize("again", ["by its id", "by its place"])
async def test_a_server_that_cannot_be_written_is_waited_out(primary, standby, again):
    """An address that still leads to the standby, or leads there again."""
    await migrate(primary.database_url)
    operator = await asyncpg.connect(primary.database_url)
    await apply_catalogs(operator, [Catalog.model_validate(CATALOG)])
    await standby.be_waited_for()
    log = Log()
    message = log.customer(1, "one")
    written, read = [await open_pool(server.database_url) for server in (primary, standby)]
    await Store(written, default_options()).apply([message])
    await operator.execute("set synchronous_commit = remote_apply")
    await operator.execute("create table reached ()")  # the standby has all that was before
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as refused:
        await Store(read, default_options()).apply(
            [message], horizons={AT: message.at.offset} if again == "by its place" else {}
        )
    assert kind_of(refused.value) is Kind.TRANSIENT
    for pool in (written, read):
        pool.terminate()
    await operator.close()


@pytest.mark.timeout(400)
async def test_nothing_is_lost_or_twice_when_a_standby_takes_over(world, primary, standby, seed):
    await standby.be_waited_for()
    workers = [world.worker() for _ in range(WORKERS)]
    dice, messages, failed_over = random.Random(seed), Workload(seed), asyncio.Event()

    async def load():
        await pour(world, messages, BEFORE, lambda: BEFORE, dice)
        while not failed_over.is_set():
            await world.send(messages.take(20))
            await asyncio.sleep(0.1)
        await pour(world, messages, AFTER, lambda: AFTER, dice)

    loading = asyncio.create_task(load())
    await world.until(lambda: world.answers() >= BEFORE // 2, "the load is under way")
    await asyncio.to_thread(primary.kill)
    await asyncio.sleep(dice.uniform(0, 2))
    await standby.promote()
    failed_over.set()
    await loading
    defects = await world.audit()
    assert defects.lines() == []
    assert all(worker.running for worker in workers)


@pytest.mark.timeout(300)
async def test_a_worker_that_runs_while_a_standby_takes_over_without_the_last_answers_goes_on_with_nothing(
    world, primary, standby, seed
):
    """Nobody waits for this standby. What it does not know would be gone, and sent again it would take effect again."""
    worker, messages = world.worker(), Workload(seed)

    async def answer(number):
        before = world.answers()
        await world.send(messages.take(number))
        await world.until(lambda: world.answers() >= before + number, "all are answered")

    await answer(BEFORE)
    await standby.lose_touch()
    await answer(AFTER)
    await asyncio.to_thread(primary.kill)
    await standby.promote()
    published = world.answers()
    await world.send(messages.take(1))
    await world.until(lambda: not worker.running, "it ends itself")
    assert worker.process.returncode == EXIT_FAILED, worker.log_tail()
    (failed,) = worker.events("worker.failed")
    assert "the database has lost answers that this worker had stored" in failed["problem"]
    assert world.answers() == published
    again = world.worker()
    await world.until(lambda: not again.running, "nor does the next one go on")
    assert again.process.returncode == EXIT_SETUP, again.log_tail()
    assert "The database is older than the group's offsets" in again.text
