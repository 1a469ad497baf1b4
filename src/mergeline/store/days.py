"""The ledger's days: partitions made before they are needed. `pruning` drops them.

In: a connection, how many days. Out: the days made. Never: two processes that make a day at once, or an insert that
waits for a day (`ledger_default` takes it).
"""

from datetime import date, timedelta
from typing import Final

from mergeline.store.locks import lock_key
from mergeline.store.queries import SQL
from mergeline.store.statements import Connection, operator_bounds

DAYS_AHEAD: Final = 3
"""Days made in advance; a worker looks every hour."""
DAYS_AHEAD_MAX: Final = 60
LOCK_WAIT_MS_MAX: Final = 2_000
"""Attaching a day locks out the batches for a moment; it does not queue up behind a long one, and stop the rest."""
DAYS_LOCK: Final = lock_key("ledger_days")


async def ensure_ledger_days(connection: Connection, days_ahead: int) -> list[date]:
    """Make the partitions of today and the next days, each in a short transaction of its own.

    Returns:
        The days that were made.
    """
    # The clock of the database dates the rows; a server that takes over may have one that is a little behind.
    today = await connection.fetchval(SQL["today"])
    made = []
    for number in range(-1, min(days_ahead, DAYS_AHEAD_MAX) + 1):
        day = today + timedelta(days=number)
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(operator_bounds(LOCK_WAIT_MS_MAX))
            await connection.execute(SQL["lock_one"], DAYS_LOCK)
            if await connection.fetchval(SQL["ledger_add_day"], day):
                made.append(day)
    return made
