"""Faust's consumer, made to hand over whole batches and to read committed records only.

In: what the group's partitions hold. Out: one Faust message a fetch and agent, its value the records by partition: what
Faust does for a message costs as much as deciding a request, and under a light load a partition has one record in a
fetch. Never: an offset committed, an exception out of the fetch loop, a fetch for a partition without room, or a step
over records that are not there any more.

Rests on internals of faust-streaming 0.15.3 and aiokafka 0.14.0 (pinned): Faust reads uncommitted records and
hands over one record at a time otherwise.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import aiokafka
import faust
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types.tuples import TP

from mergeline.errors import SetupError

ROOM_WAIT_S: Final = 0.5
"""How long a fetch waits for room before it looks at the partitions again."""
FETCH_S_MAX: Final = 0.25
"""How long a fetch waits for records; whoever opens an assignment waits for a fetch that is under way."""
SHORT_FETCH_S: Final = 0.005
"""A fetch for some of the partitions only, so that the others are not starved when they get room."""
FETCH_MAX_WAIT_MS: Final = 100
FETCH_PART_WAIT_MS: Final = 20
"""The same for a fetch that leaves out partitions, since what they brought a moment ago was not taken yet. It will be
any moment, and until this fetch ends nothing else is fetched from that broker: 100 ms in which each message waits. What
was not taken for longer has no room, and waits for more than a fetch."""
PREFETCH_BACKOFF_S: Final = 0.002
"""aiokafka waits 0.1 s between prefetches and has no setting; at 2 ms p99 fell from 135 to 34 ms."""
FETCH_PACE_S: Final = 0.02
"""The least time from one fetch of a broker to the next. A fetch costs worker and broker milliseconds, whatever it
brings, and a broker answers as soon as it has one record: without this, 300 requests a second were 120 fetches. Where
it is quiet nothing waits, since the fetch before was sent long ago."""
DENIED: Final = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)
UNREADABLE: Final = (OffsetOutOfRangeError, NoOffsetForPartitionError, *DENIED)
LOOP_TICK_S: Final = 0.001
"""uvloop's clock goes by whole milliseconds: to wait for less is to turn without a pause until the next one."""
METADATA_PACE_S: Final = 0.1
"""The least time from one forced look at the metadata to the next. Where a partition has no leader aiokafka asks again
with each answer: 400 times a second, for as long as a broker is away."""
METADATA_MAX_AGE_MS: Final = 3_000
"""Whoever shares out the group's partitions may have seen no topics yet: aiokafka goes on where the broker dies between
its first answer and the topics'. Every member gets no partition then, until the topics are looked at again; Faust's own
5 minutes are an outage."""
PARTITION_FETCH_BYTES_MAX: Final = 1 << 20


class BatchSchema(faust.Schema):
    """No codec: the value is what was fetched."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        """No key: each record of the batch has its own."""
        return None

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        """The records by partition, as they were fetched."""
        return message.value


class PacedFetcher(Fetcher):
    """Fetches from each broker at most once in `FETCH_PACE_S`, and decides what only then."""

    may_fetch_at: dict[int, float]
    """By node, on the loop's clock."""
    may_look_at: float
    """When metadata may be asked for again, on the same clock."""

    def _get_actions_per_node(self, assignment: Any) -> Any:
        self._fetch_max_wait_ms = FETCH_PART_WAIT_MS if self._leaves_out_for_a_moment() else FETCH_MAX_WAIT_MS
        requests, resets, wait_s, is_stale, resumes = super()._get_actions_per_node(assignment)
        now = asyncio.get_running_loop().time()
        waits_s = [wait_s]
        due = []
        for node_id, request in requests:
            left_s = self.may_fetch_at.get(node_id, now) - now
            if left_s > 0:
                waits_s.append(max(left_s, LOOP_TICK_S))
            else:
                self.may_fetch_at[node_id] = now + FETCH_PACE_S
                due.append((node_id, request))
        if is_stale and now < self.may_look_at:
            is_stale = False
            waits_s.append(max(self.may_look_at - now, LOOP_TICK_S))
        elif is_stale:
            self.may_look_at = now + METADATA_PACE_S
        return due, resets, min(waits_s), is_stale, resumes

    def _leaves_out_for_a_moment(self) -> bool:
        """Whether there are records that somebody takes any moment."""
        since = time.monotonic() - FETCH_MAX_WAIT_MS / 1000
        return any(records._created > since for records in self._records.values())  # noqa: SLF001 (aiokafka's)

    async def close(self) -> None:
        """As aiokafka's, which lets the cancellation of a fetch out that waits after an error.

        Faust's thread ends of it without saying so, and whoever stops the worker waits until it is stopped hard.
        """
        tasks = {self._fetch_task, *self._pending_tasks}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._pending_tasks.clear()
        await super().close()


