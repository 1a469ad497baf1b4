"""Where a bench plays: services, and one world for each system that is measured: a database and topics of its own.

In: a plan; services to start here, or settings of given ones. Out: a `World` with its data set. Never: a database or
a topic that somebody else uses.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.errors import NoError, UnknownTopicOrPartitionError, for_code

from mergeline.bench.mix import SERIES_ID
from mergeline.bench.plan import ORG_ID, Plan
from mergeline.database import connected, database_errors
from mergeline.domain.catalog import Catalog
from mergeline.embedded import Services
from mergeline.settings import Settings, variable
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.connecting import LONG_STATEMENT_MS_MAX
from mergeline.store.migrations import migrate
from mergeline.store.pool import CONNECT_TIMEOUT_S
from mergeline.store.queries import load
from mergeline.stream import topics

CATALOG: Final = {
    "orgId": ORG_ID,
    "defaultRegion": "CN",
    "sources": {"INSTORE": "single", "WEBSHOP": "single", "WECHAT": "multiple"},
    "series": [{"id": SERIES_ID, "autoCreate": True}],
}
SQL: Final = load("mergeline.bench", "population.sql")
GONE: Final = (NoError.errno, UnknownTopicOrPartitionError.errno)
"""What a broker says of a topic that it has deleted, or never had."""
MAKE_TIMEOUT_S: Final = 300.0
"""For a database to be made, or dropped, for which PostgreSQL takes a checkpoint."""
NO_CHECKPOINT: Final = (
    "PostgreSQL refuses a checkpoint (grant pg_checkpoint): this run begins without, and its write-ahead log is not "
    "to be compared with others'"
)


class Site:
    """Kafka and PostgreSQL, started here or given."""

    def __init__(self, settings: Settings, services: Services | None) -> None:
        self.settings, self.services = settings, services

    @property
    def broker_pids(self) -> list[int]:
        """The broker, where it runs here."""
        return _pids(self.services.kafka.pid if self.services else None)

    @property
    def database_pids(self) -> list[int]:
        """PostgreSQL's first process, where it runs here."""
        return _pids(self.services.postgres.pid if self.services else None)

    @property
    def topics_folder(self) -> Path | None:
        """Where the broker keeps its logs."""
        return self.services.kafka.folder / "data" if self.services else None

    @asynccontextmanager
    async def world(self, name: str, plan: Plan, notice: Callable[[str], None]) -> AsyncIterator["World"]:
        """A database and topics of its own, with the population; gone afterwards.

        Args:
            name: what it is for.
            plan: what lies in it.
            notice: is told what could not be done, where the run goes on without it.

        Raises:
            SetupError: if the services cannot be reached, or refuse, or the database fails inside the block.
        """
        tag = f"bench_{name}_{uuid.uuid4().hex[:8]}"
        world = World(name, self._settings_of(tag, plan), plan)
        with database_errors(self.settings, alone=False):
            # Whatever ends the block, and wherever: what was made of these is removed.
            try:
                await self._execute(f'create database "{tag}"')
                try:
                    await world.prepare(notice)
                    yield world
                finally:
                    if self.services is None:
                        await world.delete_topics(notice)
            finally:
                if self.services is None:
                    await self._execute(f'drop database if exists "{tag}" with (force)')

    def _settings_of(self, tag: str, plan: Plan) -> Settings:
        """Of the workers: those of the services, what the plan says, and last what is a world's own."""
        server = self.settings.database_url.get_secret_value()
        own = {
            variable("database_url"): urlunsplit(urlsplit(server)._replace(path=f"/{tag}")),
            variable("topic_prefix"): f"{tag}.",
            variable("group_id"): tag,
        }
        return Settings.load(self.settings.as_environ() | dict(plan.worker_settings) | own)

    async def _execute(self, statement: str) -> None:
        """Beside all worlds."""
        with database_errors(self.settings):
            connection = await asyncpg.connect(
                self.settings.database_url.get_secret_value(), timeout=CONNECT_TIMEOUT_S, command_timeout=MAKE_TIMEOUT_S
            )
            try:
                await connection.execute(statement)
            finally:
                await connection.close()


class World:
    """What one system works on."""

    def __init__(self, name: str, settings: Settings, plan: Plan) -> None:
        self.name, self.settings, self.plan = name, settings, plan
        self.next_victim = plan.customers + 1
        self._has_topics = False

    @property
    def database_url(self) -> str:
        """Of its own database."""
        return self.settings.database_url.get_secret_value()

    async def prepare(self, notice: Callable[[str], None]) -> None:
        """Tables, topics, catalog, population."""
        with database_errors(self.settings):
            await migrate(self.database_url)
        async with topics.admin(self.settings) as client:
            self._has_topics = True  # or some of them
            await topics.create_topics(client, self.settings, self._topic_plan())
        async with connected(self.settings, LONG_STATEMENT_MS_MAX) as connection:
            await apply_catalogs(connection, [Catalog.model_validate(CATALOG)])
            await connection.execute(SQL["customers"], ORG_ID, 1, self.plan.customers)
            await connection.execute(SQL["entries"], ORG_ID, 1, self.plan.customers, self.plan.entries)
            await connection.execute("vacuum analyze")
            try:
                await connection.execute("checkpoint")
            except asyncpg.InsufficientPrivilegeError:
                notice(NO_CHECKPOINT)

    async def add_merges(self, merges: Sequence[tuple[int, int]]) -> None:
        """Store the victims of a run, and what they will meet."""
        if not merges:
            return
        victims, survivors = map(list, zip(*merges, strict=True))
        self.next_victim = max(victims) + 1
        async with connected(self.settings, LONG_STATEMENT_MS_MAX) as connection:
            await connection.execute(SQL["victims"], ORG_ID, victims)
            await connection.execute(SQL["met"], ORG_ID, victims, survivors)

    async def sizes(self) -> dict[str, int]:
        """What the database holds."""
        async with connected(self.settings, LONG_STATEMENT_MS_MAX) as connection:
            return dict(await connection.fetchrow(SQL["sizes"]) or {})

    async def delete_topics(self, notice: Callable[[str], None]) -> None:
        """Remove its topics, where there can be any, from a cluster that goes on without it."""
        if not self._has_topics:
            return
        async with topics.admin(self.settings) as client:
            response = (await client.delete_topics([spec.name for spec in self._topic_plan()])).to_object()
        codes = {one["topic"]: one["error_code"] for one in response["topic_error_codes"]}
        left = [name for name, code in codes.items() if code not in GONE]
        if left:
            notice(f"Kafka refuses to delete topics ({for_code(codes[left[0]]).__name__}); left are: {', '.join(left)}")

    def _topic_plan(self) -> list[topics.TopicSpec]:
        return topics.topic_plan(self.settings, self.plan.partitions)


@contextmanager
def started_here(
    notice: Callable[[str], None],
    *,
    durable: bool,
    kafka_settings: Mapping[str, str],
    postgres_settings: Mapping[str, str],
) -> Iterator[Site]:
    """Services for the length of a block, outside of any event loop: an interruption ends the wait for them at once."""
    services = Services(
        notice=notice, durable=durable, kafka_settings=kafka_settings, postgres_settings=postgres_settings
    )
    with services:
        environ: dict[str, Any] = {
            variable("database_url"): services.database_url,
            variable("kafka_bootstrap_servers"): services.bootstrap_servers,
        }
        yield Site(Settings.load(environ), services)


def _pids(pid: int | None) -> list[int]:
    return [pid] if pid else []
