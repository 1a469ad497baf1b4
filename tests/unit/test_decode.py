"""From bytes to a command, or the reason why not: one row a rule (SPEC sections 2, 3 and 7)."""

import hashlib
import json
from datetime import UTC, datetime

import pytest

from mergeline.domain.commands import NamedCard, NamedIdentifier, RegisterCard, RegisterCustomer, Request
from mergeline.domain.decode import BYTES_MAX, decode
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message
from mergeline.domain.requests import IdentifierType
from mergeline.domain.vocabulary import Topic

ABSENT = object()
WECHAT = {"type": "wechat", "value": "TS11"}
UPDATE = {"orgId": 7, "customerId": 1, "source": "INSTORE", "add": WECHAT}
CUSTOMER = {"orgId": 7, "customerId": 1, "source": "INSTORE"}
CARD = {"orgId": 7, "seriesId": 163, "cardNumber": "C1"}
GOLD = {"type": "cardnumber", "value": "C1", "seriesId": 163, "statusLabel": "ACTIVE"}


def item(kind: str = "wechat", value: object = "TS11", **fields: object) -> dict:
    return {"type": kind, "value": value, **fields}


def decoded(body: object, topic: str = Topic.IDENTIFIER_UPDATES) -> Request | DeadLetterReason:
    value = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    at = Coordinate(topic, 3, 1207)
    return decode(Message(at, at, 0, None, value))


def changed(base: dict, fields: dict) -> dict:
    return {name: value for name, value in (base | fields).items() if value is not ABSENT}


def update(**fields: object) -> Request | DeadLetterReason:
    return decoded(changed(UPDATE, fields))


# ---------------------------------------------------------------- well-formed


@pytest.mark.parametrize(
    ("fields", "adds", "removes"),
    [
        pytest.param({"add": item()}, [("/add", "TS11")], [], id="one object"),
        pytest.param({"add": [item()]}, [("/add/0", "TS11")], [], id="a list of one"),
        pytest.param(
            {"add": [item(), item(value="TS12")]}, [("/add/0", "TS11"), ("/add/1", "TS12")], [], id="a list of two"
        ),
        pytest.param({"add": ABSENT, "remove": item()}, [], [("/remove", "TS11")], id="remove alone"),
        pytest.param({"add": None, "remove": [item()]}, [], [("/remove/0", "TS11")], id="null is left out"),
        pytest.param({"add": [], "remove": [item()]}, [], [("/remove/0", "TS11")], id="an empty list is left out"),
        pytest.param(
            {"remove": item("email")}, [("/add", "TS11")], [("/remove", "TS11")], id="the same value of another type"
        ),
        pytest.param({"add": [item(), item()]}, [("/add/0", "TS11")], [], id="twice counts once, the first is named"),
        pytest.param({"add": [item(), item(value=" TS11 ")]}, [("/add/0", "TS11")], [], id="twice, once trimmed"),
        pytest.param(
            {"add": [item(), item(value="ts11")]}, [("/add/0", "TS11"), ("/add/1", "ts11")], [], id="case counts"
        ),
        pytest.param(
            {"remove": [item(value="A"), item(value="A")]},
            [("/add", "TS11")],
            [("/remove/0", "A")],
            id="twice in remove",
        ),
        pytest.param({"add": item(value="\u00a0\u2003 TS 11\u3000\u2028")}, [("/add", "TS 11")], [], id="trimmed"),
        pytest.param({"add": item(value="x" * 255)}, [("/add", "x" * 255)], [], id="255 code points"),
        pytest.param({"add": item(value="\U0001f600" * 255)}, [("/add", "\U0001f600" * 255)], [], id="255 of 4 bytes"),
        pytest.param(
            {"add": item(seriesId=None, seriesCode=None, statusLabel=None)},
            [("/add", "TS11")],
            [],
            id="null card fields are left out",
        ),
        pytest.param(
            {"add": [item(value=f"{n}") for n in range(64)]},
            [(f"/add/{n}", f"{n}") for n in range(64)],
            [],
            id="64 identifiers",
        ),
    ],
)
def test_items_and_their_paths(fields: dict, adds: list, removes: list) -> None:
    command = update(**fields).command
    assert [(named.path, named.value) for named in command.adds] == adds
    assert [(named.path, named.value) for named in command.removes] == removes


