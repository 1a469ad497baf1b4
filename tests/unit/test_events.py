"""Events: ids, keys, headers, the exact data, versions and redirects, written down from SPEC section 5 by hand."""

import json
from hashlib import sha256
from uuid import NAMESPACE_URL, uuid5

import pytest
from tests.unit.world import NOW, OCCURRED_AT, ORG, Said, World, card, headers_of, issue, named

from mergeline.domain.vocabulary import Topic

X, Y = named("line", "x"), named("line", "y")
COMMON = {"requestId": "r", "orgId": ORG, "occurredAt": OCCURRED_AT}


def ce_id(name: str) -> str:
    return str(uuid5(uuid5(NAMESPACE_URL, "urn:mergeline:events"), name))


@pytest.fixture
def world() -> World:
    """Customer 1 holds identifiers in two scopes and cards, and has an earlier victim; customer 2 holds line x."""
    world = World()
    world.customer(1, version=4)
    world.customer(2, version=8)
    world.customer(5, version=3, merged_into=1)
    world.customer(6, version=0, merged_into=1)
    world.entry(1, "line", "old")
    world.entry(1, "email", "a@b.example", "WECHAT", "a")
    world.entry(2, "line", "x", "ECOMMERCE")
    world.card("M", "Live", 1)
    world.card("N", "ACTIVE", 1)
    world.card("B")
    world.card("A", series=166)
    return world


@pytest.fixture
def said(world: World) -> Said:
    """One request that does everything: it merges, adds, removes, issues, changes and removes cards."""
    return world.update(
        1,
        requestId="r",
        add=[Y, X, issue("B", "Handed out"), issue("NEW", "ACTIVE", 164), issue("A", series=166), issue("N", "Frozen")],
        remove=[named("line", "old"), card("M"), named("line", "none")],
    )


# ---------------------------------------------------------------- one request that does everything


def test_the_order_of_its_records(said: Said) -> None:
    """Change events in the order of their versions: merged, identifiers, cards removed, cards added by number."""
    assert said.topics == [
        "customer-merged",
        "identifiers-changed",
        "card-changed",
        "card-issued",
        "card-issued",
        "card-changed",
        "card-issued",
        "customer-redirects",
        "customer-redirects",
        "customer-redirects",
        "update-outcomes",
    ]


def test_its_versions_count_one_for_each_change_event(world: World, said: Said) -> None:
    versions = [json.loads(record.value)["customerVersion"] for record in said.records]
    assert versions == [9, 10, 11, 12, 13, 14, 15, 4, 3, 0, 15]
    assert (world.version(2), world.version(1), world.version(5)) == (15, 4, 3)


def test_its_ids_count_the_events_of_each_topic(said: Said) -> None:
    assert [headers_of(record)["ce_id"] for record in said.records] == [
        ce_id(f"{ORG}:r:{topic}:{n}")
        for topic, n in (
            ("customer-merged", 0),
            ("identifiers-changed", 0),
            ("card-changed", 0),
            ("card-issued", 0),
            ("card-issued", 1),
            ("card-changed", 1),
            ("card-issued", 2),
            ("customer-redirects", 0),
            ("customer-redirects", 1),
            ("customer-redirects", 2),
            ("update-outcomes", 0),
        )
    ]


def test_an_id_to_compare_with_other_programs() -> None:
    assert ce_id("100737:7d943c51-e4ff-4e57-9558-08cab6b963c7:update-outcomes:0") == (
        "e3f0c023-a8f3-5821-bfbd-5b72016c2547"
    )


def test_its_keys_name_the_survivor_each_victim_and_the_customer_as_asked(said: Said) -> None:
    assert [record.key for record in said.records] == [b"7:2"] * 7 + [b"7:1", b"7:5", b"7:6", b"7:1"]


def test_the_merge(said: Said) -> None:
    assert said.merged == COMMON | {
        "customerVersion": 9,
        "victimId": 1,
        "survivorId": 2,
        "matched": [
            {
                "type": "line",
                "value": "x",
                "source": "INSTORE",
                "accountId": None,
                "entries": [{"source": "ECOMMERCE", "accountId": None}],
            }
        ],
        "movedIdentifiers": [{"type": "email", "value": "a@b.example", "source": "WECHAT", "accountId": "a"}],
        "movedCards": [{"cardNumber": "M", "seriesId": 163}, {"cardNumber": "N", "seriesId": 163}],
        "repointedCustomerIds": [5, 6],
        "warnings": [],
    }


