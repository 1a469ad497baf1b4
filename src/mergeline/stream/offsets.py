"""The group's offsets, read and committed through the consumer's own connection.

In: partitions. Out: where to go on. Never: an offset of a transaction that may still be open (fence first), or a
position that skips records that nobody read; a commit in another generation than the positions were read in, or one
that goes on after it was given up.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    GroupCoordinatorNotAvailableError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    NotCoordinatorForGroupError,
)
from aiokafka.structs import OffsetAndMetadata

from mergeline.errors import SetupError
from mergeline.stream.protocol import TopicIds, TopicsRequest, committed_offsets, topic_ids
from mergeline.stream.retrying import Retriable

CALL_TIMEOUT_S: Final = 20.0
THREAD_TIMEOUT_S: Final = 2.0
"""What the consumer's thread may take longer than a call of it."""
NO_GENERATION: Final = -1
"""aiokafka's, of one who is no member. The broker takes a commit with it from anybody once the group is empty."""
log = structlog.get_logger(__name__)


class Offsets:
    """Calls into the consumer's thread, each bounded."""

    def __init__(self, app: faust.App) -> None:
        self._app = app
        self._committing = asyncio.Lock()
        self._committed: dict[TopicPartition, int] = {}
        self._generation = NO_GENERATION

    async def positions(
        self, partitions: Sequence[TopicPartition], floor: Mapping[TopicPartition, int] | None = None
    ) -> dict[TopicPartition, int]:
        """Where to go on: the committed offset, or the log's start, or `floor` where that is higher.

        Raises:
            Retriable: if the broker does not answer in time.
            SetupError: if records went from the log unread, or `floor` is beyond the log's end.
        """
        consumer = self._consumer()
        self._generation = consumer._coordinator.generation  # noqa: SLF001
        try:
            committed = await self._call(_committed, consumer._coordinator, partitions)  # noqa: SLF001
            starts = await self._call(consumer.beginning_offsets, list(partitions))
            ends = await self._call(consumer.end_offsets, list(partitions))
        except (KafkaError, OSError, TimeoutError) as error:
            raise Retriable(type(error).__name__) from error
        found = {}
        for partition in partitions:
            known = committed.get(partition)
            offset = known.offset if known is not None else None
            least = (floor or {}).get(partition, 0)
            found[partition] = position(partition, offset, starts[partition], ends[partition], least)
            self._committed.pop(partition, None)
        return found

    async def topic_ids(self, names: Sequence[str]) -> TopicIds:
        """As `protocol.topic_ids`.

        Raises:
            Retriable: if the broker does not answer in time.
        """
        client = self._consumer()._client  # noqa: SLF001

        async def send(request: TopicsRequest) -> Any:
            return await client.send(client.get_random_node(), request)

        try:
            found: TopicIds = await self._call(topic_ids, send, names)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Retriable(type(error).__name__) from error
        return found

    async def confirm(self) -> None:
        """Have the group's coordinator say that we are a member of its generation; to be asked before fencing anybody.

        Raises:
            Retriable: if it does not say so in time: the partitions may be another worker's by now.
        """
        try:
            is_member = await self._call(self._consumer()._coordinator._do_heartbeat)  # noqa: SLF001
        except (KafkaError, OSError, TimeoutError) as error:
            raise Retriable(type(error).__name__) from error
        if not is_member:
            raise Retriable("no member of the group")

    async def commit(self, ends: Mapping[TopicPartition, int]) -> None:
        """Commit as the member that the positions were read as: refused once the group went on without us.

        Raises:
            Retriable: if that did not work; whether it took effect is unknown.
        """
        try:
            async with self._committing:
                await self._call(self._commit, ends)
                self._committed.update(ends)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Retriable(type(error).__name__) from error

    async def keep(self, partitions: Sequence[TopicPartition]) -> None:
        """Commit again what was overwritten by an earlier commit, of a connection that was given up, arriving late.

        It is of our generation, so the broker takes it, and a partition that gets nothing new would show a lag for
        ever, and be read again from there by its next worker.

        Raises:
            KafkaError, OSError, TimeoutError: if that did not work; to be tried again.
        """
        consumer = self._consumer()
        async with self._committing:
            ours = {tp: self._committed[tp] for tp in partitions if tp in self._committed}
            if not ours:
                return
            found = await self._call(_committed, consumer._coordinator, list(ours))  # noqa: SLF001
            back = {tp: end for tp, end in ours.items() if tp not in found or found[tp].offset < end}
            if back:
                log.warning("offsets.went_back", partitions=len(back))
                await self._call(self._commit, back)

    async def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The last stable offset of each partition."""
        ends: dict[TopicPartition, int] = await self._call(self._consumer().end_offsets, list(partitions))
        return ends

    async def reached(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the next fetch of each partition goes on; without asking a broker."""
        positions: dict[TopicPartition, int] = await self._call(_positions, self._consumer(), partitions)
        return positions

    def refusal(self) -> BaseException | None:
        """What the group's coordinator has said for good, and aiokafka tells nobody but a fetch.

        In a rebalance none is under way, so whoever waits for it would be silent for ever.
        """
        consumer = self._app.consumer._thread._consumer  # noqa: SLF001
        coordinator = consumer._coordinator if consumer is not None else None  # noqa: SLF001
        if coordinator is None:  # it looks for its brokers
            return None
        task = coordinator._coordination_task  # noqa: SLF001
        ended = task.exception() if task.done() and not task.cancelled() else None
        found: BaseException | None = coordinator._pending_exception or ended  # noqa: SLF001
        return found

    async def is_answered(self) -> bool:
        """Whether any broker that the consumer knows answers it."""
        try:
            return bool(await self._call(self._consumer()._client.force_metadata_update))  # noqa: SLF001
        except (KafkaError, OSError, TimeoutError):
            return False

    async def _commit(self, ends: Mapping[TopicPartition, int]) -> None:
        """In the consumer's thread, once. aiokafka's own would try again for ever, as whatever member it is by then."""
        consumer = self._consumer()
        coordinator, subscription = consumer._coordinator, consumer._subscription.subscription  # noqa: SLF001
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None or not assignment.tps.issuperset(ends):
            raise IllegalStateError("no longer assigned")
        await coordinator.ensure_coordinator_known()
        async with coordinator._commit_lock:  # noqa: SLF001
            if coordinator.generation != self._generation or self._generation == NO_GENERATION:
                raise CommitFailedError("the group went on")
            marks = {tp: OffsetAndMetadata(end, "") for tp, end in ends.items()}
            await coordinator._do_commit_offsets(assignment, marks)  # noqa: SLF001 (the request is made before it waits)

    def _consumer(self) -> Any:
        consumer = self._app.consumer._thread._consumer  # noqa: SLF001
        if consumer is None:
            raise KafkaConnectionError("the consumer has not been started")
        return consumer

    async def _call(self, function: Any, *arguments: Any) -> Any:
        thread = self._app.consumer._thread  # noqa: SLF001
        try:
            return await asyncio.wait_for(
                thread.call_thread(_bounded, function, *arguments), CALL_TIMEOUT_S + THREAD_TIMEOUT_S
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ConnectionAbortedError("ended by the consumer's thread") from None


async def _bounded(function: Any, *arguments: Any) -> Any:
    """In the consumer's thread: what is given up here does not go on there, where it would hold up other calls."""
    return await asyncio.wait_for(function(*arguments), CALL_TIMEOUT_S)


async def _committed(coordinator: Any, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
    """In the consumer's thread, once: whoever is not the coordinator any more is not asked again."""
    await coordinator.ensure_coordinator_known()
    try:
        return await committed_offsets(coordinator._send_req, coordinator.group_id, partitions)  # noqa: SLF001
    except (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError):
        coordinator.coordinator_dead()
        raise


async def _positions(consumer: Any, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """In the consumer's thread, all at once: no fetch may begin meanwhile."""
    return {partition: await consumer.position(partition) for partition in partitions}


def position(partition: TopicPartition, committed: int | None, start: int, end: int, floor: int) -> int:
    """Where one partition goes on.

    Raises:
        SetupError: where going on would skip records, or publish what the log no longer knows.
    """
    name = f"{partition.topic}, partition {partition.partition}"
    done = max(floor, committed or 0)  # where the group's offsets have expired, `floor` says how far it was
    if done < start and (floor or committed is not None):
        raise SetupError(
            f"Records of {name} expired before they were read: read up to {done}, the log starts at {start}. "
            "Raise the topic's retention; to go on without them, set the group's offsets to the start."
        )
    if done > end:
        raise SetupError(
            f"The log of {name} ends at {end}, but {done} was published: Kafka was restored from "
            "an older copy, or the topic was made anew. Restore it; or stop all workers and run: mergeline topics "
            f"reset {partition.topic} --same-id (deploy/README.md)."
        )
    return max(committed if committed is not None else start, floor)
