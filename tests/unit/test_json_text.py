"""Strict JSON: what is a text, what is malformed, what is too deep, and in which order that is judged."""

import pytest

from mergeline.domain.json_text import DEPTH_MAX, Malformed, TooDeep, parse


def nested(depth: int, opening: str = "[", closing: str = "]", core: str = "") -> bytes:
    return (opening * depth + core + closing * depth).encode()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param(b"null", None, id="null"),
        pytest.param(b"true", True, id="true"),
        pytest.param(b' {"a": [1, -2, 0.5, "x"]}\r\n\t ', {"a": [1, -2, 0.5, "x"]}, id="white space around"),
        pytest.param(b'"\\ud83d\\ude00"', "\U0001f600", id="surrogate pair"),
        pytest.param(b'"\\ud83d"', "\ud83d", id="lone surrogate is JSON (a field refuses it)"),
        pytest.param(b'"\\u0000"', "\0", id="escaped control character is JSON (a field refuses it)"),
        pytest.param(b'"\x7f"', "\x7f", id="0x7f needs no escape in JSON"),
        pytest.param("ü€\U0001f600".encode().join([b'"', b'"']), "ü€\U0001f600", id="raw UTF-8"),
        pytest.param(b"9223372036854775807", 2**63 - 1, id="largest id"),
        pytest.param(b"9223372036854775808", 2**63, id="past 64 bits stays an exact integer"),
        pytest.param(b"-0", 0, id="minus zero"),
        pytest.param(b"1e400", float("inf"), id="a number too large for a float is JSON (no field takes it)"),
        pytest.param(b'{"a": {"a": 1}}', {"a": {"a": 1}}, id="the same key in two objects"),
    ],
)
def test_accepted(text: bytes, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" \n ", id="white space"),
        pytest.param(b"{", id="torn"),
        pytest.param(b'{"a": 1,}', id="trailing comma"),
        pytest.param(b"{'a': 1}", id="single quotes"),
        pytest.param(b'{"a": 1} {"b": 2}', id="two texts"),
        pytest.param(b"01", id="leading zero"),
        pytest.param(b"+1", id="plus sign"),
        pytest.param(b".5", id="no digit before the point"),
        pytest.param(b"1.", id="no digit after the point"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b'{"a": [Infinity]}', id="Infinity inside"),
        pytest.param(b"-Infinity", id="-Infinity"),
        pytest.param(b"True", id="Python's true"),
        pytest.param(b'"a\nb"', id="raw line feed in a string"),
        pytest.param(b'"a\x00b"', id="raw NUL in a string"),
        pytest.param(b'"\\x41"', id="unknown escape"),
        pytest.param(b'"\\u12g4"', id="bad unicode escape"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b'"\xed\xa0\x80"', id="a surrogate in UTF-8"),
        pytest.param(b'"\xc0\xaf"', id="overlong UTF-8"),
        pytest.param(b"\xa0{}", id="other white space"),
        pytest.param(b'{"a": 1, "a": 1}', id="duplicate key"),
        pytest.param(b'{"a": 1, "\\u0061": 2}', id="duplicate key by an escape"),
        pytest.param(b'[{"b": {"a": 1, "c": 2, "a": 3}}]', id="duplicate key far inside"),
        pytest.param(b'{"": 1, "": 2}', id="duplicate empty key"),
    ],
)
def test_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(nested(DEPTH_MAX), id="lists"),
        pytest.param(nested(DEPTH_MAX, '{"a":', "}", "1"), id="objects"),
        pytest.param(nested(DEPTH_MAX - 1, core="{}"), id="both"),
        pytest.param(b"[" + b",".join([nested(DEPTH_MAX - 1)] * 3) + b"]", id="many of them"),
        pytest.param(b'"' + b"[" * 100 + b'"', id="brackets in a string are no depth"),
    ],
)
def test_depth_16_is_allowed(text: bytes) -> None:
    parse(text)


@pytest.mark.parametrize(
    ("opening", "closing", "core"),
    [("[", "]", ""), ("[", "]", "1"), ("[ ", "\n]", '"x"'), ('{"k":', "}", "null"), ('{"k":[{},', "]}", "1.5e3")],
)
def test_deeper_than_16_is_too_deep(opening: str, closing: str, core: str) -> None:
    for depth in (DEPTH_MAX + 1, 900, 1_000, 4_000):
        with pytest.raises(TooDeep):
            parse(nested(depth, opening, closing, core))


@pytest.mark.parametrize(
    ("opening", "closing", "core"),
    [
        pytest.param("[", "", "", id="never closed"),
        pytest.param("[", "]", "NaN", id="NaN inside"),
        pytest.param("[", "]", '{"a":1,"a":2}', id="duplicate key inside"),
        pytest.param("[", "]", "1,", id="trailing comma inside"),
        pytest.param("[", "]", ",1", id="leading comma inside"),
        pytest.param("[", "]", "1 2", id="no comma"),
        pytest.param("[", "}", "", id="wrong closing"),
        pytest.param("[", "]", '"\n"', id="raw control character inside"),
        pytest.param('{"k":', "}", "", id="no value"),
        pytest.param('{"k",', "}", "1", id="no colon"),
        pytest.param("{1:", "}", "1", id="a key that is no string"),
        pytest.param('{"j":0,"k":', ',"j":1}', "1", id="duplicate key around"),
        pytest.param('{"k":', ",}", "1", id="comma before the brace"),
        pytest.param("[", "]", "01", id="leading zero inside"),
    ],
)
def test_json_is_judged_before_depth(opening: str, closing: str, core: str) -> None:
    for depth in (17, 1_000, 4_000):
        with pytest.raises(Malformed):
            parse(nested(depth, opening, closing, core))


@pytest.mark.parametrize("after", [b"x", b"]", b",", b"[]", b"\x00"])
def test_text_after_a_deep_text_is_malformed(after: bytes) -> None:
    with pytest.raises(Malformed):
        parse(nested(5_000) + after)


@pytest.mark.parametrize("digits", [20, 21, 400, 60_000])
def test_an_integer_past_64_bits_is_never_one_that_fits(digits: int) -> None:
    value = parse(b"[" + b"9" * digits + b"]")[0]
    assert value > 2**63 - 1
    assert parse(b"[-" + b"9" * digits + b"]")[0] < 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'{"CANARY": 1, "CANARY": 2}', id="duplicate key"),
        pytest.param(b'{"a": "CANARY', id="torn"),
        pytest.param(b"[" * 5_000 + b'"CANARY"', id="deep and torn"),
    ],
)
def test_the_reason_has_no_word_of_the_text(text: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        parse(text)
    assert "CANARY" not in str(refused.value)
