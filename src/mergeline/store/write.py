"""What a batch changed, into the tables.

In: net changes, each beside what was read, the verdicts and the answers, and how far partitions got. Out: rows, written
by three statements, whatever the batch (and one more for each 64 MiB that it publishes). Never: a row written over
another than the one that was read (`Overtaken` instead), or into a database that lost what was stored (`Forgotten`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import accumulate
from typing import Any, Final

import orjson

from mergeline.domain.answers import Merge
from mergeline.domain.batch import Answer, Verdict
from mergeline.domain.events import event_id, merge_data
from mergeline.domain.ledger import RowKind
from mergeline.domain.messages import Place
from mergeline.domain.state import Changes
from mergeline.domain.vocabulary import Topic
from mergeline.store.parts import COMMON, REST, Parts, write_parts
from mergeline.store.progress import Progress, write_common
from mergeline.store.read import RequestKey
from mergeline.store.rows import LEDGER_COLUMNS, day_of, ledger_values
from mergeline.store.statements import Statements, columns_of, meanwhile

BODY_SHA256: Final = LEDGER_COLUMNS.index("body_sha256")
OUTGOING: Final = LEDGER_COLUMNS.index("outgoing")
LEDGER_INSERT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of stored records in one statement: PostgreSQL takes no value above 1 GB."""
NO_PLACE: Final = (None, None, None, None)
"""Of a request id without a decided row: its day, topic, partition and offset."""


async def write(
    db: Statements,
    changes: Changes,
    verdicts: Sequence[Verdict],
    now: datetime,
    known: frozenset[RequestKey],
    group_id: str,
    progress: Mapping[Place, Progress],
    answer: Callable[[], list[Answer]],
) -> list[Answer]:
    """Everything that a batch changes; the answers.

    Args:
        db: in the batch's transaction.
        changes: customers, entries and cards.
        verdicts: their merges and request ids.
        now: when they were decided.
        known: the request ids that the ledger has rows of already.
        group_id: whose partitions.
        progress: how far partitions got.
        answer: makes the answers, whose rows go into the ledger; called while PostgreSQL writes the rest.

    Raises:
        Overtaken: if a row is not as it was read.
        Forgotten: if the database has not what was stored before.
    """
    requests = _requests(verdicts, day_of(now))
    parts: Parts = {
        **_customers(changes),
        **_entries(changes),
        **_cards(changes),
        "merges_insert": (7, [_merge_values(verdict, merge, now) for verdict, merge in _merges(verdicts)]),
        "requests_insert": (7, [values for key, values in requests.items() if key not in known]),
        "requests_update": (7, [values for key, values in requests.items() if key in known]),
    }
    if any(parts[name][1] for name in REST):
        await write_parts(db, "write_rest", {name: parts[name] for name in REST})
    common = write_common(db, {name: parts[name] for name in COMMON}, verdicts, group_id, progress)
    answers, rows = await meanwhile(common, lambda: _with_rows(answer()))
    for some in _in_bounds(rows):
        await db.execute("ledger_insert", *_ledger_columns(some))
    return answers


def _with_rows(answers: list[Answer]) -> tuple[list[Answer], list[tuple[Any, ...]]]:
    return answers, [ledger_values(answer.row) for answer in answers if answer.row is not None]


def _in_bounds(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Rows of one statement each: nearly always all of them."""
    first = size = 0
    for number, row in enumerate(rows):
        if number > first and size + len(row[OUTGOING]) > LEDGER_INSERT_BYTES_MAX:
            yield rows[first:number]
            first, size = number, 0
        size += len(row[OUTGOING])
    if rows:
        yield rows[first:]


def _ledger_columns(rows: Sequence[tuple[Any, ...]]) -> list[object]:
    """The arguments of `ledger_insert`."""
    *columns, outgoing = columns_of(rows, len(LEDGER_COLUMNS))
    columns[BODY_SHA256] = [digest.hex() for digest in columns[BODY_SHA256]]
    lengths = list(map(len, outgoing))
    return [*columns, list(accumulate(lengths, initial=1))[:-1], lengths, b"".join(outgoing)]


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
    gone: list[tuple[Any, ...]] = []
    moved: list[tuple[Any, ...]] = []
    new: list[tuple[Any, ...]] = []
    for org_id, entry, was, now in changes.entries:
        named = (org_id, entry.type, entry.value, entry.scope.source, entry.scope.account)
        if now is None:
            gone.append((*named, was))
        elif was is None:
            new.append((*named, now))
        else:
            moved.append((*named, was, now))
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


def _merges(verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, Merge]]:
    for verdict in verdicts:
        if verdict.decision is not None and verdict.decision.merge is not None:
            yield verdict, verdict.decision.merge


def _merge_values(verdict: Verdict, merge: Merge, now: datetime) -> tuple[Any, ...]:
    return (
        verdict.org_id,
        merge.victim_id,
        merge.survivor_id,
        event_id(verdict.org_id, verdict.request_id, Topic.CUSTOMER_MERGED, 0),
        verdict.request_id,
        now,
        orjson.dumps(merge_data(merge)).decode(),
    )


def _requests(verdicts: Sequence[Verdict], day: date) -> dict[RequestKey, tuple[Any, ...]]:
    """The row of each request id: the day of its latest message, and where its decided row lies."""
    values: dict[RequestKey, tuple[Any, ...]] = {}
    for verdict in verdicts:
        if verdict.kind is None:
            continue
        key = (verdict.org_id, verdict.request_id)
        if verdict.kind is RowKind.DECIDED:
            place: tuple[Any, ...] = (day, *verdict.message.at)
        else:
            place = values[key][len(key) + 1 :] if key in values else NO_PLACE
        values[key] = (*key, day, *place)
    return values
