"""Ends a process that is alive but does not move, or cannot.

In: of each open partition how far it got, and how far it could be; what the group says of us. Out: a failure, once a
partition with something to do has stood still for `progress_timeout_ms`, once nothing was acquired for longer than that
may take, once the group has refused us, or once brokers have moved away from us. Never: a verdict over an idle worker;
the end marker of a transaction counts as nothing to do.

Consumers of aiokafka and Faust have fallen silent without an error (faust-streaming #175, #629, #640), and so have
producers (aiokafka #1017, #1018).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
)

from mergeline.errors import MergelineError, SetupError
from mergeline.metrics import LAG_MESSAGES, OLDEST_SECONDS

CHECKS: Final = 6
"""Looks in one `progress_timeout_ms`."""
log = structlog.get_logger(__name__)


class Stalled(MergelineError):
    """There is something to do, and nothing was done for too long."""


_OF_OUR_MAKING: Final = (InconsistentGroupProtocolError, InvalidSessionTimeoutError)


class Watchdog:
    """Compares what was done with what there is to do."""

    def __init__(
        self,
        lags: Callable[[], Awaitable[Mapping[TopicPartition, tuple[int, int]]]],
        fail: Callable[[BaseException], None],
        progress_timeout_ms: int,
        refusal: Callable[[], BaseException | None],
        moved: Callable[[], Awaitable[bool]],
        *,
        moves: Callable[[TopicPartition], int],
        denied: Callable[[str], str],
        acquiring: Callable[[], object],
        acquire_timeout_ms: int,
    ) -> None:
        """What it looks at, and whom it tells.

        Args:
            lags: of each open partition how far it is done, and how far it could be.
            fail: ends the process.
            progress_timeout_ms: how long something may stand still.
            refusal: what the group has refused us for good.
            moved: whether brokers answer others and not us, at the addresses that the settings name.
            moves: of a partition that waits for others, a number that rises as they go on; else 0.
            denied: what to say of something that brokers do not allow.
            acquiring: what is being acquired (the group's generation); None once it is open, be it of no partition.
            acquire_timeout_ms: how long it may take to acquire one, once the group has given it.
        """
        self._lags, self._fail, self._refusal, self._moved = lags, fail, refusal, moved
        self._moves, self._denied = moves, denied
        self._acquiring = acquiring
        self._timeout_s = progress_timeout_ms / 1000
        self._acquire_timeout_s = self._timeout_s + acquire_timeout_ms / 1000
        self._stood: dict[TopicPartition, tuple[tuple[int, int], int]] = {}

    async def run(self) -> None:
        """Look for ever; cancelled at the end."""
        clock = asyncio.get_running_loop().time
        answered_at = acquired_at = clock()
        acquiring = None
        while True:
            await asyncio.sleep(self._timeout_s / CHECKS)
            refusal = self._refusal()
            if refusal is not None:
                self._fail(_refused(refusal, self._denied))
            before, acquiring = acquiring, self._acquiring()
            if acquiring is None or acquiring != before:
                acquired_at = clock()
            try:
                lags = await self._lags()
            except (KafkaError, OSError, TimeoutError):
                # Brokers are away, and to start again would not help, unless they have moved: aiokafka looks at the
                # addresses that it was given once in its life.
                if clock() - answered_at > self._timeout_s and await self._moved():
                    self._fail(Stalled("brokers answer a new client, and not this one"))
                acquired_at = clock()
                continue
            answered_at = clock()
            if answered_at - acquired_at > self._acquire_timeout_s:
                self._fail(Stalled(f"no partitions were acquired for {self._acquire_timeout_s:.0f} s"))
            _show(lags)
            stalled = self.look(lags)
            if stalled:
                self._fail(Stalled(f"nothing done for {self._timeout_s:.0f} s of {stalled}"))

    def look(self, lags: Mapping[TopicPartition, tuple[int, int]]) -> list[TopicPartition]:
        """The partitions that have stood still for `CHECKS` looks in a row behind the first."""
        stood = {}
        for partition, (position, end) in lags.items():
            if position < end:
                now = position, self._moves(partition)
                before, looks = self._stood.get(partition, (now, 0))
                stood[partition] = (now, looks + 1 if before == now else 1)
        self._stood = stood
        return sorted(partition for partition, (_, looks) in stood.items() if looks > CHECKS)


def _refused(error: BaseException, denied: Callable[[str], str]) -> BaseException:
    """What an operator can mend is said in words."""
    if isinstance(error, GroupAuthorizationFailedError):
        return SetupError(denied(f"Read {error.args[0]}"))
    if not isinstance(error, _OF_OUR_MAKING):
        return error
    return SetupError(
        f"Kafka does not let this worker into its group: {type(error).__name__}. Another program is in it, or brokers "
        "allow other session time-outs: look at MERGELINE_GROUP_ID and MERGELINE_SESSION_TIMEOUT_MS."
    )


def _show(lags: Mapping[TopicPartition, tuple[int, int]]) -> None:
    """For `/metrics`. Of a partition that went to another worker nothing is known here any more."""
    LAG_MESSAGES.clear()
    for (topic, partition), (position, end) in lags.items():
        LAG_MESSAGES.labels(topic, str(partition)).set(end - position)
    if all(position >= end for position, end in lags.values()):
        OLDEST_SECONDS.set(0)
