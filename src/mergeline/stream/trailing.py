"""Offsets that follow their records, at a pace: what the router commits for one acquisition of its partitions.

In: how far records are acknowledged. Out: commits, `COMMIT_PACE_S` apart, a last one when leaving. Never: an offset
whose records may not be there, one that outlives its acquisition, or a failure that nobody is told.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog
from aiokafka import TopicPartition

from mergeline.store.failures import describe
from mergeline.stream.offsets import Offsets
from mergeline.stream.retrying import Retriable

COMMIT_PACE_S: Final = 0.2
"""Between commits: one for each batch made every message wait for it, and took the broker as long as the batch."""
LAST_COMMIT_S: Final = 2.0
"""For the last commits, since whoever leaves holds up the group's rebalance."""
log = structlog.get_logger(__name__)


class Trailing:
    """Commits in a task of its own until it is closed; made anew with each acquisition, and closed with it."""

    def __init__(self, offsets: Offsets, left: Mapping[TopicPartition, int]) -> None:
        """`left`: what is published already, and not committed."""
        self._offsets = offsets
        self._ends = dict(left)
        """What is to be committed; it stays until it is."""
        self._refused: str | None = None
        self._leaving = asyncio.Event()
        self._due = asyncio.Event()
        if left:
            self._due.set()
        self._task = asyncio.create_task(self._run(), name="trailing-commits")

    def check(self) -> None:
        """Raises `Retriable` where the last commit did not work: we may be no member of the group any more."""
        if self._refused is not None:
            raise Retriable(f"commit: {self._refused}")

    def add(self, ends: Mapping[TopicPartition, int]) -> None:
        """Commit these soon: their records are acknowledged."""
        self._ends.update(ends)
        self._due.set()

    async def close(self) -> None:
        """Commit what is left, as well as it goes; nothing is committed afterwards. May be called twice."""
        self._leaving.set()
        self._due.set()
        try:
            await asyncio.wait([self._task], timeout=LAST_COMMIT_S)
        finally:  # also where whoever closes is cancelled meanwhile
            self._task.cancel()
            if self._ends:
                log.warning("offsets.not_committed", partitions=len(self._ends))
                self._ends = {}

    async def _run(self) -> None:
        while not self._leaving.is_set():
            await self._due.wait()
            self._due.clear()
            await self._commit()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), COMMIT_PACE_S)
        await self._commit()

    async def _commit(self) -> None:
        ends = dict(self._ends)
        if not ends:
            return
        try:
            await self._offsets.commit(ends)
        except Exception as error:  # noqa: BLE001 (whatever it is, the offsets stay due, and publishing stops)
            reason = str(error) if isinstance(error, Retriable) else describe(error)
            if self._refused is None:  # the first of a row of them
                log.warning("offsets.commit_failed", error=reason)
            self._refused = reason
            self._due.set()
        else:
            self._refused = None
            self._ends = {tp: end for tp, end in self._ends.items() if ends.get(tp) != end}
