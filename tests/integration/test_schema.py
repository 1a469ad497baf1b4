"""The tables: what the migrations lead to, and the days of the ledger."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from tests.defaults import default_options, horizons, open_pool
from tests.integration.desk import AT, UPDATES, Desk, issue, kinds, line
from tests.services import databases

from mergeline.domain.messages import Place
from mergeline.store.apply import Store
from mergeline.store.days import DAYS_AHEAD, ensure_ledger_days
from mergeline.store.incarnations import Incarnation, next_incarnation, record
from mergeline.store.migrations import WrongEncoding, migrate, pending
from mergeline.store.ownership import claim
from mergeline.store.progress import Progress

TODAY = datetime.now(UTC).date()


@pytest.fixture
async def empty(empty_database_url):
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


CATALOG_OF_TABLES = """
select 'column' as kind, c.relname || '.' || a.attname as name,
    concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage,
        coll.collname, pg_get_expr(d.adbin, d.adrelid)) as definition
from pg_attribute a
join pg_class c on c.oid = a.attrelid
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
left join pg_collation coll on coll.oid = a.attcollation
where c.relnamespace = current_schema()::regnamespace and a.attnum > 0 and not a.attisdropped
    and c.relname !~ '^ledger_\\d'
union all
select 'constraint', c.relname || '.' || n.conname, pg_get_constraintdef(n.oid)
from pg_constraint n
join pg_class c on c.oid = n.conrelid
where c.relnamespace = current_schema()::regnamespace and c.relname !~ '^ledger_\\d'
union all
select 'index', c.relname, pg_get_indexdef(c.oid)
from pg_class c
where c.relkind in ('i', 'I') and c.relnamespace = current_schema()::regnamespace and c.relname !~ '^ledger_\\d'
union all
select 'table', c.relname, concat_ws(' ', c.relkind, c.relpersistence, c.reloptions, pg_get_partkeydef(c.oid))
from pg_class c
where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace and c.relname !~ '^ledger_\\d'
union all
select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '')
from pg_proc p
where p.pronamespace = current_schema()::regnamespace
order by 1, 2, 3
"""


async def test_the_migrations_lead_to_the_schema(sql, empty):
    await empty.execute(files("mergeline.store").joinpath("schema.sql").read_text(encoding="utf-8"))
    written = [tuple(row) for row in await empty.fetch(CATALOG_OF_TABLES)]
    migrated = [tuple(row) for row in await sql.fetch(CATALOG_OF_TABLES)]
    assert len(written) > 80
    assert migrated == written


async def test_migrating_again_and_at_once_changes_nothing(empty_database_url, empty):
    assert await pending(empty) == ["0001_initial"]
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert sorted(applied, key=len) == [[], [], [], ["0001_initial"]]
    assert await pending(empty) == []
    assert await migrate(empty_database_url) == []


async def test_what_is_pending_is_known_by_names_alone(empty, monkeypatch):
    """Readiness asks every few seconds."""
    monkeypatch.setattr("mergeline.store.migrations._text", {}.__getitem__)
    assert await pending(empty) == ["0001_initial"]


async def test_a_release_does_not_mind_the_migrations_of_a_later_one(database_url, sql):
    await sql.execute("insert into migration (name) values ('9999_of_a_later_release')")
    assert await pending(sql) == []
    assert await migrate(database_url) == []


async def test_a_migration_that_fails_leaves_nothing(empty_database_url, empty, monkeypatch):
    broken = "create table half (); select no_such_function()"
    monkeypatch.setattr("mergeline.store.migrations._text", {"0001_initial": broken}.__getitem__)
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await migrate(empty_database_url)
    assert await empty.fetchval("select to_regclass('half')") is None


async def test_a_database_that_cannot_hold_every_name_is_refused(sql, postgres):
    await sql.execute("create database latin encoding 'LATIN1' locale 'C' template template0")
    try:
        with pytest.raises(WrongEncoding, match=r"encoding is LATIN1.* encoding 'UTF8' template template0"):
            await migrate(databases.url_of(postgres.database_url, "latin"))
    finally:
        await sql.execute("drop database latin")


async def test_every_key_but_those_that_cannot_starts_with_the_org(sql):
    keys = await sql.fetch(
        "select c.relname, a.attname from pg_index i join pg_class c on c.oid = i.indrelid"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]"
        " where i.indisprimary and c.relnamespace = current_schema()::regnamespace"
    )
    others = {row["relname"] for row in keys if row["attname"] != "org_id"}
    assert others == {"migration", "partition_owner", "topic_incarnation"}


# ---------------------------------------------------------------- the ledger's days


async def days(connection) -> set[date]:
    rows = await connection.fetch("select relname from pg_class where relname ~ '^ledger_[0-9]{8}$'")
    return {datetime.strptime(row["relname"], "ledger_%Y%m%d").replace(tzinfo=UTC).date() for row in rows}


async def test_days_are_made_ahead_once_by_many_at_a_time(empty_database_url, empty):
    await migrate(empty_database_url)
    assert await days(empty) >= {TODAY + timedelta(days=number) for number in range(DAYS_AHEAD + 1)}
    workers = [await asyncpg.connect(empty_database_url) for _ in range(4)]
    made = await asyncio.gather(*(ensure_ledger_days(worker, DAYS_AHEAD + 2) for worker in workers))
    assert sorted(day for found in made for day in found) == [
        TODAY + timedelta(days=DAYS_AHEAD + 1),
        TODAY + timedelta(days=DAYS_AHEAD + 2),
    ]
    await asyncio.gather(*(worker.close() for worker in workers))


async def test_a_day_has_the_indexes_of_the_ledger(sql):
    indexes = await sql.fetch("select indexdef from pg_indexes where tablename = $1", f"ledger_{TODAY:%Y%m%d}")
    assert len(indexes) == 2


@pytest.fixture
async def worker_url(sql, shared_database_url):
    """The database as a role with the grants of a worker sees it."""
    await sql.execute("create role worker login password 'worker'")
    grants = files("mergeline.store").joinpath("worker_grants.sql").read_text(encoding="utf-8")
    await sql.execute(grants.replace(":role", "worker"))
    parts = urlsplit(shared_database_url)
    yield urlunsplit(parts._replace(netloc=f"worker:worker@{parts.hostname}:{parts.port}"))
    await sql.execute("drop owned by worker; drop role worker")


async def test_a_worker_needs_no_right_but_to_its_rows(desk, sql, worker_url):
    pool = await open_pool(worker_url)
    worker = Desk(Store(pool, default_options()), desk.log)
    await worker.register(1, 2)
    await worker.apply(worker.log.card("c-1"))
    merge = worker.log.update(1, add=[line("of-2"), issue("c-1")], requestId="r-1")
    batch = [merge, worker.log.put(UPDATES, b"{"), worker.log.update(2, source="ECOMMERCE", remove=line("of-1"))]
    assert kinds(await worker.apply(*batch, progress={AT: Progress(1)})) == ["applied", "dead_letter", "applied"]
    assert kinds(await worker.apply(merge, worker.log.sent_again(merge))) == ["answered", "repeat"]
    async with claim(worker.store, [Place(*AT)]) as claimed:
        await claimed.write("mine")
    assert await horizons(worker.store, [AT])
    async with worker.store.statements() as db:
        assert await record(db, {AT[0]: None}) == {AT[0]: Incarnation(1, None)}
        async with next_incarnation(db, "mergeline", AT[0]) as turn:
            await turn.write(None, 2)
    far = TODAY + timedelta(days=900)
    async with pool.acquire() as connection:
        assert await pending(connection) == []
        assert await connection.fetchval("select ledger_add_day($1)", far) is True
        for statement in ("select ledger_drop_day(current_date)", "create table mine ()", "delete from customer"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    await pool.close()
    await sql.execute("select ledger_drop_day($1)", far)


async def test_rows_of_a_day_that_nobody_made_are_kept_all_the_same(desk, sql):
    """They go to the default partition, stay there, and are found."""
    long_ago = TODAY - timedelta(days=400)
    await desk.register(1)
    message = desk.log.update(1, add=line("x"), requestId="r-1")
    await desk.apply(message)
    await sql.execute("update ledger set day = $1", long_ago)
    await sql.execute("update request set day = $1, decided_day = $1", long_ago)
    assert await sql.fetchval("select count(*) from ledger_default") == 2
    assert await sql.fetchval("select ledger_add_day($1)", long_ago) is False
    assert kinds(await desk.apply(message, desk.log.sent_again(message))) == ["answered", "repeat"]


async def test_making_a_day_gives_up_before_batches_queue_up_behind_it(sql, shared_database_url, monkeypatch):
    monkeypatch.setattr("mergeline.store.days.LOCK_WAIT_MS_MAX", 100)
    async with sql.transaction():
        await sql.execute("select count(*) from ledger")  # a long batch
        connection = await asyncpg.connect(shared_database_url)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await ensure_ledger_days(connection, DAYS_AHEAD + 30)
        await connection.close()
