"""PostgreSQL as commands need it: one connection, one clear line where it does not work.

In: the settings. Out: a connection for the length of a block. Never: a password, or the text of an error that could
hold a stored value.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from mergeline.database import check_migrated
from mergeline.errors import SetupError
from mergeline.settings import Settings, masked, variable
from mergeline.store.failures import describe
from mergeline.store.pool import CONNECT_TIMEOUT_S
from mergeline.store.statements import Connection

_TOLD_BY_SERVER = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)
"""Their texts name users, databases and tables, and help more than their codes."""


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Connection]:
    """A connection to a database that is migrated.

    Raises:
        SetupError: if there is none, or it is not migrated.
    """
    url = settings.database_url.get_secret_value()
    with database_errors(settings):
        connection = await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_S, server_settings={"application_name": "mergeline-cli"}
        )
        try:
            await check_migrated(settings, connection)
            yield connection
        finally:
            await connection.close()


@contextmanager
def database_errors(settings: Settings) -> Iterator[None]:
    """Errors of the database as one line that names the setting."""
    place = f"PostgreSQL at {masked(settings.database_url.get_secret_value())}"
    remedy = f"Correct that, or {variable('database_url')}."
    try:
        yield
    except _TOLD_BY_SERVER as error:
        raise SetupError(f"{place} refuses: {error.args[0]}. {remedy}") from None
    except asyncpg.PostgresError as error:
        raise SetupError(f"{place} failed: {describe(error)}. Its log says more.") from None
    except asyncpg.ClientConfigurationError as error:
        raise SetupError(f"{variable('database_url')} cannot be used: {error}. Correct it.") from None
    except (OSError, asyncpg.InterfaceError) as error:
        reason = " ".join(str(error).split()) or "no answer"
        raise SetupError(
            f"{place} cannot be reached: {reason}. Start it, or correct {variable('database_url')}."
        ) from None
