"""Old days of the ledger go whole, with their request ids, beside batches that go on; what may be needed stays."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from tests.defaults import horizons
from tests.integration.desk import AT, UPDATES, Desk, Gate, kinds, line
from tests.integration.test_ledger import age
from tests.integration.test_merges import sound

from mergeline.store.progress import Progress
from mergeline.store.pruning import Busy, Unpublished, check_rights, drop_day, old_days

GROUP = "mergeline"
LONG_AGO = datetime.now(UTC).date() - timedelta(days=20)


async def pruned(sql, published, keep_days=14):
    """Every old day dropped; how many request ids each took."""
    return [(old.day, await drop_day(sql, old.day, GROUP, published)) for old in await old_days(sql, keep_days)]


async def ids(sql):
    return {row["request_id"] for row in await sql.fetch("select request_id from request")}


async def test_a_day_is_dropped_with_its_request_ids_once_it_is_published(desk, sql):
    await desk.register(1)
    old = desk.log.update(1, add=line("x"), requestId="r-old")
    await desk.apply(old)
    await age(sql, 20)
    again = desk.log.sent_again(old)
    await desk.apply(again, desk.log.update(1, add=line("y"), requestId="r-new"))
    with pytest.raises(Unpublished, match="only those below 0"):
        await pruned(sql, {})
    assert await sql.fetchval("select count(*) from ledger where request_id = 'r-old'") == 2

    published = {AT: desk.log.ends[AT]}
    assert await pruned(sql, published) == [(LONG_AGO, 1)]
    assert await pruned(sql, published) == []
    assert await ids(sql) == {"r-old", "r-new"}  # the old one has a row of a later day
    # What is beyond the window is decided anew; what is within is known.
    assert kinds(await desk.apply(again, desk.log.sent_again(old))) == ["answered", "unchanged"]
    assert kinds(await desk.apply(desk.log.sent_again(old))) == ["repeat"]


async def test_the_days_that_are_kept_are_whole_ones(desk, sql):
    await desk.register(1)
    await age(sql, 20)
    assert [old.day for old in await old_days(sql, 19)] == [LONG_AGO]
    assert await old_days(sql, 20) == []


async def test_progress_that_the_database_knows_counts_too(desk, sql):
    await desk.register(1)
    await age(sql, 20)
    await desk.apply(progress={AT: Progress(desk.log.ends[AT])})
    assert await pruned(sql, {}) == [(LONG_AGO, 1)]
    assert await ids(sql) == set()


async def test_progress_that_only_kafka_knows_is_written_down_before_its_answers_go(desk, sql):
    """Or a group whose offsets expire would read again what nobody remembers."""
    await desk.register(1)
    await age(sql, 20)
    await pruned(sql, {AT: desk.log.ends[AT]})
    assert await sql.fetchval("select published_offset from partition_owner where topic = $1", AT[0]) == 1
    assert await horizons(desk.store, [AT]) == {}


async def test_how_far_the_group_is_beyond_those_answers_is_not_written_down(desk, sql):
    """Of a database that was restored, its own answers and the group's offsets are all there is to see that by."""
    await desk.register(1)
    await age(sql, 20)
    await pruned(sql, {AT: 50})
    assert await sql.fetchval("select published_offset from partition_owner where topic = $1", AT[0]) == 1


async def test_the_oldest_days_go_first_and_the_first_that_may_not_stops_it(desk, sql):
    await desk.register(1)
    await age(sql, 10)
    await desk.register(2)
    await age(sql, 20)
    with pytest.raises(Unpublished, match=f"day {LONG_AGO} has answers up to offset 1 .* those below 1 "):
        await pruned(sql, {AT: 1})
    assert [row["day"] for row in await sql.fetch("select distinct day from ledger")] == [LONG_AGO]


async def test_a_repeat_under_a_clock_that_went_back_keeps_its_request_id_as_long_as_its_decision(desk, sql):
    """The server that took over has the day before the one of the decision."""
    message = desk.log.customer(1, "x", requestId="r")
    await desk.apply(message)
    await age(sql, -1)
    assert kinds(await desk.apply(desk.log.sent_again(message))) == ["repeat"]
    request = await sql.fetchrow("select day, decided_day from request")
    assert request["day"] == request["decided_day"] == datetime.now(UTC).date() + timedelta(days=1)


