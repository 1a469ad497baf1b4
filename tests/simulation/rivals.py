"""Pairs of operations that meet on the same customers, identifiers, cards and requests.

In: nothing. Out: `PAIRS`, each with what was there before and the two that come at the same moment. In all of them
customers 1, 2 and 3 are registered, each with an `externalId` of its own in WEB (`own-1`, `own-2`, `own-3`), and so are
the cards G1 and G2, of a series of which a customer may hold one.
"""

from dataclasses import dataclass, field

from tests.simulation.reference import CARDS, CUSTOMERS, UPDATES

ORG = 1
CATALOG = {
    "orgId": ORG,
    "sources": {"INSTORE": "single", "WEB": "single", "WECHAT": "multiple", "POPUP": "single"},
    "series": [
        {"id": 10, "autoCreate": True, "maxActiveCardsPerCustomer": 1},
        {"id": 20, "expiryDays": 365, "maxActiveCardsPerCustomer": 1},
    ],
    "statusLabels": {"Live": "ACTIVE"},
}


@dataclass(frozen=True)
class Pair:
    """What was there, and two operations: each a catalog or a list of messages."""

    name: str
    first: object
    second: object
    before: list = field(default_factory=list)


# ---------------------------------------------------------------- messages, as (topic, body)


def update(customer, add=None, remove=None, source="INSTORE", **fields):
    lists = {name: items for name, items in (("add", add), ("remove", remove)) if items}
    return UPDATES, {"orgId": ORG, "customerId": customer, "source": source, **lists, **fields}


def register(customer, *identifiers, source="INSTORE"):
    return CUSTOMERS, {"orgId": ORG, "customerId": customer, "source": source, "identifiers": list(identifiers)}


TORN = (UPDATES, None)


def register_card(number, series=20):
    return CARDS, {"orgId": ORG, "seriesId": series, "cardNumber": number}


def x(value):
    return {"type": "externalId", "value": value}


def own(customer):
    return x(f"own-{customer}")


def card(number, series=20, label="ACTIVE"):
    return {"type": "cardnumber", "value": number, "seriesId": series, "statusLabel": label}


def no_card(number):
    return {"type": "cardnumber", "value": number}


def merge(victim, survivor):
    """In another source the victim adds what is the survivor's own."""
    return update(victim, own(survivor))


EVERYWHERE = [
    *[register(number, own(number), source="WEB") for number in (1, 2, 3)],
    register_card("G1"), register_card("G2"),
]  # fmt: skip
HAS_CARD = update(1, card("G1"))

