"""Kafka and Faust: from fetched records to published ones.

In: records of the input topics. Out: outcomes, events and dead letters, with the offsets of what they answer. Never:
a decision about a request (`domain`), or SQL (`store`).

    worker      the Faust app, its agents and hooks          assignment  the pipelines between two rebalances
    consumer    whole batches, committed records only        pipeline    gather -> process -> cut -> publish
    route       the key of the customer on each message      apply       decided in PostgreSQL, published in Kafka
    publisher   one producer, alive or dead                  offsets     where a partition goes on
    watchdog    ends a worker that does not move             topics, clients, drained, producers, origin   their parts
"""