@pytest.mark.parametrize("kind", IdentifierType.__args__)
def test_every_identifier_type(kind: str) -> None:
    assert update(add=item(kind)).command.adds == (NamedIdentifier("/add", kind, "TS11"),)


def test_the_identifier_types_are_those_of_the_specification() -> None:
    names = "mobile email externalId wechat martjackId fbId tmall_uname cuid ali_uname jd_uname vip_uname line unionId"
    assert set(IdentifierType.__args__) == set(names.split())


@pytest.mark.parametrize(
    ("fields", "adds", "removes"),
    [
        pytest.param({"add": GOLD}, [NamedCard("/add", "C1", 163, None, "ACTIVE")], [], id="add"),
        pytest.param(
            {"add": GOLD | {"type": "cardNumber"}},
            [NamedCard("/add", "C1", 163, None, "ACTIVE")],
            [],
            id="the other spelling",
        ),
        pytest.param(
            {"add": changed(GOLD, {"seriesId": None, "seriesCode": "GOLD"})},
            [NamedCard("/add", "C1", None, "GOLD", "ACTIVE")],
            [],
            id="by series code",
        ),
        pytest.param(
            {"add": GOLD | {"value": " C1 "}}, [NamedCard("/add", "C1", 163, None, "ACTIVE")], [], id="trimmed"
        ),
        pytest.param(
            {"add": ABSENT, "remove": item("cardnumber", "C1")},
            [],
            [NamedCard("/remove", "C1", None, None, None)],
            id="remove without series and label",
        ),
        pytest.param(
            {"add": ABSENT, "remove": GOLD},
            [],
            [NamedCard("/remove", "C1", 163, None, "ACTIVE")],
            id="remove with both",
        ),
        pytest.param(
            {"add": [GOLD, GOLD | {"type": "cardNumber"}]},
            [NamedCard("/add/0", "C1", 163, None, "ACTIVE")],
            [],
            id="twice, spelt twice",
        ),
        pytest.param(
            {"add": [item(), GOLD]}, [NamedCard("/add/1", "C1", 163, None, "ACTIVE")], [], id="beside an identifier"
        ),
    ],
)
def test_cards_and_their_paths(fields: dict, adds: list, removes: list) -> None:
    command = update(**fields).command
    assert list(command.card_adds) == adds
    assert list(command.card_removes) == removes


@pytest.mark.parametrize("field", ["source", "accountId"])
@pytest.mark.parametrize("text", ["x", " Mixed Case ", "x" * 255, "\u00a0"])
def test_names_are_kept_exactly(field: str, text: str) -> None:
    command = update(**{field: text}).command
    assert {"source": command.source, "accountId": command.account_id}[field] == text


@pytest.mark.parametrize("field", ["orgId", "customerId"])
@pytest.mark.parametrize("number", [1, 2**63 - 1])
def test_ids_are_64_bit_positive(field: str, number: int) -> None:
    command = update(**{field: number}).command
    assert {"orgId": command.org_id, "customerId": command.customer_id}[field] == number


@pytest.mark.parametrize("field", ["requestId", "accountId", "remove", "requestedAt"])
def test_null_in_an_optional_field_is_left_out(field: str) -> None:
    assert update(**{field: None}).command == update().command


@pytest.mark.parametrize("request_id", ["x", "7d943c51-e4ff-4e57-9558-08cab6b963c7", "!~", "x" * 128])
def test_the_request_id_is_that_of_the_message(request_id: str) -> None:
    assert update(requestId=request_id).request_id == request_id


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        (Topic.IDENTIFIER_UPDATES, UPDATE),
        (Topic.CUSTOMER_REGISTRATIONS, CUSTOMER),
        (Topic.CARD_REGISTRATIONS, CARD),
    ],
)
def test_a_request_id_left_out_is_topic_partition_offset(topic: str, body: dict) -> None:
    assert decoded(body, topic).request_id == f"{topic}-3-1207"


