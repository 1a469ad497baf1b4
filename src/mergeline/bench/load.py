"""Messages into the topic: a backlog at once, or each at its time.

In: messages. Out: all of them acknowledged; for the open load also the times at which they should have been sent.
Never: a message that waits for the answer to another, which would hide how long the others would have waited.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer

from mergeline.bench.mix import Message
from mergeline.domain.vocabulary import Topic
from mergeline.settings import Settings
from mergeline.stream.clients import client_options, connected
from mergeline.stream.topics import full_name

if TYPE_CHECKING:
    from array import array

BATCH_MAX_BYTES: Final = 128 * 1024
UNDER_WAY_MAX: Final = 16
"""Batches that are sent ahead of their acknowledgements while a backlog is laid."""
TIMEOUT_MS: Final = 60_000
"""For the broker to take a batch, also while it is busy with the beginnings of a run."""
TICK_S: Final = 0.005
"""How often messages that are due are sent: what a producer's linger is elsewhere. It counts as latency."""


class Load:
    """A producer, and how it is used here."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic

    async def backlog(self, messages: Iterable[Message]) -> int:
        """All messages as fast as the broker takes them; how many they were."""
        builders: dict[int, Any] = {}
        under_way: deque[Awaitable[Any]] = deque()
        count = 0
        for message in messages:
            count += 1
            while not self._appended(builders, message):
                under_way.append(await self._send(message.partition, builders.pop(message.partition)))
                while len(under_way) > UNDER_WAY_MAX:
                    await under_way.popleft()
        for partition, builder in builders.items():
            under_way.append(await self._send(partition, builder))
        for acknowledged in under_way:
            await acknowledged
        return count

    async def at_rate(self, messages: Sequence[Message], rate: int, intended: "array[float]") -> None:
        """Message i at i / rate seconds from now; `intended` gets the time of each before it is sent.

        Times are those of `time.perf_counter`.
        """
        began = time.perf_counter() + TICK_S
        intended.extend(began + number / rate for number in range(len(messages)))
        under_way: list[Awaitable[Any]] = []
        sent = 0
        while sent < len(messages):
            # The first is due a tick from now.
            due = max(sent, min(len(messages), int((time.perf_counter() - began) * rate) + 1))
            builders: dict[int, Any] = {}
            for message in messages[sent:due]:
                while not self._appended(builders, message):
                    under_way.append(await self._send(message.partition, builders.pop(message.partition)))
            sent = due
            for partition, builder in builders.items():
                under_way.append(await self._send(partition, builder))
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*under_way)

    def _appended(self, builders: dict[int, Any], message: Message) -> bool:
        """Whether the message found room in the open batch of its partition."""
        builder = builders.get(message.partition)
        if builder is None:
            builder = builders[message.partition] = self._producer.create_batch()
        return builder.append(timestamp=None, key=message.key, value=message.value) is not None

    async def _send(self, partition: int, builder: Any) -> Awaitable[Any]:
        builder.close()
        sent: Awaitable[Any] = await self._producer.send_batch(builder, self._topic, partition=partition)
        return sent


@asynccontextmanager
async def loading(settings: Settings) -> AsyncIterator[Load]:
    """A load for the length of a block: idempotent, every message acknowledged."""
    producer = AIOKafkaProducer(
        **client_options(settings),
        client_id="mergeline-bench",
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_MAX_BYTES,
        request_timeout_ms=TIMEOUT_MS,
    )
    async with connected(producer, settings):
        yield Load(producer, full_name(settings, Topic.IDENTIFIER_UPDATES))
