"""Stores on a database of the lane, emptied after each test, and a connection to look into it.

Whoever changes the schema takes `database_url`, which is the test's own, or undoes it.
"""

import asyncpg
import pytest
from tests.defaults import default_options, default_retries, open_pool
from tests.integration.desk import CATALOG, Desk
from tests.services import databases

from mergeline.domain.catalog import Catalog
from mergeline.store.apply import Store
from mergeline.store.catalogs import apply_catalogs

QUICK = default_retries(attempts_max=8, seconds_max=20.0, wait_ms_base=1.0, wait_ms_max=20.0)
TABLES = (
    "customer",
    "identifier",
    "card",
    "merge",
    "catalog",
    "partition_owner",
    "topic_incarnation",
    "request",
    "ledger",
)


@pytest.fixture(scope="session")
async def shared_database_url(postgres, template_database):
    name = databases.new_name("integration")
    await databases.create(postgres.database_url, name, template_database)
    yield databases.url_of(postgres.database_url, name)
    await databases.drop(postgres.database_url, name)


@pytest.fixture
async def sql(shared_database_url):
    connection = await asyncpg.connect(shared_database_url)
    await apply_catalogs(connection, [Catalog.model_validate(CATALOG)])
    yield connection
    # Quicker than a database each: making and dropping one takes as long as ten tests.
    await connection.execute("; ".join(f"delete from {table}" for table in TABLES))
    await connection.close()


@pytest.fixture
async def new_store(shared_database_url, sql):
    """Makes stores; each has a pool of its own, as processes have."""
    pools = []

    async def make(on_statement=None, **options):
        pools.append(await open_pool(shared_database_url, connections_max=8))
        return Store(pools[-1], default_options(**{"retries": QUICK} | options), on_statement)

    yield make
    for pool in pools:
        await pool.close()


@pytest.fixture
async def store(new_store):
    return await new_store()


@pytest.fixture
def desk(store):
    return Desk(store)
