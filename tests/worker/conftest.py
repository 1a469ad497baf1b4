"""Worlds: one for a test alone, one for a module's tests in turn, one with a running worker that most tests share."""

import asyncio
import contextlib
import gc
import uuid

import pytest
from tests.services import databases
from tests.worker.harness import World


def pytest_addoption(parser):
    parser.addoption("--every-fail-point", action="store_true", help="stop workers at every point, not only at some")


@pytest.fixture(scope="module", autouse=True)
def finalised():
    """What fenced clients leave is finalised here: aiokafka's tasks then log what they failed with."""
    yield
    gc.collect()


@contextlib.asynccontextmanager
async def new_world(postgres, bootstrap_servers, template_database, folder, **prepared):
    name = databases.new_name("worker")
    await databases.create(postgres.database_url, name, template_database)
    world = World(bootstrap_servers, databases.url_of(postgres.database_url, name), f"t{uuid.uuid4().hex[:8]}.", folder)
    try:
        await world.prepare(**prepared)
        yield world
    finally:
        await world.close()
        await asyncio.to_thread(postgres.start)  # does nothing, unless a test has killed it
        await databases.drop(postgres.database_url, name)


@pytest.fixture
async def world(postgres, bootstrap_servers, template_database, tmp_path):
    """A world with topics and a catalog; its workers are killed at the end."""
    async with new_world(postgres, bootstrap_servers, template_database, tmp_path) as world:
        yield world


@pytest.fixture(scope="module")
async def module_world(postgres, bootstrap_servers, template_database, tmp_path_factory):
    """The same for the tests of a module, one after the other."""
    folder = tmp_path_factory.mktemp("world")
    async with new_world(postgres, bootstrap_servers, template_database, folder) as world:
        yield world


@pytest.fixture(scope="session")
async def served(postgres, bootstrap_servers, template_database, tmp_path_factory):
    """A world whose worker runs all the time: for tests that keep to customers, cards and orgs of their own."""
    folder = tmp_path_factory.mktemp("served")
    async with new_world(postgres, bootstrap_servers, template_database, folder) as world:
        world.worker(MERGELINE_DEAD_LETTER_LIMIT="0", MERGELINE_LOG_LEVEL="DEBUG")
        yield world
