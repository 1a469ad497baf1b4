"""The ledger's days: partitions made before they are needed, and dropped whole once they are too old.

In: a connection, how many days. Out: the days made or dropped. Never: two processes that make a day at once, an insert
that waits for a day (`ledger_default` takes it), or a day dropped that holds an answer which may be unpublished.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

from mergeline.domain.dead_letters import Place
from mergeline.errors import SetupError
from mergeline.store.locks import lock_key
from mergeline.store.queries import SQL
from mergeline.store.statements import Connection

DAYS_AHEAD: Final = 3
"""Days made in advance; a worker looks every hour."""
DAYS_AHEAD_MAX: Final = 60
LOCK_WAIT_MS_MAX: Final = 2_000
"""Attaching a day locks out the batches for a moment; it does not queue up behind a long one, and stop the rest."""
DAYS_LOCK: Final = lock_key("ledger_days")
REQUESTS_PAGE: Final = 10_000
"""Request ids that are dropped in one transaction."""


class Unpublished(SetupError):
    """A day has answers that are not known to be published."""


async def ensure_ledger_days(connection: Connection, days_ahead: int) -> list[date]:
    """Make the partitions of today and the next days, each in a short transaction of its own.

    Returns:
        The days that were made.
    """
    today = datetime.now(UTC).date()
    made = []
    # Yesterday's too: the clock of the database, which dates the rows, may be behind ours.
    for number in range(-1, min(days_ahead, DAYS_AHEAD_MAX) + 1):
        day = today + timedelta(days=number)
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(SQL["lock_wait"], f"{LOCK_WAIT_MS_MAX}ms")
            await connection.execute(SQL["lock_one"], DAYS_LOCK)
            if await connection.fetchval(SQL["ledger_add_day"], day):
                made.append(day)
    return made


async def drop_ledger_days(
    connection: Connection, before: date, group_id: str, published: Mapping[Place, int]
) -> list[date]:
    """Drop the days before a date, the oldest first: request ids page by page, then the day as a whole.

    Args:
        connection: of a role that may drop partitions (`ledger_drop_day`).
        before: the first day that is kept.
        group_id: whose progress counts.
        published: of partitions, the first offset not yet published, where more is known than the database has
            (the group's committed offsets: the database learns of a batch with the one that follows).

    Returns:
        The days that were dropped.

    Raises:
        Unpublished: at the first day with an answer that is not known to be published; that day is kept.
    """
    dropped = []
    days = [row["day"] for row in await connection.fetch(SQL["ledger_days"]) if row["day"] < before]
    for day in days:
        await _check_published(connection, day, group_id, published)
        last = ("", -1, -1)
        while (page := await connection.fetchrow(SQL["requests_drop"], day, *last, REQUESTS_PAGE)) is not None:
            last = tuple(page)
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(SQL["lock_wait"], f"{LOCK_WAIT_MS_MAX}ms")
            await connection.execute(SQL["lock_one"], DAYS_LOCK)
            await connection.execute(SQL["ledger_drop_day"], day)
        dropped.append(day)
    return dropped


async def _check_published(connection: Connection, day: date, group_id: str, published: Mapping[Place, int]) -> None:
    for row in await connection.fetch(SQL["ledger_ends"], group_id, day):
        topic, partition, at_offset, known = row
        position = max(known, published.get((topic, partition), 0))
        if at_offset >= position:
            raise Unpublished(
                f"The ledger's day {day} has answers up to offset {at_offset} of {topic}-{partition}, of which only "
                f"those below {position} are known to be published. Run a worker until it has caught up, then prune."
            )