class ReadCommittedThread(AIOKafkaConsumerThread):
    """The consumer's thread, with our isolation level and back-offs."""

    client_options: dict[str, Any]
    mundane_level = "debug"  # the library's starting and stopping is no news

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        self._assignor = RoundRobinPartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            **self.client_options,
            client_id=conf.broker_client_id,
            group_id=conf.id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            # Each partition is sought by us before it is fetched. What is not there then has expired, or the topic was
            # made anew: aiokafka would go to another place without a word.
            auto_offset_reset="none",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            isolation_level="read_committed",
        )

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Nothing: a crash ends the process, which says so. Faust would print a text that may hold values."""

    async def on_start(self) -> None:
        """Start the client, then set what it has no setting for."""
        await super().on_start()
        fetcher = self._consumer._fetcher  # noqa: SLF001
        fetcher._prefetch_backoff = PREFETCH_BACKOFF_S  # noqa: SLF001
        fetcher.__class__, fetcher.may_fetch_at, fetcher.may_look_at = PacedFetcher, {}, 0.0


class Gate(Protocol):
    """What the consumer asks before it fetches, and tells of what it fetched."""

    room: asyncio.Event
    """Set when a pipeline got room."""
    fetching: asyncio.Lock
    """Held while a fetch is under way."""

    def has_room(self, partition: TP, /) -> bool:
        """Whether the partition's pipeline takes more."""

    def reader(self, partition: TP, /) -> str | None:
        """The name of the stage that reads the partition; None where nobody does now."""

    def fetched(self, partition: TP, offset: int, /) -> None:
        """A batch that begins at `offset` is going to be handed over."""

    def stops(self) -> None:
        """What is fetched from now on is dropped, so the positions say nothing any more."""

    def flows(self) -> None:
        """Faust has done what it does in a rebalance."""


class _Quiet(Consumer):
    """Does nothing by itself of what is ours to do."""

    mundane_level = "debug"

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust's livelock checks know neither batches nor our commits; our watchdog does."""

    async def perform_seek(self) -> None:
        """Nothing: `Assignment.open` has sought each partition, and by more than the group's offsets.

        Faust asks for these one by one. Where brokers take longer than it waits, its task for rebalances ends without a
        word: nothing flows any more, and no later rebalance is served.
        """


