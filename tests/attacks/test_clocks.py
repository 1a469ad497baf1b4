"""The clocks of workers and of the database jump, by days, forwards and back: every message has its one answer."""

import pytest
from tests.attacks.attacked import attacked_world
from tests.attacks.workload import Workload
from tests.services import databases

from mergeline.store.days import ensure_ledger_days

PARTITIONS, WORKERS, MESSAGES = 3, 2, 150
DAY_S = 86_400
JUMPS_S = [("worker", DAY_S), ("worker", -DAY_S), ("database", DAY_S), ("database", -DAY_S), ("database", 9 * DAY_S)]
JUMPING_DATABASE = """
    create schema jumped;
    create table jumped.clock (seconds double precision not null);
    insert into jumped.clock values (0);
    create function jumped.clock_timestamp() returns timestamptz language sql volatile
        return pg_catalog.clock_timestamp() + (select make_interval(secs => seconds) from jumped.clock);
"""
"""What is found before PostgreSQL's own function of that name, by the search path of the database."""


@pytest.fixture
async def world(postgres, bootstrap_servers, template_database, topic_prefix, tmp_path):
    name = databases.new_name("clocks")
    await databases.create(postgres.database_url, name, template_database)
    url = databases.url_of(postgres.database_url, name)
    async with attacked_world(bootstrap_servers, url, topic_prefix, tmp_path, PARTITIONS) as world:
        async with world.connection() as connection:
            await connection.execute(JUMPING_DATABASE)
            await connection.execute(f"alter database {name} set search_path = jumped, public, pg_catalog")
        yield world
    await databases.drop(postgres.database_url, name)


def set_clock(clock, seconds):
    """All at once: a worker that reads it meanwhile would find half a file."""
    written = clock.with_suffix(".new")
    written.write_text(str(seconds))
    written.replace(clock)


@pytest.mark.timeout(400)
async def test_every_message_has_its_one_answer_whatever_the_clocks_say(world, tmp_path, seed):
    clock, messages = tmp_path / "clock", Workload(seed)
    set_clock(clock, 0)
    workers = [world.worker("tests.attacks.jumping", MERGELINE_TEST_CLOCK=str(clock)) for _ in range(WORKERS)]
    await world.send(messages.take(MESSAGES))
    await world.drained()
    for whose, seconds in JUMPS_S:
        if whose == "worker":
            set_clock(clock, seconds)
        else:
            set_clock(clock, 0)
            await world.sql("update jumped.clock set seconds = $1", seconds)
        await world.send(messages.take(MESSAGES))
        await world.drained()
    defects = await world.audit()
    assert defects.lines() == []
    assert all(worker.running for worker in workers)
    days = await world.sql("select distinct day from ledger")
    assert len(days) == 4, "of today, tomorrow, yesterday, and one that nobody has made a partition for"
    assert await world.sql("select from ledger_default")


async def test_days_are_made_by_the_clock_that_dates_the_rows(world):
    await world.sql("update jumped.clock set seconds = $1", 400 * DAY_S)
    async with world.connection() as connection:
        made = await ensure_ledger_days(connection, 1)
        today = await connection.fetchval("select (clock_timestamp() at time zone 'UTC')::date")
    assert [(day - today).days for day in made] == [-1, 0, 1]
