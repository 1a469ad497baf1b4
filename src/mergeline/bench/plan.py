"""What a run of the bench is: every number that it depends on.

In: the options of `mergeline bench`. Out: a `Plan`, frozen. Never: a number that an option cannot say, or one that is
drawn by chance: the same plan makes the same messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ORG_ID: Final = 100_737

REQUESTS_MAX: Final = 5_000_000
"""Of one run."""
RUNS_MAX: Final = 200
"""Of one plan: what request ids and mobile numbers have room for."""


OWN_SETTINGS: Final = (
    "database_url", "kafka_bootstrap_", "kafka_security_", "kafka_sasl_", "kafka_ssl_", "topic_prefix", "group_id",
    "http_",
)  # fmt: skip
"""What the settings begin with (their `_FILE` forms too) that a plan has no say in: where the workers work, and what
they call themselves there."""


class Kind(StrEnum):
    """What a message asks for, and so what its answer must be."""

    ADD = "add"
    """New identifiers of a customer: applied."""
    REMOVE = "remove"
    """One that an earlier message has added: applied."""
    MERGE = "merge"
    """A customer of its own, that is merged into one of the population: applied."""
    CARD = "card"
    """A card that is issued: applied."""
    REPEAT = "repeat"
    """An earlier message again, byte for byte: its outcome again, marked as a duplicate."""
    REJECTED = "rejected"
    """An e-mail address that is none: rejected."""
    BAD = "bad"
    """A message that is torn: a dead letter."""


class Hot(StrEnum):
    """What all messages have in common."""

    NONE = "none"
    IDENTIFIER = "identifier"
    """Each message also names one and the same identifier."""
    CUSTOMER = "customer"
    """All of them are about one customer (merges: into that one)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the bench."""

    requests: int
    """Of the closed run: a backlog that lies in the topic when the workers start."""
    rates: tuple[int, ...]
    """Of the open runs, requests a second, one run after the other."""
    rate_shares: tuple[float, ...]
    """Of more open runs, in shares of what the closed run did."""
    seconds: float
    """How long an open run sends."""
    customers: int
    entries: int
    """Identifiers of each customer before the first message."""
    zipf: float
    """Exponent of the customers' popularity: 0 spreads the load evenly."""
    mix: Mapping[Kind, float]
    hot: Hot
    seed: int
    workers: int
    partitions: int
    worker_settings: Mapping[str, str]
    """`MERGELINE_*` of the workers, beside what the bench sets (`OWN_SETTINGS`)."""
    baseline_requests: int
    """Of the per-message worker that the worker is compared with; 0: none."""
    statements: bool
    """Whether PostgreSQL says what it spent its time on (it must have pg_stat_statements loaded)."""
