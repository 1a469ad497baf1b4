"""The short way of a plain update against the long one: nothing is read by it that the long way reads otherwise."""

import json
from unittest import mock

import pytest
from hypothesis import event, example, given, note
from hypothesis import strategies as st
from msgspec import NODEFAULT, structs
from tests.property import worlds

from mergeline.domain import plain
from mergeline.domain.commands import Request
from mergeline.domain.decode import decode
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message
from mergeline.domain.plain import PlainItem, PlainUpdate
from mergeline.domain.requests import IDENTIFIERS_MAX, IdentifierUpdate, Item
from mergeline.domain.vocabulary import Topic

AT = Coordinate(Topic.IDENTIFIER_UPDATES, 0, 7)
TEXTS = st.sampled_from(
    [
        *("line", "email", "cardnumber", "cardNumber", "x", " x ", "a:b", "null", '"', "\\", "\n", "", " ", "\u3000"),
        *("\x00", "\x7f", "\x85", "\x9f", "\u00a0", "\u00bf", "\u00e9", "\u6f22", "\U0001f600", "\ud800"),
        *("x" * 128, "x" * 129, "x" * 255, "x" * 256, "\U0001f600" * 255, "\U0001f600" * 256, "r-1", "r 1"),
        *("2026-11-21T10:00:00Z", "2026-11-21t10:00:60.1234567+08:00", "2026-02-30T10:00:00Z", "2026-11-21"),
    ]
)
NUMBERS = st.sampled_from([0, 1, -1, 163, 1.0, 1e2, 2**63 - 1, 2**63, 2**64, 10**40])
SCALARS = st.one_of(TEXTS, NUMBERS, st.sampled_from([None, True, False]))
ITEM_NAMES = st.sampled_from(["type", "value", "seriesId", "seriesCode", "statusLabel"])
NAMES = st.sampled_from(
    ["requestId", "orgId", "customerId", "source", "accountId", "add", "remove", "requestedAt", "org_id", "Add", ""]
)


class Fields(list):
    """An object as its fields in order, in which a key may stand twice."""


def fields_of(value: object) -> object:
    if isinstance(value, dict):
        return Fields((name, fields_of(inner)) for name, inner in value.items())
    return [fields_of(inner) for inner in value] if isinstance(value, list) else value


def written(value: object, space: str, *, ascii_: bool) -> str:
    """The JSON text, with white space wherever there may be some."""
    if isinstance(value, Fields):
        pairs = (f"{json.dumps(name)}{space}:{space}{written(inner, space, ascii_=ascii_)}" for name, inner in value)
        return f"{{{space}" + f"{space},{space}".join(pairs) + f"{space}}}"
    if isinstance(value, list):
        items = (written(inner, space, ascii_=ascii_) for inner in value)
        return f"[{space}" + f"{space},{space}".join(items) + f"{space}]"
    return json.dumps(value, ensure_ascii=ascii_)


def lists_of(draw: st.DrawFn, body: Fields) -> list[list]:
    """The object itself, its lists, and the objects in them."""
    found: list[list] = [body]
    for _, value in body:
        if isinstance(value, list):
            found += [value, *(item for item in value if isinstance(item, list))]
    return found


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Updates with up to four fields more, twice, less or other, in every way to write them, at times torn."""
    body = fields_of(draw(worlds.UPDATES))
    for _ in range(draw(st.integers(0, 4))):
        places = lists_of(draw, body)
        place = places[draw(st.integers(0, len(places) - 1))]
        if place and draw(st.booleans()):
            place.pop(draw(st.integers(0, len(place) - 1)))
        elif isinstance(place, Fields):
            name = draw(NAMES if place is body else ITEM_NAMES)
            item = Fields([("type", draw(TEXTS)), ("value", draw(TEXTS))])
            value = draw(st.one_of(SCALARS, st.sampled_from([item, [item], [item] * IDENTIFIERS_MAX, [], [[]]])))
            place.insert(draw(st.integers(0, len(place))), (name, value))
        else:
            place.append(draw(SCALARS))
    text = written(body, draw(st.sampled_from(["", "", "", " ", "\n\t"])), ascii_=draw(st.booleans()))
    data = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(data)))
        data = (
            data[:at] + draw(st.sampled_from([b"", b'"', b"\\", b"\xff", b"\xc2\x85", b"\x7f", b",", b"0"])) + data[at:]
        )
    return data


def verdict(data: bytes) -> Request | DeadLetterReason:
    return decode(Message(AT, AT, 0, None, data))


def verdict_of_the_long_way(data: bytes) -> Request | DeadLetterReason:
    with mock.patch.object(plain, "read", return_value=None):
        return verdict(data)


@given(bodies())
@example(b'{"orgId":1,"orgId":1,"customerId":2,"source":"s","add":{"type":"line","value":"x"}}')
@example(b'{"orgId":1,"orgId" :1,"customerId":2,"source":"null","add":{"type":"line","value":"x"}}')
@example(b'{"orgId":1,"customerId":2,"source":"s","add":{"type":"line","value":"x","value":"x"}}')
@example(b'{"orgId":1,"customerId":2,"source":"s","add":{"type":"line","value":"x"},"add":null}')
@example(b'{"orgId":1,"customerId":2,"source":"s","add":{"type":"line","value":"x"},"requestedAt":""}')
@example(b'{"orgId":1,"customerId":2,"source":"s","add":{"type":"line","value":"x"},"requestId":""}')
@example(b'{"orgId":1,"customerId":2,"source":"s","add":{"type":"line","value":" "}}')
@example('{"orgId":1,"customerId":2,"source":"s","add":{"type":"line","value":"\u0085x"}}'.encode())
@example(b'{"orgId":1,"customerId":2,"source":"s","add":{"type":"line","value":"\x7fx"}}')
@example(b'{"orgId":1,"customerId":2,"source":"s","add":{"type":"line","value":"x\\ny"}}')
@example('{"orgId":1,"customerId":2,"source":"s","requestId":"r\u00e9","add":{"type":"line","value":"x"}}'.encode())
@example(b'{"orgId":1,"customerId":2,"source":"s","requestId":"r 1","add":{"type":"line","value":"x"}}')
@example(b'{"orgId":1,"customerId":2,"source":"s","add":[' + b",".join([b'{"type":"line","value":"x"}'] * 65) + b"]}")
def test_both_ways_agree(data: bytes) -> None:
    short, long = verdict(data), verdict_of_the_long_way(data)
    event(f"plain: {plain.read(data) is not None}, {type(long).__name__}")
    note(repr((short, long)))
    assert short == long


@given(worlds.UPDATES)
def test_what_is_usual_is_plain(body: dict) -> None:
    """Without this the short way could be closed, and nothing would say so."""
    data = json.dumps(body, ensure_ascii=False).encode()
    odd = b"\\" in data or b"\xc2" in data
    assert (plain.read(data) is None) == odd or isinstance(verdict_of_the_long_way(data), DeadLetterReason)


@pytest.mark.parametrize(("struct", "model"), [(PlainUpdate, IdentifierUpdate), (PlainItem, Item)])
def test_both_ways_know_the_same_fields(struct: type, model: type) -> None:
    read = {field.encode_name: field.default is NODEFAULT for field in structs.fields(struct)}
    assert read == {field.alias: field.is_required() for field in model.model_fields.values()}