def test_the_body_hash_is_the_sha256_of_the_bytes() -> None:
    body = b' {"orgId":7,"customerId":1,"source":"INSTORE","add":{"type":"wechat","value":"TS11"}}\n'
    assert decoded(body).body_sha256 == hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        pytest.param("2026-11-21T10:00:00Z", (2026, 11, 21, 10), id="full hour"),
        pytest.param("2026-11-21T10:00:10Z", (2026, 11, 21, 10, 0, 10), id="a zero at the end"),
        pytest.param("2026-01-01T00:00:00Z", (2026, 1, 1), id="nothing but zeros"),
        pytest.param("2026-11-21T10:20:30.5Z", (2026, 11, 21, 10, 20, 30, 500_000), id="a fraction"),
        pytest.param("2026-11-21T10:20:30.000000Z", (2026, 11, 21, 10, 20, 30), id="a fraction of zeros"),
        pytest.param("2026-11-21T10:20:30.000001Z", (2026, 11, 21, 10, 20, 30, 1), id="a microsecond"),
        pytest.param("2026-11-21T10:20:30.123456789Z", (2026, 11, 21, 10, 20, 30, 123_456), id="nanoseconds are cut"),
        pytest.param("2026-11-21T18:00:00+08:00", (2026, 11, 21, 10), id="an offset"),
        pytest.param("2026-11-21T00:30:00-09:30", (2026, 11, 21, 10), id="a negative offset"),
        pytest.param("2026-11-21T10:00:00-00:00", (2026, 11, 21, 10), id="the unknown offset"),
        pytest.param("2026-11-21t10:00:00z", (2026, 11, 21, 10), id="small letters"),
        pytest.param("2016-12-31T23:59:60Z", (2016, 12, 31, 23, 59, 59), id="a leap second is the one before"),
        pytest.param("2016-12-31T23:59:60.25Z", (2016, 12, 31, 23, 59, 59, 250_000), id="inside a leap second"),
        pytest.param("2024-02-29T00:00:00Z", (2024, 2, 29), id="a leap day"),
        pytest.param("0001-01-01T00:00:00Z", (1, 1, 1), id="the first day"),
        pytest.param("9999-12-31T23:59:59Z", (9999, 12, 31, 23, 59, 59), id="the last second"),
    ],
)
def test_times(text: str, instant: tuple[int, ...]) -> None:
    assert update(requestedAt=text).command.requested_at == datetime(*instant, tzinfo=UTC)


def test_customer_registration() -> None:
    body = CUSTOMER | {
        "source": "WECHAT",
        "accountId": "brand-a",
        "identifiers": [item(), item("email", " a@b.example "), item()],
        "registeredAt": "2026-11-21T10:00:00Z",
        "requestId": "r1",
    }
    request = decoded(body, Topic.CUSTOMER_REGISTRATIONS)
    assert request.request_id == "r1"
    assert request.command == RegisterCustomer(
        org_id=7,
        customer_id=1,
        source="WECHAT",
        account_id="brand-a",
        adds=(
            NamedIdentifier("/identifiers/0", "wechat", "TS11"),
            NamedIdentifier("/identifiers/1", "email", "a@b.example"),
        ),
        registered_at=datetime(2026, 11, 21, 10, tzinfo=UTC),
    )


@pytest.mark.parametrize("identifiers", [ABSENT, None, []])
def test_a_customer_can_be_registered_without_identifiers(identifiers: object) -> None:
    request = decoded(changed(CUSTOMER, {"identifiers": identifiers}), Topic.CUSTOMER_REGISTRATIONS)
    assert request.command.adds == ()


def test_card_registration() -> None:
    body = CARD | {"cardNumber": " C1 ", "cardExternalId": " E1 ", "statusLabel": "Back", "requestId": "r1"}
    request = decoded(body, Topic.CARD_REGISTRATIONS)
    assert request.request_id == "r1"
    assert request.command == RegisterCard(7, "C1", 163, None, " E1 ", "Back")


def test_card_registration_by_series_code() -> None:
    body = changed(CARD, {"seriesId": ABSENT, "seriesCode": "GOLD"})
    assert decoded(body, Topic.CARD_REGISTRATIONS).command == RegisterCard(7, "C1", None, "GOLD", None, None)


# ---------------------------------------------------------------- dead letters

