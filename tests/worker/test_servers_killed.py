"""Broker and database killed with -9: a running worker survives, answers everything once, and can still be stopped."""

import asyncio
import time

import pytest
from tests.worker.conftest import new_world
from tests.worker.harness import PATIENCE_S
from tests.worker.load import load, moves

CUSTOMERS = range(100, 120)
DOWN_S = 12.0
"""Longer than Faust waits for what it asks a broker."""


@pytest.mark.parametrize("server", ["killable_kafka", "killable_postgres"])
async def test_a_worker_survives_the_death_of(served, request, server):
    await served.register(CUSTOMERS)  # a known customer is left alone
    name, server = server, request.getfixturevalue(server)
    async with load(served, name, CUSTOMERS):
        await moves(served)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await moves(served)
    assert served.workers[0].running


@pytest.mark.parametrize("server", ["killable_kafka", "killable_postgres"])
async def test_a_worker_stops_in_time_while_it_misses(world, request, server):
    """aiokafka's consumer let a cancellation out as it closed: Faust waited for a thread that had ended."""
    server = request.getfixturevalue(server)
    worker = world.worker()
    await world.register([1])
    await asyncio.to_thread(server.kill)
    try:
        await asyncio.sleep(1.0)  # it has found out, and waits between two attempts
        status, took_s = await asyncio.to_thread(worker.stop)
    finally:
        await asyncio.to_thread(server.start)
    assert (status, took_s < 8) == (0, True), worker.log_tail()


async def test_a_broker_that_dies_as_partitions_are_opened_leaves_no_worker_that_waits_for_ever(
    postgres, killable_kafka, bootstrap_servers, template_database, tmp_path
):
    """Faust seeks once more, partition by partition, and gives up for good where that takes too long."""
    async with new_world(postgres, bootstrap_servers, template_database, tmp_path, partitions=24) as world:
        worker = world.worker()
        await asyncio.to_thread(_until_said, worker.log, b"assignment.opened")
        await asyncio.to_thread(killable_kafka.kill)
        await asyncio.sleep(DOWN_S)
        await asyncio.to_thread(killable_kafka.start)
        await world.new_producer()
        await world.register([1])
        assert worker.running


def _until_said(log, words):
    """In a thread, without a pause: what follows takes milliseconds."""
    give_up_at = time.monotonic() + PATIENCE_S
    while words not in log.read_bytes():
        assert time.monotonic() < give_up_at, log.read_text()
