"""Fetched bytes to records, whatever their producer did to them.

In: the bytes of a fetch. Out: batches as aiokafka's fetcher goes through them. Never: more memory for a batch than
`UNPACKED_MAX_BYTES`, or an exception over a batch that a broker took. What is too large or too odd to be read comes
as a record of its offset without key and value, which ends as a dead letter; the header `CUT` says why.

aiokafka 0.14.0 (pinned) unpacks a batch whatever it grows to, and takes header names for UTF-8, which no broker checks.
"""

import gzip
import mmap
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import aiokafka.consumer.fetcher
import cramjam
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

from mergeline.domain.messages import CUT

UNPACKED_MAX_BYTES: Final = 64 * 1024 * 1024
"""What a batch may unpack to. Topics bound what it is packed, and gzip packs a thousand to one, zstd more."""
RECORD_MAX_BYTES: Final = 8 * 1024 * 1024
"""What one record may unpack to."""
AS_IT_IS_MAX_BYTES: Final = 1024 * 1024
"""A record up to here can be passed on unpacked; a larger one if gzip packs it to that."""

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
"""baseOffset, length, epoch, magic, crc, attributes, lastOffsetDelta, firstTimestamp, maxTimestamp, ..., count."""
_LENGTH: Final = struct.Struct(">qi")
_ATTRIBUTES: Final = struct.Struct(">h")
_ATTRIBUTES_AT: Final = 21
_MAGIC_AT: Final = 16
_CODEC_MASK: Final = 7
_LOG_APPEND_TIME: Final = 8


class OddRecord(NamedTuple):
    """A record as aiokafka's own are; header names that are no UTF-8 have their bytes as lone surrogates."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class Batches:
    """In place of aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def size_in_bytes(self) -> int:
        """Bytes as fetched."""
        return len(self._data)

    def _end(self) -> int:
        """Where the next batch ends; beyond the data where a fetch ends in the middle of it."""
        if self._at + _LENGTH.size > len(self._data):
            return len(self._data) + 1
        _, length = _LENGTH.unpack_from(self._data, self._at)
        return int(self._at + _LENGTH.size + length)

    def has_next(self) -> bool:
        """Whether there is another whole batch."""
        return self._end() <= len(self._data)

    def next_batch(self) -> Any:
        """The next batch."""
        data, self._at = self._data[self._at : self._end()], self._end()
        # What was written before Kafka 0.11 is left to aiokafka.
        return _Batch(data) if data[_MAGIC_AT] >= 2 else MemoryRecords(bytes(data)).next_batch()