MANY = [item(value=f"{n}") for n in range(65)]
DEEP_16 = json.loads("[" * 15 + "]" * 15)
DEAD_LETTERS = [
    # Size, then UTF-8 and JSON, then depth, then count, then the rest.
    pytest.param(b" " * (BYTES_MAX + 1), "TOO_LARGE", "65537 bytes", id="over 64 KiB, and no JSON"),
    pytest.param(json.dumps(UPDATE).encode() + b" " * BYTES_MAX, "TOO_LARGE", "", id="over 64 KiB by white space"),
    pytest.param(None, "MALFORMED_JSON", "no value", id="no value (a tombstone)"),
    pytest.param(b"", "MALFORMED_JSON", "no value", id="an empty value"),
    pytest.param(b"CANARY", "MALFORMED_JSON", "not JSON", id="no JSON"),
    pytest.param(b"\xff", "MALFORMED_JSON", "not UTF-8", id="not UTF-8"),
    pytest.param(b'{"orgId": NaN}', "MALFORMED_JSON", "NaN", id="NaN"),
    pytest.param(b'{"CANARY": 1, "CANARY": 1}', "MALFORMED_JSON", "a key twice", id="duplicate key"),
    pytest.param(b"[" * 60_000, "MALFORMED_JSON", "not JSON", id="JSON is judged before depth"),
    pytest.param(UPDATE | {"x": [DEEP_16]}, "TOO_LARGE", "nested deeper than 16", id="depth 17"),
    pytest.param(UPDATE | {"x": DEEP_16}, "INVALID_REQUEST", "/: unknown field", id="depth 16 is judged further"),
    pytest.param({"x": [DEEP_16], "add": MANY}, "TOO_LARGE", "nested", id="depth is judged before count"),
    pytest.param(UPDATE | {"add": MANY}, "TOO_LARGE", "65 identifiers", id="65 identifiers"),
    pytest.param(UPDATE | {"add": MANY[:40], "remove": MANY[40:]}, "TOO_LARGE", "65 ", id="40 and 25"),
    pytest.param(UPDATE | {"add": MANY[:64], "remove": WECHAT}, "TOO_LARGE", "65 ", id="64 and one object"),
    pytest.param(UPDATE | {"add": [WECHAT] * 65}, "TOO_LARGE", "65 ", id="counted before duplicates are folded"),
    pytest.param({"add": MANY}, "TOO_LARGE", "65 ", id="count is judged before the rest"),
    pytest.param(
        UPDATE | {"identifiers": MANY},
        "INVALID_REQUEST",
        '/: unknown field "identifiers": it belongs to customer-registrations',
        id="only lists of this kind count",
    ),
    # The shape.
    pytest.param(b"null", "INVALID_REQUEST", "/: not an object", id="null"),
    pytest.param([UPDATE], "INVALID_REQUEST", "/: not an object", id="a list"),
    pytest.param("CANARY", "INVALID_REQUEST", "/: not an object", id="a text"),
    pytest.param(7, "INVALID_REQUEST", "/: not an object", id="a number"),
    pytest.param({}, "INVALID_REQUEST", "/orgId: missing", id="an empty object"),
]
FIELDS = [
    pytest.param({"orgId": ABSENT}, "/orgId: missing", id="no org"),
    pytest.param({"customerId": ABSENT}, "/customerId: missing", id="no customer"),
    pytest.param({"source": ABSENT}, "/source: missing", id="no source"),
    pytest.param({"add": ABSENT}, "/add: at least one", id="neither add nor remove"),
    pytest.param({"add": None, "remove": None}, "/add: at least one", id="both null"),
    pytest.param({"add": [], "remove": []}, "/add: at least one", id="both empty"),
    pytest.param({"orgId": None}, "/orgId: not an integer", id="null in a required field"),
    pytest.param({"source": None}, "/source: ", id="null in a required text"),
    pytest.param({"customerId": 0}, "/customerId: ", id="id 0"),
    pytest.param({"customerId": -1}, "/customerId: ", id="id -1"),
    pytest.param({"customerId": 2**63}, "/customerId: ", id="id past 64 bits"),
    pytest.param({"customerId": 10**30}, "/customerId: ", id="id of 31 digits"),
    pytest.param({"customerId": 1.0}, "/customerId: not an integer", id="id with a fraction"),
    pytest.param({"customerId": "1"}, "/customerId: not an integer", id="id as text"),
    pytest.param({"customerId": True}, "/customerId: not an integer", id="id true"),
    pytest.param({"source": ""}, "/source: ", id="empty source"),
    pytest.param({"source": "x" * 256}, "/source: ", id="source of 256 characters"),
    pytest.param({"source": "CAN\u0000ARY"}, "/source: a character", id="NUL in the source"),
    pytest.param({"source": "CANARY\ud800"}, "/source: a lone surrogate", id="lone surrogate in the source"),
    pytest.param({"source": 7}, "/source: ", id="source as number"),
    pytest.param({"accountId": ""}, "/accountId: ", id="empty account"),
    pytest.param({"accountId": "x" * 256}, "/accountId: ", id="account of 256 characters"),
    pytest.param({"accountId": "a\u0085"}, "/accountId: a character", id="control character in the account"),
    pytest.param({"requestId": ""}, "/requestId: ", id="empty request id"),
    pytest.param({"requestId": "x" * 129}, "/requestId: ", id="request id of 129 characters"),
    pytest.param({"requestId": "CANARY 1"}, "/requestId: a character", id="request id with a space"),
    pytest.param({"requestId": "CANARY\n"}, "/requestId: a character", id="request id with a line feed"),
    pytest.param({"requestId": "\u00e4"}, "/requestId: a character", id="request id beyond ASCII"),
    pytest.param({"requestId": "\u007f"}, "/requestId: a character", id="request id with 0x7F"),
    pytest.param({"requestId": 7}, "/requestId: ", id="request id as number"),
    pytest.param({"CANARY": 1}, "/: unknown field", id="unknown field"),
    pytest.param({"CANARY": None}, "/: unknown field", id="unknown field, null"),
    pytest.param({"Add": WECHAT}, '/: unknown field; is "add" meant?', id="misspelt add"),
    pytest.param({"customer_id": 1}, '/: unknown field; is "customerId" meant?', id="another style"),
    pytest.param({"CANARY\ud800": 1}, "/: ", id="lone surrogate in a field name"),
    # Items.
    pytest.param({"add": "CANARY"}, "/add: not a list", id="add as text"),
    pytest.param({"add": ["CANARY"]}, "/add/0: not an object", id="item as text"),
    pytest.param({"add": [None]}, "/add/0: not an object", id="item null"),
    pytest.param({"add": [[WECHAT]]}, "/add/0: not an object", id="item in two lists"),
    pytest.param({"add": {}}, "/add/type: missing", id="empty item"),
    pytest.param({"add": [WECHAT, {"type": "wechat"}]}, "/add/1/value: missing", id="no value"),
    pytest.param({"add": item("CANARY")}, "/add/type: not one of mobile, email, ", id="unknown type"),
    pytest.param({"add": item("Mobile")}, "/add/type: not one of mobile, email, ", id="type in another case"),
    pytest.param({"add": item("CardNumber")}, "/add/type: not one of mobile, email, ", id="card in another case"),
    pytest.param({"add": [item(7)]}, "/add/0/type: ", id="type as number"),
    pytest.param({"add": item(value=7)}, "/add/value: not a string", id="value as number"),
    pytest.param({"add": item(value=None)}, "/add/value: ", id="value null"),
    pytest.param({"add": item(value="")}, "/add/value: ", id="empty value"),
    pytest.param({"add": item(value=" \u3000")}, "/add/value: empty after trimming", id="empty after trimming"),
    pytest.param({"add": item(value="x" * 256)}, "/add/value: ", id="256 code points"),
    pytest.param({"add": item(value="\U0001f600" * 256)}, "/add/value: ", id="256 code points of 4 bytes"),
    pytest.param({"add": item(value=" " + "x" * 255)}, "/add/value: ", id="256 code points as sent"),
    pytest.param({"add": item(value="CAN\u0000ARY")}, "/add/value: a character", id="NUL"),
    pytest.param({"add": item(value="CANARY\n")}, "/add/value: a character", id="line feed at the end"),
    pytest.param({"add": item(value="CANARY\u007f")}, "/add/value: a character", id="delete"),
    pytest.param({"add": item(value="CANARY\u009f")}, "/add/value: a character", id="C1 control"),
    pytest.param({"add": item(value="CANARY\udc00")}, "/add/value: a lone surrogate", id="lone surrogate"),
    pytest.param({"add": item(CANARY=1)}, "/add: unknown field", id="unknown field of an item"),
    pytest.param({"add": [item(seriesid=1)]}, '/add/0: unknown field; is "seriesId" meant?', id="misspelt series"),
    pytest.param({"remove": item(x=1)}, "/remove: unknown field", id="unknown field of an item to remove"),
    # Cards.
    pytest.param({"add": item("cardnumber", statusLabel="A")}, "/add/seriesId: needed", id="card without series"),
    pytest.param({"add": item("cardnumber", seriesId=1)}, "/add/statusLabel: needed", id="card without label"),
    pytest.param({"add": GOLD | {"seriesId": 0}}, "/add/seriesId: ", id="series 0"),
    pytest.param({"add": GOLD | {"statusLabel": ""}}, "/add/statusLabel: ", id="empty label"),
    pytest.param({"add": GOLD | {"statusLabel": "x" * 256}}, "/add/statusLabel: ", id="label of 256 characters"),
    pytest.param({"add": GOLD | {"seriesCode": "G"}}, "/add/seriesCode: ", id="series id and code"),
    pytest.param({"remove": GOLD | {"seriesCode": "G"}}, "/remove/seriesCode: ", id="series id and code to remove"),
    pytest.param({"add": item(seriesId=1)}, "/add/seriesId: belongs to cards", id="series of another type"),
    pytest.param({"add": [item(seriesCode="G")]}, "/add/0/seriesCode: belongs", id="series code of another type"),
    pytest.param({"add": item(statusLabel="A")}, "/add/statusLabel: belongs to cards", id="label of another type"),
    pytest.param({"remove": item(statusLabel="A")}, "/remove/statusLabel: belongs", id="label of another removal"),
    # The same thing twice.
    pytest.param({"remove": WECHAT}, "/add: the same identifier stands in remove", id="the same in both"),
    pytest.param({"remove": item(value=" TS11")}, "/add: the same identifier", id="the same in both, trimmed"),
    pytest.param({"add": [GOLD], "remove": item("cardNumber", "C1")}, "/add/0: the same card", id="card in both"),
    pytest.param({"add": [GOLD, GOLD | {"seriesId": 164}]}, "/add/1: the same card", id="card in two series"),
    pytest.param({"add": [GOLD, GOLD | {"statusLabel": "X"}]}, "/add/1: the same card", id="card with two labels"),
    pytest.param(
        {"add": [GOLD, changed(GOLD, {"seriesId": None, "seriesCode": "G"})]},
        "/add/1: the same card",
        id="card by series id and by code",
    ),
    pytest.param(
        {"remove": [item("cardnumber", "C1"), GOLD]},
        "/remove/1: the same card",
        id="card to remove with and without label",
    ),
    # Times.
    *(
        pytest.param({"requestedAt": text}, "/requestedAt: not a date and time of RFC 3339", id=f"time {text}")
        for text in (
            "2026-11-21",
            "2026-11-21T10:00:00",
            "2026-11-21 10:00:00Z",
            "2026-11-21T10:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T10:60:00Z",
            "2026-11-21T10:00:61Z",
            "2026-11-21T10:00:00.Z",
            "2026-11-21T10:00:00+0800",
            "2026-11-21T10:00:00+24:00",
            "2026-11-31T10:00:00Z",
            "2026-02-29T10:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "2026-11-21T10:00:00Z ",
            "\u0662026-11-21T10:00:00Z",
            "",
        )
    ),
    pytest.param({"requestedAt": 1795255200}, "/requestedAt: not a date and time of RFC 3339", id="time as number"),
]


