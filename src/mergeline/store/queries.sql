-- Every statement of the store, by name. Rows travel as arrays, one an argument and column, so that a batch takes
-- the same statements whatever its size.

-- ---------------------------------------------------------------- a connection

-- name: setting
-- For this connection; nothing that would matter to whoever a pooler gives it to next.
select set_config($1, $2, false);

-- ---------------------------------------------------------------- the transaction of a batch

-- name: bounds
-- For the transaction that this goes out with, and so right behind a pooler too. Nothing waits for ever, and a worker
-- that is paused cannot keep its locks. Every read of a batch names its rows by key: they are looked up one by one,
-- whatever the statistics say, which are of yesterday, or of an empty table. No scan and no join that takes a table whole
-- may look cheaper, and the one plan that is left is kept. In the statements below each look-up is a subquery that the
-- planner leaves whole (`offset 0`): mixed into the join, a table that was empty then would be joined from its side, row
-- by row, and a partial index that has every merged customer would look cheap. Where another index begins as the key
-- does, the rest of the key is asked for in order, which only the key has. Times come as JSON in the zone that is set, and
-- there are years that Python does not have in any other than UTC. What is published must not be forgotten: a commit waits
-- for the disk, also where a database or a role has it otherwise.
set local lock_timeout = {lock_wait_ms_max};
set local statement_timeout = {statement_ms_max};
set local idle_in_transaction_session_timeout = {idle_ms_max};
set local plan_cache_mode = force_generic_plan;
set local enable_seqscan = off;
set local enable_hashjoin = off;
set local enable_mergejoin = off;
set local jit = off;
set local timezone = 'UTC';
set local client_min_messages = warning;
select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off';

-- name: barrier
-- Something to write for a transaction that answers from the ledger, so that its commit waits for a synchronous standby.
-- What it read may not have got there: a commit that is ended while it waits for the standby is visible all the same. The
-- transaction id is asked for first, since a standby that is read refuses that as it refuses every other write.
select pg_current_xact_id() is not null, pg_logical_emit_message(true, 'mergeline', '');

-- name: discover
-- Read without locks: the roots of customers, the owners of identifiers and cards.
select named.org_id, found.survivor_id as customer_id
from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
cross join lateral (
    select customer.survivor_id
    from customer
    where customer.org_id = named.org_id and customer.customer_id = named.customer_id
    offset 0
) as found
where found.survivor_id is not null
union
select named.org_id, found.customer_id
from unnest($3::bigint[], $4::text[], $5::text[]) as named (org_id, type, value)
cross join lateral (
    select identifier.customer_id
    from identifier
    where identifier.org_id = named.org_id and identifier.type = named.type and identifier.value = named.value
    order by identifier.source, identifier.account
) as found
union
select named.org_id, found.customer_id
from unnest($6::bigint[], $7::text[]) as named (org_id, number)
cross join lateral (
    select card.customer_id from card where card.org_id = named.org_id and card.number = named.number offset 0
) as found
where found.customer_id is not null;

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

-- Many rows of several kinds come as one row of JSON: a round trip for all of them, and read at once.

-- name: read
-- Everything that a batch names: customers, the entries of identifiers, cards, newest catalogs, request ids, and the dead
-- letters in a row of the partitions that its messages come from.
select
    (
        select json_agg(json_build_array(
            found.org_id, found.customer_id, survivor_id, version, registered_at, merged_at))
        from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
        cross join lateral (
            select customer.org_id, customer.customer_id, survivor_id, version, registered_at, merged_at
            from customer
            where customer.org_id = named.org_id and customer.customer_id = named.customer_id
            offset 0
        ) as found
    ) as customers,
    (
        select json_agg(json_build_array(found.org_id, found.type, found.value, source, account, customer_id))
        from unnest($3::bigint[], $4::text[], $5::text[]) as named (org_id, type, value)
        cross join lateral (
            select identifier.org_id, identifier.type, identifier.value, source, account, customer_id
            from identifier
            where identifier.org_id = named.org_id and identifier.type = named.type and identifier.value = named.value
            order by identifier.source, identifier.account
        ) as found
    ) as entries,
    (
        select json_agg(json_build_array(
            found.org_id, found.number, series_id, external_id, customer_id, label, status, issued_at, expires_at))
        from unnest($6::bigint[], $7::text[]) as named (org_id, number)
        cross join lateral (
            select card.org_id, card.number, series_id, external_id, customer_id, label, status, issued_at, expires_at
            from card
            where card.org_id = named.org_id and card.number = named.number
            offset 0
        ) as found
    ) as cards,
    (
        select json_agg(json_build_array(named.org_id, newest.version))
        from unnest($8::bigint[]) as named (org_id)
        cross join lateral (
            select version from catalog where catalog.org_id = named.org_id order by version desc limit 1
        ) as newest
    ) as catalogs,
    (
        select json_agg(json_build_array(
            found.org_id, found.request_id, decided_day, decided_topic, decided_partition, decided_offset))
        from unnest($9::bigint[], $10::text[]) as named (org_id, request_id)
        cross join lateral (
            select
                request.org_id, request.request_id, decided_day, decided_topic, decided_partition, decided_offset
            from request
            where request.org_id = named.org_id and request.request_id = named.request_id
            offset 0
        ) as found
    ) as requests,
    (
        select json_agg(json_build_array(named.topic, named.partition, found.dead_letters_in_a_row))
        from unnest($12::text[], $13::integer[]) as named (topic, partition)
        cross join lateral (
            select dead_letters_in_a_row
            from partition_owner
            where group_id = $11 and partition_owner.topic = named.topic and partition_owner.partition = named.partition
            offset 0
        ) as found
    ) as runs;

