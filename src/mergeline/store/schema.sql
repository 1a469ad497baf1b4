-- mergeline's tables: the truth. `migrations/` lead to exactly this (a test compares the catalogs of both).
--
-- * Every primary key but those of `partition_owner`, `topic_incarnation` and `migration` starts with org_id,
--   so that the tables can be hash-partitioned, or distributed by org_id, without a rewrite.
-- * Text is compared byte for byte ("C"): exactly as it was sent, and no index depends on the locale of a machine.
-- * No foreign keys. An owner must be registered *and living*, which none can say; the advisory locks guarantee it,
--   each write names what it replaces, and `mergeline verify` checks it.

-- One schema, the first of the search path, holds everything; the functions below keep to it.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

create table migration (
    name text collate "C" primary key,
    applied_at timestamptz not null default now()
);

-- A registered customer. A victim points straight at its living survivor, never at another victim.
create table customer (
    org_id bigint not null check (org_id > 0),
    customer_id bigint not null check (customer_id > 0),
    survivor_id bigint check (survivor_id <> customer_id),
    version bigint not null check (version >= 0),
    registered_at timestamptz not null,
    merged_at timestamptz,
    primary key (org_id, customer_id),
    check ((survivor_id is null) = (merged_at is null))
) with (fillfactor = 85); -- a new version of a row fits beside the old one, so no index changes

create index customer_survivor on customer (survivor_id, org_id) where survivor_id is not null;

-- One identifier of one customer in one scope. The primary key is the uniqueness rule; `account` is empty for a
-- source with a single account.
create table identifier (
    org_id bigint not null,
    type text collate "C" not null,
    value text collate "C" not null,
    source text collate "C" not null,
    account text collate "C" not null,
    customer_id bigint not null,
    primary key (org_id, type, value, source, account)
);

-- org_id is second in this and in the other indexes by customer: as the first column it would make them look as good as
-- the primary key for a look-up by identifier, while the tables have no statistics yet, and each would read an org.
create index identifier_customer on identifier (customer_id, org_id);

create table card (
    org_id bigint not null,
    number text collate "C" not null,
    series_id bigint not null,
    external_id text collate "C",
    customer_id bigint,
    label text collate "C" not null,
    status text collate "C" not null
        check (status in ('NOT_ISSUED', 'ISSUED', 'ACTIVE', 'SUSPENDED', 'EXPIRED', 'DELETED')),
    issued_at timestamptz,
    expires_at timestamptz,
    primary key (org_id, number),
    check (case status
        when 'NOT_ISSUED' then customer_id is null
        when 'ISSUED' then customer_id is not null
        when 'ACTIVE' then customer_id is not null
        when 'SUSPENDED' then customer_id is not null
        else true end)
) with (fillfactor = 90);

create index card_customer on card (customer_id, org_id) where customer_id is not null;

-- One merge, with all that it moved: the explanation, and what an undo needs. A customer is merged away once, which
-- the key says; merge_id is the ce_id of the event.
create table merge (
    org_id bigint not null,
    victim_id bigint not null,
    survivor_id bigint not null check (survivor_id <> victim_id),
    merge_id uuid not null,
    request_id text collate "C" not null,
    merged_at timestamptz not null,
    moved jsonb not null, -- the data of the merge event, but for what all events have
    primary key (org_id, victim_id)
);

create index merge_survivor on merge (survivor_id, org_id);

create table catalog (
    org_id bigint not null,
    version bigint not null check (version > 0),
    document json not null, -- as validated; json, since the order of its labels counts
    applied_at timestamptz not null default now(),
    primary key (org_id, version)
);

-- Which incarnation of an input topic, or of the internal one, the ledger goes on with. A topic is known by the id that
-- Kafka gave it when it was created; those that are not here have their first.
create table topic_incarnation (
    topic text collate "C" primary key, -- without prefix
    topic_id uuid, -- null: of brokers that give none
    incarnation integer not null default 1 check (incarnation > 0)
);

