"""The database that the settings name, where it cannot be used: one line, and waited for while a worker runs."""

from urllib.parse import urlsplit

import asyncpg
import pytest

from mergeline.database import not_ready, open_store
from mergeline.errors import SetupError
from mergeline.settings import Settings


@pytest.fixture
async def turned(database_url):
    """A server that the address asks to be written, and that then turns read-only: a switchover."""
    settings = Settings.load({"MERGELINE_DATABASE_URL": f"{database_url}?target_session_attrs=read-write"})
    store = await open_store(settings)
    assert await not_ready(store) is None
    await store.pool.expire_connections()
    operator = await asyncpg.connect(database_url)
    await operator.execute(f'alter database "{urlsplit(database_url).path[1:]}" set default_transaction_read_only = on')
    yield settings, store
    store.pool.terminate()
    await operator.close()


async def test_no_server_is_as_the_address_asks(turned):
    settings, store = turned
    with pytest.raises(SetupError, match=r"cannot be reached: .*MERGELINE_DATABASE_URL"):
        await open_store(settings)
    assert await not_ready(store) == "the database does not answer (TargetServerAttributeNotMatched)"
