"""The stage of the cards in the reference model: removes first, then changes and issues, then the limit once.

In: a request of ``reference_request`` and the cards it names, as number → (path, series, label). Out: changed rows
and card events in that request, its warnings, or its errors.
"""

from datetime import timedelta

from tests.simulation import reference_catalog as stage
from tests.simulation.reference_catalog import problem
from tests.simulation.reference_state import fail_if_any, instant

TRANSITIONS = {
    "ISSUED": ("ACTIVE", "SUSPENDED", "EXPIRED", "DELETED"),
    "ACTIVE": ("SUSPENDED", "EXPIRED", "DELETED"),
    "SUSPENDED": ("ACTIVE", "EXPIRED", "DELETED"),
    "EXPIRED": (),
    "DELETED": (),
}


def change(request, root, removes, adds):
    errors, issued = [], {}
    for number in sorted(removes):
        errors += remove(request, root, number, *removes[number])
    for number in sorted(adds):
        path, series, label = adds[number]
        error, is_issued = add(request, root, number, path, series, label)
        errors += error
        if is_issued:
            issued[series["id"]] = path  # the last one by number stays
    over = [series for series, most in limits(request.catalog).items() if held(request, root, series) > most]
    errors += [problem("CARD_LIMIT_REACHED", path, 3036) for series, path in issued.items() if series in over]
    fail_if_any(errors, request.was_root)
    exceeded = [problem("CARD_LIMIT_EXCEEDED", "/add") for series in over if series in request.brought]
    request.warnings += exceeded
    request.merge_warnings += exceeded


def remove(request, root, number, path, series, label):
    row = request.state.cards.get((request.org, number))
    if row is None:
        return [problem("CARD_NOT_FOUND", path, 3010)]
    if series is not None and row["series"] != series["id"]:
        return [problem("CARD_NOT_IN_SERIES", path)]
    if row["owner"] != root:
        request.warnings.append(problem("NOT_PRESENT", path, 8070))
        return []
    if row["status"] in ("EXPIRED", "DELETED"):
        return [problem("CARD_NOT_REMOVABLE", path, 3031)]
    before = row["label"]
    label = label or stage.label_of_removed_cards(request.catalog)
    row |= {"owner": None, "label": label, "status": "NOT_ISSUED", "issued": None, "expires": None}
    tell(request, "card-changed", "card.removed", root, number, {"previousStatusLabel": before})
    return []


def add(request, root, number, path, series, label):
    """Issue a card, or change the label of one that is root's already; the errors, and whether it was issued."""
    row, status = request.state.cards.get((request.org, number)), stage.labels(request.catalog)[label]
    if row is None and not series.get("autoCreate"):
        return [problem("CARD_NOT_FOUND", path, 3010)], False
    row = row or new_card(series["id"], "NOT_ISSUED", "NOT_ISSUED")
    if row["series"] != series["id"]:
        return [problem("CARD_NOT_IN_SERIES", path)], False
    if row["owner"] == root:
        return relabel(request, root, number, path, label, status), False
    if row["owner"] is not None:
        return [problem("CARD_TAKEN", path, 3027, [row["owner"]])], False
    if row["status"] != "NOT_ISSUED":
        return [problem("CARD_NOT_ISSUABLE", path, 3027)], False
    if status not in ("ISSUED", "ACTIVE"):
        return [problem("LABEL_NOT_ISSUABLE", path)], False
    expires = instant(request.now + timedelta(days=series["expiryDays"])) if series.get("expiryDays") else None
    now = {"owner": root, "label": label, "status": status, "issued": request.occurred_at, "expires": expires}
    request.state.cards[request.org, number] = row | now
    times = {"issuedAt": request.occurred_at, "expiresAt": expires}
    tell(request, "card-issued", "card.issued", root, number, times)
    return [], True


def relabel(request, root, number, path, label, status):
    row = request.state.cards[request.org, number]
    if row["label"] == label:
        request.warnings.append(problem("ALREADY_PRESENT", path, 8073))
        return []
    if status != row["status"] and status not in TRANSITIONS[row["status"]]:
        return [problem("CARD_TRANSITION_NOT_ALLOWED", path, 3038)]
    before = row["label"]
    row |= {"label": label, "status": status}
    tell(request, "card-changed", "card.status_changed", root, number, {"previousStatusLabel": before})
    return []


def register(request):
    series, label, errors = stage.registered_card(request.catalog, request.body)
    fail_if_any(errors)
    key = (request.org, request.body["cardNumber"].strip())
    if key in request.state.cards:
        return "unchanged"
    card = new_card(series["id"], label, stage.labels(request.catalog)[label])
    request.state.cards[key] = card | {"external": request.body.get("cardExternalId")}
    return "applied"


def tell(request, topic, kind, root, number, data):
    row = request.state.cards[request.org, number]
    told = {"cardNumber": number, "seriesId": row["series"], "statusLabel": row["label"], "status": row["status"]}
    request.publish(topic, kind, root, {"customerId": root} | told | data)


def held(request, customer, series):
    return request.state.held(request.org, customer, series)


def limits(catalog):
    """series → how many of its cards a customer may hold, of those that have a limit."""
    series = catalog.get("series") or []
    return {one["id"]: one["maxActiveCardsPerCustomer"] for one in series if one.get("maxActiveCardsPerCustomer")}


def new_card(series, label, status):
    return {
        "series": series, "owner": None, "label": label, "status": status, "issued": None, "expires": None,
        "external": None,
    }  # fmt: skip
