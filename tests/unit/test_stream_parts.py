"""The parts of the stream that are functions: routing keys, origins, positions, the watchdog's judgement."""

import json
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    NodeNotReadyError,
    UnknownError,
)

from mergeline.domain.decode import decode
from mergeline.domain.incarnations import name_of
from mergeline.domain.messages import Coordinate, DeadLetterReason, Place, dead_letter
from mergeline.domain.routing import routing_key
from mergeline.errors import SetupError
from mergeline.metrics import LAG_MESSAGES, OLDEST_SECONDS
from mergeline.stream import watchdog
from mergeline.stream.drained import left_of
from mergeline.stream.offsets import position
from mergeline.stream.origin import message_of, place_of, routed
from mergeline.stream.watchdog import CHECKS, Stalled, Watchdog


class Record:
    def __init__(self, topic, partition, offset, key=None, value=b"{}", headers=(), timestamp=1_700_000_000_000):
        self.topic, self.partition, self.offset, self.timestamp = topic, partition, offset, timestamp
        self.key, self.value, self.headers = key, value, headers


UNREAD = b"unread:identifier-updates:3"


@pytest.mark.parametrize(
    ("topic", "value", "key"),
    [
        ("identifier-updates", {"orgId": 1, "customerId": 2}, b"1:2"),
        ("identifier-updates", {"orgId": 1, "customerId": 2, "Add": "misspelt"}, b"1:2"),
        ("customer-registrations", {"orgId": 1, "customerId": 2}, b"1:2"),
        ("card-registrations", {"orgId": 1, "cardNumber": " C1 "}, b"1:card:C1"),
        ("identifier-updates", {"orgId": 1}, UNREAD),
        ("identifier-updates", {"orgId": 0, "customerId": 2}, UNREAD),
        ("identifier-updates", {"orgId": True, "customerId": 2}, UNREAD),
        ("identifier-updates", {"orgId": 1, "customerId": 2**63}, UNREAD),
        ("identifier-updates", {"orgId": 1, "customerId": "2"}, UNREAD),
        ("card-registrations", {"orgId": 1, "cardNumber": 7}, b"unread:card-registrations:3"),
        ("card-registrations", {"orgId": 1, "cardNumber": "7" * 256}, b"unread:card-registrations:3"),
        ("identifier-updates", [1], UNREAD),
        ("identifier-updates", b"{", UNREAD),
        ("identifier-updates", b"\xff", UNREAD),
        ("identifier-updates", b'"\\ud800"', UNREAD),
        ("identifier-updates", b"[" * 50_000, UNREAD),
        ("identifier-updates", b" " * 70_000, UNREAD),
        ("identifier-updates", None, UNREAD),
    ],
)
def test_a_message_is_routed_by_customer_or_card_and_else_by_where_it_came_from(topic, value, key):
    data = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    assert routing_key(topic, 3, data) == key


@pytest.mark.parametrize("key", [None, b"", b"k"], ids=["null key", "empty key", "a key"])
@pytest.mark.parametrize(
    "headers", [(), (("mergeline-origin", b"forged/1/2/3/1"), ("h", None))], ids=["bare", "forged"]
)
@pytest.mark.parametrize("value", [None, b"", b"{}"], ids=["null value", "empty value", "a value"])
@pytest.mark.parametrize(("sent_in", "read_in"), [(1, 1), (2, 1), (1, 2), (10, 999_999_999)])
def test_a_routed_message_reads_back_as_it_was(key, headers, value, sent_in, read_in):
    sent = Record("p.identifier-updates", 3, 42, key, value, headers, timestamp=77)
    out = routed(sent, place_of(TopicPartition(sent.topic, sent.partition), "p.", sent_in), b"1:2")
    read = Record("p.commands-by-customer", 1, 9, out.key, out.value, out.headers)
    message = message_of(read, place_of(TopicPartition(read.topic, read.partition), "p.", read_in))
    assert message.origin == Coordinate(name_of("identifier-updates", sent_in), 3, 42)
    assert message.at == Coordinate(name_of("commands-by-customer", read_in), 1, 9)
    assert (message.key, message.value, message.headers, message.timestamp_ms) == (key, value, tuple(headers), 77)


@pytest.mark.parametrize("timestamp_ms", [-(2**63), -1, 0, 1_763_000_000_000_000_000, 2**63 - 1])
def test_whatever_time_a_broker_takes_reads_back(timestamp_ms):
    sent = Record("p.identifier-updates", 3, 42, timestamp=timestamp_ms)
    out = routed(sent, Place("identifier-updates", 3), b"1:2")
    read = Record("p.commands-by-customer", 1, 9, out.key, out.value, out.headers)
    message = message_of(read, Place("commands-by-customer", 1))
    assert (message.origin.topic, message.timestamp_ms) == ("identifier-updates", timestamp_ms)


