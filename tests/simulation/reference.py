"""The reference model: what mergeline answers, changes and publishes, in plain dictionaries.

In: catalogs, and messages one at a time, each with the place where it was produced. Out: the answer to each (outcome
and change events, without the messages of errors), and the state that it leaves. It is written from the contract
alone and shares no code with ``mergeline.domain``. It is clear before it is fast, and never meant for anything but
to be compared with.
"""

import json
from dataclasses import dataclass, field
from hashlib import sha256

from tests.simulation import reference_catalog as stage
from tests.simulation.reference_request import CARDS, CUSTOMERS, UPDATES, Request
from tests.simulation.reference_state import State

__all__ = ["CARDS", "CUSTOMERS", "UPDATES", "Answer", "Reference"]


@dataclass
class Answer:
    """What one message gets.

    ``kind``: decided, duplicate, reused, dead_letter (``code`` says why), or dropped (the same message came again).
    """

    kind: str
    outcome: dict | None = None
    code: str | None = None
    events: list = field(default_factory=list)


class Reference:
    """The whole of mergeline, one message at a time."""

    def __init__(self, merge_max_entries=5000):
        self.state, self.catalogs, self.ledger, self.dead_letters = State(), {}, {}, set()
        self.merge_max_entries = merge_max_entries

    def apply_catalog(self, document):
        """Whether it was taken: a change that would orphan an entry or a card is refused."""
        if self.orphans(document):
            return False
        self.catalogs[document["orgId"]] = document
        return True

    def orphans(self, document):
        org, series = document["orgId"], {one["id"] for one in document.get("series") or []}
        kinds = {
            ("single" if account is None else "multiple", document["sources"].get(source))
            for (own, _, _, source, account) in self.state.entries
            if own == org
        }
        cards = [card for (own, _), card in self.state.cards.items() if own == org]
        return (
            any(needed != given for needed, given in kinds)
            or any(card["series"] not in series for card in cards)
            or any(stage.labels(document).get(card["label"]) != card["status"] for card in cards)
        )

    def take(self, topic, message, origin, now):
        """Answer the bytes of one message; ``origin`` is (partition, offset) in its topic."""
        if code := dead_letter_code(message):
            kind = "dropped" if (topic, origin) in self.dead_letters else "dead_letter"
            self.dead_letters.add((topic, origin))
            return Answer(kind, code=code)
        body = json.loads(message)
        request_id = body.get("requestId") or f"{topic}-{origin[0]}-{origin[1]}"
        request = Request(self, topic, body, request_id, now)
        known = self.ledger.get((body["orgId"], request_id))
        if known and (topic, origin) in known["origins"]:
            return Answer("dropped")
        if known:
            known["origins"].append((topic, origin))
            if known["body"] == sha256(message).hexdigest():
                return Answer("duplicate", known["outcome"])
            return Answer("reused", request.reused(sha256(message).hexdigest()))
        outcome = request.decide()
        row = {"body": sha256(message).hexdigest(), "outcome": outcome, "origins": [(topic, origin)]}
        self.ledger[body["orgId"], request_id] = row
        return Answer("decided", outcome, events=request.events)


def dead_letter_code(message):
    """Of what can be wrong with a message, only what no schema can say (and torn JSON)."""
    try:
        body = json.loads(message)
    except ValueError:
        return "MALFORMED_JSON"
    return "INVALID_REQUEST" if stage.contradicts_itself(body) else None
