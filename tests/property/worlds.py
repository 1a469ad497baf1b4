"""Random worlds and messages: few customers, values and cards, so that they meet all the time.

Choices are made of ready lists, in which what is usual stands more often: that is fast, and shrinks towards the
front of each list.
"""

import itertools
import json
from dataclasses import replace

from hypothesis import strategies as st
from tests.property.model import Model, ModelCard
from tests.unit.world import CATALOG, ORG, Rows, World

from mergeline.domain.messages import Message
from mergeline.domain.vocabulary import Topic

CUSTOMERS = (1, 2, 3, 4, 5)
STRANGERS = (8, 9)
SCOPES = (("INSTORE", None), ("ECOMMERCE", None), ("WECHAT", "a"), ("WECHAT", "b"))
WRONG_SCOPES = (("INSTORE", "a"), ("WECHAT", None), ("NOWHERE", None))
IDENTIFIERS = [("line", value) for value in "abcde"] + [("email", "a@b.example"), ("mobile", "447911123456")]
SERIES = {"C1": 166, "C2": 166, "C3": 164, "C4": 163}
"""The cards that a world may have, and the series of each (the cap of 166 is 1)."""
LABELS = ("ACTIVE", "Live", "ISSUED", "ACTIVE", "Frozen", "EXPIRED", "DELETED")
OWNED = ("ACTIVE", "Live", "Handed out", "Frozen", "EXPIRED", "DELETED")
FREE = ("NOT_ISSUED", "NOT_ISSUED", "NOT_ISSUED", "Back", "EXPIRED")

# ---------------------------------------------------------------- worlds

LIVING = st.lists(st.sampled_from(CUSTOMERS), min_size=3, unique=True)
SOMEBODY = st.integers(0, 3)
"""A place among the living, modulo their number."""
FATES = st.tuples(st.integers(0, 3), SOMEBODY, st.booleans())
PLACES = st.sampled_from(
    [(), (), ()] + [places for size in (1, 1, 1, 2) for places in itertools.combinations(SCOPES, size)]
)
STANDINGS = st.sampled_from([None, *FREE * 4, *((slot, label) for label in OWNED for slot in (0, 0, 0, 1))])
POLICIES = st.sampled_from(["redirect", "redirect", "reject"])


@st.composite
def worlds(draw: st.DrawFn, **limits: object) -> World:
    """A world that could have come about: owners live, an identifier has one owner in all its scopes."""
    world = World(policies={"mergedCustomer": draw(POLICIES)}, **limits)
    living = draw(LIVING)
    for customer_id in CUSTOMERS:
        version, slot, known = draw(FATES)
        survivor = None if customer_id in living else living[slot % len(living)]
        if known or survivor is None:
            world.customer(customer_id, version=version, merged_into=survivor)
    for kind, value in IDENTIFIERS:
        owner = living[draw(SOMEBODY) % len(living)]
        for source, account in draw(PLACES):
            world.entry(owner, kind, value, source, account or "")
    for number, series in SERIES.items():
        standing = draw(STANDINGS)
        if isinstance(standing, str):
            world.card(number, standing, None, series)
        elif standing is not None:
            world.card(number, standing[1], living[standing[0] % len(living)], series)
    return world


def model_of(world: World) -> Model:
    """The reference model of a world's rows."""
    model = Model(json.loads(json.dumps(CATALOG)))
    model.catalog["policies"] = {"mergedCustomer": world.catalogs[ORG].policies.merged_customer}
    for (_, customer_id), customer in world.rows.customers.items():
        model.customers[customer_id] = customer.survivor_id
        model.versions[customer_id] = customer.version
    for (_, entry), owner in world.rows.entries.items():
        model.entries[(entry.type, entry.value), tuple(entry.scope)] = owner
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


PLACE_FIELDS = [place(*scope) for scope in SCOPES * 16 + WRONG_SCOPES]
NAMED = [{"type": kind, "value": value} for kind, value in IDENTIFIERS * 12]
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
CARDS_TO_REMOVE = [card(number, **fields) for number in SERIES for fields in ({}, {}, {"statusLabel": "Back"})]
CARDS_TO_REMOVE += [card("C1", **fields) for fields in ({"seriesId": 166}, {"seriesId": 164}, {"seriesId": 999})]
CARDS_TO_REMOVE += [card("NONE"), card("C2", statusLabel="Live"), card("C2", statusLabel="Gone")]


def weighted(**times: tuple[int, st.SearchStrategy]) -> st.SearchStrategy:
    """One of the strategies, each as often as its number says (`one_of` counts equal ones once)."""
    return st.sampled_from([name for name, (number, _) in times.items() for _ in range(number)]).flatmap(
        lambda name: times[name][1]
    )