def test_the_identifiers(said: Said) -> None:
    (data,) = said.of(Topic.IDENTIFIERS_CHANGED)
    assert data == COMMON | {
        "customerVersion": 10,
        "customerId": 2,
        "source": "INSTORE",
        "accountId": None,
        "added": [X, Y],
        "removed": [named("line", "old")],
    }


def test_the_cards(said: Said) -> None:
    removed, changed = said.of(Topic.CARD_CHANGED)
    assert removed == COMMON | {
        "customerVersion": 11,
        "customerId": 2,
        "cardNumber": "M",
        "seriesId": 163,
        "statusLabel": "NOT_ISSUED",
        "status": "NOT_ISSUED",
        "previousStatusLabel": "Live",
    }
    assert changed == COMMON | {
        "customerVersion": 14,
        "customerId": 2,
        "cardNumber": "N",
        "seriesId": 163,
        "statusLabel": "Frozen",
        "status": "SUSPENDED",
        "previousStatusLabel": "ACTIVE",
    }
    first, second, third = said.of(Topic.CARD_ISSUED)
    assert first == COMMON | {
        "customerVersion": 12,
        "customerId": 2,
        "cardNumber": "A",
        "seriesId": 166,
        "statusLabel": "ACTIVE",
        "status": "ACTIVE",
        "issuedAt": OCCURRED_AT,
        "expiresAt": None,
    }
    assert (second["cardNumber"], second["status"], second["customerVersion"]) == ("B", "ISSUED", 13)
    assert (third["cardNumber"], third["customerVersion"]) == ("NEW", 15)
    assert third["expiresAt"] == "2027-11-21T10:00:00.123456Z"


def test_the_redirects_name_the_victim_then_the_repointed_by_id(said: Said) -> None:
    assert said.of(Topic.CUSTOMER_REDIRECTS) == [
        COMMON | {"customerVersion": 4, "victimId": 1, "survivorId": 2},
        COMMON | {"customerVersion": 3, "victimId": 5, "survivorId": 2},
        COMMON | {"customerVersion": 0, "victimId": 6, "survivorId": 2},
    ]


def test_the_outcome(said: Said) -> None:
    outcome = said.outcome
    (warning,) = outcome.pop("warnings")
    assert outcome == COMMON | {
        "status": "applied",
        "customerVersion": 15,
        "customerId": 1,
        "appliedTo": 1,
        "mergedInto": 2,
        "errors": [],
    }
    assert warning == {
        "code": "NOT_PRESENT",
        "message": "The customer has no such line in this scope.",
        "path": "/remove/2",
        "upstreamCode": 8070,
    }


def test_types(said: Said) -> None:
    assert [headers_of(record)["ce_type"] for record in said.records] == [
        "mergeline.customer.merged",
        "mergeline.identifiers.changed",
        "mergeline.card.removed",
        "mergeline.card.issued",
        "mergeline.card.issued",
        "mergeline.card.status_changed",
        "mergeline.card.issued",
        "mergeline.customer.redirect",
        "mergeline.customer.redirect",
        "mergeline.customer.redirect",
        "mergeline.update.outcome",
    ]


# ---------------------------------------------------------------- headers


def test_headers_are_those_of_cloudevents_in_binary_mode(said: Said) -> None:
    for record in said.records:
        assert headers_of(record) | {"ce_id": "", "ce_type": ""} == {
            "ce_specversion": "1.0",
            "ce_id": "",
            "ce_type": "",
            "ce_source": "/mergeline",
            "ce_time": OCCURRED_AT,
            "ce_subject": record.key.decode(),
            "content-type": "application/json",
        }


def test_a_trace_is_carried_from_the_request_to_every_event(world: World) -> None:
    trace = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    body = {"orgId": ORG, "customerId": 1, "source": "INSTORE", "add": X}
    useless = (("traceparent", b"x" * 1_000), ("traceparent", None))
    sent = (("own", b"1"), *useless, trace, ("traceparent", b"second"))
    (said,) = world.batch([world.message(body, headers=sent)])
    assert len(said.records) > 3
    for record in said.records:
        assert [header for header in record.headers if header[0] in ("traceparent", "own")] == [trace]


def test_times_are_utc_with_six_digits() -> None:
    world = World()
    world.customer(1)
    world.now = NOW.replace(microsecond=0)
    assert world.update(1, add=X).outcome["occurredAt"] == "2026-11-21T10:00:00.000000Z"


# ---------------------------------------------------------------- single events


