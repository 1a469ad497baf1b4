"""What Kafka can still deliver again, and what it knows of the group's progress: what `prune` must not fall short of.

In: the settings. Out: how long each input topic keeps a message; the group's committed offsets. Never: a topic that
is left out because its configs are hidden from us.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition

from mergeline.domain.incarnations import FIRST
from mergeline.domain.messages import Place
from mergeline.domain.vocabulary import INPUT_TOPICS, Topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.incarnations import Incarnation
from mergeline.stream.group import committed_offsets
from mergeline.stream.origin import place_of
from mergeline.stream.protocol import TopicIds, topic_ids
from mergeline.stream.topics import DAY_MS, admin, full_name, kept_ms, partitions_of, read_configs


@dataclass(frozen=True, slots=True)
class Deliverable:
    """Of each input topic by its full name, how long it can deliver a message (None: for ever); and the progress.

    `committed`: the group's offsets; `topic_ids`: of the topics that they are of, by full name.
    """

    kept_ms: Mapping[str, int | None]
    committed: Mapping[TopicPartition, int]
    topic_ids: TopicIds

    def days_least(self) -> int | None:
        """The whole days that the ledger has to remember, or None for ever."""
        longest = [kept for kept in self.kept_ms.values() if kept is not None]
        return None if len(longest) < len(self.kept_ms) else -(-max(longest) // DAY_MS)

    def longest(self) -> list[str]:
        """The topics that decide this."""
        worst = max(_infinite(kept) for kept in self.kept_ms.values())
        return [name for name, kept in self.kept_ms.items() if _infinite(kept) == worst]

    def published(self, topic_prefix: str, known: Mapping[str, Incarnation]) -> dict[Place, int]:
        """Of each partition that the group has read, the first offset that is not published.

        Offsets in a topic that was made anew, and that no worker has read yet, say nothing of what the ledger has.
        """
        found = {}
        for partition, offset in self.committed.items():
            incarnation = known.get(partition.topic.removeprefix(topic_prefix), Incarnation(FIRST, None))
            topic_id = self.topic_ids.get(partition.topic)
            if None in (topic_id, incarnation.topic_id) or topic_id == incarnation.topic_id:
                found[place_of(partition, topic_prefix, incarnation.number)] = offset
        return found


async def read_deliverable(settings: Settings) -> Deliverable:
    """Ask Kafka.

    The internal topic does not count: what was published of it is never read again, since positions never fall below
    `partition_owner.published_offset`, and a day with anything else is not dropped.

    Raises:
        SetupError: if Kafka does not answer, a topic is missing, or we may not see its configs.
    """
    names = [full_name(settings, topic) for topic in INPUT_TOPICS]
    async with admin(settings) as client:
        counts = await partitions_of(client, names, if_there=[full_name(settings, Topic.COMMANDS_BY_CUSTOMER)])
        configs, hidden = await read_configs(client, names)
        partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
        offsets = await committed_offsets(settings, client, partitions)
        committed = {partition: known.offset for partition, known in offsets.items()}
        ids = await topic_ids(client._send_request, sorted({partition.topic for partition in committed}))  # noqa: SLF001
    if hidden:
        raise SetupError(
            f"The configs of {', '.join(hidden)} are hidden from us, so nobody knows how long messages are kept there. "
            "Allow DescribeConfigs on them."
        )
    return Deliverable({name: kept_ms(configs[name]) for name in names}, committed, ids)


def _infinite(kept: int | None) -> float:
    return float("inf") if kept is None else kept
