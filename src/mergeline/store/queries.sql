-- Every statement of the store, by name. Rows travel as arrays, one an argument and column, so that a batch takes
-- the same statements whatever its size.

-- ---------------------------------------------------------------- the transaction of a batch

-- name: bounds
-- For this transaction only, and so right behind a pooler too. Nothing waits for ever, and a worker that is paused
-- cannot keep its locks. Every read of a batch names its rows by key: they are looked up one by one, with a plan for
-- the tables as they are now, since one that was kept from when they were small would scan them when they are not.
select
    set_config('lock_timeout', $1, true),
    set_config('statement_timeout', $2, true),
    set_config('idle_in_transaction_session_timeout', $3, true),
    set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true);

-- name: discover
-- Read without locks: the roots of customers, the owners of identifiers and cards.
select customer.org_id, customer.survivor_id as customer_id
from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
join customer using (org_id, customer_id)
where customer.survivor_id is not null
union
select identifier.org_id, identifier.customer_id
from unnest($3::bigint[], $4::text[], $5::text[]) as named (org_id, type, value)
join identifier using (org_id, type, value)
union
select card.org_id, card.customer_id
from unnest($6::bigint[], $7::text[]) as named (org_id, number)
join card using (org_id, number)
where card.customer_id is not null;

-- name: lock
-- One after the other in the order of the keys, whoever asks: the sort feeds the aggregate row by row. The time is
-- read once the last lock is held, so that it rises along the decisions on a customer.
select
    count(pg_advisory_xact_lock(key)) filter (where not shared) as exclusive,
    count(pg_advisory_xact_lock_shared(key)) filter (where shared) as shared,
    clock_timestamp() as now
from (
    select key, shared from unnest($1::bigint[], $2::boolean[]) as wanted (key, shared) order by key offset 0
) as ordered;

-- ---------------------------------------------------------------- reading under the locks

-- name: requests_read
select org_id, request_id, decided_day, decided_topic, decided_partition, decided_offset
from unnest($1::bigint[], $2::text[]) as named (org_id, request_id)
join request using (org_id, request_id);

-- name: ledger_read
-- Of requests that the ledger knows: the decided row, by its place, and the other rows of the messages at hand.
select ledger.*
from unnest($1::bigint[], $2::text[], $3::date[], $4::text[], $5::integer[], $6::bigint[])
    as decided (org_id, request_id, day, at_topic, at_partition, at_offset)
join ledger using (org_id, request_id, day, at_topic, at_partition, at_offset)
where ledger.kind = 'decided'
union all
select ledger.*
from unnest($7::bigint[], $8::text[], $9::text[], $10::integer[], $11::bigint[])
    as origin (org_id, request_id, origin_topic, origin_partition, origin_offset)
join ledger using (org_id, request_id, origin_topic, origin_partition, origin_offset)
where ledger.kind <> 'decided';

-- name: replays
-- What was answered before, by the place it was read at.
select ledger.*
from unnest($1::text[], $2::integer[], $3::bigint[]) as place (at_topic, at_partition, at_offset)
join ledger using (at_topic, at_partition, at_offset);

-- name: customers_read
select org_id, customer_id, survivor_id, version, registered_at, merged_at
from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
join customer using (org_id, customer_id);

-- name: entries_read
select org_id, type, value, source, account, customer_id
from unnest($1::bigint[], $2::text[], $3::text[]) as named (org_id, type, value)
join identifier using (org_id, type, value);

-- name: cards_read
select org_id, number, series_id, external_id, customer_id, label, status, issued_at, expires_at
from unnest($1::bigint[], $2::text[]) as named (org_id, number)
join card using (org_id, number);

-- name: catalog_versions
select named.org_id, newest.version
from unnest($1::bigint[]) as named (org_id)
cross join lateral (
    select version from catalog where catalog.org_id = named.org_id order by version desc limit 1
) as newest;

-- name: entry_counts
-- Entries of each customer, counted no further than $3.
select named.org_id, named.customer_id, counted.entries
from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
cross join lateral (
    select count(*) as entries
    from (
        select from identifier
        where identifier.org_id = named.org_id and identifier.customer_id = named.customer_id
        limit $3
    ) as cut
) as counted;

