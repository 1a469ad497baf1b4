"""The bounds and names that the store works with, as values that the composition root fills from the settings.

In: nothing. Out: `Options`. Never: a look at the environment.
"""

from dataclasses import dataclass, field
from typing import Final

from mergeline.domain.limits import Limits

OPERATOR_IDLE_MS_MAX: Final = 12_000
"""How long a command, or a task beside the batches, can keep what it has locked while it is asleep."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long something transient is tried again; the waits are random below a doubling bound."""

    attempts_max: int = 60
    seconds_max: float = 120.0
    wait_ms_base: float = 10.0
    wait_ms_max: float = 2_000.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the store is told once.

    `lock_keys_max`: advisory locks of one transaction. `held_rows_max`: rows of a kind that the possible victims of
    one batch may hold. The times are of PostgreSQL, set for each transaction: `idle_ms_max` is how long a worker
    that is paused, or was cut off from the database, can keep its locks, but for one that is paused while a statement
    is prepared on a new connection: the server heeds no time-out then. All of them together, once over, are below the
    30 s in which everything is answered after a network has healed.
    """

    group_id: str = "mergeline"
    topic_prefix: str = "mergeline."
    limits: Limits = field(default_factory=Limits)
    lock_keys_max: int = 8_000
    held_rows_max: int = 200_000
    catalogs_cached_max: int = 1_000
    lock_wait_ms_max: int = 5_000
    statement_ms_max: int = 10_000
    idle_ms_max: int = 12_000
    retries: Retries = field(default_factory=Retries)
