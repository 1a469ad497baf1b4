"""Whose the partitions are: one claim at a time, in order, and what a claim leaves behind."""

import asyncio
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from tests.horizons import horizons
from tests.integration.desk import AT

from mergeline.domain.messages import Place
from mergeline.store.failures import Forgotten, Kind, kind_of
from mergeline.store.incarnations import read_incarnations
from mergeline.store.migrations import pending
from mergeline.store.ownership import Owner, claim, read_owners
from mergeline.store.progress import Progress
from mergeline.store.statements import Statements

TOPIC = AT[0]
PLACES = [Place(TOPIC, number) for number in range(3)]
OURS = Place(*AT)


async def test_who_claims_first_finds_nobody(store):
    async with claim(store, PLACES) as claimed:
        assert claimed.owners == dict.fromkeys(PLACES, Owner(None, 0, None))
        assert claimed.transactional_ids == set()


async def test_who_only_looks_waits_for_nobody_and_needs_to_read_four_tables_and_no_more(
    desk, sql, shared_database_url
):
    """The grants that deploy/README.md names for `mergeline offsets`."""
    await owned(desk, 0)
    await desk.apply(desk.log.customer(1), progress={OURS: Progress(0, 0)})
    parts = urlsplit(shared_database_url)
    address = urlunsplit(parts._replace(netloc=f"looker:looker@{parts.hostname}:{parts.port}"))
    await sql.execute(
        "create role looker login password 'looker';"
        "grant select on migration, topic_incarnation, partition_owner, ledger to looker"
    )
    connection = await asyncpg.connect(address)
    try:
        assert await pending(connection) == []
        assert await read_incarnations(Statements(connection)) == {}
        async with claim(desk.store, PLACES):
            found = await read_owners(Statements(connection), desk.store.options.group_id, PLACES, 2_000)
        assert found == ({OURS: Owner(None, 0, 1)}, {OURS: 0})
    finally:
        await connection.close()
        await sql.execute("drop owned by looker; drop role looker")


async def test_the_next_one_finds_the_id_and_how_far_it_got(desk):
    async with claim(desk.store, PLACES) as claimed:
        await claimed.write("mergeline-1")
    await desk.apply(progress={PLACES[1]: Progress(17)})
    await desk.apply(progress={PLACES[1]: Progress(12)})  # never back
    async with claim(desk.store, PLACES[1:]) as claimed:
        assert claimed.owners == {PLACES[1]: Owner("mergeline-1", 17, None), PLACES[2]: Owner("mergeline-1", 0, None)}
        await claimed.write("mergeline-2")
    async with claim(desk.store, PLACES) as claimed:
        assert claimed.transactional_ids == {"mergeline-1", "mergeline-2"}


async def test_a_second_claim_waits_for_the_first(new_store):
    one, two = await new_store(), await new_store()
    order = []

    async def second():
        async with claim(two, reversed(PLACES[1:])) as claimed:
            order.append(claimed.transactional_ids)

    async with claim(one, PLACES) as claimed:
        task = asyncio.create_task(second())
        await asyncio.sleep(0.1)
        await claimed.write("first")
        order.append("first wrote")
    await task
    assert order == ["first wrote", {"first"}]


async def test_an_exception_inside_writes_nothing(store):
    async def fail():
        async with claim(store, PLACES) as claimed:
            await claimed.write("never")
            raise OSError

    with pytest.raises(OSError):
        await fail()
    async with claim(store, PLACES) as claimed:
        assert claimed.transactional_ids == set()


async def test_groups_do_not_meet(new_store):
    async with claim(await new_store(), PLACES) as one:
        async with claim(await new_store(group_id="other"), PLACES) as two:
            await two.write("theirs")
        await one.write("ours")
    async with claim(await new_store(), PLACES) as claimed:
        assert claimed.transactional_ids == {"ours"}


async def test_a_worker_that_sleeps_cannot_hold_the_rows_for_ever(new_store):
    asleep, awake = await new_store(idle_ms_max=100), await new_store()

    async def sleep_on_it():
        async with claim(asleep, PLACES) as claimed:
            await asyncio.sleep(0.5)
            await claimed.write("too late")

    task = asyncio.create_task(sleep_on_it())
    await asyncio.sleep(0.05)
    async with claim(awake, PLACES) as claimed:
        await claimed.write("mine")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await task
    async with claim(awake, PLACES) as claimed:
        assert claimed.transactional_ids == {"mine"}


