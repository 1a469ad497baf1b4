import pytest_asyncio

from tests.worker.harness import World


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="replay a random test with this seed (0: choose one)")


@pytest_asyncio.fixture
async def world(bootstrap_servers, database_url, topic_prefix, tmp_path):
    """A world with topics and a catalog; its workers are killed at the end."""
    world = World(bootstrap_servers, database_url, topic_prefix, tmp_path)
    await world.prepare()
    yield world
    world.close()
