"""What a run of the bench found.

In: what was measured. Out: values that a report, or a program, reads. Never: a figure without its run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mergeline.bench.meter import Cost, Statement
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
    statements: Sequence[Statement]
    """What PostgreSQL spent its time on, from the start on; empty unless asked for."""
    peak_rss_bytes: int
    """Of the largest worker process."""
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Open:
    """Messages at their times, whatever becomes of the others."""

    rate: int
    latency_ms: Mapping[str, float | None]
    """From when a message should have been sent to when a subscriber had its answer; by percentile. None where no
    answer came, but for those of the run's beginning."""
    cost: Cost
    batches: Mapping[str, Batches]
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Floor:
    """The same rows, written by hand."""

    requests: int
    seconds: float

    @property
    def requests_per_second(self) -> float:
        """How many of them go into the database."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Results:
    """Of a whole plan."""

    closed: Closed
    opened: Sequence[Open]
    baseline: Closed | None
    floor: Floor | None
    sizes: Mapping[str, int]
    """Of the database before the first message."""
