"""A lock table that is too small: batches that find no room in it (SQLSTATE 53200) are halved until they do.

In: a PostgreSQL whose lock table holds a few hundred locks, writers with batches that want thousands. Out: defects,
and figures.
"""

import asyncio
import json
from collections import Counter

import asyncpg
from tests.attacks.defects import Defects
from tests.attacks.hotspots import CATALOG, COMMANDS, CUSTOMERS, ORG, CountingStore
from tests.defaults import applied, default_options, open_pool

from mergeline.domain.catalog import Catalog
from mergeline.domain.messages import Coordinate, Message
from mergeline.embedded.postgres import Postgres
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.invariants import Offence, verify

FULL = "OutOfMemoryError 53200"
SMALL = {
    "max_connections": "12",
    "max_locks_per_transaction": "10",
    "max_worker_processes": "0",
    "max_wal_senders": "0",
}


class SmallPostgres(Postgres):
    """PostgreSQL with hardly any room for locks."""

    def _settings(self):
        return super()._settings() | SMALL


class LockTable:
    """One run; `run`, then `figures`."""

    def __init__(self, database_url, *, writers, batch):
        self._url, self._writers, self._batch = database_url, writers, batch
        self.failures = Counter()
        self.defects = Defects()

    async def run(self):
        """A batch of registrations from each writer at once, half of them of the same customers."""
        looking = await asyncpg.connect(self._url)
        await apply_catalogs(looking, [Catalog.model_validate(CATALOG)])
        answers = await asyncio.gather(*(self._write(number) for number in range(self._writers)))
        kinds = Counter(answer.kind for found in answers for answer in found)
        customers = self._batch // 2 * (self._writers + 1)
        expected = {"applied": customers, "unchanged": self._batch * self._writers - customers}
        if kinds != expected:
            self.defects.add("answers", f"{dict(kinds)}, not {expected}")
        if not self.failures[FULL]:
            self.defects.add("the lock table was never full", dict(self.failures))
        async for found in verify(looking):
            if isinstance(found, Offence):
                self.defects.add(f"verify: {found.rule}", found.offender)
        await looking.close()
        return self.defects

    def figures(self):
        return {"lock_table_full": self.failures[FULL], "lock_table_failures": dict(self.failures)}

    async def _write(self, number):
        async with await open_pool(self._url, 1) as pool:
            store = CountingStore(pool, default_options(), self.failures)
            half = self._batch // 2
            own = range((number + 1) * half, (number + 2) * half)
            return await applied(
                store,
                [self._registration(number, place, customer) for place, customer in enumerate([*range(half), *own])],
            )

    def _registration(self, number, place, customer):
        identifiers = [{"type": "line", "value": f"of-{customer}-{one}"} for one in range(3)]
        body = {"orgId": ORG, "customerId": customer + 1, "source": "INSTORE", "identifiers": identifiers}
        at = Coordinate(COMMANDS, number, place)
        return Message(Coordinate(CUSTOMERS, number, place), at, 0, b"k", json.dumps(body).encode())