def batch_consumer(
    client_options: dict[str, Any],
    gate: Gate,
    fail: Callable[[BaseException], None],
    denied: Callable[[str], str],
) -> type[Consumer]:
    """A consumer class for `app.transport.Consumer`.

    Args:
        client_options: brokers and security, as aiokafka's clients take them.
        gate: where the records go; the one place of back-pressure.
        fail: ends the process.
        denied: what to say of something that brokers do not allow.
    """
    thread = type("Thread", (ReadCommittedThread,), {"client_options": client_options})

    class BatchConsumer(_Quiet):
        """Fetches what has room, and yields each partition's records as one message."""

        def _new_consumer_thread(self) -> Any:
            return thread(self, loop=self.loop, beacon=self.beacon)

        def stop_flow(self) -> None:
            gate.stops()
            super().stop_flow()

        def resume_flow(self) -> None:
            super().resume_flow()
            gate.flows()

        async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 (Faust's name)
            await _flowing(self)
            assigned = self._get_active_partitions()
            active = {tp for tp in assigned if gate.has_room(tp)}
            if not active:  # aiokafka reads an empty set as "all": never pass it
                await _wait(gate.room)
                return
            generation = self.app.consumer_generation_id
            wait_s = _wait_s(timeout, is_whole=len(active) == len(assigned))
            try:
                found = await _fetched(self, gate, active, wait_s)
            except UNREADABLE as error:
                found = []
                fail(SetupError(_unreadable(error, denied)))
            for batches in found:
                if _is_late(self, generation):
                    return  # dropped: the next assignment seeks again, once no fetch is under way
                # The last record of one of the partitions stands for all of them to Faust.
                *_, (partition, (*_, last)) = batches.items()
                message = self._to_message(partition, last)
                message.value = batches
                yield partition, message

    return BatchConsumer


async def _fetched(consumer: Consumer, gate: Gate, active: set[TP], wait_s: float) -> list[dict[TP, list[Any]]]:
    """What a fetch brings, by stage; the gate knows all of it before anybody may look at the positions.

    Raises:
        KafkaError: one of `UNREADABLE`.
    """
    generation = consumer.app.consumer_generation_id
    async with gate.fetching:
        try:
            records = await consumer._getmany(active_partitions=active, timeout=wait_s)  # noqa: SLF001 (ours)
        except UNREADABLE:
            if _is_late(consumer, generation):
                return []  # it looked at partitions that were not sought yet
            raise
        found = [] if _is_late(consumer, generation) else _by_reader(records, gate)
        for batches in found:
            for partition, batch in batches.items():
                gate.fetched(partition, batch[0].offset)
    return found


def _by_reader(records: dict[Any, list[Any]], gate: Gate) -> list[dict[TP, list[Any]]]:
    """The records of a fetch, by stage and partition."""
    found: dict[str | None, dict[TP, list[Any]]] = {}
    for tp, batch in records.items():
        partition = TP(tp.topic, tp.partition)
        found.setdefault(gate.reader(partition), {})[partition] = batch
    return list(found.values())


async def _flowing(consumer: Consumer) -> None:
    """Wait until Faust lets the consumer fetch."""
    if not consumer.flow_active:
        await consumer.wait(consumer.can_resume_flow)


def _wait_s(longest_s: float, *, is_whole: bool) -> float:
    """How long a fetch of all partitions, or of some, may wait for records."""
    return min(longest_s, FETCH_S_MAX) if is_whole else SHORT_FETCH_S


def _is_late(consumer: Consumer, generation: int) -> bool:
    """Whether a rebalance, or the end, came between a fetch and now."""
    return bool(consumer.should_stop or not consumer.flow_active or generation != consumer.app.consumer_generation_id)


def _unreadable(error: KafkaError, denied: Callable[[str], str]) -> str:
    if isinstance(error, DENIED):
        return denied(f"Read {error.args[0]}")
    assert isinstance(error, OffsetOutOfRangeError | NoOffsetForPartitionError)  # noqa: S101 - `UNREADABLE`
    place = ", ".join(f"{tp.topic}, partition {tp.partition}" for tp in _partitions_of(error))
    return (
        f"Records of {place} that were not read yet went from its log: they expired, or the topic was made anew. "
        "Start the worker again: it says which, and what to do."
    )


def _partitions_of(error: OffsetOutOfRangeError | NoOffsetForPartitionError) -> list[Any]:
    """What aiokafka names in an error: a mapping by partition, or one partition."""
    (named,) = error.args
    return sorted(named) if isinstance(named, dict) else [named]


async def _wait(room: asyncio.Event) -> None:
    room.clear()
    with suppress(TimeoutError):
        await asyncio.wait_for(room.wait(), ROOM_WAIT_S)
