"""Where a bench plays: services, and one world for each system that is measured: a database and topics of its own.

In: a plan; services to start here, or settings of given ones. Out: a `World` with its data set. Never: a database or
a topic that somebody else uses.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from mergeline.bench.mix import SERIES_ID
from mergeline.bench.plan import ORG_ID, Plan
from mergeline.database import database_errors
from mergeline.domain.catalog import Catalog
from mergeline.embedded import Services
from mergeline.settings import Settings, variable
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.migrations import migrate
from mergeline.store.queries import load
from mergeline.stream import topics

CATALOG: Final = {
    "orgId": ORG_ID,
    "defaultRegion": "CN",
    "sources": {"INSTORE": "single", "WEBSHOP": "single", "WECHAT": "multiple"},
    "series": [{"id": SERIES_ID, "autoCreate": True}],
}
SQL: Final = load("mergeline.bench", "population.sql")
POPULATE_TIMEOUT_S: Final = 3_600.0


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
    async def world(self, name: str, plan: Plan) -> AsyncIterator["World"]:
        """A database and topics of its own, with the population; gone afterwards.

        Raises:
            SetupError: if the services cannot be reached, or refuse.
        """
        tag = f"bench_{name}_{uuid.uuid4().hex[:8]}"
        server = self.settings.database_url.get_secret_value()
        url = urlunsplit(urlsplit(server)._replace(path=f"/{tag}"))
        environ = self.settings.as_environ() | {
            variable("database_url"): url,
            variable("topic_prefix"): f"{tag}.",
            variable("group_id"): tag,
            **plan.worker_settings,
        }
        settings = Settings.load(environ)
        with database_errors(self.settings):
            await _execute(server, f'create database "{tag}"')
        try:
            world = World(name, settings, plan)
            await world.prepare()
            try:
                yield world
            finally:
                if self.services is None:
                    await world.delete_topics()
        finally:
            if self.services is None:
                await _execute(server, f'drop database if exists "{tag}" with (force)')


class World:
    """What one system works on."""

    def __init__(self, name: str, settings: Settings, plan: Plan) -> None:
        self.name, self.settings, self.plan = name, settings, plan
        self.next_victim = plan.customers + 1

    @property
    def database_url(self) -> str:
        """Of its own database."""
        return self.settings.database_url.get_secret_value()

    async def prepare(self) -> None:
        """Tables, topics, catalog, population."""
        await migrate(self.database_url)
        async with topics.admin(self.settings) as client:
            await topics.create_topics(client, self.settings, self._topic_plan())
        connection = await asyncpg.connect(self.database_url, command_timeout=POPULATE_TIMEOUT_S)
        try:
            await apply_catalogs(connection, [Catalog.model_validate(CATALOG)])
            await connection.execute(SQL["customers"], ORG_ID, 1, self.plan.customers)
            await connection.execute(SQL["entries"], ORG_ID, 1, self.plan.customers, self.plan.entries)
            await connection.execute("vacuum analyze")
            await connection.execute("checkpoint")
        finally:
            await connection.close()

    async def add_merges(self, merges: Sequence[tuple[int, int]]) -> None:
        """Store the victims of a run, and what they will meet."""
        if not merges:
            return
        victims, survivors = map(list, zip(*merges, strict=True))
        self.next_victim = max(victims) + 1
        connection = await asyncpg.connect(self.database_url, command_timeout=POPULATE_TIMEOUT_S)
        try:
            await connection.execute(SQL["victims"], ORG_ID, victims)
            await connection.execute(SQL["met"], ORG_ID, victims, survivors)
        finally:
            await connection.close()

    async def sizes(self) -> dict[str, int]:
        """What the database holds."""
        connection = await asyncpg.connect(self.database_url, command_timeout=POPULATE_TIMEOUT_S)
        try:
            return dict(await connection.fetchrow(SQL["sizes"]) or {})
        finally:
            await connection.close()

    async def delete_topics(self) -> None:
        """Remove its topics from a cluster that goes on without it."""
        async with topics.admin(self.settings) as client:
            await client.delete_topics([spec.name for spec in self._topic_plan()])

    def _topic_plan(self) -> list[topics.TopicSpec]:
        return topics.topic_plan(self.settings, self.plan.partitions)


@asynccontextmanager
async def started_here(
    notice: Callable[[str], None],
    *,
    durable: bool,
    kafka_settings: Mapping[str, str],
    postgres_settings: Mapping[str, str],
) -> AsyncIterator[Site]:
    """Services for the length of a block."""
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


async def _execute(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
