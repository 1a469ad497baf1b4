-- The data set before the first message, set-based, as an import would have left it. Every name of a customer or an
-- identifier follows from its number, so that messages can be made without reading.

-- name: customers
insert into customer (org_id, customer_id, version, registered_at)
select $1, number, 0, now() from generate_series($2::bigint, $3::bigint) as number;

-- name: entries
-- Entry k of customer n is `p<n>-<k>`; the first one is in INSTORE, the others in WEBSHOP.
insert into identifier (org_id, type, value, source, account, customer_id)
select $1, 'externalId', 'p' || number || '-' || k, case k when 0 then 'INSTORE' else 'WEBSHOP' end, '', number
from generate_series($2::bigint, $3::bigint) as number
cross join generate_series(0, $4::integer - 1) as k;

-- name: victims
-- Customers $2, each with an identifier of its own, `v<n>`.
with victim as (
    insert into customer (org_id, customer_id, version, registered_at)
    select $1, number, 0, now() from unnest($2::bigint[]) as number
)
insert into identifier (org_id, type, value, source, account, customer_id)
select $1, 'externalId', 'v' || number, 'WEBSHOP', '', number from unnest($2::bigint[]) as number;

-- name: met
-- What each victim will meet: `m<n>`, of its survivor.
insert into identifier (org_id, type, value, source, account, customer_id)
select $1, 'externalId', 'm' || victim, 'INSTORE', '', survivor
from unnest($2::bigint[], $3::bigint[]) as pair (victim, survivor);

-- name: sizes
select
    (select count(*) from customer) as customers,
    (select count(*) from identifier) as entries,
    pg_database_size(current_database()) as bytes;
