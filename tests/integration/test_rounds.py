"""What was found before the locks is found again under them; where it differs, another round locks the difference.

And should a lock ever be missing, a write still finds out.
"""

import asyncio

import asyncpg
import pytest
from tests.integration.desk import CATALOG, Desk, Gate, codes, issue, kinds, line, outcome
from tests.integration.test_merges import meets, sound

from mergeline.domain.catalog import Catalog
from mergeline.store.apply import LOCK_ROUNDS_MAX
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.failures import Overtaken, Unsettled


class Meanwhile(Gate):
    """Does something of its own in front of a statement, the first `times` times."""

    def __init__(self, name, action, times=1):
        super().__init__()
        self._name, self._action, self._left = name, action, times

    async def __call__(self, name):
        await super().__call__(name)
        if name == self._name and self._left:
            self._left -= 1
            await self._action()


async def test_an_owner_who_changes_before_the_locks_is_locked_in_a_second_round(new_store, desk, sql):
    await desk.register(1, 2, 3)

    async def merge_the_owner():
        await desk.apply(meets(desk, 1, 2))

    meanwhile = Meanwhile("lock", merge_the_owner)
    (answer,) = await (await new_store(meanwhile)).apply([meets(desk, 3, 1)])
    assert outcome(answer)["mergedInto"] == 2
    assert meanwhile.passed.count("lock") == 2
    assert meanwhile.passed.count("rollback") == 1
    assert await sound(sql)


async def test_a_root_who_changes_before_the_locks_is_locked_in_a_second_round(new_store, desk, sql):
    await desk.register(1, 2)

    async def merge_the_root():
        await desk.apply(meets(desk, 1, 2))

    meanwhile = Meanwhile("lock", merge_the_root)
    (answer,) = await (await new_store(meanwhile)).apply([desk.log.update(1, add=line("x"))])
    assert outcome(answer)["appliedTo"] == 2
    assert meanwhile.passed.count("lock") == 2
    assert await sound(sql)


async def test_owners_who_never_settle_end_after_a_bounded_number_of_rounds(new_store, desk, sql):
    await desk.register(*range(1, LOCK_ROUNDS_MAX + 3))
    owner = 1

    async def merge_the_owner():
        nonlocal owner
        await desk.apply(meets(desk, owner, owner + 1))
        owner += 1

    meanwhile = Meanwhile("lock", merge_the_owner, times=LOCK_ROUNDS_MAX)
    restless = Desk(await new_store(meanwhile), desk.log)
    message = desk.log.update(LOCK_ROUNDS_MAX + 2, add=line("of-1"))
    with pytest.raises(Unsettled):
        await restless.apply(message)
    assert meanwhile.passed.count("lock") == LOCK_ROUNDS_MAX
    assert kinds(await restless.persist(message)) == ["applied"]


async def test_a_catalog_that_changes_before_the_locks_is_what_counts(new_store, desk, sql):
    await desk.register(1)
    store = await new_store()
    await store.apply([desk.log.update(1, add=line("warm"))])  # the catalog is cached now

    async def block():
        changed = Catalog.model_validate(CATALOG | {"blockList": ["x"]})
        assert (await apply_catalogs(sql, [changed]))[0].changed

    meanwhile = Meanwhile("begin", block)
    store._on_statement = meanwhile
    (answer,) = await store.apply([desk.log.update(1, add=line("x"))])
    assert codes(answer) == ["BLOCKED_VALUE"]
    assert meanwhile.passed.count("catalogs_newest") == 1
    assert meanwhile.passed.count("lock") == 2


async def test_an_org_gets_its_first_catalog(desk, sql):
    org = CATALOG["orgId"] + 1
    message = desk.log.customer(1, orgId=org)
    (answer,) = await desk.apply(message)
    assert codes(answer) == ["UNKNOWN_ORG"]
    await apply_catalogs(sql, [Catalog.model_validate(CATALOG | {"orgId": org})])
    assert kinds(await desk.apply(desk.log.customer(1, orgId=org))) == ["applied"]


async def test_the_catalog_of_a_batch_in_flight_cannot_change(new_store, desk, sql):
    """`catalog apply` waits for the batch, which decides by what it has prepared."""
    await desk.register(1)
    gate = Gate("ledger_insert")
    store = await new_store(gate)
    batch = asyncio.create_task(store.apply([desk.log.update(1, add=line("x"))]))
    await gate.reached.wait()
    change = asyncio.create_task(apply_catalogs(sql, [Catalog.model_validate(CATALOG | {"blockList": ["x"]})]))
    done, _ = await asyncio.wait([change], timeout=0.1)
    assert not done
    gate.open()
    assert kinds(await batch) == ["applied"]
    assert (await change)[0].changed


@pytest.mark.parametrize(
    ("station", "meanwhile", "message"),
    [
        ("write", "update customer set version = 9 where customer_id = 1", {"add": line("x")}),
        ("write_rest", "update identifier set customer_id = 2 where value = 'own'", {"remove": line("own")}),
        ("write_rest", "update identifier set customer_id = 3 where value = 'own'", {"add": line("of-2")}),
        ("write_rest", "delete from identifier where value = 'own'", {"add": line("of-2")}),
        ("write_rest", "update card set customer_id = 2, status = 'ACTIVE'", {"add": issue("c-1")}),
        ("write_rest", "update card set label = 'Back'", {"add": issue("c-1")}),
    ],
)
async def test_nothing_is_written_over_another_row_than_was_read(new_store, desk, sql, station, meanwhile, message):
    """If ever a lock were missing: the batch is undone, and right the next time."""
    await desk.register(1, 2, 3)
    await desk.apply(desk.log.card("c-1"), desk.log.update(1, add=line("own")))
    store = await new_store(Meanwhile(station, lambda: sql.execute(meanwhile)))
    request = desk.log.update(1, **message)
    with pytest.raises(Overtaken):
        await store.apply([request])
    assert await sql.fetchval("select count(*) from request where request_id = $1", request.origin.request_id) == 0
    assert len(await store.apply([request])) == 1


async def test_an_entry_that_appears_meanwhile_is_not_taken_over(new_store, desk, sql):
    """The last line behind the locks is the primary key."""
    await desk.register(1, 2)

    async def add_it():
        await sql.execute("insert into identifier values (7, 'line', 'x', 'INSTORE', '', 2)")

    store = await new_store(Meanwhile("write", add_it))
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.apply([desk.log.update(1, add=line("x"))])
