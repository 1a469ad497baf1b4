"""The open run: messages come at their times, whatever becomes of the others.

In: a world whose workers run, a rate. Out: an `Open`, with latencies from when each message should have been sent to
when a subscriber that reads what is committed had its answer. Never: a message that waits for the answer to another,
or is left out of the latencies because the load itself was late (coordinated omission).
"""

import asyncio
import gc
import time
from array import array
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from aiokafka import ConsumerRecord

from mergeline.bench.batches import batches_between
from mergeline.bench.latency import percentiles_ms
from mergeline.bench.load import loading
from mergeline.bench.meter import cost, metered
from mergeline.bench.mix import Messages, run_name
from mergeline.bench.outcomes import Judge, Subscriber, answer_of, subscribed
from mergeline.bench.plan import REQUESTS_MAX
from mergeline.bench.results import Open
from mergeline.bench.subject import Subject
from mergeline.bench.workers import Workers

WARM_SHARE: Final = 0.1
"""Messages at the beginning that are not among the latencies: connections are made, a quiet worker wakes."""
POLL_MS: Final = 50
LAST_POLL_MS: Final = 300
SILENCE_S: Final = 60.0
SETTLE_S: Final = 0.5


async def run_open(subject: Subject, rate: int, seconds: float, run: int) -> Open:
    """Send at the rate for so long, wait for all answers, and check them.

    One message at least, `REQUESTS_MAX` at most.

    Raises:
        EmbeddedError: if a worker has ended.
        SetupError: if the messages cannot be sent.
    """
    world, workers = subject.world, subject.workers
    supply, judge = Messages(world.plan, run, world.next_victim), subject.judge()
    count = min(REQUESTS_MAX, max(1, int(rate * seconds)))
    messages = list(judge.expect(supply.make(count)))
    await world.add_merges(supply.merges)
    intended = array("d")
    async with (
        loading(world.settings) as load,
        subscribed(world.settings, world.plan.partitions, from_beginning=False) as subscriber,
        metered(subject.site, world, workers) as meter,
    ):
        # To the end of the logs, before anything is sent; and what was made for the run is no garbage.
        await subscriber.bunch(int(SETTLE_S * 1000))
        with _no_garbage_collection():
            metrics_before, before = workers.metrics(), await meter.read()
            async with _beside(load.at_rate(messages, rate, intended)) as sending:
                heard = await _listen(subscriber, judge, sending, workers, run)
            after, metrics_after = await meter.read(), workers.metrics()
    warm = int(len(messages) * WARM_SHARE)
    latencies = (at - intended[number] for number, at in heard if number >= warm)
    return Open(
        rate=rate,
        latency_ms=percentiles_ms(latencies),
        cost=cost(before, after, len(messages)),
        batches=batches_between(metrics_before, metrics_after),
        judgement=judge.verdict(),
    )


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator["asyncio.Task[None]"]:
    """Something that runs beside a block, which waits for its end; if the block ends before its time, so does it."""
    task = asyncio.create_task(work)
    try:
        yield task
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _listen(
    subscriber: Subscriber, judge: Judge, sending: "asyncio.Task[None]", workers: Workers, run: int
) -> list[tuple[int, float]]:
    """The number of each message that was answered, and when; until all are, or no answer comes for too long."""
    heard: list[tuple[int, float]] = []
    while judge.missing:
        # Judged only when there can be an answer to each: to read them takes the processor of whom is measured.
        records, came = await _records(subscriber, judge.missing, sending, workers)
        heard += _heard(judge, records, came, run)
        if not records:
            return heard
    _, late = await subscriber.bunch(LAST_POLL_MS)  # would be answers too many
    return heard + list(_heard(judge, late, array("d", [0.0] * len(late)), run))


async def _records(
    subscriber: Subscriber, count: int, sending: "asyncio.Task[None]", workers: Workers
) -> "tuple[list[ConsumerRecord], array[float]]":
    """So many records and the time of each; fewer where none came for too long."""
    records: list[ConsumerRecord] = []
    came = array("d")
    heard_at = time.perf_counter()
    while len(records) < count:
        now, bunch = await subscriber.bunch(POLL_MS)
        if not bunch:
            workers.check()
            if sending.done():
                await sending  # which complains, if not all was sent
        if bunch or not sending.done():
            heard_at = now
        if now - heard_at > SILENCE_S:
            break
        records += bunch
        came.extend([now] * len(bunch))
    return records, came


def _heard(judge: Judge, records: list[ConsumerRecord], came: "array[float]", run: int) -> Iterator[tuple[int, float]]:
    """The number of each message that was answered, and when."""
    name = run_name(run).encode()
    for record, at in zip(records, came, strict=True):
        answer = answer_of(record, name)
        number = judge.hear(answer) if answer is not None else None
        if number is not None:
            yield number, at


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The bench's own pauses would be taken for the worker's."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
