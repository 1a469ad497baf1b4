"""What a message means, given what the ledger has under its request id: one test a row, then what follows from it."""

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.unit.world import NOW, ORG, Said, World, headers_of, issue, named

from mergeline.domain.batch import DeadLetter
from mergeline.domain.events import DUPLICATE
from mergeline.domain.ledger import Ledger, LedgerRow, Meaning, RowKind
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message
from mergeline.domain.vocabulary import DeadLetterCode, Topic

X, Y = named("line", "x"), named("line", "y")
BODY, OTHER_BODY = b"1" * 32, b"2" * 32
ORIGIN, OTHER_ORIGIN = Coordinate("identifier-updates", 0, 5), Coordinate("identifier-updates", 0, 6)
AT, OTHER_AT = Coordinate("commands-by-customer", 3, 70), Coordinate("commands-by-customer", 3, 71)
UPDATE = {"orgId": ORG, "customerId": 1, "source": "INSTORE", "requestId": "r", "add": X}


def row(kind: RowKind = RowKind.DECIDED, **fields: object) -> LedgerRow:
    decided = LedgerRow(ORG, "r", kind, BODY, "applied", None, ORIGIN, AT, None, NOW, ())
    return replace(decided, **fields)


DECIDED = row()
REPEATED = row(RowKind.REPEAT, origin=OTHER_ORIGIN, at=OTHER_AT)
REUSED = row(RowKind.REUSED, origin=OTHER_ORIGIN, at=OTHER_AT, body_sha256=OTHER_BODY)
DEAD = row(RowKind.DEAD_LETTER)


@pytest.mark.parametrize(
    ("rows", "body", "origin", "at", "meaning", "found"),
    [
        pytest.param([], BODY, ORIGIN, AT, Meaning.DECIDE, None, id="no row"),
        pytest.param([DECIDED], BODY, ORIGIN, AT, Meaning.ANSWERED, DECIDED, id="same body, same origin, same place"),
        pytest.param(
            [DECIDED], BODY, ORIGIN, OTHER_AT, Meaning.DROP, DECIDED, id="same body, same origin, other place"
        ),
        pytest.param([DECIDED], BODY, OTHER_ORIGIN, OTHER_AT, Meaning.REPEAT, DECIDED, id="same body, other origin"),
        pytest.param(
            [DECIDED], OTHER_BODY, OTHER_ORIGIN, OTHER_AT, Meaning.REUSED, DECIDED, id="other body, other origin"
        ),
        pytest.param([DECIDED], OTHER_BODY, ORIGIN, AT, Meaning.REUSED, DECIDED, id="other body at the same place"),
        pytest.param([DECIDED, REPEATED], BODY, OTHER_ORIGIN, OTHER_AT, Meaning.ANSWERED, REPEATED, id="repeat again"),
        pytest.param([DECIDED, REPEATED], BODY, OTHER_ORIGIN, AT, Meaning.DROP, REPEATED, id="a repeat sent twice"),
        pytest.param([DECIDED, REUSED], OTHER_BODY, OTHER_ORIGIN, OTHER_AT, Meaning.ANSWERED, REUSED, id="reuse again"),
        pytest.param([DECIDED, REUSED], OTHER_BODY, OTHER_ORIGIN, AT, Meaning.DROP, REUSED, id="a reuse sent twice"),
        pytest.param([DEAD], BODY, ORIGIN, AT, Meaning.ANSWERED, DEAD, id="a dead letter again"),
        pytest.param([DEAD], BODY, ORIGIN, OTHER_AT, Meaning.DROP, DEAD, id="a dead letter sent twice"),
        pytest.param([DEAD], BODY, OTHER_ORIGIN, AT, Meaning.DECIDE, None, id="after a dead letter: decided"),
        pytest.param(
            [DEAD], OTHER_BODY, OTHER_ORIGIN, AT, Meaning.DECIDE, None, id="after a dead letter: another body"
        ),
    ],
)
def test_meaning(
    rows: list[LedgerRow], body: bytes, origin: Coordinate, at: Coordinate, meaning: Meaning, found: LedgerRow | None
) -> None:
    # The order in which rows are read is not the order in which they were written.
    for order in (rows, rows[::-1]):
        assert Ledger(order).meaning(ORG, "r", body, origin, at) == (meaning, found)


def test_request_ids_are_of_an_org() -> None:
    ledger = Ledger([DECIDED])
    assert ledger.meaning(ORG + 1, "r", BODY, ORIGIN, AT) == (Meaning.DECIDE, None)
    assert ledger.meaning(ORG, "R", BODY, ORIGIN, AT) == (Meaning.DECIDE, None)


