"""Locks are taken in the order of their keys, shared and alone alike, whoever asks in whatever order."""

import asyncio

import asyncpg
import pytest

from mergeline.store.failures import BatchTooLarge
from mergeline.store.locks import lock, lock_key
from mergeline.store.queries import SQL
from mergeline.store.statements import Statements

NAMES = [f"customer:7:{number}" for number in range(60)]


@pytest.fixture
async def connections(shared_database_url):
    opened = [await asyncpg.connect(shared_database_url) for _ in range(4)]
    yield [Statements(connection) for connection in opened]
    for connection in opened:
        await connection.close()


def test_a_name_always_has_the_same_key():
    """The keys are part of the protocol between versions that run side by side."""
    assert lock_key("customer:7:1") == -167237272690439565
    assert lock_key("catalog:7") == 1873523674881519263


async def test_the_plan_sorts_before_it_locks(sql):
    plan = "\n".join(row[0] for row in await sql.fetch(f"explain verbose {SQL['lock']}", [3, 1], [True, False]))
    assert plan.index("Aggregate") < plan.index("Sort Key: wanted.key") < plan.index("Function Scan")


async def test_a_waiter_holds_all_lower_keys_and_no_higher_one(sql, connections):
    """Seen from outside: the holder has one key in the middle, and the waiter everything below it."""
    holder, waiter, *_ = connections
    keys = sorted(map(lock_key, NAMES))
    middle = next(name for name in NAMES if lock_key(name) == keys[30])
    async with holder.transaction():
        await lock(holder, [middle], [], 100)
        waiting = asyncio.create_task(_lock_in_transaction(waiter, NAMES[::2], NAMES[1::2]))
        for _ in range(100):
            held = await sql.fetch(
                "select (classid::bigint << 32 | objid::bigint) as key, granted from pg_locks"
                " where locktype = 'advisory' and pid <> $1 and pid = any(select pid from pg_locks where not granted)",
                await sql.fetchval("select pg_backend_pid()"),
            )
            if held:
                break
            await asyncio.sleep(0.02)
        assert sorted(row["key"] for row in held if row["granted"]) == keys[:30]
        assert [row["key"] for row in held if not row["granted"]] == [keys[30]]
    await waiting


async def test_shared_locks_do_not_exclude_each_other_but_the_one_who_wants_it_alone(connections):
    one, two, alone, _ = connections
    async with one.transaction():
        await lock(one, ["customer:7:1"], ["catalog:7"], 10)
        async with two.transaction():
            await lock(two, ["customer:7:2"], ["catalog:7"], 10)
        waiting = asyncio.create_task(_lock_in_transaction(alone, ["catalog:7"], []))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
    await waiting


async def test_writers_in_any_order_never_wait_in_a_circle(connections):
    async def work(db: Statements, number: int) -> None:
        for turn in range(15):
            alone = NAMES[number * 3 % 7 :: 2] if turn % 2 else list(reversed(NAMES[turn::3]))
            await _lock_in_transaction(db, alone, ["catalog:7", "catalog:8"])

    await asyncio.gather(*(work(db, number) for number, db in enumerate(connections)))


async def test_time_is_read_once_the_last_lock_is_there(connections):
    holder, waiter, *_ = connections
    async with holder.transaction():
        first = await lock(holder, ["customer:7:1"], [], 10)
        waiting = asyncio.create_task(_lock_in_transaction(waiter, ["customer:7:1"], []))
        await asyncio.sleep(0.1)
    assert ((await waiting) - first).total_seconds() >= 0.1


async def test_more_keys_than_one_transaction_may_take_are_refused_before_any_is_taken(sql, connections):
    db = connections[0]
    async with db.transaction():
        with pytest.raises(BatchTooLarge):
            await lock(db, NAMES, [], 59)
        assert await sql.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0
        await lock(db, NAMES + NAMES, [], 60)


async def _lock_in_transaction(db: Statements, alone, shared):
    async with db.transaction():
        return await lock(db, alone, shared, 1_000)
