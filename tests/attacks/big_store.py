"""A store as it is after years: millions of entries, customers, merges and cards, and the ledger's last days.

In: a database, how many entries. Out: tables that `mergeline verify` finds in order, made by SQL in minutes. Never:
chance (the same number gives the same rows), or a look at what was there.

    python -m tests.attacks.big_store --folder FOLDER --entries 10000000    loads a durable PostgreSQL of its own
    python -m tests.attacks.big_store --folder FOLDER                       starts it again, until Ctrl-C

For 10,000,000 entries there are 3,000,000 customers (every hundredth was merged into the one before it), 600,000
cards, and 1,000,000 answered registrations in the ledger, spread over 14 days. The ledger's places are of partitions
from `FIRST_PARTITION` on, so that a worker that begins on new topics meets none of them.
"""

import argparse
import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from mergeline.domain.catalog import Catalog
from mergeline.embedded.postgres import Postgres
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.migrations import migrate

ORG = 100737
CATALOG = {
    "orgId": ORG,
    "defaultRegion": "CN",
    "blockList": ["test@test.com"],
    "sources": {"INSTORE": "single", "WEBSHOP": "single", "WECHAT": "multiple"},
    "series": [{"id": 163, "code": "GOLD", "autoCreate": True}],
}
CUSTOMERS_OF_ENTRIES = 0.3
DAYS = 14
FIRST_PARTITION = 1_000
PARTITIONS = 8

CUSTOMERS = """
insert into customer
select $1::bigint, n,
    case when n % 100 = 0 then n - 1 end,
    case when n % 3 = 1 and n % 100 <> 99 then 1 else 1 + n % 6 end,
    now() - interval '400 days' + n * interval '1 second',
    case when n % 100 = 0 then now() - interval '20 days' end
from generate_series(1, $2::bigint) n
"""
# Three entries a customer in a scope each, and for every third the same mobile in one scope more.
ENTRIES = """
insert into identifier
select $1::bigint, entry.type, entry.value, entry.source, entry.account, case when n % 100 = 0 then n - 1 else n end
from generate_series(1, $2::bigint) n
cross join lateral (
    values
        ('mobile', '86138' || lpad(n::text, 8, '0'), 'INSTORE', ''),
        ('email', 'customer.' || n || '@example.com', 'WEBSHOP', ''),
        ('wechat', md5(n::text), 'WECHAT', 'brand-' || n % 4),
        (case when n % 3 = 0 then 'mobile' end, '86138' || lpad(n::text, 8, '0'), 'WEBSHOP', '')
) as entry (type, value, source, account)
where entry.type is not null
"""
MERGES = """
insert into merge
select $1::bigint, n, n - 1, md5('merge' || n)::uuid, 'merge-' || n, now() - interval '20 days',
    jsonb_build_object(
        'matched', '[]'::jsonb, 'movedCards', '[]'::jsonb, 'repointedCustomerIds', '[]'::jsonb,
        'movedIdentifiers', jsonb_build_array(jsonb_build_object(
            'type', 'email', 'value', 'customer.' || n || '@example.com', 'source', 'WEBSHOP', 'accountId', null)))
from generate_series(100, $2::bigint, 100) n
"""
# Of every sixth customer; and a fifth as many that belong to nobody.
CARDS = """
insert into card
select $1::bigint, 'CARD' || lpad(n::text, 12, '0'), 163, null, case when n % 100 = 0 then n - 1 else n end,
    'ACTIVE', 'ACTIVE', now() - interval '30 days', null::timestamptz
from generate_series(6, $2::bigint, 6) n
union all
select $1::bigint, 'FREE' || lpad(n::text, 12, '0'), 163, null, null, 'NOT_ISSUED', 'NOT_ISSUED', null, null
from generate_series(30, $2::bigint, 30) n
"""
# Records of seven headers in the layout that `schema.sql` states: MessagePack, with two bytes for each length.
PACK = """
create function pg_temp.pack(fields text[]) returns bytea language sql immutable as $$
    select '\\x02'::bytea || set_byte('\\x90'::bytea, 0, 144 + (cardinality(fields) / 17)) || string_agg(
        case
            when place = 1 then '\\x94da'::bytea
            when place = 4 then '\\x9792da'::bytea
            when place > 4 and place % 2 = 0 then '\\x92da'::bytea
            else '\\xc5'::bytea
        end || int2send(length(convert_to(one, 'UTF8'))::smallint) || convert_to(one, 'UTF8'),
        ''::bytea order by number)
    from (
        select one, number, (number - 1) % 17 + 1 as place from unnest(fields) with ordinality as field (one, number)
    ) as placed
$$
"""
# Of every third customer (survivors left out) its registration: what it changed, and its outcome, as published.
LEDGER = """
insert into ledger
select (decided_at at time zone 'UTC')::date, $1::bigint, request_id, 'decided', 'applied', null,
    sha256(convert_to(request_id, 'UTF8')),
    'customer-registrations', place_of, number / 8, 'commands-by-customer', place_of, number / 8, null, decided_at,
    pg_temp.pack(array[
        'identifiers-changed', key,
        said || ',"source":"INSTORE","accountId":null,"added":[{"type":"mobile","value":"86138' || lpad(n::text, 8, '0')
            || '"}],"removed":[],"customerVersion":1}',
        'ce_specversion', '1.0', 'ce_id', md5('changed' || n)::uuid::text, 'ce_type', 'mergeline.identifiers.changed',
        'ce_source', '/mergeline', 'ce_time', at, 'ce_subject', key, 'content-type', 'application/json',
        'registration-outcomes', key, said || ',"status":"applied","customerVersion":1,"errors":[],"warnings":[]}',
        'ce_specversion', '1.0', 'ce_id', md5('outcome' || n)::uuid::text, 'ce_type', 'mergeline.registration.outcome',
        'ce_source', '/mergeline', 'ce_time', at, 'ce_subject', key, 'content-type', 'application/json'])
from generate_series(1, $2::bigint, 3) n
cross join lateral (
    select n / 3 as number, $3::integer + (n / 3 % 8)::integer as place_of,
        md5('request' || n)::uuid::text as request_id,
        $4::timestamptz + n::double precision / $2::bigint * ($5::timestamptz - $4::timestamptz) as decided_at
) as counted
cross join lateral (
    select to_char(decided_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, $1::bigint || ':' || n as key
) as timed
cross join lateral (
    select '{"requestId":"' || request_id || '","orgId":' || $1::bigint || ',"occurredAt":"' || at
        || '","customerId":' || n as said
) as told
where n % 100 <> 99
"""
REQUESTS = """
insert into request
select org_id, request_id, day, day, at_topic, at_partition, at_offset from ledger where kind = 'decided'
"""
PUBLISHED = """
insert into partition_owner (group_id, topic, partition, published_offset)
select $1, 'commands-by-customer', at_partition, max(at_offset) + 1 from ledger where at_partition >= $2 group by 3
"""
# Built at the end, packed as a reindex packs them, which takes a third of the time.
INDEXES = """
select conrelid::regclass::text as table, conname as name, true as is_constraint,
    pg_get_constraintdef(oid) as definition
from pg_constraint where contype = 'p' and conrelid::regclass::text = any($1)
union all
select indrelid::regclass::text, indexrelid::regclass::text, false, pg_get_indexdef(indexrelid)
from pg_index where not indisprimary and indrelid::regclass::text = any($1)
"""
TABLES = ["customer", "identifier", "card", "merge", "request"]


