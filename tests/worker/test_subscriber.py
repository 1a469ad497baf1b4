"""The contract's example of a subscriber, behind a real worker: stopped anywhere, it goes on from what it saved."""

import asyncio
import contextlib
import pickle

from aiokafka import AIOKafkaConsumer
from schemas.subscriber import TOPICS, Copy, follow
from tests.attacks.workload import CATALOG, Workload

SEED, MESSAGES, STOPS = 20261123, 400, 6
MOMENT_S = 0.05
ENTRIES = "select org_id || ':' || customer_id, type, value, source, nullif(account, '') from identifier"
CARDS = "select org_id || ':' || customer_id, number, status, label from card where customer_id is not null"
CUSTOMERS = (
    "select org_id || ':' || customer_id, version, org_id || ':' || coalesce(survivor_id, customer_id) from customer"
)


def everything(copy):
    """What the three statements say of the tables, said of the copy."""
    customers = {(name, one.version, copy.survivor(name)) for name, one in copy.customers.items()}
    entries = {(name, *entry) for name, one in copy.customers.items() for entry in one.entries}
    return (
        customers,
        entries,
        {(name, card, *at) for name, one in copy.customers.items() for card, at in one.cards.items()},
    )


async def test_a_copy_that_is_stopped_anywhere_ends_as_the_database_is(world, tmp_path):
    saved = tmp_path / "copy"
    saved.write_bytes(pickle.dumps(Copy(world.prefix)))
    saves = asyncio.Semaphore(0)

    async def save(copy):
        """A stop comes before the copy is stored, or between it and the offsets."""
        saves.release()
        await asyncio.sleep(MOMENT_S)
        saved.write_bytes(pickle.dumps(copy))
        saves.release()
        await asyncio.sleep(MOMENT_S)

    async def subscriber():
        consumer = AIOKafkaConsumer(
            *(world.prefix + topic for topic in TOPICS),
            bootstrap_servers=world.bootstrap_servers, group_id=f"{world.prefix}crm", isolation_level="read_committed",
            auto_offset_reset="earliest", enable_auto_commit=False, max_poll_records=50,
        )  # fmt: skip
        await consumer.start()
        try:
            await follow(pickle.loads(saved.read_bytes()), consumer, save)
        finally:
            await consumer.stop()

    async def stored():
        return tuple([{tuple(row) for row in await world.sql(rows)} for rows in (CUSTOMERS, ENTRIES, CARDS)])

    await world.apply_catalog(CATALOG)
    world.worker()
    for message in Workload(SEED).take(MESSAGES):
        await world.produce(message.topic, [message.value], message.key)
    for stop in range(STOPS):
        following = asyncio.create_task(subscriber())
        for _ in range(3 + stop % 2):
            await asyncio.wait_for(saves.acquire(), 20.0)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    await world.drained()
    truth = await stored()
    assert all(truth)
    following = asyncio.create_task(subscriber())
    async with asyncio.timeout(20.0):
        while everything(pickle.loads(saved.read_bytes())) != truth:
            await saves.acquire()
            if following.done():
                following.result()
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
