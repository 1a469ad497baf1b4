"""How far the group is beyond what the database knows, and the way back: `mergeline offsets`.

In: the settings, an admin client, a connection to the database. Out: how each partition that workers read stands; the
group's offsets, set back. Never: an offset that goes forward, one that is set while the group has members, or another
judgement than the one by which a worker stops.

What the ledger has an answer to takes no effect when it is read again: it is safe to go back too far.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from mergeline.domain.incarnations import FIRST, topic_of
from mergeline.domain.messages import Place
from mergeline.domain.vocabulary import Topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.incarnations import Incarnation, published_offsets, read_incarnations
from mergeline.store.ownership import Owner, read_owners
from mergeline.store.statements import Connection, Statements
from mergeline.stream.clients import connected, kafka_errors, onlooker
from mergeline.stream.drained import messages_left
from mergeline.stream.forgotten import Gap, answered_up_to, gaps, with_records
from mergeline.stream.group import check_idle, commit, committed_offsets
from mergeline.stream.handover import check_published
from mergeline.stream.incarnations import check, topics_applied, topics_read
from mergeline.stream.offsets import position
from mergeline.stream.origin import place_of
from mergeline.stream.protocol import topic_ids
from mergeline.stream.topics import full_name, partitions_of


@dataclass(frozen=True, slots=True)
class Standing:
    """How a partition stands; in offsets, unless it is said otherwise."""

    partition: TopicPartition
    committed: int | None
    """By the group; None where it has none."""
    published: int
    """The first one that the database does not know to be published."""
    answered: int | None
    """The first one that the database knows no answer from; None where it says that nobody answers: it was routed."""
    start: int
    """Of the log."""
    end: int
    routed: bool = False
    """Whether a router reads it, as workers are set."""
    forgotten: bool = False
    """Whether a record lies between `answered` and where the group goes on."""
    problem: str | None = None
    """Why no worker goes on here, where that is not mended by going back."""

    def back_to(self, *, to_start: bool = False) -> int | None:
        """What the group's offset is to be set back to; None where it stays. Never one that is not further back.

        `to_start`: to the start of the log, also where the database does not ask for it; or to where workers begin,
        where that is further on.
        """
        wanted = self.answered if self.forgotten else None
        # What was answered without a router has to be published before one reads it: no router goes on below that.
        if to_start and (self.answered is None or not self.routed):
            # Nor `apply` below what is published: the offset would stay there, as a lag, until the next message.
            wanted = 0 if self.routed else self.published
        if self.problem is not None or self.committed is None or wanted is None:
            return None
        offset = max(wanted, self.start)
        return offset if offset < self.committed else None

    @property
    def gone(self) -> tuple[int, int] | None:
        """What the group has read, the database does not know and the log has no more: from, and to before."""
        if self.problem is not None or self.committed is None or self.answered is None:
            return None
        end = min(self.start, self.committed)
        return (self.answered, end) if self.answered < end else None


def judge(
    places: Mapping[Place, TopicPartition],
    applied: Container[str],
    owners: Mapping[Place, Owner],
    horizons: Mapping[Place, int],
    committed: Mapping[TopicPartition, int],
    logs: Mapping[TopicPartition, tuple[int, int]],
) -> tuple[list[Standing], dict[TopicPartition, Gap]]:
    """How partitions stand, and those that go on beyond what is answered; whether a record lies there is not said yet.

    Args:
        places: all that are to be judged.
        applied: the topics (without prefix) that `apply` reads.
        owners: those that the database knows.
        horizons: the highest offset that the ledger has an answer for.
        committed: the group's offsets.
        logs: where each begins and ends.
    """
    # What `apply` has never seen it has not answered.
    routed = {place for place in places if topic_of(place.topic) not in applied}
    known = {place: owners.get(place) or Owner(None, 0, None if place in routed else 0) for place in places}
    found, positions = [], {}
    for place, partition in places.items():
        owner, (start, end), offset = known[place], logs[partition], committed.get(partition)
        floor = 0 if place in routed else owner.published_offset  # a router goes by the group alone
        problem = None
        try:
            at = position(partition, offset, start, end, floor)
            if place in routed and owner.answered_offset is not None and place in horizons:
                check_published(known, {place: horizons[place]}, {place: at})
            positions[partition] = at
        except SetupError as error:
            problem = str(error)
        answered = answered_up_to(owner, horizons.get(place))
        found.append(
            Standing(partition, offset, owner.published_offset, answered, start, end, place in routed, problem=problem)
        )
    going_on = {place: partition for place, partition in places.items() if partition in positions}
    return found, gaps(going_on, known, horizons, positions)


async def standings(settings: Settings, client: AIOKafkaAdminClient, connection: Connection) -> list[Standing]:
    """How the partitions stand that workers read, topic by topic.

    Raises:
        SetupError: if a topic is missing, or was made anew, or workers that go without the internal topic would not
            start; or brokers do not say in time what lies beyond.
        KafkaError: if they do not say anything else.
    """
    names = {full_name(settings, topic): topic for topic in topics_read(settings)}
    counts = await partitions_of(client, list(names))
    ids = await topic_ids(client._send_request, list(names))  # noqa: SLF001 (there is no other way)
    partitions = [TopicPartition(name, number) for name in names for number in range(counts[name])]
    # The group before the database, that before the logs: workers that go on meanwhile are not ahead of themselves.
    offsets = await committed_offsets(settings, client, partitions)
    db = Statements(connection)
    recorded = await read_incarnations(db)
    numbers = {
        name: check(name, topic, recorded.get(topic, Incarnation(FIRST, None)), ids.get(name))
        for name, topic in names.items()
    }
    places = {place_of(one, settings.topic_prefix, numbers[one.topic]): one for one in partitions}
    owners, horizons = await read_owners(db, settings.group_id, list(places), settings.database_timeout_ms)
    if settings.requests_keyed:
        await _check_drained(settings, await published_offsets(db, settings.group_id, Topic.COMMANDS_BY_CUSTOMER))
    async with connected(onlooker(settings), settings) as consumer:
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    found, beyond = judge(
        places,
        topics_applied(settings),
        owners,
        horizons,
        {partition: known.offset for partition, known in offsets.items()},
        {partition: (starts[partition], ends[partition]) for partition in partitions},
    )
    with kafka_errors(settings):  # said here: whoever speaks to the database too would take a time-out for its
        holding = await with_records(settings, beyond)
    return [replace(one, forgotten=one.partition in holding) for one in found]


async def _check_drained(settings: Settings, published: Mapping[int, int]) -> None:
    """As a worker does that starts; what it is to do after a restore is not all that it would say."""
    if left := await messages_left(settings, published):
        raise SetupError(
            f"{full_name(settings, Topic.COMMANDS_BY_CUSTOMER)} holds {left} messages that the database does not know "
            "to be published: no worker with MERGELINE_REQUESTS_KEYED=true starts. Have it false for this command and "
            "for the workers until the topic is drained. If it was changed since the backup, use mergeline offsets "
            "rewind --to-start: deploy/README.md, Backup and restore."
        )


async def rewind(
    settings: Settings, client: AIOKafkaAdminClient, connection: Connection, *, to_start: bool, change: bool
) -> list[Standing]:
    """Set the group back to what the database knows, or `to_start`; how partitions stood before.

    `change`: else it is only said what would be done.

    Raises:
        SetupError, KafkaError: as `standings`; also while the group has members.
    """
    await check_idle(settings, client)
    found = await standings(settings, client, connection)
    back = {one.partition: offset for one in found if (offset := one.back_to(to_start=to_start)) is not None}
    if change and back:
        await commit(settings, client, back)
    return found
