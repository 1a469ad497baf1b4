"""What must come of a scenario, compared with what came.

In: a scenario, the places of its messages, and all records that name its org. Out: every difference, a line each.
Never: a message text, a time or the order of a list held against anybody; the contract leaves those open.
"""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import NAMESPACE_URL, uuid5

from tests.conformance.owners import owners
from tests.conformance.scenario import EVENTS, OUTCOMES

NAMESPACE = uuid5(NAMESPACE_URL, "urn:mergeline:events")
TYPES = {
    "update-outcomes": {"mergeline.update.outcome"},
    "registration-outcomes": {"mergeline.registration.outcome"},
    "customer-merged": {"mergeline.customer.merged"},
    "identifiers-changed": {"mergeline.identifiers.changed"},
    "card-issued": {"mergeline.card.issued"},
    "card-changed": {"mergeline.card.removed", "mergeline.card.status_changed"},
    "customer-redirects": {"mergeline.customer.redirect"},
}
COMMON = ("requestId", "orgId", "occurredAt")


@dataclass(frozen=True)
class Record:
    """One published record: its topic without prefix, key and headers as text, value as bytes."""

    topic: str
    key: str | None
    headers: dict
    value: bytes

    @property
    def data(self):
        return json.loads(self.value)

    @property
    def duplicate(self):
        return self.headers.get("mergeline-duplicate") == "true"


