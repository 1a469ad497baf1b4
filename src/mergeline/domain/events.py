"""Decisions as bytes: CloudEvents 1.0 in Kafka binary mode with deterministic ids (SPEC section 5).

In: a request, its decision, the versions. Out: `Outgoing` records. Never: a random id or a clock, so that the
same decision always gives the same bytes.
"""

import uuid
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha1
from typing import Any, Final

import orjson

from mergeline.domain.answers import CardChange, Decision, Entry, Merge, Scope, problem
from mergeline.domain.catalog import Catalog
from mergeline.domain.commands import RegisterCard, RegisterCustomer, Request
from mergeline.domain.messages import Header, Outgoing
from mergeline.domain.prepare import Prepared
from mergeline.domain.vocabulary import ErrorCode, EventType, Status, Topic

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:mergeline:events")
TIMESTAMPS_CACHED: Final = 64
"""All events of a batch have one time."""
TRACEPARENT_MAX_BYTES: Final = 256
"""W3C's has 55; what is longer is none, and each event would carry it."""
DUPLICATE: Final[Header] = ("mergeline-duplicate", b"true")
"""Goes with the stored outcome when a producer sends a request again."""

_SPECVERSION: Final[Header] = ("ce_specversion", b"1.0")
_SOURCE: Final[Header] = ("ce_source", b"/mergeline")
_CONTENT_TYPE: Final[Header] = ("content-type", b"application/json")
_TYPES: Final[dict[EventType, Header]] = {kind: ("ce_type", kind.encode()) for kind in EventType}
_CARD_EVENTS: Final = {
    "issued": (Topic.CARD_ISSUED, EventType.CARD_ISSUED),
    "removed": (Topic.CARD_CHANGED, EventType.CARD_REMOVED),
    "status_changed": (Topic.CARD_CHANGED, EventType.CARD_STATUS_CHANGED),
}


def event_id(org_id: int, request_id: str, topic: str, position: int) -> str:
    """UUIDv5 of org, request id, topic (without prefix) and the event's position in it for this request."""
    return _uuid5(f"{org_id}:{request_id}:{topic}:{position}")


def reused_event_id(org_id: int, request_id: str, body_sha256: bytes) -> str:
    """The id of the outcome that says that a request id was used before with another body."""
    return _uuid5(f"{org_id}:{request_id}:reused:{body_sha256.hex()}")


