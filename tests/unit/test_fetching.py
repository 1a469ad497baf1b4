"""How often a broker is asked for records: what is quiet waits for nothing, what is busy keeps a pace."""

import asyncio
import itertools

import pytest
from aiokafka.consumer.fetcher import Fetcher

from mergeline.stream import consumer
from mergeline.stream.consumer import PacedFetcher

PACE_S = 0.4


class Sending(Fetcher):
    """Sends nothing: `sent` has the node and the time of each fetch."""

    def __init__(self):
        self.sent, self.may_fetch_at = [], {}

    async def _proc_fetch_request(self, _, node_id, __):
        self.sent.append((node_id, asyncio.get_running_loop().time()))
        return True


class Paced(PacedFetcher, Sending):
    """The pace, in front of that."""


@pytest.fixture
def paced(monkeypatch):
    monkeypatch.setattr(consumer, "FETCH_PACE_S", PACE_S)
    return Paced()


async def test_a_broker_is_asked_once_in_a_while(paced):
    for _ in range(4):
        assert await paced._proc_fetch_request(None, 1, None)
    times = [at for _, at in paced.sent]
    assert all(later - earlier >= 0.9 * PACE_S for earlier, later in itertools.pairwise(times))


async def test_after_a_fetch_that_took_longer_the_next_one_waits_for_nothing(paced):
    await paced._proc_fetch_request(None, 1, None)
    await asyncio.sleep(PACE_S)
    asked_at = asyncio.get_running_loop().time()
    await paced._proc_fetch_request(None, 1, None)
    assert paced.sent[1][1] - asked_at < PACE_S / 2


async def test_brokers_do_not_wait_for_each_other(paced):
    await asyncio.gather(*(paced._proc_fetch_request(None, node, None) for node in (1, 2, 3)))
    assert max(at for _, at in paced.sent) - min(at for _, at in paced.sent) < PACE_S / 2


async def test_an_assignment_that_ends_meanwhile_is_no_error(paced):
    await paced._proc_fetch_request(None, 1, None)
    waiting = asyncio.ensure_future(paced._proc_fetch_request(None, 1, None))
    await asyncio.sleep(0.001)
    waiting.cancel()
    assert (await waiting, len(paced.sent)) == (False, 1)
