"""What is tried again, and when: one kind of failure, one pace.

In: failures in a row; what is done at once. Out: how long to wait; the first failure. Never: a failure that an operator
has to mend (`SetupError`) that is tried again, or something that goes on behind whoever tries again.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, Final

RETRY_WAIT_S: Final = 0.3
RETRY_WAIT_S_MAX: Final = 3.0
"""To acquire makes transactional ids, and a line of the log."""


class Retriable(Exception):
    """Brokers or the database are away, or an outcome is unknown: let go of the partitions, and acquire them again."""


def wait_s(failures: int) -> float:
    """Before the next attempt, after so many that failed in a row."""
    return min(failures * RETRY_WAIT_S, RETRY_WAIT_S_MAX)


async def all_ended(awaitables: Iterable[Awaitable[Any]]) -> None:
    """Returns once all of them have ended well, or raises the first failure once all have ended.

    The first that an operator has to mend, if there is one among them.
    """
    ended = await asyncio.gather(*awaitables, return_exceptions=True)
    failures = [result for result in ended if isinstance(result, BaseException)]
    for failure in sorted(failures, key=lambda one: isinstance(one, Retriable)):
        raise failure
