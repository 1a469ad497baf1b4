"""Ends a process that is alive but does not move.

In: of each open partition how far it got, and how far it could be. Out: a failure, once a partition with something to
do has stood still for `progress_timeout_ms`. Never: a verdict over an idle worker; the end marker of a transaction
counts as nothing to do.

Consumers of aiokafka and Faust have fallen silent without an error (faust-streaming #175, #629, #640), and so have
producers (aiokafka #1017, #1018).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from mergeline.metrics import LAG_MESSAGES, OLDEST_SECONDS

CHECKS: Final = 6
"""Looks in one `progress_timeout_ms`."""
log = structlog.get_logger(__name__)


class Stalled(Exception):
    """A partition has something to do, and nothing was done for too long."""


class Watchdog:
    """Compares what was done with what there is to do."""

    def __init__(
        self,
        lags: Callable[[], Awaitable[Mapping[TopicPartition, tuple[int, int]]]],
        fail: Callable[[BaseException], None],
        progress_timeout_ms: int,
    ) -> None:
        self._lags, self._fail = lags, fail
        self._timeout_s = progress_timeout_ms / 1000
        self._stood: dict[TopicPartition, tuple[int, int]] = {}

    async def run(self) -> None:
        """Look for ever; cancelled at the end."""
        while True:
            await asyncio.sleep(self._timeout_s / CHECKS)
            try:
                lags = await self._lags()
            except (KafkaError, OSError, TimeoutError):
                continue  # brokers are away: nobody can move, and restarting would not help
            _show(lags)
            stalled = self.look(lags)
            if stalled:
                self._fail(Stalled(f"nothing done for {self._timeout_s:.0f} s of {stalled}"))

    def look(self, lags: Mapping[TopicPartition, tuple[int, int]]) -> list[TopicPartition]:
        """The partitions that have stood still for `CHECKS` looks in a row."""
        stood = {}
        for partition, (position, end) in lags.items():
            if position < end:
                before, looks = self._stood.get(partition, (position, 0))
                stood[partition] = (position, looks + 1 if before == position else 1)
        self._stood = stood
        return sorted(partition for partition, (_, looks) in stood.items() if looks > CHECKS)


def _show(lags: Mapping[TopicPartition, tuple[int, int]]) -> None:
    """For `/metrics`. Of a partition that went to another worker nothing is known here any more."""
    LAG_MESSAGES.clear()
    for (topic, partition), (position, end) in lags.items():
        LAG_MESSAGES.labels(topic, str(partition)).set(end - position)
    if all(position >= end for position, end in lags.values()):
        OLDEST_SECONDS.set(0)