-- name: ledger_read
-- Of requests that the ledger knows: the decided row, by its place, and the other rows of the messages at hand.
select found.*
from unnest($1::bigint[], $2::text[], $3::date[], $4::text[], $5::integer[], $6::bigint[])
    as decided (org_id, request_id, day, at_topic, at_partition, at_offset)
cross join lateral (
    select ledger.*
    from ledger
    where ledger.day = decided.day
        and ledger.at_topic = decided.at_topic
        and ledger.at_partition = decided.at_partition
        and ledger.at_offset = decided.at_offset
        and ledger.org_id = decided.org_id
        and ledger.request_id = decided.request_id
        and ledger.kind = 'decided'
    offset 0
) as found
union all
select found.*
from unnest($7::bigint[], $8::text[], $9::text[], $10::integer[], $11::bigint[])
    as origin (org_id, request_id, topic, partition, "offset")
cross join lateral (
    select ledger.*
    from ledger
    where ledger.org_id = origin.org_id
        and ledger.request_id = origin.request_id
        and ledger.origin_topic = origin.topic
        and ledger.origin_partition = origin.partition
        and ledger.origin_offset = origin."offset"
        and ledger.kind <> 'decided'
    offset 0
) as found;

-- name: answered
-- What was answered before, by the place it was read at.
select found.*
from unnest($1::text[], $2::integer[], $3::bigint[]) as place (topic, partition, "offset")
cross join lateral (
    select ledger.*
    from ledger
    where ledger.at_topic = place.topic
        and ledger.at_partition = place.partition
        and ledger.at_offset = place."offset"
    offset 0
) as found;

-- name: answered_bytes
-- How much that is to publish.
select coalesce(sum(octet_length(found.outgoing)), 0)::bigint
from unnest($1::text[], $2::integer[], $3::bigint[]) as place (topic, partition, "offset")
cross join lateral (
    select ledger.outgoing
    from ledger
    where ledger.at_topic = place.topic
        and ledger.at_partition = place.partition
        and ledger.at_offset = place."offset"
    offset 0
) as found;

-- name: holdings
-- Of possible victims ($1, $2) everything that each holds, at most $3 rows of a kind each and $4 all together; of others
-- ($5, $6) how many entries, counted no further than $7; of those who may get cards ($8, $9) the active ones by series.
select
    (
        select json_agg(json_build_array(org_id, type, value, source, account, customer_id))
        from (
            select held.*
            from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
            cross join lateral (
                select identifier.org_id, type, value, source, account, identifier.customer_id
                from identifier
                where identifier.org_id = named.org_id and identifier.customer_id = named.customer_id
                limit $3
            ) as held
            limit $4
        ) as cut
    ) as entries,
    (
        select json_agg(json_build_array(
            org_id, number, series_id, external_id, customer_id, label, status, issued_at, expires_at))
        from (
            select held.*
            from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
            cross join lateral (
                select
                    card.org_id, number, series_id, external_id, card.customer_id, label, status, issued_at, expires_at
                from card
                where card.org_id = named.org_id and card.customer_id = named.customer_id
                limit $3
            ) as held
            limit $4
        ) as cut
    ) as cards,
    (
        select json_agg(json_build_array(org_id, customer_id, survivor_id, version, registered_at, merged_at))
        from (
            select held.*
            from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
            cross join lateral (
                select customer.org_id, customer.customer_id, survivor_id, version, registered_at, merged_at
                from customer
                where customer.org_id = named.org_id and customer.survivor_id = named.customer_id
                limit $3
            ) as held
            limit $4
        ) as cut
    ) as victims,
    (
        select json_agg(json_build_array(named.org_id, named.customer_id, counted.entries))
        from unnest($5::bigint[], $6::bigint[]) as named (org_id, customer_id)
        cross join lateral (
            select count(*) as entries
            from (
                select from identifier
                where identifier.org_id = named.org_id and identifier.customer_id = named.customer_id
                limit $7
            ) as cut
        ) as counted
    ) as counts,
    (
        select json_agg(json_build_array(named.org_id, named.customer_id, counted.series_id, counted.cards))
        from unnest($8::bigint[], $9::bigint[]) as named (org_id, customer_id)
        cross join lateral (
            select card.series_id, count(*) as cards
            from card
            where card.org_id = named.org_id
                and card.customer_id = named.customer_id
                and card.status in ('ISSUED', 'ACTIVE', 'SUSPENDED')
            group by card.series_id
        ) as counted
    ) as active_cards;