def _uuid5(name: str) -> str:
    """`str(uuid.uuid5(NAMESPACE, name))` without the object in between: every event needs one (RFC 9562, 5.5)."""
    digest = bytearray(sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@lru_cache(TIMESTAMPS_CACHED)
def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def publications(
    prepared: Prepared, decision: Decision, version: int | None, victims: dict[int, int]
) -> tuple[Outgoing, ...]:
    """Every record of a decided request: change events, redirects, the outcome.

    Args:
        prepared: the request, for its scope and ids.
        decision: what was decided.
        version: of `decision.version_of` before this request; None where no customer was looked up.
        victims: version of the victim and of each repointed customer.
    """
    draft = _Draft(prepared.request, decision.occurred_at, version or 0)
    target_id = decision.version_of
    if decision.merge is not None:
        draft.change(Topic.CUSTOMER_MERGED, EventType.CUSTOMER_MERGED, target_id, merge_data(decision.merge))
    if decision.removed or decision.added:
        draft.change(
            Topic.IDENTIFIERS_CHANGED,
            EventType.IDENTIFIERS_CHANGED,
            target_id,
            {"customerId": target_id}
            | _scope(prepared.scope)
            | {"added": _identifiers(decision.added), "removed": _identifiers(decision.removed)},
        )
    for change in decision.cards:
        topic, event_type = _CARD_EVENTS[change.kind]
        draft.change(topic, event_type, target_id, {"customerId": target_id} | _card(change))
    if decision.merge is not None:
        for victim_id in (decision.merge.victim_id, *decision.merge.repointed_ids):
            draft.redirect(victim_id, decision.merge.survivor_id, victims[victim_id])
    draft.outcome(decision, None if target_id is None else draft.version, prepared.catalog)
    return tuple(draft.records)


def reused(request: Request, at: datetime) -> Outgoing:
    """The outcome of a request whose id came before with another body; it belongs to no decision."""
    draft = _Draft(request, at, 0)
    text = "This requestId came before with a different body. Send the request again under a new id."
    error = problem(ErrorCode.REQUEST_ID_REUSED, text, "/requestId")
    draft.outcome(Decision(Status.REJECTED, at, errors=(error,)), None, None)
    (record,) = draft.records
    ce_id = reused_event_id(request.org_id, request.request_id, request.body_sha256).encode()
    headers = tuple((name, ce_id if name == "ce_id" else value) for name, value in record.headers)
    return record._replace(headers=headers)


def repeated(outgoing: tuple[Outgoing, ...]) -> tuple[Outgoing, ...]:
    """The stored outcome among the records of a decided request, flagged as a duplicate."""
    outcomes = (Topic.UPDATE_OUTCOMES, Topic.REGISTRATION_OUTCOMES)
    return tuple(
        record._replace(headers=(*record.headers, DUPLICATE)) for record in outgoing if record.topic in outcomes
    )


def merge_data(merge: Merge) -> dict[str, Any]:
    """The part of a merge event that is about the merge (SPEC section 5)."""
    return {
        "victimId": merge.victim_id,
        "survivorId": merge.survivor_id,
        "matched": [
            _entry(match.added) | {"entries": [_scope(place) for place in match.entries]} for match in merge.matched
        ],
        "movedIdentifiers": [_entry(entry) for entry in merge.moved_entries],
        "movedCards": [{"cardNumber": number, "seriesId": series_id} for number, series_id in merge.moved_cards],
        "repointedCustomerIds": list(merge.repointed_ids),
        "warnings": [warning.as_json() for warning in merge.warnings],
    }


def merge_bytes(merge: Merge) -> int:
    """Bytes of the merge event, less its few fixed fields."""
    return len(orjson.dumps(merge_data(merge)))


class _Draft:
    """Collects the records of one request; `version` rises with each change event."""

    def __init__(self, request: Request, at: datetime, version: int) -> None:
        self.request, self.version = request, version
        self.org_id = request.org_id
        self.occurred_at = timestamp(at)
        self.records: list[Outgoing] = []
        self.positions: dict[str, int] = {}
        self.trace = tuple(
            (name, value)
            for name, value in request.message.headers
            if name == "traceparent" and value is not None and len(value) <= TRACEPARENT_MAX_BYTES
        )[:1]

    def change(self, topic: Topic, event_type: EventType, customer_id: int | None, data: dict[str, Any]) -> None:
        self.version += 1
        self._add(topic, event_type, f"{self.org_id}:{customer_id}", data | {"customerVersion": self.version})

    def redirect(self, victim_id: int, survivor_id: int, version: int) -> None:
        data = {"customerVersion": version, "victimId": victim_id, "survivorId": survivor_id}
        self._add(Topic.CUSTOMER_REDIRECTS, EventType.CUSTOMER_REDIRECT, f"{self.org_id}:{victim_id}", data)

    def outcome(self, decision: Decision, version: int | None, catalog: Catalog | None) -> None:
        """The outcome in the shape of the request's kind; `catalog` translates the series code of a card."""
        command = self.request.command
        said: dict[str, Any] = {"status": decision.status.value}
        problems = {
            "errors": [error.as_json() for error in decision.errors],
            "warnings": [warning.as_json() for warning in decision.warnings],
        }
        if isinstance(command, RegisterCard):
            key = f"{self.org_id}:card:{command.number}"
            series = catalog.find_series(command.series_id, command.series_code) if catalog is not None else None
            series_id = series.id if series is not None else command.series_id
            data = said | {"cardNumber": command.number, "seriesId": series_id} | problems
            self._add(Topic.REGISTRATION_OUTCOMES, EventType.REGISTRATION_OUTCOME, key, data)
            return
        key = f"{self.org_id}:{command.customer_id}"
        said |= {"customerVersion": version, "customerId": command.customer_id}
        if isinstance(command, RegisterCustomer):
            data = said | problems
            self._add(Topic.REGISTRATION_OUTCOMES, EventType.REGISTRATION_OUTCOME, key, data)
            return
        data = said | {"appliedTo": decision.applied_to, "mergedInto": decision.merged_into} | problems
        self._add(Topic.UPDATE_OUTCOMES, EventType.UPDATE_OUTCOME, key, data)

    def _add(self, topic: Topic, event_type: EventType, key: str, data: dict[str, Any]) -> None:
        common = {"requestId": self.request.request_id, "orgId": self.org_id, "occurredAt": self.occurred_at}
        position = self.positions.get(topic, 0)
        self.positions[topic] = position + 1
        subject = key.encode()
        headers: tuple[Header, ...] = (
            _SPECVERSION,
            ("ce_id", event_id(self.org_id, self.request.request_id, topic, position).encode()),
            _TYPES[event_type],
            _SOURCE,
            ("ce_time", self.occurred_at.encode()),
            ("ce_subject", subject),
            _CONTENT_TYPE,
            *self.trace,
        )
        self.records.append(Outgoing(topic, subject, orjson.dumps(common | data), headers))


def _scope(scope: Scope) -> dict[str, Any]:
    return {"source": scope.source, "accountId": scope.account or None}


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "type": entry.type,
        "value": entry.value,
        "source": entry.source,
        "accountId": entry.account or None,
    }


def _identifiers(entries: tuple[Entry, ...]) -> list[dict[str, str]]:
    return [{"type": entry.type, "value": entry.value} for entry in entries]


def _card(change: CardChange) -> dict[str, Any]:
    card, before = change.after, change.before
    data: dict[str, Any] = {
        "cardNumber": card.number,
        "seriesId": card.series_id,
        "statusLabel": card.label,
        "status": card.status.value,
    }
    if change.kind == "issued":
        return data | {
            "issuedAt": timestamp(card.issued_at) if card.issued_at else None,
            "expiresAt": timestamp(card.expires_at) if card.expires_at else None,
        }
    return data | {"previousStatusLabel": before.label if before is not None else None}