async def test_many_request_ids_go_page_by_page(desk, sql, monkeypatch):
    monkeypatch.setattr("mergeline.store.pruning.REQUESTS_PAGE", 3)
    await desk.register(*range(1, 11))
    await age(sql, 20)
    assert await pruned(sql, {AT: desk.log.ends[AT]}) == [(LONG_AGO, 10)]
    assert await ids(sql) == set()


async def test_rows_of_a_day_that_nobody_made_go_too(desk, sql, monkeypatch):
    monkeypatch.setattr("mergeline.store.pruning.REQUESTS_PAGE", 3)
    await desk.register(*range(1, 11))
    await sql.execute("update ledger set day = $1", LONG_AGO - timedelta(days=400))
    await sql.execute("update request set day = $1, decided_day = $1", LONG_AGO - timedelta(days=400))
    assert [number for _, number in await pruned(sql, {AT: desk.log.ends[AT]})] == [10]
    assert await sql.fetchval("select count(*) from ledger") == 0


async def test_dead_letters_go_like_any_other_answer(desk, sql):
    await desk.apply(desk.log.put(UPDATES, b"{"))
    await age(sql, 20)
    assert await pruned(sql, {AT: desk.log.ends[AT]}) == [(LONG_AGO, 1)]


async def test_a_role_that_could_not_end_it_does_not_begin(desk, sql, shared_database_url):
    await sql.execute("create role clerk; grant select, delete on request to clerk; set role clerk")
    with pytest.raises(Exception, match="may not prune"):
        await check_rights(sql)
    await sql.execute("reset role; drop owned by clerk; drop role clerk")
    await check_rights(sql)


# ---------------------------------------------------------------- beside batches


@pytest.fixture
async def other(shared_database_url):
    connection = await asyncpg.connect(shared_database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("station", ["discover", "lock", "read", "ledger_read", "write_rest", "commit"])
async def test_a_repeat_that_comes_while_its_day_goes_leaves_nothing_half(new_store, desk, sql, other, station):
    """It is answered as a repeat or decided anew; either way the ledger and the request ids fit together."""
    await desk.register(1)
    old = desk.log.update(1, add=line("x"), requestId="r-old")
    await desk.apply(old)
    await age(sql, 20)
    gate = Gate(station)
    repeating = asyncio.create_task(Desk(await new_store(gate), desk.log).persist(desk.log.sent_again(old)))
    await gate.reached.wait()
    pruning = asyncio.create_task(pruned(other, {AT: desk.log.ends[AT]}))
    await asyncio.wait([pruning], timeout=0.4)
    gate.open()
    (answer,) = await repeating
    assert answer.kind in ("repeat", "unchanged")
    assert [day for day, _ in await pruning] == [LONG_AGO]
    assert await sound(sql)
    assert await ids(sql) == {"r-old"}
    assert kinds(await desk.apply(desk.log.sent_again(old))) == ["unchanged" if answer.kind == "repeat" else "repeat"]


async def test_a_batch_waits_no_longer_than_told_for_a_day_that_goes(new_store, desk, sql, other, monkeypatch):
    """A dump holds the ledger, so the day cannot go; batches pass by, and in the end it is given up in words."""
    monkeypatch.setattr("mergeline.store.pruning.ATTEMPTS_MAX", 12)
    monkeypatch.setattr("mergeline.store.pruning.ATTEMPT_PAUSE_S", 0.05)
    await desk.register(1)
    await age(sql, 20)
    async with sql.transaction():
        await sql.execute("select count(*) from ledger")
        pruning = asyncio.create_task(pruned(other, {AT: desk.log.ends[AT]}))
        slowest = 0.0
        while not pruning.done():
            started = asyncio.get_running_loop().time()
            assert kinds(await desk.apply(desk.log.update(1, add=line("x")))) != []
            slowest = max(slowest, asyncio.get_running_loop().time() - started)
        with pytest.raises(Busy, match="Nothing is lost; prune again"):
            await pruning
    assert slowest < 5  # 0.2 s, and a generous bound for a busy machine
    assert len(await pruned(sql, {AT: desk.log.ends[AT]})) == 1


async def test_two_at_once_drop_each_day_once(desk, sql, other, shared_database_url):
    await desk.register(*range(1, 300))
    await age(sql, 20)
    third = await asyncpg.connect(shared_database_url)
    published = {AT: desk.log.ends[AT]}
    await asyncio.gather(pruned(other, published), pruned(third, published))
    await third.close()
    assert await ids(sql) == set()
    assert await sql.fetchval("select count(*) from ledger") == 0
