"""The records of an answer as one value of the ledger, and back; `schema.sql` states the layout.

In: records, or bytes. Out: bytes, or the same records. Never: a record that comes back other than it went in, or
one read from bytes that are no such value (`Torn`).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from mergeline.domain.messages import Outgoing

LAYOUT: Final = b"\x02"


class Torn(ValueError):
    """The bytes are no records in a layout that is known."""


class Bare(NamedTuple):
    """A record whose headers are not read."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: msgspec.Raw


_ENCODER: Final = msgspec.msgpack.Encoder()
_RECORDS: Final = msgspec.msgpack.Decoder(tuple[Outgoing, ...])
_BARE: Final = msgspec.msgpack.Decoder(tuple[Bare, ...])


def pack(records: Sequence[Outgoing]) -> bytes:
    """The records as bytes."""
    return LAYOUT + _ENCODER.encode(records)


def unpack(data: bytes) -> tuple[Outgoing, ...]:
    """The records that `pack` made the bytes of."""
    try:
        return _RECORDS.decode(_content(data))
    except _UNREADABLE:
        raise Torn("the bytes are no records") from None


def unpack_bare(data: bytes) -> tuple[Bare, ...]:
    """The records that `pack` made the bytes of, without their headers: less work for who reads many."""
    try:
        return _BARE.decode(_content(data))
    except _UNREADABLE:
        raise Torn("the bytes are no records") from None


_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _content(data: bytes) -> memoryview:
    if data[:1] != LAYOUT:
        raise Torn(f"layout {data[:1].hex() or 'none'} is not known")
    return memoryview(data)[1:]
