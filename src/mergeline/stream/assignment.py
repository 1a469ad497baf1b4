"""The pipelines of the partitions that the group has given us, from one rebalance to the next.

In: Faust's signals and fetched batches. Out: open pipelines, or closed ones. Never: a batch in a pipeline of
another generation, or a pipeline open before its partitions were acquired.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import faust
import structlog
from aiokafka import TopicPartition

from mergeline.errors import MergelineError
from mergeline.metrics import ASSIGNED_PARTITIONS
from mergeline.settings import Settings
from mergeline.stream.lanes import Bounds
from mergeline.stream.pipeline import Pipeline, Stage
from mergeline.stream.retrying import Retriable, wait_s

REVOKE_GRACE_S: Final = 5.0
"""How long a rebalance waits for batches under way."""
log = structlog.get_logger(__name__)


class SteppedOver(MergelineError):
    """Records that were fetched did not come: going on would skip them for good."""


class Reader(NamedTuple):
    """A stage, the topics that it reads (full names), and how many batches of it are processed at once."""

    stage: Stage
    topics: frozenset[str]
    lanes: int = 1


class Assignment:
    """One pipeline a stage over all of its assigned partitions.

    Args:
        app: the Faust app.
        readers: who reads what; each topic belongs to one of them.
        settings: batch bounds and time-outs.
        fail: ends the process.
    """

    def __init__(
        self,
        app: faust.App,
        readers: Collection[Reader],
        settings: Settings,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._app, self._readers, self._settings, self._fail = app, readers, settings, fail
        self._pipelines: dict[TopicPartition, Pipeline] = {}
        self._generation: int | None = None
        self._changing = asyncio.Lock()
        self._opening: asyncio.Task[None] | None = None
        self._flowing = False
        self._handed: dict[TopicPartition, deque[int]] = {}
        self.room = asyncio.Event()
        self.fetching = asyncio.Lock()
        """Held by a fetch: one that began before a rebalance ends after it, and moves the positions then."""

    # ------------------------------------------------------------ what the consumer and the agents see

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions whose pipelines are open."""
        return list(self._pipelines)

    @property
    def is_open(self) -> bool:
        """Whether the group's last assignment (of no partition, perhaps) has been acquired, and Faust reads it.

        It may have given that up without a word: whoever counts this as open would wait for ever.
        """
        return self._flowing

    def unpublished(self) -> dict[TopicPartition, int]:
        """See `Pipeline.unpublished`; also the partitions with records that Faust was handed and did not bring."""
        found = {tp: handed[0] for tp, handed in self._handed.items() if handed}
        return found | {tp: done for pipe in set(self._pipelines.values()) for tp, done in pipe.unpublished().items()}

    def has_room(self, partition: TopicPartition) -> bool:
        """Whether a fetch of the partition would be taken."""
        pipeline = self._pipelines.get(partition)
        return self._flowing and pipeline is not None and pipeline.has_room(partition)

    def flows(self) -> None:
        """Faust has resumed the flow: the end of what it does in a rebalance.

        Until then it throws away what lies in its queues, and a rebalance that was overtaken by another one has
        opened the consumer too early.
        """
        self._flowing = self._generation is not None
        self.room.set()

    def stops(self) -> None:
        """Faust stops the flow, a moment before it closes us: a fetch that ends behind it is dropped."""
        self._flowing = False

    def reader(self, partition: TopicPartition) -> str | None:
        """The name of the stage that reads the partition; None where its pipeline is closed."""
        pipeline = self._pipelines.get(partition)
        return None if pipeline is None else pipeline.stage.name

    def fetched(self, partition: TopicPartition, offset: int) -> None:
        """Records from `offset` on go to Faust, which has to bring them to `put`, in order."""
        self._handed.setdefault(partition, deque()).append(offset)

    def put(self, message: Any) -> None:
        """Hand what was fetched to its pipelines; drop it where that is of another generation (it is read again)."""
        if message.generation_id != self._generation:
            return
        for partition, records in message.value.items():
            pipeline = self._pipelines.get(partition)
            if pipeline is None:
                continue
            handed = self._handed.get(partition)
            if handed and handed.popleft() != records[0].offset:
                self._fail(SteppedOver(f"{partition.topic}, partition {partition.partition}"))
                return
            pipeline.put(records)

    # ------------------------------------------------------------ what the watchdog sees

    def moves(self, partition: TopicPartition) -> int:
        """A number that rises while a partition waits for others: 0 where it need not wait, or is not open.

        Large batches are published part by part, the last of their partitions after minutes.
        """
        pipeline = self._pipelines.get(partition)
        if pipeline is None or (pipeline.has_room(partition) and partition not in pipeline.unpublished()):
            return 0
        return pipeline.moves

    async def progress(
        self, reached: Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
    ) -> dict[TopicPartition, int]:
        """How far each open partition is done.

        What ends a partition and is no record (end markers, aborted ones) is passed over meanwhile, or it would be
        taken for records that expired unread once retention takes it.

        Args:
            reached: where the next fetch of each partition goes on.
        """
        async with self.fetching:  # what a fetch brought is known to have been read by the time it ends
            generation, partitions = self._generation, self.partitions
            found = await reached(partitions)
            if generation is None or generation != self._generation or not self._flowing:
                return {}
            unpublished = self.unpublished()
            for partition, offset in found.items():
                if partition not in unpublished:
                    self._pipelines[partition].pass_over(partition, offset)
        return {**found, **unpublished}

    # ------------------------------------------------------------ what a rebalance does

    async def open(self) -> None:
        """Acquire what is assigned now, seek there, and open; `close`, or a newer rebalance, ends the attempt."""
        async with self._changing:
            await self._close(REVOKE_GRACE_S)
            generation = self._app.consumer_generation_id
            opened: dict[TopicPartition, Pipeline] = {}
            # A task of its own, so that `close` can end it without ending whoever awaits us.
            self._opening = opening = asyncio.create_task(self._acquire_all(opened, generation))
            try:
                await asyncio.wait([opening])
            finally:
                self._opening = None
                opening.cancel()
            error = None if opening.cancelled() else opening.exception()
            if error is not None and not isinstance(error, Retriable):
                self._fail(error)
            if opening.cancelled() or error is not None or generation != self._app.consumer_generation_id:
                await _close_all(opened, 0.0)
                log.info("assignment.superseded", generation=generation)
                return
            self._generation, self._pipelines = generation, opened
            ASSIGNED_PARTITIONS.set(len(opened))
            log.info("assignment.opened", generation=generation, partitions=len(opened))

    async def close(self, grace_s: float = REVOKE_GRACE_S) -> None:
        """Finish what is under way for at most `grace_s` and let the partitions go; an attempt to open ends now."""
        if self._opening is not None:
            self._opening.cancel()
        async with self._changing:
            await self._close(grace_s)

    async def _acquire_all(self, opened: dict[TopicPartition, Pipeline], generation: int) -> None:
        """Open a pipeline a stage, into `opened`, and seek where they go on.

        Raises:
            Retriable: the group went on without us.
            Exception: what ends the process.
        """
        assigned = [TopicPartition(*partition) for partition in self._app.consumer.assignment()]
        positions: dict[TopicPartition, int] = {}
        for reader in self._readers:
            mine = sorted(partition for partition in assigned if partition.topic in reader.topics)
            if mine:
                pipeline = self._pipeline(reader, mine, generation)
                opened |= dict.fromkeys(mine, pipeline)
                positions |= await self._acquired(pipeline, generation)
        if positions:
            async with self.fetching:  # no pipeline is open now, so none begins before all of them are
                await self._app.consumer.seek_wait(positions)

    async def _close(self, grace_s: float) -> None:
        pipelines, self._pipelines, self._generation = self._pipelines, {}, None
        self._flowing, self._handed = False, {}
        ASSIGNED_PARTITIONS.set(0)
        if pipelines:
            await _close_all(pipelines, grace_s)
            log.info("assignment.closed", partitions=len(pipelines))

    def _pipeline(self, reader: Reader, partitions: list[TopicPartition], generation: int) -> Pipeline:
        return Pipeline(
            reader.stage,
            partitions,
            lanes=reader.lanes,
            bounds=Bounds(self._settings.batch_max, self._settings.batch_max_bytes),
            batch_wait_ms=self._settings.batch_wait_ms,
            still_ours=lambda: generation == self._app.consumer_generation_id,
            got_room=self.room.set,
            fail=self._fail,
        )

    async def _acquired(self, pipeline: Pipeline, generation: int) -> dict[TopicPartition, int]:
        """Open the pipeline, again and again while brokers or database are away, for `start_timeout_ms`.

        Raises:
            Retriable: the group went on without us.
            TimeoutError: it took too long.
        """
        deadline = asyncio.get_running_loop().time() + self._settings.start_timeout_ms / 1000
        failures = 0
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await pipeline.open()
            except Retriable as error:
                await pipeline.stage.release()
                # A connection that breaks while it is being left turns a cancellation into another error.
                if generation != self._app.consumer_generation_id or _cancelled():
                    raise
                log.warning("acquire.failed", stage=pipeline.stage.name, error=str(error))
                if asyncio.get_running_loop().time() >= deadline:
                    raise TimeoutError from error
            failures += 1
            await asyncio.sleep(wait_s(failures))


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _close_all(pipelines: dict[TopicPartition, Pipeline], grace_s: float) -> None:
    await asyncio.gather(*(pipeline.close(grace_s) for pipeline in set(pipelines.values())))
