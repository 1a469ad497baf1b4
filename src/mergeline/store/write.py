"""What a batch changed, into the tables.

In: net changes, each beside what was read, the answers, and how far partitions are published. Out: rows, written by
three statements at most, whatever the batch. Never: a row written over another than the one that was read: `Overtaken`
instead.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from mergeline.domain.batch import Answer
from mergeline.domain.events import event_id, merge_data
from mergeline.domain.ledger import LedgerRow, RowKind
from mergeline.domain.messages import Place
from mergeline.domain.state import Changes
from mergeline.domain.vocabulary import Topic
from mergeline.store.failures import Overtaken
from mergeline.store.read import RequestKey
from mergeline.store.rows import LEDGER_COLUMNS, day_of, ledger_values
from mergeline.store.statements import Statements, columns_of

Parts = dict[str, tuple[int, list[tuple[Any, ...]]]]
"""By the name of a part of a statement: how many columns, and the rows."""
COMMON: Final = ("customers_update", "entries_insert", "requests_insert")
REST: Final = (
    *("customers_insert", "entries_delete", "entries_move", "cards_insert", "cards_update"),
    *("merges_insert", "requests_update"),
)
"""The parts of the statements `write` and `write_rest`, in the order of their columns."""
NO_CHANGES: Final = Changes((), (), ())
NO_PLACE: Final = (None, None, None, None)
"""Of a request id without a decided row: its day, topic, partition and offset."""


async def write(
    db: Statements,
    changes: Changes,
    answers: Sequence[Answer],
    known: frozenset[RequestKey],
    group_id: str,
    published: Mapping[Place, int],
) -> None:
    """Everything that a batch changes.

    Args:
        db: in the batch's transaction.
        changes: customers, entries and cards.
        answers: their merges, request ids and ledger rows.
        known: the request ids that the ledger has rows of already.
        group_id: whose partitions.
        published: of partitions, the first offset not yet published.

    Raises:
        Overtaken: if a row is not as it was read.
    """
    rows = [answer.row for answer in answers if answer.row is not None]
    requests = _requests(rows)
    parts: Parts = {
        **_customers(changes),
        **_entries(changes),
        **_cards(changes),
        "merges_insert": (7, [_merge_values(answer) for answer in answers if answer.merge is not None]),
        "requests_insert": (7, [values for key, values in requests.items() if key not in known]),
        "requests_update": (7, [values for key, values in requests.items() if key in known]),
    }
    if any(parts[name][1] for name in REST):
        await _write(db, "write_rest", {name: parts[name] for name in REST})
    progress = columns_of(sorted((*place, offset) for place, offset in published.items()), 3)
    await _write(db, "write", {name: parts[name] for name in COMMON}, group_id, *progress)
    if rows:
        await db.copy("ledger", LEDGER_COLUMNS, map(ledger_values, rows))


async def _write(db: Statements, statement: str, parts: Parts, *more: object) -> None:
    columns = [column for width, rows in parts.values() for column in columns_of(rows, width)]
    (written,) = await db.fetch(statement, *columns, *more)
    for name, (_, rows) in parts.items():
        if written[name] != len(rows):
            raise Overtaken(f"{name}: {written[name]} of {len(rows)} rows were as they had been read")


async def write_progress(db: Statements, group_id: str, published: Mapping[Place, int]) -> None:
    """Raise `published_offset` of each partition, and nothing else; it never goes back."""
    if published:
        await write(db, NO_CHANGES, (), frozenset(), group_id, published)


def _customers(changes: Changes) -> Parts:
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
    return {"customers_insert": (6, new), "customers_update": (7, changed)}


def _entries(changes: Changes) -> Parts:
    gone = [(org_id, *entry, was) for org_id, entry, was, now in changes.entries if now is None]
    moved = [
        (org_id, *entry, was, now) for org_id, entry, was, now in changes.entries if was is not None and now is not None
    ]
    new = [(org_id, *entry, now) for org_id, entry, was, now in changes.entries if was is None]
    return {"entries_delete": (6, gone), "entries_move": (7, moved), "entries_insert": (6, new)}


def _cards(changes: Changes) -> Parts:
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
    return {"cards_insert": (9, new), "cards_update": (9, changed)}


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
