"""Whether the topics that this process reads are those that the ledger knows, and by what name their places go.

In: the ids of topics, from brokers and from the database. Out: places; a `SetupError` where a topic was made anew.
Never: a partition read before its topic's id was compared, or a topic that becomes another one within one process.

A topic that is deleted and created has another id from that moment on, however long its log has become since. So it is
found when partitions are acquired, which is what deleting a topic leads to, and by a look every few seconds.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from aiokafka import TopicPartition

from mergeline.domain.incarnations import FIRST
from mergeline.domain.messages import Place
from mergeline.domain.vocabulary import INPUT_TOPICS, Topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.apply import Store
from mergeline.store.failures import Kind, describe, kind_of
from mergeline.store.incarnations import Incarnation, record
from mergeline.stream.offsets import Offsets
from mergeline.stream.origin import place_of
from mergeline.stream.protocol import TopicIds
from mergeline.stream.retrying import Retriable

LOOK_PACE_S: Final = 3.0
"""Between two looks at the ids of the topics that are read."""


class MadeAnew(SetupError):
    """A topic has another id than the one whose messages the ledger has answered."""


def topics_read(settings: Settings) -> list[str]:
    """The topics (without prefix) that a worker reads."""
    return [*INPUT_TOPICS] if settings.requests_keyed else [*INPUT_TOPICS, Topic.COMMANDS_BY_CUSTOMER]


def topics_applied(settings: Settings) -> list[str]:
    """Those of them that `apply` reads; the others are the router's."""
    return [*INPUT_TOPICS] if settings.requests_keyed else [Topic.COMMANDS_BY_CUSTOMER]


def check(name: str, topic: str, known: Incarnation, found: UUID | None) -> int:
    """The incarnation that a topic is of.

    Args:
        name: of the topic, with its prefix.
        topic: without it.
        known: what is recorded.
        found: the id that it has; None where its brokers give none, and so nobody can tell.

    Raises:
        MadeAnew: if it is another topic than the one that is recorded.
    """
    if found is not None and known.topic_id is not None and found != known.topic_id:
        raise MadeAnew(
            f"{name} was made anew (deleted and created, or it is another cluster's): its id is {found}, and what was "
            f"answered is of {known.topic_id}. Its offsets mean other messages now. Stop all workers and run: "
            f"mergeline topics reset {topic} (deploy/README.md), or restore the topic."
        )
    return known.number


async def check_recorded(store: Store, settings: Settings, topic_ids: TopicIds) -> None:
    """Compare before a worker joins its group; what is new is recorded.

    Args:
        store: whose database.
        settings: the prefix.
        topic_ids: of the topics that are read, by their full names.

    Raises:
        MadeAnew: as `check`.
    """
    prefix = settings.topic_prefix
    async with store.statements() as db:
        known = await record(db, {name.removeprefix(prefix): found for name, found in topic_ids.items()})
    for topic, incarnation in known.items():
        check(prefix + topic, topic, incarnation, topic_ids[prefix + topic])


@contextmanager
def at_the_database() -> Iterator[None]:
    """While partitions are acquired: what would work later is a `Retriable`, which is tried again."""
    try:
        yield
    except Retriable:
        raise
    except Exception as error:
        if kind_of(error) not in (Kind.TRANSIENT, Kind.TOO_LARGE):
            raise
        raise Retriable(describe(error)) from error


class Incarnations:
    """Those of the topics that this process reads, from the first time it acquires a partition of each."""

    def __init__(self, store: Store, offsets: Offsets, topic_prefix: str) -> None:
        self._store, self._offsets, self._prefix = store, offsets, topic_prefix
        self._known: dict[str, Incarnation] = {}
        """Of the topics that were compared, by full name."""

    async def acquire(self, partitions: Iterable[TopicPartition]) -> None:
        """Compare the topics of partitions that are about to be read.

        Raises:
            Retriable: if brokers or database are away, or a topic is: to be tried again.
            SetupError: if a topic was made anew, or another incarnation of it was begun while this process ran.
        """
        names = sorted({partition.topic for partition in partitions})
        found = await self._offsets.topic_ids(names)
        if missing := [name for name in names if name not in found]:
            raise Retriable(f"no topic {missing[0]}")
        with at_the_database():
            async with self._store.statements() as db:
                known = await record(db, {name.removeprefix(self._prefix): found[name] for name in names})
        for name in names:
            topic = name.removeprefix(self._prefix)
            now = Incarnation(check(name, topic, known[topic], found[name]), found[name])
            if self._known.get(name, now).number != now.number:
                # What this process still has in hand is of the former one.
                raise SetupError(f"{name} was reset while this worker ran. Start it again.")
            self._known[name] = now

    def place(self, partition: TopicPartition) -> Place:
        """A partition as the store and the messages name it."""
        known = self._known.get(partition.topic)
        return place_of(partition, self._prefix, FIRST if known is None else known.number)

    async def watch(self, fail: Callable[[BaseException], None]) -> None:
        """Look for ever whether a topic that is read was made anew; `fail` ends the process."""
        while True:
            await asyncio.sleep(LOOK_PACE_S)
            names = [name for name, known in self._known.items() if known.topic_id is not None]
            if not names:
                continue
            try:
                found = await self._offsets.topic_ids(names)
            except Retriable:
                continue  # brokers are away
            for name, topic_id in found.items():
                try:
                    check(name, name.removeprefix(self._prefix), self._known[name], topic_id)
                except MadeAnew as error:
                    fail(error)
