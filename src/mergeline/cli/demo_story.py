"""The story that `mergeline demo` tells: a brand, three shoppers, and what they ask for.

In: an org id, so that a kept folder can be told the story again under another one. Out: the catalog, and steps, each
with what must come of it. Never: Kafka, the database, or a printed line.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from mergeline.domain.vocabulary import OUTCOME_TOPICS, Topic, dead_letter_topic

FIRST_ORG_ID: Final = 100737
MEI, MEI_ON_WECHAT, ANA = 501, 502, 503
MOBILE: Final = "138 0013 8000"
CARD: Final = "GOLD-0001"


@dataclass(frozen=True, slots=True)
class Step:
    """One message, told in a sentence, and what must come of it."""

    title: str
    topic: Topic
    body: bytes
    status: str
    """Of its outcome, or `dead letter`."""
    events: tuple[str, ...] = ()
    """Topics of what else is published for it."""
    codes: tuple[str, ...] = ()
    """Of errors and warnings; of a dead letter, the code its reason begins with."""
    duplicate: bool = False
    pictured: bool = False
    """Whether a merge is to be drawn after it."""

    @property
    def records(self) -> Counter[str]:
        """Everything that is published for it, by topic."""
        if self.status == "dead letter":
            return Counter([dead_letter_topic(self.topic)])
        return Counter([*self.events, OUTCOME_TOPICS[self.topic]])


@dataclass(frozen=True, slots=True)
class Chapter:
    """Steps under a heading."""

    heading: str
    steps: list[Step] = field(default_factory=list)


def catalog(org_id: int) -> dict[str, Any]:
    """What the brand has: three channels, a card series, its own word for a card that is blocked."""
    return {
        "orgId": org_id,
        "defaultRegion": "CN",
        "blockList": ["test@test.com", "0000000000"],
        "sources": {"INSTORE": "single", "WEB": "single", "WECHAT": "multiple"},
        "series": [{"id": 163, "code": "GOLD", "maxActiveCardsPerCustomer": 1, "expiryDays": 365}],
        "statusLabels": {"BLOCKED": "SUSPENDED"},
    }


def chapters(org_id: int) -> list[Chapter]:
    """The story, in order."""
    return [_registrations(org_id), _requests(org_id), _refusals(org_id)]


def _registrations(org_id: int) -> Chapter:
    def customer(title: str, customer_id: int, place: dict[str, str], *identifiers: dict[str, str]) -> Step:
        body = {"orgId": org_id, "customerId": customer_id, **place, "identifiers": list(identifiers)}
        return Step(
            title, Topic.CUSTOMER_REGISTRATIONS, orjson.dumps(body), "applied", events=(Topic.IDENTIFIERS_CHANGED,)
        )

    mobile, old_email = {"type": "mobile", "value": MOBILE}, {"type": "email", "value": "mei@old.example"}
    card = {"orgId": org_id, "seriesCode": "GOLD", "cardNumber": CARD}
    return Chapter(
        "The brand knows three shoppers, and has printed a card",
        [
            customer("Mei registers at the till: a mobile, an e-mail.", MEI, _at("INSTORE"), mobile, old_email),
            customer(
                "Somebody follows the brand on WeChat: an open id, no more.",
                MEI_ON_WECHAT,
                _at("WECHAT", "brand-a"),
                {"type": "wechat", "value": "oMei-7Qx"},
            ),
            customer("Ana signs up on the web.", ANA, _at("WEB"), {"type": "email", "value": "Ana@Example.COM"}),
            Step("A gold card is printed.", Topic.CARD_REGISTRATIONS, orjson.dumps(card), "applied"),
        ],
    )


def _requests(org_id: int) -> Chapter:
    new_email, old_email = (
        {"type": "email", "value": "Mei.Lin@Example.com"},
        {"type": "email", "value": "mei@old.example"},
    )
    card = {"type": "cardnumber", "value": CARD, "seriesCode": "GOLD", "statusLabel": "ACTIVE"}
    return Chapter(
        "What they ask for",
        [
            _update(
                org_id,
                "Mei has a new e-mail.",
                {"customerId": MEI, **_at("INSTORE"), "add": new_email, "remove": old_email},
                events=(Topic.IDENTIFIERS_CHANGED,),
            ),
            _update(
                org_id,
                "The WeChat follower links a mobile. It is Mei's: two customers are one.",
                _link(),
                events=(Topic.CUSTOMER_MERGED, Topic.IDENTIFIERS_CHANGED, Topic.CUSTOMER_REDIRECTS),
                pictured=True,
            ),
            _update(
                org_id,
                "A system that has not heard of it still says 502. It reaches 501.",
                {
                    "customerId": MEI_ON_WECHAT,
                    **_at("WECHAT", "brand-a"),
                    "add": {"type": "unionId", "value": "uMei-1"},
                },
                events=(Topic.IDENTIFIERS_CHANGED,),
                codes=("REDIRECTED",),
            ),
            _update(
                org_id,
                "Mei gets the gold card.",
                {"customerId": MEI, **_at("INSTORE"), "add": card},
                events=(Topic.CARD_ISSUED,),
            ),
        ],
    )


def _refusals(org_id: int) -> Chapter:
    misspelt = {"orgId": org_id, "customerId": ANA, "source": "WEB", "Add": {"type": "line", "value": "ana"}}
    return Chapter(
        "What goes wrong, and how",
        [
            _update(
                org_id,
                "At the till, Ana's account is given Mei's mobile.",
                {"customerId": ANA, **_at("INSTORE"), "add": {"type": "mobile", "value": MOBILE}},
                status="rejected",
                codes=("IDENTIFIER_TAKEN",),
            ),
            _update(
                org_id,
                "The WeChat link comes again, byte for byte: answered again, done once.",
                _link(),
                duplicate=True,
            ),
            Step(
                'A producer writes "Add" for "add".',
                Topic.IDENTIFIER_UPDATES,
                orjson.dumps(misspelt),
                "dead letter",
                codes=("INVALID_REQUEST",),
            ),
        ],
    )


def _link() -> dict[str, Any]:
    return {
        "requestId": "link-mobile-of-502",
        "customerId": MEI_ON_WECHAT,
        **_at("WECHAT", "brand-a"),
        "add": {"type": "mobile", "value": f"+86 {MOBILE}"},
    }


def _at(source: str, account_id: str | None = None) -> dict[str, str]:
    return {"source": source} | ({"accountId": account_id} if account_id else {})


def _update(org_id: int, title: str, body: dict[str, Any], *, status: str = "applied", **told: Any) -> Step:
    return Step(title, Topic.IDENTIFIER_UPDATES, orjson.dumps({"orgId": org_id} | body), status, **told)
