"""What the simulations send: catalogs and requests from pools so small that they meet all the time.

In: dice (a `random.Random`). Out: catalogs, and requests as (topic, body). Orgs are 1 and 2 here (3 never has a
catalog), customers 1 to 16: whoever sends them gives orgs their final numbers. A request is made from one seed: that is
thirty times as fast as drawing each part with hypothesis, which still finds the shortest list of seeds that fails.
"""

from itertools import product

from tests.simulation.reference import CARDS, CUSTOMERS, UPDATES

ORGS, ORG_WITHOUT_CATALOG = (1, 2), 3
FIRST_CUSTOMERS, CUSTOMERS_LATER = range(1, 9), range(9, 17)  # registered at the start; now and then
STRANGER = 99  # never

# Some values are spelled differently and equal once they are normalised.
VALUES = [
    *[("email", value) for value in ("ann@example.com", " Ann@Example.com", "bob@example.com", "cy@example.com")],
    *[("mobile", value) for value in ("8613800138000", "+86 138 0013 8000", "13800138000", "8613900139000")],
    *[("wechat", value) for value in ("w1", "w1 ", "w2", "W2")],
    *[("externalId", value) for value in ("x1", "x2", "x3")],
]
BAD_VALUES = [("email", "no email"), ("mobile", "12"), ("email", "test@test.com"), ("line", "NULL"), ("line", "null")]
SCOPES = [("INSTORE", None), ("WEB", None), ("WECHAT", "a"), ("WECHAT", "b")]
BAD_SCOPES = [("INSTORE", "a"), ("WECHAT", None), ("NOWHERE", None), ("POPUP", None), ("POPUP", "a")]
SERIES_OF = dict.fromkeys(["C1", "C2", "C3", "C4", "C5", "C6"], 10) | dict.fromkeys(["G1", "G2", "G3", "G4", "G5"], 20)
ISSUING, LATER_LABELS = ("ACTIVE", "ISSUED", "Live"), ("ACTIVE", "SUSPENDED", "EXPIRED", "Ended", "DELETED")
BAD_LABELS = ("NOT_ISSUED", "Back", "?")
OTHER_SERIES = ({"seriesId": 10}, {"seriesId": 20}, {"seriesId": 90}, {"seriesCode": "gold"}, *[{"seriesId": 30}] * 3)


def pick(dice, usual, odd=(), one_in=12):
    """One of `odd` about once in so many."""
    return dice.choice(odd if odd and dice.randrange(one_in) == 0 else usual)


# ---------------------------------------------------------------- what follows on an earlier request


def taken_back(_dice, body):
    """The removal of all that an earlier request added; None if that was nothing."""
    added = body.get("add") or body.get("identifiers")
    if not added or "customerId" not in body:
        return None
    items = added if isinstance(added, list) else [added]
    kept = {name: body[name] for name in ("orgId", "customerId", "source", "accountId") if name in body}
    return kept | {"remove": [{name: item[name] for name in ("type", "value")} for item in items]}


def is_card(item):
    return item.get("type") in ("cardnumber", "cardNumber")


def relabelled(dice, body):
    """The same cards with another label; None if there are none."""
    items = body["add"] if isinstance(body.get("add"), list) else [body.get("add") or {}]
    cards = {item["value"].strip(): item | {"statusLabel": pick(dice, LATER_LABELS)} for item in items if is_card(item)}
    return (
        {name: value for name, value in body.items() if name != "remove"} | {"add": [*cards.values()]}
        if cards
        else None
    )


# ---------------------------------------------------------------- catalogs


def catalog(dice, org):
    """Catalogs that differ in all that may change while data rests on them, and now and then in what may not."""
    silver = {"id": 20, "code": "GOLD"}
    if days := pick(dice, [None, 365]):
        silver["expiryDays"] = days
    if cap := pick(dice, [1, 1, 2, None]):
        silver["maxActiveCardsPerCustomer"] = cap
    document = {
        "orgId": org,
        "policies": {"mergedCustomer": pick(dice, ["redirect"], ["reject"], 8)},
        "blockList": pick(dice, [["test@test.com", "null"], [], ["TEST@test.com ", "null", "cy@EXAMPLE.com"]]),
        "sources": {"INSTORE": "single", "WEB": "single", "WECHAT": "multiple"}
        | pick(dice, [{}, {"POPUP": "multiple"}, {"POPUP": "single"}]),
        "series": [
            {"id": 10, "autoCreate": True, "maxActiveCardsPerCustomer": 1},
            silver,
            *pick(dice, [[{"id": 30, "active": False}]], [[{"id": 30}], []], 4),
        ],
        "statusLabels": {"Live": pick(dice, ["ACTIVE"], ["ISSUED"]), "Back": "NOT_ISSUED", "Ended": "EXPIRED"},
    }
    if region := pick(dice, [None, "CN"]):
        document["defaultRegion"] = region
    if dice.randrange(6) == 0:
        document["statusLabels"]["NOT_ISSUED"] = "EXPIRED"
    return document


