"""Rows of the database as values of the domain, and back.

In: records of asyncpg, or values. Out: values, or tuples in the order of a statement's arguments. Never: I/O.
"""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

import asyncpg

from mergeline.domain.answers import Card, Customer, Entry
from mergeline.domain.ledger import LedgerRow, RowKind
from mergeline.domain.messages import Coordinate
from mergeline.domain.vocabulary import CardStatus
from mergeline.store.framing import pack, unpack

Row = asyncpg.Record
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


def customer_of(row: Row) -> Customer:
    """A row of `customer`."""
    return Customer(
        row["org_id"],
        row["customer_id"],
        row["survivor_id"],
        row["version"],
        row["registered_at"],
        row["merged_at"],
    )


def entry_of(row: Row) -> Entry:
    """A row of `identifier`, without its customer."""
    return Entry(row["type"], row["value"], row["source"], row["account"])


def card_of(row: Row) -> Card:
    """A row of `card`."""
    return Card(
        org_id=row["org_id"],
        number=row["number"],
        series_id=row["series_id"],
        external_id=row["external_id"],
        customer_id=row["customer_id"],
        label=row["label"],
        status=CardStatus(row["status"]),
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
    )


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
