"""Decisions as bytes: CloudEvents 1.0 in Kafka binary mode with deterministic ids (SPEC section 5).

In: a request, its decision, the versions. Out: `Outgoing` records. Never: a random id or a clock, so that the
same decision always gives the same bytes.
"""

import uuid
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha1
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mergeline.domain.answers import CardChange, Decision, Entry, Merge, Problem, Scope, problem
from mergeline.domain.catalog import Catalog
from mergeline.domain.commands import RegisterCard, RegisterCustomer, Request
from mergeline.domain.keys import card_key, customer_key
from mergeline.domain.messages import Header, Outgoing
from mergeline.domain.prepare import Prepared
from mergeline.domain.vocabulary import OUTCOME_TOPICS, ErrorCode, EventType, Status, Topic

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:mergeline:events")
_IN_NAMESPACE: Final = sha1(NAMESPACE.bytes, usedforsecurity=False)
"""Copied for each id: to begin a hash anew takes twice as long."""
_VARIANTS: Final = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}
"""A hexadecimal digit with its two upper bits as RFC 9562 has them."""
TIMESTAMPS_CACHED: Final = 64
"""All events of a batch have one time."""
TRACEPARENT_MAX_BYTES: Final = 256
"""W3C's has 55; what is longer is none, and each event would carry it."""
DUPLICATE: Final[Header] = ("mergeline-duplicate", b"true")
"""Goes with the stored outcome when a producer sends a request again, and with each event that `replay` sends."""

_JSON: Final = msgspec.json.Encoder()
# Not orjson, whose results keep a page of memory each, which a batch then has to go through twice a request.

_SPECVERSION: Final[Header] = ("ce_specversion", b"1.0")
_SOURCE: Final[Header] = ("ce_source", b"/mergeline")
_CONTENT_TYPE: Final[Header] = ("content-type", b"application/json")


class _Event(Struct, frozen=True, gc=False, rename="camel"):
    """What every event begins with. The two kinds that nearly every request has are structs, which take a third of the
    time; the others are dictionaries.
    """

    request_id: str
    org_id: int
    occurred_at: str


class _IdentifiersChanged(_Event, frozen=True, gc=False):
    customer_id: int | None
    source: str
    account_id: str | None
    added: list["_Named"]
    removed: list["_Named"]
    customer_version: int


class _Named(Struct, frozen=True, gc=False):
    type: str
    value: str


class _UpdateOutcome(_Event, frozen=True, gc=False):
    status: str
    customer_version: int | None
    customer_id: int
    applied_to: int | None
    merged_into: int | None
    errors: list[dict[str, Any]]
    warnings: list[dict[str, Any]]


class _Kind:
    """A topic with one of the types of its events, and what both have ready-made in each event."""

    __slots__ = ("topic", "type")

    def __init__(self, topic: Topic, event_type: EventType) -> None:
        self.topic = topic.value  # a plain text, which is quicker to look up
        self.type: Header = ("ce_type", event_type.encode())


_MERGED: Final = _Kind(Topic.CUSTOMER_MERGED, EventType.CUSTOMER_MERGED)
_IDENTIFIERS: Final = _Kind(Topic.IDENTIFIERS_CHANGED, EventType.IDENTIFIERS_CHANGED)
_REDIRECT: Final = _Kind(Topic.CUSTOMER_REDIRECTS, EventType.CUSTOMER_REDIRECT)
_UPDATE: Final = _Kind(Topic.UPDATE_OUTCOMES, EventType.UPDATE_OUTCOME)
_REGISTRATION: Final = _Kind(Topic.REGISTRATION_OUTCOMES, EventType.REGISTRATION_OUTCOME)
_CARDS: Final = {
    "issued": _Kind(Topic.CARD_ISSUED, EventType.CARD_ISSUED),
    "removed": _Kind(Topic.CARD_CHANGED, EventType.CARD_REMOVED),
    "status_changed": _Kind(Topic.CARD_CHANGED, EventType.CARD_STATUS_CHANGED),
}


def event_id(org_id: int, request_id: str, topic: str, position: int) -> str:
    """UUIDv5 of org, request id, topic (without prefix) and the event's position in it for this request."""
    return _event_id(_names(org_id, request_id), topic, position)


def reused_event_id(org_id: int, request_id: str, body_sha256: bytes) -> str:
    """The id of the outcome that says that a request id was used before with another body."""
    return _uuid5(f"{_names(org_id, request_id)}reused:{body_sha256.hex()}")


def _event_id(names: str, topic: str, position: int) -> str:
    return _uuid5(f"{names}{topic}:{position}")


def _names(org_id: int, request_id: str) -> str:
    """What the ids of all events of a request begin with."""
    return f"{org_id}:{request_id}:"


def _uuid5(name: str) -> str:
    """`str(uuid.uuid5(NAMESPACE, name))`, without the object in between (RFC 9562, 5.5)."""
    hashed = _IN_NAMESPACE.copy()
    hashed.update(name.encode())
    digits = hashed.hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{_VARIANTS[digits[16]]}{digits[17:20]}-{digits[20:32]}"


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
    if target_id is None:
        draft.outcome(decision, None, prepared.catalog)
        return tuple(draft.records)
    merge = decision.merge
    if merge is not None:
        draft.change(_MERGED, target_id, merge_data(merge))
    if decision.removed or decision.added:
        draft.identifiers(target_id, prepared.scope, decision)
    for change in decision.cards:
        draft.change(_CARDS[change.kind], target_id, {"customerId": target_id} | _card(change))
    if merge is not None:
        for victim_id in (merge.victim_id, *merge.repointed_ids):
            draft.redirect(victim_id, merge.survivor_id, victims[victim_id])
    draft.outcome(decision, draft.version, prepared.catalog)
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
    return replace(record, headers=headers)


