"""How often a broker is asked for records, and how long it may take to answer.

What is quiet waits for nothing, what is busy keeps a pace; what a fetch is to bring is decided when it is sent.
"""

from types import SimpleNamespace

import pytest
from aiokafka.consumer.fetcher import Fetcher

from mergeline.stream import consumer
from mergeline.stream.consumer import FETCH_MAX_WAIT_MS, FETCH_PACE_S, FETCH_PART_WAIT_MS, PacedFetcher

LONG_S = 10.0
RESETS, INVALID, RESUMES = {}, False, []


class Asking(Fetcher):
    """Has something to ask of the `nodes`; a request is how long the broker may wait."""

    def __init__(self, *nodes):
        self.nodes, self.may_fetch_at, self._records = nodes, {}, {}

    def _get_actions_per_node(self, _):
        return [(node, self._fetch_max_wait_ms) for node in self.nodes], RESETS, LONG_S, INVALID, RESUMES


class Paced(PacedFetcher, Asking):
    """The pace, in front of that."""

    def asked(self):
        """Which nodes are asked now, and when to look again."""
        requests, resets, wait_s, *others = self._get_actions_per_node(None)
        assert (resets, *others) == (RESETS, INVALID, RESUMES)
        return [node for node, _ in requests], wait_s


class Clock:
    """A loop whose time stands still."""

    now_s = 1_000.0

    def time(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(consumer, "asyncio", SimpleNamespace(get_running_loop=lambda: clock))
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


def test_a_broker_may_wait_long_for_records_of_all_partitions_only(clock):
    paced = Paced(1)
    paced._records = {"a partition": "records that nobody has taken yet"}
    ((_, wait_ms),), *_ = paced._get_actions_per_node(None)
    assert wait_ms == FETCH_PART_WAIT_MS
    paced._records, paced.nodes = {}, (2,)
    ((_, wait_ms),), *_ = paced._get_actions_per_node(None)
    assert wait_ms == FETCH_MAX_WAIT_MS > 2 * FETCH_PART_WAIT_MS
