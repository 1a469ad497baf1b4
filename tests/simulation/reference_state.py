"""What the reference model stores, in plain dictionaries, and the questions its rules ask of it."""

from dataclasses import dataclass, field

HELD = ("ISSUED", "ACTIVE", "SUSPENDED")  # what counts against a series' cards per customer


@dataclass
class State:
    """Everything that is stored. ``account`` is None in a single-account source."""

    customers: dict = field(default_factory=dict)  # (org, id) → {survivor, version}
    entries: dict = field(default_factory=dict)  # (org, type, value, source, account) → customer id
    cards: dict = field(default_factory=dict)  # (org, number) → {series, owner, label, status, issued, expires, …}
    merges: dict = field(default_factory=dict)  # ce_id of the merge event → its data

    def copy(self):
        rows = ({key: dict(row) for key, row in table.items()} for table in (self.customers, self.cards))
        customers, cards = rows
        return State(customers, dict(self.entries), cards, dict(self.merges))

    def root(self, org, customer):
        return self.customers[org, customer]["survivor"] or customer

    def of_customer(self, org, customer):
        """Its entries, as (type, value, source, account), in order."""
        mine = [key[1:] for key, owner in self.entries.items() if key[0] == org and owner == customer]
        return sorted(mine, key=lambda entry: [part or "" for part in entry])

    def cards_of(self, org, customer):
        return sorted(number for (own, number), card in self.cards.items() if (own, card["owner"]) == (org, customer))

    def victims_of(self, org, customer):
        return sorted(one for (own, one), row in self.customers.items() if (own, row["survivor"]) == (org, customer))

    def holders(self, org, kind, value):
        """scope → customer, of everybody who holds an identifier."""
        return {key[3:]: owner for key, owner in self.entries.items() if key[:3] == (org, kind, value)}

    def held(self, org, customer, series):
        """How many of its cards count against the limit of a series."""
        mine = (self.cards[org, number] for number in self.cards_of(org, customer))
        return sum(card["series"] == series and card["status"] in HELD for card in mine)


class Rejected(Exception):
    """The errors of the first stage that failed, and the customer whose version the outcome carries."""

    def __init__(self, errors, root=None):
        super().__init__(errors)
        self.errors, self.root = errors, root


def fail_if_any(errors, root=None):
    if errors:
        raise Rejected(errors, root)


def instant(when):
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
