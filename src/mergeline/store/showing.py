"""What is stored, for `mergeline show`.

In: a connection, ids. Out: documents in the shapes of `schemas/show`, or None for what is not there. Never: two parts
of one document from different times.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from mergeline.domain.events import timestamp
from mergeline.domain.incarnations import incarnation_of, topic_of
from mergeline.domain.ledger import LedgerRow, RowKind
from mergeline.domain.messages import Coordinate, Outgoing
from mergeline.domain.values import normalise
from mergeline.domain.vocabulary import Topic
from mergeline.store.catalogs import newest_catalog
from mergeline.store.rows import ledger_row_of
from mergeline.store.statements import Connection, Statements, columns_of

Document = dict[str, Any]

KINDS: Final[dict[str, str]] = {
    Topic.IDENTIFIER_UPDATES: "identifier-update",
    Topic.CUSTOMER_REGISTRATIONS: "customer-registration",
    Topic.CARD_REGISTRATIONS: "card-registration",
}


async def show_customer(connection: Connection, org_id: int, customer_id: int) -> Document | None:
    """A customer with everything it holds and every merge it took part in."""
    async with _snapshot(connection) as db:
        rows = await db.fetch("show_customer", org_id, customer_id)
        if not rows:
            return None
        (customer,) = rows
        entries = await db.fetch("show_customer_entries", org_id, customer_id)
        cards = await db.fetch("show_customer_cards", org_id, customer_id)
        victims = await db.fetch("show_customer_victims", org_id, customer_id)
        merges = await db.fetch("show_customer_merges", org_id, customer_id)
    return {
        "orgId": org_id,
        "customerId": customer_id,
        "status": "living" if customer["survivor_id"] is None else "merged",
        "survivorId": customer["survivor_id"],
        "version": customer["version"],
        "registeredAt": timestamp(customer["registered_at"]),
        "mergedAt": _instant(customer["merged_at"]),
        "identifiers": [{"type": row["type"], "value": row["value"]} | _scope(row) for row in entries],
        "cards": [_card(row) for row in cards],
        "victims": [row["customer_id"] for row in victims],
        "merges": [
            {
                "mergeId": str(row["merge_id"]),
                "victimId": row["victim_id"],
                "survivorId": row["survivor_id"],
                "requestId": row["request_id"],
                "mergedAt": timestamp(row["merged_at"]),
            }
            for row in merges
        ],
    }


async def show_identifier(connection: Connection, org_id: int, identifier_type: str, value: str) -> Document | None:
    """Every entry of an identifier; the value is normalised as in a request of the org, or else taken as it is given.

    A value that was normalised already can become another one: digits with a country code can be a valid number of the
    org's `defaultRegion` too.
    """
    newest = await newest_catalog(connection, org_id)
    region = newest.catalog.default_region if newest is not None and newest.catalog is not None else None
    given = value.strip()
    for stored in dict.fromkeys((normalise(identifier_type, given, region), given)):
        if rows := await Statements(connection).fetch("show_identifier", org_id, identifier_type, stored):
            break
    entries = [{"customerId": row["customer_id"]} | _scope(row) for row in rows]
    return {"entries": entries} if entries else None


async def show_card(connection: Connection, org_id: int, number: str) -> Document | None:
    """A card."""
    rows = await Statements(connection).fetch("show_card", org_id, number.strip())
    if not rows:
        return None
    (card,) = rows
    owner = {"orgId": org_id, "cardExternalId": card["external_id"], "customerId": card["customer_id"]}
    return owner | _card(card)


async def show_request(connection: Connection, org_id: int, request_id: str) -> Document | None:
    """What became of a request, what was published for it, and the other messages with its id."""
    rows = [ledger_row_of(row) for row in await Statements(connection).fetch("show_request", org_id, request_id)]
    if not rows:
        return None
    # A dead letter decides nothing: it is the request only where nothing else is.
    shown = next((row for row in rows if row.kind is RowKind.DECIDED), rows[0])
    return {
        "orgId": org_id,
        "requestId": request_id,
        # What stood on the internal topic by itself is no request; it lies with the dead letters of updates.
        "kind": KINDS.get(topic_of(shown.origin.topic), KINDS[Topic.IDENTIFIER_UPDATES]),
        "status": shown.status,
        "requestedAt": _instant(shown.requested_at),
        "decidedAt": timestamp(shown.decided_at),
        "bodySha256": shown.body_sha256.hex(),
        "origin": place_document(shown.origin),
        "events": [_event(record) for record in shown.outgoing],
        "repeats": [_repeat(row) for row in rows if row is not shown],
    }


async def decided_among(connection: Connection, requests: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Of request ids, each with its org, those that the ledger has a decision for."""
    rows = await Statements(connection).fetch("decided_among", *columns_of(requests, 2))
    return {(row["org_id"], row["request_id"]) for row in rows}


@asynccontextmanager
async def _snapshot(connection: Connection) -> AsyncIterator[Statements]:
    db = Statements(connection)
    async with db.snapshot():
        yield db


def _repeat(row: LedgerRow) -> Document:
    return {"origin": place_document(row.origin), "kind": row.kind.value, "decidedAt": timestamp(row.decided_at)}


def _event(record: Outgoing) -> Document:
    return {
        "topic": str(record.topic),
        "key": (record.key or b"").decode(),
        # A producer's traceparent is passed on as it came, so it may be no text.
        "headers": {name: (value or b"").decode(errors="replace") for name, value in record.headers},
        "data": orjson.loads(record.value or b"{}"),
    }


def _card(row: asyncpg.Record) -> Document:
    return {
        "cardNumber": row["number"],
        "seriesId": row["series_id"],
        "statusLabel": row["label"],
        "status": row["status"],
        "issuedAt": _instant(row["issued_at"]),
        "expiresAt": _instant(row["expires_at"]),
    }


def _scope(row: asyncpg.Record) -> Document:
    return {"source": row["source"], "accountId": row["account"] or None}


def place_document(place: Coordinate) -> Document:
    """Where a message stood, with the incarnation of its topic."""
    return {
        "topic": topic_of(place.topic),
        "incarnation": incarnation_of(place.topic),
        "partition": place.partition,
        "offset": place.offset,
    }


def _instant(at: datetime | None) -> str | None:
    return timestamp(at) if at is not None else None
