"""What the code publishes is what the schemas say, over a long run of requests in a world that is small and crowded.

Every record is held to the schema of its event, its headers to AsyncAPI, its key and id to README, and the versions
of each customer to their order. A tour meets every event, error and warning once; requests made up at random follow.
"""

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from tests.defaults import default_limits

from mergeline.domain.batch import DeadLetter, answer_batch, judge_batch
from mergeline.domain.catalog import Catalog
from mergeline.domain.decode import decode
from mergeline.domain.ledger import Ledger
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message, Outgoing
from mergeline.domain.prepare import prepare
from mergeline.domain.state import State
from mergeline.domain.vocabulary import (
    EVENT_TOPICS,
    INPUT_TOPICS,
    DeadLetterCode,
    ErrorCode,
    EventType,
    Topic,
    WarningCode,
    dead_letter_topic,
)

ROOT = Path(__file__).parents[2] / "schemas"
ASYNCAPI = yaml.safe_load((ROOT / "asyncapi.yaml").read_bytes())
NOW = datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)
ORG, STRICT_ORG, NO_ORG = 1, 2, 3
REQUESTS = 300
CUSTOMERS = 10
CATALOG = {
    "sources": {"INSTORE": "single", "TMALL": "single", "WECHAT": "multiple"},
    "blockList": ["blocked"],
    "series": [
        {"id": 1, "code": "GOLD", "autoCreate": True, "maxActiveCardsPerCustomer": 2, "expiryDays": 365},
        {"id": 2},
        {"id": 3, "active": False},
    ],
    "statusLabels": {"Handed out": "ISSUED"},
}
CATALOGS = {
    ORG: Catalog.model_validate({"orgId": ORG, **CATALOG}),
    STRICT_ORG: Catalog.model_validate({"orgId": STRICT_ORG, **CATALOG, "policies": {"mergedCustomer": "reject"}}),
}


# ---------------------------------------------------------------- requests


class Producer:
    """Makes up requests of a few customers, each with values and cards of its own, which others name too."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.customer_id = 0

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def rarely(self, odd: Any, usual: Any) -> Any:
        return odd if self.random.random() < 0.03 else usual

    def number(self, each: int) -> int:
        """One of the numbers that belong to the customer, or, now and then, to another."""
        owner = self.pick(*[self.customer_id] * 3, self.random.randint(1, CUSTOMERS))
        return owner * each + self.random.randrange(each)

    def scope(self) -> dict[str, Any]:
        source = self.pick("INSTORE", "TMALL", "WECHAT")
        account = self.pick("a", "b") if source == "WECHAT" else None
        return {"source": self.rarely("NOWHERE", source), "accountId": self.rarely(None if account else "a", account)}

    def identifier(self) -> dict[str, str]:
        kind = self.pick("mobile", "email", "externalId")
        value = f"{self.number(2):0>2}"
        if kind == "mobile":
            value = f"86138001380{value}"
        if kind == "email":
            value = f"U{value}@example.com"
        return {"type": kind, "value": self.rarely("not one", self.rarely("blocked", value))}

    def card(self) -> dict[str, Any]:
        """Even numbers are of series 1, odd ones of series 2."""
        number = self.number(6)
        series = {"seriesId": 2} if number % 2 else self.pick({"seriesId": 1}, {"seriesCode": "GOLD"})
        label = self.pick("Handed out", "ACTIVE", "ACTIVE", "ISSUED", "EXPIRED")
        return {
            "type": "cardnumber",
            "value": f"C{number}",
            **self.rarely({"seriesId": self.pick(1, 2, 3, 9)}, series),
            "statusLabel": self.rarely("LOST", self.rarely("NOT_ISSUED", label)),
        }

    def removed_card(self) -> dict[str, Any]:
        card = {"type": "cardNumber", "value": f"C{self.number(6)}"}
        return card | self.rarely({"statusLabel": "ACTIVE"}, {})

    def items(self, one: Any, other: Any) -> list[dict[str, Any]]:
        return [self.pick(one, other, other)() for _ in range(self.pick(0, 1, 1, 2))]

    def request(self) -> tuple[str, dict[str, Any]]:
        self.customer_id = self.random.randint(1, CUSTOMERS)
        org_id = self.rarely(NO_ORG, self.pick(ORG, ORG, ORG, STRICT_ORG))
        customer = {"orgId": org_id, "customerId": self.customer_id}
        topic = self.pick(
            *[Topic.CARD_REGISTRATIONS] * 2, Topic.CUSTOMER_REGISTRATIONS, *[Topic.IDENTIFIER_UPDATES] * 5
        )
        if topic is Topic.CARD_REGISTRATIONS:
            card = self.card()
            label = self.rarely("ACTIVE", self.rarely("LOST", self.rarely("EXPIRED", None)))
            series = {name: card[name] for name in ("seriesId", "seriesCode") if name in card}
            return topic, {"orgId": org_id, "cardNumber": card["value"], **series, "statusLabel": label}
        if topic is Topic.CUSTOMER_REGISTRATIONS:
            return topic, customer | self.scope() | {"identifiers": self.items(self.identifier, self.identifier)}
        lists = {
            "add": self.items(self.identifier, self.card),
            "remove": self.items(self.identifier, self.removed_card),
        }
        return topic, customer | self.scope() | lists

    def requests(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Requests with ids of their own; some are sent again, some with another body."""
        sent = []
        for number in range(REQUESTS):
            topic, body = self.request()
            sent.append((topic, body | {"requestId": f"r{self.rarely(number // 2, number)}"}))
            yield self.rarely(self.pick(*sent), sent[-1])