def repeated(outgoing: tuple[Outgoing, ...]) -> tuple[Outgoing, ...]:
    """The stored outcome among the records of a decided request, flagged as a duplicate."""
    return tuple(again(record) for record in outgoing if record.topic in OUTCOME_TOPICS.values())


def again(record: Outgoing) -> Outgoing:
    """A stored record that is published once more: the same bytes, flagged as a duplicate (once)."""
    return record if DUPLICATE in record.headers else replace(record, headers=(*record.headers, DUPLICATE))


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
    return len(_JSON.encode(merge_data(merge)))


class _Draft:
    """Collects the records of one request; `version` rises with each change event."""

    __slots__ = ("command", "ids", "names", "positions", "records", "time", "trace", "version")

    def __init__(self, request: Request, at: datetime, version: int) -> None:
        command, request_id = request.command, request.request_id
        self.command, self.version = command, version
        occurred_at, self.time = _time(at)
        self.ids = request_id, command.org_id, occurred_at
        self.names = _names(command.org_id, request_id)
        self.records: list[Outgoing] = []
        self.positions: dict[str, int] = {}
        headers = request.message.headers
        self.trace = _trace(headers) if headers else ()

    def identifiers(self, customer_id: int, scope: Scope, decision: Decision) -> None:
        self.version += 1
        added = [_Named(entry.type, entry.value) for entry in decision.added]
        removed = [_Named(entry.type, entry.value) for entry in decision.removed]
        data = _IdentifiersChanged(
            *self.ids, customer_id, scope.source, scope.account or None, added, removed, self.version
        )
        self._add(_IDENTIFIERS, customer_key(self.command.org_id, customer_id), data)

    def change(self, kind: _Kind, customer_id: int, data: dict[str, Any]) -> None:
        self.version += 1
        data = self._common() | data | {"customerVersion": self.version}
        self._add(kind, customer_key(self.command.org_id, customer_id), data)

    def redirect(self, victim_id: int, survivor_id: int, version: int) -> None:
        data = {"customerVersion": version, "victimId": victim_id, "survivorId": survivor_id}
        self._add(_REDIRECT, customer_key(self.command.org_id, victim_id), self._common() | data)

    def outcome(self, decision: Decision, version: int | None, catalog: Catalog | None) -> None:
        """The outcome in the shape of the request's kind; `catalog` translates the series code of a card."""
        command = self.command
        status = str(decision.status)
        errors, warnings = _problems(decision.errors), _problems(decision.warnings)
        if type(command) is RegisterCard:
            key = card_key(command.org_id, command.number)
            series = catalog.find_series(command.series_id, command.series_code) if catalog is not None else None
            data = self._common() | {
                "status": status,
                "cardNumber": command.number,
                "seriesId": series.id if series is not None else command.series_id,
                "errors": errors,
                "warnings": warnings,
            }
            self._add(_REGISTRATION, key, data)
            return
        key = customer_key(command.org_id, command.customer_id)
        if type(command) is RegisterCustomer:
            data = self._common() | {
                "status": status,
                "customerVersion": version,
                "customerId": command.customer_id,
                "errors": errors,
                "warnings": warnings,
            }
            self._add(_REGISTRATION, key, data)
            return
        applied_to, merged_into = decision.applied_to, decision.merged_into
        update = _UpdateOutcome(
            *self.ids, status, version, command.customer_id, applied_to, merged_into, errors, warnings
        )
        self._add(_UPDATE, key, update)

    def _common(self) -> dict[str, Any]:
        request_id, org_id, occurred_at = self.ids
        return {"requestId": request_id, "orgId": org_id, "occurredAt": occurred_at}

    def _add(self, kind: _Kind, key: bytes, data: _Event | dict[str, Any]) -> None:
        position = self.positions.get(kind.topic, 0)
        self.positions[kind.topic] = position + 1
        headers: tuple[Header, ...] = (
            _SPECVERSION,
            ("ce_id", _event_id(self.names, kind.topic, position).encode()),
            kind.type,
            _SOURCE,
            self.time,
            ("ce_subject", key),
            _CONTENT_TYPE,
            *self.trace,
        )
        self.records.append(Outgoing(kind.topic, key, _JSON.encode(data), headers))


@lru_cache(TIMESTAMPS_CACHED)
def _time(at: datetime) -> tuple[str, Header]:
    """A time as data and as header."""
    text = timestamp(at)
    return text, ("ce_time", text.encode())


def _trace(headers: tuple[Header, ...]) -> tuple[Header, ...]:
    """The `traceparent` of a message, which its events carry on."""
    return tuple(
        (name, value)
        for name, value in headers
        if name == "traceparent" and value is not None and len(value) <= TRACEPARENT_MAX_BYTES
    )[:1]


def _problems(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [said.as_json() for said in problems] if problems else []


def _scope(scope: Scope) -> dict[str, Any]:
    return {"source": scope.source, "accountId": scope.account or None}


def _entry(entry: Entry) -> dict[str, Any]:
    return {"type": entry.type, "value": entry.value, **_scope(entry.scope)}


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
