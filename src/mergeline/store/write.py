"""What a batch changed, into the tables.

In: net changes, each beside what was read, and the answers. Out: rows written in a fixed number of statements; empty
sets send none. Never: a row written over another than the one that was read: `Overtaken` instead.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from mergeline.domain.batch import Answer
from mergeline.domain.events import event_id, merge_data
from mergeline.domain.ledger import LedgerRow, RowKind
from mergeline.domain.state import Changes
from mergeline.domain.vocabulary import Topic
from mergeline.store.failures import Overtaken
from mergeline.store.read import RequestKey
from mergeline.store.rows import LEDGER_COLUMNS, day_of, ledger_values
from mergeline.store.statements import Statements, columns_of

NO_PLACE: Final = (None, None, None, None)
"""Of a request id without a decided row: its day, topic, partition and offset."""


async def write_changes(db: Statements, changes: Changes) -> None:
    """Customers, entries and cards.

    Raises:
        Overtaken: if a row is not as it was read.
    """
    await _write_customers(db, changes)
    await _write_entries(db, changes)
    await _write_cards(db, changes)


async def _write_customers(db: Statements, changes: Changes) -> None:
    new = [
        (now.org_id, now.customer_id, now.survivor_id, now.version, now.registered_at, now.merged_at)
        for was, now in changes.customers
        if was is None
    ]
    changed = [
        (
            *(now.org_id, now.customer_id, now.survivor_id, now.version, now.merged_at),
            *(was.survivor_id, was.version),
        )
        for was, now in changes.customers
        if was is not None
    ]
    await _write(db, "customers_insert", new)
    await _write(db, "customers_update", changed)


async def _write_entries(db: Statements, changes: Changes) -> None:
    gone = [(org_id, *entry, was) for org_id, entry, was, now in changes.entries if now is None]
    moved = [
        (org_id, *entry, was, now) for org_id, entry, was, now in changes.entries if was is not None and now is not None
    ]
    new = [(org_id, *entry, now) for org_id, entry, was, now in changes.entries if was is None]
    await _write(db, "entries_delete", gone)
    await _write(db, "entries_move", moved)
    await _write(db, "entries_insert", new)


async def _write_cards(db: Statements, changes: Changes) -> None:
    new = [
        (
            *(now.org_id, now.number, now.series_id, now.external_id, now.customer_id),
            *(now.label, now.status.value, now.issued_at, now.expires_at),
        )
        for was, now in changes.cards
        if was is None
    ]
    changed = [
        (
            *(now.org_id, now.number, now.customer_id, now.label, now.status.value, now.issued_at, now.expires_at),
            *(was.customer_id, was.label),
        )
        for was, now in changes.cards
        if was is not None
    ]
    await _write(db, "cards_insert", new)
    await _write(db, "cards_update", changed)


async def write_answers(db: Statements, answers: Sequence[Answer], known: frozenset[RequestKey]) -> None:
    """The merges, the request ids and the ledger rows; `known` are the ids that the ledger has rows of already."""
    merges = [_merge_values(answer) for answer in answers if answer.merge is not None]
    await _write(db, "merges_insert", merges)
    rows = [answer.row for answer in answers if answer.row is not None]
    requests = _requests(rows)
    await _write(db, "requests_insert", [values for key, values in requests.items() if key not in known])
    await _write(db, "requests_update", [values for key, values in requests.items() if key in known])
    if rows:
        await db.copy("ledger", LEDGER_COLUMNS, map(ledger_values, rows))


def _merge_values(answer: Answer) -> tuple[Any, ...]:
    merge, row = answer.merge, answer.row
    if merge is None or row is None:
        raise AssertionError("a merge is part of a decision, which has a row")
    return (
        row.org_id,
        merge.victim_id,
        merge.survivor_id,
        event_id(row.org_id, row.request_id, Topic.CUSTOMER_MERGED, 0),
        row.request_id,
        row.decided_at,
        orjson.dumps(merge_data(merge)).decode(),
    )


def _requests(rows: Sequence[LedgerRow]) -> dict[RequestKey, tuple[Any, ...]]:
    """The row of each request id: the day of its latest message, and where its decided row lies."""
    values: dict[RequestKey, tuple[Any, ...]] = {}
    for row in rows:
        key, day = (row.org_id, row.request_id), day_of(row.decided_at)
        if row.kind is RowKind.DECIDED:
            place: tuple[Any, ...] = (day, *row.at)
        else:
            place = values[key][len(key) + 1 :] if key in values else NO_PLACE
        values[key] = (*key, day, *place)
    return values


async def _write(db: Statements, name: str, rows: Sequence[Sequence[Any]]) -> None:
    if not rows:
        return
    written = await db.execute(name, *columns_of(rows, len(rows[0])))
    if written != len(rows):
        raise Overtaken(f"{name}: {written} of {len(rows)} rows were as they had been read")