def update(customer_id: int, source: str = "INSTORE", org: int = ORG, **fields: Any) -> tuple[str, dict[str, Any]]:
    return Topic.IDENTIFIER_UPDATES, {"orgId": org, "customerId": customer_id, "source": source, **fields}


def register(customer_id: int, *values: str, org: int = ORG) -> tuple[str, dict[str, Any]]:
    body = {"orgId": org, "customerId": customer_id, "source": "INSTORE"}
    return Topic.CUSTOMER_REGISTRATIONS, body | {"identifiers": [named(value) for value in values]}


def named(value: str, kind: str = "externalId") -> dict[str, Any]:
    return {"type": kind, "value": value}


def card(number: str, label: str = "ACTIVE", series: int = 1) -> dict[str, Any]:
    return {"type": "cardnumber", "value": number, "seriesId": series, "statusLabel": label}


TOUR = [
    update(101, add=named("a")),  # CUSTOMER_NOT_FOUND
    register(101, "a"),
    register(102, "b"),
    register(103),
    register(104, *"cdefghi"),
    update(103, org=NO_ORG, add=named("x")),  # UNKNOWN_ORG
    update(103, "NOWHERE", add=named("x")),  # UNKNOWN_SOURCE
    update(103, "WECHAT", add=named("x")),  # ACCOUNT_REQUIRED
    update(103, accountId="a", add=named("x")),  # ACCOUNT_NOT_ALLOWED
    update(103, add=[named("x", "email"), named("blocked")]),  # INVALID_VALUE, BLOCKED_VALUE
    update(103, add=[card("K1", series=9), card("K2", series=3)]),  # UNKNOWN_SERIES, SERIES_INACTIVE
    update(103, add=[card("K1", "LOST"), card("K2", "NOT_ISSUED")]),  # UNKNOWN_STATUS_LABEL, LABEL_NOT_ISSUABLE
    update(103, remove={"type": "cardNumber", "value": "K1", "statusLabel": "ACTIVE"}),  # LABEL_NOT_REMOVAL
    update(103, "TMALL", add=[named("a"), named("b")]),  # CONFLICTING_CUSTOMERS
    update(103, add=named("a")),  # IDENTIFIER_TAKEN
    update(104, "TMALL", add=named("a")),  # MERGE_TOO_LARGE
    update(101, add=[card("K1"), card("K2")]),
    update(101, add=card("K1"), remove=named("a")),  # ALREADY_PRESENT, NO_IDENTIFIERS_LEFT
    update(102, add=[card("K3"), card("K4", "Handed out")], remove=named("a")),  # NOT_PRESENT
    update(101, "TMALL", add=named("b"), remove={"type": "cardnumber", "value": "K2"}),  # CARD_LIMIT_EXCEEDED
    update(101, add=named("z")),  # REDIRECTED
    update(103, add=[card("K3"), card("K9", series=2)]),  # CARD_TAKEN, CARD_NOT_FOUND
    update(102, add=[card("K3", series=2), card("K5", "SUSPENDED")]),  # CARD_NOT_IN_SERIES, LABEL_NOT_ISSUABLE
    update(102, add=card("K6")),  # CARD_LIMIT_REACHED
    update(102, add=card("K3", "EXPIRED")),
    update(102, add=card("K3")),  # CARD_TRANSITION_NOT_ALLOWED
    update(102, remove=named("K3", "cardnumber")),  # CARD_NOT_REMOVABLE
    (Topic.CARD_REGISTRATIONS, {"orgId": ORG, "seriesCode": "GOLD", "cardNumber": "K7", "statusLabel": "EXPIRED"}),
    update(103, add=card("K7")),  # CARD_NOT_ISSUABLE
    register(101, "a", org=STRICT_ORG),
    register(102, "b", org=STRICT_ORG),
    update(101, "TMALL", STRICT_ORG, add=named("b")),
    update(101, org=STRICT_ORG, add=named("z")),  # CUSTOMER_MERGED
    update(103, requestId="used", add=named("y")),
    update(103, requestId="used", add=named("z")),  # REQUEST_ID_REUSED
]


