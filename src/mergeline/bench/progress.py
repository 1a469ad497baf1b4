"""How far a group has come, by its committed offsets: what costs the measured system nothing.

In: settings, the topic that the group answers from. Out: how many messages are committed. Never: a consumer that
takes part in the group.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from mergeline.bench.workers import Workers
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.stream import topics

POLL_S: Final = 0.05


class Progress:
    """Of one group on one topic."""

    def __init__(self, client: AIOKafkaAdminClient, group_id: str, topic: str) -> None:
        self._client, self._group_id, self._topic = client, group_id, topic
        self._last = 0

    async def committed(self) -> int:
        """Messages that are committed, as far as the group says."""
        try:
            found = await self._client.list_consumer_group_offsets(self._group_id)
        except KafkaError:  # a group that is being formed
            return self._last
        count = sum(max(0, known.offset) for place, known in found.items() if place.topic == self._topic)
        self._last = max(self._last, count)
        return self._last

    async def until(self, count: int, workers: Workers, silence_s: float) -> None:
        """Wait until so many messages are committed.

        Raises:
            SetupError: if nothing was committed for `silence_s`.
            EmbeddedError: if a worker has ended.
        """
        moved_at, last = time.perf_counter(), -1
        while (now := await self.committed()) < count:
            workers.check()
            if now > last:
                moved_at, last = time.perf_counter(), now
            if time.perf_counter() - moved_at > silence_s:
                raise SetupError(f"Nothing was answered for {silence_s:.0f} s; {now} of {count} messages were.")
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def progress_of(settings: Settings, topic_of: Callable[[Settings], str]) -> AsyncIterator[Progress]:
    """The progress of the settings' group for the length of a block."""
    async with topics.admin(settings) as client:
        yield Progress(client, settings.group_id, topic_of(settings))