class _Batch:
    """What the fetcher asks of a batch."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._batch = batch = DefaultRecordBatch(data)
        self.base_offset, self.next_offset = batch.base_offset, batch.next_offset
        self.producer_id, self.is_transactional = batch.producer_id, batch.is_transactional
        self.is_control_batch = batch.is_control_batch

    def validate_crc(self) -> bool:
        """Whether it arrived as it was sent."""
        return bool(self._batch.validate_crc())

    def __next__(self) -> Any:
        """The first record of a control batch."""
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        if not self._batch.compression_type:
            return self._records(self._batch, self._data)
        data = _unpacked(self._data, self._batch.compression_type)
        if data is None:
            return self._cut("its batch unpacks to more than can be held, or not at all")
        records = self._records(DefaultRecordBatch(data), data)
        return records if len(data) <= AS_IT_IS_MAX_BYTES else map(_bounded, records)

    def _records(self, batch: Any, data: memoryview) -> Iterator[Any]:
        """The records; those that were given out before something odd came may come again, which the fetcher skips."""
        try:
            yield from batch
        except UnicodeDecodeError:
            try:
                yield from _read(data)
            except (ValueError, IndexError):
                yield from self._cut("its batch cannot be read")
        except Exception:  # noqa: BLE001 - whatever it is, it would come again
            yield from self._cut("its batch cannot be read")

    def _cut(self, why: str) -> Iterator[OddRecord]:
        head = _HEAD.unpack_from(self._data)
        timestamp, timestamp_type = head[8], int(bool(head[5] & _LOG_APPEND_TIME))
        for offset in range(self.base_offset, self.next_offset):
            yield OddRecord(offset, timestamp, timestamp_type, None, None, [(CUT, why.encode())])


def _unpacked(data: memoryview, codec: int) -> memoryview | None:
    """The batch as it would be without compression; None where it is too large or cannot be unpacked."""
    # A map, since the system gives its pages only as they are written to; a bytearray would fill them with zeros first.
    out = memoryview(mmap.mmap(-1, _HEAD.size + UNPACKED_MAX_BYTES))
    out[: _HEAD.size] = data[: _HEAD.size]
    (attributes,) = _ATTRIBUTES.unpack_from(data, _ATTRIBUTES_AT)
    _ATTRIBUTES.pack_into(out, _ATTRIBUTES_AT, attributes & ~_CODEC_MASK)
    packed, room = data[_HEAD.size :], out[_HEAD.size :]
    try:
        size = _UNPACK[codec](packed, room)
    except Exception:  # noqa: BLE001 - by codec: cramjam's own, ValueError, struct.error
        return None
    return out[: _HEAD.size + size]


_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD: Final = 16


def _snappy(packed: memoryview, room: memoryview) -> int:
    """Raw, or the blocks that Java's library writes."""
    if bytes(packed[: len(_XERIAL)]) != _XERIAL:
        return int(cramjam.snappy.decompress_raw_into(packed, room))
    at, size = _XERIAL_HEAD, 0
    while at < len(packed):
        (length,) = struct.unpack_from(">I", packed, at)
        at += 4
        size += cramjam.snappy.decompress_raw_into(packed[at : at + length], room[size:])
        at += length
    return size


_UNPACK: Final[dict[int, Any]] = {
    1: cramjam.gzip.decompress_into,
    2: _snappy,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}


def _bounded(record: Any) -> Any:
    """The record, or what stands for it where it could not be passed on."""
    parts = [record.key or b"", record.value or b""]
    for name, value in record.headers:
        parts += (raw_name(name), value or b"")
    size = sum(map(len, parts))
    if size <= AS_IT_IS_MAX_BYTES:
        return record
    if size <= RECORD_MAX_BYTES and len(gzip.compress(b"".join(parts))) <= AS_IT_IS_MAX_BYTES:
        return record
    why = f"it unpacks to {size} bytes"
    return OddRecord(record.offset, record.timestamp, record.timestamp_type, None, None, [(CUT, why.encode())])


def _read(data: memoryview) -> Iterator[OddRecord]:
    """The records of an unpacked batch, with header names of any bytes."""
    buffer, at = bytearray(data), _HEAD.size
    head = _HEAD.unpack_from(data)
    timestamp_type = int(bool(head[5] & _LOG_APPEND_TIME))
    for _ in range(head[12]):
        _, at = decode_varint(buffer, at)
        delta, at = decode_varint(buffer, at + 1)
        offset_delta, at = decode_varint(buffer, at)
        key, at = _bytes(buffer, at)
        value, at = _bytes(buffer, at)
        count, at = decode_varint(buffer, at)
        headers = []
        for _ in range(count):
            name, at = _bytes(buffer, at)
            text, at = _bytes(buffer, at)
            headers.append(((name or b"").decode(errors="surrogateescape"), text))
        timestamp = head[8] if timestamp_type else head[7] + delta
        yield OddRecord(head[0] + offset_delta, timestamp, timestamp_type, key, value, headers)


def _bytes(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    if length < 0:
        return None, at
    if at + length > len(buffer):
        raise ValueError("the record ends early")
    return bytes(buffer[at : at + length]), at + length


def raw_name(name: str) -> bytes:
    """A header's name as it was sent."""
    return str.encode(name, errors="surrogateescape")


def shown_name(name: str) -> str:
    """A header's name for people and programs."""
    return raw_name(name).decode(errors="replace")


# The fetcher has no way to be given another reader.
aiokafka.consumer.fetcher.MemoryRecords = Batches
