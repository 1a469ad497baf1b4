"""Broker and database killed with -9 under load: the running worker survives, and answers everything once."""

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
