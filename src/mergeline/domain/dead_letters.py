"""How many dead letters in a row a partition of a public topic has brought.

In: the verdicts of a batch, what the partitions had before it. Out: what they have after it, and where its letters
stood. Never: an answer that was given before (answered again, or dropped) counted in any way.

A flood of dead letters is a bad deploy of a producer, or of ours: the worker stops then instead of draining the topic
into its dead-letter topic. Counted by the partition that a message comes from, since that is what has an order.
"""

from collections.abc import Iterable, Mapping

from mergeline.domain.batch import Verdict
from mergeline.domain.ledger import RowKind
from mergeline.domain.messages import Place


def runs(verdicts: Iterable[Verdict], before: Mapping[Place, int]) -> dict[Place, int]:
    """Dead letters in a row at the end of each partition that the verdicts count for; any other answer ends a run."""
    after: dict[tuple[str, int], int] = {}
    for verdict in verdicts:
        if verdict.kind is None:
            continue
        place = verdict.message.origin[:2]
        if verdict.kind is not RowKind.DEAD_LETTER:
            after[place] = 0
        else:
            so_far = after[place] if place in after else before.get(Place(*place), 0)
            after[place] = so_far + 1
    return {Place(*place): run for place, run in after.items()}


def letters(verdicts: Iterable[Verdict]) -> dict[Place, list[int]]:
    """The offsets of the dead letters by the partition that they come from."""
    found: dict[Place, list[int]] = {}
    for verdict in verdicts:
        if verdict.kind is RowKind.DEAD_LETTER:
            topic, partition, offset = verdict.message.origin
            found.setdefault(Place(topic, partition), []).append(offset)
    return found
