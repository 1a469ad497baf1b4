"""Every query looks rows up by an index, on tables with many rows, with as many keys as a batch has.

Those of a batch (and of a page of `prune`) are planned as in a batch: under the settings of `bounds`, and for any keys.
"""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from tests.integration.desk import Desk, kinds
from tests.services import databases

from mergeline.store.queries import SQL
from mergeline.store.statements import SENT, bounds

KEYS = 500
ORG = 7
DAYS = 16
NOT_PLANNED = {
    "setting": "reads no table",
    "today": "reads no table",
    "now": "reads no table",
    "ledger_first_day": "the system catalog",
    "replay_places": "as ledger_ends",
    "bounds": "reads no table",
    "lock": "reads no table; its order is tested with the locks",
    "lock_one": "reads no table",
    "operator_bounds": "reads no table",
    "encoding": "reads no table",
    "ledger_insert": "only adds rows",
    "barrier": "reads no table",
    "catalogs_insert": "only adds rows",
    "runs_write": "partition_owner has a row a partition",
    "partitions_lock": "partition_owner has a row a partition",
    "partitions_read": "partition_owner has a row a partition",
    "partitions_insert": "partition_owner has a row a partition",
    "partitions_take": "partition_owner has a row a partition",
    "incarnations_read": "topic_incarnation has a row a topic",
    "incarnations_record": "topic_incarnation has a row a topic",
    "incarnation_lock": "topic_incarnation has a row a topic",
    "incarnation_write": "topic_incarnation has a row a topic",
    "incarnations_held": "topic_incarnation has a row a topic",
    "incarnation_close": "partition_owner has a row a partition",
    "incarnation_owners": "partition_owner has a row a partition",
    "published_offsets": "partition_owner has a row a partition",
    "partitions_disown": "partition_owner has a row a partition",
    "migrations_exist": "a few rows",
    "migrations_applied": "a few rows",
    "migration_insert": "a few rows",
    "ledger_ends": "walks down the index of places, a step a partition; the first one names no key",
    "ledger_old_days": "the system catalog, and the default partition, which is empty",
    "ledger_default_drop": "the default partition, which is empty",
    "may_drop_days": "reads no table",
    "ledger_add_day": "defines a table",
    "ledger_drop_day": "drops a table",
    "sources_used": "an operator drops a source from a catalog: rare, and an index would cost every write",
    "series_used": "as sources_used",
    "labels_used": "as sources_used",
    "verify_bounds": "reads no table",
    "verify_counts": "counts everything",
    "verify_changes": "reads all of the ledger",
}

TODAY = datetime.now(UTC).date()
ORGS = [ORG] * KEYS
NUMBERS = [number * 37 + 1 for number in range(KEYS)]
VALUES = [f"value-{number}" for number in NUMBERS]
CARDS = [f"card-{number}" for number in NUMBERS]
IDS = [f"request-{number}" for number in NUMBERS]
TYPES, SOURCES, ACCOUNTS = ["line"] * KEYS, ["INSTORE"] * KEYS, [""] * KEYS
LABELS, TIMES = ["ACTIVE"] * KEYS, [datetime.now(UTC)] * KEYS
TOPICS, PARTITIONS = ["commands-by-customer"] * KEYS, [0] * KEYS
DATES = [TODAY - timedelta(days=number % DAYS) for number in NUMBERS]
ENTRY = (ORGS, TYPES, VALUES, SOURCES, ACCOUNTS)

