"""Strict JSON: bytes to a Python value, refusing what parsers disagree about.

In: the bytes of a message. Out: the value; or `Malformed` (not UTF-8, not JSON, NaN or Infinity, duplicate
keys), or `TooDeep`. Never: a value from a text that two parsers could read differently (the last of two equal
keys, a NaN), and never a crash, however deep or long the text is.
"""

import json
import re
from typing import Any, Final

DEPTH_MAX: Final = 16
"""Nested lists and objects; SPEC section 2."""


class Malformed(ValueError):
    """The text is no JSON as SPEC section 2 wants it; the message holds nothing of the text."""


class TooDeep(ValueError):
    """Valid JSON, nested deeper than `DEPTH_MAX`."""


def parse(data: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        Malformed: as above. It is judged before depth, so that a torn message is not called too large.
        TooDeep: as above.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON at character {error.pos}") from None
    except RecursionError:
        _check_without_recursion(text)
        raise TooDeep(f"nested deeper than {DEPTH_MAX}") from None
    # Counting brackets is cheap, and fewer of them than the limit cannot nest deeper.
    if text.count("{") + text.count("[") > DEPTH_MAX and _deeper_than(value, DEPTH_MAX):
        raise TooDeep(f"nested deeper than {DEPTH_MAX}")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("an object names a key twice")
    return value


def _no_constant(_: str) -> float:
    raise Malformed("NaN and Infinity are no JSON")


def _integer(digits: str) -> int:
    # No field takes what is past 64 bits, so the first 20 characters, which are, stand for a longer one: int() of
    # thousands of digits is refused or slow.
    return int(digits[:20])


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_int=_integer)


def _deeper_than(value: object, depth: int) -> bool:
    """Whether lists and objects nest deeper than `depth` (a scalar has depth 0)."""
    if isinstance(value, dict):
        return depth == 0 or any(_deeper_than(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth == 0 or any(_deeper_than(item, depth - 1) for item in value)
    return False


_TOKEN: Final = re.compile(
    r'[ \t\n\r]*(?:("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
    r"|(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)|([\[\]{},:])|($))"
)


def _check_without_recursion(text: str) -> None:
    """Recognise a JSON text with a stack of our own, for texts that nest deeper than the interpreter's.

    States: `value` (one must come), `first` (one, or the end of an empty container), `after` (a comma or the
    end of the container), `key`/`first_key`, `colon`.

    Raises:
        Malformed: if it is no JSON.
    """
    stack: list[tuple[str, set[str]]] = []
    state, position = "value", 0
    while True:
        token = _TOKEN.match(text, position)
        if token is None:
            raise Malformed(f"not JSON at character {position}")
        string, scalar, mark, end = token.groups()
        if end is not None:
            break
        state = _next_state(state, stack, string, scalar, mark)
        if state == "error":
            raise Malformed(f"not JSON at character {position}")
        position = token.end()
    if stack or state != "after":
        raise Malformed(f"not JSON at character {position}")


def _next_state(
    state: str, stack: list[tuple[str, set[str]]], string: str | None, scalar: str | None, mark: str | None
) -> str:
    if state in ("value", "first"):
        if string is not None or scalar is not None:
            return "after"
        if mark is not None and mark in "[{":
            stack.append((mark, set()))
            return "first" if mark == "[" else "first_key"
    if state in ("key", "first_key") and string is not None:
        keys = stack[-1][1]
        key = json.loads(string)
        if key in keys:
            raise Malformed("an object names a key twice")
        keys.add(key)
        return "colon"
    if state == "colon" and mark == ":":
        return "value"
    if state == "after" and mark == "," and stack:
        return "value" if stack[-1][0] == "[" else "key"
    closes = {"[": "]", "{": "}"}
    if state in ("after", "first", "first_key") and stack and mark == closes[stack[-1][0]]:
        stack.pop()
        return "after"
    return "error"
