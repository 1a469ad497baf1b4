"""Rows of the database as values of the domain, and back.

In: records of asyncpg, rows of JSON, or values. Out: values, or tuples in the order of a statement's arguments. Never:
I/O.
"""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

import asyncpg

from mergeline.domain.answers import Card, Customer
from mergeline.domain.ledger import LedgerRow, RowKind
from mergeline.domain.messages import Coordinate
from mergeline.domain.vocabulary import CardStatus
from mergeline.store.framing import pack, unpack

Row = asyncpg.Record
JsonRow = list[Any]
"""In the order of the columns; a time as PostgreSQL writes it in JSON."""
DAYS_CACHED: Final = 64
"""All rows of a batch have one time."""

LEDGER_COLUMNS: Final = (
    "day",
    "org_id",
    "request_id",
    "kind",
    "status",
    "detail",
    "body_sha256",
    "origin_topic",
    "origin_partition",
    "origin_offset",
    "at_topic",
    "at_partition",
    "at_offset",
    "requested_at",
    "decided_at",
    "outgoing",
)


def customer_of(row: JsonRow) -> Customer:
    """A row of `customer`."""
    org_id, customer_id, survivor_id, version, registered_at, merged_at = row
    merged = None if merged_at is None else datetime.fromisoformat(merged_at)
    return Customer(org_id, customer_id, survivor_id, version, datetime.fromisoformat(registered_at), merged)


def card_of(row: JsonRow) -> Card:
    """A row of `card`."""
    org_id, number, series_id, external_id, customer_id, label, status, issued_at, expires_at = row
    issued = None if issued_at is None else datetime.fromisoformat(issued_at)
    expires = None if expires_at is None else datetime.fromisoformat(expires_at)
    return Card(org_id, number, series_id, external_id, customer_id, label, CardStatus(status), issued, expires)


def ledger_row_of(row: Row) -> LedgerRow:
    """A row of `ledger`."""
    return LedgerRow(
        org_id=row["org_id"],
        request_id=row["request_id"],
        kind=RowKind(row["kind"]),
        body_sha256=row["body_sha256"],
        status=row["status"],
        detail=row["detail"],
        origin=Coordinate(row["origin_topic"], row["origin_partition"], row["origin_offset"]),
        at=Coordinate(row["at_topic"], row["at_partition"], row["at_offset"]),
        requested_at=row["requested_at"],
        decided_at=row["decided_at"],
        outgoing=unpack(row["outgoing"]),
    )


@lru_cache(DAYS_CACHED)
def day_of(at: datetime) -> date:
    """The day, in UTC, that a row of this time is kept under."""
    return at.astimezone(UTC).date()


def ledger_values(row: LedgerRow) -> tuple[Any, ...]:
    """A row for `LEDGER_COLUMNS`."""
    origin, at = row.origin, row.at
    return (
        day_of(row.decided_at),
        row.org_id,
        row.request_id,
        str(row.kind),
        row.status,
        row.detail,
        row.body_sha256,
        origin.topic,
        origin.partition,
        origin.offset,
        at.topic,
        at.partition,
        at.offset,
        row.requested_at,
        row.decided_at,
        pack(row.outgoing),
    )