IN_A_BATCH = {
    "answered": (TOPICS, PARTITIONS, NUMBERS),
    "answered_bytes": (TOPICS, PARTITIONS, NUMBERS),
    "discover": (ORGS, NUMBERS, ORGS, TYPES, VALUES, ORGS, CARDS),
    "read": (
        *(ORGS, NUMBERS, ORGS, TYPES, VALUES, ORGS, CARDS, [ORG, ORG + 1], ORGS, IDS),
        *("mergeline", TOPICS, PARTITIONS),
    ),
    "ledger_read": (
        *(ORGS, IDS, DATES, TOPICS, PARTITIONS, NUMBERS),
        *(ORGS, IDS, ["identifier-updates"] * KEYS, PARTITIONS, NUMBERS),
    ),
    "holdings": (ORGS, NUMBERS, 5_001, 200_001, ORGS, NUMBERS, 65, ORGS, NUMBERS),
    "write": (
        *(ORGS, NUMBERS, NUMBERS, NUMBERS, TIMES, NUMBERS, NUMBERS),
        *(*ENTRY, NUMBERS),
        *(ORGS, IDS, DATES, DATES, TOPICS, PARTITIONS, NUMBERS),
        *("mergeline", TOPICS, PARTITIONS, NUMBERS, NUMBERS, NUMBERS),
    ),
    "write_rest": (
        *(ORGS, NUMBERS, NUMBERS, NUMBERS, TIMES, TIMES),
        *(*ENTRY, NUMBERS),
        *(*ENTRY, NUMBERS, NUMBERS),
        *(ORGS, CARDS, NUMBERS, LABELS, NUMBERS, LABELS, LABELS, TIMES, TIMES),
        *(ORGS, CARDS, NUMBERS, LABELS, LABELS, TIMES, TIMES, NUMBERS, LABELS),
        *(ORGS, NUMBERS, NUMBERS, IDS, IDS, TIMES, IDS),
        *(ORGS, IDS, DATES, DATES, TOPICS, PARTITIONS, NUMBERS),
    ),
    "requests_drop": (TODAY, "", -1, -1, 1_000),
    "replay_page": (TODAY, TODAY, TIMES[0], TIMES[0], None, "commands-by-customer", 3, -1, 500),
    "incarnation_unpublished": ("mergeline", "commands-by-customer", 0, -1, 1_000),
}
COLUMNS_OF_A_KEY = {"catalog": 1}
"""By table, where it is not two or more: the newest of an org."""
PAGES = {"requests_drop"}
"""Statements that take the next rows of all."""
BOUNDS = bounds(1_000, 9_000, 9_000)
ALONE = {
    "decided_among": (ORGS, IDS),
    "horizons": (["commands-by-customer", "identifier-updates"], [0, 1]),
    "catalogs_newest": ([ORG, ORG + 1],),
    "show_customer": (ORG, 5),
    "show_customer_entries": (ORG, 5),
    "show_customer_cards": (ORG, 5),
    "show_customer_victims": (ORG, 5),
    "show_customer_merges": (ORG, 5),
    "show_identifier": (ORG, "line", "value-5"),
    "show_card": (ORG, "card-5"),
    "show_request": (ORG, "request-5"),
}


OVER_EVERYTHING = {
    "verify_entry_once": (),
    "verify_entry_owners": (),
    "verify_card_owners": (),
    "verify_one_owner": (),
    "verify_survivors": (),
    "verify_merges": (),
    "verify_population": (),
    "verify_card_statuses": (),
    "verify_decided_once": (TODAY,),
    "verify_decided_found": (TODAY,),
    "verify_places": (),
    "verify_versions": (ORGS, NUMBERS),
}
KEEP_ROWS = {"Sort", "Incremental Sort", "Hash", "Hash Join", "Merge Join", "Materialize", "SetOp", "Unique"}


@pytest.fixture(scope="module")
async def large(postgres, template_database):
    """A database with a hundred thousand customers, and what they have, over sixteen days."""
    name = databases.new_name("large")
    await databases.create(postgres.database_url, name, template_database)
    connection = await asyncpg.connect(databases.url_of(postgres.database_url, name))
    for number in range(DAYS):
        await connection.execute("select ledger_add_day($1)", TODAY - timedelta(days=number))
    await connection.execute(FILL)
    await connection.execute("analyze")
    yield connection
    await connection.close()
    await databases.drop(postgres.database_url, name)


FILL = """
insert into customer
select 7, n, case when n % 4 = 0 then n - 1 end, n, now(), case when n % 4 = 0 then now() end
from generate_series(1, 100000) n;
insert into identifier
select 7, 'line', 'value-' || n, 'INSTORE', '', n from generate_series(1, 100000) n;
insert into card
select 7, 'card-' || n, 163, null, n, 'label', case when n % 2 = 0 then 'ACTIVE' else 'EXPIRED' end
from generate_series(1, 100000) n;
insert into merge
select 7, n, n - 1, gen_random_uuid(), 'request-' || n, now(), '{}' from generate_series(4, 100000, 4) n;
insert into catalog
select org, version, '{}' from generate_series(1, 2000) org, generate_series(1, 2) version;
insert into ledger
select current_date - n % 16, 7, 'request-' || n, case when n % 50 = 0 then 'repeat' else 'decided' end,
    'applied', null, sha256(''), 'identifier-updates', n % 8, n, 'commands-by-customer', n % 8, n, null, now(), ''
from generate_series(1, 100000) n;
insert into request
select 7, 'request-' || n, current_date - n % 16, current_date - n % 16, 'commands-by-customer', n % 8, n
from generate_series(1, 100000) n;
"""


def test_every_query_is_looked_at_or_has_a_reason_not_to_be():
    kinds = [IN_A_BATCH.keys(), ALONE.keys(), OVER_EVERYTHING.keys(), NOT_PLANNED.keys()]
    assert sorted(SQL) == sorted(name for names in kinds for name in names)


@pytest.mark.parametrize("name", IN_A_BATCH)
async def test_a_batch_looks_rows_up_by_key(large, name):
    assert await by_key(large, name) == []


@pytest.mark.parametrize("statistics", ["none", "of empty tables"])
@pytest.mark.parametrize("name", IN_A_BATCH)
async def test_a_batch_does_so_as_well_while_tables_are_empty_or_without_statistics(database_url, name, statistics):
    """The plan is kept, and statistics come late: one that goes through all merged customers looks cheap until then."""
    connection = await asyncpg.connect(database_url)
    if statistics == "of empty tables":
        await connection.execute("vacuum analyze")
    assert await by_key(connection, name) == []
    await connection.close()