-- name: active_cards
select org_id, customer_id, card.series_id, count(*) as cards
from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
join card using (org_id, customer_id)
where card.status in ('ISSUED', 'ACTIVE', 'SUSPENDED')
group by org_id, customer_id, card.series_id;

-- name: held_entries
-- Of each customer at most $3; of all together at most $4.
select held.*
from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
cross join lateral (
    select identifier.org_id, type, value, source, account, identifier.customer_id
    from identifier
    where identifier.org_id = named.org_id and identifier.customer_id = named.customer_id
    limit $3
) as held
limit $4;

-- name: held_cards
select held.*
from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
cross join lateral (
    select card.org_id, number, series_id, external_id, card.customer_id, label, status, issued_at, expires_at
    from card
    where card.org_id = named.org_id and card.customer_id = named.customer_id
    limit $3
) as held
limit $4;

-- name: held_victims
select held.*
from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
cross join lateral (
    select customer.org_id, customer.customer_id, survivor_id, version, registered_at, merged_at
    from customer
    where customer.org_id = named.org_id and customer.survivor_id = named.customer_id
    limit $3
) as held
limit $4;

-- ---------------------------------------------------------------- writing the net changes
-- An insert expects nothing, an update or delete what was read: less rows than sent means that a lock was missing.

-- name: customers_insert
insert into customer (org_id, customer_id, survivor_id, version, registered_at, merged_at)
select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[]);

-- name: customers_update
update customer
set survivor_id = now.survivor_id, version = now.version, merged_at = now.merged_at
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::bigint[], $7::bigint[])
    as now (org_id, customer_id, survivor_id, version, merged_at, was_survivor_id, was_version)
where customer.org_id = now.org_id
    and customer.customer_id = now.customer_id
    and customer.survivor_id is not distinct from now.was_survivor_id
    and customer.version = now.was_version;

-- name: entries_delete
delete from identifier
using unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
    as gone (org_id, type, value, source, account, customer_id)
where identifier.org_id = gone.org_id
    and identifier.type = gone.type
    and identifier.value = gone.value
    and identifier.source = gone.source
    and identifier.account = gone.account
    and identifier.customer_id = gone.customer_id;

-- name: entries_move
update identifier
set customer_id = moved.customer_id
from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
    as moved (org_id, type, value, source, account, was_customer_id, customer_id)
where identifier.org_id = moved.org_id
    and identifier.type = moved.type
    and identifier.value = moved.value
    and identifier.source = moved.source
    and identifier.account = moved.account
    and identifier.customer_id = moved.was_customer_id;

-- name: entries_insert
insert into identifier (org_id, type, value, source, account, customer_id)
select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[]);

-- name: cards_insert
insert into card (org_id, number, series_id, external_id, customer_id, label, status, issued_at, expires_at)
select * from unnest(
    $1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[],
    $8::timestamptz[], $9::timestamptz[]);

-- name: cards_update
update card
set customer_id = now.customer_id, label = now.label, status = now.status,
    issued_at = now.issued_at, expires_at = now.expires_at
from unnest(
    $1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
    $8::bigint[], $9::text[]
) as now (org_id, number, customer_id, label, status, issued_at, expires_at, was_customer_id, was_label)
where card.org_id = now.org_id
    and card.number = now.number
    and card.customer_id is not distinct from now.was_customer_id
    and card.label = now.was_label;

-- name: merges_insert
insert into merge (org_id, victim_id, survivor_id, merge_id, request_id, merged_at, moved)
select org_id, victim_id, survivor_id, merge_id, request_id, merged_at, moved::jsonb
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::text[], $6::timestamptz[], $7::text[])
    as new (org_id, victim_id, survivor_id, merge_id, request_id, merged_at, moved);

-- name: requests_insert
-- Decided once: two of one id end here, if ever its lock should have been missed.
insert into request (org_id, request_id, day, decided_day, decided_topic, decided_partition, decided_offset)
select * from unnest($1::bigint[], $2::text[], $3::date[], $4::date[], $5::text[], $6::integer[], $7::bigint[]);

