"""A new incarnation of a topic that was made anew: `mergeline topics reset`.

In: the topic, an admin client, a connection to the database. Out: what is (or would be) done. Never: a reset while
workers are members of the group, of a topic that is the one the ledger knows, or one that is half done and cannot be
done again.

First whoever sleeps is locked out, for good: former owners are fenced, so that none wakes up to commit an offset of
the former log, and the database takes no more of their answers. What is left to publish is then the same for each run
that it takes, and a place behind which it goes on means what it says. The new incarnation goes last. Until it commits
workers find that the topic was made anew, and read nothing. What is done before can be done again: the group's offsets
are set to the start of the new log, in one transaction with each page of what former owners had not published.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Final, NamedTuple
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from mergeline.domain.messages import Coordinate, Outgoing
from mergeline.domain.vocabulary import INPUT_TOPICS, Topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.incarnations import IDLE_MS_MAX, START, Incarnation, Turn, next_incarnation
from mergeline.store.statements import Connection, Statements
from mergeline.stream.clients import TRANSACTIONAL_ID_PREFIX, client_options, connected, onlooker
from mergeline.stream.group import check_idle, commit, committed_offsets
from mergeline.stream.incarnations import topics_read
from mergeline.stream.leftovers import records_of
from mergeline.stream.producers import Producers
from mergeline.stream.protocol import topic_ids
from mergeline.stream.publisher import PublishFailed
from mergeline.stream.topics import full_name, partitions_of

KAFKA_S_MAX: Final = IDLE_MS_MAX / 1000 - 10
"""Before the database ends the transaction that waits for it."""
CLOCKS_APART_MS_MAX: Final = 3_600_000
"""Of brokers, which date messages, and of the database, which dates answers."""


@dataclass(frozen=True, slots=True)
class Reset:
    """A topic before and after; `topic` by its full name.

    `read_again`: topics, by full name, of which the group begins at the start of the log. `published`: answers to
    messages of the former log that were stored, not known to be published, and are so now. `lost`: dead letters among
    those whose message is gone.
    """

    topic: str
    was: Incarnation
    now: Incarnation
    read_again: list[str]
    published: int
    lost: int


class Mark(NamedTuple):
    """What an unfinished reset leaves beside the offsets of its topic: up to which place of the former log it has
    published what was left.
    """

    incarnation: int
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"incarnation {self.incarnation}, behind {self.partition}/{self.offset}" if self.incarnation else ""

    @classmethod
    def read(cls, metadata: str) -> "Mark":
        """The mark, or the least where there is none."""
        found = re.fullmatch(r"incarnation (\d+), behind (\d+)/(\d+)", metadata)
        return cls(*map(int, found.groups())) if found else NO_MARK


NO_MARK: Final = Mark(0, *START)


def topic_meant(settings: Settings, given: str) -> str:
    """The topic, without prefix, that somebody names with or without it.

    Raises:
        SetupError: if it is none that workers read.
    """
    topics = topics_read(settings)
    for topic in (given, given.removeprefix(settings.topic_prefix)):
        if topic in topics:
            return str(Topic(topic))
    raise SetupError(f"{given} is not a topic that workers read. Those are: {', '.join(topics)}.")


async def reset(
    settings: Settings,
    client: AIOKafkaAdminClient,
    connection: Connection,
    topic: str,
    *,
    keep_offsets: bool = False,
    same_id: bool = False,
    change: bool = True,
) -> Reset:
    """Begin the next incarnation of a topic.

    Args:
        settings: brokers, group, prefix.
        client: of the brokers.
        connection: to the database.
        topic: without prefix.
        keep_offsets: it has the messages of the one before, at the same offsets: only its id is another.
        same_id: although its id is the one that is known, or its brokers give none.
        change: else it is only said what would be done.

    Raises:
        SetupError: if that may not be, or brokers do not answer; it can be run again.
    """
    name = full_name(settings, topic)
    await partitions_of(client, [name])
    found = (await topic_ids(client._send_request, [name])).get(name)  # noqa: SLF001 (there is no other way)
    await check_idle(settings, client)
    db, anew = Statements(connection), change and not keep_offsets
    async with next_incarnation(db, settings.group_id, topic) as locked:
        turn = _check_another(name, locked, found, same_id=same_id)
        if anew:
            await _lock_out(settings, turn)
    async with next_incarnation(db, settings.group_id, topic) as locked:
        turn = _check_another(name, locked, found, same_id=same_id)
        now = Incarnation(turn.now.number if keep_offsets else turn.now.number + 1, found)
        again = [] if keep_offsets else [full_name(settings, one) for one in _read_again(topic)]
        starts: dict[TopicPartition, int] = {}
        forgotten: dict[int, int] = {}
        if anew:
            await _lock_out(settings, turn)  # who began meanwhile
            async with _while_locked():
                starts = await _begin(settings, client, again)
                if same_id and topic == Topic.COMMANDS_BY_CUSTOMER:
                    forgotten = await _forgotten(settings, turn, starts)
        published, lost = (0, 0) if keep_offsets else await _publish(settings, client, turn, starts)
        if change:
            await turn.write(now.topic_id, now.number, forgotten)
    return Reset(name, turn.now, now, again, published, lost)


@asynccontextmanager
async def _while_locked() -> AsyncIterator[None]:
    """What is asked of Kafka while the rows are locked."""
    try:
        async with asyncio.timeout(KAFKA_S_MAX):
            yield
    except TimeoutError:
        raise SetupError(
            f"Brokers took longer than {KAFKA_S_MAX:.0f} s for the reset, which is not done yet. Run it again."
        ) from None


def _read_again(topic: str) -> list[str]:
    """What was routed to the internal topic and not applied went with it; what was applied is known by its origin."""
    return [topic, *INPUT_TOPICS] if topic == Topic.COMMANDS_BY_CUSTOMER else [topic]


def _check_another(name: str, turn: Turn | None, found: UUID | None, *, same_id: bool) -> Turn:
    if turn is None:
        raise SetupError(f"{name} was never read with this database, so there is nothing to reset.")
    if same_id or (found is not None and found != turn.now.topic_id):
        return turn
    if found is None:
        raise SetupError(
            f"The brokers give {name} no id, so nobody can tell whether it was made anew. If it was: --same-id."
        )
    raise SetupError(
        f"{name} is the topic that is known ({found}): it was not made anew. If Kafka was restored from an older "
        "copy, so that its log lacks messages that were answered: --same-id."
    )


async def _begin(settings: Settings, client: AIOKafkaAdminClient, again: Sequence[str]) -> dict[TopicPartition, int]:
    """Set the group's offsets to the start of the topics that are read again; where the first, made anew, begins."""
    starts = await _starts(settings, client, again)
    own = {partition: start for partition, start in starts.items() if partition.topic == again[0]}
    await commit(settings, client, {partition: start for partition, start in starts.items() if partition not in own})
    return own


