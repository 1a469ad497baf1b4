"""Stops a worker that drains a bad deploy into the dead-letter topic (SPEC section 3).

In: how many dead letters in a row each origin partition has brought. Out: nothing, or `DeadLetterFlood`. Never: a
verdict before enough of the partition was read: one bad message at the start of a quiet day is no flood.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from mergeline.domain.messages import Place
from mergeline.errors import SetupError

READ_BEFORE_A_VERDICT: Final = 1_000
"""Messages of a partition since it was assigned."""


class DeadLetterFlood(SetupError):
    """More dead letters in a row than `MERGELINE_DEAD_LETTER_LIMIT`: an operator must look."""


class FloodGate:
    """Counts what was read of each origin partition during one assignment; `limit` 0 lets everything pass."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._read: Counter[tuple[str, int]] = Counter()

    def saw(self, places: Iterable[tuple[str, int]]) -> None:
        """Count one message of each place given (a `Place`, or the two first fields of a coordinate)."""
        self._read.update(places)

    def check(self, runs: Mapping[Place, int]) -> None:
        """Let a batch pass.

        Raises:
            DeadLetterFlood: which undoes the batch; its messages are read again by the next start.
        """
        if not self._limit:
            return
        for (topic, partition), run in runs.items():
            if run > self._limit and self._read[topic, partition] >= READ_BEFORE_A_VERDICT:
                raise DeadLetterFlood(
                    f"{run} dead letters in a row came from {topic}, partition {partition}: most likely a bad deploy "
                    f"of a producer, or of mergeline. Look at {topic}-dlt, mend that, and start the worker again; or "
                    "raise MERGELINE_DEAD_LETTER_LIMIT (0: no limit) to let them pass."
                )
