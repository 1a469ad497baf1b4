"""The ledger's days: partitions made before they are needed. `pruning` drops them.

In: a connection, how many days. Out: the days made. Never: two processes that make a day at once, or an insert that
waits for a day (`ledger_default` takes it).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Final

from mergeline.store.locks import lock_key
from mergeline.store.statements import Connection, Statements, operator_bounds, statements_of

DAYS_AHEAD: Final = 3
"""Days made in advance; a worker looks every hour."""
DAYS_AHEAD_MAX: Final = 60
LOCK_WAIT_MS_MAX: Final = 2_000
"""Attaching a day locks out the batches for a moment; it does not queue up behind a long one, and stop the rest."""
DAYS_LOCK: Final = lock_key("ledger_days")


async def ensure_ledger_days(connection: Connection, days_ahead: int) -> list[date]:
    """Make the partitions of yesterday, today and the next days, each in a short transaction of its own.

    The clock of the database dates the rows. A server that takes over may have one that is a little behind: hence
    yesterday's.

    Returns:
        The days that were made.
    """
    made = []
    async with statements_of(connection) as db:
        today = await db.fetch_value("today")
        for number in range(-1, min(days_ahead, DAYS_AHEAD_MAX) + 1):
            day = today + timedelta(days=number)
            async with days_locked(db, LOCK_WAIT_MS_MAX):
                if await db.fetch_value("ledger_add_day", day):
                    made.append(day)
    return made


@asynccontextmanager
async def days_locked(db: Statements, lock_wait_ms_max: int) -> AsyncIterator[None]:
    """A transaction in which nobody else makes or drops a day."""
    async with db.transaction(operator_bounds(lock_wait_ms_max)):
        await db.execute("lock_one", DAYS_LOCK)
        yield