-- name: requests_update
update request
set day = now.day,
    decided_day = coalesce(now.decided_day, request.decided_day),
    decided_topic = coalesce(now.decided_topic, request.decided_topic),
    decided_partition = coalesce(now.decided_partition, request.decided_partition),
    decided_offset = coalesce(now.decided_offset, request.decided_offset)
from unnest($1::bigint[], $2::text[], $3::date[], $4::date[], $5::text[], $6::integer[], $7::bigint[])
    as now (org_id, request_id, day, decided_day, decided_topic, decided_partition, decided_offset)
where request.org_id = now.org_id and request.request_id = now.request_id;

-- ---------------------------------------------------------------- progress of partitions

-- name: progress_write
-- In order, as every locker of these rows; a partition that nobody has claimed yet gets its row here.
insert into partition_owner as stored (group_id, topic, partition, published_offset)
select $1, topic, partition, published_offset
from unnest($2::text[], $3::integer[], $4::bigint[]) as new (topic, partition, published_offset)
order by topic, partition
on conflict (group_id, topic, partition) do update
set published_offset = greatest(stored.published_offset, excluded.published_offset);

-- name: runs_read
select topic, partition, dead_letters_in_a_row
from unnest($2::text[], $3::integer[]) as named (topic, partition)
join partition_owner using (topic, partition)
where group_id = $1;

-- name: partitions_lock
select topic, partition, transactional_id, published_offset, dead_letters_in_a_row
from partition_owner
where group_id = $1
    and (topic, partition) in (select * from unnest($2::text[], $3::integer[]))
order by topic, partition
for update;

-- name: runs_write
insert into partition_owner (group_id, topic, partition, dead_letters_in_a_row)
select $1, topic, partition, dead_letters_in_a_row
from unnest($2::text[], $3::integer[], $4::bigint[]) as new (topic, partition, dead_letters_in_a_row)
order by topic, partition
on conflict (group_id, topic, partition) do update set dead_letters_in_a_row = excluded.dead_letters_in_a_row;

-- ---------------------------------------------------------------- ownership

-- name: partitions_insert
insert into partition_owner (group_id, topic, partition)
select $1, topic, partition
from unnest($2::text[], $3::integer[]) as new (topic, partition)
order by topic, partition
on conflict do nothing;

-- name: partitions_take
update partition_owner
set transactional_id = $4
from unnest($2::text[], $3::integer[]) as mine (topic, partition)
where partition_owner.group_id = $1
    and partition_owner.topic = mine.topic
    and partition_owner.partition = mine.partition;

-- name: horizons
-- The highest place of each partition that the ledger has an answer for.
select named.topic, named.partition, highest.at_offset
from unnest($1::text[], $2::integer[]) as named (topic, partition)
cross join lateral (
    select at_offset
    from ledger
    where ledger.at_topic = named.topic and ledger.at_partition = named.partition
    order by at_offset desc
    limit 1
) as highest;

-- ---------------------------------------------------------------- catalogs

-- name: catalogs_newest
select named.org_id, newest.version, newest.document
from unnest($1::bigint[]) as named (org_id)
cross join lateral (
    select version, document from catalog where catalog.org_id = named.org_id order by version desc limit 1
) as newest;

-- name: catalogs_insert
insert into catalog (org_id, version, document)
select org_id, version, document::json
from unnest($1::bigint[], $2::bigint[], $3::text[]) as new (org_id, version, document);

-- ---------------------------------------------------------------- migrations and the ledger's days

-- name: migrations_exist
select to_regclass('migration') is not null;

-- name: migrations_applied
select name from migration order by name;

-- name: migration_insert
insert into migration (name) values ($1);

-- name: lock_one
select pg_advisory_xact_lock($1);

-- name: lock_wait
select set_config('lock_timeout', $1, true);

-- name: ledger_days
-- The days that have a partition.
select to_date(right(partition.relname, 8), 'YYYYMMDD') as day
from pg_inherits
join pg_class as partition on partition.oid = inhrelid
where inhparent = 'ledger'::regclass and partition.relname ~ '^ledger_\d{8}$'
order by day;

-- name: ledger_add_day
select ledger_add_day($1);

-- name: ledger_drop_day
select ledger_drop_day($1);