# Two items at most as a rule: with more of them, nearly every request would name several owners.
ADDS = weighted(
    identifiers=(5, st.lists(st.sampled_from(NAMED), min_size=1, max_size=2)),
    cards=(2, st.lists(st.sampled_from(CARDS_TO_ADD), min_size=1, max_size=2)),
    anything=(1, st.lists(st.sampled_from(NAMED + CARDS_TO_ADD), max_size=5)),
)
REMOVES = weighted(
    nothing=(3, st.just([])),
    identifiers=(2, st.lists(st.sampled_from(NAMED), min_size=1, max_size=3)),
    cards=(1, st.lists(st.sampled_from(CARDS_TO_REMOVE), min_size=1, max_size=2)),
    anything=(1, st.lists(st.sampled_from(NAMED + CARDS_TO_REMOVE), max_size=4)),
)
CUSTOMER_IDS = st.sampled_from((*CUSTOMERS * 4, 1, 1, 1, 1, 2, 2, *STRANGERS))
SCOPE_FIELDS = st.sampled_from(PLACE_FIELDS)


def name_of(item: dict) -> tuple[str, str]:
    return (item["type"], item["value"].strip())


def well_formed(customer_id: int, scope: dict, adds: list[dict], removes: list[dict]) -> dict:
    """An update with these items, less those that stand in the other list too, and cards that are named twice."""
    added = {name_of(item): item for item in adds}
    removed = {name_of(item): item for item in removes if name_of(item) not in added}
    lists = {
        "add": [item for item in adds if item == added[name_of(item)]],
        "remove": [item for item in removes if item == removed.get(name_of(item))],
    }
    lists = {field: items for field, items in lists.items() if items} or {"add": [NAMED[0]]}
    return {"orgId": ORG, "customerId": customer_id} | scope | lists


UPDATES = st.builds(well_formed, CUSTOMER_IDS, SCOPE_FIELDS, ADDS, REMOVES)
CUSTOMER_REGISTRATIONS = st.builds(
    lambda customer_id, scope, items: (
        {"orgId": ORG, "customerId": customer_id} | scope | ({"identifiers": items} if items else {})
    ),
    st.sampled_from(STRANGERS * 4 + CUSTOMERS),
    SCOPE_FIELDS,
    st.lists(st.sampled_from(NAMED), max_size=3),
)
CARD_REGISTRATIONS = st.builds(
    lambda number, series, label: {"orgId": ORG, "cardNumber": number} | series | label,
    st.sampled_from([*SERIES, "NEW"]),
    st.sampled_from([{"seriesId": 163}, {"seriesCode": "MADE"}, {"seriesId": 165}, {"seriesId": 999}]),
    st.sampled_from([{}, {}, *({"statusLabel": label} for label in ("Back", "Live", "EXPIRED", "Gone"))]),
)
REQUESTS = weighted(
    updates=(6, st.tuples(st.just(Topic.IDENTIFIER_UPDATES), UPDATES)),
    customers=(1, st.tuples(st.just(Topic.CUSTOMER_REGISTRATIONS), CUSTOMER_REGISTRATIONS)),
    cards=(1, st.tuples(st.just(Topic.CARD_REGISTRATIONS), CARD_REGISTRATIONS)),
)

# ---------------------------------------------------------------- messages

KINDS = st.sampled_from(["new"] * 12 + ["under one id"] * 2 + ["replay", "router", "producer", "garbage"])
GARBAGE = (b"[", b'{"orgId": 7}', None)
ACTIONS = st.tuples(KINDS, REQUESTS, st.integers(0, 11))


def log_of(actions: list[tuple[str, tuple[Topic, dict], int]]) -> list[Message]:
    """Messages as a log holds them: requests, some under one id, garbage, and repeats of every kind."""
    world, sent = World(), []
    offsets = itertools.count(1_000)
    for kind, (topic, body), number in actions:
        if kind == "garbage":
            sent.append(world.message(GARBAGE[number % len(GARBAGE)]))
        elif kind == "under one id":
            sent.append(world.message(body | {"requestId": "r"}, topic))
        elif kind == "new" or not sent:
            sent.append(world.message(body, topic))
        elif kind == "replay":
            sent.append(sent[number % len(sent)])
        else:
            earlier = sent[number % len(sent)]
            elsewhere = earlier.at._replace(offset=next(offsets))
            origin = earlier.origin if kind == "router" else earlier.origin._replace(offset=elsewhere.offset)
            sent.append(replace(earlier, at=elsewhere, origin=origin))
    return sent


def messages(max_size: int = 8) -> st.SearchStrategy[list[Message]]:
    """Short lists are the usual choice of `lists`; half of these are long."""
    sizes = st.sampled_from([1, max_size // 2])
    return sizes.flatmap(lambda size: st.lists(ACTIONS, min_size=size, max_size=max_size)).map(log_of)


def cut(items: list[Message], places: set[int]) -> list[list[Message]]:
    """The messages in batches, in order, with a new batch at each place."""
    starts = sorted({0, *(place for place in places if 0 < place < len(items))})
    return [items[start:end] for start, end in zip(starts, [*starts[1:], len(items)], strict=True)]
