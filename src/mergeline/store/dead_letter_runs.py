"""How many dead letters in a row partitions brought: a column of `partition_owner`.

In: verdicts, and the runs as they were read. Out: runs counted on. Never: a lock on the rows of a public topic (which
all workers share) in a batch that changes no run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from mergeline.domain import dead_letters
from mergeline.domain.batch import Verdict
from mergeline.domain.messages import Place
from mergeline.store.statements import Statements, columns_of

CheckRuns = Callable[[Mapping[Place, int], Mapping[Place, Sequence[int]]], None]
"""Told the runs of dead letters after a batch, and the offsets of those in it; what it raises undoes the batch."""


async def count_runs(
    db: Statements,
    group_id: str,
    verdicts: Sequence[Verdict],
    before: Mapping[Place, int],
    published: Iterable[Place],
    check: CheckRuns | None,
) -> None:
    """Carry on the runs of the partitions that the messages come from.

    Args:
        db: in the batch's transaction.
        group_id: whose partitions.
        verdicts: of the batch.
        before: the runs as they were read.
        published: the rows of which `write` is to raise the offset: locked together with those of changed runs.
        check: told the runs, and the dead letters of this batch.
    """
    runs = dead_letters.runs(verdicts, before)
    if not runs:
        return
    if any(run != before.get(place, 0) for place, run in runs.items()):
        # Rows are locked in one order by everybody, so those of `write` are locked here too.
        locked = columns_of(sorted({*runs, *published}), 2)
        await db.execute("partitions_insert", group_id, *locked, None)  # what is not there cannot be locked
        rows = await db.fetch("partitions_lock", group_id, *locked)
        before = {Place(row["topic"], row["partition"]): row["dead_letters_in_a_row"] for row in rows}
        runs = dead_letters.runs(verdicts, before)
        changed = [(*place, run) for place, run in sorted(runs.items()) if run != before.get(place, 0)]
        if changed:
            await db.execute("runs_write", group_id, *columns_of(changed, 3))
    if check is not None:
        check(runs, dead_letters.letters(verdicts))
