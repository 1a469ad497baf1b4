"""Producers that use transactions: what they commit is answered, what they abort is not."""

import asyncio
import json

import pytest
from aiokafka import AIOKafkaProducer
from tests.worker.harness import UPDATES, adding
from tests.worker.load import held_ledger


@pytest.fixture
async def transactional(served):
    producer = AIOKafkaProducer(bootstrap_servers=served.bootstrap_servers, transactional_id=f"{served.prefix}upstream")
    await producer.start()
    yield producer
    await producer.stop()


async def send(world, producer, request, partition=0):
    value = json.dumps(request).encode()
    await producer.send_and_wait(world.prefix + UPDATES, value, key=b"any", partition=partition)


async def test_only_records_of_committed_transactions_are_answered(served, transactional):
    await served.register([31])
    await transactional.begin_transaction()
    await send(served, transactional, adding(31, "aborted"))
    await transactional.abort_transaction()
    await transactional.begin_transaction()
    await send(served, transactional, adding(31, "committed"))
    await served.produce(UPDATES, [adding(31, "behind-it")], partition=0)
    await served.produce(UPDATES, [adding(31, "elsewhere")], partition=1)
    await served.answered(["elsewhere"])
    assert not {"aborted", "committed", "behind-it"} & served.answers().keys(), "not while it is open"
    await transactional.commit_transaction()
    await served.answered(["committed", "behind-it"])
    await served.drained()
    assert served.answers()["aborted"] == 0


async def test_the_watchdog_leaves_an_idle_worker_alone_and_ends_one_whose_database_hangs(world):
    """Markers of transactions at the end of a partition are nothing to read, though offsets are left."""
    worker = world.worker(MERGELINE_PROGRESS_TIMEOUT_MS="5000")
    await world.register([1])
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, transactional_id=f"{world.prefix}upstream")
    await producer.start()
    for partition, (name, end) in enumerate(
        [("aborted", producer.abort_transaction), ("committed", producer.commit_transaction)]
    ):
        await producer.begin_transaction()
        await send(world, producer, adding(1, name), partition)
        await end()
    await world.answered(["committed"])
    await producer.begin_transaction()  # one that stays open is nothing to read either
    await send(world, producer, adding(1, "open"), 2)
    await asyncio.sleep(7)
    assert worker.running
    await producer.abort_transaction()
    await producer.stop()

    async with held_ledger(world):
        await world.produce(UPDATES, [adding(1, "hangs")])
        await world.until(lambda: not worker.running, "the worker ends itself")
    assert worker.process.returncode == 70
    (event,) = worker.events("worker.failed")
    assert event["error"] == "Stalled"