@pytest.mark.parametrize(("body", "code", "text"), DEAD_LETTERS)
def test_no_request(body: object, code: str, text: str) -> None:
    reason = decoded(body)
    assert reason.code == code
    assert text in reason.text


@pytest.mark.parametrize(("fields", "text"), FIELDS)
def test_invalid_request(fields: dict, text: str) -> None:
    reason = update(**fields)
    assert isinstance(reason, DeadLetterReason)
    assert reason.code == "INVALID_REQUEST"
    assert reason.text.startswith(text)
    assert "CANARY" not in reason.text, "the reason repeats the content"


@pytest.mark.parametrize(
    ("base", "topic"), [(CUSTOMER, Topic.CUSTOMER_REGISTRATIONS), (CARD, Topic.CARD_REGISTRATIONS)]
)
@pytest.mark.parametrize("fields", [{"CANARY": 1}, {"orgId": 0}, {"orgId": ABSENT}, {"requestId": "a b"}])
def test_registrations_are_as_strict(base: dict, topic: str, fields: dict) -> None:
    assert decoded(changed(base, fields), topic).code == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param({"identifiers": WECHAT}, "/identifiers: not a list", id="one object is no list"),
        pytest.param({"identifiers": [GOLD]}, "/identifiers/0", id="no cards"),
        pytest.param({"identifiers": [item("cardnumber")]}, "/identifiers/0/type: not one of", id="no card numbers"),
        pytest.param({"identifiers": [item(seriesId=None)]}, "/identifiers/0: unknown field", id="no card fields"),
        pytest.param({"add": [WECHAT]}, '/: unknown field "add": it belongs to identifier-updates', id="no add"),
        pytest.param({"customerId": ABSENT}, "/customerId: missing", id="no customer"),
        pytest.param({"source": ABSENT}, "/source: missing", id="no source"),
        pytest.param({"registeredAt": "2026-11-21"}, "/registeredAt: not a date", id="a date is no time"),
        pytest.param({"requestedAt": "2026-11-21T10:00:00Z"}, "/: unknown field", id="requestedAt is of updates"),
    ],
)
def test_invalid_customer_registration(fields: dict, text: str) -> None:
    reason = decoded(changed(CUSTOMER, fields), Topic.CUSTOMER_REGISTRATIONS)
    assert reason.code == "INVALID_REQUEST"
    assert reason.text.startswith(text)


