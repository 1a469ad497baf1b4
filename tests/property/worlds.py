"""Random worlds and messages: few customers, values and cards, so that they meet all the time.

A world or a message is one draw of bytes, read as a number whose digits choose from ready lists, in which what is
usual stands more often. That is many times faster than a draw for each choice, and shrinks towards the front of the
lists.
"""

import itertools
import json
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st
from msgspec.structs import astuple, replace
from tests.property.model import Model, ModelCard
from tests.unit.world import CATALOG, ORG, Rows, World

from mergeline.domain.limits import Limits
from mergeline.domain.messages import Message
from mergeline.domain.vocabulary import Topic

_Item = TypeVar("_Item")

CUSTOMERS = (1, 2, 3, 4)
STRANGERS = (8, 9)
SCOPES = (("INSTORE", None), ("ECOMMERCE", None), ("WECHAT", "a"), ("WECHAT", "b"))
WRONG_SCOPES = (("INSTORE", "a"), ("WECHAT", None), ("NOWHERE", None))
IDENTIFIERS = [("line", value) for value in "abc"] + [("email", "a@b.example"), ("mobile", "447911123456")]
SERIES = {"C1": 166, "C2": 166, "C3": 164, "C4": 163}
"""The cards that a world may have, and the series of each (the cap of 166 is 1)."""
LABELS = ("ACTIVE", "Live", "ISSUED", "ACTIVE", "Frozen", "EXPIRED", "DELETED")
OWNED = ("ACTIVE", "Live", "Handed out", "Frozen", "EXPIRED", "DELETED")
FREE = ("NOT_ISSUED", "NOT_ISSUED", "NOT_ISSUED", "Back", "EXPIRED")


class Choices:
    """The digits of a number, each in the base of the list that it chooses from."""

    def __init__(self, data: bytes) -> None:
        self.rest = int.from_bytes(data, "big")

    def of(self, items: Sequence[_Item]) -> _Item:
        self.rest, index = divmod(self.rest, len(items))
        return items[index]

    def some(self, items: Sequence[_Item], numbers: Sequence[int]) -> list[_Item]:
        return [self.of(items) for _ in range(self.of(numbers))]


# ---------------------------------------------------------------- worlds

PLACES = [(), (), ()] + [places for size in (1, 1, 1, 2) for places in itertools.combinations(SCOPES[:3], size)]
POLICIES = ["redirect"] * 7 + ["reject"]


def world_of(data: bytes, limits: Limits | None = None) -> World:
    """A world that could have come about: owners live, an identifier has one owner in all its scopes."""
    choose = Choices(data)
    world = World(policies={"mergedCustomer": choose.of(POLICIES)}, limits=limits)
    living = [customer_id for customer_id in CUSTOMERS if customer_id < 3 or choose.of((True, True, False))]
    for customer_id in CUSTOMERS:
        version = choose.of(range(4))
        if customer_id in living:
            world.customer(customer_id, version=version)
        elif choose.of((True, True, True, False)):
            world.customer(customer_id, version=version, merged_into=choose.of(living))
    for kind, value in IDENTIFIERS:
        owner = choose.of(living)
        for source, account in choose.of(PLACES):
            world.entry(owner, kind, value, source, account or "")
    for number, series in SERIES.items():
        owner = choose.of([None, None, *living])
        if choose.of((True, True, True, False)):
            world.card(number, choose.of(FREE if owner is None else OWNED), owner, series)
    return world


def worlds(limits: Limits | None = None) -> st.SearchStrategy[World]:
    return st.binary(min_size=24, max_size=24).map(lambda data: world_of(data, limits))


def model_of(world: World) -> Model:
    """The reference model of a world's rows."""
    model = Model(json.loads(json.dumps(CATALOG)))
    model.catalog["policies"] = {"mergedCustomer": world.catalogs[ORG].policies.merged_customer}
    for (_, customer_id), customer in world.rows.customers.items():
        model.customers[customer_id] = customer.survivor_id
        model.versions[customer_id] = customer.version
    for (_, entry), owner in world.rows.entries.items():
        model.entries[(entry.type, entry.value), astuple(entry.scope)] = owner
    for (_, number), card in world.rows.cards.items():
        model.cards[number] = ModelCard(card.series_id, card.customer_id, card.label, card.status.value)
    return model


def copy_of(world: World) -> World:
    """The same world, to try something else in."""
    other = World(limits=world.limits)
    other.catalogs, other.now = world.catalogs, world.now
    rows = world.rows
    other.rows = Rows(dict(rows.customers), dict(rows.entries), dict(rows.cards), list(rows.ledger))
    return other


# ---------------------------------------------------------------- requests


def card(number: str, **fields: object) -> dict:
    return {"type": "cardnumber", "value": number, **fields}


def place(source: str, account: str | None) -> dict:
    return {"source": source} | ({"accountId": account} if account is not None else {})


