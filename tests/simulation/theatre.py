"""Where schedules are played: stores that stop before every statement, and as many fresh orgs as there are schedules.

In: the address of a migrated database; scenes. Out: what the store said and holds after a schedule, compared with all
that the reference model gives for a serial order.
"""

import itertools
import json
from dataclasses import dataclass

import asyncpg
from msgspec.structs import replace
from tests.defaults import default_limits, default_options, open_pool
from tests.simulation.compare import published
from tests.simulation.run import INTERNAL, MERGE_MAX_ENTRIES
from tests.simulation.schedules import Rival, Stage, one_schedule
from tests.simulation.serial import outcomes_of_all_orders, timeless, told_by_store
from tests.simulation.store_system import offences, stored

from mergeline.domain.catalog import Catalog
from mergeline.domain.messages import Coordinate, Message, Place
from mergeline.store.apply import Store
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.failures import CatalogRefused
from mergeline.store.progress import Progress

SCENES_AT_ONCE = 12
RIVALS = 3
# Who waits here waits for whoever the schedule lets go on, however long a busy machine takes for that.
PATIENT = {"lock_wait_ms_max": 120_000, "statement_ms_max": 120_000, "idle_ms_max": 120_000}
OPTIONS = default_options(limits=default_limits(merge_max_entries=MERGE_MAX_ENTRIES), **PATIENT)

DEAD_LETTER_RUNS = """
select topic, dead_letters_in_a_row as run from partition_owner where partition = $1 and dead_letters_in_a_row > 0
"""


@dataclass
class Scene:
    """One org: what was there before, and the operations, as catalogs and batches of real messages."""

    org: int
    catalog: dict
    before: list
    operations: list


class Theatre:
    """Stores with a gate each, one without, and a connection to look."""

    async def open(self, url):
        self._orgs, self._offsets = itertools.count(1), itertools.count()
        self._observer = await asyncpg.connect(url)
        self._preparing = Store(await open_pool(url, statement_ms_max=PATIENT["statement_ms_max"]), OPTIONS)
        self.rivals, self._stores = [], []
        for _ in range(RIVALS):
            pool = await open_pool(url, 1, PATIENT["statement_ms_max"])
            self.rivals.append(Rival(pool))
            self._stores.append(Store(pool, OPTIONS, self.rivals[-1].gate))
        self.stage = Stage(self.rivals, self._observer)
        self._deadlocks = await self.deadlocks()

    async def close(self):
        for store in (self._preparing, *self._stores):
            await store.pool.close()
        await self._observer.close()

    # ------------------------------------------------------------ scenes

    def scene(self, catalog, before, operations):
        """The same scene in an org of its own. An operation is a catalog, a list of (topic, body), or a repetition."""
        org = next(self._orgs)
        made = Scene(org, catalog | {"orgId": org}, [self.message(org, 0, *one) for one in before], [])
        for number, operation in enumerate(operations):
            if isinstance(operation, dict):
                made.operations.append(operation | {"orgId": org})
            else:
                made.operations.append([self.made(made, number, one) for one in operation])
        return made

    def made(self, scene, number, what):
        return self.repeated(scene, number, what) if isinstance(what, str) else self.message(scene.org, number, *what)

    def message(self, org, number, topic, body):
        """A message in the scene's partition of the public topic, and in the rival's own of the internal one."""
        offset = next(self._offsets)
        value = json.dumps(body | {"orgId": org}).encode() if body is not None else b"torn"
        return Message(Coordinate(topic, org, offset), place(org, number, offset), 0, None, value)

    def repeated(self, scene, number, how):
        """The first message of the first operation once more."""
        first, offset = scene.operations[0][0], next(self._offsets)
        again = {
            "delivered again": {},
            "routed again": {"at": place(scene.org, number, offset)},
            "sent again": {
                "at": place(scene.org, number, offset),
                "origin": Coordinate(first.origin.topic, scene.org, offset),
            },
        }
        return replace(first, **again[how])

    async def prepare(self, scenes, *, warm=False):
        """What was there before, of many scenes at once; `warm`: the second rival has the catalogs cached."""
        await apply_catalogs(self._observer, [Catalog.model_validate(scene.catalog) for scene in scenes])
        store = self._stores[1] if warm else self._preparing
        await store.apply([message for scene in scenes for message in scene.before])

    async def play(self, scene, dice):
        """The operations of a prepared scene in a random schedule, and what comes of them."""
        self.current = scene
        await self.judge(await one_schedule(self.stage, self.works(scene), dice))

    def works(self, scene):
        return [self.work(number, operation) for number, operation in enumerate(scene.operations)]

    async def work(self, number, operation):
        """One operation by one rival; what it was told."""
        if isinstance(operation, dict):
            return await self.change_catalog(number, operation)
        last = operation[-1].at
        progress = {Place(last.topic, last.partition): Progress(last.offset)}
        return [answer.outgoing for answer in await self._stores[number].apply(operation, progress=progress)]

    async def change_catalog(self, number, document):
        async with self._stores[number].pool.acquire() as connection:
            try:
                await apply_catalogs(connection, [Catalog.model_validate(document)], self.rivals[number].gate)
            except CatalogRefused:
                return False
        return True

    # ------------------------------------------------------------ the oracle

    async def judge(self, results):
        """The results are those of a serial order, and times rise with versions."""
        scene = self.current
        what = (
            [told_by_store(result) for result in results],
            timeless(await stored(self._observer, [scene.org])),
            {row["topic"]: row["run"] for row in await self._observer.fetch(DEAD_LETTER_RUNS, scene.org)},
        )
        orders = outcomes_of_all_orders([scene.catalog, scene.before], scene.operations, MERGE_MAX_ENTRIES)
        assert any(what == expected for expected in orders.values()), (
            f"no serial order gives what this schedule gave\n{self.stage.told()}\n{what}\n{orders}"
        )
        assert_times_rise(results)

    async def deadlocks(self):
        await self._observer.execute("select pg_stat_clear_snapshot()")
        return await self._observer.fetchval(
            "select deadlocks from pg_stat_database where datname = current_database()"
        )

    async def final_offences(self):
        """What must be true at the very end, over all schedules that were played."""
        return [*await offences(self._observer), *["a deadlock"] * (await self.deadlocks() - self._deadlocks)]


def place(org, number, offset):
    return Coordinate(INTERNAL, org * RIVALS + number, offset)


def assert_times_rise(results):
    """`occurredAt` does not fall along the versions of a customer."""
    times = {}
    for records in itertools.chain(*(result for result in results if not isinstance(result, bool))):
        for data in (published(record)["data"] | {"key": record.key} for record in records if record.topic in CHANGES):
            times[data["key"], data["customerVersion"]] = data["occurredAt"]
    for (key, version), at in times.items():
        assert times.get((key, version + 1), at) >= at


CHANGES = {"customer-merged", "identifiers-changed", "card-issued", "card-changed"}