def test_origin_headers_on_a_public_topic_are_the_producers_own():
    headers = (("mergeline-origin", b"identifier-updates/0/0/0/0"),)
    message = message_of(Record("p.identifier-updates", 3, 42, b"k", b"{}", headers), Place("identifier-updates", 3))
    assert (message.origin, message.headers) == (Coordinate("identifier-updates", 3, 42), headers)


FORGED = [
    *(None, b"", b"\xff\xfe", b"a/b", b"identifier-updates/0/5/0", b"identifier-updates/0/5/0/0/0"),
    *(b"nowhere/0/5/0/0", b"update-outcomes/0/5/0/0", b"commands-by-customer/0/5/0/0"),
    *(b"identifier-updates\0/0/5/0/0", b"identifier-updates/0/5/0/0\n", "identifier-updates/\u0663/5/0/0".encode()),
    *(b"identifier-updates@1/0/5/0/0", b"identifier-updates@0/0/5/0/0", b"identifier-updates@02/0/5/0/0"),
    *(b"identifier-updates@/0/5/0/0", b"identifier-updates@2@2/0/5/0/0", b"commands-by-customer@2/0/5/0/0"),
    *(b"identifier-updates@-2/0/5/0/0", b"identifier-updates@9999999999/0/5/0/0"),
    *(b"identifier-updates/-1/5/0/0", b"identifier-updates/0/-5/0/0", b"identifier-updates/0/5/0/7"),
    *(b"identifier-updates/9999999999/5/0/0", b"identifier-updates/0/" + b"9" * 5_000 + b"/0/0"),
    *(b"identifier-updates/0/5/99999999999999999999/0", b"identifier-updates/0/5/0/1"),  # whose key does not follow
]


@pytest.mark.parametrize("origin", FORGED)
def test_a_record_on_the_internal_topic_that_the_router_did_not_write_is_no_request(origin):
    headers = (("mergeline-origin", origin), ("h", b"x"))
    for given in (headers, headers[:1], headers[1:], ()):
        record = Record("p.commands-by-customer", 3, 42, b"k", b"{}", given, timestamp=77)
        message = message_of(record, Place("commands-by-customer", 3))
        here = Coordinate("commands-by-customer", 3, 42)
        assert (message.origin, message.at, message.key, message.headers) == (here, here, b"k", given)
        reason = decode(message)
        assert isinstance(reason, DeadLetterReason)
        letter = dead_letter(message, reason.code, reason.text, "p.")
        assert (letter.topic, letter.headers[-6]) == (
            "identifier-updates-dlt",
            ("kafka_dlt-original-topic", b"p.commands-by-customer"),
        )


PARTITION = TopicPartition("t", 0)


@pytest.mark.parametrize(
    ("committed", "start", "end", "floor", "expected"),
    [
        pytest.param(None, 0, 10, 0, 0, id="new group: from the log's start"),
        pytest.param(None, 7, 10, 0, 7, id="new group, records expired before it was there"),
        pytest.param(4, 0, 10, 0, 4, id="the committed offset"),
        pytest.param(4, 0, 10, 6, 6, id="published further than committed"),
        pytest.param(None, 0, 10, 6, 6, id="the group's offsets expired: not everything again"),
        pytest.param(10, 0, 10, 10, 10, id="at the end"),
        pytest.param(4, 5, 10, 6, 6, id="committed late, and published before it expired"),
    ],
)
def test_a_partition_goes_on(committed, start, end, floor, expected):
    assert position(PARTITION, committed, start, end, floor) == expected


@pytest.mark.parametrize(
    ("committed", "start", "end", "floor", "words"),
    [
        pytest.param(4, 5, 10, 0, "expired before they were read", id="records expired unread"),
        pytest.param(None, 7, 10, 6, "read up to 6, the log starts at 7", id="so did the group's offsets"),
        pytest.param(None, 0, 10, 11, "made anew", id="the topic was made anew, offsets expired"),
        pytest.param(11, 0, 10, 0, "made anew", id="the topic was made anew"),
    ],
)
def test_a_partition_stops_for_an_operator(committed, start, end, floor, words):
    with pytest.raises(SetupError, match=words):
        position(PARTITION, committed, start, end, floor)


def looks(dog, *lags):
    return [dog.look({PARTITION: lag}) for lag in lags]


async def nothing():
    return False


def watching(lags=None, fail=None, refusal=lambda: None, moved=nothing, acquiring=lambda: None, moves=lambda _: 0):
    return Watchdog(
        lags, fail, 6, refusal, moved, moves=moves, denied=str.upper, acquiring=acquiring, acquire_timeout_ms=6
    )


