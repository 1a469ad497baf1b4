"""What was published, read from the ledger in the order in which it was decided.

In: a connection, from when to when. Out: rows, those of one moment (a batch) together. Never: a lock, a transaction
that stays open between two pages (vacuum and `prune` go on), or more than `ROWS_MAX` rows in memory and those of a
batch.

The ledger has an index by place, none by time. In one partition both orders are the same, so each partition is read
by its offsets, a page at a time, and the partitions are merged by time. What is decided meanwhile stands behind.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from heapq import heapify, heappop, heapreplace
from typing import Final

from mergeline.domain.ledger import LedgerRow, RowKind
from mergeline.store.rows import day_of, ledger_row_of
from mergeline.store.statements import Connection, Statements, bounds

ROWS_MAX: Final = 5_000
"""Rows in memory, of all partitions together."""
PAGE_MAX: Final = 500
LOCK_WAIT_MS_MAX: Final = 10_000
"""For the moment in which a day is added or dropped."""
STATEMENT_MS_MAX: Final = 600_000
"""A page of something rare can go through a day of its partition."""


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` to before `until`, in UTC; of one org, or of all."""

    since: datetime
    until: datetime
    org_id: int | None = None


async def first_day(db: Statements) -> date | None:
    """The first day that the ledger has; None for one without days."""
    found: date | None = await db.fetch_value("ledger_first_day")
    return found


async def database_time(connection: Connection) -> datetime:
    """By the clock that dates the rows."""
    found: datetime = await Statements(connection).fetch_value("now")
    return found


async def published_for(connection: Connection, org_id: int, request_id: str) -> list[LedgerRow]:
    """The rows with records of one request id, the oldest first."""
    rows = map(ledger_row_of, await Statements(connection).fetch("show_request", org_id, request_id))
    return [row for row in rows if row.kind is not RowKind.DEAD_LETTER]


async def published(connection: Connection, window: Window) -> AsyncIterator[list[LedgerRow]]:
    """The rows with records, those of one moment together, in the order they were decided."""
    batch: list[LedgerRow] = []
    async for row in _merged(connection, window):
        if batch and row.decided_at != batch[0].decided_at:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


async def _merged(connection: Connection, window: Window) -> AsyncIterator[LedgerRow]:
    days = day_of(window.since), day_of(window.until)
    db = Statements(connection)
    places = [(row["at_topic"], row["at_partition"]) for row in await db.fetch("replay_places", *days)]
    page_max = max(1, min(PAGE_MAX, ROWS_MAX // max(1, len(places))))

    async def page(topic: str, partition: int, behind: int) -> deque[LedgerRow]:
        times = window.since, window.until
        arguments = (*days, *times, window.org_id, topic, partition, behind, page_max)
        # The bounds of a batch: among them, that the index is followed, whatever the statistics say.
        async with db.transaction(bounds(LOCK_WAIT_MS_MAX, STATEMENT_MS_MAX, STATEMENT_MS_MAX)):
            rows = await db.fetch("replay_page", *arguments)
        return deque(map(ledger_row_of, rows))

    firsts = [(place, await page(*place, -1)) for place in places]
    heads = [(rows[0].decided_at, place, rows) for place, rows in firsts if rows]
    heapify(heads)
    while heads:
        _, place, rows = heads[0]
        row = rows.popleft()
        yield row
        if not rows:
            rows = await page(*place, row.at.offset)
        if rows:
            heapreplace(heads, (rows[0].decided_at, place, rows))
        else:
            heappop(heads)
