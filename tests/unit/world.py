"""A small world to try requests in: plain rows for a database, an org's catalog, and what is said about a request.

`Rows` is the database as dictionaries. It can be read whole, or, like the real store, only as far as a batch may
touch it. `World` decides every batch both ways and insists that the two agree, byte for byte.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from msgspec.structs import astuple
from tests.defaults import default_limits

from mergeline.domain.answers import Card, Customer, Entry, Scope
from mergeline.domain.batch import Answer, DeadLetter, Verdict, answer_batch, judge_batch
from mergeline.domain.catalog import Catalog
from mergeline.domain.decode import decode
from mergeline.domain.footprint import Candidates, Footprint, counted, footprint, merge_candidates
from mergeline.domain.ledger import Ledger, LedgerRow
from mergeline.domain.limits import Limits
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message, Outgoing
from mergeline.domain.prepare import Prepared, prepare
from mergeline.domain.state import Changes, Held, State
from mergeline.domain.vocabulary import COUNTED_STATUSES, CardStatus, Topic

ORG = 7
NOW = datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)
OCCURRED_AT = "2026-11-21T10:00:00.123456Z"
CATALOG = {
    "orgId": ORG,
    "blockList": ["test@test.com", "0000000000", "null"],
    "sources": {"INSTORE": "single", "ECOMMERCE": "single", "WECHAT": "multiple"},
    "series": [
        {"id": 163, "code": "GOLD", "maxActiveCardsPerCustomer": 2},
        {"id": 164, "code": "MADE", "autoCreate": True, "expiryDays": 365},
        {"id": 165, "code": "PAST", "active": False},
        {"id": 166, "maxActiveCardsPerCustomer": 1},
    ],
    "statusLabels": {"Handed out": "ISSUED", "Live": "ACTIVE", "Frozen": "SUSPENDED", "Back": "NOT_ISSUED"},
}
OUTCOMES = (Topic.UPDATE_OUTCOMES, Topic.REGISTRATION_OUTCOMES)


@dataclass
class Rows:
    """The tables of the database."""

    customers: dict[tuple[int, int], Customer] = field(default_factory=dict)
    entries: dict[tuple[int, Entry], int] = field(default_factory=dict)
    cards: dict[tuple[int, str], Card] = field(default_factory=dict)
    ledger: list[LedgerRow] = field(default_factory=list)

    def everything(self) -> State:
        """A state that holds all there is."""
        state = State()
        state.customers = dict(self.customers)
        for (org_id, entry), owner_id in self.entries.items():
            state.entries.setdefault((org_id, entry.type, entry.value), {})[entry.scope] = owner_id
        state.cards = dict(self.cards)
        living = {key for key, customer in self.customers.items() if customer.survivor_id is None}
        state.held = {key: self._held(key, limit=None) for key in living}
        state.entry_counts = Counter((org_id, owner_id) for (org_id, _), owner_id in self.entries.items())
        state.active_cards = {key: self._active(key) for key in living}
        return state

    def what_is_needed(self, items: Sequence[Prepared | DeadLetter], limits: Limits) -> State:
        """A state that holds what the footprint of the batch names, and no more."""
        touched = footprint(items)
        state = State()
        for (org_id, entry), owner_id in self.entries.items():
            key = (org_id, entry.type, entry.value)
            if key in touched.identifiers:
                state.entries.setdefault(key, {})[entry.scope] = owner_id
                touched.customers.add((org_id, owner_id))
        state.cards = {key: self.cards[key] for key in touched.cards if key in self.cards}
        self._read_customers(state, touched.customers)
        candidates = merge_candidates(items, state)
        self._read_held(state, candidates.victims, limits.merge_max_entries + touched.removals)
        self._read_counts(state, touched, candidates)
        return state

    def _read_customers(self, state: State, keys: Iterable[tuple[int, int]]) -> None:
        for key in keys:
            customer = self.customers.get(key)
            if customer is not None:
                state.customers[key] = customer
                if customer.survivor_id is not None:
                    root = (key[0], customer.survivor_id)
                    state.customers[root] = self.customers[root]

    def _read_held(self, state: State, victims: set[tuple[int, int]], limit: int) -> None:
        for key in victims:
            held = state.held[key] = self._held(key, limit)
            for entry in held.entries:
                state.entries.setdefault((key[0], entry.type, entry.value), {})[entry.scope] = key[1]
            state.cards |= {(key[0], number): self.cards[key[0], number] for number in held.cards}
            self._read_customers(state, {(key[0], victim_id) for victim_id in held.victims})

    def _read_counts(self, state: State, touched: Footprint, candidates: Candidates) -> None:
        for key in counted(touched, candidates, state):
            owned = sum(1 for (org_id, _), owner_id in self.entries.items() if (org_id, owner_id) == key)
            state.entry_counts[key] = min(owned, touched.removals + 1)
            state.active_cards[key] = self._active(key)

    def _held(self, key: tuple[int, int], limit: int | None) -> Held:
        """All that a customer holds; cut, with `overflow`, where that is more than the limit."""
        org_id, customer_id = key
        parts = (
            sorted(entry for (org, entry), owner in self.entries.items() if (org, owner) == key),
            sorted(number for (org, number), card in self.cards.items() if (org, card.customer_id) == key),
            sorted(
                id_ for (org, id_), row in self.customers.items() if (org, row.survivor_id) == (org_id, customer_id)
            ),
        )
        overflow = limit is not None and any(len(part) > limit for part in parts)
        entries, cards, victims = (set(part[:limit]) for part in parts)
        return Held(entries, cards, victims, overflow)

    def _active(self, key: tuple[int, int]) -> Counter[int]:
        own = (card for (org, _), card in self.cards.items() if (org, card.customer_id) == key)
        return Counter(card.series_id for card in own if card.status in COUNTED_STATUSES)

    def ledger_for(self, items: Sequence[Prepared | DeadLetter]) -> Ledger:
        """The ledger rows of the request ids of a batch."""
        names = footprint(items).requests
        return Ledger(row for row in self.ledger if (row.org_id, row.request_id) in names)

    def write(self, changes: Changes, answers: Iterable[Answer]) -> None:
        """What one transaction writes, over exactly what was read."""
        for was, customer in changes.customers:
            _put(self.customers, (customer.org_id, customer.customer_id), was, customer)
        for org_id, entry, was_owner_id, owner_id in changes.entries:
            _put(self.entries, (org_id, entry), was_owner_id, owner_id)
        for was, card in changes.cards:
            _put(self.cards, (card.org_id, card.number), was, card)
        self.ledger += [answer.row for answer in answers if answer.row is not None]


def _put(table: dict, key: object, was: object, row: object) -> None:
    assert table.get(key) == was, "the row is not as it was read"
    assert row != was, "no change"
    if row is None:
        del table[key]
    else:
        table[key] = row


class Said:
    """What was published for one message."""

    def __init__(self, verdict: Verdict, answer: Answer) -> None:
        self.verdict, self.answer = verdict, answer
        self.records = answer.outgoing

    def of(self, topic: str) -> list[dict]:
        """The data of each event of a topic."""
        return [json.loads(record.value) for record in self.records if record.topic == topic]

    def record(self, topic: str) -> Outgoing:
        """The one record of a topic."""
        (record,) = (record for record in self.records if record.topic == topic)
        return record

    @property
    def topics(self) -> list[str]:
        return [str(record.topic) for record in self.records]

    @property
    def changes(self) -> list[str]:
        """The topics of everything but the outcome."""
        return [topic for topic in self.topics if topic not in OUTCOMES]

    @property
    def outcome(self) -> dict:
        (outcome,) = (json.loads(record.value) for record in self.records if record.topic in OUTCOMES)
        return outcome

    @property
    def status(self) -> str:
        return self.outcome["status"]

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Code and path of each error."""
        return [(error["code"], error["path"]) for error in self.outcome["errors"]]

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """Code and path of each warning."""
        return [(warning["code"], warning["path"]) for warning in self.outcome["warnings"]]

    @property
    def merged(self) -> dict:
        (data,) = self.of(Topic.CUSTOMER_MERGED)
        return data