# ---------------------------------------------------------------- in a batch


@pytest.fixture
def world() -> World:
    world = World()
    world.customer(1)
    return world


def again(message: Message, **fields: object) -> Message:
    """The same bytes, elsewhere."""
    offset = fields.pop("offset", 99)
    return replace(
        message,
        origin=message.origin._replace(offset=offset),
        at=message.at._replace(offset=offset),
        **fields,
    )


def send(world: World, *messages: Message, batches: int) -> list[Said]:
    parts = [messages] if batches == 1 else [[message] for message in messages]
    return [said for part in parts for said in world.batch(part)]


@pytest.fixture(params=[1, 2], ids=["one batch", "two batches"])
def batches(request: pytest.FixtureRequest) -> int:
    return request.param


def test_what_was_answered_before_is_published_from_the_ledger_and_stored_no_more(world: World, batches: int) -> None:
    message = world.message(UPDATE)
    first, second = send(world, message, message, batches=batches)
    assert second.records == first.records
    assert second.answer.row is None
    assert len(world.rows.ledger) == 1
    assert world.version(1) == 1


def test_a_repeat_of_the_router_is_dropped(world: World, batches: int) -> None:
    message = world.message(UPDATE)
    _, second = send(world, message, replace(message, at=OTHER_AT), batches=batches)
    assert (second.records, second.answer.row) == ((), None)
    assert world.version(1) == 1


def test_a_repeat_of_the_producer_gets_the_stored_outcome_flagged(world: World, batches: int) -> None:
    message = world.message(UPDATE)
    first, second = send(world, message, again(message), batches=batches)
    assert second.topics == ["update-outcomes"]
    (stored,) = (record for record in first.records if record.topic == "update-outcomes")
    (repeated,) = second.records
    assert (repeated.key, repeated.value) == (stored.key, stored.value)
    assert repeated.headers == (*stored.headers, ("mergeline-duplicate", b"true"))
    assert second.answer.row.kind is RowKind.REPEAT
    assert second.answer.row.status == "applied"
    assert world.version(1) == 1


def test_each_repeat_is_answered_once_and_flagged_once(world: World, batches: int) -> None:
    message = world.message(UPDATE)
    said = send(world, message, *(again(message, offset=offset) for offset in (50, 51, 51)), batches=batches)
    assert [each.topics for each in said[1:]] == [["update-outcomes"]] * 3
    assert said[3].records == said[2].records == said[1].records
    assert len(world.rows.ledger) == 3


def test_a_repeat_looks_at_nothing_that_happened_since(world: World) -> None:
    message = world.message(UPDATE)
    first = world.batch([message])[0]
    world.update(1, remove=X)
    world.now += timedelta(days=1)
    (second,) = world.batch([again(message)])
    assert second.outcome == first.outcome
    assert world.entries == {}


def test_a_rejection_is_repeated_too(world: World) -> None:
    message = world.message(UPDATE | {"customerId": 404})
    first = world.batch([message])[0]
    world.customer(404)
    (second,) = world.batch([again(message)])
    assert second.outcome == first.outcome
    assert second.answer.row.status == "rejected"


def test_a_repeated_registration_gets_its_outcome(world: World, batches: int) -> None:
    message = world.message({"orgId": ORG, "customerId": 5, "source": "INSTORE"}, Topic.CUSTOMER_REGISTRATIONS)
    message = replace(message, value=message.value[:-1] + b', "requestId": "r"}')
    first, second = send(world, message, again(message), batches=batches)
    assert (first.status, second.topics, second.outcome) == ("applied", ["registration-outcomes"], first.outcome)


def test_without_a_request_id_the_same_bytes_are_another_request(world: World, batches: int) -> None:
    message = world.message({name: value for name, value in UPDATE.items() if name != "requestId"})
    first, second = send(world, message, again(message), batches=batches)
    assert (first.status, second.status) == ("applied", "unchanged")
    assert second.outcome["requestId"] == "identifier-updates-0-99"


def test_the_same_id_with_another_body(world: World, batches: int) -> None:
    first, second = send(world, world.message(UPDATE), world.message(UPDATE | {"add": Y}), batches=batches)
    assert first.status == "applied"
    assert (second.status, second.errors) == ("rejected", [("REQUEST_ID_REUSED", "/requestId")])
    outcome = second.outcome
    assert (outcome["customerId"], outcome["appliedTo"], outcome["mergedInto"]) == (1, None, None)
    assert outcome["customerVersion"] is None
    assert second.answer.row.kind is RowKind.REUSED
    assert world.entries == {1: {("line", "x", "INSTORE", "")}}