def messages() -> Iterator[Message]:
    """The tour, then the crowd."""
    for offset, (topic, body) in enumerate([*TOUR, *Producer(20261121).requests()]):
        at = Coordinate(Topic.COMMANDS_BY_CUSTOMER, 0, offset)
        headers = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
        yield Message(Coordinate(topic, 0, offset), at, 0, None, json.dumps(body).encode(), headers)


# ---------------------------------------------------------------- what is published


def channel_messages() -> dict[str, tuple[str, dict[str, Any], Draft202012Validator]]:
    """By `ce_type`: channel, schema and the validator of the headers, as AsyncAPI has them."""
    found = {}
    for channel, about in ASYNCAPI["channels"].items():
        for name in about["messages"]:
            message = ASYNCAPI["components"]["messages"][name]
            for part in message.get("headers", {}).get("allOf", ()):
                if "properties" in part:
                    schema = json.loads((ROOT / message["payload"]["$ref"]).read_bytes())
                    headers = {"allOf": [message["headers"]], "components": ASYNCAPI["components"]}
                    found[part["properties"]["ce_type"]["const"]] = channel, schema, Draft202012Validator(headers)
    return found


BY_TYPE = channel_messages()
VALIDATORS = {ce_type: Draft202012Validator(schema) for ce_type, (_, schema, _) in BY_TYPE.items()}
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:mergeline:events")


Run = list[tuple[Message, tuple[Outgoing, ...]]]


@pytest.fixture(scope="module")
def run() -> Run:
    """Each message and the records that were published for it."""
    state, rows, answered = State(), [], []
    for message in messages():
        request = decode(message)
        if isinstance(request, DeadLetterReason):
            item: Any = DeadLetter(message, request, message.origin.request_id)
        else:
            item = prepare(request, CATALOGS.get(request.org_id))
        verdicts = judge_batch(state, Ledger(rows), [item], NOW, default_limits(merge_max_entries=6))
        (answer,) = answer_batch(verdicts, NOW, "mergeline.")
        rows += [answer.row] if answer.row is not None else []
        answered.append((message, answer.outgoing))
    return answered


def events(run: Run) -> Iterator[tuple[str, dict[str, str], dict[str, Any], str]]:
    """Topic, headers, data and key of every event."""
    for _, records in run:
        for record in records:
            if not record.topic.endswith("-dlt"):
                headers = {name: (value or b"").decode() for name, value in record.headers}
                yield record.topic, headers, json.loads(record.value or b""), (record.key or b"").decode()


