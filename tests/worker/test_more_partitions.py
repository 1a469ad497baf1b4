"""Partitions that are added to topics while a worker runs: it reads them within seconds, and from their start."""

import asyncio

from aiokafka.admin import NewPartitions
from tests.worker.harness import CARDS, COMMANDS, CUSTOMERS, UPDATES, adding
from tests.worker.load import owns

BEFORE, AFTER = 3, 5
READ_WITHIN_S = 20


async def test_partitions_that_are_added_are_read_within_seconds(world):
    worker = world.worker()
    customers = range(1, 21)
    await world.register(customers)
    assert owns(worker) == 4 * BEFORE
    topics = (UPDATES, CUSTOMERS, CARDS, COMMANDS)
    async with world.admin() as admin:
        await admin.create_partitions({world.prefix + topic: NewPartitions(AFTER) for topic in topics})
        await until_known(admin, world.prefix + COMMANDS, world.prefix + UPDATES)
    await world.new_producer()  # that knows of them at once; the worker has to find out
    sent = [adding(customer, f"to-any-{customer}") for customer in customers]
    await world.produce(UPDATES, [adding(1, "to-a-new-one")], partition=AFTER - 1)
    await world.produce(UPDATES, sent)
    await world.until(lambda: owns(worker) == 4 * AFTER, "it has the new partitions", READ_WITHIN_S)
    await world.answered(["to-a-new-one", *(request["requestId"] for request in sent)])
    assert set(world.answers().values()) == {1}
    (row,) = await world.sql("select count(distinct partition) from partition_owner where topic = $1", COMMANDS)
    assert row["count"] == AFTER


async def until_known(admin, *topics):
    while True:
        described = await admin.describe_topics(list(topics))
        if all(len(topic["partitions"]) == AFTER for topic in described):
            return
        await asyncio.sleep(0.05)
