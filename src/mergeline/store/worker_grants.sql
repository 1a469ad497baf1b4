-- What a worker's role needs, and no more: it changes rows, and defines nothing. Days of the ledger are made by a
-- function that runs as the owner of the tables; migrating, applying catalogs and pruning are for that owner.
--
--     psql --set role=mergeline_worker --file worker_grants.sql
grant select on migration, catalog to :role;
grant select, insert, update on customer, card, partition_owner, request, topic_incarnation to :role;
grant select, insert, update, delete on identifier to :role;
grant select, insert on merge, ledger to :role;
grant execute on function ledger_add_day(date) to :role;
