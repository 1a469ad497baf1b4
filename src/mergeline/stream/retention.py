"""What Kafka can still deliver again, and what it knows of the group's progress: what `prune` must not fall short of.

In: the settings. Out: how long each input topic keeps a message; the group's committed offsets. Never: a topic that
is left out because its configs are hidden from us.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mergeline.domain.messages import Place
from mergeline.domain.vocabulary import INPUT_TOPICS
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.stream.origin import place_of
from mergeline.stream.topics import DAY_MS, admin, full_name, kept_ms, partitions_of, read_configs


@dataclass(frozen=True, slots=True)
class Deliverable:
    """Of each input topic by its full name, how long it can deliver a message (None: for ever); and the progress.

    `published`: of each partition that the group has read, by the topic's name without prefix, the first offset that is
    not published.
    """

    kept_ms: Mapping[str, int | None]
    published: Mapping[Place, int]

    def days_least(self) -> int | None:
        """The whole days that the ledger has to remember, or None for ever."""
        longest = [kept for kept in self.kept_ms.values() if kept is not None]
        return None if len(longest) < len(self.kept_ms) else -(-max(longest) // DAY_MS)

    def longest(self) -> list[str]:
        """The topics that decide this."""
        worst = max(_infinite(kept) for kept in self.kept_ms.values())
        return [name for name, kept in self.kept_ms.items() if _infinite(kept) == worst]


async def read_deliverable(settings: Settings) -> Deliverable:
    """Ask Kafka.

    The internal topic does not count: what was published of it is never read again, since positions never fall below
    `partition_owner.published_offset`, and a day with anything else is not dropped.

    Raises:
        SetupError: if Kafka does not answer, a topic is missing, or we may not see its configs.
    """
    names = [full_name(settings, topic) for topic in INPUT_TOPICS]
    async with admin(settings) as client:
        await partitions_of(client, names)
        configs, hidden = await read_configs(client, names)
        committed = await client.list_consumer_group_offsets(settings.group_id)
    if hidden:
        raise SetupError(
            f"The configs of {', '.join(hidden)} are hidden from us, so nobody knows how long messages are kept there. "
            "Allow DescribeConfigs on them."
        )
    prefix = settings.topic_prefix
    published = {
        place_of(partition, prefix): known.offset
        for partition, known in committed.items()
        if partition.topic.startswith(prefix) and known.offset >= 0
    }
    return Deliverable({name: kept_ms(configs[name]) for name in names}, published)


def _infinite(kept: int | None) -> float:
    return float("inf") if kept is None else kept
