"""Strict JSON against the parser of the standard library: the same values, the same texts, but for what is refused."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from mergeline.domain import json_text
from mergeline.domain.json_text import DEPTH_MAX, Malformed, TooDeep, parse

NUMBERS = st.one_of(st.integers(-(2**63), 2**64), st.floats(allow_nan=False, allow_infinity=False))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(st.characters(codec=None), max_size=6))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        *("{", "}", "[", "]", ",", ":", '"a"', '"b"', '"\\u0061"', '"', "\\", "\\u12"),
        *("1", "-0", "01", "1e5", "1.", ".5", "-", "+1", "true", "null", "nul", "NaN", "Infinity", "-Infinity"),
        *(" ", "\n", "\x00", "\x7f", "\ufeff", "\u00a0", "\u00e9"),
    ]
)


class Duplicate(Exception):
    pass


def unique(pairs: list[tuple[str, object]]) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise Duplicate
    return dict(pairs)


def refuse(_: str) -> None:
    raise ValueError


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def verdict_of_the_standard_library(text: str) -> object:
    """The value, or the class of error that our rules give it."""
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, Duplicate):
        return Malformed
    return TooDeep if depth_of(value) > DEPTH_MAX else value


def verdict(data: bytes) -> object:
    try:
        return parse(data)
    except (Malformed, TooDeep) as error:
        return type(error)


@given(VALUES, st.booleans(), st.sampled_from([None, 0, 1, "\t"]))
def test_what_others_write_is_read_as_they_meant_it(value: object, ascii_: bool, indent: object) -> None:
    text = json.dumps(value, ensure_ascii=ascii_, indent=indent)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # lone surrogates have no UTF-8
        data = json.dumps(value).encode()
    assert parse(data) == value


@given(st.lists(PIECES, max_size=12).map("".join))
@example('{"a":1,"a":1}')
@example("[" * 16 + "]" * 16)
@example("[" * 17 + "]" * 17)
def test_any_text_is_judged_as_the_standard_library_judges_it(text: str) -> None:
    assert verdict(text.encode()) == verdict_of_the_standard_library(text)


@given(VALUES.map(json.dumps), st.integers(0, 60), st.integers(0, 60), PIECES)
def test_a_damaged_text_is_judged_as_the_standard_library_judges_it(
    text: str, start: int, end: int, piece: str
) -> None:
    damaged = text[: min(start, end)] + piece + text[max(start, end) :]
    assert verdict(damaged.encode()) == verdict_of_the_standard_library(damaged)


@given(st.one_of(st.lists(PIECES, max_size=12).map("".join), VALUES.map(json.dumps)))
def test_the_recogniser_of_deep_texts_judges_shallow_ones_alike(text: str) -> None:
    try:
        json_text._check_without_recursion(text)
        accepted = True
    except Malformed:
        accepted = False
    assert accepted == (verdict_of_the_standard_library(text) is not Malformed)


@given(st.binary(max_size=40))
def test_no_bytes_do_anything_else_than_be_judged(data: bytes) -> None:
    verdict(data)
