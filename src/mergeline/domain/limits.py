"""The bounds of a decision, as values that the composition root fills from the settings.

In: nothing. Out: `Limits`. Never: a default; those are the settings'.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one decision may carry.

    `merge_max_entries`: entries and cards together that one merge may move, and victims that it may repoint.
    `event_max_bytes`: bytes of the largest merge event; far enough below what the broker takes in one record that
    the outcome, which repeats its warnings, fits too.
    """

    merge_max_entries: int
    event_max_bytes: int
