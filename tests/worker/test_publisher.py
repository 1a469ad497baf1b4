"""A producer whose end of a transaction is late or lost: dead at once, and never heard again."""

import asyncio
import gc
import logging
import time

import aiokafka.client
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from tests.attacks.proxy import Fault, Kind, Proxy
from tests.worker.harness import EVENTS, OUTCOMES, UPDATES
from tests.worker.proxy import Relay

from mergeline.domain.messages import Outgoing
from mergeline.embedded.ports import free_ports
from mergeline.settings import Settings
from mergeline.stream.clients import client_options
from mergeline.stream.publisher import KILL_WAIT_S, Publisher, PublishFailed

END_TXN = 26
REQUEST_TIMEOUT_S = 2.0
TRANSACTIONS = 150
"""Of which one in twenty-five was refused in part when its offsets went at the same time as its records."""
TIMES = {
    "MERGELINE_KAFKA_REQUEST_TIMEOUT_MS": "2000",
    "MERGELINE_PUBLISH_TIMEOUT_MS": "1500",
    "MERGELINE_TRANSACTION_TIMEOUT_MS": "60000",
}


class Late:
    """The way to the broker, on which the next end of a transaction is held."""

    def __init__(self, target, monkeypatch):
        self.relay = Relay(target, self._holds)
        self.armed, self.ends = False, 0
        connect, (host, _, port) = aiokafka.client.create_conn, self.relay.address.partition(":")
        self.through = True

        async def redirected(its_host, its_port, *arguments, **options):
            where = (host, int(port)) if self.through else (its_host, its_port)
            return await connect(*where, *arguments, **options)

        monkeypatch.setattr(aiokafka.client, "create_conn", redirected)

    def _holds(self, body):
        if int.from_bytes(body[:2], "big") != END_TXN or not self.armed:
            return False
        self.ends += 1
        return self.ends == 1


async def test_nothing_of_a_transaction_is_refused_where_all_is_well(module_world, caplog):
    """The broker drops a question about a transaction for another one about it, and refuses what it was about."""
    settings, prefix = Settings.load(module_world.settings), module_world.prefix
    publisher = Publisher(settings, client_options(settings), f"{prefix}well")
    await publisher.start()
    records = [Outgoing(topic, b"%d" % key, b"well") for topic in EVENTS for key in range(9)]

    with caplog.at_level(logging.WARNING, "aiokafka"):
        for offset in range(TRANSACTIONS):
            await publisher.publish(records, {TopicPartition(prefix + UPDATES, 1): offset})
    await publisher.kill()
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "NotEnoughReplicas" in line] == []  # new topics may have no leader yet


async def test_a_late_end_of_a_transaction_is_never_repeated_and_never_ends_the_next_one(module_world, monkeypatch):
    world = module_world
    settings = Settings.load(world.settings | TIMES)
    late = Late(world.bootstrap_servers, monkeypatch)
    offsets = {TopicPartition(world.prefix + UPDATES, 0): 0}

    async with late.relay:
        publisher = Publisher(settings, client_options(settings), f"{world.prefix}late")
        await publisher.start()
        await publisher.publish([Outgoing(OUTCOMES, b"k", b"1")], offsets)
        late.armed = True
        with pytest.raises(PublishFailed, match="TimeoutError"):
            await publisher.publish([Outgoing(OUTCOMES, b"k", b"2")], offsets)
        await asyncio.sleep(REQUEST_TIMEOUT_S)  # aiokafka would try again after this
        assert late.ends == 1
        with pytest.raises(PublishFailed):
            await publisher.publish([Outgoing(OUTCOMES, b"k", b"never")], offsets)
        await publisher.kill()

        late.through = False
        heir = AIOKafkaProducer(**client_options(settings), transactional_id=f"{world.prefix}late")
        await heir.start()
        await heir.begin_transaction()
        await heir.send_and_wait(world.prefix + OUTCOMES, b"3", key=b"k")
        late.relay.let_go.set()
        await asyncio.sleep(0.5)
        await heir.abort_transaction()
        await heir.begin_transaction()
        await heir.send_and_wait(world.prefix + OUTCOMES, b"4", key=b"k")
        await heir.commit_transaction()
        await heir.stop()

    await world.until(lambda: any(record.value == b"4" for record in world.records[OUTCOMES]))
    assert [record.value for record in world.records[OUTCOMES]] == [b"1", b"4"]


def _send_late(publisher):
    """Each batch but the first comes when that one has found out, as it does where the coordinator is quicker."""
    producer = publisher._producer
    send_batch, sender, sent = producer.send_batch, producer._sender.sender_task, []

    async def sends_late(*arguments, **options):
        if sent:
            await asyncio.wait([sender], timeout=REQUEST_TIMEOUT_S)
        sent.append(arguments)
        return await send_batch(*arguments, **options)

    producer.send_batch = sends_late


@pytest.mark.parametrize("late", [False, True], ids=["all at once", "one behind the other"])
async def test_a_fenced_producer_says_so_and_leaves_no_error_that_nobody_read(late, module_world, caplog):
    settings = Settings.load(module_world.settings | TIMES)
    publisher = Publisher(settings, client_options(settings), f"{module_world.prefix}fenced")
    await publisher.start()
    heir = Publisher(settings, client_options(settings), f"{module_world.prefix}fenced")
    await heir.start()
    if late:
        _send_late(publisher)

    with caplog.at_level(logging.ERROR, "asyncio"):
        with pytest.raises(PublishFailed, match="ProducerFenced"):
            await publisher.publish(
                [Outgoing(OUTCOMES, b"%d" % key, b"never") for key in range(100)],
                {TopicPartition(module_world.prefix + UPDATES, 0): 0},
            )
        await publisher.kill()
        del publisher
        gc.collect()
    await heir.kill()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize("later_s", [0, REQUEST_TIMEOUT_S], ids=["at once", "once the client has closed it"])
async def test_a_producer_is_killed_at_once_where_the_way_to_its_broker_takes_nothing_any_more(
    later_s, module_world, monkeypatch
):
    """Whoever closes a connection first sends what it holds. The system gives that up after a quarter of an hour."""
    settings = Settings.load(module_world.settings | TIMES)
    connect = aiokafka.client.create_conn
    async with Proxy("kafka", *free_ports(1), module_world.bootstrap_servers) as proxy:
        host, _, port = proxy.address.partition(":")

        async def redirected(_host, _port, *arguments, **options):
            return await connect(host, int(port), *arguments, **options)

        monkeypatch.setattr(aiokafka.client, "create_conn", redirected)
        publisher = Publisher(settings, client_options(settings))  # which asks nothing before it sends
        await publisher.start()
        await publisher.publish([Outgoing(topic, b"1", b"before") for topic in EVENTS], {})
        proxy.begin(Fault(Kind.GONE))
        much = [Outgoing(topic, b"%d" % key, bytes(60_000)) for key in range(60) for topic in EVENTS]
        with pytest.raises(PublishFailed):
            await publisher.publish(much, {})
        await asyncio.sleep(later_s)
        started = time.monotonic()
        await asyncio.wait_for(publisher.kill(), 30)
        assert time.monotonic() - started < KILL_WAIT_S + 1
