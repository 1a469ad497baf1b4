"""Scenarios as data: read from YAML, each in an org of its own, and turned into messages.

In: the files in `scenarios/`. Out: scenarios with their steps. Never: anything of an implementation.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent / "scenarios"
UPDATES, CUSTOMERS, CARDS = "identifier-updates", "customer-registrations", "card-registrations"
TOPICS = {"update": UPDATES, "register": CUSTOMERS, "register-card": CARDS, "raw": UPDATES, "fill": UPDATES}
OUTCOMES = {UPDATES: "update-outcomes", CUSTOMERS: "registration-outcomes", CARDS: "registration-outcomes"}
EVENTS = ("customer-merged", "identifiers-changed", "card-issued", "card-changed", "customer-redirects")
IDENTIFIERS_A_REQUEST = 64
FILLER = "filler-"


@dataclass
class Message:
    """One message to produce. `request_id` is None where it is to be derived from its place."""

    topic: str
    key: bytes
    value: bytes
    request_id: str | None


@dataclass
class Step:
    """What is sent, and what must come of it: an outcome and events, a dead letter, or an earlier outcome again."""

    number: int
    action: str
    body: object
    expected: dict

    @property
    def answers(self):
        """How many outcomes or dead letters it gets."""
        return -(-self.body["entries"] // IDENTIFIERS_A_REQUEST) if self.action == "fill" else 1


@dataclass
class Scenario:
    """One story, in an org of its own."""

    name: str
    title: str
    covers: list
    catalog: dict | None
    steps: list[Step]
    final: dict
    org: int = 0
    sent: list[Message] = field(default_factory=list)  # by step; of a step of many messages the first

    def messages(self, step):
        """What to send for a step."""
        if step.action == "send-again":
            made = [self.sent[step.body - 1]]
        elif step.action == "raw":
            made = [Message(UPDATES, b"raw", text_of(step.body).replace("ORG", str(self.org)).encode(), None)]
        elif step.action == "fill":
            made = [self._message(UPDATES, f"step-{step.number}-{at}", part) for at, part in self._parts(step.body)]
        else:
            made = [self._message(TOPICS[step.action], f"step-{step.number}", step.body)]
        self.sent.append(made[0])
        return made

    def _message(self, topic, request_id, body):
        body = {"requestId": request_id, "orgId": self.org} | body
        customer = body.get("customerId") or f"card:{body['cardNumber'].strip()}"
        return Message(topic, f"{self.org}:{customer}".encode(), json.dumps(body).encode(), body["requestId"])

    def _parts(self, body):
        """Requests that fill a customer with identifiers, as many as one request may have in each."""
        for start in range(0, body["entries"], IDENTIFIERS_A_REQUEST):
            numbers = range(start, min(start + IDENTIFIERS_A_REQUEST, body["entries"]))
            items = [{"type": "line", "value": f"{FILLER}{number}"} for number in numbers]
            yield start, {"customerId": body["customerId"], "source": body["source"], "add": items}


def text_of(raw):
    """A text; or a list of pieces, each a text or [text, how often]."""
    pieces = raw if isinstance(raw, list) else [raw]
    return "".join(piece if isinstance(piece, str) else piece[0] * piece[1] for piece in pieces)


def load(first_org):
    """All scenarios, in orgs from `first_org` on."""
    usual = yaml.safe_load((FOLDER / "catalog.yaml").read_text())
    scenarios = [
        _scenario(f"{path.stem}-{number}", one, usual)
        for path in sorted(FOLDER.glob("*.yaml"))
        if path.stem != "catalog"
        for number, one in enumerate(yaml.safe_load(path.read_text()), 1)
    ]
    for org, scenario in enumerate(scenarios, first_org):
        scenario.org = org
        if scenario.catalog is not None:
            scenario.catalog["orgId"] = org
    return scenarios


def _scenario(name, given, usual):
    """`catalog` names what differs from the usual one (null: it is left out), or is `none`."""
    own = given.get("catalog", {})
    catalog = None if own == "none" else {key: value for key, value in (usual | own).items() if value is not None}
    steps = [_step(number, dict(step)) for number, step in enumerate(given["steps"], 1)]
    return Scenario(name, given["title"], given["covers"], catalog, steps, given.get("final", {}))


def _step(number, given):
    action = next(iter(given))
    return Step(number, action, given.pop(action), given)
