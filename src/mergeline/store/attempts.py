"""A batch until it is through: tried again, halved, or searched for the message that makes it fail.

In: messages, as `Store.apply` takes them. Out: their answers, in order, as soon as they are committed: all at once, or
part by part where the batch was halved. Never: a message left out, two messages of a partition answered in another
order than they were read, an unbounded wait, or more answers in hand than one transaction has.

| failure | -> |
| --- | --- |
| transient | again after a random wait, at most `attempts_max` times within `seconds_max` seconds; then raised |
| too large | halved, the first half first |
| poison | once more; then halved, until the one message that alone fails becomes a dead letter `PROCESSING_FAILED` |
| fatal | raised |
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from mergeline.domain.batch import Answer
from mergeline.domain.messages import Coordinate, Message, Place
from mergeline.store.apply import EMPTY, Store
from mergeline.store.dead_letter_runs import CheckRuns
from mergeline.store.failures import Kind, describe, kind_of
from mergeline.store.options import Retries
from mergeline.store.progress import Progress, progress_behind

POISON_ATTEMPTS_MAX: Final = 2
"""A failure that looks like a message's own is tried once more before the batch is taken apart for it."""
log = structlog.get_logger(__name__)


async def apply_with_retries(
    store: Store,
    messages: Sequence[Message],
    *,
    progress: Mapping[Place, Progress] = EMPTY,
    horizons: Mapping[Place, int] = EMPTY,
    check_runs: CheckRuns | None = None,
) -> AsyncIterator[list[Answer]]:
    """Answer the messages, whatever it takes within the bounds of `store.options.retries`; see `Store.apply`.

    Yields:
        The answers of a part of the messages, in order; that part is committed, and nothing of the others begun.

    Raises:
        Exception: what is fatal; what was transient for too long; what `check_runs` raised.
    """
    pending = [_Part(messages)]
    while pending:
        part = pending.pop()
        try:
            answers = await _persist(store, part, progress, horizons, check_runs)
        except Exception as error:  # noqa: BLE001 (`taken_apart` raises what it does not mend)
            # Reversed, since the last is taken next: the order of the messages stays.
            pending += reversed(part.taken_apart(error))
            continue
        progress = progress_behind(progress, part.messages, horizons)
        yield answers


@dataclass(frozen=True, slots=True)
class _Part:
    """Messages that go through together; `forced` once the only one is given up."""

    messages: Sequence[Message]
    forced: Mapping[Coordinate, str] = field(default_factory=dict)

    def kind_of(self, error: BaseException) -> Kind:
        """The kind of a failure of this part: what cannot be halved waits until others let go of their locks."""
        kind = kind_of(error)
        return Kind.TRANSIENT if kind is Kind.TOO_LARGE and len(self.messages) <= 1 else kind

    def taken_apart(self, error: Exception) -> list["_Part"]:
        """What to try in place of this part.

        Raises:
            Exception: the error, where that is nothing.
        """
        kind = self.kind_of(error)
        if kind not in (Kind.TOO_LARGE, Kind.POISON) or not self.messages or self.forced:
            raise error
        if len(self.messages) == 1:
            (message,) = self.messages
            log.error("message.given_up", failure=describe(error), request=message.origin.request_id)
            return [_Part(self.messages, {message.at: describe(error)})]
        middle = len(self.messages) // 2
        return [_Part(self.messages[:middle]), _Part(self.messages[middle:])]


async def _persist(
    store: Store,
    part: _Part,
    progress: Mapping[Place, Progress],
    horizons: Mapping[Place, int],
    check_runs: CheckRuns | None,
) -> list[Answer]:
    retries = store.options.retries
    give_up_at = time.monotonic() + retries.seconds_max
    attempt = 0
    while True:
        attempt += 1
        try:
            return await store.apply(
                part.messages, progress=progress, horizons=horizons, forced=part.forced, check_runs=check_runs
            )
        except Exception as error:
            kind = part.kind_of(error)
            attempts_max = {Kind.TRANSIENT: retries.attempts_max, Kind.POISON: POISON_ATTEMPTS_MAX}.get(kind, 1)
            if attempt >= attempts_max or time.monotonic() >= give_up_at:
                raise
            log.warning("batch.again", failure=describe(error), attempt=attempt, messages=len(part.messages))
        await asyncio.sleep(_wait_s(retries, attempt))


def _wait_s(retries: Retries, attempt: int) -> float:
    """Full jitter: anything up to the bound, so that those who collided do not collide again."""
    exponent = min(attempt - 1, 30)  # beyond, the bound is `wait_ms_max` anyway
    bound_ms = min(retries.wait_ms_max, retries.wait_ms_base * 2**exponent)
    return random.uniform(0, bound_ms) / 1000  # noqa: S311 (nothing secret)