-- ---------------------------------------------------------------- writing the net changes

-- Everything that a batch changes, but for its ledger rows, which follow; and how many rows of each kind it was. An
-- insert expects nothing, an update or delete what was read: less rows than sent means that a lock was missing. No row
-- is in two parts, so their order does not matter.
-- Rows are found by key and written by place, so that no plan can join a table whole, and by its key alone: what is only
-- compared is so with `is not distinct from`, which no index serves, or an entry would be looked for among all that its
-- customer has.

-- name: write
-- What nearly every batch has.
with customers_update as (
    update customer
    set survivor_id = now.survivor_id, version = now.version, merged_at = now.merged_at
    from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::bigint[], $7::bigint[])
        as now (org_id, customer_id, survivor_id, version, merged_at, was_survivor_id, was_version)
    cross join lateral (
        select customer.ctid as place
        from customer
        where customer.org_id = now.org_id
            and customer.customer_id = now.customer_id
            and customer.survivor_id is not distinct from now.was_survivor_id
            and customer.version is not distinct from now.was_version
        offset 0
    ) as found
    where customer.ctid = found.place
    returning 1
), entries_insert as (
    insert into identifier (org_id, type, value, source, account, customer_id)
    select * from unnest($8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[])
    returning 1
), requests_insert as (
    -- Decided once: two of one id end here, if ever its lock should have been missed.
    insert into request (org_id, request_id, day, decided_day, decided_topic, decided_partition, decided_offset)
    select * from unnest($14::bigint[], $15::text[], $16::date[], $17::date[], $18::text[], $19::integer[], $20::bigint[])
    returning 1
), progress_write as (
    -- In order, as every locker of these rows; a partition that nobody has claimed yet gets its row here.
    insert into partition_owner as stored (group_id, topic, partition, published_offset, answered_offset)
    select $21, topic, partition, published_offset, answered_offset
    from unnest($22::text[], $23::integer[], $24::bigint[], $25::bigint[], $26::bigint[])
        as new (topic, partition, published_offset, answered_offset, remembered_offset)
    -- What an owner has stored is not there: a standby took over without it. Or nobody is to answer there any more. It
    -- waits for whoever has the row, and reads what that one leaves: a reset that ends meanwhile is not overlooked.
    where remembered_offset is null or remembered_offset <= (
        select answered_offset
        from partition_owner as known
        where known.group_id = $21 and known.topic = new.topic and known.partition = new.partition
        for no key update
    )
    order by topic, partition
    on conflict (group_id, topic, partition) do update
    set published_offset = greatest(stored.published_offset, excluded.published_offset),
        answered_offset = greatest(stored.answered_offset, excluded.answered_offset)
    returning 1
)
select
    (select count(*) from customers_update) as customers_update,
    (select count(*) from entries_insert) as entries_insert,
    (select count(*) from requests_insert) as requests_insert,
    (select count(*) from progress_write) as progress_write;

