"""What a subscriber would know of all customers, kept from the change events alone as they come.

In: change events and redirects, of any partition in any order. Out: defects; in the end, who owns what, version and
survivor of each customer. Events of a customer are taken in the order of their versions; one that is early waits.
"""

from collections import Counter, defaultdict
from uuid import uuid5

from tests.attacks.answers import NAMESPACE


class Customer:
    """One customer of the copy; `early` are events whose versions are not yet due."""

    __slots__ = ("cards", "early", "entries", "last_merge", "version")

    def __init__(self):
        self.version = 0
        self.early = {}
        self.entries, self.cards = set(), set()
        self.last_merge = None


class Merged:
    """What a merge event said of its victim."""

    __slots__ = ("cards", "entries", "gone", "survivor")

    def __init__(self, survivor, entries, cards):
        self.survivor, self.entries, self.cards = survivor, entries, cards
        self.gone = set()  # removed from the victim by the same request


class Copies:
    """All customers, by `orgId:customerId`."""

    def __init__(self, defects):
        self._defects = defects
        self.customers = defaultdict(Customer)
        self.merged = {}
        self._redirects = Counter()  # (event id, victim, survivor): published less expected
        self._last_versions = {}

    def change(self, topic, key, data):
        customer, version = self.customers[key], data["customerVersion"]
        if version <= customer.version or version in customer.early:
            self._defects.add("a version twice", f"{key} {version}")
            return
        customer.early[version] = (topic, data)
        while (due := customer.early.pop(customer.version + 1, None)) is not None:
            customer.version += 1
            self._take(key, customer, *due)

    def redirect(self, key, data, event_id):
        self._count_redirect(event_id, key, data["survivorId"], 1)
        if self._last_versions.setdefault(key, data["customerVersion"]) != data["customerVersion"]:
            self._defects.add("a merged customer changed", key)

    # ------------------------------------------------------------ folding

    def _take(self, key, customer, topic, data):
        match topic:
            case "customer-merged":
                self._merge(key, customer, data)
            case "identifiers-changed":
                self._change_identifiers(key, customer, data)
            case "card-issued":
                if data["cardNumber"] in customer.cards:
                    self._defects.add("a card issued twice", f"{key} {data['cardNumber']}")
                customer.cards.add(data["cardNumber"])
            case "card-changed":
                if data["cardNumber"] not in customer.cards:
                    self._defects.add("a change of a card that the customer has not", f"{key} {data['cardNumber']}")
                if data["status"] == "NOT_ISSUED":
                    customer.cards.discard(data["cardNumber"])

    def _merge(self, key, customer, data):
        org = data["orgId"]
        victim = f"{org}:{data['victimId']}"
        entries = {entry_name(entry) for entry in data["movedIdentifiers"]}
        cards = {card["cardNumber"] for card in data["movedCards"]}
        if victim in self.merged:
            self._defects.add("merged twice", victim)
        self.merged[victim] = Merged(data["survivorId"], entries, cards)
        customer.entries |= entries
        customer.cards |= cards
        customer.last_merge = (data["requestId"], victim)
        for number, one in enumerate((data["victimId"], *sorted(data["repointedCustomerIds"]))):
            event_id = str(uuid5(NAMESPACE, f"{org}:{data['requestId']}:customer-redirects:{number}"))
            self._count_redirect(event_id, f"{org}:{one}", data["survivorId"], -1)

    def _count_redirect(self, event_id, victim, survivor, by):
        what = (event_id, victim, survivor)
        self._redirects[what] += by
        if not self._redirects[what]:
            del self._redirects[what]

    def _change_identifiers(self, key, customer, data):
        for identifier in data["removed"]:
            name = entry_name(data | identifier)
            if name in customer.entries:
                customer.entries.remove(name)
            elif customer.last_merge is not None and customer.last_merge[0] == data["requestId"]:
                self.merged[customer.last_merge[1]].gone.add(name)
            else:
                self._defects.add("removed what the customer has not", f"{key} {name}")
        for identifier in data["added"]:
            name = entry_name(data | identifier)
            if name in customer.entries:
                self._defects.add("added what the customer has", f"{key} {name}")
            customer.entries.add(name)

    # ------------------------------------------------------------ the judgement

    def judge(self):
        for key, customer in self.customers.items():
            if customer.early:
                self._defects.add("a gap in the versions", f"{key} after {customer.version}")
        for key, merged in self.merged.items():
            self._judge_victim(key, merged)
        for what, difference in self._redirects.items():
            self._defects.add("redirects are not those of the merges", f"{what}: {difference:+d}")

    def _judge_victim(self, key, merged):
        customer = self.customers.get(key) or Customer()
        if customer.version != self._last_versions.get(key):
            self._defects.add("a merged customer changed", key)
        if not merged.entries <= customer.entries or customer.entries - merged.entries != merged.gone:
            self._defects.add("a merge moved other identifiers than the victim had", key)
        if merged.cards != customer.cards:
            self._defects.add("a merge moved other cards than the victim had", key)
        if self.root(key) is None:
            self._defects.add("redirects do not end", key)

    def root(self, key):
        """The living survivor, by redirects; None where they do not end."""
        org = key.partition(":")[0]
        for _ in range(len(self.merged) + 1):
            if key not in self.merged:
                return key
            key = f"{org}:{self.merged[key].survivor}"
        return None

    def owners(self, kind):
        """Entry or card (`kind` names the set) of every living customer → its owner."""
        found = {}
        for key, customer in self.customers.items():
            if key in self.merged:
                continue
            org = key.partition(":")[0]
            for name in getattr(customer, kind):
                if found.setdefault((org, name), key) != key:
                    self._defects.add("two owners", f"{name}: {found[org, name]} and {key}")
        return found


def entry_name(entry):
    return "\x1f".join((entry["type"], entry["value"], entry["source"], entry["accountId"] or ""))
