"""PostgreSQL: everything that is remembered, and the one transaction in which a batch is decided.

In: messages; partitions; catalogs. Out: answers that are committed; what is stored. Never: Kafka, a clock of its own
(the database's counts), or personal data in a log line or an error.

    schema.sql, migrations/, migrations, days     the tables, and how they come to be (worker_grants.sql: for whom)
    queries.sql, queries, statements              every statement by name; a connection that speaks only in those
    pool, connecting                              connections of a worker; one of a command
    options                                       the bounds and names that all of this is told
    apply                                         the way of a batch: `Store.apply`
      answered, catalog_cache, locks, read,       ... its steps, in order
      dead_letter_runs, write, progress (parts)
    rows, framing                                 values as the database has them, and back
    failures, attempts                            what an error means; a batch until it is through
    ownership, incarnations                       who may publish: `claim`; which of a topic's logs is meant
    catalogs, showing, published, pruning         what commands do: apply and show, show and redrive, replay, prune
    invariants, versions, sorting                 ... and verify
"""
