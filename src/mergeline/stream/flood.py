"""Stops a worker that drains a bad deploy into the dead-letter topic (SPEC section 3).

In: where the messages of a batch come from, how many dead letters in a row each origin partition has brought, and where
those of the batch stood. Out: nothing, or `DeadLetterFlood`. Never: a verdict before enough of the partition was read
(one bad message at the start of a quiet day is no flood), or on bad messages among good ones: those of unknown
customers travel together, and a backlog of them may be all that is left when the rest of their partition was answered
long ago.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mergeline.domain.incarnations import topic_of
from mergeline.domain.messages import Coordinate, Place
from mergeline.domain.vocabulary import dead_letter_topic
from mergeline.errors import SetupError

READ_BEFORE_A_VERDICT: Final = 1_000
"""Messages of a partition since it was assigned; where the limit is higher, so many dead letters are enough that stand
together, for those before them may have come before a restart."""
OFFSETS_A_LETTER_MAX: Final = 2
"""So many offsets of its partition, at most, a dead letter of a flood takes up: a producer with transactions of one
message leaves every other one empty."""


class DeadLetterFlood(SetupError):
    """More dead letters in a row than `MERGELINE_DEAD_LETTER_LIMIT`: an operator must look."""


class FloodGate:
    """Looks at each origin partition during one assignment; `limit` 0 lets everything pass."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._judged = min(limit + 1, READ_BEFORE_A_VERDICT)
        self._read: Counter[tuple[str, int]] = Counter()
        self._letters: dict[tuple[str, int], dict[int, None]] = {}
        """Where the last dead letters stood, in the order in which they came, each once."""

    def saw(self, origins: Iterable[Coordinate]) -> None:
        """Take in where the messages of the next batch come from."""
        self._read.update(origin[:2] for origin in origins)

    def check(self, runs: Mapping[Place, int], letters: Mapping[Place, Sequence[int]]) -> None:
        """Let a batch pass. Batches may be under way at the same time, at offsets that are far apart.

        Args:
            runs: how many dead letters in a row each origin partition has brought, as the database counts.
            letters: the offsets of those in this batch.

        Raises:
            DeadLetterFlood: which undoes what of the batch is not committed; that is read again by the next start.
        """
        if not self._limit:
            return
        for place, offsets in letters.items():
            known = self._letters.setdefault(place, {})
            known.update(dict.fromkeys(offsets))
            for oldest in list(known)[: -2 * self._judged]:
                del known[oldest]
        for place, run in runs.items():
            if run > self._limit and self._read[place] >= READ_BEFORE_A_VERDICT and self._stand_together(place):
                topic = topic_of(place.topic)
                raise DeadLetterFlood(
                    f"{run} dead letters in a row came from {topic}, partition {place.partition}: most likely a "
                    f"bad deploy of a producer, or of mergeline. Look at {dead_letter_topic(topic)}, mend that, and "
                    "start the worker again; or raise MERGELINE_DEAD_LETTER_LIMIT (0: no limit) to let them pass."
                )

    def _stand_together(self, place: Place) -> bool:
        """Whether so many dead letters as are judged stand together, with hardly an offset between them."""
        offsets = sorted(self._letters.get(place, ()))
        between = zip(offsets, offsets[self._judged - 1 :], strict=False)
        return any(last - first < OFFSETS_A_LETTER_MAX * self._judged for first, last in between)