async def test_an_entry_is_found_by_its_key_never_among_all_that_its_customer_has(database_url):
    """While there are no statistics too: a merge that moves thousands of entries would read thousands for each."""
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        found = [
            node for node in await kept_plan(connection, "write_rest") if node.get("Relation Name") == "identifier"
        ]
    await connection.close()
    assert {node["Index Name"] for node in found if "Index Name" in node} == {"identifier_pkey"}


async def test_a_page_of_what_was_published_follows_the_index_and_sorts_nothing(large):
    """A page is begun for each partition, over all days: a sort would take the days whole, each time."""
    async with large.transaction():
        await large.execute(BOUNDS)
        await large.execute(f"prepare kept as {SENT['replay_page']}")
        since = TODAY - timedelta(days=9)
        values = f"'{since}', '{TODAY}', '{since}', '{TODAY}', null, 'commands-by-customer', 3, 5000, 500"
        plan = json.loads(await large.fetchval(f"explain (format json) execute kept ({values})"))
        await large.execute("deallocate kept")
    found = list(nodes(plan[0]["Plan"]))
    assert {node["Node Type"] for node in found} == {"Limit", "Merge Append", "Index Scan"}
    assert {node["Index Cond"].count(" = ") for node in found if "Index Cond" in node} == {2}


@pytest.mark.parametrize("name", ALONE)
async def test_other_queries_look_rows_up_by_key(large, name):
    assert await faults(large, name, ALONE[name]) == []


@pytest.mark.parametrize("name", OVER_EVERYTHING)
async def test_verify_keeps_no_table_in_memory_or_in_temporary_files(large, name):
    """Rows flow: from a table or an index, in its order, each looked up elsewhere, to a group that is counted."""
    async with large.transaction(isolation="repeatable_read", readonly=True):
        await large.fetch(SQL["verify_bounds"], "9s")
        plan = json.loads(await large.fetchval(f"explain (format json) {SQL[name]}", *OVER_EVERYTHING[name]))
    found = [(node["Node Type"], node.get("Strategy", "")) for node in nodes(plan[0]["Plan"])]
    assert not {kind for kind, _ in found} & KEEP_ROWS
    assert not [strategy for kind, strategy in found if kind == "Aggregate" and strategy not in ("Plain", "Sorted")]


async def test_a_batch_plans_nothing_anew(new_store):
    """Planning two dozen statements takes longer than a small batch."""
    desk = Desk(await new_store())
    for number in range(1, 9):
        assert kinds(await desk.apply(desk.log.customer(number, f"of-{number}"))) == ["applied"]
    async with desk.store.pool.acquire() as connection:
        plans = await connection.fetch("select statement, generic_plans, custom_plans from pg_prepared_statements")
    by_statement = {row["statement"]: (row["generic_plans"], row["custom_plans"]) for row in plans}
    assert by_statement[SENT["discover"]] == by_statement[SENT["read"]] == (8, 0)


async def by_key(connection, name) -> list[str]:
    """The scans of a batch's statement, as it is kept, that are neither by all columns of a key nor by place."""
    async with connection.transaction():
        found = await kept_plan(connection, name)
    return [
        f"{node['Node Type']} on {node['Relation Name']} by {node.get('Index Cond', 'nothing')}"
        for node in found
        if "Relation Name" in node
        and node["Node Type"] not in ("ModifyTable", "Tid Scan")
        and name not in PAGES
        and node.get("Index Cond", "").count(" = ") < COLUMNS_OF_A_KEY.get(node["Relation Name"], 2)
    ]


async def kept_plan(connection, name) -> list[dict]:
    """The nodes of the plan of a batch's statement, whatever it is given."""
    nothing = ", ".join("null" for _ in IN_A_BATCH[name])
    await connection.execute(BOUNDS)
    await connection.execute(f"prepare kept as {SENT[name]}")
    plan = json.loads(await connection.fetchval(f"explain (format json) execute kept ({nothing})"))
    await connection.execute("deallocate kept")
    return list(nodes(plan[0]["Plan"]))


async def faults(connection, name, arguments) -> list[str]:
    """The scans of tables with rows that name no key."""
    filled = {row[0] for row in await connection.fetch("select relname from pg_class where reltuples > 0")}
    plan = json.loads(await connection.fetchval(f"explain (format json) {SQL[name]}", *arguments))
    return [
        f"{node['Node Type']} on {node['Relation Name']}"
        for node in nodes(plan[0]["Plan"])
        if node.get("Relation Name") in filled
        and node["Node Type"] != "ModifyTable"
        and not {"Index Cond", "Recheck Cond"} & node.keys()
    ]


def nodes(node):
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)
