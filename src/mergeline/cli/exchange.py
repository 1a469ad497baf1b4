"""Send many messages, and follow what becomes of each.

In: items with their keys, in order, as they come. Out: calls back for what Kafka has and for every answer; how many
were not answered in time. Never: more than `UNANSWERED_MAX` messages ahead of their answers, or an endless wait.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from mergeline.cli.arriving import CHUNK
from mergeline.cli.following import Answer, Following, Identity
from mergeline.cli.kafka import Placed, Reader, reading, sending
from mergeline.cli.output import note
from mergeline.domain.vocabulary import Topic
from mergeline.settings import Settings

UNANSWERED_MAX: Final = 20_000
POLL_MS: Final = 250
WORKER_MISSED_S: Final = 3.0
"""Silence after which it is said that answers need a worker."""

Mark = TypeVar("Mark")


@dataclass(frozen=True, slots=True)
class Item(Generic[Mark]):
    """A message to send; `identity` is None where it is no well-formed request."""

    key: bytes | None
    value: bytes
    mark: Mark
    identity: Identity | None = None


class Exchange(Generic[Mark]):
    """Messages to one topic and their answers."""

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        *,
        on_sent: Callable[[int], None],
        on_answer: Callable[[Answer[Mark]], None] | None = None,
        timeout_s: float = 0.0,
    ) -> None:
        """`on_answer` is None where nobody waits; `timeout_s` bounds a silence, in which no answer comes."""
        self._settings, self._topic = settings, topic
        self._on_sent, self._on_answer, self._timeout_s = on_sent, on_answer, timeout_s
        self._following: Following[Mark] = Following(topic, settings.topic_prefix)
        self._reader: Reader | None = None
        self._heard_at = time.monotonic()
        self._said = False
        self.stopped = False
        """Whether the rest was not sent, since answers stayed out."""

    async def run(self, chunks: AsyncGenerator[list[Item[Mark]]]) -> int:
        """Send all, then wait; the number of those that were not answered.

        Args:
            chunks: of `CHUNK` items while there are more at hand; what is smaller goes out at once.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(aclosing(chunks))
            if self._on_answer is not None:
                # Before the first message, so that no answer can be missed.
                self._reader = await stack.enter_async_context(reading(self._settings, self._following.topics))
            sender = await stack.enter_async_context(sending(self._settings, self._topic))
            async for chunk in chunks:
                for item in chunk:
                    await sender.put(item.key, item.value, item)
                more_at_hand = self._reader is None and len(chunk) == CHUNK
                self._take_placed(sender.placed() if more_at_hand else await sender.settle())
                if not await self._answers(UNANSWERED_MAX):
                    self.stopped = True
                    return len(self._following)
            self._take_placed(await sender.settle())
            await self._answers(0)
            return len(self._following)

    def _take_placed(self, placed: list[Placed[Item[Mark]]]) -> None:
        self._on_sent(len(placed))
        if self._reader is not None:
            for one in placed:
                self._following.sent(Placed(one.mark.mark, one.partition, one.offset), one.mark.identity)

    async def _answers(self, unanswered_max: int) -> bool:
        """Take answers until so few are left; False where no answer came for too long."""
        if self._reader is None or self._on_answer is None:
            return True
        self._heard_at = time.monotonic()
        while True:
            waiting = len(self._following) > unanswered_max
            for record in await self._reader.poll(POLL_MS if waiting else 0):
                answer = self._following.take(record)
                if answer is not None:
                    self._heard_at = time.monotonic()
                    self._on_answer(answer)
            silence_s = time.monotonic() - self._heard_at
            if len(self._following) <= unanswered_max:
                return True
            if silence_s > self._timeout_s:
                return False
            if silence_s > WORKER_MISSED_S and not self._said:
                self._said = True
                note("waiting for answers; they come from a worker (start one with: mergeline worker)")
