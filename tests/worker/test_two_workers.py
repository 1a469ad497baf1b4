"""Workers that come, go, sleep and wake under load: each request is answered once, whoever answers it."""

import asyncio
import signal

import pytest
from tests.worker.harness import UPDATES, adding
from tests.worker.load import held_ledger, load, moves, owns, until_somebody_waits

CUSTOMERS = range(1, 31)
PARTITIONS = 3 * 4
"""Of the public topics and the internal one."""


@pytest.fixture(scope="module")
async def worker(module_world):
    """The workers that run when a test begins; each test says which it leaves."""
    running = [module_world.worker()]
    await module_world.register(CUSTOMERS)
    return running


async def test_one_that_joins_and_one_that_leaves_under_load(module_world, worker):
    async with load(module_world, "join", CUSTOMERS):
        await moves(module_world)
        second = module_world.worker(MERGELINE_APPLY_LANES="1")
        await module_world.until(lambda: owns(second) and owns(worker[0]), "both have partitions")
        await moves(module_world)
        status, seconds = await asyncio.to_thread(worker[0].stop)
        assert (status, seconds < 10) == (0, True), (status, seconds)
        await module_world.until(lambda: owns(second) == PARTITIONS, "the other has all partitions")
        await moves(module_world)
    worker[:] = [second]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_idle_one_stops_at_once(module_world, worker, number):
    idle = worker.pop() if worker else module_world.worker()
    await module_world.until(lambda: owns(idle), "it has partitions")
    status, seconds = await asyncio.to_thread(idle.stop, number)
    assert (status, seconds < 10) == (0, True), (status, seconds, idle.log_tail())
    assert "Traceback" not in idle.text


async def test_one_whose_database_hangs_stops_in_time_and_loses_nothing(module_world, worker):
    hanging = module_world.worker(MERGELINE_SHUTDOWN_TIMEOUT_MS="3000")
    await module_world.until(lambda: owns(hanging), "it has partitions")
    async with held_ledger(module_world):
        await module_world.produce(UPDATES, [adding(1, "hangs")])
        await until_somebody_waits(module_world)
        status, seconds = await asyncio.to_thread(hanging.stop)
        assert (status in (0, 70), seconds < 6) == (True, True), (status, seconds)
    assert module_world.answers()["hangs"] == 0
    module_world.worker()
    await module_world.drained()
    assert module_world.answers()["hangs"] == 1
