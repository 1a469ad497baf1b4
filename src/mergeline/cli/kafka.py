"""Kafka as commands need it: produce many messages quickly and know where each went; read events as they come.

In: the settings, topics by their names without prefix. Out: a `Sender` and a `Reader`, connected for the length of a
block; what topics hold up to now, and then the end. Never: a consumer group, a topic made by asking for it, or an error
of Kafka that is no `SetupError`.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from mergeline.cli.output import note
from mergeline.domain.messages import Header
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.stream import topics as topics_of
from mergeline.stream.clients import (
    POLL_RECORDS_MAX,
    client_options,
    connected,
    onlooker,
    read_up_to,
    refused,
    unreachable,
)
from mergeline.stream.publisher import OddBatch, partition_of

BATCH_MAX_BYTES: Final = 256 * 1024
BATCHES_UNDER_WAY_MAX: Final = 32
SILENCE_S_MAX: Final = 30.0
"""How long a log that has not ended may give nothing: what is asked for is there, so a broker does not answer."""

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

    @property
    def partitions(self) -> int:
        """How many its topic has."""
        return self._partitions

    async def put(
        self,
        key: bytes | None,
        value: bytes | None,
        mark: Mark,
        *,
        headers: Sequence[Header] = (),
        partition: int | None = None,
    ) -> None:
        """Take a message, for the partition of its key or the one given; it is on its way by the next `settle`."""
        if partition is None:
            # Those without a key go one batch after the other, whole, so that they are spread and still batched.
            partition = self._unkeyed % self._partitions if key is None else partition_of(key, self._partitions)
        record: dict[str, Any] = {
            "timestamp": int(time.time() * 1000),
            "key": key,
            "value": value,
            "headers": list(headers),
        }
        if not _is_text(headers):
            if partition in self._open:
                await self._submit(partition)
            odd = OddBatch(0, is_transactional=False)
            odd.append(**record)
            self._open[partition] = odd, [mark]
            await self._submit(partition)
            return
        for _ in range(2):
            if partition not in self._open:
                self._open[partition] = self._producer.create_batch(), []
            builder, marks = self._open[partition]
            if builder.append(**record) is not None:
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


def _is_text(headers: Sequence[Header]) -> bool:
    """Whether the names are UTF-8, which no broker asks for."""
    try:
        return all(name.encode() is not None for name, _ in headers)
    except UnicodeEncodeError:
        return False


async def _partitions_of(settings: Settings, names: Sequence[str]) -> dict[str, int]:
    """Topics by their full names, and numbers of partitions."""
    async with topics_of.admin(settings) as client:
        return await topics_of.partitions_of(client, names)


@asynccontextmanager
async def sending(settings: Settings, topic: str) -> AsyncIterator[Sender[Any]]:
    """A sender to one topic, by its name without prefix; see `sending_to`."""
    name = topics_of.full_name(settings, topic)
    async with sending_to(settings, [name]) as senders:
        yield senders[name]


@asynccontextmanager
async def sending_to(settings: Settings, names: Sequence[str]) -> AsyncIterator[dict[str, Sender[Any]]]:
    """Senders to topics by their full names; idempotent, every message acknowledged by all replicas that count."""
    partitions = await _partitions_of(settings, names)
    producer = AIOKafkaProducer(
        **client_options(settings),
        client_id="mergeline-cli",
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_MAX_BYTES,
        max_request_size=topics_of.PASSED_ON_MAX_BYTES,
        request_timeout_ms=settings.kafka_request_timeout_ms,
    )
    async with connected(producer, settings):
        yield {name: Sender(producer, name, count) for name, count in partitions.items()}


@dataclass(frozen=True, slots=True)
class Parcel(Generic[Mark]):
    """A message and where it goes; `partition` where that is not the key's."""

    topic: str
    """Its full name."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    mark: Mark
    partition: int | None = None


async def send_all(
    settings: Settings,
    senders: Mapping[str, Sender[Mark]],
    parcels: Sequence[Parcel[Mark]],
    told: Callable[[Placed[Mark]], None],
) -> None:
    """Send them in order, and return once Kafka has all; `told` of each that it is known to have.

    Raises:
        SetupError: at the first that Kafka does not take; others of these may have got there.
    """
    try:
        for one in parcels:
            sender = senders[one.topic]
            # A topic that was made anew can have fewer partitions.
            partition = None if one.partition is None else one.partition % sender.partitions
            await sender.put(one.key, one.value, one.mark, headers=one.headers, partition=partition)
        for sender in senders.values():
            for placed in await sender.settle():
                told(placed)
    except (KafkaError, TimeoutError) as error:
        for sender in senders.values():
            for placed in sender.placed():
                told(placed)
        raise SetupError(refused(settings, error)) from None


@contextmanager
def telling_how_far(how_far: Callable[[], str]) -> Iterator[None]:
    """Whatever ends the block before it is through, how far it got is said, where `how_far` knows of something."""
    try:
        yield
    except SetupError as error:
        if not (said := how_far()):
            raise
        raise SetupError(f"{error} {said}") from None
    except BaseException:  # interrupted, or nobody reads any more what is printed
        if said := how_far():
            note(said)
        raise


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
    async with _consuming(settings, topics) as (consumer, places):
        await (consumer.seek_to_beginning(*places) if from_beginning else consumer.seek_to_end(*places))
        yield Reader(consumer)


async def read_through(settings: Settings, topics: Sequence[str]) -> AsyncIterator[list[ConsumerRecord]]:
    """All that topics hold, from their beginnings to where they end now, some records at a time.

    Records of one partition are in order. The end is that of the last transaction that is settled.

    Raises:
        SetupError: if the brokers refuse, or say nothing for `SILENCE_S_MAX`.
    """
    async with _consuming(settings, topics) as (consumer, places):
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        heard_at = time.monotonic()
        async for found in read_up_to(consumer, ends):
            for records in found.values():
                yield records
            if found:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > SILENCE_S_MAX:
                # What is left can be marks of transactions alone, which are stepped over at once.
                names = ", ".join(sorted({place.topic for place in places}))
                raise SetupError(unreachable(settings, f"{names} gave nothing for {SILENCE_S_MAX:.0f} s"))


@asynccontextmanager
async def _consuming(
    settings: Settings, topics: Sequence[str]
) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    """A consumer of all partitions of topics, by their names without prefix, that reads what is committed."""
    names = [topics_of.full_name(settings, topic) for topic in topics]
    places = [
        TopicPartition(name, partition)
        for name, partitions in (await _partitions_of(settings, names)).items()
        for partition in range(partitions)
    ]
    # From the earliest: of what expired while it was read, the rest.
    consumer = onlooker(settings, client_id="mergeline-cli", auto_offset_reset="earliest")
    consumer.assign(places)
    async with connected(consumer, settings):
        yield consumer, places
