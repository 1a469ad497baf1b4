"""How far partitions got, and how many dead letters in a row they brought: columns of `partition_owner`.

In: offsets that were published, answers. Out: rows raised, runs counted on. Never: an offset that goes back, or a
lock on the rows of a public topic (which all workers share) in a batch that changes no run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import asyncpg

from mergeline.domain import dead_letters
from mergeline.domain.batch import Answer
from mergeline.domain.messages import Place
from mergeline.store.statements import Statements, columns_of

CheckRuns = Callable[[Mapping[Place, int]], None]
"""Told the runs of dead letters after a batch; what it raises undoes the batch."""


async def write_progress(db: Statements, group_id: str, published: Mapping[Place, int]) -> None:
    """Raise `published_offset` of each partition."""
    if published:
        rows = sorted((*place, offset) for place, offset in published.items())
        await db.execute("progress_write", group_id, *columns_of(rows, 3))


async def count_runs(
    db: Statements, group_id: str, answers: Sequence[Answer], published: Iterable[Place], check: CheckRuns | None
) -> None:
    """Carry on the runs of the partitions that the answers come from; `published` are the rows locked with theirs."""
    places = sorted(dead_letters.partitions(answers))
    if not places:
        return
    before = _runs(await db.fetch("runs_read", group_id, *columns_of(places, 2)))
    runs = dead_letters.runs(answers, before)
    if any(runs[place] != before.get(place, 0) for place in places):
        # Rows are locked in one order by everybody, so those of `write_progress` are locked here too.
        locked = columns_of(sorted({*places, *published}), 2)
        await db.execute("partitions_insert", group_id, *locked)  # what is not there cannot be locked
        before = _runs(await db.fetch("partitions_lock", group_id, *locked))
        runs = dead_letters.runs(answers, before)
        changed = [(*place, run) for place, run in sorted(runs.items()) if run != before.get(place, 0)]
        if changed:
            await db.execute("runs_write", group_id, *columns_of(changed, 3))
    if check is not None:
        check(runs)


def _runs(rows: Iterable[asyncpg.Record]) -> dict[Place, int]:
    return {Place(row["topic"], row["partition"]): row["dead_letters_in_a_row"] for row in rows}
