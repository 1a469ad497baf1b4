"""What a subscriber would know of all customers, by the contract's own example, and what it must never be told.

In: events, of any partition in any order. Out: defects; in the end, who holds what, version and survivor of each
customer. The example takes whatever comes; what a good run never sends, it is watched for here.
"""

from collections import Counter
from uuid import uuid5

import orjson
from schemas.subscriber import CHANGES, REDIRECTS, CircleError, Copy, entry
from tests.attacks.answers import NAMESPACE


class Copies(Copy):
    """The example's copy, watched; each event once."""

    def __init__(self, defects):
        super().__init__(prefix="")
        self._defects = defects
        self._merged = {}  # victim: what it had that the merge did not move
        self._merging = {}  # org and request: the victim
        self._redirects = Counter()  # (event id, victim, survivor): published less expected

    def take(self, topic, key, headers, value):
        if topic in CHANGES:
            self._watch_version(key.decode(), orjson.loads(value)["customerVersion"])
        elif topic == REDIRECTS:
            self._watch_redirect(key.decode(), orjson.loads(value), dict(headers)["ce_id"].decode())
        super().take(topic, key, headers, value)

    # ------------------------------------------------------------ what comes

    def _watch_version(self, name, version):
        customer = self.customers[name]
        if version <= customer.version or version in customer.early:
            self._defects.add("a version twice", f"{name} {version}")

    def _watch_redirect(self, name, data, event_id):
        self._count_redirect(event_id, name, data["survivorId"], 1)
        if name in self.redirects and self.redirects[name][1] != data["customerVersion"]:
            self._defects.add("a merged customer changed", name)

    def _count_redirect(self, event_id, victim, survivor, by):
        what = (event_id, victim, survivor)
        self._redirects[what] += by
        if not self._redirects[what]:
            del self._redirects[what]

    # ------------------------------------------------------------ what is due

    def _apply(self, name, kind, data):
        customer = self.customers[name]
        match kind:
            case "mergeline.customer.merged":
                self._watch_merge(data)
            case "mergeline.identifiers.changed":
                self._watch_identifiers(name, customer, data)
            case "mergeline.card.issued":
                if data["cardNumber"] in customer.cards:
                    self._defects.add("a card issued twice", f"{name} {data['cardNumber']}")
            case "mergeline.card.removed" | "mergeline.card.status_changed":
                if data["cardNumber"] not in customer.cards:
                    self._defects.add("a change of a card that the customer has not", f"{name} {data['cardNumber']}")
        super()._apply(name, kind, data)

    def _watch_merge(self, data):
        org, request = data["orgId"], f"{data['orgId']}:{data['requestId']}"
        name = f"{org}:{data['victimId']}"
        victim, moved = self.customers[name], set(map(entry, data["movedIdentifiers"]))
        if name in self._merged:
            self._defects.add("merged twice", name)
        if not moved <= victim.entries:
            self._defects.add("a merge moved other identifiers than the victim had", name)
        if victim.cards.keys() != {card["cardNumber"] for card in data["movedCards"]}:
            self._defects.add("a merge moved other cards than the victim had", name)
        self._merged[name] = victim.entries - moved
        self._merging[request] = name
        for number, one in enumerate((data["victimId"], *sorted(data["repointedCustomerIds"]))):
            event_id = str(uuid5(NAMESPACE, f"{request}:{REDIRECTS}:{number}"))
            self._count_redirect(event_id, f"{org}:{one}", data["survivorId"], -1)

    def _watch_identifiers(self, name, customer, data):
        """What a merging request removed, it removed from the victim: exactly what the merge did not move."""
        left = self._merged.get(self._merging.get(f"{data['orgId']}:{data['requestId']}"), set())
        for removed in (entry(data | one) for one in data["removed"]):
            if removed in left:
                left.remove(removed)
            elif removed not in customer.entries:
                self._defects.add("removed what the customer has not", f"{name} {removed}")
        for added in (entry(data | one) for one in data["added"]):
            if added in customer.entries:
                self._defects.add("added what the customer has", f"{name} {added}")

    # ------------------------------------------------------------ the judgement

    def judge(self):
        for name, customer in self.customers.items():
            if customer.early:
                self._defects.add("a gap in the versions", f"{name} after {customer.version}")
        for name, (_, last_version) in self.redirects.items():
            if self.customers[name].version != last_version:
                self._defects.add("a merged customer changed", name)
            if self.root(name) is None:
                self._defects.add("redirects do not end", name)
        for name, left in self._merged.items():
            if left:
                self._defects.add("a merge moved other identifiers than the victim had", name)
        for what, difference in self._redirects.items():
            self._defects.add("redirects are not those of the merges", f"{what}: {difference:+d}")

    def root(self, name):
        """The living survivor; None where redirects do not end."""
        try:
            return self.survivor(name)
        except CircleError:
            return None

    def held(self, kind):
        """Entry or card (`kind` names the field) of every living customer → its owner, and what a card is at."""
        found = {}
        for name, customer in self.living().items():
            org, _, owner = name.partition(":")
            for what in getattr(customer, kind):
                state = customer.cards[what] if kind == "cards" else None
                if found.setdefault((int(org), what), (int(owner), state)) != (int(owner), state):
                    self._defects.add("two owners", f"{what}: {found[int(org), what][0]} and {owner}")
        return found