def test_white_space_makes_another_body(world: World) -> None:
    message = world.message(UPDATE)
    world.batch([message])
    (said,) = world.batch([again(message, value=message.value + b" ")])
    assert said.errors == [("REQUEST_ID_REUSED", "/requestId")]


def test_each_reuse_is_answered_under_one_id(world: World) -> None:
    world.send(UPDATE)
    first, second = world.send(UPDATE | {"add": Y}), world.send(UPDATE | {"add": Y})
    ids = {headers_of(said.record("update-outcomes"))["ce_id"] for said in (first, second)}
    assert len(ids) == 1
    assert not any(DUPLICATE in said.record("update-outcomes").headers for said in (first, second))


def test_the_first_body_keeps_the_id(world: World) -> None:
    message = world.message(UPDATE)
    world.batch([message])
    world.send(UPDATE | {"add": Y})
    (said,) = world.batch([again(message)])
    assert said.status == "applied"


def test_one_ledger_serves_all_three_topics(world: World) -> None:
    world.send(UPDATE)
    said = world.register(5, requestId="r")
    assert (said.errors, said.topics) == ([("REQUEST_ID_REUSED", "/requestId")], ["registration-outcomes"])
    said = world.register_card("C", requestId="r")
    assert said.errors == [("REQUEST_ID_REUSED", "/requestId")]
    assert said.outcome["seriesId"] == 163
    assert said.record("registration-outcomes").key == b"7:card:C"


def test_a_reuse_is_judged_before_the_catalog(world: World) -> None:
    world.send(UPDATE)
    assert world.send(UPDATE | {"source": "NOWHERE"}).errors == [("REQUEST_ID_REUSED", "/requestId")]


def test_an_org_that_is_unknown_has_a_ledger_too(world: World) -> None:
    message = world.message(UPDATE | {"orgId": 8})
    first, second = send(world, message, again(message), batches=2)
    assert first.errors == [("UNKNOWN_ORG", "/orgId")]
    assert dict(second.record("update-outcomes").headers)["mergeline-duplicate"] == b"true"


# ---------------------------------------------------------------- what is stored


def test_the_row_of_a_decided_request(world: World) -> None:
    message = world.message(UPDATE | {"requestedAt": "2026-11-21T10:00:00+01:00"})
    said = world.batch([message])[0]
    stored = said.answer.row
    assert (stored.org_id, stored.request_id, stored.kind) == (ORG, "r", RowKind.DECIDED)
    assert (stored.status, stored.detail) == ("applied", None)
    assert (stored.origin, stored.at, stored.decided_at) == (message.origin, message.at, NOW)
    assert stored.requested_at == NOW.replace(hour=9, microsecond=0)
    assert stored.outgoing == said.records


def test_requested_at_has_no_effect(world: World) -> None:
    assert world.send(UPDATE | {"requestedAt": "1999-01-01T00:00:00Z"}).outcome["occurredAt"].startswith("2026")


