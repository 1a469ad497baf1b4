"""What was published and what is stored, in a form in which model and implementation can be compared.

In: records as mergeline publishes them, rows as it stores them; answers and state of the reference model. Out: plain
values. Left out is what the contract leaves open: message texts, and the order of lists.
"""

import json
from datetime import UTC, datetime

import orjson
from tests.simulation.reference_state import instant

OUTCOME_TOPICS = ("update-outcomes", "registration-outcomes")


def unordered(value):
    """A value whose lists are sorted and whose problems have no text."""
    if isinstance(value, dict):
        return {key: unordered(one) for key, one in value.items() if key != "message"}
    if isinstance(value, list):
        return sorted((unordered(one) for one in value), key=lambda one: orjson.dumps(one, option=orjson.OPT_SORT_KEYS))
    return value


def published(record):
    """A record of mergeline as the model tells it, after a look at the headers that say the same twice."""
    headers = {name: value.decode() for name, value in record.headers}
    data = json.loads(record.value)
    key = record.key.decode()
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_source"] == "/mergeline"
    assert headers["content-type"] == "application/json"
    assert (headers["ce_time"], headers["ce_subject"]) == (data["occurredAt"], key)
    told = {"topic": str(record.topic), "type": headers["ce_type"], "key": key, "id": headers["ce_id"], "data": data}
    return told | ({"duplicate": True} if headers.get("mergeline-duplicate") == "true" else {})


def told_by_model(answer):
    """The records of an answer of the model."""
    if answer.kind == "duplicate":
        return [answer.outcome | {"duplicate": True}]
    return [*answer.events, *([answer.outcome] if answer.outcome else [])]


def occurred_at(records):
    """When mergeline decided, as it says itself; None where it said nothing that a model could need."""
    return next((json.loads(record.value)["occurredAt"] for record in records if record.topic in OUTCOME_TOPICS), None)


def assert_same_records(records, answer, message):
    """What mergeline published for a message is what the model says."""
    if answer.kind == "dropped":
        assert list(records) == []
    elif answer.kind == "dead_letter":
        assert_dead_letter(records, answer, message)
    else:
        assert unordered([published(record) for record in records]) == unordered(told_by_model(answer))


def assert_dead_letter(records, answer, message):
    (record,) = records
    headers = dict(record.headers)
    assert record.topic == f"{message.origin.topic}-dlt"
    assert (record.key, record.value) == (message.key, message.value)
    assert headers["kafka_dlt-exception-message"].decode().startswith(f"{answer.code}: ")
    assert int(headers["kafka_dlt-original-offset"]) == message.origin.offset


def stored_by_models(states):
    """The states of models, which have no org in common, together, by table."""
    tables = {"customers": {}, "entries": {}, "cards": {}, "merges": {}}
    for state in states:
        tables["customers"] |= {key: (row["survivor"], row["version"]) for key, row in state.customers.items()}
        tables["entries"] |= state.entries
        tables["cards"] |= state.cards
        tables["merges"] |= {merge_id: unordered(moved(data)) for merge_id, data in state.merges.items()}
    return tables


def moved(data):
    names = ("victimId", "survivorId", "matched", "movedIdentifiers", "movedCards", "repointedCustomerIds", "warnings")
    return {name: data[name] for name in names} | {
        "mergedAt": in_utc(data["occurredAt"]),
        "requestId": data["requestId"],
    }


def in_utc(at):
    """A time, or the text of one, as events say it."""
    return instant((datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC))


def card_row(row):
    """A card of mergeline's own as the model stores it."""
    return {
        "series": row["series_id"],
        "owner": row["customer_id"],
        "label": row["label"],
        "status": str(row["status"]),
        "issued": row["issued_at"] and in_utc(row["issued_at"]),
        "expires": row["expires_at"] and in_utc(row["expires_at"]),
        "external": row["external_id"],
    }
