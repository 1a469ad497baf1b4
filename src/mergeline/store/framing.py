"""The records of an answer as one value of the ledger, and back; `schema.sql` draws the layout.

In: records, or bytes. Out: bytes, or the same records. Never: a record that comes back other than it went in, or
one read from bytes that are no such value (`Torn`).
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from mergeline.domain.messages import Header, Outgoing

LAYOUT: Final = 1
NAMES_MAX: Final = 256
"""Names that are remembered as bytes: ours are few, and a producer's are not stored."""
TABLES_MAX: Final = 256
"""Shapes of answers whose table is remembered: nearly all have two or three records."""
_HEAD: Final = struct.Struct(">BI")
_FIXED_FIELDS: Final = 3
"""Topic, key and value; two more for each header."""


class Torn(ValueError):
    """The bytes are no records in a layout that is known."""


def pack(records: Sequence[Outgoing]) -> bytes:
    """The records as bytes."""
    counts: list[int] = []
    fields: list[bytes | None] = []
    for topic, key, value, headers in records:
        counts.append(_FIXED_FIELDS + 2 * len(headers))
        fields += _ENCODED[topic], key, value
        for name, header in headers:
            fields += _ENCODED[name], header
    present = [field for field in fields if field is not None]
    lengths = map(len, present) if len(present) == len(fields) else map(_length, fields)
    table = _table(len(counts), len(fields)).pack(LAYOUT, len(counts), *counts, *lengths)
    return b"".join((table, *present))


def _length(field: bytes | None) -> int:
    return -1 if field is None else len(field)


class _Encoded(dict[str, bytes]):
    """Names of topics and headers as bytes."""

    def __missing__(self, name: str) -> bytes:
        encoded = name.encode()
        if len(self) < NAMES_MAX:
            self[name] = encoded
        return encoded


_ENCODED: Final = _Encoded()


@lru_cache(TABLES_MAX)
def _table(records: int, fields: int) -> struct.Struct:
    return struct.Struct(f"{_HEAD.format}{records}H{fields}i")


def unpack(data: bytes) -> tuple[Outgoing, ...]:
    """The records that `pack` made the bytes of."""
    try:
        return _unpack(data)
    except (struct.error, UnicodeDecodeError):
        raise Torn("the bytes end early, or hold no text where a name must be") from None


def _unpack(data: bytes) -> tuple[Outgoing, ...]:
    layout, number = _HEAD.unpack_from(data)
    if layout != LAYOUT:
        raise Torn(f"layout {layout} is not known")
    counts = struct.unpack_from(f">{number}H", data, _HEAD.size)
    table_at = _HEAD.size + 2 * number
    lengths = struct.unpack_from(f">{sum(counts)}i", data, table_at)
    position = table_at + 4 * len(lengths)
    if position + sum(length for length in lengths if length > 0) != len(data):
        raise Torn("the bytes are fewer or more than their table says")
    fields: list[bytes | None] = []
    for length in lengths:
        fields.append(None if length < 0 else data[position : position + length])
        position += max(length, 0)
    records, first = [], 0
    for count in counts:
        records.append(_record(fields[first : first + count]))
        first += count
    return tuple(records)


class Bare(NamedTuple):
    """A record without its headers."""

    topic: bytes
    key: bytes
    value: bytes


def unpack_bare(data: bytes) -> list[Bare]:
    """The records that `pack` made the bytes of, without their headers: a fraction of the work, for who reads many."""
    try:
        layout, number = _HEAD.unpack_from(data)
        counts = struct.unpack_from(f">{number}H", data, _HEAD.size)
        table_at = _HEAD.size + 2 * number
        lengths = struct.unpack_from(f">{sum(counts)}i", data, table_at)
    except struct.error:
        raise Torn("the bytes end early") from None
    if layout != LAYOUT:
        raise Torn(f"layout {layout} is not known")
    at = table_at + 4 * len(lengths)
    records, first = [], 0
    for count in counts:
        if count < _FIXED_FIELDS:
            raise Torn("a record has three fields and two for each header")
        topic, key, value = (max(length, 0) for length in lengths[first : first + _FIXED_FIELDS])
        key_at, value_at = at + topic, at + topic + key
        records.append(Bare(data[at:key_at], data[key_at:value_at], data[value_at : value_at + value]))
        at = value_at + value + sum(length for length in lengths[first + _FIXED_FIELDS : first + count] if length > 0)
        first += count
    if at != len(data):
        raise Torn("the bytes are fewer or more than their table says")
    return records


def _record(fields: Sequence[bytes | None]) -> Outgoing:
    if len(fields) < _FIXED_FIELDS or len(fields) % 2 == 0:
        raise Torn("a record has three fields and two for each header")
    topic, key, value, *rest = fields
    headers: tuple[Header, ...] = tuple((_name(rest[at]), rest[at + 1]) for at in range(0, len(rest), 2))
    return Outgoing(_name(topic), key, value, headers)


def _name(field: bytes | None) -> str:
    if field is None:
        raise Torn("a name is missing")
    return field.decode()