# ---------------------------------------------------------------- requests


def request(dice):
    """A request of any kind."""
    return dice.choice([update] * 7 + [registration] * 2 + [card_registration])(dice)


def first_customers(dice):
    """Those of the second org are fewer: what counts there is that nothing of the first one crosses over."""
    bare = [{"orgId": org, "customerId": customer, "source": "WEB"} for org, customer in product(ORGS, (1, 2, 3, 4))]
    more = [registration(dice)[1] | {"orgId": 1, "customerId": customer} for customer in (5, 6, 7, 8)]
    return [(CUSTOMERS, body) for body in bare + more]


def first_cards():
    numbers = [number for number, series in SERIES_OF.items() if series == 20]
    return [(CARDS, {"orgId": org, "seriesId": 20, "cardNumber": number}) for org in ORGS for number in numbers]


def update(dice):
    body = header(dice) | {"customerId": pick(dice, FIRST_CUSTOMERS, [STRANGER, *CUSTOMERS_LATER], 6)}
    what = dice.randrange(10)
    if what < 8:
        body["add"] = one_or_list(dice, adds(dice))
    if what >= 6:
        body["remove"] = one_or_list(dice, removes(dice))
    elif what == 5:
        body["remove"] = pick(dice, [None, []])
    return UPDATES, body


def registration(dice):
    body = header(dice) | {"customerId": pick(dice, CUSTOMERS_LATER, FIRST_CUSTOMERS)}
    count = dice.randrange(4)
    if count or dice.randrange(2):
        body["identifiers"] = [identifier(dice) for _ in range(count)]
    return CUSTOMERS, body


def card_registration(dice):
    number = pick(dice, [*SERIES_OF, "G6", "G7"], [" C1"])
    body = {"orgId": org(dice), "cardNumber": number} | series(dice, number)
    if dice.randrange(2):
        body["statusLabel"] = pick(dice, ["NOT_ISSUED", "Back", "EXPIRED", "Ended"], ["Live", "?"], 5)
    if dice.randrange(4) == 0:
        body["cardExternalId"] = "outside"
    return CARDS, body


def org(dice):
    return pick(dice, [1] * 12 + [2], [ORG_WITHOUT_CATALOG], 60)


def header(dice):
    source, account = pick(dice, SCOPES, BAD_SCOPES, 40)
    body = {"orgId": org(dice), "source": source}
    return body if account is None else body | {"accountId": account}


def adds(dice):
    if dice.randrange(3) == 0:
        return [added_card(dice) for _ in range(dice.choice([1, 1, 1, 1, 2, 3]))]
    kinds = dice.choice([[identifier], [identifier], [identifier, added_card]])
    return [dice.choice(kinds)(dice) for _ in range(dice.choice([1, 1, 2, 2, 3, 4]))]


def removes(dice):
    count = dice.choice([1, 1, 2])
    return [dice.choice([identifier, removed_card])(dice) for _ in range(count)]


def one_or_list(dice, items):
    """Both are allowed for one item, and paths differ."""
    return items[0] if len(items) == 1 and dice.randrange(2) else items


def identifier(dice):
    kind, value = pick(dice, VALUES, BAD_VALUES, 60)
    return {"type": kind, "value": value}


def card(dice):
    return {"type": pick(dice, ["cardnumber"], ["cardNumber"], 5), "value": pick(dice, [*SERIES_OF], [" C1"])}


def series(dice, number):
    usual = {"seriesId": SERIES_OF.get(number.strip(), 20)}
    return pick(dice, [usual, {"seriesCode": "GOLD"}] if usual["seriesId"] == 20 else [usual], OTHER_SERIES, 10)


def added_card(dice):
    named = card(dice)
    return named | series(dice, named["value"]) | {"statusLabel": pick(dice, ISSUING, [*LATER_LABELS, *BAD_LABELS], 4)}


def removed_card(dice):
    named = card(dice)
    label = pick(dice, [{}, {"statusLabel": "Back"}], [{"statusLabel": "ACTIVE"}, {"statusLabel": "?"}], 10)
    return named | dice.choice([{}, series(dice, named["value"])]) | label