def plain(value):
    """A value without message texts and without what is null or empty; lists sorted."""
    if isinstance(value, dict):
        parts = {key: plain(one) for key, one in value.items() if key != "message"}
        return {key: one for key, one in parts.items() if one not in (None, [], {})}
    if isinstance(value, list):
        return sorted((plain(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


def told(record):
    """What a record says that a scenario can expect: times as distances, the type where a topic has two."""
    data = record.data
    said = {key: value for key, value in data.items() if key not in COMMON}
    if record.topic == "card-changed":
        said["change"] = record.headers["ce_type"].rpartition(".")[2]
    if said.pop("issuedAt", data["occurredAt"]) != data["occurredAt"]:
        said["issuedAt"] = "not when it occurred"
    if expires := said.pop("expiresAt", None):
        distance = datetime.fromisoformat(expires) - datetime.fromisoformat(data["occurredAt"])
        said["expiresAfterDays"] = str(distance) if distance % timedelta(days=1) else distance.days
    return plain(said)


# ---------------------------------------------------------------- what is expected


def expected_records(scenario, request_ids):
    """(topic, request id, duplicate, what it says) of every record that must come."""
    wanted, outcomes = [], {}
    for step, request_id in zip(scenario.steps, request_ids, strict=True):
        if step.action in ("fill", "raw"):
            continue
        topic, outcome = OUTCOMES[scenario.sent[step.number - 1].topic], step.expected.get("outcome")
        if step.action == "send-again" and outcome is None:
            wanted.append((topic, request_id, True, outcomes[step.body]))
        elif outcome is not None:
            body = scenario.steps[step.body - 1].body if step.action == "send-again" else step.body
            outcomes[step.number] = plain(with_defaults(topic, body, outcome))
            wanted.append((topic, request_id, False, outcomes[step.number]))
        for topic in EVENTS:
            wanted += [(topic, request_id, False, plain(event)) for event in step.expected.get(topic, [])]
    return wanted


def with_defaults(topic, body, outcome):
    """An outcome names the customer, or the card, of its request; unless it says otherwise, it was applied to that."""
    if "cardNumber" in body:
        return {"cardNumber": body["cardNumber"].strip()} | outcome
    named = {"customerId": body["customerId"]}
    if topic == "update-outcomes" and outcome["status"] != "rejected":
        named["appliedTo"] = body["customerId"]
    return named | outcome


# ---------------------------------------------------------------- the differences


def differences(scenario, places, records, letters):
    """Every line that tells of a difference between what must come and what came.

    `places` are (topic, partition, offset) of the message of each step, `letters` dead letters by the same.
    """
    derived = ["-".join(map(str, place)) for place in places]
    request_ids = [sent.request_id or place for sent, place in zip(scenario.sent, derived, strict=True)]
    fillers = {f"step-{step.number}-" for step in scenario.steps if step.action == "fill"}
    compared = [record for record in records if not record.data["requestId"].startswith(tuple(fillers) or "\0")]
    wanted = Counter(map(hashable, expected_records(scenario, request_ids)))
    came = Counter(
        hashable((record.topic, record.data["requestId"], record.duplicate, told(record))) for record in compared
    )
    lines = [f"missing: {one}" for one in (wanted - came).elements()]
    lines += [f"not expected: {one}" for one in (came - wanted).elements()]
    lines += [line for record in compared for line in envelope(scenario, record)]
    lines += wrong_ids(scenario, compared)
    lines += wrong_duplicates(compared)
    lines += wrong_letters(scenario, places, letters)
    return lines + wrong_owners(final(scenario), owners([record for record in records if not record.duplicate]))


def wrong_owners(wanted, found):
    names = sorted(wanted.keys() | found.keys())
    return [
        f"in the end: {name}: {found.get(name)}, not {wanted.get(name)}"
        for name in names
        if found.get(name) != wanted.get(name)
    ]


def final(scenario):
    """Who must have what in the end, as `owners` says it."""
    return {f"{kind} {name}": owner for kind, named in scenario.final.items() for name, owner in named.items()}


def hashable(parts):
    return json.dumps(parts, sort_keys=True, ensure_ascii=False)


def envelope(scenario, record):
    """The headers and the key say what the data says."""
    data, headers = record.data, record.headers
    about = {
        "customer-merged": lambda: data["survivorId"],
        "customer-redirects": lambda: data["victimId"],
        "registration-outcomes": lambda: data.get("customerId") or f"card:{data['cardNumber']}",
    }
    key = f"{scenario.org}:{about.get(record.topic, lambda: data['customerId'])()}"
    wanted = {
        "key": (record.key, key),
        "ce_subject": (headers.get("ce_subject"), key),
        "ce_specversion": (headers.get("ce_specversion"), "1.0"),
        "ce_source": (headers.get("ce_source"), "/mergeline"),
        "ce_time": (headers.get("ce_time"), data["occurredAt"]),
        "content-type": (headers.get("content-type"), "application/json"),
        "ce_type": (headers.get("ce_type") in TYPES[record.topic], True),
    }
    return [f"{record.topic}: {name} is {is_}, not {ought}" for name, (is_, ought) in wanted.items() if is_ != ought]


def wrong_ids(scenario, records):
    """The ids of events are those that the contract derives; each event counts from 0 in its topic and request."""
    reused = {
        str(uuid5(NAMESPACE, f"{scenario.org}:{sent.request_id}:reused:{sha256(sent.value).hexdigest()}"))
        for sent in scenario.sent
    }
    victims = {one.data["requestId"]: one.data["victimId"] for one in records if one.topic == "customer-merged"}
    lines, groups = [], {}
    for record in records:
        if not record.duplicate and record.headers.get("ce_id") not in reused:
            groups.setdefault((record.data["requestId"], record.topic), []).append(record)
        elif is_reused(record) and record.headers.get("ce_id") not in reused:
            lines.append(f"the id of a reused request id is not derived from its message: {record.headers}")
    for (request_id, topic), group in groups.items():
        for number, record in enumerate(sorted(group, key=lambda one: order(one, victims))):
            ought = str(uuid5(NAMESPACE, f"{scenario.org}:{request_id}:{topic}:{number}"))
            if record.headers.get("ce_id") != ought:
                lines.append(f"{topic} of {request_id}: ce_id is {record.headers.get('ce_id')}, not {ought}")
    return lines


def is_reused(record):
    return [error["code"] for error in record.data.get("errors", [])] == ["REQUEST_ID_REUSED"]


def order(record, victims):
    """Events by version; redirects the victim of the request first, then the repointed by id."""
    data = record.data
    if record.topic != "customer-redirects":
        return False, data.get("customerVersion") or 0
    return data["victimId"] != victims.get(data["requestId"]), data["victimId"]


def wrong_letters(scenario, places, letters):
    """Dead letters: those that must be there, byte for byte and for the reason that was to be, and no other."""
    lines = []
    for step, sent, place in zip(scenario.steps, scenario.sent, places, strict=True):
        code, letter = step.expected.get("dead-letter"), letters.get(place)
        if (code is None) != (letter is None):
            lines.append(f"step {step.number}: a dead letter {'is missing' if code else 'that must not be'}")
        elif code is not None:
            why = letter.headers["kafka_dlt-exception-message"].partition(":")[0]
            is_ = (letter.topic, letter.key, letter.value, why, letter.headers["kafka_dlt-exception-fqcn"])
            ought = (f"{sent.topic}-dlt", sent.key.decode(), sent.value, code, f"mergeline.{code}")
            lines += [f"step {step.number}: a dead letter is {is_}, not {ought}"] if is_ != ought else []
    return lines


def wrong_duplicates(records):
    """What is said again is said in the same bytes, under the same id."""
    firsts = {record.headers.get("ce_id"): record.value for record in records if not record.duplicate}
    return [
        f"{record.topic}: not the same bytes again: {record.value!r}"
        for record in records
        if record.duplicate and firsts.get(record.headers.get("ce_id")) != record.value
    ]
