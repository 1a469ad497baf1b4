"""The rules of SPEC section 4 once more, as naively as they can be written: dictionaries, one request at a time.

The planner is compared with this. It shares no code with it, knows no batch, no lock and no limit, and finds every
owner by looking through everything.
"""

from dataclasses import dataclass, field, replace

COUNTED = {"ISSUED", "ACTIVE", "SUSPENDED"}
CHANGES = {
    ("ISSUED", "ACTIVE"),
    ("ISSUED", "SUSPENDED"),
    ("ISSUED", "EXPIRED"),
    ("ISSUED", "DELETED"),
    ("ACTIVE", "SUSPENDED"),
    ("ACTIVE", "EXPIRED"),
    ("ACTIVE", "DELETED"),
    ("SUSPENDED", "ACTIVE"),
    ("SUSPENDED", "EXPIRED"),
    ("SUSPENDED", "DELETED"),
}

Scope = tuple[str, str]
Identifier = tuple[str, str]
Problem = tuple[str, object, frozenset[int]]
"""Code, what it is about (an identifier, a card number, or a path), the other customers."""


@dataclass(frozen=True)
class ModelCard:
    series: int
    owner: int | None
    label: str
    status: str


@dataclass
class Verdict:
    """What the outcome should say."""

    status: str
    errors: set[Problem] = field(default_factory=set)
    warnings: set[Problem] = field(default_factory=set)
    applied_to: int | None = None
    merged_into: int | None = None
    version: int | None = None


class Rejected(Exception):
    """A stage that failed, with its errors."""

    def __init__(self, *errors: Problem) -> None:
        super().__init__(errors)
        self.errors = set(errors)


def about(code: str, what: object, *others: int) -> Problem:
    return (code, what, frozenset(others))


