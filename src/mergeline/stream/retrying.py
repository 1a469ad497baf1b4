"""What is tried again, and when: one kind of failure, one pace.

In: failures in a row. Out: how long to wait. Never: a failure that an operator has to mend (`SetupError`).
"""

from typing import Final

RETRY_WAIT_S: Final = 0.3
RETRY_WAIT_S_MAX: Final = 3.0
"""To acquire makes transactional ids, and a line of the log."""


class Retriable(Exception):
    """Brokers or the database are away, or an outcome is unknown: let go of the partitions, and acquire them again."""


def wait_s(failures: int) -> float:
    """Before the next attempt, after so many that failed in a row."""
    return min(failures * RETRY_WAIT_S, RETRY_WAIT_S_MAX)
