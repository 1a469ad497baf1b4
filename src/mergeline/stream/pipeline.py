"""One pipeline: gather batches, process them, publish them while the next ones gather, or, once full, are processed.

In: fetched records of the assigned partitions. Out: published batches with their offsets, in order. Never: a
record below the acquired positions published again, an offset that goes back, or an exception that ends silently:
what it cannot mend ends the process, which starts again, from what the ledger has.

       put -> lanes -> gather -> stage.process -> (waits) -> cut at the positions -> stage.publish
                     as many at once as there are lanes                 ^                | Retriable
                                                                        +- stage.acquire +
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

import structlog
from aiokafka import TopicPartition

from mergeline.domain.messages import Outgoing
from mergeline.errors import MergelineError
from mergeline.metrics import BATCH_MESSAGES, PUBLISH_FAILURES, STEP_SECONDS
from mergeline.stream.lanes import Bounds, Chunk, Lane, chunk_of, lanes_of, left
from mergeline.stream.origin import Record
from mergeline.stream.retrying import Retriable, wait_s

MUCH_SHARE: Final = 0.25
"""Of a full batch: with so much it is begun while one before it is under way. Without, a load of half of what can be
done does not get rid of what piled up while something else was slow: each batch is nearly as large as the last."""
PUBLISH_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of values, in one publish. An ordinary batch has 1 MiB; one of large merges has hundreds, which no way to the brokers
takes within `publish_timeout_ms`. Half of it after each failure in a row, since a way may be slow."""
HALVINGS_MAX: Final = 8
CANCEL_AGAIN_S: Final = 0.5
CANCELS_MAX: Final = 40
log = structlog.get_logger(__name__)


class Lost(Exception):
    """The partitions are no longer ours: go quiet, publish nothing."""


class Unending(MergelineError):
    """A task of ours does not end."""


class Work(NamedTuple):
    """Processed records of one partition: their offsets, rising, and what is to be published for each."""

    partition: TopicPartition
    offsets: Sequence[int]
    outgoing: Sequence[Sequence[Outgoing]]


