"""Every kind of fault once, between two workers and their servers: nothing lost, nothing twice, drained soon after."""

import random

import pytest
from tests.attacks.attacked import attacked_world
from tests.attacks.network import DRAINED_WITHIN_S, Network
from tests.attacks.proxy import Kind
from tests.attacks.site import Site

PARTITIONS = 3
SLOW_MACHINE = 3
"""How much longer than promised it may take here, beside other work; the release run is held to the promise."""


@pytest.fixture
async def site(seed):
    async with Site(random.Random(seed)).running() as site:
        yield site


@pytest.mark.timeout(600)
async def test_an_auditor_finds_no_defect_after_every_kind_of_fault(site, topic_prefix, tmp_path, seed):
    address = site.kafka.bootstrap_servers
    async with attacked_world(address, await site.database(), topic_prefix, tmp_path, PARTITIONS) as world:
        network = Network(site, world, rounds=1, seed=seed, drained_within_s=SLOW_MACHINE * DRAINED_WITHIN_S)
        defects = await network.run()
    assert defects.lines() == [], network.figures()
    assert network.done == {kind.value: 1 for kind in Kind}
