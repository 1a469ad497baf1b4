"""Producers of others: what they commit is answered, what they abort is not, whatever it is packed with."""

import asyncio
import json

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from tests.worker.harness import SOON_STALLED, UPDATES, adding
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


@pytest.mark.parametrize("keyed", ["false", "true"], ids=["routed", "keyed"])
async def test_what_expires_behind_the_last_record_of_a_transaction_stops_nobody(world, keyed):
    """Its end marker takes an offset, and goes with the log like a record that nobody has read."""
    worker = world.worker(MERGELINE_REQUESTS_KEYED=keyed, **SOON_STALLED)
    await world.register([1])
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, transactional_id=f"{world.prefix}upstream")
    await producer.start()
    async with producer.transaction():
        await send(world, producer, adding(1, "committed"))
    await producer.stop()
    await world.answered(["committed"])

    async def passed():
        while (await world.committed()).get((UPDATES, 0)) != 2:
            await asyncio.sleep(0.2)

    await asyncio.wait_for(passed(), 30)
    async with world.admin() as admin:
        await admin.delete_records({TopicPartition(world.prefix + UPDATES, 0): RecordsToDelete(-1)})
    other = world.worker(MERGELINE_REQUESTS_KEYED=keyed)
    await world.until(lambda: other.events("assignment.opened"), "another worker takes its share")
    await world.outcomes_of([adding(1, "later")])
    assert worker.running
    assert world.answers()["committed"] == 1


@pytest.mark.parametrize(("codec", "customer"), [("gzip", 3101), ("snappy", 3102), ("lz4", 3103), ("zstd", 3104)])
async def test_requests_are_answered_whatever_they_are_packed_with(served, codec, customer):
    await served.register([customer])
    requests = [adding(customer, f"{codec}-{number}") for number in range(20)]
    producer = AIOKafkaProducer(bootstrap_servers=served.bootstrap_servers, compression_type=codec, linger_ms=50)
    async with producer:
        sent = [await producer.send(served.prefix + UPDATES, json.dumps(one).encode(), b"any") for one in requests]
        await asyncio.gather(*sent)
    outcomes = await served.answered(one["requestId"] for one in requests)
    assert {outcome["status"] for outcome in outcomes.values()} == {"applied"}


async def test_the_watchdog_leaves_an_idle_worker_alone_and_ends_one_whose_database_hangs(world):
    """Markers of transactions at the end of a partition are nothing to read, though offsets are left."""
    worker = world.worker(**SOON_STALLED)
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
