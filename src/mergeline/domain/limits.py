"""The bounds of a decision, as values that the composition root fills from the settings.

In: nothing. Out: `Limits`. Never: a default that a setting could contradict unseen; they are the same.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one decision may carry.

    `merge_max_entries`: rows (entries, cards, repointed victims) that one merge may move.
    `event_max_bytes`: bytes of the largest event, below what the broker takes in one record.
    """

    merge_max_entries: int = 5_000
    event_max_bytes: int = 900_000
