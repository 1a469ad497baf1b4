"""The fixtures that give tests their Kafka and PostgreSQL.

| fixture | scope | gives |
| --- | --- | --- |
| ``kafka``, ``postgres`` | session | the shared servers; not to be killed |
| ``killable_kafka``, ``killable_postgres`` | test | the same servers, which run again after the test whatever it did |
| ``bootstrap_servers`` | session | Kafka's address |
| ``topic_prefix`` | test | a prefix for topics, groups and transactional ids that no other test has |
| ``database_url`` | test | a fresh, migrated database, dropped afterwards |
| ``empty_database_url`` | test | a fresh database without a schema, dropped afterwards |
"""

import asyncio
import contextlib
import uuid

import pytest
from tests.services import databases
from tests.services.choice import new_kafka, new_postgres


@pytest.fixture(scope="session")
def notice(pytestconfig):
    """Tells the person at the terminal what takes so long the first time."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    return reporter.write_line if reporter else lambda _line: None


@pytest.fixture(scope="session")
def kafka(notice):
    server = new_kafka(notice)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres(notice):
    server = new_postgres(notice)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def killable_kafka(kafka):
    yield kafka
    kafka.start()


@pytest.fixture
def killable_postgres(postgres):
    yield postgres
    postgres.start()


@pytest.fixture(scope="session")
def bootstrap_servers(kafka):
    return kafka.bootstrap_servers


@pytest.fixture
def topic_prefix():
    return f"t{uuid.uuid4().hex[:8]}."


@pytest.fixture(scope="session")
async def template_database(postgres):
    """Migrated once; PostgreSQL clones its files for each test."""
    from mergeline.store.migrations import migrate  # noqa: PLC0415 - the lanes without a database need no store

    name = databases.new_name("template")
    await databases.create(postgres.database_url, name)
    await migrate(databases.url_of(postgres.database_url, name))
    return name  # it goes with its server


@contextlib.asynccontextmanager
async def _database(postgres, purpose, template="template1"):
    name = databases.new_name(purpose)
    await databases.create(postgres.database_url, name, template)
    yield databases.url_of(postgres.database_url, name)
    await asyncio.to_thread(postgres.start)  # does nothing, unless the test has killed it
    await databases.drop(postgres.database_url, name)


@pytest.fixture
async def database_url(postgres, template_database):
    async with _database(postgres, "test", template_database) as url:
        yield url


@pytest.fixture
async def empty_database_url(postgres):
    async with _database(postgres, "empty") as url:
        yield url
