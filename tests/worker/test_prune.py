"""`mergeline prune` beside a running worker, on real topics: what it drops, and what it refuses in one line."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.worker.harness import UPDATES, adding

DAY_MS = 24 * 60 * 60 * 1000
AGE = """
with aged as (update ledger set day = day - $1::integer, decided_at = decided_at - $1 * interval '1 day')
update request set day = day - $1::integer, decided_day = decided_day - $1::integer
"""
LONG_AGO = datetime.now(UTC).date() - timedelta(days=20)


@pytest.fixture(scope="module")
async def aged(module_world):
    """A worker that answered forty requests twenty days ago, and goes on."""
    module_world.worker()
    await module_world.register(range(1, 11))
    await module_world.outcomes_of([adding(number % 10 + 1, f"old-{number}") for number in range(30)])
    await module_world.drained()
    await module_world.sql("select ledger_add_day($1)", LONG_AGO)
    await module_world.sql(AGE, 20)
    return module_world


async def retain(world, topic, **configs):
    await world.configure(world.prefix + topic, {name.replace("_", "."): value for name, value in configs.items()})


async def prune(world, *options, **settings):
    return json.loads(await world.command("prune", "--json", *options, **settings))


async def refused(world, *options, **settings):
    (line,) = (await world.command("prune", "--yes", *options, status=2, **settings)).splitlines()
    assert line.startswith("mergeline: ")
    assert await world.sql("select from ledger where day = $1 limit 1", LONG_AGO) != []
    return line


async def test_what_would_go_is_said_and_nothing_is_changed(aged):
    said = await prune(aged)
    assert said["dropped"] is False
    assert [(day["day"], day["requestIds"]) for day in said["days"]] == [(str(LONG_AGO), None)]
    assert f"{LONG_AGO} " in await aged.command("prune")
    assert await aged.sql("select from request where request_id = 'old-0'") != []
    assert (await prune(aged, "--keep-days", "20"))["days"] == []


async def test_a_day_that_an_input_can_deliver_again_is_refused(aged):
    await retain(aged, UPDATES, retention_ms=str(13 * DAY_MS), segment_ms=str(7 * DAY_MS))
    line = await refused(aged)
    assert f"{aged.prefix}{UPDATES} can deliver messages for up to 21 days" in line
    assert (await prune(aged, "--keep-days", "21"))["days"] == []


async def test_an_input_that_keeps_for_ever_is_refused_unless_that_is_accepted(aged):
    await retain(aged, UPDATES, retention_ms="-1")
    assert "keeps messages for ever" in await refused(aged)
    assert len((await prune(aged, "--ignore-retention"))["days"]) == 1


async def test_what_is_not_known_to_be_published_is_refused(aged):
    await retain(aged, UPDATES, retention_ms=str(7 * DAY_MS), segment_ms=str(DAY_MS))
    assert f"The ledger's day {LONG_AGO} has answers" in await refused(aged, MERGELINE_GROUP_ID="nobody")


async def test_an_old_day_goes_while_the_worker_runs_and_its_ids_are_new_again(aged):
    await retain(aged, UPDATES, retention_ms=str(7 * DAY_MS), segment_ms=str(DAY_MS))
    stop = asyncio.Event()

    async def load():
        number = 0
        while not stop.is_set():
            number += 1
            await aged.outcomes_of([adding(turn % 10 + 1, f"new-{number}-{turn}") for turn in range(20)])
        return number

    loading = asyncio.create_task(load())
    said = await prune(aged, "--yes")
    stop.set()
    assert await loading
    assert said["dropped"] is True
    assert [(day["day"], day["requestIds"]) for day in said["days"]] == [(str(LONG_AGO), 40)]
    assert (await prune(aged, "--yes"))["days"] == []
    assert await aged.sql("select from ledger where day = $1", LONG_AGO) == []
    # What is forgotten is decided again, and what is known is not.
    before = len(aged.records["update-outcomes"])
    await aged.produce(UPDATES, [adding(1, "old-0"), adding(1, "old-0")])
    await aged.drained()
    flags = [dict(record.headers).get("mergeline-duplicate") for record in aged.records["update-outcomes"][before:]]
    assert flags == [None, b"true"]
    await aged.command("verify")
    assert all(worker.running for worker in aged.workers)
