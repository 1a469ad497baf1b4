"""What a run of the bench found.

In: what was measured. Out: values that a report, or a program, reads. Never: a figure without its run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mergeline.bench.meter import Cost
from mergeline.bench.outcomes import Judgement


@dataclass(frozen=True, slots=True)
class Batches:
    """What the workers say of their batches, by stage."""

    count: int
    messages_mean: float
    process_ms_mean: float
    publish_ms_mean: float


@dataclass(frozen=True, slots=True)
class Closed:
    """A backlog, answered as fast as it goes."""

    requests: int
    start_to_first_outcome_ms: float
    """From the start of the worker's program until a subscriber had its first outcome."""
    cost: Cost
    """From where the run was warm to its end."""
    batches: Mapping[str, Batches]
    waits: Mapping[str, float]
    """Sessions that waited, by what for, on average over the samples."""
    peak_rss_bytes: int
    """Of the largest worker process."""
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Results:
    """Of a whole plan."""

    closed: Closed
    sizes: Mapping[str, int]
    """Of the database before the first message."""
