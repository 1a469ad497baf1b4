"""The bounds and names that the store works with, as values that the composition root fills from the settings.

In: nothing. Out: `Options`. Never: a look at the environment, or a default of what is a setting.
"""

from dataclasses import dataclass
from typing import Final

from mergeline.domain.limits import Limits

OPERATOR_IDLE_MS_MAX: Final = 12_000
"""How long a command, or a task beside the batches, can keep what it has locked while it is asleep."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long something transient is tried again; the waits are random below a doubling bound.

    `seconds_max` is `MERGELINE_PROGRESS_TIMEOUT_MS`: the watchdog ends the process soon after, since nothing moves
    while a batch is tried again, and could only say that. What ends the attempts says what failed.
    """

    seconds_max: float
    attempts_max: int = 60
    wait_ms_base: float = 10.0
    wait_ms_max: float = 2_000.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the store is told once. What has a default is no setting.

    `lock_keys_max`: advisory locks of one transaction. `held_rows_max`: rows of a kind that the possible victims of
    one batch may hold. The times are of PostgreSQL, set for each transaction: `idle_ms_max` is how long a worker
    that is paused, or was cut off from the database, can keep its locks, but for one that is paused while a statement
    is prepared on a new connection: the server heeds no time-out then. With `MERGELINE_DATABASE_TIMEOUT_MS` at its
    default (`statement_ms_max`) all of them together, once over, are below the 30 s in which everything is answered
    after a network has healed.
    """

    group_id: str
    topic_prefix: str
    limits: Limits
    lock_keys_max: int
    catalogs_cached_max: int
    statement_ms_max: int
    retries: Retries
    held_rows_max: int = 50_000
    lock_wait_ms_max: int = 5_000
    idle_ms_max: int = 12_000
