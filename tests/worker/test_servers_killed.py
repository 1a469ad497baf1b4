"""Broker and database killed with -9: a running worker survives, answers everything once, and can still be stopped."""

import asyncio

import pytest
from tests.worker.load import load, moves

CUSTOMERS = range(100, 120)


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
