"""Messages of unpublished dead letters are read again by partition, in bounded time, before their topic is reset."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from types import SimpleNamespace

import pytest

from mergeline.domain.ledger import LedgerRow, RowKind
from mergeline.domain.messages import Coordinate
from mergeline.domain.vocabulary import Topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.incarnations import IDLE_MS_MAX, Incarnation
from mergeline.stream import leftovers, resetting

SETTINGS = Settings.load({})
UPDATES = Topic.IDENTIFIER_UPDATES
KNOWN = {UPDATES: Incarnation(1, None)}


class Log:
    """A consumer of partitions of which some offsets hold messages; `silent`: nothing comes."""

    def __init__(self, partitions, start=0, end=1_000, silent=False, a_poll=100):
        self.offsets, self.start, self.end, self.silent, self.a_poll = partitions, start, end, silent, a_poll
        self.at, self.seeks = {}, 0

    def assign(self, places):
        self.at = dict.fromkeys(places, 0)

    def seek(self, place, offset):
        self.seeks += 1
        self.at[place] = offset

    async def beginning_offsets(self, places):
        return dict.fromkeys(places, self.start)

    async def end_offsets(self, places):
        return dict.fromkeys(places, self.end)

    async def position(self, place):
        return self.at[place]

    async def getmany(self, *places, timeout_ms, max_records):
        if self.silent:
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        given = {}
        for place in places:
            until = min(self.at[place] + self.a_poll, self.end)
            offsets = [offset for offset in self.offsets[place.partition] if self.at[place] <= offset < until]
            given[place] = [
                SimpleNamespace(offset=offset, timestamp=0, key=None, value=b"%d" % offset, headers=())
                for offset in offsets
            ]
            self.at[place] = until
        return given


@pytest.fixture
def log(monkeypatch):
    def given(consumer):
        @asynccontextmanager
        async def started(client, settings):
            yield client

        monkeypatch.setattr(leftovers, "onlooker", lambda *_, **__: consumer)
        monkeypatch.setattr(leftovers, "started", started)
        return consumer

    return given


def letter(partition, offset, body=None):
    origin = Coordinate(UPDATES, partition, offset)
    at = Coordinate(Topic.COMMANDS_BY_CUSTOMER, 0, offset)
    body = sha256(b"%d" % offset if body is None else body).digest()
    return LedgerRow(
        0, origin.request_id, RowKind.DEAD_LETTER, body, "MALFORMED_JSON", "", origin, at, None, datetime.now(UTC), ()
    )


async def test_each_partition_is_read_once_whatever_the_number_of_letters(log):
    consumer = log(Log({0: range(1_000), 1: range(1_000)}))
    letters = [letter(offset % 2, offset) for offset in range(20, 900, 7)]
    records, lost = await leftovers.records_of(SETTINGS, letters, KNOWN)
    assert [record.value for record in records] == [b"%d" % row.origin.offset for row in letters]
    assert (lost, consumer.seeks) == (0, 2)


@pytest.mark.parametrize(
    ("offset", "why"),
    [
        pytest.param(5, "expired", id="it expired"),
        pytest.param(1_000, "above the end", id="the log ends before it"),
        pytest.param(51, "a gap", id="the log has a gap there"),
    ],
)
async def test_a_letter_whose_message_is_gone_is_lost_and_the_others_are_not(log, offset, why):
    log(Log({0: [*range(10, 51), *range(52, 1_000)]}, start=10))
    records, lost = await leftovers.records_of(SETTINGS, [letter(0, 40), letter(0, offset), letter(0, 60)], KNOWN)
    assert ([record.value for record in records], lost) == ([b"40", b"60"], 1), why


async def test_another_message_at_that_place_is_not_taken_for_it(log):
    """Its topic was made anew too: a stranger's request would be published as a dead letter, and sent again as such."""
    log(Log({0: range(100)}))
    records, lost = await leftovers.records_of(SETTINGS, [letter(0, 40, b"before"), letter(0, 41)], KNOWN)
    assert ([record.value for record in records], lost) == ([b"41"], 1)


async def test_what_brokers_do_not_give_in_time_is_an_error_and_not_lost(log, monkeypatch):
    monkeypatch.setattr(leftovers, "READ_S_MAX", 0.3)
    log(Log({0: range(100)}, silent=True))
    began = time.monotonic()
    with pytest.raises(SetupError, match=r"3 messages of dead letters .* mergeline.identifier-updates.* run it again"):
        await leftovers.records_of(SETTINGS, [letter(0, offset) for offset in (1, 2, 3)], KNOWN)
    assert time.monotonic() - began < 1


def test_the_bounds_add_up():
    assert leftovers.READ_S_MAX < resetting.KAFKA_S_MAX < IDLE_MS_MAX / 1000