async def _forgotten(settings: Settings, turn: Turn, starts: Mapping[TopicPartition, int]) -> dict[int, int]:
    """Of a log whose end alone is another: by partition, up to where it was published before the ledger's first day.

    The topic keeps messages for longer than the ledger knows them, and read again these would take effect again.
    """
    first_day = await turn.first_day()
    if first_day is None:
        return {}
    at_ms = int(datetime.combine(first_day, time.min, UTC).timestamp() * 1000) + CLOCKS_APART_MS_MAX
    async with connected(onlooker(settings), settings) as consumer:
        remembered = await consumer.offsets_for_times(dict.fromkeys(starts, at_ms))
        ends = await consumer.end_offsets(list(starts))
    return {
        tp.partition: min(turn.published.get(tp.partition, 0), found.offset if found else ends[tp])
        for tp, found in remembered.items()
    }


async def _lock_out(settings: Settings, turn: Turn) -> None:
    """Have whoever owned partitions of the former log publish nothing any more, and store nothing once this commits."""
    producers = Producers(settings, client_options(settings))
    try:
        async with _while_locked():
            await asyncio.gather(*(producers.fence(one) for one in sorted(turn.transactional_ids)))
    except PublishFailed as error:
        raise SetupError(f"Former workers could not be locked out: {error}. Run it again.") from None
    await turn.close()


async def _starts(settings: Settings, client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[TopicPartition, int]:
    """Where the logs of these topics start."""
    counts = await partitions_of(client, names)
    async with connected(onlooker(settings), settings) as consumer:
        found: dict[TopicPartition, int] = await consumer.beginning_offsets(
            [TopicPartition(name, number) for name in names for number in range(counts[name])]
        )
    return found


async def _publish(
    settings: Settings, client: AIOKafkaAdminClient, turn: Turn, starts: Mapping[TopicPartition, int]
) -> tuple[int, int]:
    """Set the group's offsets to `starts`, page by page with what former workers did not publish; each page once.

    Returns:
        How many answers were left, and how many dead letters among them are lost. Without `starts` they are counted.

    Raises:
        SetupError: if brokers do not answer; it can be run again.
    """
    if not starts:
        return await _published(settings, turn, START)
    number, exactly_once = turn.now.number + 1, settings.delivery == "exactly_once"
    # The same id each time: an earlier run that sleeps, or was killed, is locked out, and its transaction settled.
    own_id = f"{TRANSACTIONAL_ID_PREFIX}{settings.group_id}-reset-{next(iter(starts)).topic}"
    await turn.hold()
    try:
        async with _while_locked():
            publisher = await Producers(settings, client_options(settings)).start(own_id if exactly_once else None)
        await turn.hold()
        try:
            async with _while_locked():
                done = await _mark(settings, client, starts)
                await commit(settings, client, starts, str(done))  # which is refused where the group has members

            async def publish(records: Sequence[Outgoing], last: Coordinate) -> None:
                mark = Mark(number, last.partition, last.offset)
                await publisher.publish(
                    records, {tp: OffsetAndMetadata(start, str(mark)) for tp, start in starts.items()}
                )
                if not exactly_once:
                    await commit(settings, client, starts, str(mark))

            return await _published(settings, turn, done[1:] if done.incarnation == number else START, publish)
        finally:
            await publisher.kill()
    except PublishFailed as error:
        raise SetupError(f"What former workers did not publish could not be: {error}. Run it again.") from None


async def _published(
    settings: Settings, turn: Turn, behind: tuple[int, int], publish: Callable[..., Awaitable[None]] | None = None
) -> tuple[int, int]:
    published = lost = 0
    async for rows in turn.unpublished(behind):
        async with _while_locked():
            records, gone = await records_of(settings, rows, turn.others)
            if publish is not None:
                await publish(records, rows[-1].at)
        published, lost = published + len(rows) - gone, lost + gone
    return published, lost


async def _mark(settings: Settings, client: AIOKafkaAdminClient, starts: Mapping[TopicPartition, int]) -> Mark:
    """How far a reset has come that was not finished."""
    committed = await committed_offsets(settings, client, list(starts))
    return min((Mark.read(one.metadata) for one in committed.values()), default=NO_MARK)
