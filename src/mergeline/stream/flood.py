"""Stops a worker that drains a bad deploy into the dead-letter topic (SPEC section 3).

In: where the messages of a batch come from, and how many dead letters in a row each origin partition has brought. Out:
nothing, or `DeadLetterFlood`. Never: a verdict before enough of the partition was read (one bad message at the start of
a quiet day is no flood), or on bad messages among good ones: those of unknown customers travel together, and a backlog
of them may be all that is left when the rest of their partition was answered long ago.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from mergeline.domain.messages import Coordinate, Place
from mergeline.errors import SetupError

READ_BEFORE_A_VERDICT: Final = 1_000
"""Messages of a partition since it was assigned."""
OFFSETS_A_LETTER_MAX: Final = 2
"""So many offsets of its partition, at most, a dead letter of a flood takes up: a producer with transactions of one
message leaves every other one empty."""


class DeadLetterFlood(SetupError):
    """More dead letters in a row than `MERGELINE_DEAD_LETTER_LIMIT`: an operator must look."""


class FloodGate:
    """Looks at each origin partition during one assignment; `limit` 0 lets everything pass."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._read: Counter[tuple[str, int]] = Counter()
        self._batch: dict[tuple[str, int], list[int]] = {}
        self._first: dict[tuple[str, int], int] = {}
        """Where the run began that is not at its end, as far as was seen here."""
        self._last: dict[tuple[str, int], int] = {}

    def saw(self, origins: Iterable[Coordinate]) -> None:
        """Take in where the messages of the next batch come from."""
        self._batch = {}
        for topic, partition, offset in origins:
            self._batch.setdefault((topic, partition), []).append(offset)
        for place, offsets in self._batch.items():
            self._read[place] += len(offsets)
            self._last[place] = max(*offsets, self._last.get(place, 0))

    def check(self, runs: Mapping[Place, int]) -> None:
        """Let a batch pass.

        Raises:
            DeadLetterFlood: which undoes the batch; its messages are read again by the next start.
        """
        if not self._limit:
            return
        for place, run in runs.items():
            offsets = self._batch.get(place, [])
            if offsets and (run <= len(offsets) or place not in self._first):
                self._first[place] = min(offsets)
            spread = self._last.get(place, 0) - self._first.get(place, 0)
            is_dense = spread < OFFSETS_A_LETTER_MAX * run
            if run > self._limit and is_dense and self._read[place] >= READ_BEFORE_A_VERDICT:
                raise DeadLetterFlood(
                    f"{run} dead letters in a row came from {place.topic}, partition {place.partition}: most likely a "
                    f"bad deploy of a producer, or of mergeline. Look at {place.topic}-dlt, mend that, and start the "
                    "worker again; or raise MERGELINE_DEAD_LETTER_LIMIT (0: no limit) to let them pass."
                )
