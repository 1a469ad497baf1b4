"""One request on its way through the stages of the reference model: the rules for identifiers and merges."""

from uuid import NAMESPACE_URL, uuid5

from tests.simulation import reference_cards as loyalty
from tests.simulation import reference_catalog as stage
from tests.simulation.reference_catalog import problem, upstream
from tests.simulation.reference_state import Rejected, fail_if_any, instant

UPDATES, CUSTOMERS, CARDS = "identifier-updates", "customer-registrations", "card-registrations"
EVENTS = uuid5(NAMESPACE_URL, "urn:mergeline:events")


class Request:
    """One request on its way through the stages; what it changes stands in ``self.state`` until it is through."""

    def __init__(self, reference, topic, body, request_id, now):
        self.reference, self.topic, self.body, self.request_id = reference, topic, body, request_id
        self.state, self.org = reference.state.copy(), body["orgId"]
        self.catalog = reference.catalogs.get(self.org)
        self.now, self.occurred_at = now, instant(now)
        self.warnings, self.events = [], []
        self.merged_into, self.brought, self.merge_warnings = None, [], []

    # ---------------------------------------------------------------- the answer

    def decide(self):
        try:
            fail_if_any([problem("UNKNOWN_ORG", "/orgId")] if self.catalog is None else [])
            status = self.take_effect()
        except Rejected as rejection:
            self.events = []
            return self.outcome("rejected", rejection.root, rejection.errors, [])
        self.reference.state = self.state
        return self.outcome(status, self.final_root(), [], self.warnings)

    def take_effect(self):
        if self.topic == UPDATES:
            return self.update()
        return self.register() if self.topic == CUSTOMERS else loyalty.register(self)

    def final_root(self):
        return None if self.topic == CARDS else self.state.root(self.org, self.body["customerId"])

    def reused(self, digest):
        self.catalog = None  # it is not looked at
        outcome = self.outcome("rejected", None, [problem("REQUEST_ID_REUSED", "/requestId")], [])
        return outcome | {"id": str(uuid5(EVENTS, f"{self.org}:{self.request_id}:reused:{digest}"))}

    def outcome(self, status, root, errors, warnings):
        """``root`` is the customer whose version is told; None where none was looked up."""
        data = {"status": status, "errors": errors, "warnings": warnings}
        version = None if root is None else self.reference.state.customers[self.org, root]["version"]
        if self.topic == CARDS:
            number = self.body["cardNumber"].strip()
            series = self.catalog and stage.series_named(self.catalog, self.body)
            data |= {"cardNumber": number, "seriesId": self.body.get("seriesId") or (series and series["id"])}
            return self.record("registration-outcomes", "registration.outcome", f"card:{number}", 0, data)
        customer = self.body["customerId"]
        data |= {"customerId": customer, "customerVersion": version}
        if self.topic == CUSTOMERS:
            return self.record("registration-outcomes", "registration.outcome", customer, 0, data)
        applied_to = None if status == "rejected" else self.was_root
        data |= {"appliedTo": applied_to, "mergedInto": self.merged_into if status != "rejected" else None}
        return self.record("update-outcomes", "update.outcome", customer, 0, data)

    def record(self, topic, kind, key, number, data):
        data = {"requestId": self.request_id, "orgId": self.org, "occurredAt": self.occurred_at} | data
        event_id = str(uuid5(EVENTS, f"{self.org}:{self.request_id}:{topic}:{number}"))
        return {"topic": topic, "type": f"mergeline.{kind}", "key": f"{self.org}:{key}", "id": event_id, "data": data}

    def publish(self, topic, kind, customer, data):
        """A change event: it counts one version of the customer it happened to."""
        self.state.customers[self.org, customer]["version"] += 1
        version = self.state.customers[self.org, customer]["version"]
        number = sum(event["topic"] == topic for event in self.events)
        self.events.append(self.record(topic, kind, customer, number, data | {"customerVersion": version}))
        return self.events[-1]

    # ---------------------------------------------------------------- identifier updates

    def update(self):
        adds, add_errors = stage.identifiers(self.catalog, self.body, "add")
        removes, remove_errors = stage.identifiers(self.catalog, self.body, "remove")
        new_cards, new_errors = stage.cards(self.catalog, self.body, "add")
        old_cards, old_errors = stage.cards(self.catalog, self.body, "remove")
        fail_if_any(
            stage.source_errors(self.catalog, self.body) + add_errors + remove_errors
            + stage.equal_once_normalised(adds, removes) + new_errors + old_errors
        )  # fmt: skip
        root = self.was_root = self.find_customer()
        removed = self.remove_identifiers(root, removes)
        root, added = self.add_identifiers(root, adds, "/add")
        self.tell_identifiers(root, added, removed)
        if removed and not self.state.of_customer(self.org, root):
            self.warnings.append(problem("NO_IDENTIFIERS_LEFT", "/remove"))
        loyalty.change(self, root, old_cards, new_cards)
        return "applied" if self.events else "unchanged"

    def find_customer(self):
        customer = self.body["customerId"]
        if (self.org, customer) not in self.state.customers:
            raise Rejected([problem("CUSTOMER_NOT_FOUND", "/customerId", 8009)])
        root = self.state.root(self.org, customer)
        if root != customer:
            if (self.catalog.get("policies") or {}).get("mergedCustomer") == "reject":
                raise Rejected([problem("CUSTOMER_MERGED", "/customerId", 8069, [root])], root)
            self.warnings.append(problem("REDIRECTED", "/customerId", others=[root]))
        return root

    def remove_identifiers(self, root, removes):
        gone = []
        for (kind, value), path in removes.items():
            key = (self.org, kind, value, *stage.scope(self.body))
            if self.state.entries.get(key) == root:
                del self.state.entries[key]
                gone.append((kind, value))
            else:
                self.warnings.append(problem("NOT_PRESENT", path, 8070))
        return gone

    def add_identifiers(self, root, adds, path_of_all):
        """Rules 1 to 5; the customer that has them now, and what is new to it."""
        survivor = self.judge_holders(root, adds, path_of_all)
        if survivor is not None:
            self.merge(root, survivor, adds)
            root = survivor
        added = []
        for (kind, value), path in adds.items():
            key = (self.org, kind, value, *stage.scope(self.body))
            if key in self.state.entries:  # root's: judge_holders let nobody else's through
                self.warnings.append(problem("ALREADY_PRESENT", path, upstream(8070, kind)))
            else:
                self.state.entries[key] = root
                added.append((kind, value))
        return root, added

    def judge_holders(self, root, adds, path_of_all):
        """Whom the customer is to be merged into; None if nobody. Errors if that cannot be."""
        here, others, taken, elsewhere = stage.scope(self.body), set(), [], set()
        for (kind, value), path in adds.items():
            holders = self.state.holders(self.org, kind, value)
            strangers = set(holders.values()) - {root}
            others |= strangers
            if here in holders and holders[here] != root:
                taken.append(problem("IDENTIFIER_TAKEN", path, 8008, [holders[here]]))
            else:
                elsewhere |= strangers
        version_of = self.known(root)
        if len(others) > 1:
            raise Rejected([*taken, problem("CONFLICTING_CUSTOMERS", path_of_all, 8053, others)], version_of)
        if taken and not elsewhere:
            raise Rejected(taken, version_of)
        if not elsewhere:
            return None
        moved = self.state.of_customer(self.org, root) + self.state.cards_of(self.org, root)
        if max(len(moved), len(self.state.victims_of(self.org, root))) > self.reference.merge_max_entries:
            raise Rejected([problem("MERGE_TOO_LARGE", path_of_all, others=others)], version_of)
        return elsewhere.pop()

    def known(self, customer):
        """The customer, unless this very request would have made it."""
        return customer if (self.org, customer) in self.reference.state.customers else None

    def merge(self, victim, survivor, adds):
        state, org = self.state, self.org
        matched = [
            identifier(add, *stage.scope(self.body)) | {"entries": [place(*one) for one in state.holders(org, *add)]}
            for add in adds
            if survivor in state.holders(org, *add).values()
        ]
        moved, moved_cards = state.of_customer(org, victim), state.cards_of(org, victim)
        repointed = state.victims_of(org, victim)
        self.brought = [series for series in loyalty.limits(self.catalog) if state.held(org, victim, series)]
        for entry in moved:
            state.entries[(org, *entry)] = survivor
        for number in moved_cards:
            state.cards[org, number]["owner"] = survivor
        for one in [victim, *repointed]:
            state.customers[org, one]["survivor"] = survivor
        self.merged_into = survivor
        event = self.publish("customer-merged", "customer.merged", survivor, {
            "victimId": victim, "survivorId": survivor, "matched": matched,
            "movedIdentifiers": [identifier(entry[:2], *entry[2:]) for entry in moved],
            "movedCards": [{"cardNumber": n, "seriesId": state.cards[org, n]["series"]} for n in moved_cards],
            "repointedCustomerIds": repointed, "warnings": self.merge_warnings,
        })  # fmt: skip
        state.merges[event["id"]] = {"org": org} | event["data"]
        for number, one in enumerate([victim, *repointed]):
            version = state.customers[org, one]["version"]
            redirect = {"victimId": one, "survivorId": survivor, "customerVersion": version}
            self.events.append(self.record("customer-redirects", "customer.redirect", one, number, redirect))

    def tell_identifiers(self, root, added, removed):
        if added or removed:
            source, account = stage.scope(self.body)
            self.publish("identifiers-changed", "identifiers.changed", root, {
                "customerId": root, "source": source, "accountId": account,
                "added": [{"type": kind, "value": value} for kind, value in added],
                "removed": [{"type": kind, "value": value} for kind, value in removed],
            })  # fmt: skip

    # ---------------------------------------------------------------- registrations

    def register(self):
        adds, errors = stage.identifiers(self.catalog, self.body, "identifiers")
        fail_if_any(stage.source_errors(self.catalog, self.body) + errors)
        customer = self.body["customerId"]
        if (self.org, customer) in self.state.customers:
            return "unchanged"
        self.state.customers[self.org, customer] = {"survivor": None, "version": 0}
        root, added = self.add_identifiers(customer, adds, "/identifiers")
        self.tell_identifiers(root, added, [])
        return "applied"


def identifier(named, source, account):
    return {"type": named[0], "value": named[1], "source": source, "accountId": account}


def place(source, account):
    return {"source": source, "accountId": account}