async def fill(
    connection: asyncpg.Connection, entries: int, group_id: str = "mergeline", say=lambda line: None
) -> None:
    """Fill the migrated, empty database that the connection is to; indexes are dropped and made again."""
    customers = int(entries * CUSTOMERS_OF_ENTRIES)
    end = datetime.now(UTC)
    begin = (end - timedelta(days=DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    await apply_catalogs(connection, [Catalog.model_validate(CATALOG)])
    for number in range(DAYS):
        await connection.execute("select ledger_add_day($1)", begin.date() + timedelta(days=number))
    await connection.execute("set maintenance_work_mem = '1GB'; set synchronous_commit = off")
    indexes = await connection.fetch(INDEXES, TABLES)
    for index in indexes:
        drop = f"alter table {index['table']} drop constraint {index['name']}"
        await connection.execute(drop if index["is_constraint"] else f"drop index {index['name']}")
    await connection.execute(PACK)
    for name, statement, arguments in (
        ("customers", CUSTOMERS, (ORG, customers)),
        ("entries", ENTRIES, (ORG, customers)),
        ("merges", MERGES, (ORG, customers)),
        ("cards", CARDS, (ORG, customers)),
        ("ledger", LEDGER, (ORG, customers, FIRST_PARTITION, begin, end)),
        ("requests", REQUESTS, ()),
        ("published", PUBLISHED, (group_id, FIRST_PARTITION)),
    ):
        started = time.monotonic()
        done = await connection.execute(statement, *arguments)
        say(f"{name}: {done} in {time.monotonic() - started:.0f} s")
    for index in indexes:
        add = f"alter table {index['table']} add constraint {index['name']} {index['definition']}"
        await connection.execute(add if index["is_constraint"] else index["definition"])
    await connection.execute("vacuum analyze")
    await connection.execute("reset maintenance_work_mem; reset synchronous_commit")


async def load(url: str, entries: int) -> None:
    """The whole of it: tables, rows, indexes, statistics."""
    await migrate(url)
    connection = await asyncpg.connect(url)
    await connection.execute("alter system set max_wal_size = '8GB'")
    await connection.execute("select pg_reload_conf()")
    started = time.monotonic()
    await fill(connection, entries, say=print)
    await connection.execute("alter system reset max_wal_size")
    await connection.execute("select pg_reload_conf()")
    await connection.execute("checkpoint")
    size = await connection.fetchval("select pg_size_pretty(pg_database_size(current_database()))")
    print(f"{entries} entries, {size}, in {time.monotonic() - started:.0f} s")
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where PostgreSQL keeps it")
    parser.add_argument("--entries", type=int, help="load so many, then stop")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Postgres(data_dir=chosen.folder) as server:
        if chosen.entries:
            asyncio.run(load(server.database_url, chosen.entries))
            return
        print(f"export MERGELINE_DATABASE_URL={server.database_url}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