def test_a_customer_registration_has_at_most_64_identifiers() -> None:
    assert decoded(CUSTOMER | {"identifiers": MANY[:64]}, Topic.CUSTOMER_REGISTRATIONS).command
    assert decoded(CUSTOMER | {"identifiers": MANY}, Topic.CUSTOMER_REGISTRATIONS).code == "TOO_LARGE"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param({"seriesId": ABSENT}, "/seriesId: needed", id="no series"),
        pytest.param({"seriesCode": "G"}, "/seriesCode: ", id="series id and code"),
        pytest.param({"cardNumber": ABSENT}, "/cardNumber: missing", id="no number"),
        pytest.param({"cardNumber": "  "}, "/cardNumber: empty", id="empty number"),
        pytest.param({"cardNumber": 7}, "/cardNumber: ", id="number as number"),
        pytest.param({"cardNumber": "x" * 256}, "/cardNumber: ", id="number of 256 characters"),
        pytest.param({"cardExternalId": ""}, "/cardExternalId: ", id="empty external id"),
        pytest.param({"statusLabel": ""}, "/statusLabel: ", id="empty label"),
        pytest.param({"customerId": 1}, "/: unknown field", id="no customer"),
    ],
)
def test_invalid_card_registration(fields: dict, text: str) -> None:
    reason = decoded(changed(CARD, fields), Topic.CARD_REGISTRATIONS)
    assert reason.code == "INVALID_REQUEST"
    assert reason.text.startswith(text)


@pytest.mark.parametrize(
    ("fields", "org_id"),
    [
        pytest.param({"source": ABSENT}, 7, id="the org it names"),
        pytest.param({"orgId": ABSENT}, 0, id="no org"),
        pytest.param({"orgId": "7"}, 0, id="no number"),
        pytest.param({"orgId": True}, 0, id="true is no 1"),
        pytest.param({"orgId": 2**63}, 0, id="past 64 bits"),
        pytest.param({"orgId": 0}, 0, id="0"),
        pytest.param({"orgId": 7, "add": MANY}, 7, id="too many"),
    ],
)
def test_the_org_of_a_dead_letter(fields: dict, org_id: int) -> None:
    assert update(**fields).org_id == org_id


def test_a_flood_of_unknown_fields_is_one_short_reason() -> None:
    reason = decoded({f"field{n}": None for n in range(3_500)})
    assert reason.code == "INVALID_REQUEST"
    assert len(reason.text) < 100
