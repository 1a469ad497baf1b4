"""Kafka as commands need it: produce many messages quickly and know where each went; read events as they come.

In: the settings, topics by their names without prefix. Out: a `Sender` and a `Reader`, connected for the length of a
block. Never: a consumer group, a topic made by asking for it, or an error of Kafka that is no `SetupError`.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import murmur2

from mergeline.settings import Settings
from mergeline.stream import topics as topics_of
from mergeline.stream.clients import client_options, kafka_errors, started

BATCH_MAX_BYTES: Final = 256 * 1024
BATCHES_UNDER_WAY_MAX: Final = 32
POLL_RECORDS_MAX: Final = 2_000

Mark = TypeVar("Mark")


class Placed(NamedTuple, Generic[Mark]):
    """A message that Kafka has: what its sender calls it, and where it is."""

    mark: Mark
    partition: int
    offset: int


class Sender(Generic[Mark]):
    """Gathers messages into batches by partition, in order; like Kafka's own partitioner for those with a key."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer, self._topic, self._partitions = producer, topic, partitions
        self._open: dict[int, tuple[Any, list[Mark]]] = {}
        self._under_way: deque[tuple[Awaitable[Any], list[Mark]]] = deque()
        self._placed: list[Placed[Mark]] = []
        self._unkeyed = 0

    async def put(self, key: bytes | None, value: bytes, mark: Mark) -> None:
        """Take a message; it is on its way by the next `settle` at the latest."""
        # Those without a key go one batch after the other, whole, so that they are spread and still batched.
        number = self._unkeyed if key is None else murmur2(key) & 0x7FFFFFFF
        partition = number % self._partitions
        now_ms = int(time.time() * 1000)
        for _ in range(2):
            if partition not in self._open:
                self._open[partition] = self._producer.create_batch(), []
            builder, marks = self._open[partition]
            if builder.append(timestamp=now_ms, key=key, value=value) is not None:
                marks.append(mark)
                return
            await self._submit(partition)
            self._unkeyed += 1
        raise AssertionError("a new batch takes its first message, whatever its size")

    async def _submit(self, partition: int) -> None:
        builder, marks = self._open.pop(partition)
        builder.close()
        future = await self._producer.send_batch(builder, self._topic, partition=partition)
        self._under_way.append((future, marks))
        while len(self._under_way) > BATCHES_UNDER_WAY_MAX:
            await self._take_oldest()

    async def _take_oldest(self) -> None:
        future, marks = self._under_way.popleft()
        place = await future
        self._placed += [Placed(mark, place.partition, place.offset + index) for index, mark in enumerate(marks)]

    def placed(self) -> list[Placed[Mark]]:
        """What Kafka is known to have and was not told yet."""
        placed, self._placed = self._placed, []
        return placed

    async def settle(self) -> list[Placed[Mark]]:
        """Wait until Kafka has all messages; what was not told yet."""
        for partition in list(self._open):
            await self._submit(partition)
        while self._under_way:
            await self._take_oldest()
        return self.placed()


async def _partitions_of(settings: Settings, topics: Sequence[str]) -> dict[str, int]:
    """Full names and numbers of partitions."""
    async with topics_of.admin(settings) as client:
        return await topics_of.partitions_of(client, [topics_of.full_name(settings, topic) for topic in topics])


@asynccontextmanager
async def sending(settings: Settings, topic: str) -> AsyncIterator[Sender[Any]]:
    """A sender to one topic; idempotent, every message acknowledged by all replicas that count."""
    ((name, partitions),) = (await _partitions_of(settings, [topic])).items()
    producer = AIOKafkaProducer(
        **client_options(settings),
        client_id="mergeline-cli",
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_MAX_BYTES,
        max_request_size=topics_of.PASSED_ON_MAX_BYTES,
        request_timeout_ms=settings.kafka_request_timeout_ms,
    )
    async with started(producer, settings):
        with kafka_errors(settings):
            yield Sender(producer, name, partitions)


class Reader:
    """Reads what is committed, of all partitions of some topics."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def poll(self, timeout_ms: int) -> list[ConsumerRecord]:
        """The next records, by time; none after `timeout_ms` without any."""
        found = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=POLL_RECORDS_MAX)
        # Stable: records of one partition stay in order.
        return sorted((record for records in found.values() for record in records), key=lambda one: one.timestamp)


@asynccontextmanager
async def reading(settings: Settings, topics: Sequence[str], *, from_beginning: bool = False) -> AsyncIterator[Reader]:
    """A reader that stands at the end (or the beginning) of the topics when the block begins."""
    places = [
        TopicPartition(name, partition)
        for name, partitions in (await _partitions_of(settings, topics)).items()
        for partition in range(partitions)
    ]
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        client_id="mergeline-cli",
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        request_timeout_ms=settings.kafka_request_timeout_ms,
    )
    consumer.assign(places)
    async with started(consumer, settings):
        with kafka_errors(settings):
            await (consumer.seek_to_beginning(*places) if from_beginning else consumer.seek_to_end(*places))
            yield Reader(consumer)