def test_identifiers_of_a_multiple_account_source(world: World) -> None:
    (data,) = world.update(1, source="WECHAT", accountId="b", add=Y).of(Topic.IDENTIFIERS_CHANGED)
    assert (data["source"], data["accountId"], data["customerVersion"]) == ("WECHAT", "b", 5)


def test_events_carry_the_normalised_value(world: World) -> None:
    (data,) = world.update(1, add=named("mobile", "+86 138-0013-8000")).of(Topic.IDENTIFIERS_CHANGED)
    assert data["added"] == [named("mobile", "8613800138000")]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"add": named("line", "old")}, id="present"),
        pytest.param({"remove": Y}, id="not present"),
        pytest.param({"add": issue("N")}, id="a card as it is"),
    ],
)
def test_an_unchanged_request_publishes_its_outcome_alone(world: World, fields: dict) -> None:
    said = world.update(1, **fields)
    assert (said.status, said.topics) == ("unchanged", ["update-outcomes"])
    assert (said.outcome["appliedTo"], said.outcome["customerVersion"], world.version(1)) == (1, 4, 4)


def test_cards_alone_change_no_identifiers(world: World) -> None:
    said = world.update(1, add=issue("B"), remove=card("M"))
    assert said.topics == ["card-changed", "card-issued", "update-outcomes"]
    assert said.outcome["customerVersion"] == 6


def test_problems_leave_out_what_they_have_not(world: World) -> None:
    (error,) = world.update(1, add=named("line", "null")).outcome["errors"]
    assert set(error) == {"code", "message", "path"}
    (error,) = world.update(404, add=Y).outcome["errors"]
    assert set(error) == {"code", "message", "path", "upstreamCode"}
    world.entry(2, "line", "t")
    (error,) = world.update(1, add=named("line", "t")).outcome["errors"]
    assert set(error) == {"code", "message", "path", "upstreamCode", "customerIds"}


def test_upstream_codes_are_numbers(world: World) -> None:
    (error,) = world.update(404, add=Y).outcome["errors"]
    assert error["upstreamCode"] == 8009


def test_no_message_repeats_a_value(world: World) -> None:
    world.entry(2, "line", "CANARY")
    world.card("CANARY", "ACTIVE", 2)
    for fields in (
        {"add": named("line", "CANARY")},
        {"remove": named("line", "CANARY")},
        {"add": issue("CANARY")},
        {"remove": card("CANARY")},
        {"add": named("email", "CANARY")},
        {"source": "CANARY", "add": X},
    ):
        outcome = world.update(1, **fields).outcome
        assert outcome["errors"] or outcome["warnings"]
        assert "CANARY" not in json.dumps(outcome)


def test_a_repointed_victim_gets_a_new_redirect_under_a_new_key(world: World) -> None:
    world.customer(9)
    said = world.update(6, add=X)
    assert [record.key for record in said.records if record.topic == "customer-redirects"] == [b"7:1", b"7:5", b"7:6"]
    assert said.record("update-outcomes").key == b"7:6"


# ---------------------------------------------------------------- reused ids


def test_the_id_of_a_reuse_is_of_the_bytes_of_the_message(world: World) -> None:
    world.update(1, requestId="r", add=Y)
    message = world.message({"orgId": ORG, "customerId": 1, "source": "INSTORE", "requestId": "r", "add": X})
    (said,) = world.batch([message])
    record = said.record("update-outcomes")
    assert headers_of(record)["ce_id"] == ce_id(f"{ORG}:r:reused:{sha256(message.value).hexdigest()}")
    assert record.key == b"7:1"
    assert said.outcome["errors"] == [
        {
            "code": "REQUEST_ID_REUSED",
            "message": "This requestId came before with a different body. Send the request again under a new id.",
            "path": "/requestId",
        }
    ]


# ---------------------------------------------------------------- bytes


def test_the_same_request_gives_the_same_bytes() -> None:
    runs = []
    for _ in range(2):
        world = World()
        world.customer(1)
        world.entry(2, "line", "x", "ECOMMERCE")
        runs.append(world.update(1, add=[X, Y]).records)
    assert runs[0] == runs[1]


def test_text_beyond_ascii_is_utf_8() -> None:
    world = World(sources={"Läden": "multiple"})
    world.customer(1)
    said = world.update(1, source="Läden", accountId="上海", add=named("line", "\U0001f600"))
    assert "上海".encode() in said.record("identifiers-changed").value
    assert said.of(Topic.IDENTIFIERS_CHANGED)[0]["added"] == [named("line", "\U0001f600")]