def test_every_event_fits_its_schema_its_channel_and_its_headers(run: Run) -> None:
    for topic, headers, data, key in events(run):
        channel, _, validator = BY_TYPE[headers["ce_type"]]
        assert channel == topic
        validator.validate(headers)
        VALIDATORS[headers["ce_type"]].validate(data)
        assert headers["ce_subject"] == key
        assert headers["ce_time"] == data["occurredAt"]


def test_keys_name_whom_it_happened_to(run: Run) -> None:
    for topic, headers, data, key in events(run):
        subject = data.get("victimId" if topic == Topic.CUSTOMER_REDIRECTS else "survivorId", data.get("customerId"))
        if "cardNumber" in data and headers["ce_type"] == EventType.REGISTRATION_OUTCOME:
            subject = f"card:{data['cardNumber']}"
        assert key == f"{data['orgId']}:{subject}"


def test_event_ids_follow_from_org_request_topic_and_position(run: Run) -> None:
    for message, records in run:
        positions: Counter[str] = Counter()
        for topic, headers, data, _ in events([(message, records)]):
            name = f"{data['orgId']}:{data['requestId']}:{topic}:{positions[topic]}"
            positions[topic] += 1
            if [error["code"] for error in data.get("errors", ())] != ["REQUEST_ID_REUSED"]:
                assert headers["ce_id"] == str(uuid.uuid5(NAMESPACE, name))


def test_versions_of_a_customer_have_no_gap(run: Run) -> None:
    versions: Counter[str] = Counter()
    for topic, headers, data, key in events(run):
        if topic in {Topic.CUSTOMER_MERGED, Topic.IDENTIFIERS_CHANGED, Topic.CARD_ISSUED, Topic.CARD_CHANGED}:
            versions[key] += 1
            assert data["customerVersion"] == versions[key]
        if topic == Topic.CUSTOMER_REDIRECTS:
            assert data["customerVersion"] == versions[key]
        if topic == Topic.UPDATE_OUTCOMES and data["appliedTo"] and "mergeline-duplicate" not in headers:
            subject = data["mergedInto"] or data["appliedTo"]
            assert data["customerVersion"] == versions[f"{data['orgId']}:{subject}"]


def test_the_tour_meets_every_event_error_and_warning(run: Run) -> None:
    types, codes = set(), set()
    for _, headers, data, _ in events(run[: len(TOUR)]):
        types.add(headers["ce_type"])
        codes |= {said["code"] for part in ("errors", "warnings") for said in data.get(part, ())}
    assert types == {event_type.value for event_type in EventType}
    assert {*ErrorCode, *WarningCode} - codes == set()


def test_paths_lead_into_the_request(run: Run) -> None:
    """Every path names a place in the message that it is about, or a field that the message leaves out."""
    for message, records in run:
        request = json.loads(message.value or b"")
        for _, _, data, _ in events([(message, records)]):
            for said in [*data.get("errors", ()), *data.get("warnings", ())]:
                field, *rest = said["path"].split("/")[1:]
                assert field in request or field == "accountId"
                assert not rest or int(rest[0]) < len(request[field])


# ---------------------------------------------------------------- words


def test_the_code_has_the_words_of_the_schemas() -> None:
    outcome = json.loads((ROOT / "events/update-outcome.schema.json").read_bytes())["$defs"]
    assert [*ErrorCode] == outcome["error"]["properties"]["code"]["enum"]
    assert {*WarningCode} == {*outcome["warning"]["properties"]["code"]["enum"]}
    headers = ASYNCAPI["components"]["schemas"]["deadLetterHeaders"]["properties"]
    assert {f"mergeline.{code}" for code in DeadLetterCode} == {*headers["kafka_dlt-exception-fqcn"]["enum"]}
    assert BY_TYPE.keys() == {event_type.value for event_type in EventType}
    dead_letters = {dead_letter_topic(topic) for topic in INPUT_TOPICS}
    assert {*ASYNCAPI["channels"]} == {*INPUT_TOPICS, *EVENT_TOPICS, *dead_letters, Topic.COMMANDS_BY_CUSTOMER}
