"""How often a broker is asked for records: what is quiet waits for nothing, what is busy keeps a pace."""

import asyncio
import itertools

import pytest
from aiokafka.consumer.fetcher import Fetcher

from mergeline.stream import consumer
from mergeline.stream.consumer import PacedFetcher

PACE_S = 0.2


@pytest.fixture
def fetches(monkeypatch):
    """Fetches of a fetcher without a broker: node, and seconds from the first one."""
    sent = []

    async def send(_, __, node_id, ___):
        sent.append((node_id, asyncio.get_running_loop().time()))
        return True

    monkeypatch.setattr(Fetcher, "_proc_fetch_request", send)
    monkeypatch.setattr(consumer, "FETCH_PACE_S", PACE_S)
    return sent


def fetcher():
    paced = PacedFetcher.__new__(PacedFetcher)
    paced.may_fetch_at = {}
    return paced


async def test_a_broker_is_asked_once_in_a_while(fetches):
    paced = fetcher()
    for _ in range(4):
        assert await paced._proc_fetch_request(None, 1, None)
    times = [at for _, at in fetches]
    assert all(later - earlier >= 0.9 * PACE_S for earlier, later in itertools.pairwise(times))


async def test_after_a_fetch_that_took_longer_the_next_one_waits_for_nothing(fetches):
    paced = fetcher()
    await paced._proc_fetch_request(None, 1, None)
    await asyncio.sleep(PACE_S)
    asked_at = asyncio.get_running_loop().time()
    await paced._proc_fetch_request(None, 1, None)
    assert fetches[1][1] - asked_at < PACE_S / 2


async def test_brokers_do_not_wait_for_each_other(fetches):
    paced = fetcher()
    await asyncio.gather(*(paced._proc_fetch_request(None, node, None) for node in (1, 2, 3)))
    assert max(at for _, at in fetches) - min(at for _, at in fetches) < PACE_S / 2


async def test_an_assignment_that_ends_meanwhile_is_no_error(fetches):
    paced = fetcher()
    await paced._proc_fetch_request(None, 1, None)
    waiting = asyncio.ensure_future(paced._proc_fetch_request(None, 1, None))
    await asyncio.sleep(0.001)
    waiting.cancel()
    assert (await waiting, len(fetches)) == (False, 1)