-- name: write_rest
-- What not every batch has, sent if there is any.
with customers_insert as (
    insert into customer (org_id, customer_id, survivor_id, version, registered_at, merged_at)
    select * from unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[])
    returning 1
), entries_delete as (
    delete from identifier
    using unnest($7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[])
        as gone (org_id, type, value, source, account, customer_id)
    cross join lateral (
        select identifier.ctid as place
        from identifier
        where identifier.org_id = gone.org_id
            and identifier.type = gone.type
            and identifier.value = gone.value
            and identifier.source is not distinct from gone.source
            and identifier.account is not distinct from gone.account
            and identifier.customer_id is not distinct from gone.customer_id
        order by identifier.source, identifier.account
    ) as found
    where identifier.ctid = found.place
    returning 1
), entries_move as (
    update identifier
    set customer_id = moved.customer_id
    from unnest($13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[], $18::bigint[], $19::bigint[])
        as moved (org_id, type, value, source, account, was_customer_id, customer_id)
    cross join lateral (
        select identifier.ctid as place
        from identifier
        where identifier.org_id = moved.org_id
            and identifier.type = moved.type
            and identifier.value = moved.value
            and identifier.source is not distinct from moved.source
            and identifier.account is not distinct from moved.account
            and identifier.customer_id is not distinct from moved.was_customer_id
        order by identifier.source, identifier.account
    ) as found
    where identifier.ctid = found.place
    returning 1
), cards_insert as (
    insert into card (org_id, number, series_id, external_id, customer_id, label, status, issued_at, expires_at)
    select * from unnest(
        $20::bigint[], $21::text[], $22::bigint[], $23::text[], $24::bigint[], $25::text[], $26::text[],
        $27::timestamptz[], $28::timestamptz[])
    returning 1
), cards_update as (
    update card
    set customer_id = now.customer_id, label = now.label, status = now.status,
        issued_at = now.issued_at, expires_at = now.expires_at
    from unnest(
        $29::bigint[], $30::text[], $31::bigint[], $32::text[], $33::text[], $34::timestamptz[], $35::timestamptz[],
        $36::bigint[], $37::text[]
    ) as now (org_id, number, customer_id, label, status, issued_at, expires_at, was_customer_id, was_label)
    cross join lateral (
        select card.ctid as place
        from card
        where card.org_id = now.org_id
            and card.number = now.number
            and card.customer_id is not distinct from now.was_customer_id
            and card.label is not distinct from now.was_label
        offset 0
    ) as found
    where card.ctid = found.place
    returning 1
), merges_insert as (
    insert into merge (org_id, victim_id, survivor_id, merge_id, request_id, merged_at, moved)
    select org_id, victim_id, survivor_id, merge_id, request_id, merged_at, moved::jsonb
    from unnest($38::bigint[], $39::bigint[], $40::bigint[], $41::uuid[], $42::text[], $43::timestamptz[], $44::text[])
        as new (org_id, victim_id, survivor_id, merge_id, request_id, merged_at, moved)
    returning 1
), requests_update as (
    update request
    set day = greatest(request.day, now.day), -- the clock of a server that took over may be behind
        decided_day = coalesce(now.decided_day, request.decided_day),
        decided_topic = coalesce(now.decided_topic, request.decided_topic),
        decided_partition = coalesce(now.decided_partition, request.decided_partition),
        decided_offset = coalesce(now.decided_offset, request.decided_offset)
    from unnest($45::bigint[], $46::text[], $47::date[], $48::date[], $49::text[], $50::integer[], $51::bigint[])
        as now (org_id, request_id, day, decided_day, decided_topic, decided_partition, decided_offset)
    cross join lateral (
        select request.ctid as place
        from request
        where request.org_id = now.org_id and request.request_id = now.request_id
        offset 0
    ) as found
    where request.ctid = found.place
    returning 1
)
select
    (select count(*) from customers_insert) as customers_insert,
    (select count(*) from entries_delete) as entries_delete,
    (select count(*) from entries_move) as entries_move,
    (select count(*) from cards_insert) as cards_insert,
    (select count(*) from cards_update) as cards_update,
    (select count(*) from merges_insert) as merges_insert,
    (select count(*) from requests_update) as requests_update;

-- name: ledger_insert
-- The bytes of all rows come as one value, $18, and of each row where its own begin, and how many they are. Not by COPY:
-- while the server waits for the rows of one it heeds no time-out, and a worker that is paused there keeps its locks.
insert into ledger (
    day, org_id, request_id, kind, status, detail, body_sha256, origin_topic, origin_partition, origin_offset,
    at_topic, at_partition, at_offset, requested_at, decided_at, outgoing)
select
    day, org_id, request_id, kind, status, detail, decode(body_sha256, 'hex'), origin_topic, origin_partition, origin_offset,
    at_topic, at_partition, at_offset, requested_at, decided_at, substring($18::bytea from outgoing_from for outgoing_bytes)
