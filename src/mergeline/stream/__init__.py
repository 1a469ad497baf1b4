"""Kafka and Faust: from fetched records to published ones.

In: records of the input topics. Out: outcomes, events and dead letters, with the offsets of what they answer. Never:
a decision about a request (`domain`), or SQL (`store`).

    worker      the Faust app, its agents and hooks          assignment  the pipelines between two rebalances
    consumer    whole batches, committed records only        unpacking   bytes to records, whoever packed them
    pipeline    gather -> process -> cut -> publish          lanes       what is read and not published yet
    route       the key of the customer on each message      origin      ... and where the message came from
    apply       decided in PostgreSQL, published in Kafka    reached     how far each partition is, and who knows
    publisher   one producer, alive or dead                  producers   those, and what fences another
    offsets     where a partition goes on                    trailing    the router's, committed at a pace
    watchdog    ends a worker that does not move             flood       dead letters in a row end the worker
    clients     how Kafka is spoken to (protocol)

    topics, brokers, rights, drained                         what must be so before a worker starts
    incarnations, forgotten, handover                        what the ledger and Kafka must agree on
    retrying                                                 what is tried again, and when
    group, resetting, leftovers, rewinding, retention        what commands do: topics reset, offsets, prune
"""
