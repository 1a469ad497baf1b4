"""Hostile messages, files and sizes; `hostile.py` makes them, `hostile_run.py` sends them to a real worker."""

import pytest
from tests.attacks import hostile_run
from tests.attacks.hostile_run import HostileWorld
from tests.services import databases

MESSAGES = 20_000
STALL_S_MAX = 10.0
"""A bound for a machine that does other things; the figures of the release run are in tests/README.md."""


@pytest.fixture
async def world(postgres, bootstrap_servers, template_database, topic_prefix, tmp_path):
    name = databases.new_name("hostile")
    await databases.create(postgres.database_url, name, template_database)
    world = HostileWorld(bootstrap_servers, databases.url_of(postgres.database_url, name), topic_prefix, tmp_path)
    try:
        await world.prepare()
        yield world
    finally:
        await world.close()
        await databases.drop(postgres.database_url, name)


@pytest.mark.timeout(300)
async def test_every_hostile_message_ends_once_and_the_worker_stays(world, seed):
    print(f"the same at any size: python -m tests.attacks hostile --messages {MESSAGES} --seed {seed}")
    figures = await hostile_run.run(world, seed, MESSAGES)
    print(figures)
    assert figures.outcomes > MESSAGES / 4
    assert figures.dead_letters > MESSAGES / 4
    assert figures.stall_s < STALL_S_MAX, figures
    await world.command("verify")