from unnest(
    $1::date[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::integer[],
    $10::bigint[], $11::text[], $12::integer[], $13::bigint[], $14::timestamptz[], $15::timestamptz[], $16::integer[],
    $17::integer[]
) as new (
    day, org_id, request_id, kind, status, detail, body_sha256, origin_topic, origin_partition, origin_offset,
    at_topic, at_partition, at_offset, requested_at, decided_at, outgoing_from, outgoing_bytes);

-- ---------------------------------------------------------------- progress of partitions

-- name: partitions_lock
select topic, partition, transactional_id, published_offset, answered_offset, dead_letters_in_a_row
from partition_owner
where group_id = $1
    and (topic, partition) in (select * from unnest($2::text[], $3::integer[]))
order by topic, partition
for update;

-- name: partitions_read
-- As they are, for who only looks: nothing is locked.
select topic, partition, transactional_id, published_offset, answered_offset
from partition_owner
where group_id = $1
    and (topic, partition) in (select * from unnest($2::text[], $3::integer[]));

-- name: runs_write
update partition_owner
set dead_letters_in_a_row = now.dead_letters_in_a_row
from unnest($2::text[], $3::integer[], $4::bigint[]) as now (topic, partition, dead_letters_in_a_row)
where partition_owner.group_id = $1
    and partition_owner.topic = now.topic
    and partition_owner.partition = now.partition;

-- ---------------------------------------------------------------- ownership

-- name: partitions_insert
insert into partition_owner (group_id, topic, partition, answered_offset)
select $1, topic, partition, $4::bigint
from unnest($2::text[], $3::integer[]) as new (topic, partition)
order by topic, partition
on conflict do nothing;

-- name: partitions_take
update partition_owner
set transactional_id = coalesce($5, transactional_id), answered_offset = greatest(answered_offset, mine.position)
from unnest($2::text[], $3::integer[], $4::bigint[]) as mine (topic, partition, position)
where partition_owner.group_id = $1
    and partition_owner.topic = mine.topic
    and partition_owner.partition = mine.partition;

-- name: partitions_disown
-- Nobody answers there any more: a router reads them, whose messages are answered where it puts them.
update partition_owner
set answered_offset = null, transactional_id = null, published_offset = greatest(published_offset, routed.position)
from unnest($2::text[], $3::integer[], $4::bigint[]) as routed (topic, partition, position)
where partition_owner.group_id = $1
    and partition_owner.topic = routed.topic
    and partition_owner.partition = routed.partition
    and partition_owner.answered_offset is not null;

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

-- ---------------------------------------------------------------- incarnations of topics

-- name: incarnations_read
select topic, topic_id, incarnation from topic_incarnation;

-- name: incarnations_record
-- What is new: a topic that was never read, or the id of one to which its brokers gave none before.
insert into topic_incarnation as stored (topic, topic_id)
select topic, topic_id
from unnest($1::text[], $2::uuid[]) as new (topic, topic_id)
order by topic
on conflict (topic) do update set topic_id = excluded.topic_id where stored.topic_id is null;

-- name: incarnation_lock
select from topic_incarnation where topic = $1 for update;

-- name: incarnation_owners
-- The rows of all partitions of a topic, in the order of every locker.
select partition, transactional_id, published_offset
from partition_owner
where group_id = $1 and topic = $2
order by partition
for update;

-- name: incarnations_held
-- What partitions are claimed with: a reset waits, or is waited for.
select topic, incarnation from topic_incarnation where topic = any($1::text[]) order by topic for share;

-- name: incarnation_close
-- Nobody answers there any more: whoever slept through the reset finds that out when it writes.
update partition_owner set answered_offset = null, transactional_id = null where group_id = $1 and topic = $2;

-- name: published_offsets
select partition, published_offset from partition_owner where group_id = $1 and topic = $2;

-- name: incarnation_unpublished
-- Answers to messages that were read there and that are not known to be published, in order; at most $5 behind a place.
select behind.*
from partition_owner as owner
cross join lateral (
    select ledger.*
    from ledger
    where ledger.at_topic = owner.topic
        and ledger.at_partition = owner.partition
        and ledger.at_offset >= owner.published_offset
        and (owner.partition > $3 or ledger.at_offset > $4)
    order by ledger.at_offset
    limit $5
) as behind
where owner.group_id = $1 and owner.topic = $2 and owner.partition >= $3
order by behind.at_partition, behind.at_offset
limit $5;

-- name: incarnation_write
update topic_incarnation set topic_id = $2, incarnation = $3 where topic = $1;

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

-- name: encoding
show server_encoding;

-- name: migrations_exist
select to_regclass('migration') is not null;

-- name: migrations_applied
select name from migration order by name;

-- name: migration_insert
insert into migration (name) values ($1);

-- name: lock_one
select pg_advisory_xact_lock($1);

-- name: operator_bounds
-- For the transaction of a command, or of a task beside the batches: how long it waits for a lock, and how long it may hold
-- one while whoever began it is asleep.
set local lock_timeout = {lock_wait_ms_max};
set local idle_in_transaction_session_timeout = {idle_ms_max};

-- name: ledger_old_days
-- The days before the last $1 (today, in UTC, is not one of them), that have a partition or rows without one.
select day, pg_total_relation_size(coalesce(to_regclass('ledger_' || to_char(day, 'YYYYMMDD')), 'ledger_default')) as bytes
from (
    select to_date(right(partition.relname, 8), 'YYYYMMDD') as day
    from pg_inherits
    join pg_class as partition on partition.oid = inhrelid
    where inhparent = 'ledger'::regclass and partition.relname ~ '^ledger_\d{8}$'
    union
    select day from ledger_default
) as found
where day < (clock_timestamp() at time zone 'UTC')::date - $1::integer
order by day;

-- name: ledger_ends
-- How far the answers of a day reach in each partition, and how far those were published as far as is known here. From
-- place to place down the index: a day can have as many rows as there are messages.
with recursive answered as (
    (
        select at_topic, at_partition, at_offset
        from ledger
        where day = $2
        order by at_topic desc, at_partition desc, at_offset desc
        limit 1
    )
    union all
    select before.*
    from answered
    cross join lateral (
        select ledger.at_topic, ledger.at_partition, ledger.at_offset
        from ledger
        where ledger.day = $2 and (ledger.at_topic, ledger.at_partition) < (answered.at_topic, answered.at_partition)
        order by ledger.at_topic desc, ledger.at_partition desc, ledger.at_offset desc
        limit 1
    ) as before
)
select at_topic as topic, at_partition as partition, at_offset, coalesce(owner.published_offset, 0) as published_offset
from answered
left join partition_owner as owner
    on owner.group_id = $1 and owner.topic = at_topic and owner.partition = at_partition
order by topic, partition;

-- name: requests_drop
-- The next request ids of a day, in the order of their places: deleted where no later day has rows of them, and the place
-- of their decision forgotten where one has. What a batch works on is not waited for; `busy` counts it.
with page as materialized (
    select org_id, request_id, at_topic, at_partition, at_offset
    from ledger
    where day = $1 and (at_topic, at_partition, at_offset) > ($2, $3, $4)
    order by at_topic, at_partition, at_offset
    limit $5
), known as materialized (
    select distinct request.org_id, request.request_id
    from page
    join request using (org_id, request_id)
    where request.day <= $1 or request.decided_day <= $1
), free as materialized (
    select request.org_id, request.request_id
    from known
    join request using (org_id, request_id)
    for update of request skip locked
), dropped as (
    delete from request using free
    where request.org_id = free.org_id and request.request_id = free.request_id and request.day <= $1
    returning request.request_id
), forgotten as (
    update request
    set decided_day = null, decided_topic = null, decided_partition = null, decided_offset = null
    from free
    where request.org_id = free.org_id and request.request_id = free.request_id
        and request.day > $1 and request.decided_day <= $1
    returning request.request_id
)
select last.*, (select count(*) from dropped) as dropped,
    (select count(*) from known) - (select count(*) from dropped) - (select count(*) from forgotten) as busy
from (
    select at_topic, at_partition, at_offset from page
    order by at_topic desc, at_partition desc, at_offset desc
    limit 1
) as last;

-- name: ledger_default_drop
-- Some rows of a day that has no partition.
delete from ledger_default
where ctid = any (array(select ctid from ledger_default where day = $1 limit $2));

-- name: may_drop_days
select has_function_privilege('ledger_drop_day(date)', 'execute') and has_table_privilege('request', 'delete');

-- name: today
select (clock_timestamp() at time zone 'UTC')::date;

-- name: ledger_add_day
select ledger_add_day($1);

-- name: ledger_drop_day
select ledger_drop_day($1);

-- ---------------------------------------------------------------- applying catalogs
-- What of an org's data rests on something that a catalog drops. Rare, and exact only if it may look at everything.

-- name: sources_used
select name from unnest($2::text[]) as dropped (name)
where exists (select from identifier where identifier.org_id = $1 and identifier.source = dropped.name);

-- name: series_used
select id from unnest($2::bigint[]) as dropped (id)
where exists (select from card where card.org_id = $1 and card.series_id = dropped.id);

-- name: labels_used
select name from unnest($2::text[]) as dropped (name)
where exists (select from card where card.org_id = $1 and card.label = dropped.name);

-- ---------------------------------------------------------------- showing what is stored

-- name: show_customer
select org_id, customer_id, survivor_id, version, registered_at, merged_at
from customer
where org_id = $1 and customer_id = $2;

-- name: show_customer_entries
select type, value, source, account
from identifier
where org_id = $1 and customer_id = $2
order by source, account, type, value;

-- name: show_customer_cards
select org_id, number, series_id, external_id, customer_id, label, status, issued_at, expires_at
from card
where org_id = $1 and customer_id = $2
order by number;

-- name: show_customer_victims
select customer_id from customer where org_id = $1 and survivor_id = $2 order by customer_id;

-- name: show_customer_merges
select merge_id, victim_id, survivor_id, request_id, merged_at from merge where org_id = $1 and victim_id = $2
union
select merge_id, victim_id, survivor_id, request_id, merged_at from merge where org_id = $1 and survivor_id = $2
order by merged_at, victim_id;

-- name: show_identifier
select source, account, customer_id
from identifier
where org_id = $1 and type = $2 and value = $3
order by source, account;

-- name: show_card
select org_id, number, series_id, external_id, customer_id, label, status, issued_at, expires_at
from card
where org_id = $1 and number = $2;

-- name: show_request
-- Its decided row by its place, and the few others.
select ledger.*
from request
join ledger on ledger.org_id = request.org_id
    and ledger.request_id = request.request_id
    and ledger.day = request.decided_day
    and ledger.at_topic = request.decided_topic
    and ledger.at_partition = request.decided_partition
    and ledger.at_offset = request.decided_offset
    and ledger.kind = 'decided'
where request.org_id = $1 and request.request_id = $2
union all
select * from ledger where org_id = $1 and request_id = $2 and kind <> 'decided'
order by decided_at, at_offset;

-- ---------------------------------------------------------------- sending again

-- name: decided_among
-- Of request ids, those that are decided.
select named.org_id, named.request_id
from unnest($1::bigint[], $2::text[]) as named (org_id, request_id)
cross join lateral (
    select from request
    where request.org_id = named.org_id and request.request_id = named.request_id and request.decided_day is not null
    offset 0
) as decided;

-- name: now
select clock_timestamp();

-- name: ledger_first_day
-- The first day that the ledger has a partition for; null where it has none.
select min(to_date(right(partition.relname, 8), 'YYYYMMDD'))
from pg_inherits
join pg_class as partition on partition.oid = inhrelid
where inhparent = 'ledger'::regclass and partition.relname ~ '^ledger_\d{8}$';

-- name: replay_places
-- The partitions that the days from $1 to $2 have answers to: from place to place down the index.
with recursive answered as (
    (
        select at_topic, at_partition
        from ledger
        where day between $1 and $2
        order by at_topic desc, at_partition desc
        limit 1
    )
    union all
    select before.*
    from answered
    cross join lateral (
        select ledger.at_topic, ledger.at_partition
        from ledger
        where day between $1 and $2
            and (ledger.at_topic, ledger.at_partition) < (answered.at_topic, answered.at_partition)
        order by ledger.at_topic desc, ledger.at_partition desc
        limit 1
    ) as before
)
select at_topic, at_partition from answered order by at_topic, at_partition;

-- name: replay_page
-- The next rows of a partition, in the order in which they were decided: those with something published, of the days from
-- $1 to $2, decided from $3 to before $4, of an org ($5) if it is given, behind an offset ($8).
select *
from ledger
where day between $1 and $2
    and decided_at >= $3
    and decided_at < $4
    and ($5::bigint is null or org_id = $5)
    and kind <> 'dead_letter'
    and at_topic = $6
    and at_partition = $7
    and at_offset > $8
order by at_offset
limit $9;

-- ---------------------------------------------------------------- verifying
-- Each finds the offenders of one rule, over everything; ids only, never the value of an identifier.

-- name: verify_bounds
-- For this transaction only: rows are looked up one by one and groups come in the order of an index, so that whatever
-- the size of the tables, the server needs no hash table or sort of theirs in memory or on disk.
select
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true),
    set_config('enable_hashagg', 'off', true),
    set_config('enable_sort', 'off', true),
    set_config('jit', 'off', true),
    set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('statement_timeout', '0', true),
    set_config('idle_in_transaction_session_timeout', $1, true);