PAIRS = [
    # identifiers
    Pair("two customers add one identifier in one scope", [update(1, x("a"))], [update(2, x("a"))]),
    Pair("two customers add one identifier in two scopes", [update(1, x("a"))], [update(2, x("a"), source="POPUP")]),
    Pair("one customer adds one identifier twice", [update(1, x("a"))], [update(1, x("a"))]),
    Pair("one is removed while another adds it in the same scope",
        [update(1, remove=x("own-1"), source="WEB")], [update(2, own(1), source="WEB")],
    ),
    Pair("one is removed while another would merge by it", [update(2, remove=own(2), source="WEB")], [merge(1, 2)]),
    Pair("one is removed and added", [update(1, remove=own(1), source="WEB")], [update(1, own(1), source="WEB")]),
    Pair("the last identifier goes while another comes", [update(1, remove=own(1), source="WEB")], [update(1, x("a"))]),
    # merges
    Pair("two merges cross", [merge(1, 2)], [merge(2, 1)]),
    Pair("a survivor is merged away", [merge(1, 2)], [merge(2, 3)]),
    Pair("a victim is to be a survivor", [merge(1, 2)], [merge(3, 1)]),
    Pair("one customer is merged into two", [merge(1, 2)], [merge(1, 3)]),
    Pair("a victim of old is asked while its survivor is merged away",
        [update(1, x("a"))], [merge(2, 3)], [merge(1, 2)],
    ),
    Pair("two holders become one while both are named", [update(1, [own(2), own(3)])], [merge(2, 3)]),
    Pair("a victim gets an identifier", [merge(1, 2)], [update(1, x("a"))]),
    Pair("a victim loses an identifier", [merge(1, 2)], [update(1, remove=own(1), source="WEB")]),
    Pair("a survivor loses its last identifier", [merge(1, 2)], [update(2, remove=own(2), source="WEB")]),
    # cards
    Pair("one card is issued to two", [update(1, card("G1"))], [update(2, card("G1"))]),
    Pair("one card is made on the spot for two", [update(1, card("C1", 10))], [update(2, card("C1", 10))]),
    Pair("a card is registered while it is made", [register_card("C1", 10)], [update(1, card("C1", 10))]),
    Pair("two cards are issued where one is allowed", [update(1, card("G1"))], [update(1, card("G2"))]),
    Pair("a card leaves one and is issued to another",
        [update(1, remove=no_card("G1"))], [update(2, card("G1"))], [HAS_CARD],
    ),
    Pair("a card changes while it leaves",
        [update(1, card("G1", label="EXPIRED"))], [update(1, remove=no_card("G1"))], [HAS_CARD],
    ),
    Pair("a victim is issued a card", [merge(1, 2)], [update(1, card("G1"))]),
    Pair("both sides of a merge hold a card", [merge(1, 2)], [update(2, card("G2"))], [HAS_CARD]),
    Pair("a victim's card is removed", [merge(1, 2)], [update(1, remove=no_card("G1"))], [HAS_CARD]),
    # registrations
    Pair("a registration meets an add", [register(9, x("a"))], [update(1, x("a"))]),
    Pair("a registration merges by what another adds", [register(9, x("a"))], [update(1, x("a"), source="POPUP")]),
    Pair("a registration merges into one who is merged away", [register(9, own(1))], [merge(1, 2)]),
    Pair("one customer is registered twice", [register(9, x("a"))], [register(9, x("b"))]),
    Pair("a customer is registered and asked", [register(9, x("a"))], [update(9, x("b"))]),
    Pair("a card is registered twice", [register_card("G9")], [register_card("G9")]),
    # requests
    Pair("a request is sent twice", [update(1, x("a"), requestId="r")], ["sent again"]),
    Pair("a request is routed twice", [update(1, x("a"), requestId="r")], ["routed again"]),
    Pair("a request is delivered to two workers", [update(1, x("a"), requestId="r")], ["delivered again"]),
    Pair("a merge is delivered to two workers", [update(1, own(2), requestId="r")], ["delivered again"]),
    Pair("two requests have one id", [update(1, x("a"), requestId="r")], [update(2, x("b"), requestId="r")]),
    Pair("an update and a registration have one id",
        [update(1, x("a"), requestId="r")], [(CUSTOMERS, register(9, x("a"))[1] | {"requestId": "r"})],
    ),
    # catalogs
    Pair("a source goes while it is used", CATALOG | {"sources": {"WEB": "single"}}, [update(1, x("a"))]),
    Pair("a value is blocked while it is added", CATALOG | {"blockList": ["a"]}, [update(1, x("a"))]),
    Pair("a series goes while a card is made",
        CATALOG | {"series": CATALOG["series"][1:]}, [update(1, card("C1", 10))],
    ),
    Pair("victims are rejected while one is asked",
        CATALOG | {"policies": {"mergedCustomer": "reject"}}, [update(1, x("a"))], [merge(1, 2)],
    ),
    # dead letters
    Pair("dead letters come from one partition",
        [TORN, update(1, x("a"))], [update(1, x("b")), TORN], [TORN],
    ),
    Pair("a run of dead letters goes on and ends", [TORN], [update(1, x("a"))], [TORN]),
    # batches
    Pair("two batches name two identifiers in two orders",
        [update(1, x("a")), update(2, x("b"))], [update(3, x("b")), update(1, x("a"), source="POPUP")],
    ),
    Pair("two batches of merges cross",
        [merge(1, 2), update(2, x("a"))], [merge(2, 3), update(3, x("b"), source="POPUP")],
    ),
    Pair("a batch issues what another frees",
        [update(1, remove=no_card("G1")), update(1, card("G2"))],
        [update(2, card("G1")), update(3, card("G2"))], [HAS_CARD],
    ),
]  # fmt: skip