class Enough(Exception):
    """The watchdog looks for ever."""


def metric(gauge):
    return sorted((sample.value for sample in gauge.collect()[0].samples), reverse=True)


def test_the_watchdog_calls_a_partition_stalled_that_has_something_to_read_and_stands_still():
    dog = watching()
    assert looks(dog, *[(5, 9)] * CHECKS) == [[]] * CHECKS
    assert dog.look({PARTITION: (5, 12)}) == [PARTITION]


def test_a_partition_that_waits_for_others_stands_still_only_once_they_do():
    going_on = [*range(CHECKS * 3), *[CHECKS * 3] * CHECKS]
    dog = watching(moves=lambda _: going_on.pop(0))
    assert looks(dog, *[(5, 9)] * (CHECKS * 4)) == [[]] * (CHECKS * 4)
    going_on.append(CHECKS * 3)
    assert dog.look({PARTITION: (5, 9)}) == [PARTITION]


async def test_the_lag_of_a_partition_that_went_to_another_worker_is_shown_no_more():
    seen = [{("t", 0): (1, 1_285), ("t", 1): (9, 9)}, {("t", 1): (9, 9)}]
    OLDEST_SECONDS.set(8.77)

    async def lags():
        shown.append((metric(LAG_MESSAGES), metric(OLDEST_SECONDS)))
        if not seen:
            raise Enough
        return seen.pop(0)

    shown = []
    with pytest.raises(Enough):
        await watching(lags).run()
    assert shown == [([], [8.77]), ([1_284, 0], [8.77]), ([0], [0])]


async def test_who_is_refused_by_the_group_ends():
    def fail(error):
        raise error

    async def lags():
        return {}

    with pytest.raises(UnknownError):
        await watching(lags, fail, UnknownError).run()
    with pytest.raises(SetupError, match=r"InconsistentGroupProtocolError.*MERGELINE_GROUP_ID"):
        await watching(lags, fail, InconsistentGroupProtocolError).run()
    with pytest.raises(SetupError, match="READ LOYALTY"):
        await watching(lags, fail, lambda: GroupAuthorizationFailedError("loyalty")).run()


async def test_brokers_that_are_away_are_waited_for_and_those_that_have_moved_are_not():
    asked = []

    async def lags():
        raise NodeNotReadyError

    async def moved():
        asked.append(1)
        return len(asked) > 1

    def fail(error):
        raise error

    with pytest.raises(Stalled, match="brokers answer a new client"):
        await watching(lags, fail, moved=moved).run()
    assert len(asked) == 2


async def test_who_acquires_nothing_while_brokers_answer_ends_and_who_has_opened_or_begun_anew_in_between_does_not(
    monkeypatch,
):
    """A client that waits for its group for ever says nothing of it."""
    now_s = 0.0

    async def sleep(seconds):
        nonlocal now_s
        now_s += seconds

    clock = SimpleNamespace(time=lambda: now_s)
    monkeypatch.setattr(watchdog, "asyncio", SimpleNamespace(sleep=sleep, get_running_loop=lambda: clock))
    opened = [*[1] * CHECKS, *[None] * CHECKS * 9, *[2] * CHECKS, *[3] * CHECKS * 9]
    looked = []

    async def lags():
        looked.append(1)
        return {}

    def fail(error):
        raise error

    with pytest.raises(Stalled, match="no partitions were acquired"):
        await watching(lags, fail, acquiring=lambda: opened.pop(0)).run()
    assert CHECKS * 12 < len(looked) < CHECKS * 14


async def test_while_brokers_are_away_nobody_is_expected_to_acquire():
    looked = []

    async def lags():
        looked.append(1)
        if len(looked) > CHECKS * 6:
            raise Enough
        raise NodeNotReadyError

    def fail(error):
        raise error

    with pytest.raises(Enough):
        await watching(lags, fail, acquiring=lambda: 1).run()


@pytest.mark.parametrize("lag", [[(9, 9)], [(5, 9), (6, 9)]], ids=["idle", "moving"])
def test_the_watchdog_leaves_alone_what_is(lag):
    dog = watching()
    assert not any(looks(dog, *(lag * (CHECKS * 2))))


@pytest.mark.parametrize(
    ("start", "end", "published", "left"),
    [
        pytest.param(0, 7, 7, 0, id="all is published"),
        pytest.param(0, 7, 5, 2, id="some is not"),
        pytest.param(5, 7, 0, 2, id="what expired is not there"),
        pytest.param(0, 0, 7, 0, id="a topic that was made anew is empty"),
        pytest.param(0, 3, 7, 3, id="and what it has is left, whatever was published before"),
    ],
)
def test_what_is_left_of_the_internal_topic(start, end, published, left):
    assert left_of(start, end, published) == left