-- name: verify_counts
select
    (select count(*) from customer where survivor_id is null) as living_customers,
    (select count(*) from customer where survivor_id is not null) as merged_customers,
    (select count(*) from merge) as merges,
    (select count(*) from identifier) as entries,
    (select count(*) from card) as cards,
    (select count(*) from request) as requests,
    (select count(*) from ledger) as ledger_rows;

-- name: verify_entry_once
select format('org %s: an entry of type %s in source %s is there %s times', org_id, type, source, count(*)) as offender
from identifier
group by org_id, type, value, source, account
having count(*) > 1;

-- name: verify_entry_owners
-- Each owner is looked up once; the entries of those that are wrong follow.
select format('org %s: an entry of type %s in source %s belongs to customer %s, who is %s',
    wrong.org_id, identifier.type, identifier.source, wrong.customer_id,
    case when wrong.registered then 'merged' else 'not registered' end) as offender
from (
    select owner.org_id, owner.customer_id, customer.customer_id is not null as registered
    from (select customer_id, org_id from identifier group by customer_id, org_id) as owner
    left join customer on customer.org_id = owner.org_id and customer.customer_id = owner.customer_id
    where customer.customer_id is null or customer.survivor_id is not null
) as wrong
join identifier on identifier.customer_id = wrong.customer_id and identifier.org_id = wrong.org_id;

