"""PostgreSQL fails over under load: the primary is killed, its standby promoted; nothing lost, nothing twice."""

import asyncio
import random

import pytest
from tests.attacks.attacked import attacked_world, pour
from tests.attacks.standby import Standby
from tests.attacks.workload import Workload
from tests.services import databases

from mergeline import embedded
from mergeline.store.migrations import migrate

PARTITIONS, WORKERS = 3, 2
BEFORE, AFTER = 900, 900


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
    await standby.be_waited_for()
    both = ",".join(databases.address_of(server.database_url) for server in (primary, standby))
    url = databases.moved(databases.url_of(primary.database_url, name), both) + "?target_session_attrs=read-write"
    async with attacked_world(bootstrap_servers, url, topic_prefix, tmp_path, PARTITIONS) as world:
        yield world


@pytest.mark.timeout(400)
async def test_nothing_is_lost_or_twice_when_a_standby_takes_over(world, primary, standby, seed):
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
