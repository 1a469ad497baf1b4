"""A copy of customers, entries and cards, kept from the events alone: an example to take over (README, "Subscribing").

In: events of `TOPICS`, each as often and in whatever order it comes. Out: who lives, who holds what, who survives whom;
once all of it has come, what the database holds. Never: more than the standard library, or a guess at what is missing:
what comes early waits for what is before it.
"""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

CHANGES = ("customer-merged", "identifiers-changed", "card-issued", "card-changed")
REDIRECTS, REGISTRATIONS = "customer-redirects", "registration-outcomes"
TOPICS = (*CHANGES, REDIRECTS, REGISTRATIONS)
EARLY_MAX = 100_000
"""Events that may wait at a time, about 1 kB each; the first reading of a long history may need more."""

Entry = tuple[str, str, str, str | None]  # type, value, source, account


class MissingError(Exception):
    """Too much waits for an event that does not come."""


class CircleError(Exception):
    """Redirects lead in a circle, as they can only after the database was restored: build the copy anew from it."""


class Customer:
    """What one customer holds; `early` are its events that wait, by version."""

    __slots__ = ("cards", "early", "entries", "version")

    def __init__(self) -> None:
        self.version = 0
        self.entries: set[Entry] = set()
        self.cards: dict[str, tuple[str, str] | None] = {}  # number: status and label
        self.early: dict[int, tuple[str, dict[str, Any]]] = {}


class Copy:
    """All customers, by `orgId:customerId`. Victims stay among them, for what comes again, and hold nothing."""

    def __init__(self, prefix: str = "mergeline.", early_max: int = EARLY_MAX) -> None:
        self.prefix, self.early_max, self.early = prefix, early_max, 0
        self.customers: defaultdict[str, Customer] = defaultdict(Customer)
        self.redirects: dict[str, tuple[str, int]] = {}  # victim: its survivor, its own last version
        self._awaited: dict[str, str] = {}  # victim: the survivor whose next event is the merge of the two

    def take(self, topic: str, key: bytes, headers: Iterable[tuple[str, bytes]], value: bytes) -> None:
        """One event; `MissingError` if more than `early_max` wait now."""
        topic, name, data = topic.removeprefix(self.prefix), key.decode(), json.loads(value)
        if topic in CHANGES:
            customer, version = self.customers[name], data["customerVersion"]
            if version > customer.version and version not in customer.early:
                customer.early[version] = (dict(headers)["ce_type"].decode(), data)
                self.early += 1
        elif topic == REDIRECTS:
            self.redirects[name] = (f"{data['orgId']}:{data['survivorId']}", data["customerVersion"])
        elif topic != REGISTRATIONS or "customerId" not in data or data["status"] == "rejected":
            return  # tells of no customer
        self._advance(name)
        if self.early > self.early_max:
            first = next(name for name, customer in self.customers.items() if customer.early)
            raise MissingError(f"{self.early} events wait, those of {first} behind {self.customers[first].version}")

    def survivor(self, name: str) -> str:
        """Whoever holds now what a customer had: itself, if it was not merged away."""
        met = {name}
        while name in self.redirects:
            name = self.redirects[name][0]
            if name in met:
                raise CircleError(name)
            met.add(name)
        return name

    def living(self) -> dict[str, Customer]:
        """Customers that were not merged away."""
        return {name: customer for name, customer in self.customers.items() if name not in self.redirects}

    def _advance(self, name: str) -> None:
        """Apply what is due of a customer, then of whoever waited for it."""
        due = [name]
        while due:
            name = due.pop()
            customer = self.customers[name]
            while found := customer.early.get(customer.version + 1):
                victim = f"{found[1]['orgId']}:{found[1].get('victimId')}"
                if "victimId" in found[1] and not self._is_complete(victim):
                    self._awaited[victim] = name
                    break
                self._apply(name, *found)
                customer.version += 1
                del customer.early[customer.version]
                self.early -= 1
            if name in self._awaited and self._is_complete(name):
                due.append(self._awaited.pop(name))

    def _is_complete(self, victim: str) -> bool:
        return victim in self.redirects and self.redirects[victim][1] == self.customers[victim].version

    def _apply(self, name: str, kind: str, data: dict[str, Any]) -> None:
        """A type that is not known changes nothing, and counts like any other."""
        customer = self.customers[name]
        match kind:
            case "mergeline.customer.merged":
                victim = self.customers[f"{data['orgId']}:{data['victimId']}"]
                customer.entries.update(map(entry, data["movedIdentifiers"]))
                customer.cards |= {one["cardNumber"]: victim.cards.get(one["cardNumber"]) for one in data["movedCards"]}
                victim.entries, victim.cards = set(), {}
            case "mergeline.identifiers.changed":
                customer.entries.difference_update(entry(data | one) for one in data["removed"])
                customer.entries.update(entry(data | one) for one in data["added"])
            case "mergeline.card.issued" | "mergeline.card.status_changed":
                customer.cards[data["cardNumber"]] = (data["status"], data["statusLabel"])
            case "mergeline.card.removed":
                customer.cards.pop(data["cardNumber"], None)


def entry(said: dict[str, Any]) -> Entry:
    """An identifier in its scope."""
    return said["type"], said["value"], said["source"], said["accountId"]


async def follow(copy: Copy, consumer: Any, save: Callable[[Copy], Awaitable[None]]) -> None:
    """Keep a copy up to date; what waits is part of it, so that it may be stopped anywhere.

    Args:
        copy: as it was saved last, or a new one.
        consumer: an `aiokafka.AIOKafkaConsumer` that was started: `TOPICS` with their prefix, a group of its own,
            `isolation_level="read_committed"`, `auto_offset_reset="earliest"`, `enable_auto_commit=False`.
        save: stores the copy. The offsets are committed behind that: what is read again then changes nothing.
    """
    while True:
        for records in (await consumer.getmany(timeout_ms=1_000)).values():
            for record in records:
                copy.take(record.topic, record.key, record.headers, record.value)
        await save(copy)
        await consumer.commit()
