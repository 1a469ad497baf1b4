"""The closed run: a backlog lies in the topic, and workers that are started answer it as fast as they can.

In: a world, a command to start. Out: a `Closed`. Never: the backlog's own making in the figures; a start, or the time
until everything is warm, in the rate.
"""

import time
from typing import Final

from mergeline.bench import processes
from mergeline.bench.batches import batches_between
from mergeline.bench.load import loading
from mergeline.bench.meter import Meter, Reading, cost, metered
from mergeline.bench.mix import Messages, run_name
from mergeline.bench.outcomes import Judge, Judgement, answer_of, subscribed
from mergeline.bench.progress import Progress, progress_of
from mergeline.bench.results import Closed
from mergeline.bench.subject import Subject
from mergeline.bench.workers import Workers
from mergeline.errors import SetupError

WARM_SHARE: Final = 0.15
"""Of the backlog, before the clock starts: programs are loaded, plans made, the broker's code compiled."""
SILENCE_S: Final = 120.0
FIRST_POLL_MS: Final = 20
READ_POLL_MS: Final = 300
READ_SILENCE_S: Final = 30.0


async def run_closed(subject: Subject, requests: int, run: int) -> Closed:
    """Lay the backlog, start the workers (they are left running), measure, and check every answer."""
    world, workers = subject.world, subject.workers
    messages, judge = Messages(world.plan, run, world.next_victim), subject.judge()
    async with loading(world.settings) as load:
        await load.backlog(judge.expect(messages.make(requests)))
    await world.add_merges(messages.merges)
    async with (
        progress_of(world.settings, subject.last_topic) as progress,
        metered(subject.site, world, workers) as meter,
    ):
        if world.plan.statements:
            await meter.begin_statements()
        first_ms = await _start(subject)
        async with meter.sampling():
            before, after, done = await _measure(progress, meter, workers, requests)
        statements = await meter.statements() if world.plan.statements else []
        metrics_after = workers.metrics()
        peak = max((processes.peak_rss_bytes(pid) for pid in workers.pids), default=0)
        waits = {name: count / meter.samples for name, count in meter.waits.most_common()}
    return Closed(
        requests=requests,
        start_to_first_outcome_ms=first_ms,
        cost=cost(before, after, done),
        batches=batches_between({}, metrics_after),
        waits=waits,
        statements=statements,
        peak_rss_bytes=peak,
        judgement=await judged(subject, judge, run),
    )


async def _start(subject: Subject) -> float:
    """Start the workers; milliseconds until a subscriber has the first outcome."""
    settings, partitions = subject.world.settings, subject.world.plan.partitions
    async with subscribed(settings, partitions, from_beginning=True) as subscriber:
        began = time.perf_counter()
        subject.workers.start()
        while True:
            now, records = await subscriber.bunch(FIRST_POLL_MS)
            if records:
                return (now - began) * 1000
            subject.workers.check()
            if now - began > SILENCE_S:
                raise SetupError(f"No outcome came within {SILENCE_S:.0f} s of the workers' start.")


async def _measure(progress: Progress, meter: Meter, workers: Workers, requests: int) -> tuple[Reading, Reading, int]:
    """Readings where it was warm and at the end, and how many messages lay between them.

    Raises:
        SetupError: if nothing lay between them.
    """
    await progress.until(int(requests * WARM_SHARE), workers, SILENCE_S)
    warm = await progress.committed()
    if warm >= requests:
        raise SetupError(
            f"{requests:,} requests are too few to measure: all were answered before the bench could look twice. "
            "Take more of them."
        )
    before = await meter.read()
    await progress.until(requests, workers, SILENCE_S)
    after = await meter.read()
    return before, after, requests - warm


async def judged(subject: Subject, judge: Judge, run: int) -> Judgement:
    """Read all outcomes and dead letters of a run, from the logs' beginning; what the judge says to them."""
    name, quiet_since = run_name(run).encode(), time.perf_counter()
    partitions = subject.world.plan.partitions
    async with subscribed(subject.world.settings, partitions, from_beginning=True) as subscriber:
        # Also what comes when nothing is missing any more: it would be an answer too many.
        goes_on = True
        while goes_on:
            now, records = await subscriber.bunch(READ_POLL_MS)
            quiet_since = now if records else quiet_since
            goes_on = bool(records) or (judge.missing > 0 and now - quiet_since < READ_SILENCE_S)
            for record in records:
                answer = answer_of(record, name)
                if answer is not None:
                    judge.hear(answer)
    return judge.verdict()
