"""Whether the database remembers what the group's offsets say was answered.

In: partitions that would go on beyond the last batch that the database has seen. Out: nothing, or a `SetupError` that
says how far each has to go back. Never: an offset committed, or an alarm over what is no record.

A database that was restored from a backup, or whose standby took over without the last commits, is older than Kafka.
What was answered meanwhile would be gone, and sent again it would take effect again.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from mergeline.domain.messages import Place
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.ownership import Owner
from mergeline.stream.clients import onlooker, read_up_to, started
from mergeline.stream.retrying import Retriable

LOOK_TIMEOUT_S: Final = 10.0


class Gap(NamedTuple):
    """What lies between the last batch in the database and where a partition would go on."""

    answered: int
    """The first offset that no batch has read."""
    position: int


def gaps(
    places: Mapping[Place, TopicPartition],
    owners: Mapping[Place, Owner],
    horizons: Mapping[Place, int],
    positions: Mapping[TopicPartition, int],
) -> dict[TopicPartition, Gap]:
    """Of the partitions that go on beyond what the database has answered."""
    found = {}
    for place, partition in places.items():
        answered = answered_up_to(owners[place], horizons.get(place))
        if answered is not None and positions[partition] > answered:
            found[partition] = Gap(answered, positions[partition])
    return found


def answered_up_to(owner: Owner, horizon: int | None) -> int | None:
    """The first offset that the database knows no answer from; None where it was routed, and offsets are the router's.

    `horizon`: the highest offset that the ledger has an answer for, or None.
    """
    answered = owner.answered_offset
    return answered if answered is None or horizon is None else max(answered, horizon + 1)


async def check_remembered(settings: Settings, found: Mapping[TopicPartition, Gap]) -> None:
    """Refuse to go on where a record lies in a gap; end markers of transactions do so by themselves.

    Raises:
        Retriable: if brokers do not say in time what lies there; to be tried again.
        SetupError: naming the partitions, and how far each has to go back.
    """
    try:
        forgotten = await with_records(settings, found)
    except (SetupError, KafkaError, OSError, TimeoutError) as error:
        raise Retriable(f"not known what was answered: {type(error).__name__}") from error
    if forgotten:
        places = ", ".join(f"{tp.topic} {tp.partition} to {found[tp].answered}" for tp in sorted(forgotten))
        raise SetupError(
            "The database is older than the group's offsets (restored from a backup, or a standby that had not got the "
            f"last commits): it knows no answers to what follows. Stop all workers, set the group's offsets back with "
            f"mergeline offsets rewind --yes ({places}), and start them again: deploy/README.md, Backup and restore."
        )


async def with_records(settings: Settings, among: Mapping[TopicPartition, Gap]) -> set[TopicPartition]:
    """The partitions with a record in their gap.

    Raises:
        TimeoutError: if that is not known within `LOOK_TIMEOUT_S`.
        KafkaError, OSError, SetupError: if brokers do not say.
    """
    if not among:
        return set()
    # From the earliest, since what expired meanwhile is no record any more.
    consumer = onlooker(settings, auto_offset_reset="earliest")
    consumer.assign(list(among))
    ends = {partition: gap.position for partition, gap in among.items()}
    async with asyncio.timeout(LOOK_TIMEOUT_S), started(consumer, settings):
        for partition, gap in among.items():
            consumer.seek(partition, gap.answered)
        async for found in read_up_to(consumer, ends):
            for partition, records in found.items():
                if records:  # one is enough
                    del ends[partition]
    return among.keys() - ends
