-- What PostgreSQL counts of itself. Everything is read by name through JSON, since versions 15 to 18 keep it in different
-- columns and views. All but what is marked is asked beside the measured database, $1, whose commits are counted: ours
-- would be among them.

-- name: counters
select
    pg_current_wal_lsn() - '0/0'::pg_lsn as wal_bytes,
    coalesce((select (to_jsonb(wal) ->> 'wal_sync')::bigint from pg_stat_wal as wal), 0) as wal_syncs,
    xact_commit as commits,
    xact_rollback as rollbacks,
    deadlocks
from pg_stat_database
where datname = $1;

-- name: ledger_rows
-- Inside it, since nobody else can tell. Its own commit is counted when the answer comes, not some time later.
select
    (select coalesce(sum(n_tup_ins), 0)::bigint from pg_stat_user_tables where relname like 'ledger%') as ledger_rows,
    pg_stat_force_next_flush();

-- name: fsyncs
-- From version 16 on; the write-ahead log is among them from 18 on.
select coalesce(sum(fsyncs), 0)::bigint from pg_stat_io;

-- name: waits
-- Who waits for what at this moment, among the sessions of the measured database.
select wait_event_type || ':' || wait_event as wait, count(*) as sessions
from pg_stat_activity
where datname = $1 and state = 'active' and wait_event is not null
group by 1;

-- name: statements_begin
-- Inside it, as the following.
create extension if not exists pg_stat_statements;

-- name: statements_reset
-- Of this database only: the others' counts are somebody else's.
select pg_stat_statements_reset(0, oid, 0) from pg_database where datname = current_database();

-- name: statements
-- The first line that says something, of each statement; in the order of their time.
select
    left(regexp_replace(query, '\s+', ' ', 'g'), 100) as query,
    calls,
    rows,
    total_exec_time as total_ms,
    wal_bytes::bigint as wal_bytes
from pg_stat_statements
where dbid = (select oid from pg_database where datname = current_database())
order by total_exec_time desc
limit $1;
