"""Dropping the ledger's old days, beside batches that go on.

In: a connection of the tables' owner, how many days are kept, how far was published. Out: the old days; each dropped
with its request ids, or refused. Never: a day with an answer that may be unpublished, a wait for a row that a batch
holds, or a batch that waits for longer than `DROP_LOCK_WAIT_MS` or a page of request ids.

Request ids go first, page by page, then the day as a whole: what is left when this is killed is an old day, some of
whose ids are unknown already, and the next run takes the rest.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

import asyncpg

from mergeline.domain.incarnations import FIRST, incarnation_of, topic_of
from mergeline.domain.messages import Place
from mergeline.errors import SetupError
from mergeline.store.days import days_locked
from mergeline.store.incarnations import read_incarnations
from mergeline.store.progress import Progress, write_progress
from mergeline.store.statements import Connection, Statements, bounds

REQUESTS_PAGE: Final = 2_000
"""Rows of the ledger whose request ids go in one transaction; it takes milliseconds."""
DROP_LOCK_WAIT_MS: Final = 200
"""The ledger is locked for a moment when a day goes; batches queue up behind the one who waits for that."""
ATTEMPTS_MAX: Final = 150
ATTEMPT_PAUSE_S: Final = 0.5
"""Up to so long, by chance, so that batches run in between."""
STATEMENT_MS_MAX: Final = 60_000


class Unpublished(SetupError):
    """A day has answers that are not known to be published."""


class Busy(SetupError):
    """What has to be locked for a moment was in use at each of many attempts."""


@dataclass(frozen=True, slots=True)
class OldDay:
    """A day (in UTC) that is beyond those that are kept, and the bytes it takes on disk."""

    day: date
    bytes: int


async def old_days(connection: Connection, keep_days: int) -> list[OldDay]:
    """The days before the last `keep_days` and today, by the clock of the database, which dates the rows."""
    rows = await Statements(connection).fetch("ledger_old_days", keep_days)
    return [OldDay(row["day"], row["bytes"]) for row in rows]


async def check_published(
    connection: Connection, day: date, group_id: str, published: Mapping[Place, int]
) -> dict[Place, int]:
    """Refuse a day with an answer that its subscribers may not have.

    Args:
        connection: to the database.
        day: of the ledger.
        group_id: whose progress counts.
        published: of partitions, the first offset not yet published, where more is known than the database has
            (the group's committed offsets: the database learns of a batch with the one that follows).

    Returns:
        How far each partition with answers of that day is published at least: behind the last of them.

    Raises:
        Unpublished: naming the first partition with such an answer, in a topic that was not reset since.
    """
    db, positions = Statements(connection), {}
    numbers = {topic: now.number for topic, now in (await read_incarnations(db)).items()}
    for row in await db.fetch("ledger_ends", group_id, day):
        topic, partition, at_offset, known = row
        if incarnation_of(topic) < numbers.get(topic_of(topic), FIRST):
            continue  # a log that is no more: what was not published of it was said when it was reset
        place = Place(topic, partition)
        position = max(known, published.get(place, 0))
        if at_offset >= position:
            raise Unpublished(
                f"The ledger's day {day} has answers up to offset {at_offset} of {topic}-{partition}, of which only "
                f"those below {position} are known to be published. Run a worker until it has caught up, then prune."
            )
        # Not how far the group is: of a database that is older than that, it is all there is to see it by.
        positions[place] = at_offset + 1
    return positions


async def check_rights(connection: Connection) -> None:
    """Refuse a role that could begin to prune and not end it.

    Raises:
        SetupError: if it may not drop days, or not delete request ids.
    """
    if not await Statements(connection).fetch_value("may_drop_days"):
        raise SetupError("This role of the database may not prune. Use the role that migrates it.")


async def drop_day(connection: Connection, day: date, group_id: str, published: Mapping[Place, int]) -> int:
    """Forget the request ids of a day that is published, then drop it; arguments as `check_published`.

    Returns:
        How many request ids are unknown now. Those that a later day has rows of stay, without their decision.

    Raises:
        Unpublished: as `check_published`.
        Busy: if batches or others (a dump, a long `verify`) never let go of what it needs.
    """
    positions = await check_published(connection, day, group_id, published)
    # Kafka forgets a group's offsets in time. What was published must not be read again then, without its answers.
    db, known = Statements(connection), {place: Progress(offset) for place, offset in positions.items()}
    await write_progress(db, group_id, known)
    dropped = await _drop_requests(db, day)
    while await db.execute("ledger_default_drop", day, REQUESTS_PAGE):
        pass
    for _ in range(ATTEMPTS_MAX):
        try:
            async with days_locked(db, DROP_LOCK_WAIT_MS):
                await db.execute("ledger_drop_day", day)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await _pause()
        else:
            return dropped
    raise Busy(_busy(day))


async def _drop_requests(db: Statements, day: date) -> int:
    dropped, last, attempts = 0, ("", -1, -1), 0
    while True:
        # The bounds of a batch: among them, that rows are looked up one by one, with a plan for tables as they are.
        async with db.transaction(bounds(STATEMENT_MS_MAX, STATEMENT_MS_MAX, STATEMENT_MS_MAX)):
            pages = await db.fetch("requests_drop", day, *last, REQUESTS_PAGE)
        if not pages:
            return dropped
        (page,) = pages
        dropped += page["dropped"]
        if not page["busy"]:
            last, attempts = (page["at_topic"], page["at_partition"], page["at_offset"]), 0
            continue
        # A batch has one of them, for the moments that a batch takes: this page again, then the next.
        attempts += 1
        if attempts >= ATTEMPTS_MAX:
            raise Busy(_busy(day))
        await _pause()


def _busy(day: date) -> str:
    return (
        f"The ledger's day {day} could not be dropped: in {ATTEMPTS_MAX} attempts somebody else held it (a dump, a "
        "verify, a batch that hangs). Nothing is lost; prune again when that has ended."
    )


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0, ATTEMPT_PAUSE_S))  # noqa: S311 (nothing secret)
