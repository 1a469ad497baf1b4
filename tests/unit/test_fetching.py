"""How often a broker is asked for records, and how long it may take to answer.

What is quiet waits for nothing, what is busy keeps a pace; what a fetch is to bring is decided when it is sent.
"""

import asyncio
import time
from types import SimpleNamespace

import pytest
from aiokafka.consumer.fetcher import Fetcher

from mergeline.stream import consumer
from mergeline.stream.consumer import (
    FETCH_MAX_WAIT_MS,
    FETCH_PACE_S,
    FETCH_PART_WAIT_MS,
    LOOP_TICK_S,
    METADATA_PACE_S,
    PacedFetcher,
)

LONG_S = 10.0
RESETS, RESUMES = {}, []


class Asking(Fetcher):
    """Has something to ask of the `nodes`; a request is how long the broker may wait."""

    def __init__(self, *nodes, is_stale=False):
        self.nodes, self.is_stale = nodes, is_stale
        self.may_fetch_at, self.may_look_at, self._records = {}, 0.0, {}

    def _get_actions_per_node(self, _):
        return [(node, self._fetch_max_wait_ms) for node in self.nodes], RESETS, LONG_S, self.is_stale, RESUMES


class Paced(PacedFetcher, Asking):
    """The pace, in front of that."""

    def asked(self):
        """Which nodes are asked now, and when to look again."""
        requests, resets, wait_s, is_stale, resumes = self._get_actions_per_node(None)
        assert (resets, resumes) == (RESETS, RESUMES)
        assert not is_stale or self.is_stale
        return [node for node, _ in requests], wait_s

    def looks(self):
        """Whether metadata is asked for, and when to look again."""
        *_, wait_s, is_stale, _ = self._get_actions_per_node(None)
        return is_stale, wait_s


class Clock:
    """A loop whose time stands still."""

    now_s = 1_000.0

    def time(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(consumer, "asyncio", SimpleNamespace(get_running_loop=lambda: clock, wait=asyncio.wait))
    return clock


def test_what_is_quiet_waits_for_nothing(clock):
    paced = Paced(1)
    assert paced.asked() == ([1], LONG_S)
    clock.now_s += 1.5 * FETCH_PACE_S  # which is how long the fetch took
    assert paced.asked() == ([1], LONG_S)


def test_a_broker_is_asked_once_in_a_while(clock):
    paced = Paced(1)
    paced.asked()
    clock.now_s += FETCH_PACE_S / 4
    assert paced.asked() == ([], pytest.approx(FETCH_PACE_S * 3 / 4))
    clock.now_s += FETCH_PACE_S * 3 / 4 + 1e-9
    assert paced.asked() == ([1], LONG_S)


def test_what_was_put_off_does_not_put_off_the_next(clock):
    paced = Paced(1)
    paced.asked()
    for _ in range(3):  # each time that records are taken
        clock.now_s += FETCH_PACE_S / 4
        assert paced.asked()[0] == []
    clock.now_s += FETCH_PACE_S / 4 + 1e-9
    assert paced.asked()[0] == [1]


def test_brokers_do_not_wait_for_each_other(clock):
    paced = Paced(1)
    paced.asked()
    paced.nodes = (1, 2, 3)
    assert paced.asked() == ([2, 3], pytest.approx(FETCH_PACE_S))


def test_less_than_a_tick_of_the_clock_is_waited_for_as_a_tick(clock):
    paced = Paced(1)
    paced.asked()
    clock.now_s += FETCH_PACE_S - 1e-6
    assert paced.asked() == ([], LOOP_TICK_S)


def test_metadata_is_asked_for_once_in_a_while_as_long_as_a_leader_is_missing(clock):
    paced = Paced(is_stale=True)
    assert paced.looks() == (True, LONG_S)
    clock.now_s += METADATA_PACE_S / 4
    assert paced.looks() == (False, pytest.approx(METADATA_PACE_S * 3 / 4))
    clock.now_s += METADATA_PACE_S * 3 / 4 + 1e-9
    assert paced.looks() == (True, LONG_S)


@pytest.mark.parametrize(
    ("ages_ms", "wait_ms"),
    [
        pytest.param([], FETCH_MAX_WAIT_MS, id="records of all partitions: long"),
        pytest.param([1], FETCH_PART_WAIT_MS, id="of some, the others' being about to be taken: not long"),
        pytest.param([1, 2 * FETCH_MAX_WAIT_MS], FETCH_PART_WAIT_MS, id="nor with others that have no room"),
        pytest.param([2 * FETCH_MAX_WAIT_MS], FETCH_MAX_WAIT_MS, id="of some, the others having no room: long"),
    ],
)
def test_how_long_a_broker_may_wait_for(clock, ages_ms, wait_ms):
    paced = Paced(1)
    paced._records = {age: SimpleNamespace(_created=time.monotonic() - age / 1000) for age in ages_ms}
    ((_, asked_ms),), *_ = paced._get_actions_per_node(None)
    assert asked_ms == wait_ms


async def test_a_fetch_that_waits_after_an_error_does_not_keep_a_consumer_from_closing():
    """Its cancellation came out of aiokafka's `close`, and Faust's thread ended of it."""

    async def backs_off():
        try:
            {}["an answer"]
        except KeyError:
            await asyncio.sleep(LONG_S)

    paced = Paced()
    paced._fetch_task = asyncio.create_task(asyncio.sleep(LONG_S))
    paced._pending_tasks, paced._fetch_waiters = {asyncio.create_task(backs_off()) for _ in range(3)}, set()
    tasks = {paced._fetch_task, *paced._pending_tasks}
    await asyncio.sleep(0)
    await asyncio.wait_for(paced.close(), LONG_S / 2)
    assert all(task.cancelled() for task in tasks)
