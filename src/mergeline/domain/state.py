"""What a batch knows of the database, and what it changes there.

In: rows read under locks. Out: look-ups for `decide`; the net changes for the store, once decisions were folded
in. Never: a decision. Entries and cards have one home each; the counts beside them are kept in step here only.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from mergeline.domain.answers import Card, Customer, Decision, Entry, Merge, Scope
from mergeline.domain.vocabulary import COUNTED_STATUSES

CustomerKey = tuple[int, int]
"""org_id, customer_id."""
IdentifierKey = tuple[int, str, str]
"""org_id, type, value."""
CardKey = tuple[int, str]
"""org_id, number."""


_Key = TypeVar("_Key")
_Row = TypeVar("_Row")


@dataclass(slots=True)
class Held:
    """All that a customer who may be merged away holds.

    `overflow` is set where the database has so much that the customer stays too large to be a victim whatever the
    batch removes: more than the merge limit and the batch's removals together. The sets are cut then.
    """

    entries: set[Entry] = field(default_factory=set)
    cards: set[str] = field(default_factory=set)
    victims: set[int] = field(default_factory=set)
    overflow: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """The net effect of a batch, to be written as sets: each row as it was read (None: it was not there) and as it is.

    What was read goes along, so that the store can refuse to write over anything else.
    """

    customers: tuple[tuple[Customer | None, Customer], ...]
    entries: tuple[tuple[int, Entry, int | None, int | None], ...]
    """org_id, entry, its customer before and after (None: nobody's)."""
    cards: tuple[tuple[Card | None, Card], ...]


class State:
    """The working copy of a batch.

    `customers`: those named, their roots, all owners of named identifiers, and the victims of each customer in
    `held`. `held`: those who may be merged away (`footprint`). `entries`: all entries of each named identifier, and of
    each customer in `held`. `cards`: those named, and those of each customer in `held`. `entry_counts`: entries of the
    customers that may lose some, exact where below what the batch can remove. `active_cards`: cards that count
    against a cap, by customer and series, of those who may get some. What is not read must not be looked up.
    """

    def __init__(self) -> None:
        self.customers: dict[CustomerKey, Customer] = {}
        self.entries: dict[IdentifierKey, dict[Scope, int]] = {}
        self.cards: dict[CardKey, Card] = {}
        self.held: dict[CustomerKey, Held] = {}
        self.entry_counts: Counter[CustomerKey] = Counter()
        self.active_cards: dict[CustomerKey, Counter[int]] = {}
        self._customers_before: dict[CustomerKey, Customer | None] = {}
        self._entries_before: dict[tuple[int, Entry], int | None] = {}
        self._cards_before: dict[CardKey, Card | None] = {}

    # ------------------------------------------------------------ look-ups

    def root(self, org_id: int, customer_id: int) -> Customer | None:
        """The customer itself, or its survivor if it was merged; None if it is not registered."""
        customer = self.customers.get((org_id, customer_id))
        if customer is None or customer.survivor_id is None:
            return customer
        return self.customers[org_id, customer.survivor_id]

    def version(self, org_id: int, customer_id: int) -> int:
        """The customer's version; a customer that a request is about to create has none yet: 0."""
        customer = self.customers.get((org_id, customer_id))
        return customer.version if customer is not None else 0

    def holders(self, org_id: int, identifier_type: str, value: str) -> dict[Scope, int]:
        """Who holds the identifier, by scope."""
        return self.entries.get((org_id, identifier_type, value), {})

    def active(self, org_id: int, customer_id: int) -> Counter[int]:
        """The customer's cards that count against a cap, by series."""
        return self.active_cards.get((org_id, customer_id), Counter())

    # ------------------------------------------------------------ folding

    def fold(self, org_id: int, decision: Decision) -> None:
        """Take a decision in, so that the next one sees it."""
        if decision.registered is not None:
            self._put_customer(decision.registered)
            key = (org_id, decision.registered.customer_id)
            self.held.setdefault(key, Held())
        for entry in decision.removed:
            self._move_entry(org_id, entry, None)
        if decision.merge is not None:
            self._merge(org_id, decision.merge, decision.occurred_at)
        target_id = decision.version_of
        if target_id is not None:
            for entry in decision.added:
                self._move_entry(org_id, entry, target_id)
        for change in decision.cards:
            self._put_card(change.after)
        if decision.registered_card is not None:
            self._put_card(decision.registered_card)
        if target_id is not None and decision.changes:
            target = self.customers[org_id, target_id]
            self._put_customer(replace(target, version=target.version + decision.changes))

    def _merge(self, org_id: int, merge: Merge, at: datetime) -> None:
        victim_id, survivor_id = merge.victim_id, merge.survivor_id
        for entry in merge.moved_entries:
            self._move_entry(org_id, entry, survivor_id)
        for number, _ in merge.moved_cards:
            self._put_card(replace(self.cards[org_id, number], customer_id=survivor_id))
        for repointed_id in merge.repointed_ids:
            repointed = self.customers[org_id, repointed_id]
            self._put_customer(replace(repointed, survivor_id=survivor_id))
        victim = self.customers[org_id, victim_id]
        self._put_customer(replace(victim, survivor_id=survivor_id, merged_at=at))
        gone = self.held.pop((org_id, victim_id))
        survivor = self.held.get((org_id, survivor_id))
        if survivor is not None:
            survivor.victims |= gone.victims | {victim_id}

    def _put_customer(self, customer: Customer) -> None:
        key = (customer.org_id, customer.customer_id)
        self._customers_before.setdefault(key, self.customers.get(key))
        self.customers[key] = customer

    def _move_entry(self, org_id: int, entry: Entry, owner_id: int | None) -> None:
        """Give an entry to a customer, or to nobody."""
        scope, counts = entry.scope, self.entry_counts
        scopes = self.entries.setdefault((org_id, entry.type, entry.value), {})
        before = scopes.pop(scope, None)
        self._entries_before.setdefault((org_id, entry), before)
        if before is not None:
            owner = (org_id, before)
            counts[owner] = counts.get(owner, 0) - 1
            if (held := self.held.get(owner)) is not None:
                held.entries.discard(entry)
        if owner_id is not None:
            scopes[scope] = owner_id
            owner = (org_id, owner_id)
            counts[owner] = counts.get(owner, 0) + 1
            if (held := self.held.get(owner)) is not None:
                held.entries.add(entry)

    def _put_card(self, card: Card) -> None:
        key = (card.org_id, card.number)
        before = self.cards.get(key)
        self._cards_before.setdefault(key, before)
        self.cards[key] = card
        for side, sign in ((before, -1), (card, 1)):
            if side is None or side.customer_id is None:
                continue
            owner = (side.org_id, side.customer_id)
            if side.status in COUNTED_STATUSES:
                self.active_cards.setdefault(owner, Counter())[side.series_id] += sign
            if (held := self.held.get(owner)) is not None:
                held.cards.add(side.number) if sign > 0 else held.cards.discard(side.number)

    # ------------------------------------------------------------ net changes

    def changes(self) -> Changes:
        """What differs from what was read; an entry added and removed again is no change."""
        owners = (
            (org_id, entry, before, self.holders(org_id, entry.type, entry.value).get(entry.scope))
            for (org_id, entry), before in self._entries_before.items()
        )
        return Changes(
            customers=tuple(_changed(self._customers_before, self.customers)),
            entries=tuple(move for move in owners if move[2] != move[3]),
            cards=tuple(_changed(self._cards_before, self.cards)),
        )


def _changed(before: dict[_Key, _Row | None], now: dict[_Key, _Row]) -> Iterable[tuple[_Row | None, _Row]]:
    return ((was, now[key]) for key, was in before.items() if now[key] != was)
