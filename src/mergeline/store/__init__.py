"""PostgreSQL: everything that is remembered, and the one transaction in which a batch is decided.

In: messages; partitions; catalogs. Out: answers that are committed; what is stored. Never: Kafka, a clock of its own
(the database's counts), or personal data in a log line or an error.

    schema.sql, migrations/, migrations, days     the tables, and how they come to be (worker_grants.sql: for whom)
    queries.sql, queries, statements, pool        every statement by name; a connection that speaks only in those
    apply                                         the way of a batch: `Store.apply`
      replays, catalog_cache, locks               ... its steps, in order
      read, write, progress (rows, framing)
    failures, attempts                            what an error means; a batch until it is through
    ownership                                     who may publish: `claim`, `horizons`
    catalogs, reading, pruning                    what commands do: apply and show, show, prune
    invariants (versions, sorting)                ... and verify
"""

from mergeline.store.apply import Store
from mergeline.store.attempts import apply_with_retries
from mergeline.store.options import Options, Retries
from mergeline.store.ownership import Claim, Owner, claim, horizons
from mergeline.store.pool import open_pool
from mergeline.store.progress import Progress

__all__ = [
    "Claim",
    "Options",
    "Owner",
    "Progress",
    "Retries",
    "Store",
    "apply_with_retries",
    "claim",
    "horizons",
    "open_pool",
]
