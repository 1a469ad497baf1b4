"""Which incarnation of each topic the ledger goes on with, and by what id Kafka knows it.

In: the ids that topics have now. Out: what is recorded of them; the next incarnation of one of them. Never: another id
over one that is recorded, but by `next_incarnation`; two workers that record different ones.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from mergeline.domain.incarnations import FIRST, name_of
from mergeline.domain.ledger import LedgerRow
from mergeline.domain.messages import Place
from mergeline.store.apply import EMPTY
from mergeline.store.progress import Progress, write_progress
from mergeline.store.published import first_day
from mergeline.store.rows import ledger_row_of
from mergeline.store.statements import Statements, bounds

LOCK_WAIT_MS_MAX: Final = 10_000
STATEMENT_MS_MAX: Final = 60_000
IDLE_MS_MAX: Final = 120_000
"""While the rows of a topic are locked, Kafka is spoken to: fenced producers, committed offsets."""
START: Final = (0, -1)
UNPUBLISHED_PAGE: Final = 10_000
"""Answers that are kept in memory, and published in one transaction."""


class Incarnation(NamedTuple):
    """What is recorded of a topic."""

    number: int
    topic_id: UUID | None
    """None where its brokers give no ids."""


class Turn:
    """A topic whose rows are locked, before it begins its next incarnation."""

    def __init__(
        self,
        db: Statements,
        group_id: str,
        topic: str,
        known: Mapping[str, Incarnation],
        owners: Sequence[asyncpg.Record],
    ) -> None:
        self.now = known[topic]
        self.others = {other: incarnation for other, incarnation in known.items() if other != topic}
        self.transactional_ids = {row["transactional_id"] for row in owners} - {None}
        """Of whoever may still publish answers of this incarnation."""
        self.published = {row["partition"]: row["published_offset"] for row in owners}
        """By partition, how far answers of this incarnation are known to be published."""
        self._db, self._group_id, self._topic = db, group_id, topic

    async def unpublished(self, behind: tuple[int, int] = START) -> AsyncIterator[list[LedgerRow]]:
        """Answers of this incarnation that are stored and not known to be published, in order, page by page.

        `behind`: the partition and offset of the last one that is to be left out.
        """
        name = name_of(self._topic, self.now.number)
        while True:
            rows = await self._db.fetch("incarnation_unpublished", self._group_id, name, *behind, UNPUBLISHED_PAGE)
            if not rows:
                return
            yield [*map(ledger_row_of, rows)]
            behind = rows[-1]["at_partition"], rows[-1]["at_offset"]

    async def first_day(self) -> date | None:
        """The first day that the ledger has, as the reset sees it; None for one without days."""
        return await first_day(self._db)

    async def hold(self) -> None:
        """Show the database that whoever holds the rows is awake."""
        await self._db.fetch("now")

    async def close(self) -> None:
        """Have nobody answer in this one any more, once the block ends; former owners are fenced by then."""
        await self._db.execute("incarnation_close", self._group_id, name_of(self._topic, self.now.number))

    async def write(self, topic_id: UUID | None, number: int, published: Mapping[int, int] = EMPTY) -> None:
        """Go on with this one, once the block ends; in one before it nobody answers any more.

        `published`: by partition, up to where it has messages that were published before it began.
        """
        if number != self.now.number:
            await self.close()
        name = name_of(self._topic, number)
        known = {Place(name, partition): Progress(offset) for partition, offset in published.items()}
        await write_progress(self._db, self._group_id, known)
        await self._db.execute("incarnation_write", self._topic, topic_id, number)


async def read_incarnations(db: Statements) -> dict[str, Incarnation]:
    """Everything that is recorded, by topic (without prefix)."""
    rows = await db.fetch("incarnations_read")
    return {row["topic"]: Incarnation(row["incarnation"], row["topic_id"]) for row in rows}


async def record(db: Statements, topic_ids: Mapping[str, UUID | None]) -> dict[str, Incarnation]:
    """What is recorded of these topics, the ids of those that are new being recorded now.

    Args:
        db: outside of a transaction, so that what another worker records meanwhile is read.
        topic_ids: by topic (without prefix); None by brokers that give none.
    """
    known = await read_incarnations(db)
    new = {topic: topic_id for topic, topic_id in topic_ids.items() if _is_new(known.get(topic), topic_id)}
    if new:
        await db.execute("incarnations_record", list(new), list(new.values()))
        known = await read_incarnations(db)
    return {topic: known[topic] for topic in topic_ids}


def _is_new(known: Incarnation | None, topic_id: UUID | None) -> bool:
    return known is None or (known.topic_id is None and topic_id is not None)


async def published_offsets(db: Statements, group_id: str, topic: str) -> dict[int, int]:
    """How far each partition of a topic (without prefix), as it is now, is known to be published."""
    known = (await read_incarnations(db)).get(topic)
    rows = await db.fetch("published_offsets", group_id, name_of(topic, known.number if known is not None else FIRST))
    return {row["partition"]: row["published_offset"] for row in rows}


@asynccontextmanager
async def next_incarnation(db: Statements, group_id: str, topic: str) -> AsyncIterator[Turn | None]:
    """Lock what is recorded of a topic and of who owns its partitions; commits at the end of the block.

    Args:
        db: outside of a transaction.
        group_id: whose partitions.
        topic: without prefix.

    Returns:
        None where nothing was ever recorded.
    """
    async with db.transaction(bounds(LOCK_WAIT_MS_MAX, STATEMENT_MS_MAX, IDLE_MS_MAX)):
        if not await db.fetch("incarnation_lock", topic):
            yield None
            return
        known = await read_incarnations(db)
        name = name_of(topic, known[topic].number)
        owners = await db.fetch("incarnation_owners", group_id, name)
        yield Turn(db, group_id, topic, known, owners)
