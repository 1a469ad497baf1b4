"""What a stretch of a run cost: the difference of two readings.

In: processes, a database, a folder of topics. Out: a `Reading` at any moment; a `Cost` of two. Never: a guess; what
cannot be read (services elsewhere) is left out. Nor what it takes to read it: commits of the bench's own are not
among those of a request.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from mergeline.bench import processes
from mergeline.bench.workers import Workers
from mergeline.bench.world import Site, World
from mergeline.database import database_errors
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.pool import CONNECT_TIMEOUT_S
from mergeline.store.queries import load
from mergeline.store.statements import Connection

SQL: Final = load("mergeline.bench", "counters.sql")
SAMPLE_S: Final = 0.1
STATEMENTS_MAX: Final = 20
PG_STAT_IO_SINCE: Final = 16
NO_STATEMENTS: Final = (
    asyncpg.ObjectNotInPrerequisiteStateError,  # it is not loaded
    asyncpg.FeatureNotSupportedError,  # it is not installed
    asyncpg.UndefinedFileError,  # the same, before version 16
)


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that only grows, at one moment."""

    at_s: float
    cpu_s: Mapping[str, float]
    machine_cpu_s: float
    database: Mapping[str, int]
    topic_bytes: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What one statement took in a stretch."""

    query: str
    calls: int
    rows: int
    total_ms: float
    wal_bytes: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a number of requests took."""

    requests: int
    seconds: float
    cpu_us: Mapping[str, float]
    """A request, by process; without those that run elsewhere."""
    others_share: float
    """Of this machine's processors: what everything else that ran here took."""
    wal_bytes: float
    """A request, as the following."""
    topic_bytes: float | None
    fsyncs: float
    commits: float
    deadlocks: int
    """In all, as the following."""
    rollbacks: int

    @property
    def requests_per_second(self) -> float:
        """Over this stretch."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def processors_bound(self) -> float:
        """Requests a second that this machine's processors could do at this cost, if nobody else used them."""
        used_us = sum(self.cpu_us.values())
        return processes.PROCESSORS * 1e6 / used_us if used_us else 0.0


class Meter:
    """Reads the processes of a site, of one world and its workers."""

    def __init__(
        self, site: Site, world: World, workers: Workers, *, beside: Connection, inside: Connection, database: str
    ) -> None:
        """`beside`, `inside`: of the server, with another database and with the world's own, `database`."""
        self._site, self._world, self._workers = site, world, workers
        self._beside, self._inside, self._database = beside, inside, database
        self._readings = 0
        self.waits: Counter[str] = Counter()
        """How many sessions were seen waiting, by what for, over all samples."""
        self.samples = 0
        self._one_at_a_time = asyncio.Lock()

    async def read(self) -> Reading:
        """The counters now."""
        places = {
            "worker": self._workers.pids,
            "broker": self._site.broker_pids,
            "database": self._site.database_pids,
        }
        cpu_s = {name: processes.cpu_s(pids) for name, pids in places.items() if pids}
        cpu_s["load"] = time.process_time()
        machine_cpu_s = processes.machine_cpu_s()
        at_s = time.perf_counter()
        async with self._one_at_a_time:
            ledger_rows = await self._inside.fetchval(SQL["ledger_rows"])
            self._readings += 1
            row = await self._beside.fetchrow(SQL["counters"], self._database)
            database = {name: int(value or 0) for name, value in (row or {}).items()} | {"ledger_rows": ledger_rows}
            if self._beside.get_server_version().major >= PG_STAT_IO_SINCE:
                database["fsyncs"] = await self._beside.fetchval(SQL["fsyncs"])
        # Each reading is one commit there. (What the first one took beside, lies before what it tells.)
        database["commits"] -= self._readings
        folder = self._site.topics_folder
        prefix = self._world.settings.topic_prefix
        topic_bytes = processes.folder_bytes(folder, f"{prefix}*/*.log") if folder else 0
        return Reading(at_s, cpu_s, machine_cpu_s, database, topic_bytes)

    async def begin_statements(self) -> None:
        """Count statements from now on; not between two readings.

        Raises:
            SetupError: if this PostgreSQL counts none.
        """
        try:
            await self._inside.execute(SQL["statements_begin"])
            await self._inside.execute(SQL["statements_reset"])
        except NO_STATEMENTS as error:
            raise SetupError(
                f"--statements: PostgreSQL counts no statements ({error.args[0]}). Add pg_stat_statements to its "
                "shared_preload_libraries and start it again, or leave the option out."
            ) from None

    async def statements(self) -> list[Statement]:
        """Those that took the most time; not between two readings."""
        rows = await self._inside.fetch(SQL["statements"], STATEMENTS_MAX)
        return [Statement(**dict(row)) for row in rows]

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Look again and again who waits, during a block."""
        done = asyncio.Event()
        task = asyncio.create_task(self._sample(done))
        try:
            yield
        finally:
            done.set()
            await task

    async def _sample(self, done: asyncio.Event) -> None:
        while not done.is_set():
            async with self._one_at_a_time:
                rows = await self._beside.fetch(SQL["waits"], self._database)
            for row in rows:
                self.waits[row["wait"]] += row["sessions"]
            self.samples += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), SAMPLE_S)


@asynccontextmanager
async def metered(site: Site, world: World, workers: Workers) -> AsyncIterator[Meter]:
    """A meter for the length of a block.

    Raises:
        SetupError: if the database cannot be reached.
    """
    async with _connected(site.settings) as beside, _connected(world.settings) as inside:
        database = await inside.fetchval("select current_database()")
        yield Meter(site, world, workers, beside=beside, inside=inside, database=database)


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Connection]:
    """Without what `database.connected` asks beside: that would be counted too."""
    with database_errors(settings):
        connection = await asyncpg.connect(
            settings.database_url.get_secret_value(),
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=settings.database_timeout_ms / 1000,
            server_settings={"application_name": "mergeline-bench"},
        )
    try:
        yield connection
    finally:
        await connection.close()


def cost(before: Reading, after: Reading, requests: int) -> Cost:
    """What lay between two readings, a request."""
    each = 1 / requests if requests else 0.0
    seconds = after.at_s - before.at_s
    ours_s = {name: after.cpu_s[name] - before.cpu_s[name] for name in after.cpu_s}
    others_s = after.machine_cpu_s - before.machine_cpu_s - sum(ours_s.values())
    used = {name: after.database[name] - before.database[name] for name in after.database}
    # Sessions tell their counts once a second at most. Rows and syncs are told together, so they are compared with
    # each other, and not with what was answered.
    told = 1 / used["ledger_rows"] if used["ledger_rows"] else each
    return Cost(
        requests=requests,
        seconds=seconds,
        cpu_us={name: used_s * each * 1e6 for name, used_s in ours_s.items()},
        others_share=max(0.0, others_s / seconds / processes.PROCESSORS),
        wal_bytes=used["wal_bytes"] * each,
        topic_bytes=(after.topic_bytes - before.topic_bytes) * each if after.topic_bytes else None,
        fsyncs=(used.get("fsyncs", 0) + used["wal_syncs"]) * told,
        commits=used["commits"] * told,
        deadlocks=used["deadlocks"],
        rollbacks=used["rollbacks"],
    )
