"""Twenty kills of workers, broker and database under load: nothing lost, nothing twice, no wrong merge."""

import pytest
from tests.attacks.attacked import attacked_world
from tests.attacks.kills import Kills
from tests.services import databases

REQUESTS, KILLS, PARTITIONS = 6_000, 20, 3


@pytest.fixture
async def world(killable_postgres, killable_kafka, template_database, topic_prefix, tmp_path):
    name = databases.new_name("attack")
    await databases.create(killable_postgres.database_url, name, template_database)
    url = databases.url_of(killable_postgres.database_url, name)
    async with attacked_world(killable_kafka.bootstrap_servers, url, topic_prefix, tmp_path, PARTITIONS) as world:
        yield world
    killable_postgres.start()  # it does nothing, unless a failure left it dead
    await databases.drop(killable_postgres.database_url, name)


@pytest.mark.timeout(600)
async def test_an_auditor_finds_no_defect_after_kills(world, killable_kafka, killable_postgres, seed):
    servers = {"broker": killable_kafka, "database": killable_postgres}
    kills = Kills(world, servers, requests=REQUESTS, kills=KILLS, seed=seed)
    defects = await kills.run()
    assert defects.lines() == [], kills.figures()
    figures = kills.figures()
    assert set(figures["kills"]) == {"worker", "broker", "database", "zombie"}
    assert sum(figures["kills"].values()) == KILLS
