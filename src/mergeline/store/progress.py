"""How far partitions got: `published_offset` and `answered_offset` of `partition_owner`.

In: what whoever publishes a partition knows of it, and the verdicts of a batch. Out: both raised, in the statement
that writes what nearly every batch changes. Never: an offset that goes back, or a write into a database that has lost
what was stored (`Forgotten` instead).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from mergeline.domain.batch import Verdict
from mergeline.domain.messages import Message, Place
from mergeline.store.failures import Forgotten
from mergeline.store.parts import NOTHING, Parts, write_parts
from mergeline.store.statements import Statements, columns_of

NO_HORIZON: Final = -1
"""The horizon of a partition of which the ledger has no answer."""


class Progress(NamedTuple):
    """What whoever publishes a partition knows of it, from before the batch."""

    published_offset: int
    """The first offset not known to be published."""
    answered_offset: int | None = None
    """The first offset not known to be stored: the database must say this much, or more. None of whoever is not the
    partition's owner, and answers nothing there."""

    def stored(self, end: int, horizon: int) -> "Progress":
        """Once messages are stored up to `end` (exclusive).

        Args:
            end: of the partition.
            horizon: the highest offset that the ledger had an answer for before: no batch writes those down.
        """
        if self.answered_offset is None or end <= horizon + 1:
            return self
        return self._replace(answered_offset=max(self.answered_offset, end))


def progress_behind(
    progress: Mapping[Place, Progress], messages: Iterable[Message], horizons: Mapping[Place, int]
) -> Mapping[Place, Progress]:
    """What an owner knows once the messages are stored: another part of the same batch must find them there.

    Args:
        progress: what it knew before.
        messages: in order within each partition.
        horizons: what the ledger had before, which no batch writes down.
    """
    ends = {message.at[:2]: message.at.offset + 1 for message in messages}  # offsets rise
    return {
        place: known.stored(ends.get((*place,), 0), horizons.get(place, NO_HORIZON))
        for place, known in progress.items()
    }


async def write_progress(db: Statements, group_id: str, progress: Mapping[Place, Progress]) -> None:
    """Raise `published_offset` of each partition; it never goes back.

    Raises:
        Forgotten: if the database knows of less of a partition than was stored.
    """
    if progress:
        await write_common(db, NOTHING, (), group_id, progress)


async def write_common(
    db: Statements, parts: Parts, verdicts: Sequence[Verdict], group_id: str, progress: Mapping[Place, Progress]
) -> None:
    """What nearly every batch changes (`COMMON`), and how far partitions got and are answered with its verdicts.

    Raises:
        Overtaken: if a row is not as it was read.
        Forgotten: if the database knows of less of a partition than was stored.
    """
    rows = _rows(progress, verdicts)
    written = await write_parts(db, "write", parts, group_id, *columns_of(rows, 5))
    if written["progress_write"] != len(rows):
        raise Forgotten


def _rows(progress: Mapping[Place, Progress], verdicts: Sequence[Verdict]) -> list[tuple[Any, ...]]:
    """Topic, partition, how far it was published, how far it is answered with this batch, and how far it was before."""
    answered = {verdict.message.at[:2]: verdict.message.at.offset + 1 for verdict in verdicts}  # offsets rise
    return [
        (*place, known.published_offset, _reached(known, answered.get((*place,))), known.answered_offset)
        for place, known in sorted(progress.items())
    ]


def _reached(known: Progress, answered: int | None) -> int | None:
    """How far the partition is answered: what its owner has published it has answered, or passed over."""
    return answered if known.answered_offset is None else max(answered or 0, known.published_offset)
