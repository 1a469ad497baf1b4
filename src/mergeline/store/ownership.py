"""Whose the partitions are: the rows of `partition_owner`, held while a new owner fences the last one.

In: partitions. Out: their rows, locked until the claim ends; a transactional id written into them. Never: two claims
of one partition at the same time, one of a topic that was reset, or one that a paused worker holds for longer than
`idle_ms_max`. Who only looks (`read_owners`) locks nothing.

The order that makes it safe is the caller's: claim; initialise every transactional id found (which fences its
owner); initialise one's own; read where the last owners got to; write both; leave the claim, which commits. An
exception on the way out means that the outcome is unknown, and so: not owned.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from mergeline.domain.incarnations import incarnation_of, topic_of
from mergeline.domain.messages import Place
from mergeline.store.answered import read_horizons
from mergeline.store.apply import EMPTY, Store
from mergeline.store.failures import Unsettled
from mergeline.store.options import OPERATOR_IDLE_MS_MAX
from mergeline.store.statements import Statements, bounds, columns_of

LOCK_WAIT_MS_MAX: Final = 10_000
"""Of who only looks, for the moment in which a day is added or dropped."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The last owner of a partition."""

    transactional_id: str | None
    """None where there was none."""
    published_offset: int
    """The first offset that is not known to be published."""
    answered_offset: int | None
    """The first offset that no batch has read; None where nobody answers: it is routed, or its topic was reset."""


class Claim:
    """Partitions whose rows are locked."""

    def __init__(self, db: Statements, group_id: str, owners: Mapping[Place, Owner]) -> None:
        self.owners = owners
        self._db, self._group_id = db, group_id

    @property
    def transactional_ids(self) -> set[str]:
        """Every id that has to be fenced."""
        return {owner.transactional_id for owner in self.owners.values() if owner.transactional_id is not None}

    async def write(self, transactional_id: str | None, begins: Mapping[Place, int] = EMPTY) -> None:
        """Have somebody answer there, once the claim commits.

        Args:
            transactional_id: which the next owner has to fence.
            begins: where partitions go on: nothing is left to be answered before that.
        """
        rows = [(*place, begins.get(place)) for place in sorted(self.owners)]
        await self._db.execute("partitions_take", self._group_id, *columns_of(rows, 3), transactional_id)

    async def horizons(self) -> dict[Place, int]:
        """The highest offset of each partition that the ledger has an answer for: no batch adds to it meanwhile."""
        return await read_horizons(self._db, list(self.owners))

    async def disown(self, positions: Mapping[Place, int]) -> None:
        """Have nobody answer there any more, once the claim commits: a router reads them, from these offsets on."""
        rows = [(*place, positions[place]) for place in sorted(self.owners)]
        await self._db.execute("partitions_disown", self._group_id, *columns_of(rows, 3))


@asynccontextmanager
async def claim(store: Store, partitions: Sequence[Place], *, answers_from: int | None = None) -> AsyncIterator[Claim]:
    """Lock the rows of the partitions, in order; commits at the end of the block.

    Args:
        store: whose pool and group are used.
        partitions: topics (without prefix) and partition numbers.
        answers_from: the `answered_offset` of those that the database has never heard of.

    Raises:
        Unsettled: if another incarnation of a topic was begun.
    """
    places = columns_of(sorted({(topic, partition) for topic, partition in partitions}), 2)
    group_id = store.options.group_id
    async with store.statements() as db, db.transaction(store.bounds):
        await _hold(db, partitions)
        await db.execute("partitions_insert", group_id, *places, answers_from)
        yield Claim(db, group_id, _owners(await db.fetch("partitions_lock", group_id, *places)))


async def read_owners(
    db: Statements, group_id: str, partitions: Sequence[Place], statement_ms_max: int
) -> tuple[dict[Place, Owner], dict[Place, int]]:
    """The rows that there are, as they are; and the highest offsets that the ledger has answers for, as `horizons`."""
    async with db.transaction(bounds(LOCK_WAIT_MS_MAX, statement_ms_max, OPERATOR_IDLE_MS_MAX)):
        owners = _owners(await db.fetch("partitions_read", group_id, *columns_of(list(partitions), 2)))
        return owners, await read_horizons(db, partitions)


def _owners(rows: Iterable[asyncpg.Record]) -> dict[Place, Owner]:
    return {
        Place(row["topic"], row["partition"]): Owner(
            row["transactional_id"], row["published_offset"], row["answered_offset"]
        )
        for row in rows
    }


async def _hold(db: Statements, partitions: Iterable[Place]) -> None:
    """Let no topic be reset until the transaction ends. First of all: a reset locks what it resets before its rows."""
    meant = {topic_of(place.topic): incarnation_of(place.topic) for place in partitions}
    for row in await db.fetch("incarnations_held", sorted(meant)):
        if row["incarnation"] != meant[row["topic"]]:
            raise Unsettled(f"another incarnation of {row['topic']} was begun")