CUSTOMER_IDS = (*CUSTOMERS * 6, 1, 1, *STRANGERS)
PLACE_FIELDS = [place(*scope) for scope in SCOPES[:3] * 20 + SCOPES + WRONG_SCOPES]
NAMED = [{"type": kind, "value": value} for kind, value in IDENTIFIERS * 20]
NAMED += [{"type": "email", "value": value} for value in ("A@B.example", " a@b.example", "nobody", "Test@test.com")]
NAMED += [{"type": "mobile", "value": "+44 7911 123456"}, {"type": "line", "value": "null"}]
CARDS_TO_ADD = [
    card(number, seriesId=series, statusLabel=label)
    for number, series in {**SERIES, "NEW": 164}.items()
    for label in LABELS * 2
]
CARDS_TO_ADD += [card("C1", seriesId=series, statusLabel="ACTIVE") for series in (163, 164, 165, 999)]
CARDS_TO_ADD += [card("C2", seriesId=166, statusLabel=label) for label in ("NOT_ISSUED", "Gone")]
CARDS_TO_ADD += [card("NONE", seriesId=163, statusLabel="ACTIVE")]
CARDS_TO_REMOVE = [card(number, **fields) for number in SERIES for fields in ({}, {}, {}, {"statusLabel": "Back"})]
CARDS_TO_REMOVE += [card("C1", **fields) for fields in ({"seriesId": 166}, {"seriesId": 164}, {"seriesId": 999})]
CARDS_TO_REMOVE += [card("NONE"), card("C2", statusLabel="Live"), card("C2", statusLabel="Gone")]
# Two items at most as a rule: with more of them, nearly every request would name several owners.
ADDS = [(NAMED, (1, 1, 2))] * 5 + [(CARDS_TO_ADD, (1, 2))] * 2 + [(NAMED + CARDS_TO_ADD, (3, 4))]
REMOVES = [(NAMED, (0,))] * 4 + [(NAMED, (1, 2, 3))] * 3 + [(CARDS_TO_REMOVE, (1, 2))] * 2
REMOVES += [(NAMED + CARDS_TO_REMOVE, (3, 4))]
SERIES_FIELDS = ({"seriesId": 163}, {"seriesId": 163}, {"seriesCode": "MADE"}, {"seriesId": 165}, {"seriesId": 999})
LABEL_FIELDS = ({}, {}, {}, *({"statusLabel": label} for label in ("Back", "Live", "EXPIRED", "Gone")))
TOPICS = [Topic.IDENTIFIER_UPDATES] * 8 + [Topic.CUSTOMER_REGISTRATIONS, Topic.CARD_REGISTRATIONS]


def update_of(choose: Choices) -> dict:
    """An update; nothing stands in both lists as written, and no card twice in one with other fields."""
    adds, removes = choose.some(*choose.of(ADDS)), choose.some(*choose.of(REMOVES))
    if removes and choose.of((True, False)):
        adds = []
    added = {name_of(item): item for item in adds}
    removed = {name_of(item): item for item in removes if name_of(item) not in added}
    lists = {
        "add": [item for item in adds if item == added[name_of(item)]],
        "remove": [item for item in removes if item == removed.get(name_of(item))],
    }
    lists = {field: items for field, items in lists.items() if items}
    return {"orgId": ORG, "customerId": choose.of(CUSTOMER_IDS)} | choose.of(PLACE_FIELDS) | lists


def name_of(item: dict) -> tuple[str, str]:
    return (item["type"], item["value"].strip())


def registration_of(choose: Choices) -> dict:
    customer_id = choose.of(STRANGERS * 4 + CUSTOMERS)
    body = {"orgId": ORG, "customerId": customer_id} | choose.of(PLACE_FIELDS)
    items = choose.some(NAMED, (0, 1, 1, 2, 3))
    return body | ({"identifiers": items} if items else {})


def card_registration_of(choose: Choices) -> dict:
    number = choose.of([*SERIES, "NEW"])
    return {"orgId": ORG, "cardNumber": number} | choose.of(SERIES_FIELDS) | choose.of(LABEL_FIELDS)


def request_of(choose: Choices) -> tuple[Topic, dict]:
    topic = choose.of(TOPICS)
    body = {
        Topic.IDENTIFIER_UPDATES: update_of,
        Topic.CUSTOMER_REGISTRATIONS: registration_of,
        Topic.CARD_REGISTRATIONS: card_registration_of,
    }[topic](choose)
    return topic, body


BYTES = st.binary(min_size=14, max_size=14)
REQUESTS = BYTES.map(lambda data: request_of(Choices(data)))
UPDATES = BYTES.map(lambda data: update_of(Choices(data)))

# ---------------------------------------------------------------- messages

KINDS = ["new"] * 16 + ["under one id"] * 2 + ["replay", "router", "producer", "garbage"]
GARBAGE = (b"[", b'{"orgId": 7}', None)


def log_of(draws: list[bytes]) -> list[Message]:
    """Messages as a log holds them: requests, some under one id, garbage, and repeats of every kind."""
    world, sent = World(), []
    offsets = itertools.count(1_000)
    for data in draws:
        choose = Choices(data)
        kind = choose.of(KINDS)
        if kind == "garbage":
            sent.append(world.message(choose.of(GARBAGE)))
        elif kind.startswith(("new", "under")) or not sent:
            topic, body = request_of(choose)
            sent.append(world.message(body if kind == "new" else body | {"requestId": "r"}, topic))
        else:
            earlier = choose.of(sent)
            elsewhere = earlier.at._replace(offset=next(offsets))
            origin = earlier.origin if kind == "router" else earlier.origin._replace(offset=elsewhere.offset)
            again = {"replay": earlier, "router": replace(earlier, at=elsewhere)}
            sent.append(again.get(kind, replace(earlier, at=elsewhere, origin=origin)))
    return sent


def messages(max_size: int = 8) -> st.SearchStrategy[list[Message]]:
    """Short lists are the usual choice of `lists`; most of these are long."""
    sizes = st.sampled_from([1, max_size // 2, max_size])
    return sizes.flatmap(lambda size: st.lists(BYTES, min_size=size, max_size=max_size)).map(log_of)


def cut(items: list[Message], places: set[int]) -> list[list[Message]]:
    """The messages in batches, in order, with a new batch at each place."""
    starts = sorted({0, *(place for place in places if 0 < place < len(items))})
    return [items[start:end] for start, end in zip(starts, [*starts[1:], len(items)], strict=True)]
