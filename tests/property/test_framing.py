"""The ledger's framing of records: whatever goes in comes out, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeline.domain.messages import Outgoing
from mergeline.store.framing import Torn, pack, unpack, unpack_bare

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
BLOBS = st.none() | st.binary(max_size=200)
HEADERS = st.lists(st.tuples(NAMES, BLOBS), max_size=12).map(tuple)
RECORDS = st.lists(st.builds(Outgoing, topic=NAMES, key=BLOBS, value=BLOBS, headers=HEADERS), max_size=6).map(tuple)


@given(RECORDS)
def test_what_is_packed_is_unpacked(records):
    assert unpack(pack(records)) == records


@given(RECORDS)
def test_without_headers_the_rest_is_the_same(records):
    assert [one[:3] for one in unpack_bare(pack(records))] == [(one.topic, one.key, one.value) for one in records]


@given(RECORDS, st.data(), st.sampled_from([unpack, unpack_bare]))
def test_bytes_that_end_early_are_refused(records, data, read):
    packed = pack(records)
    with pytest.raises(Torn):
        read(packed[: data.draw(st.integers(0, len(packed) - 1))])


@given(RECORDS, st.binary(min_size=1, max_size=9), st.sampled_from([unpack, unpack_bare]))
def test_bytes_too_many_are_refused(records, more, read):
    with pytest.raises(Torn):
        read(pack(records) + more)


@given(st.binary(max_size=300))
def test_any_bytes_are_records_or_refused(data):
    try:
        unpack_bare(data)
        records = unpack(data)
    except Torn:
        return
    assert unpack(pack(records)) == records


def test_the_layout_is_that_of_schema_sql():
    """Written down, since ledgers are read by later versions."""
    records = (Outgoing("t", b"k", None, (("h", b""), ("i", None))), Outgoing("é", None, b"vv"))
    assert pack(records) == b"\x02" + b"".join(
        (
            *(b"\x92", b"\x94", b"\xa1t", b"\xc4\x01k", b"\xc0", b"\x92", b"\x92\xa1h\xc4\x00", b"\x92\xa1i\xc0"),
            *(b"\x94", b"\xa2" + "é".encode(), b"\xc0", b"\xc4\x02vv", b"\x90"),
        )
    )
    assert unpack(pack(records)) == records
    assert pack(()) == b"\x02\x90"


def test_another_layout_is_refused():
    for read in (unpack, unpack_bare):
        with pytest.raises(Torn, match="layout 01"):
            read(b"\x01" + pack(())[1:])
        with pytest.raises(Torn, match="layout none"):
            read(b"")
