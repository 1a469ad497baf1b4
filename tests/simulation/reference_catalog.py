"""The catalog stage, as the reference model reads it: what can be judged without looking at any customer.

In: a catalog file and a request, both parsed. Out: normalised identifiers and cards by their paths, and the errors of
the stage. It shares no code with ``mergeline.domain``: it is a second reading of the same contract.
"""

import phonenumbers
from email_validator import EmailNotValidError, validate_email

STATUSES = ("NOT_ISSUED", "ISSUED", "ACTIVE", "SUSPENDED", "EXPIRED", "DELETED")
BY_TYPE = {"mobile": 1, "email": 2}  # the others count as 3, in 1001 to 1003 as in 8071 to 8073


def problem(code, path, upstream=None, others=None):
    """An error or a warning, without its message."""
    found = {"code": code, "path": path}
    if upstream is not None:
        found["upstreamCode"] = upstream
    if others is not None:
        found["customerIds"] = sorted(others)
    return found


def upstream(base, kind):
    """1001 and 8071 for a mobile, 1002 and 8072 for an email, 1003 and 8073 for the rest."""
    return base + BY_TYPE.get(kind, 3)


# ---------------------------------------------------------------- values


def normal(catalog, kind, written):
    """The value as it is stored and compared; None if it is no value of its type."""
    value = written.strip()
    if kind == "email":
        return normal_email(value)
    if kind == "mobile":
        return normal_mobile(value, catalog.get("defaultRegion"))
    return value


def normal_email(value):
    try:
        return validate_email(value, check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


def normal_mobile(value, region):
    for text, where in ([(value, region)] if region else []) + [("+" + value.lstrip("+"), None)]:
        number = parsed_number(text, where)
        if number is not None and phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")
    return None


def parsed_number(text, region):
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def is_blocked(catalog, written, value):
    blocked = {entry.strip().casefold() for entry in catalog.get("blockList") or []}
    return bool(blocked & {written.strip().casefold(), (value or written.strip()).casefold()})


# ---------------------------------------------------------------- the request


def items(body, field):
    """Each item with its path: ``/add`` where it is one object, ``/add/0`` in a list; null and [] are left out."""
    sent = body.get(field)
    if isinstance(sent, dict):
        return [(f"/{field}", sent)]
    return [(f"/{field}/{number}", item) for number, item in enumerate(sent or [])]


def is_card(item):
    return item["type"] in ("cardnumber", "cardNumber")


def contradicts_itself(body):
    """The same identifier in both lists, or a card twice in one list with another series or label, as written."""
    named = {field: [as_written(item) for _, item in items(body, field)] for field in ("add", "remove")}
    both = {key for key, _ in named["add"]} & {key for key, _ in named["remove"]}
    return bool(both) or any(len(set(said)) > len({key for key, _ in said}) for said in named.values())


def as_written(item):
    """What it is compared by before any value is normalised, and what must be said of it in the same words."""
    kind = "cardnumber" if is_card(item) else item["type"]
    return (kind, item["value"].strip()), tuple(item.get(name) for name in ("seriesId", "seriesCode", "statusLabel"))


def scope(body):
    return body["source"], body.get("accountId")


def source_errors(catalog, body):
    source, account = scope(body)
    kind = catalog["sources"].get(source)
    if kind is None:
        return [problem("UNKNOWN_SOURCE", "/source", 8011)]
    if kind == "multiple" and account is None:
        return [problem("ACCOUNT_REQUIRED", "/accountId", 8045)]
    if kind == "single" and account is not None:
        return [problem("ACCOUNT_NOT_ALLOWED", "/accountId", 8127)]
    return []


def identifiers(catalog, body, field):
    """(type, value) → path of the identifiers in a list, the first of equal ones; and what is wrong with them."""
    found, errors, seen, blocked = {}, [], set(), set()
    for path, item in items(body, field):
        kind, written = item["type"], item["value"].strip()
        if is_card(item) or (kind, written) in seen:
            continue
        seen.add((kind, written))
        value = normal(catalog, kind, written)
        if field != "remove" and is_blocked(catalog, written, value):
            if value is None or (kind, value) not in blocked:
                errors.append(problem("BLOCKED_VALUE", path))
            blocked.add((kind, value))
        elif value is None:
            errors.append(problem("INVALID_VALUE", path, upstream(1000, kind)))
        else:
            found.setdefault((kind, value), path)
    return found, errors


def equal_once_normalised(adds, removes):
    """An identifier that stands in both lists once its value is normalised; equal as written is no request at all."""
    return [
        problem("INVALID_VALUE", path, upstream(1000, kind))
        for (kind, value), path in adds.items()
        if (kind, value) in removes
    ]


# ---------------------------------------------------------------- cards


def labels(catalog):
    """The org's labels with the standard status of each; every standard status has one of its own name."""
    return {status: status for status in STATUSES} | (catalog.get("statusLabels") or {})


def label_of_removed_cards(catalog):
    own = catalog.get("statusLabels") or {}
    if labels(catalog)["NOT_ISSUED"] == "NOT_ISSUED":
        return "NOT_ISSUED"
    return next(label for label, status in own.items() if status == "NOT_ISSUED")


def series_named(catalog, item):
    """The series that an item names by id or code; None where it names none, or one that is not there."""
    for series in catalog.get("series") or []:
        if item.get("seriesId") == series["id"]:
            return series
        if item.get("seriesCode") is not None and item["seriesCode"] == series.get("code"):
            return series
    return None


def names_series(item):
    return item.get("seriesId") is not None or item.get("seriesCode") is not None


def cards(catalog, body, field):
    """number → (path, series, label) of the cards in a list; and what is wrong with them."""
    found, errors = {}, []
    for path, item in items(body, field):
        if not is_card(item) or item["value"].strip() in found:
            continue
        series, label = series_named(catalog, item), item.get("statusLabel")
        found[item["value"].strip()] = (path, series, label)
        if names_series(item) and series is None:
            errors.append(problem("UNKNOWN_SERIES", path, 3004))
        elif field == "add" and not series.get("active", True):
            errors.append(problem("SERIES_INACTIVE", path, 3008))
        if label is not None and label not in labels(catalog):
            errors.append(problem("UNKNOWN_STATUS_LABEL", path, 8086))
        elif field == "add" and labels(catalog)[label] == "NOT_ISSUED":
            errors.append(problem("LABEL_NOT_ISSUABLE", path))
        elif field == "remove" and label is not None and labels(catalog)[label] != "NOT_ISSUED":
            errors.append(problem("LABEL_NOT_REMOVAL", path, 3018))
    return found, errors


def registered_card(catalog, body):
    """The series and the label of a card to register; and what is wrong with them."""
    errors = []
    series, label = series_named(catalog, body), body.get("statusLabel")
    if series is None:
        field = "/seriesId" if body.get("seriesId") is not None else "/seriesCode"
        errors.append(problem("UNKNOWN_SERIES", field, 3004))
    label = "NOT_ISSUED" if label is None else label
    if label not in labels(catalog):
        errors.append(problem("UNKNOWN_STATUS_LABEL", "/statusLabel", 8086))
    elif labels(catalog)[label] in ("ISSUED", "ACTIVE", "SUSPENDED"):
        errors.append(problem("LABEL_NOT_ISSUABLE", "/statusLabel"))
    return series, label, errors