def headers_of(record: Outgoing) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in record.headers}


class World:
    """Rows, a catalog and a clock that stands still; requests go in, one outcome each comes out."""

    def __init__(self, *, limits: Limits | None = None, **catalog: object) -> None:
        self.rows = Rows()
        self.catalogs = {ORG: Catalog.model_validate(CATALOG | catalog)}
        self.limits = limits or default_limits()
        self.now = NOW
        self.offsets = itertools.count()

    # ------------------------------------------------------------ rows

    def customer(self, *ids: int, version: int = 0, merged_into: int | None = None, org: int = ORG) -> None:
        for id_ in ids:
            merged_at = NOW - timedelta(days=1) if merged_into is not None else None
            registered_at = NOW - timedelta(days=2)
            self.rows.customers[org, id_] = Customer(org, id_, merged_into, version, registered_at, merged_at)

    def entry(
        self, owner: int, kind: str, value: str, source: str = "INSTORE", account: str = "", org: int = ORG
    ) -> None:
        if (org, owner) not in self.rows.customers:
            self.customer(owner, org=org)
        self.rows.entries[org, Entry(kind, value, Scope(source, account))] = owner

    def card(self, number: str, label: str = "NOT_ISSUED", owner: int | None = None, series: int = 163) -> None:
        status = self.catalogs[ORG].labels[label]
        issued_at = NOW - timedelta(days=1) if owner is not None else None
        self.rows.cards[ORG, number] = Card(ORG, number, series, None, owner, label, status, issued_at)

    @property
    def entries(self) -> dict[int, set[tuple[str, str, str, str]]]:
        """Customer to entries, as (type, value, source, account)."""
        owned: dict[int, set[tuple[str, str, str, str]]] = {}
        for (_, entry), owner_id in self.rows.entries.items():
            owned.setdefault(owner_id, set()).add((entry.type, entry.value, *astuple(entry.scope)))
        return owned

    @property
    def cards(self) -> dict[str, tuple[int | None, str, CardStatus]]:
        """Number to owner, label and status."""
        return {number: (card.customer_id, card.label, card.status) for (_, number), card in self.rows.cards.items()}

    @property
    def survivors(self) -> dict[int, int]:
        return {id_: row.survivor_id for (_, id_), row in self.rows.customers.items() if row.survivor_id is not None}

    def version(self, customer_id: int) -> int:
        return self.rows.customers[ORG, customer_id].version

    # ------------------------------------------------------------ messages

    def message(
        self,
        body: object,
        topic: str = Topic.IDENTIFIER_UPDATES,
        *,
        origin: int | None = None,
        at: int | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
        key: bytes | None = None,
    ) -> Message:
        """A message with a body (bytes as they are, anything else as JSON) at the next place."""
        offset = next(self.offsets)
        value = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return Message(
            origin=Coordinate(topic, 0, offset if origin is None else origin),
            at=Coordinate(Topic.COMMANDS_BY_CUSTOMER, 0, offset if at is None else at),
            timestamp_ms=1_795_255_200_000,
            key=key,
            value=value,
            headers=headers,
        )

    def item(self, message: Message) -> Prepared | DeadLetter:
        request = decode(message)
        if isinstance(request, DeadLetterReason):
            return DeadLetter(message, request, message.origin.request_id)
        return prepare(request, self.catalogs.get(request.org_id))

    def batch(self, messages: Sequence[Message]) -> list[Said]:
        """Decode and decide the messages together; what was said for each."""
        return self.decide([self.item(message) for message in messages])

    def decide(self, items: Sequence[Prepared | DeadLetter]) -> list[Said]:
        """Decide the items together, on all rows and on the needed ones, and write."""
        runs = []
        for state in (self.rows.everything(), self.rows.what_is_needed(items, self.limits)):
            verdicts = judge_batch(state, self.rows.ledger_for(items), items, self.now, self.limits)
            runs.append((verdicts, state.changes()))
        (verdicts, changes), (verdicts_of_needed, changes_of_needed) = runs
        assert verdicts_of_needed == verdicts, "a state of what is needed decides otherwise than one of everything"
        assert changes_of_needed == changes
        answers = answer_batch(verdicts, self.now, "mergeline.")
        self.rows.write(changes, answers)
        return [Said(*both) for both in zip(verdicts, answers, strict=True)]

    def send(self, body: object, topic: str = Topic.IDENTIFIER_UPDATES, **place: object) -> Said:
        """Decide one message alone."""
        (said,) = self.batch([self.message(body, topic, **place)])
        return said

    def update(self, customer_id: int, *, source: str = "INSTORE", **fields: object) -> Said:
        """An update of a customer; fields as on the wire (`add`, `remove`, `accountId`, ...)."""
        return self.send({"orgId": ORG, "customerId": customer_id, "source": source, **fields})

    def register(self, customer_id: int, *identifiers: dict, source: str = "INSTORE", **fields: object) -> Said:
        """A customer registration."""
        body = {"orgId": ORG, "customerId": customer_id, "source": source, **fields}
        if identifiers:
            body["identifiers"] = list(identifiers)
        return self.send(body, Topic.CUSTOMER_REGISTRATIONS)

    def register_card(self, number: str, **fields: object) -> Said:
        """A card registration, in series 163 unless another is named."""
        series = {} if "seriesId" in fields or "seriesCode" in fields else {"seriesId": 163}
        return self.send({"orgId": ORG, "cardNumber": number, **series, **fields}, Topic.CARD_REGISTRATIONS)


def named(kind: str, value: str) -> dict:
    """An identifier as a request names it."""
    return {"type": kind, "value": value}


def card(number: str, label: str | None = None, series: int | None = None) -> dict:
    """A card as a request names it; what is None is left out."""
    said = {"type": "cardnumber", "value": number}
    if series is not None:
        said["seriesId"] = series
    if label is not None:
        said["statusLabel"] = label
    return said


def issue(number: str, label: str = "ACTIVE", series: int = 163) -> dict:
    """A card to add."""
    return card(number, label, series)
