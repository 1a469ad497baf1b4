"""Servers of an attack's own, and for each worker a proxy in front of each server.

In: dice. Out: a running Kafka that tells clients to come back through the proxies; a running PostgreSQL.
"""

import asyncio
import contextlib

from tests.attacks.proxy import Proxy
from tests.services import databases

from mergeline import embedded
from mergeline.embedded.ports import free_ports
from mergeline.store.migrations import migrate

WORKERS = 2
PATIENT = {"broker.session.timeout.ms": "9000"}
"""The broker is not killed here, and shall not be taken for dead on a busy machine."""


class Site:
    """One Kafka, one PostgreSQL, and the ways of `WORKERS` workers to them."""

    def __init__(self, dice):
        ports = free_ports(2 * WORKERS)
        self.brokers = [Proxy(f"kafka-{n}", port, dice=dice) for n, port in enumerate(ports[:WORKERS])]
        self.databases = [Proxy(f"postgres-{n}", port, dice=dice) for n, port in enumerate(ports[WORKERS:])]
        self.kafka = embedded.Kafka(relays=[proxy.address for proxy in self.brokers], settings=PATIENT)
        self.postgres = embedded.Postgres()

    @contextlib.asynccontextmanager
    async def running(self):
        """Start everything; stop it at the end."""
        try:
            await asyncio.to_thread(self.postgres.begin)
            await asyncio.to_thread(self.kafka.start)
            await asyncio.to_thread(self.postgres.wait_ready)
            for proxy, target in zip(self.brokers, self.kafka.behind, strict=True):
                proxy.target = target
            for proxy in self.databases:
                proxy.target = databases.address_of(self.postgres.database_url)
            async with contextlib.AsyncExitStack() as stack:
                for proxy in (*self.brokers, *self.databases):
                    await stack.enter_async_context(proxy)
                yield self
        finally:
            await asyncio.to_thread(self.kafka.stop)
            await asyncio.to_thread(self.postgres.stop)

    async def database(self):
        """The address of a new database."""
        name = databases.new_name("site")
        await databases.create(self.postgres.database_url, name)
        url = databases.url_of(self.postgres.database_url, name)
        await migrate(url)
        return url

    def settings(self, world, number):
        """What makes a worker go through its proxies."""
        return {
            "MERGELINE_KAFKA_BOOTSTRAP_SERVERS": self.brokers[number].address,
            "MERGELINE_DATABASE_URL": databases.moved(world.database_url, self.databases[number].address),
        }
