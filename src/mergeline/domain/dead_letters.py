"""How many dead letters in a row a partition of a public topic has brought.

In: the answers of a batch, what the partitions had before it. Out: what they have after it. Never: an answer that was
given before (a replay, a drop) counted in any way.

A flood of dead letters is a bad deploy of a producer, or of ours: the worker stops then instead of draining the topic
into its dead-letter topic. Counted by the partition that a message comes from, since that is what has an order.
"""

from collections.abc import Iterable, Mapping

from mergeline.domain.batch import Answer
from mergeline.domain.messages import Place


def partitions(answers: Iterable[Answer]) -> set[Place]:
    """Where the messages come from whose answers count."""
    return {_origin(answer) for answer in answers if answer.row is not None}


def runs(answers: Iterable[Answer], before: Mapping[Place, int]) -> dict[Place, int]:
    """Dead letters in a row at the end of each partition that the answers count for; any other answer ends a run."""
    after: dict[Place, int] = {}
    for answer in answers:
        if answer.row is None:
            continue
        place = _origin(answer)
        after[place] = after.get(place, before.get(place, 0)) + 1 if answer.is_dead_letter else 0
    return after


def _origin(answer: Answer) -> Place:
    return Place(answer.message.origin.topic, answer.message.origin.partition)