class Stage(Protocol):
    """What a pipeline does with a batch."""

    name: str

    async def acquire(
        self, partitions: Sequence[TopicPartition], published: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Take the partitions over and say where they go on; Retriable is tried again.

        `published`: how far this pipeline has published, where it had them before.
        """

    def process(self, batch: Sequence[Chunk], partitions: Sequence[TopicPartition], /) -> AsyncIterator[list[Work]]:
        """Works in the order of the chunks, part by part, each as soon as it may be published; one a chunk, as a rule.

        All records are in one of them. An exception ends the process.

        `partitions`: those of the batch, and others of which no batch is processed meanwhile.
        """

    async def publish(self, records: Sequence[Outgoing], ends: Mapping[TopicPartition, int]) -> None:
        """Publish for good, or Retriable."""

    async def release(self) -> None:
        """Give up what `acquire` took; may be called twice."""


class Pipeline:
    """The batches of one stage during one assignment; `lanes` of them at once under a backlog."""

    def __init__(
        self,
        stage: Stage,
        partitions: Sequence[TopicPartition],
        *,
        lanes: int,
        bounds: Bounds,
        batch_wait_ms: int,
        still_ours: Callable[[], bool],
        got_room: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.stage, self.partitions = stage, list(partitions)
        self._bounds, self._batch_wait_s = bounds, batch_wait_ms / 1000
        self._still_ours, self._got_room, self._fail = still_ours, got_room, fail
        self._lanes = lanes_of(partitions, lanes, bounds)
        self._lane = {partition: lane for lane in self._lanes for partition in lane.partitions}
        self._moved = asyncio.Event()
        """Set when records arrive, when a batch is processed and when it is published."""
        self._processed: asyncio.Queue[tuple[list[Work], list[Chunk]]] = asyncio.Queue(len(self._lanes))
        """Batches; or parts of them, the last one of which has the batch, which is done with it."""
        self.moves = 0
        """How often it has published something."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._read: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._failures_in_a_row = 0

    # ------------------------------------------------------------ what the consumer sees

    async def open(self) -> dict[TopicPartition, int]:
        """Acquire the partitions and start; where each of them goes on.

        Raises:
            Retriable: if they could not be acquired.
        """
        self._positions = await self.stage.acquire(self.partitions, {})
        self._read = dict(self._positions)
        loops = [self._publish_all] + [self._process_all] * len(self._lanes)
        self._tasks = [
            asyncio.create_task(self._guard(loop), name=f"{self.stage.name}{loop.__name__}") for loop in loops
        ]
        return dict(self._positions)

    def has_room(self, partition: TopicPartition) -> bool:
        """Whether a fetch of the partition may bring more."""
        return not self._closing and self._lane[partition].has_room

    def unpublished(self) -> dict[TopicPartition, int]:
        """The partitions with records that were read but not published, and how far they are published."""
        return {partition: done for partition, done in self._positions.items() if done < self._read[partition]}

    def put(self, records: Sequence[Record]) -> None:
        """Take the records of one fetch of one partition; those below the positions were published before."""
        first = records[0]
        partition = TopicPartition(first.topic, first.partition)
        read = self._read[partition]
        fresh = [record for record in records if record.offset >= read]
        if not fresh or self._closing:
            return
        self._read[partition] = fresh[-1].offset + 1
        self._lane[partition].put(chunk_of(partition, fresh))
        self._idle.clear()
        self._moved.set()

    def pass_over(self, partition: TopicPartition, offset: int) -> None:
        """Publish an offset and nothing else, of a partition with nothing unpublished; not now, where much else is."""
        if self._positions[partition] < offset and not self._closing and not self._processed.full():
            self._read[partition] = offset
            self._processed.put_nowait(([Work(partition, [offset - 1], [()])], []))

    async def close(self, grace_s: float) -> None:
        """Finish what is under way for at most `grace_s`, then give everything up."""
        self._closing = True
        for lane in self._lanes:
            lane.drop()
        self._done([])
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            log.warning("pipeline.abandoned", stage=self.stage.name, records=self._held())
        await self._end_tasks()
        await self.stage.release()

    async def _end_tasks(self) -> None:
        """Cancel until it is heard: a connection that breaks while it is left makes another error of a cancellation.

        Whoever awaits us holds up the group's rebalance.
        """
        running = set(self._tasks)
        for _ in range(CANCELS_MAX):
            for task in running:
                task.cancel()
            if running:
                _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
        if running:
            self._fail(Unending(", ".join(sorted(task.get_name() for task in running))))

    # ------------------------------------------------------------ the way of a batch

    async def _process_all(self) -> None:
        while True:
            lanes, batch = await self._gather()
            to_come = sum(len(chunk.records) for chunk in batch)
            BATCH_MESSAGES.labels(self.stage.name).observe(to_come)
            took_s, since = 0.0, time.monotonic()
            async for works in self.stage.process(batch, [tp for lane in lanes for tp in lane.partitions]):
                took_s += time.monotonic() - since
                to_come -= sum(len(work.offsets) for work in works)
                await self._processed.put((works, [] if to_come else batch))
                since = time.monotonic()
            STEP_SECONDS.labels(self.stage.name, "process").observe(took_s)
            for lane in lanes:  # not before: what a lane has next stands behind this in the queue
                lane.in_process = False
            self._moved.set()

    async def _gather(self) -> tuple[list[Lane], list[Chunk]]:
        """The next batch, and the lanes that it holds up: one that is full, or whatever there is of all."""
        while True:
            await self._until(lambda: any(lane.is_ready for lane in self._lanes))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._batch_wait_s):
                    await self._until(self._is_ripe)
            ready = [lane for lane in self._lanes if lane.is_ready]
            lanes = next(([lane] for lane in ready if lane.is_full), ready)
            batch: list[Chunk] = []
            for lane in lanes:
                taken = lane.take(left(self._bounds, *batch))
                lane.in_process = bool(taken)
                batch += taken
            if batch:
                return [lane for lane in lanes if lane.in_process], batch

    def _is_ripe(self) -> bool:
        """Whether nothing speaks for waiting: much waits, none has a batch under way, or another loop was quicker.

        What a batch costs does not depend on its size while that is small: two of them at once only delay each other,
        and everybody else on the broker. Of one that is not, the cost is its records', and it gains nothing by waiting.
        """
        ready = [lane for lane in self._lanes if lane.is_ready]
        much = sum(lane.share for lane in ready) >= MUCH_SHARE
        busy = any(lane.under_way for lane in self._lanes)
        return not (ready and busy) or much or any(lane.is_full for lane in ready)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._moved.clear()
            await self._moved.wait()

    async def _publish_all(self) -> None:
        while True:
            # What was processed meanwhile goes out at once, a batch for each lane: it costs what one costs.
            ready = [await self._processed.get()]
            ready += [self._processed.get_nowait() for _ in range(self._processed.qsize())]
            if not await self._published([work for works, _ in ready for work in works]):
                for works, _ in ready:  # together they may be too much for the time that a publish has
                    while not await self._published(works):
                        pass
            self._done([chunk for _, batch in ready for chunk in batch])

    async def _published(self, works: list[Work]) -> bool:
        """Publish what was not published yet; False where that failed, and the partitions were acquired again.

        At once, but for what is too much for the time that a publish has.
        """
        while True:
            bytes_max = PUBLISH_BYTES_MAX >> min(self._failures_in_a_row, HALVINGS_MAX)
            part = first_of([_from(work, self._positions[work.partition]) for work in works], bytes_max)
            ends = {work.partition: work.offsets[-1] + 1 for work in part if work.offsets}
            if not ends:
                return True
            records = [record for work in part for answer in work.outgoing for record in answer]
            try:
                with STEP_SECONDS.labels(self.stage.name, "publish").time():
                    await self.stage.publish(records, ends)
            except Retriable as error:
                PUBLISH_FAILURES.labels(self.stage.name).inc()
                log.warning("publish.failed", stage=self.stage.name, error=str(error), records=len(records))
                await asyncio.sleep(wait_s(self._failures_in_a_row))
                self._failures_in_a_row += 1
                await self._reacquire()
                return False
            self._failures_in_a_row = 0
            self.moves += 1
            self._positions.update(ends)

    async def _reacquire(self) -> None:
        """Acquire again until it works or the partitions are lost; positions never go back."""
        failures = 0
        while True:
            await self.stage.release()
            if self._closing or not self._still_ours():
                raise Lost
            try:
                acquired = await self.stage.acquire(self.partitions, dict(self._positions))
            except Retriable as error:
                log.warning("acquire.failed", stage=self.stage.name, error=str(error))
                failures += 1
                await asyncio.sleep(wait_s(failures))
                continue
            for partition, offset in acquired.items():
                self._positions[partition] = max(offset, self._positions[partition])
            return

    def _done(self, batch: Sequence[Chunk]) -> None:
        for chunk in batch:
            self._lane[chunk.partition].done(chunk)
        if not self._held():
            self._idle.set()
        self._moved.set()
        self._got_room()

    def _held(self) -> int:
        return sum(lane.held for lane in self._lanes)

    async def _guard(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Ends the process with whatever the loop ends with, but for a loss, which the next assignment mends."""
        try:
            await loop()
        except Lost:
            log.warning("pipeline.lost", stage=self.stage.name)
            self._closing = True
            self._idle.set()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 (the process ends with it)
            self._fail(error)


def first_of(works: Sequence[Work], bytes_max: int) -> Sequence[Work]:
    """So much of them, in order, that the values of its records are `bytes_max` together; the first answer anyway."""
    if _bytes_of(record for work in works for answer in work.outgoing for record in answer) <= bytes_max:
        return works
    part: list[Work] = []
    left = bytes_max
    for partition, offsets, outgoing in works:
        for number, answer in enumerate(outgoing):
            left -= _bytes_of(answer)
            if left < 0 and (number or any(work.offsets for work in part)):
                return [*part, Work(partition, offsets[:number], outgoing[:number])]
        part.append(Work(partition, offsets, outgoing))
    return part


def _bytes_of(records: Iterable[Outgoing]) -> int:
    return sum([len(record.value or b"") for record in records])


def _from(work: Work, position: int) -> Work:
    """What was not published yet."""
    partition, offsets, outgoing = work
    if offsets and offsets[0] >= position:
        return work
    done = bisect_left(offsets, position)
    return Work(partition, offsets[done:], outgoing[done:])
