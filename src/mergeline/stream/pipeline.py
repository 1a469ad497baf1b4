"""One pipeline: gather a batch, process it, publish it while the next one gathers, or, once that is full, is processed.

In: fetched records of the assigned partitions. Out: published batches with their offsets, in order. Never: a
record below the acquired positions published again, an offset that goes back, or an exception that ends silently:
what it cannot mend ends the process, which starts again and replays.

       put -> pending -> gather -> stage.process -> (one waits) -> cut at the positions -> stage.publish
                                                                        ^                      | PublishFailed
                                                                        +---- stage.acquire ---+
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

import structlog
from aiokafka import TopicPartition

from mergeline.domain.messages import Outgoing
from mergeline.metrics import BATCH_MESSAGES, PUBLISH_FAILURES, STEP_SECONDS
from mergeline.stream.origin import Record, bytes_of
from mergeline.stream.publisher import PublishFailed

REACQUIRE_WAIT_S: Final = 0.3
CANCEL_AGAIN_S: Final = 0.5
CANCELS_MAX: Final = 40
log = structlog.get_logger(__name__)


class Lost(Exception):
    """The partitions are no longer ours: go quiet, publish nothing."""


class Chunk(NamedTuple):
    """Records of one partition, in order, and how many bytes they hold."""

    partition: TopicPartition
    records: Sequence[Record]
    bytes: int


class Unending(Exception):
    """A task of ours does not end."""


class Work(NamedTuple):
    """A processed record, by where it was read, and what is to be published for it."""

    partition: TopicPartition
    offset: int
    outgoing: tuple[Outgoing, ...]


class Stage(Protocol):
    """What a pipeline does with a batch."""

    name: str

    async def acquire(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Take the partitions over and say where they go on; PublishFailed is tried again."""

    async def process(self, batch: Sequence[Chunk]) -> list[Work]:
        """One work a record, in order; an exception ends the process."""

    async def publish(self, records: Sequence[Outgoing], ends: Mapping[TopicPartition, int]) -> None:
        """Publish for good, or PublishFailed."""

    async def release(self) -> None:
        """Give up what `acquire` took; may be called twice."""


