"""mergeline's store on a real PostgreSQL, behind the calls that a `machine.Machine` drives.

In: the address of a migrated database. Out: answers, and what is stored, read with SQL of its own. Each run gets orgs
and partitions of its own, so nothing has to be emptied in between; `verify` looks at all runs together in the end.
"""

import asyncpg
import orjson
import uvloop
from tests.defaults import default_limits, default_options, horizons, open_pool
from tests.simulation.compare import card_row, moved, unordered
from tests.simulation.run import MERGE_MAX_ENTRIES, ORGS_A_RUN

from mergeline.domain.catalog import Catalog
from mergeline.store.apply import Store
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.failures import CatalogRefused
from mergeline.store.invariants import Offence, verify

EVERYTHING = """
select
    (select json_agg(customer) from customer where org_id = any($1)) as customers,
    (select json_agg(identifier) from identifier where org_id = any($1)) as entries,
    (select json_agg(card) from card where org_id = any($1)) as cards,
    (select json_agg(merge) from merge where org_id = any($1)) as merges
"""


class StoreSystem:
    """A store, and a second connection to look at what it wrote."""

    def __init__(self, database_url):
        # No asyncio.Runner, whose care for signals costs a tenth of a run of so many short calls.
        self._loop = uvloop.new_event_loop()
        self._orgs = range(0)
        self._run(self._open(database_url))

    def close(self):
        self._run(self._close())
        self._loop.close()

    def _run(self, coroutine):
        return self._loop.run_until_complete(coroutine)

    async def _open(self, database_url):
        self._connection = await asyncpg.connect(database_url)
        options = default_options(limits=default_limits(merge_max_entries=MERGE_MAX_ENTRIES))
        self._store = Store(await open_pool(database_url), options)

    async def _close(self):
        await self._store.pool.close()
        await self._connection.close()

    # ------------------------------------------------------------ what the simulation asks for

    def begin(self, runs):
        self._orgs = range(self._orgs.stop, self._orgs.stop + runs * ORGS_A_RUN)
        return self._orgs[::ORGS_A_RUN]

    def apply_catalog(self, document, *, expected):
        try:
            self._run(apply_catalogs(self._connection, [Catalog.model_validate(document)]))
        except CatalogRefused:
            return False
        return True

    def apply(self, messages, by_place):
        return self._run(self._apply(messages, by_place))

    async def _apply(self, messages, by_place):
        known = await horizons(self._store, sorted(by_place)) if by_place else {}
        return [answer.outgoing for answer in await self._store.apply(messages, horizons=known)]

    def stored(self):
        return self._run(stored(self._connection, self._orgs))

    def offences(self):
        """What `mergeline verify` finds wrong with everything that was ever done here."""
        return self._run(offences(self._connection))


async def offences(connection):
    return [found async for found in verify(connection) if isinstance(found, Offence)]


async def stored(connection, orgs):
    """Everything that is stored of some orgs, as the model tells it."""
    row = await connection.fetchrow(EVERYTHING, orgs)
    customers, entries, cards, merges = (orjson.loads(rows or "[]") for rows in row)
    assert all((one["survivor_id"] is None) == (one["merged_at"] is None) for one in customers)
    return {
        "customers": {(one["org_id"], one["customer_id"]): (one["survivor_id"], one["version"]) for one in customers},
        "entries": {
            (one["org_id"], one["type"], one["value"], one["source"], one["account"] or None): one["customer_id"]
            for one in entries
        },
        "cards": {(one["org_id"], one["number"]): card_row(one) for one in cards},
        "merges": {one["merge_id"]: unordered(moved(merge_row(one))) for one in merges},
    }


def merge_row(one):
    return one["moved"] | {"occurredAt": one["merged_at"], "requestId": one["request_id"]}
