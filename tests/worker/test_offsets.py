"""Offsets that expired and topics that were cut: nothing is published again, and nothing is skipped."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from tests.worker.harness import CARDS, adding
from tests.worker.load import without_offsets


@pytest.fixture(scope="module")
async def customers(module_world):
    """Ten customers, registered by a worker that has ended."""
    worker = module_world.worker()
    await module_world.register(range(1, 11))
    await module_world.drained()
    assert (await asyncio.to_thread(worker.stop))[0] == 0
    return range(1, 11)


async def ends_with_a_line(world, worker, words):
    await world.until(lambda: not worker.running, "the worker ends itself")
    assert worker.process.returncode == 2, worker.log_tail()
    (said,) = [line for line in worker.text.splitlines() if not line.startswith("{")]
    assert said.startswith("mergeline: ")
    assert [word for word in words if word not in said] == []


async def test_a_group_whose_offsets_expired_publishes_nothing_again(module_world, customers):
    worker = module_world.worker()
    await module_world.outcomes_of([adding(customer, f"first-{customer}") for customer in customers])
    await module_world.drained()
    assert (await asyncio.to_thread(worker.stop))[0] == 0
    before = module_world.counts()

    await without_offsets(module_world)

    worker = module_world.worker()
    await module_world.outcomes_of([adding(customer, f"second-{customer}") for customer in customers])
    await module_world.drained()
    assert (await asyncio.to_thread(worker.stop))[0] == 0
    grown = {topic: count - before[topic] for topic, count in module_world.counts().items() if count != before[topic]}
    assert grown == {"update-outcomes": len(customers), "identifiers-changed": len(customers)}


async def test_records_that_expired_before_they_were_read_stop_the_worker_and_every_later_one(module_world, customers):
    cards = [{"orgId": 100737, "seriesId": 163, "cardNumber": f"C{number}"} for number in range(2)]
    worker = module_world.worker()
    await module_world.produce(CARDS, cards[:1], partition=0)
    await module_world.drained()
    worker.pause()
    await asyncio.sleep(0.3)  # a fetch that waits at the broker has ended
    await module_world.produce(CARDS, cards[1:], partition=0)
    async with module_world.admin() as admin:
        await admin.delete_records({TopicPartition(module_world.prefix + CARDS, 0): RecordsToDelete(2)})
    worker.wake()
    await ends_with_a_line(module_world, worker, [CARDS, "went from its log", "Start the worker again"])
    await ends_with_a_line(module_world, module_world.worker(), [CARDS, "expired before they were read", "retention"])