class Pipeline:
    """The batches of one stage during one assignment; `lanes` are all pipelines of that stage, and get this one."""

    def __init__(
        self,
        stage: Stage,
        partitions: Sequence[TopicPartition],
        *,
        batch_max: int,
        batch_max_bytes: int,
        batch_wait_ms: int,
        lanes: "list[Pipeline]",
        still_ours: Callable[[], bool],
        got_room: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.stage, self.partitions = stage, list(partitions)
        self._batch_max, self._batch_max_bytes, self._batch_wait_s = batch_max, batch_max_bytes, batch_wait_ms / 1000
        self._still_ours, self._got_room, self._fail = still_ours, got_room, fail
        self._pending: deque[Chunk] = deque()
        self._lanes = lanes
        lanes.append(self)
        self._moved = asyncio.Event()
        """Set when records arrive, and when a batch of any lane is done."""
        self._processed: asyncio.Queue[tuple[list[Work], int]] = asyncio.Queue(maxsize=1)
        self._idle = asyncio.Event()
        self._idle.set()
        self._held = self._held_bytes = 0
        self._read: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    # ------------------------------------------------------------ what the consumer sees

    async def open(self) -> dict[TopicPartition, int]:
        """Acquire the partitions and start; where each of them goes on.

        Raises:
            PublishFailed: if they could not be acquired.
        """
        self._positions = await self.stage.acquire(self.partitions)
        self._read = dict(self._positions)
        self._tasks = [
            asyncio.create_task(self._guard(self._process_all), name=f"{self.stage.name}-process"),
            asyncio.create_task(self._guard(self._publish_all), name=f"{self.stage.name}-publish"),
        ]
        return dict(self._positions)

    def has_room(self) -> bool:
        """Whether a fetch may bring more: two batches at most are held, by number and by bytes."""
        full = self._held >= 2 * self._batch_max or self._held_bytes >= 2 * self._batch_max_bytes
        return not self._closing and not full

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
        size = sum(map(bytes_of, fresh))
        self._pending.append(Chunk(partition, fresh, size))
        self._held += len(fresh)
        self._held_bytes += size
        self._idle.clear()
        self._moved.set()

    async def close(self, grace_s: float) -> None:
        """Finish what is under way for at most `grace_s`, then give everything up."""
        self._closing = True
        while self._pending:
            dropped = self._pending.pop()
            self._done(len(dropped.records), dropped.bytes)
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            log.warning("pipeline.abandoned", stage=self.stage.name, records=self._held)
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
            batch = await self._gather()
            BATCH_MESSAGES.labels(self.stage.name).observe(sum(len(chunk.records) for chunk in batch))
            with STEP_SECONDS.labels(self.stage.name, "process").time():
                works = await self.stage.process(batch)
            await self._processed.put((works, sum(chunk.bytes for chunk in batch)))

    async def _gather(self) -> list[Chunk]:
        """What has gathered, within the bounds."""
        batch: list[Chunk] = []
        while not batch:
            await self._ripe()
            space, space_bytes = self._batch_max, self._batch_max_bytes
            while self._pending and space > 0 and space_bytes > 0:
                taken, rest = _cut(self._pending.popleft(), space, space_bytes)
                batch.append(taken)
                space, space_bytes = space - len(taken.records), space_bytes - taken.bytes
                if rest.records:
                    self._pending.appendleft(rest)
        return batch

    async def _ripe(self) -> None:
        """Wait for records; then, while they fill no batch, until no lane has one under way, `batch_wait_ms` at most.

        What a batch costs does not depend on its size while that is small: two of them at once only delay each other,
        and everybody else on the broker. Under a backlog none waits, and one is processed while another is published.
        """
        while not self._pending:
            self._moved.clear()
            await self._moved.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._batch_wait_s):
                while self._is_busy_and_not_full():
                    self._moved.clear()
                    await self._moved.wait()

    def _is_busy_and_not_full(self) -> bool:
        size = sum(chunk.bytes for chunk in self._pending)
        full = self._waiting() >= self._batch_max or size >= self._batch_max_bytes
        return not full and any(lane._held > lane._waiting() for lane in self._lanes)  # noqa: SLF001

    def _waiting(self) -> int:
        return sum(len(chunk.records) for chunk in self._pending)

    async def _publish_all(self) -> None:
        while True:
            works, size = await self._processed.get()
            await self._publish(works)
            self._done(len(works), size)

    async def _publish(self, works: list[Work]) -> None:
        while True:
            works = [work for work in works if work.offset >= self._positions[work.partition]]
            if not works:
                return
            ends = {work.partition: work.offset + 1 for work in works}
            try:
                with STEP_SECONDS.labels(self.stage.name, "publish").time():
                    await self.stage.publish([record for work in works for record in work.outgoing], ends)
            except PublishFailed as error:
                PUBLISH_FAILURES.labels(self.stage.name).inc()
                log.warning("publish.failed", stage=self.stage.name, error=str(error), records=len(works))
                await self._reacquire()
            else:
                self._positions.update(ends)
                return

    async def _reacquire(self) -> None:
        """Acquire again until it works or the partitions are lost; positions never go back."""
        while True:
            await self.stage.release()
            if self._closing or not self._still_ours():
                raise Lost
            try:
                acquired = await self.stage.acquire(self.partitions)
            except PublishFailed as error:
                log.warning("acquire.failed", stage=self.stage.name, error=str(error))
                await asyncio.sleep(REACQUIRE_WAIT_S)
                continue
            for partition, offset in acquired.items():
                self._positions[partition] = max(offset, self._positions[partition])
            return

    def _done(self, records: int, size: int) -> None:
        self._held -= records
        self._held_bytes -= size
        if self._held <= 0:
            self._idle.set()
        for lane in self._lanes:
            if lane is not self:
                lane._moved.set()  # noqa: SLF001
        self._moved.set()  # last: the others have waited for longer
        self._got_room()

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


def _cut(chunk: Chunk, space: int, space_bytes: int) -> tuple[Chunk, Chunk]:
    """What fits, and the rest; the record that goes over the bytes still goes with those before it."""
    partition, records, everything = chunk
    if len(records) <= space and everything <= space_bytes:
        return chunk, Chunk(partition, [], 0)
    size = taken = 0
    for record in records[:space]:
        size, taken = size + bytes_of(record), taken + 1
        if size >= space_bytes:
            break
    return Chunk(partition, records[:taken], size), Chunk(partition, records[taken:], everything - size)