-- name: verify_card_owners
select format('org %s: card %s belongs to customer %s, who is %s',
    org_id, card.number, card.customer_id,
    case when customer.customer_id is null then 'not registered' else 'merged' end) as offender
from card
left join customer using (org_id, customer_id)
where card.customer_id is not null and (customer.customer_id is null or customer.survivor_id is not null);

-- name: verify_one_owner
-- Only a value that is there several times can have several owners; the index knows those without the table.
select format('org %s: one value of type %s belongs to customers %s and %s',
    several.org_id, several.type, owners.lowest, owners.highest) as offender
from (
    select org_id, type, value from identifier group by org_id, type, value having count(*) > 1
) as several
cross join lateral (
    select min(identifier.customer_id) as lowest, max(identifier.customer_id) as highest
    from identifier
    where identifier.org_id = several.org_id
        and identifier.type = several.type
        and identifier.value = several.value
) as owners
where owners.lowest <> owners.highest;

-- name: verify_survivors
select format('org %s: customer %s was merged into %s, who is %s',
    victim.org_id, victim.customer_id, victim.survivor_id,
    case
        when victim.survivor_id = victim.customer_id then 'itself'
        when survivor.customer_id is null then 'not registered'
        else 'merged' end) as offender
from customer as victim
left join customer as survivor on survivor.org_id = victim.org_id and survivor.customer_id = victim.survivor_id
where victim.survivor_id is not null and (survivor.customer_id is null or survivor.survivor_id is not null);