def test_the_merge_goes_with_the_verdict(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    assert world.send(UPDATE).verdict.decision.merge.survivor_id == 2
    assert world.update(2, add=Y).verdict.decision.merge is None


# ---------------------------------------------------------------- dead letters


def dead(world: World, value: bytes | None = b"[", **fields: object) -> Message:
    return world.message(value, **fields)


def test_a_dead_letter_is_the_message_byte_for_byte_with_headers(world: World) -> None:
    message = dead(world, b"\xff\x00", key=b"k\x00", headers=(("own", b"\xfe"), ("own", None)))
    (said,) = world.batch([message])
    (record,) = said.records
    assert (record.topic, record.key, record.value) == ("identifier-updates-dlt", b"k\x00", b"\xff\x00")
    assert record.headers == (
        ("own", b"\xfe"),
        ("own", None),
        ("kafka_dlt-original-topic", b"mergeline.identifier-updates"),
        ("kafka_dlt-original-partition", b"0"),
        ("kafka_dlt-original-offset", b"0"),
        ("kafka_dlt-original-timestamp", b"1795255200000"),
        ("kafka_dlt-exception-fqcn", b"mergeline.MALFORMED_JSON"),
        ("kafka_dlt-exception-message", b"MALFORMED_JSON: not UTF-8 at byte 0"),
    )


@pytest.mark.parametrize(("key", "value"), [(None, None), (b"", b"")])
def test_what_is_null_stays_null_and_what_is_empty_stays_empty(
    world: World, key: bytes | None, value: bytes | None
) -> None:
    (said,) = world.batch([dead(world, value, key=key)])
    assert [(record.key, record.value) for record in said.records] == [(key, value)]


@pytest.mark.parametrize("topic", [Topic.IDENTIFIER_UPDATES, Topic.CUSTOMER_REGISTRATIONS, Topic.CARD_REGISTRATIONS])
def test_dead_letters_go_to_the_topic_of_their_topic(world: World, topic: Topic) -> None:
    said = world.send(b"[", topic)
    assert said.topics == [f"{topic}-dlt"]


@pytest.mark.parametrize(
    ("value", "org_id", "code"),
    [
        pytest.param(b"[", 0, "MALFORMED_JSON", id="no org where there is no JSON"),
        pytest.param(None, 0, "MALFORMED_JSON", id="no value"),
        pytest.param(b'{"orgId": 7}', 7, "INVALID_REQUEST", id="the org it names"),
        pytest.param(b" " * 70_000, 0, "TOO_LARGE", id="too large"),
    ],
)
def test_a_dead_letter_has_a_row_under_its_derived_id(
    world: World, value: bytes | None, org_id: int, code: str
) -> None:
    said = world.batch([dead(world, value)])[0]
    stored = said.answer.row
    assert (stored.org_id, stored.request_id, stored.kind) == (org_id, "identifier-updates-0-0", RowKind.DEAD_LETTER)
    assert (stored.status, stored.outgoing) == (code, ())
    assert said.answer.kind == "dead_letter"


def test_a_dead_letter_of_a_message_that_names_an_id_has_its_derived_id(world: World) -> None:
    said = world.send(UPDATE | {"add": []})
    assert said.answer.row.request_id == "identifier-updates-0-0"
    assert world.send(UPDATE).status == "applied"


def test_a_dead_letter_is_answered_again_and_dropped_like_any_message(world: World, batches: int) -> None:
    message = dead(world)
    first, second, third = send(world, message, message, replace(message, at=OTHER_AT), batches=batches)
    assert second.records == first.records
    assert third.records == ()
    assert len(world.rows.ledger) == 1


def test_a_stricter_or_laxer_decoder_does_not_change_an_answer(world: World) -> None:
    """The row of its place answers a message, whatever the decoder says of it by now."""
    body = {name: value for name, value in UPDATE.items() if name != "requestId"}
    message = world.message(body)
    first = world.batch([message])[0]
    world.rows.ledger[0] = replace(
        world.rows.ledger[0], kind=RowKind.DEAD_LETTER, status="INVALID_REQUEST", detail="/x: was wrong", outgoing=()
    )
    (second,) = world.batch([message])
    assert first.status == "applied"
    assert second.topics == ["identifier-updates-dlt"]
    assert dict(second.records[0].headers)["kafka_dlt-exception-message"] == b"INVALID_REQUEST: /x: was wrong"


def test_org_0_is_the_home_of_nobody_else(world: World) -> None:
    """Two messages that name no org have different derived ids, and a request cannot name org 0."""
    world.batch([dead(world), dead(world)])
    assert [(stored.org_id, stored.request_id) for stored in world.rows.ledger] == [
        (0, "identifier-updates-0-0"),
        (0, "identifier-updates-0-1"),
    ]


def test_a_request_that_names_a_derived_id_meets_no_dead_letter(world: World) -> None:
    world.batch([dead(world, b'{"orgId": 7}')])
    said = world.send(UPDATE | {"requestId": "identifier-updates-0-0"})
    assert said.status == "applied"


def test_a_request_that_cannot_be_processed_has_a_dead_letter_and_its_id_is_free(world: World) -> None:
    message = world.message(UPDATE)
    reason = DeadLetterReason(DeadLetterCode.PROCESSING_FAILED, "this request alone makes its batch fail", ORG)
    (said,) = world.decide([DeadLetter(message, reason, "r")])
    headers = dict(said.record("identifier-updates-dlt").headers)
    assert headers["kafka_dlt-exception-message"].startswith(b"PROCESSING_FAILED: ")
    (redriven,) = world.batch([again(message)])
    assert (redriven.status, "mergeline-duplicate" in headers_of(redriven.record("update-outcomes"))) == (
        "applied",
        False,
    )


def test_dead_letters_between_requests_leave_them_alone(world: World) -> None:
    world.card("C")
    messages = [world.message(UPDATE), dead(world), world.message(UPDATE | {"requestId": "s", "add": issue("C")})]
    assert [said.topics[-1] for said in world.batch(messages)] == [
        "update-outcomes",
        "identifier-updates-dlt",
        "update-outcomes",
    ]
    assert json.loads(world.rows.ledger[2].outgoing[-1].value)["customerVersion"] == 2
