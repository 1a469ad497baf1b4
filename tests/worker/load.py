"""A load that goes on while a test does something to a worker, and what the worker says of itself meanwhile."""

import asyncio
import contextlib

from aiokafka.protocol.admin import DeleteGroupsRequest
from tests.worker.harness import OUTCOMES, UPDATES, adding

CHUNK, PAUSE_S = 30, 0.1


@contextlib.asynccontextmanager
async def load(world, name, customers, exactly=True):
    """Requests that all apply, sent without a pause; at the end each of them was answered once (or more)."""
    sent, stop = [], asyncio.Event()

    async def send():
        while not stop.is_set():
            numbers = range(len(sent), len(sent) + CHUNK)
            chunk = [adding(customers[number % len(customers)], f"{name}.{number}") for number in numbers]
            sent.extend(request["requestId"] for request in chunk)
            await world.produce(UPDATES, chunk)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PAUSE_S)

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        stop.set()
        await sending
    await world.drained()
    answers = world.answers()
    assert {text: answers[text] for text in sent if answers[text] != 1 and (exactly or not answers[text])} == {}


async def moves(world, answers=2 * CHUNK):
    """Wait until something more was answered."""
    before = len(world.records[OUTCOMES])
    await world.until(lambda: len(world.records[OUTCOMES]) >= before + answers, "answers")


def owns(worker):
    """How many partitions the worker has open, by its own words."""
    said = [e for e in worker.events() if e.get("event") in ("assignment.opened", "assignment.closed")]
    return said[-1]["partitions"] if said and said[-1]["event"] == "assignment.opened" else 0


@contextlib.asynccontextmanager
async def held_ledger(world):
    """Whoever wants to write an answer meanwhile waits."""
    async with world.connection() as connection, connection.transaction():
        await connection.execute("lock table ledger in access exclusive mode")
        yield


async def until_somebody_waits(world):
    waiting = """select 1 from pg_locks l join pg_database d on d.oid = l.database
                 where not l.granted and d.datname = current_database()"""
    while not await world.sql(waiting):
        await asyncio.sleep(0.05)


async def without_offsets(world):
    """Its group has none any more; nobody is in it."""
    async with world.admin() as admin:
        coordinator = await admin.find_coordinator(world.group)
        response = await admin._send_request_to_node(coordinator, DeleteGroupsRequest([world.group]))
    assert response.results == [(world.group, 0)]
    assert await world.committed() == {}