-- Who may publish the answers to a partition, and how far it got. Here and below a topic has its incarnation behind its
-- name, but for the first: commands-by-customer@2.
create table partition_owner (
    group_id text collate "C" not null,
    topic text collate "C" not null, -- without prefix
    partition integer not null,
    transactional_id text collate "C", -- of the last owner: fenced by the next
    published_offset bigint not null default 0, -- where to go on: the first offset not known to be published
    answered_offset bigint, -- the first that no batch has read; null where nobody answers (yet, routed, reset)
    dead_letters_in_a_row bigint not null default 0,
    primary key (group_id, topic, partition)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Every request id that the ledger has rows of, so that one look-up answers for all its days, and so that a
-- constraint stands behind "decided once". `decided_*` is where its decided row lies; null where a dead letter is
-- all there is. `day` is that of its latest row: pruned together with it.
create table request (
    org_id bigint not null,
    request_id text collate "C" not null,
    day date not null,
    decided_day date,
    decided_topic text collate "C",
    decided_partition integer,
    decided_offset bigint,
    primary key (org_id, request_id)
) with (fillfactor = 95);

-- One row a message: how it was answered, and the exact bytes that were published for it.
--
-- `outgoing` holds a byte for the version of this layout, 2, and then MessagePack: an array of records, each an array of
-- its topic (a string, without prefix), key and value (binary, or nil), and an array of its headers, each an array of its
-- name (a string) and its value (binary, or nil).
create table ledger (
    day date not null, -- of decided_at, in UTC
    org_id bigint not null, -- 0: a dead letter that names none
    request_id text collate "C" not null,
    kind text collate "C" not null check (kind in ('decided', 'repeat', 'reused', 'dead_letter')),
    status text collate "C" not null, -- of the outcome; the code of a dead letter
    detail text collate "C", -- the text of a dead letter
    body_sha256 bytea not null,
    origin_topic text collate "C" not null, -- where its producer put it, without prefix
    origin_partition integer not null,
    origin_offset bigint not null,
    at_topic text collate "C" not null, -- where apply read it, without prefix
    at_partition integer not null,
    at_offset bigint not null,
    requested_at timestamptz,
    decided_at timestamptz not null,
    outgoing bytea not null
) partition by range (day);

-- Where a message was read: the answers to what comes again after a crash, and how far each partition got.
create index ledger_place on ledger (at_topic, at_partition, at_offset);
-- The few rows beside the decided ones; those are found through `request`.
create index ledger_other on ledger (org_id, request_id, origin_partition, origin_offset) where kind <> 'decided';

-- Takes what no day is there for, so that an insert never fails; empty as long as days are made in time.
create table ledger_default partition of ledger default;

-- Makes the partition of a day; false where it is there already, or where ledger_default has rows of that day (they
-- stay there, and are pruned from there). Made apart and attached, so that the ledger itself is locked for a moment
-- only. It runs as its owner: a worker's role needs no right to create tables.
create function ledger_add_day(new_day date) returns boolean
    language plpgsql security definer set search_path from current
as $$
declare
    partition_name text := 'ledger_' || to_char(new_day, 'YYYYMMDD');
begin
    if to_regclass(quote_ident(partition_name)) is not null
        or exists (select from ledger_default where day = new_day)
    then
        return false;
    end if;
    -- Rows are only added, and the table is dropped whole: vacuuming it would only cost.
    execute format(
        'create table %I (like ledger including all) with (autovacuum_vacuum_insert_threshold = -1)', partition_name);
    execute format(
        'alter table ledger attach partition %I for values from (%L) to (%L)', partition_name, new_day, new_day + 1);
    return true;
end
$$;

-- Drops a day: its partition, and its rows in ledger_default.
create function ledger_drop_day(old_day date) returns void
    language plpgsql security definer set search_path from current
as $$
begin
    execute format('drop table if exists %I', 'ledger_' || to_char(old_day, 'YYYYMMDD'));
    delete from ledger_default where day = old_day;
end
$$;

revoke execute on function ledger_add_day(date), ledger_drop_day(date) from public;
