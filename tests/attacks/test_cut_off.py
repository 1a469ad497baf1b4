"""A worker that is cut off from its group, and from nothing else: it still reads, decides and could publish."""

import asyncio
import random

import pytest
from tests.attacks.proxy import Fault, Kind
from tests.attacks.site import Site
from tests.worker.harness import COMMANDS, World
from tests.worker.load import load, moves, owns

CUSTOMERS = range(1, 21)
PARTITIONS = 3 * 4
JOIN_GROUP, HEARTBEAT, SYNC_GROUP = 11, 12, 14
CUT_FOR_S = 20.0
"""Longer than a session, a publish and a heartbeat's wait for its answer, one behind the other."""


@pytest.fixture
async def site():
    async with Site(random.Random(0)).running() as site:
        yield site


async def owners(world):
    rows = await world.sql("select partition, transactional_id from partition_owner where topic = $1", COMMANDS)
    return {row["partition"]: row["transactional_id"] for row in rows}


@pytest.fixture
async def world(site, topic_prefix, tmp_path):
    world = World(site.kafka.bootstrap_servers, await site.database(), topic_prefix, tmp_path)
    await world.prepare()
    yield world
    await world.close()


async def test_a_worker_cut_off_from_its_group_takes_nothing_back_from_the_one_that_got_its_partitions(site, world):
    cut_off, other = (world.worker(**site.settings(world, number)) for number in range(2))
    await world.register(CUSTOMERS)
    await world.until(lambda: owns(cut_off) and owns(other), "both have partitions")
    async with load(world, "cut", CUSTOMERS):
        await moves(world)
        site.brokers[0].begin(Fault(Kind.CUT, only=(JOIN_GROUP, HEARTBEAT, SYNC_GROUP)))
        await world.until(lambda: owns(other) == PARTITIONS, "the other has all partitions")
        taken, committed = await owners(world), await world.committed()
        await asyncio.sleep(CUT_FOR_S)
        assert await owners(world) == taken
        now = await world.committed()
        assert [place for place, offset in committed.items() if now[place] < offset] == [], "never back"
        await site.brokers[0].heal()
        await world.until(lambda: owns(cut_off) and owns(other) < PARTITIONS, "it is a worker like any other again")
        await moves(world)
    assert cut_off.running
    assert [e for e in other.events("publish.failed") if e["stage"] == "apply"] == []
    await world.command("verify")
