"""Strict JSON: bytes to a Python value, or `Malformed` where parsers disagree.

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
    # thousands of digits is an error or slow.
    return int(digits[:20])


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_int=_integer)


def _deeper_than(value: object, depth: int) -> bool:
    """Whether lists and objects nest deeper than `depth` (a scalar has depth 0)."""
    if isinstance(value, dict):
        return depth == 0 or any(_deeper_than(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth == 0 or any(_deeper_than(item, depth - 1) for item in value)
    return False


_SPACE: Final = r"[ \t\n\r]*+"
_STRING: Final = r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_PLAIN: Final = rf"(?:{_STRING}|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|true|false|null)"
_TOKENS: Final = re.compile(
    f"{_SPACE}(?:"
    + "|".join(
        (
            r"(\[++)",
            r"(\]++)",
            rf"\{{{_SPACE}({_STRING}){_SPACE}:",
            rf"\{{{_SPACE}(\}})",
            r"(\}++)",
            rf",{_SPACE}({_STRING}){_SPACE}:",
            rf"((?:,{_SPACE}{_PLAIN}{_SPACE})++)",
            r"(,)",
            rf"({_PLAIN})",
            r"($)",
        )
    )
    + ")"
)
_OPEN_LISTS, _CLOSE_LISTS, _OPEN_OBJECT, _EMPTY_OBJECT, _CLOSE_OBJECTS = range(1, 6)
_NEXT_KEY, _NEXT_PLAIN, _COMMA, _PLAIN_VALUE, _END = range(6, 11)
_VALUE, _FIRST, _AFTER = range(3)
"""What may come: a value; a value or the end of an empty list; a comma, or the end of what is open."""


def _check_without_recursion(text: str) -> None:
    """Recognise a JSON text with a stack of our own, for texts that nest deeper than the interpreter's.

    With as few tokens as possible, for such a text is little but brackets: a run of them is one, a brace is one with
    its key, and so are the plain values of a list.

    Raises:
        Malformed: if it is no JSON.
    """
    stack: list[set[str] | None] = []  # the keys of an object; None for a list
    state, position, kind = _VALUE, 0, 0
    while kind != _END:
        token = _TOKENS.match(text, position)
        if token is None or token.lastindex is None:
            raise Malformed(f"not JSON at character {position}")
        kind = token.lastindex
        if (state == _AFTER) == (kind in _BEGINS) and not (kind == _CLOSE_LISTS and state == _FIRST):
            raise Malformed(f"not JSON at character {position}")
        if kind == _OPEN_LISTS:
            stack += [None] * len(token[kind])
            state = _FIRST
        elif kind in (_CLOSE_LISTS, _CLOSE_OBJECTS):
            _close(stack, len(token[kind]), position, objects=kind == _CLOSE_OBJECTS)
            state = _AFTER
        elif kind == _OPEN_OBJECT:
            stack.append({_key(token[kind])})
            state = _VALUE
        elif kind in _GOES_ON:
            _go_on(stack, token[kind] if kind == _NEXT_KEY else None, position)
            state = _AFTER if kind == _NEXT_PLAIN else _VALUE
        else:
            state = _AFTER
        position = token.end()
    if stack:
        raise Malformed(f"not JSON at character {position}")


_BEGINS: Final = frozenset((_OPEN_LISTS, _OPEN_OBJECT, _EMPTY_OBJECT, _PLAIN_VALUE))
"""What a value begins with."""
_GOES_ON: Final = frozenset((_NEXT_KEY, _NEXT_PLAIN, _COMMA))
"""What a list or an object goes on with."""


def _close(stack: list[set[str] | None], count: int, position: int, *, objects: bool) -> None:
    closed = stack[-count:]
    if len(closed) < count or any((keys is not None) != objects for keys in closed):
        raise Malformed(f"not JSON at character {position}")
    del stack[-count:]


def _go_on(stack: list[set[str] | None], string: str | None, position: int) -> None:
    """A comma; `string` is the key behind it, as written, in an object, and None in a list."""
    keys = stack[-1] if stack else None
    if not stack or (keys is None) != (string is None):
        raise Malformed(f"not JSON at character {position}")
    if keys is not None and string is not None:
        key = _key(string)
        if key in keys:
            raise Malformed("an object names a key twice")
        keys.add(key)


def _key(string: str) -> str:
    return str(json.loads(string)) if "\\" in string else string[1:-1]