-- name: verify_merges
-- A merged customer has its merge, which led, later merges included, to where the customer points now.
select format('org %s: customer %s is merged, but no merge is recorded', victim.org_id, victim.customer_id) as offender
from customer as victim
left join merge on merge.org_id = victim.org_id and merge.victim_id = victim.customer_id
where victim.survivor_id is not null and merge.victim_id is null
union all
select format('org %s: customer %s %s', merge.org_id, merge.victim_id,
    case
        when victim.customer_id is null then 'is not registered, but its merge is recorded'
        when victim.survivor_id is null then 'lives, but its merge is recorded'
        else 'points elsewhere than its recorded merge leads' end)
from merge
left join customer as victim on victim.org_id = merge.org_id and victim.customer_id = merge.victim_id
left join customer as first on first.org_id = merge.org_id and first.customer_id = merge.survivor_id
where victim.survivor_id is null or coalesce(first.survivor_id, first.customer_id) is distinct from victim.survivor_id;

-- name: verify_population
select format('%s customers are registered, but %s live and %s were merged away', registered, living, merged) as offender
from (
    select
        count(*) as registered,
        count(*) filter (where survivor_id is null) as living,
        (select count(*) from merge) as merged
    from customer
) as population
where registered <> living + merged;

-- name: verify_card_statuses
select format('org %s: card %s stands at %s and %s',
    org_id, number, status, case when customer_id is null then 'has no owner' else 'has an owner' end) as offender
from card
where (status in ('ISSUED', 'ACTIVE', 'SUSPENDED') and customer_id is null)
    or (status = 'NOT_ISSUED' and customer_id is not null);

-- name: verify_decided_once
-- An id leads to one place, so a second decided row of it is one that its id does not lead to. Only days from $1 on
-- count: of older ones the ids go first when they are pruned.
select format('org %s: request %s was decided on %s, but its id %s', decided.org_id, decided.request_id, decided.day,
    case when request.decided_day is null then 'is not known as decided' else 'leads to another decision' end) as offender
from ledger as decided
left join request on request.org_id = decided.org_id and request.request_id = decided.request_id
where decided.kind = 'decided'
    and decided.day >= $1
    and (request.decided_day, request.decided_topic, request.decided_partition, request.decided_offset)
        is distinct from (decided.day, decided.at_topic, decided.at_partition, decided.at_offset);

-- name: verify_decided_found
select format('org %s: request %s is known as decided, but the ledger has no such row', request.org_id, request.request_id)
    as offender
from request
left join ledger as decided
    on decided.day = request.decided_day
    and decided.at_topic = request.decided_topic
    and decided.at_partition = request.decided_partition
    and decided.at_offset = request.decided_offset
    and decided.org_id = request.org_id
    and decided.request_id = request.request_id
    and decided.kind = 'decided'
where request.decided_day >= $1 and decided.org_id is null;

-- name: verify_places
select format('%s messages were answered at %s-%s-%s', count(*), at_topic, at_partition, at_offset) as offender
from ledger
group by at_topic, at_partition, at_offset
having count(*) > 1;

-- name: verify_changes
select org_id, request_id, outgoing from ledger where kind = 'decided';

-- name: verify_versions
select named.org_id, named.customer_id, version
from unnest($1::bigint[], $2::bigint[]) as named (org_id, customer_id)
left join customer using (org_id, customer_id);