async def test_the_horizon_is_the_highest_place_that_was_answered(desk, store):
    assert await horizons(store, PLACES) == {}
    await desk.register(1, 2, 3)
    assert await horizons(store, [*PLACES, ("other", 0)]) == {OURS: 2}


async def test_a_batch_and_a_claim_of_its_partition_wait_for_each_other(new_store, desk):
    """A batch in flight when its partition is taken over: it waits, is too late for nobody, and its truth counts."""
    async with claim(await new_store(), PLACES) as claimed:
        batch = asyncio.create_task(desk.apply(desk.log.customer(1), progress={OURS: Progress(3)}))
        await asyncio.sleep(0.1)
        assert not batch.done()
        await claimed.write("next")
    assert (await batch)[0].kind == "applied"
    async with claim(desk.store, [OURS]) as claimed:
        assert claimed.owners == {OURS: Owner("next", 3, 1)}


async def test_what_a_worker_has_stored_the_database_still_has(desk):
    """Whoever applies a batch says how far it had stored each partition; a database that knows of less is older."""
    await desk.apply(desk.log.customer(1), desk.log.customer(2), progress={OURS: Progress(0)})
    await desk.apply(desk.log.customer(3), progress={OURS: Progress(1, 2)})
    await desk.apply(progress={OURS: Progress(2, 3)})  # and the worker that lagged behind another one may know of less
    await desk.apply(desk.log.customer(4), progress={OURS: Progress(2, 2)})
    async with claim(desk.store, [OURS]) as claimed:
        assert claimed.owners == {OURS: Owner(None, 2, 4)}


@pytest.mark.parametrize("stored", [2, 0, None], ids=["less", "nothing", "no row"])
async def test_a_database_that_has_lost_what_was_stored_takes_nothing(desk, sql, stored):
    await desk.apply(*(desk.log.customer(number) for number in (1, 2, 3)), progress={OURS: Progress(0)})
    if stored is None:
        await sql.execute("delete from partition_owner")
    else:
        await sql.execute("update partition_owner set answered_offset = nullif($1, 0)", stored)
    for messages in ([desk.log.customer(4, "one")], []):
        with pytest.raises(Forgotten, match="started again, a worker says what to do") as raised:
            await desk.persist(*messages, progress={OURS: Progress(1, 3), Place(TOPIC, 2): Progress(5)})
        assert kind_of(raised.value) is Kind.FATAL
    assert await sql.fetchval("select count(*) from identifier") == 0
    assert await sql.fetchval("select max(published_offset) from partition_owner") in (0, None)


async def test_what_an_owner_has_published_needs_no_batch_to_be_known_as_done(desk, sql):
    """End markers, passed over: nobody has to look there for records that were forgotten."""
    await owned(desk, 2)
    await desk.apply(progress={OURS: Progress(7, 2)})
    await desk.apply(progress={OURS: Progress(9)})  # prune's, which owns nothing
    row = await sql.fetchrow("select published_offset, answered_offset from partition_owner")
    assert tuple(row) == (9, 7)


async def test_an_owner_answers_from_where_it_goes_on_and_never_goes_back(desk):
    for position, answered in ((2, 2), (9, 9), (5, 9)):  # what was passed over meanwhile holds no record
        await owned(desk, position)
        async with claim(desk.store, [OURS]) as claimed:
            assert claimed.owners[OURS].answered_offset == answered


async def test_nobody_answers_any_more_what_is_routed(desk):
    await owned(desk, 0)
    async with claim(desk.store, [OURS]) as claimed:
        await claimed.write("its-owner")
    async with claim(desk.store, [OURS]) as claimed:
        assert await claimed.horizons() == {}
        await claimed.disown({OURS: 4})
    with pytest.raises(Forgotten):
        await desk.apply(desk.log.customer(1), progress={OURS: Progress(0, 0)})
    async with claim(desk.store, [OURS]) as claimed:
        assert claimed.owners == {OURS: Owner(None, 4, None)}


async def test_nor_by_a_batch_that_waited_for_whoever_routes_it(new_store, desk):
    await owned(desk, 0)
    async with claim(await new_store(), [OURS]) as claimed:
        batch = asyncio.create_task(desk.apply(desk.log.customer(1), progress={OURS: Progress(0, 0)}))
        await asyncio.sleep(0.2)
        assert not batch.done()
        await claimed.disown({OURS: 0})
    with pytest.raises(Forgotten):
        await batch
    assert await horizons(desk.store, [OURS]) == {}


async def owned(desk, position):
    async with claim(desk.store, [OURS]) as claimed:
        await claimed.write(None, {OURS: position})
