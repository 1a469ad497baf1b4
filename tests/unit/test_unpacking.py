"""What is fetched is read whatever its producer did: any codec, any header name, and never beyond a bound."""

import gzip
import random
import resource

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from mergeline.stream import unpacking
from mergeline.stream.publisher import _RawName
from mergeline.stream.unpacking import CUT, Batches, shown_name

GZIP, SNAPPY, LZ4, ZSTD = CODECS = (1, 2, 3, 4)


def batch(*records, codec=0, base_offset=0):
    """A batch as a broker hands it over: records are (key, value, headers)."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, 0, 1 << 30)
    for offset, (key, value, headers) in enumerate(records):
        named = [(_RawName(name.decode(errors="surrogateescape")), text) for name, text in headers]
        builder.append(offset, 1_000 + offset, key, value, named)
    data = builder.build()
    data[:8] = base_offset.to_bytes(8, "big")
    return bytes(data)


def read(data, reader=Batches, fetch_offset=0):
    tp = TopicPartition("t", 0)
    records = PartitionRecords(tp, reader(data), [], fetch_offset, None, None, True, READ_COMMITTED)
    return [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records]


def usual(count=3):
    return [(b"k%d" % n if n % 2 else None, b"v" * n, [(b"h", b"x"), (b"\xc3\xa9", None)]) for n in range(count)]


def random_bytes(size):
    return random.Random(7).randbytes(size)


@pytest.mark.parametrize("codec", [0, *CODECS])
def test_each_codec_is_read_as_the_library_reads_it(codec):
    data = batch(*usual(), codec=codec) + batch(*usual(400), codec=codec, base_offset=3)
    assert read(data) == read(data, MemoryRecords)
    assert read(data, fetch_offset=2) == read(data)[2:]
    assert read(data[:-1]) == read(data)[:3]  # the last one is not whole


@pytest.mark.parametrize("codec", [0, *CODECS])
def test_header_names_are_any_bytes(codec):
    name = b"\xff\xfe\0"
    records = [*usual(), (b"k", b"v", [(name, b"x"), (b"", b"")]), *usual()]
    found = read(batch(*records, codec=codec))
    assert [(key, value) for _, _, key, value, _ in found] == [(key, value) for key, value, _ in records]
    assert [offset for offset, *_ in found] == list(range(7))
    assert [time for _, time, *_ in found] == list(range(1_000, 1_007))
    odd, _ = found[3][4]
    assert (unpacking.raw_name(odd[0]), odd[1]) == (name, b"x")
    assert shown_name(odd[0]) == "\ufffd\ufffd\0"
    assert found[0][4] == (("h", b"x"), ("é", None))


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_unpacks_to_too_much_is_cut_record_by_record(codec, monkeypatch):
    monkeypatch.setattr(unpacking, "UNPACKED_MAX_BYTES", 100_000)
    records = [(b"k", b"x" * 40_000, [])] * 3
    assert [value for *_, value, headers in read(batch(*records[:2], codec=codec)) if value] == [b"x" * 40_000] * 2
    found = read(batch(*records, codec=codec, base_offset=5))
    assert [(offset, key, value) for offset, _, key, value, _ in found] == [(n, None, None) for n in (5, 6, 7)]
    assert {name for *_, headers in found for name, _ in headers} == {CUT}


def test_the_bound_holds_for_a_bomb():
    """1 MiB that would unpack to a gigabyte costs the bound and no more."""
    before = peak_bytes()
    (record,) = read(bomb(1 << 30))
    assert record[3] is None
    assert peak_bytes() - before < unpacking.UNPACKED_MAX_BYTES * 2


def bomb(size):
    """A gzip batch of one record whose value is that many zeros, made without unpacking it here."""
    head = batch((b"k", b"", []), codec=0)[:61]
    packed = gzip.compress(bytes(1 << 20)) * (size >> 20)  # members, one behind the other
    data = bytearray(head + packed)
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    data[22] |= GZIP
    crc = unpacking_crc(bytes(data[21:]))
    data[17:21] = crc.to_bytes(4, "big")
    return bytes(data)


def unpacking_crc(data):
    from aiokafka.record.util import calc_crc32c  # noqa: PLC0415 - only the bomb needs it

    return calc_crc32c(data)


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("codec", [0, *CODECS])
def test_what_a_batch_says_falsely_ends_as_cut_records(codec):
    whole = batch(*usual(), codec=codec)
    torn = bytearray(whole[:-9])
    torn[8:12] = (len(torn) - 12).to_bytes(4, "big")
    torn[17:21] = unpacking_crc(bytes(torn[21:])).to_bytes(4, "big")
    found = read(bytes(torn))
    assert [offset for offset, *_ in found] == [0, 1, 2]
    assert found[-1][3:] == (None, ((CUT, found[-1][4][0][1]),))


def test_one_record_that_nobody_could_pass_on_is_cut_and_the_others_stay():
    packable, unpackable = b"x" * 4_000_000, random_bytes(1 << 20) * 3  # gzip does not look back as far as that
    records = [(b"k", b"small", []), (b"k", packable, []), (b"k", unpackable, []), (b"k", b"small", [])]
    found = read(batch(*records, codec=ZSTD))
    assert [value for _, _, _, value, _ in found] == [b"small", packable, None, b"small"]
    assert found[2][4] == ((CUT, b"it unpacks to 3145729 bytes"),)


def test_old_formats_are_left_to_the_library():
    from aiokafka.record.legacy_records import LegacyRecordBatchBuilder  # noqa: PLC0415 - only here

    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    builder.append(0, timestamp=5, key=b"k", value=b"v")
    assert read(bytes(builder.build())) == [(0, 5, b"k", b"v", ())]


def test_the_fetcher_reads_by_it():
    import aiokafka.consumer.fetcher  # noqa: PLC0415 - to see what stands there now

    assert aiokafka.consumer.fetcher.MemoryRecords is Batches
    assert DefaultRecordBatch(batch(*usual())).next_offset == 3
