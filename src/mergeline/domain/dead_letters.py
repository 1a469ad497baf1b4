"""How many dead letters in a row a partition of a public topic has brought.

In: the answers of a batch, what the partitions had before it. Out: what they have after it. Never: an answer that was
given before (a replay, a drop) counted in any way.

A flood of dead letters is a bad deploy of a producer, or of ours: the worker stops then instead of draining the topic
into its dead-letter topic. Counted by the partition that a message comes from, since that is what has an order.
"""

from collections.abc import Iterable, Mapping

from mergeline.domain.batch import Answer
from mergeline.domain.messages import Place


def runs(answers: Iterable[Answer], before: Mapping[Place, int]) -> dict[Place, int]:
    """Dead letters in a row at the end of each partition that the answers count for; any other answer ends a run."""
    after: dict[tuple[str, int], int] = {}
    for answer in answers:
        if answer.row is None:
            continue
        place = answer.message.origin[:2]
        if not answer.is_dead_letter:
            after[place] = 0
        else:
            so_far = after[place] if place in after else before.get(Place(*place), 0)
            after[place] = so_far + 1
    return {Place(*place): run for place, run in after.items()}