@dataclass
class Model:
    """One org. `catalog` is the parsed file."""

    catalog: dict
    customers: dict[int, int | None] = field(default_factory=dict)
    """Customer to survivor, None while it lives."""
    versions: dict[int, int] = field(default_factory=dict)
    entries: dict[tuple[Identifier, Scope], int] = field(default_factory=dict)
    cards: dict[str, ModelCard] = field(default_factory=dict)

    # ------------------------------------------------------------ look-ups

    def root(self, customer_id: int) -> int:
        survivor = self.customers[customer_id]
        return customer_id if survivor is None else survivor

    def owners(self, identifier: Identifier) -> dict[Scope, int]:
        return {scope: owner for (named, scope), owner in self.entries.items() if named == identifier}

    def series(self, item: dict) -> dict | None:
        found = [s for s in self.catalog["series"] if item.get("seriesId") in (None, s["id"])]
        found = [s for s in found if item.get("seriesCode") in (None, s.get("code"))]
        return found[0] if found else None

    def status_of(self, label: str) -> str | None:
        standard = {name: name for name in ("NOT_ISSUED", "EXPIRED", "DELETED", *COUNTED)}
        return (standard | self.catalog["statusLabels"]).get(label)

    def active(self, customer_id: int, series_id: int) -> int:
        return sum(
            c.owner == customer_id and c.series == series_id and c.status in COUNTED for c in self.cards.values()
        )

    def cap(self, series_id: int) -> float:
        (series,) = (s for s in self.catalog["series"] if s["id"] == series_id)
        return series.get("maxActiveCardsPerCustomer", float("inf"))

    # ------------------------------------------------------------ requests

    def update(self, body: dict) -> Verdict:
        before = (dict(self.customers), dict(self.versions), dict(self.entries), dict(self.cards))
        version = None
        try:
            self.catalog_stage(body)
            root = self.customer_stage(body["customerId"])
            version = self.versions[root]
            self.may_redirect(body["customerId"], root)
            verdict = Verdict("unchanged", applied_to=root)
            if root != body["customerId"]:
                verdict.warnings.add(about("REDIRECTED", "/customerId", root))
            brought = {series["id"]: self.active(root, series["id"]) for series in self.catalog["series"]}
            owner = self.identifier_stage(body, root, verdict)
            self.card_stage(body, owner, verdict)
            if owner != root:
                self.judge_merged_cards(owner, brought, verdict)
        except Rejected as rejected:
            self.customers, self.versions, self.entries, self.cards = before
            return Verdict("rejected", errors=rejected.errors, version=version)
        verdict.version = self.versions[owner]
        return verdict

    def register(self, body: dict) -> Verdict:
        try:
            self.catalog_stage(body)
        except Rejected as rejected:
            return Verdict("rejected", errors=rejected.errors)
        customer_id = body["customerId"]
        if customer_id in self.customers:
            return Verdict("unchanged", version=self.versions[self.root(customer_id)])
        self.customers[customer_id], self.versions[customer_id] = None, 0
        verdict = Verdict("applied")
        try:
            owner = self.identifier_stage({**body, "add": body.get("identifiers", [])}, customer_id, verdict)
        except Rejected as rejected:
            del self.customers[customer_id], self.versions[customer_id]
            return Verdict("rejected", errors=rejected.errors)
        return Verdict("applied", warnings=verdict.warnings, version=self.versions[owner])

    # ------------------------------------------------------------ stages

    def customer_stage(self, customer_id: int) -> int:
        """The root of a customer that is registered."""
        if customer_id not in self.customers:
            raise Rejected(about("CUSTOMER_NOT_FOUND", "/customerId"))
        return self.root(customer_id)

    def may_redirect(self, customer_id: int, root: int) -> None:
        if root != customer_id and self.catalog.get("policies", {}).get("mergedCustomer") == "reject":
            raise Rejected(about("CUSTOMER_MERGED", "/customerId", root))

    def catalog_stage(self, body: dict) -> None:
        errors = set()
        kind = self.catalog["sources"].get(body["source"])
        if kind is None:
            errors.add(about("UNKNOWN_SOURCE", "/source"))
        if kind == "multiple" and body.get("accountId") is None:
            errors.add(about("ACCOUNT_REQUIRED", "/accountId"))
        if kind == "single" and body.get("accountId") is not None:
            errors.add(about("ACCOUNT_NOT_ALLOWED", "/accountId"))
        removed = {named(item) for item in body.get("remove", [])}
        for item in [*body.get("add", []), *body.get("identifiers", [])]:
            if item["type"] == "cardnumber":
                errors |= {about(code, named(item)) for code in self.card_to_add(item)}
            elif item["value"].lower() in self.catalog["blockList"]:
                errors.add(about("BLOCKED_VALUE", named(item)))
            elif (item["type"] == "email" and "@" not in item["value"]) or named(item) in removed:
                errors.add(about("INVALID_VALUE", named(item)))
        for item in body.get("remove", []):
            if item["type"] == "cardnumber":
                errors |= {about(code, named(item)) for code in self.card_to_remove(item)}
            elif item["type"] == "email" and "@" not in item["value"]:
                errors.add(about("INVALID_VALUE", named(item)))
        if errors:
            raise Rejected(*errors)

    def card_to_add(self, item: dict) -> set[str]:
        series, status = self.series(item), self.status_of(item["statusLabel"])
        return {
            code
            for code, wrong in (
                ("UNKNOWN_SERIES", series is None),
                ("SERIES_INACTIVE", series is not None and not series.get("active", True)),
                ("UNKNOWN_STATUS_LABEL", status is None),
                ("LABEL_NOT_ISSUABLE", status == "NOT_ISSUED"),
            )
            if wrong
        }

    def card_to_remove(self, item: dict) -> set[str]:
        label = item.get("statusLabel")
        status = self.status_of(label) if label is not None else "NOT_ISSUED"
        return {
            code
            for code, wrong in (
                ("UNKNOWN_SERIES", self.series(item) is None),
                ("UNKNOWN_STATUS_LABEL", status is None),
                ("LABEL_NOT_REMOVAL", status not in (None, "NOT_ISSUED")),
            )
            if wrong
        }

    def identifier_stage(self, body: dict, root: int, verdict: Verdict) -> int:
        """Removes, then adds; who holds everything afterwards."""
        scope = (body["source"], body.get("accountId") or "")
        removed = added = 0
        for identifier in {named(item) for item in body.get("remove", []) if item["type"] != "cardnumber"}:
            if self.entries.get((identifier, scope)) == root:
                del self.entries[identifier, scope]
                removed += 1
            else:
                verdict.warnings.add(about("NOT_PRESENT", identifier))
        adds = {named(item) for item in body.get("add", []) if item["type"] != "cardnumber"}
        survivor = self.survivor(adds, scope, root)
        owner = root if survivor is None else survivor
        if survivor is not None:
            self.merge(root, survivor)
            verdict.merged_into = survivor
        for identifier in adds:
            if self.entries.get((identifier, scope)) == owner:
                verdict.warnings.add(about("ALREADY_PRESENT", identifier))
            else:
                assert (identifier, scope) not in self.entries
                self.entries[identifier, scope] = owner
                added += 1
        if removed and owner not in self.entries.values():
            verdict.warnings.add(about("NO_IDENTIFIERS_LEFT", "/remove"))
        if removed or added or survivor is not None:
            verdict.status = "applied"
        self.versions[owner] += (survivor is not None) + bool(removed or added)
        return owner

    def survivor(self, adds: set[Identifier], scope: Scope, root: int) -> int | None:
        """Rules 3, 4 and 5: whom the adds merge the root into, if anybody."""
        others = {owner for identifier in adds for owner in self.owners(identifier).values()} - {root}
        taken = {
            (identifier, self.entries[identifier, scope])
            for identifier in adds
            if self.entries.get((identifier, scope), root) != root
        }
        elsewhere = {identifier for identifier in adds if (identifier, scope) not in self.entries}
        merging = {owner for identifier in elsewhere for owner in self.owners(identifier).values()} - {root}
        if len(others) == 1 and merging:
            return others.pop()
        errors = {about("IDENTIFIER_TAKEN", identifier, owner) for identifier, owner in taken}
        if len(others) > 1:
            errors.add(about("CONFLICTING_CUSTOMERS", "all adds", *others))
        if errors:
            raise Rejected(*errors)
        return None

    def merge(self, victim: int, survivor: int) -> None:
        for place, owner in self.entries.items():
            self.entries[place] = survivor if owner == victim else owner
        for number, card in self.cards.items():
            self.cards[number] = replace(card, owner=survivor) if card.owner == victim else card
        for customer_id, points_at in self.customers.items():
            self.customers[customer_id] = survivor if victim in (customer_id, points_at) else points_at

    def card_stage(self, body: dict, owner: int, verdict: Verdict) -> None:
        errors: set[Problem] = set()
        issued: dict[int, list[str]] = {}
        changed = 0
        for item in cards(body.get("remove", [])):
            error, done = self.remove_card(item, owner, verdict)
            errors |= {about(error, named(item))} if error else set()
            changed += done
        for item in cards(body.get("add", [])):
            known = self.cards.get(item["value"])
            error, others, done = self.add_card(item, owner, verdict)
            errors |= {about(error, named(item), *others)} if error else set()
            changed += done
            if done and (known is None or known.owner is None):
                issued.setdefault(self.series(item)["id"], []).append(item["value"])
        for series_id, numbers in issued.items():
            if self.active(owner, series_id) > self.cap(series_id):
                errors.add(about("CARD_LIMIT_REACHED", ("cardnumber", max(numbers))))
        if errors:
            raise Rejected(*errors)
        if changed:
            verdict.status = "applied"
        self.versions[owner] += changed

    def remove_card(self, item: dict, owner: int, verdict: Verdict) -> tuple[str | None, bool]:
        """The error, or whether the card changed."""
        card = self.cards.get(item["value"])
        if card is None:
            return "CARD_NOT_FOUND", False
        if ("seriesId" in item or "seriesCode" in item) and self.series(item)["id"] != card.series:
            return "CARD_NOT_IN_SERIES", False
        if card.owner != owner:
            verdict.warnings.add(about("NOT_PRESENT", named(item)))
            return None, False
        if card.status in ("EXPIRED", "DELETED"):
            return "CARD_NOT_REMOVABLE", False
        label = item.get("statusLabel", "NOT_ISSUED")
        self.cards[item["value"]] = ModelCard(card.series, None, label, "NOT_ISSUED")
        return None, True

    def add_card(self, item: dict, owner: int, verdict: Verdict) -> tuple[str | None, set[int], bool]:
        """The error and the others involved, or whether the card changed."""
        card, series = self.cards.get(item["value"]), self.series(item)
        label, status = item["statusLabel"], self.status_of(item["statusLabel"])
        if card is None and not series.get("autoCreate"):
            return "CARD_NOT_FOUND", set(), False
        if card is not None and card.series != series["id"]:
            return "CARD_NOT_IN_SERIES", set(), False
        if card is not None and card.owner not in (None, owner):
            return "CARD_TAKEN", {card.owner}, False
        if card is None or card.owner is None:
            if card is not None and card.status != "NOT_ISSUED":
                return "CARD_NOT_ISSUABLE", set(), False
            if status not in ("ISSUED", "ACTIVE"):
                return "LABEL_NOT_ISSUABLE", set(), False
        elif card.label == label:
            verdict.warnings.add(about("ALREADY_PRESENT", named(item)))
            return None, set(), False
        elif card.status != status and (card.status, status) not in CHANGES:
            return "CARD_TRANSITION_NOT_ALLOWED", set(), False
        self.cards[item["value"]] = ModelCard(series["id"], owner, label, status)
        return None, set(), True

    def judge_merged_cards(self, owner: int, brought: dict[int, int], verdict: Verdict) -> None:
        for series_id, number in brought.items():
            if number and self.active(owner, series_id) > self.cap(series_id):
                verdict.warnings.add(about("CARD_LIMIT_EXCEEDED", f"series {series_id}"))

    def register_card(self, body: dict) -> Verdict:
        series, label = self.series(body), body.get("statusLabel", "NOT_ISSUED")
        status = self.status_of(label)
        errors = set()
        if series is None:
            errors.add(about("UNKNOWN_SERIES", "/seriesId" if "seriesId" in body else "/seriesCode"))
        if status is None:
            errors.add(about("UNKNOWN_STATUS_LABEL", "/statusLabel"))
        if status in COUNTED:
            errors.add(about("LABEL_NOT_ISSUABLE", "/statusLabel"))
        if errors:
            return Verdict("rejected", errors=errors)
        if body["cardNumber"] in self.cards:
            return Verdict("unchanged")
        self.cards[body["cardNumber"]] = ModelCard(series["id"], None, label, status)
        return Verdict("applied")


def named(item: dict) -> Identifier:
    """What an item names, normalised as far as these tests need it."""
    value = item["value"].strip()
    if item["type"] == "mobile":
        value = value.replace("+", "").replace(" ", "")
    return (item["type"], value.lower() if item["type"] == "email" else value)


def cards(items: list[dict]) -> list[dict]:
    """The cards of a list, each once."""
    return list({item["value"]: item for item in items if item["type"] == "cardnumber"}.values())
