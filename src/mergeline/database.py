"""The database that the settings name: reached, current, and opened as a `Store`.

In: settings. Out: a connection or a store; a `SetupError` that names the setting where that cannot be. Never: a
password in a text, or a database that is not migrated taken for one that is.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final

import asyncpg
import structlog

from mergeline.domain.limits import Limits
from mergeline.errors import SetupError
from mergeline.settings import Settings, masked, variable
from mergeline.store.apply import Store
from mergeline.store.connecting import connecting
from mergeline.store.days import DAYS_AHEAD, ensure_ledger_days
from mergeline.store.failures import Unsettled, describe
from mergeline.store.migrations import pending
from mergeline.store.options import Options, Retries
from mergeline.store.pool import ACQUIRE_TIMEOUT_S, open_pool
from mergeline.store.statements import Connection

DAYS_EVERY_S: Final = 3_600.0
NO_ANSWER: Final = "no answer"
_TOLD_BY_SERVER = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.UndefinedObjectError,  # the address sets what the server does not know
)
"""Their texts name users, databases and tables, and help more than their codes."""
_UNANSWERED = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""The last is also of a cluster in which no server is as `target_session_attrs` asks for."""
log = structlog.get_logger(__name__)


def options(settings: Settings) -> Options:
    """What the store is told."""
    return Options(
        group_id=settings.group_id,
        topic_prefix=settings.topic_prefix,
        limits=Limits(settings.merge_max_entries, settings.event_max_bytes),
        lock_keys_max=settings.lock_keys_max,
        catalogs_cached_max=settings.catalogs_cached_max,
        statement_ms_max=settings.database_timeout_ms,
        retries=Retries(settings.progress_timeout_ms / 1000),
    )


@asynccontextmanager
async def connected(settings: Settings, statement_ms_max: int | None = None) -> AsyncIterator[Connection]:
    """A connection to the migrated database, closed afterwards.

    Args:
        settings: where.
        statement_ms_max: for one statement of a block whose statements may take longer than `database_timeout_ms`.

    Raises:
        SetupError: if it cannot be reached within one attempt, is not migrated, or fails, also inside the block.
    """
    url = settings.database_url.get_secret_value()
    async with AsyncExitStack() as stack:
        stack.enter_context(database_errors(settings, alone=False))
        with database_errors(settings):
            opening = connecting(url, statement_ms_max or settings.database_timeout_ms)
            connection = await stack.enter_async_context(opening)
            await check_migrated(settings, connection)
        yield connection


@contextmanager
def database_errors(settings: Settings, *, alone: bool = True) -> Iterator[None]:
    """Errors of the database as one line that names the setting.

    Args:
        settings: where it is.
        alone: whether the block only speaks to it. If not, errors of the system (a pipe that is closed, a disk that is
            full) are somebody else's, and left as they are: those of the connection come as `connecting` says them.
    """
    place = f"PostgreSQL at {masked(settings.database_url.get_secret_value())}"
    remedy = f"Correct that, or {variable('database_url')}."
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        granted = f"Grant it (deploy/README.md, PostgreSQL), or correct {variable('database_url')}."
        raise SetupError(f"{place} refuses: {error.args[0]}. {granted}") from None
    except _TOLD_BY_SERVER as error:
        raise SetupError(f"{place} refuses: {error.args[0]}. {remedy}") from None
    except asyncpg.PostgresError as error:
        raise SetupError(f"{place} failed: {describe(error)}. Its log says more.") from None
    except asyncpg.ClientConfigurationError as error:
        reason = str(error).partition("\n")[0].rstrip(".")  # what follows is asyncpg's hint
        raise SetupError(f"{variable('database_url')} cannot be used: {reason}. Correct it.") from None
    except _UNANSWERED as error:
        if not alone and isinstance(error, OSError) and not isinstance(error, TimeoutError):
            raise
        if isinstance(error, FileNotFoundError):
            raise SetupError(
                f"{place} cannot be reached: a socket, or a file (sslrootcert, sslcert, sslkey, sslcrl), that "
                f"{variable('database_url')} names is not there. Correct it."
            ) from None
        raise SetupError(unreachable(settings, " ".join(str(error).split()) or NO_ANSWER)) from None


def unreachable(settings: Settings, reason: str) -> str:
    """One line for whoever gets no answer."""
    place = masked(settings.database_url.get_secret_value())
    return f"PostgreSQL at {place} cannot be reached: {reason}. Start it, or correct {variable('database_url')}."


async def open_store(settings: Settings) -> Store:
    """A store on the migrated database.

    Raises:
        SetupError: as `connected`.
    """
    async with connected(settings) as connection:
        await make_days(connection)
    address = settings.database_url.get_secret_value()
    pool = await open_pool(address, settings.database_pool_max, settings.database_timeout_ms)
    return Store(pool, options(settings))


async def check_migrated(settings: Settings, connection: Connection) -> None:
    """Refuse a database that is behind this code.

    Raises:
        SetupError: naming what is pending.
    """
    names = await pending(connection)
    if names:
        raise SetupError(
            f"The database at {masked(settings.database_url.get_secret_value())} is not migrated "
            f"({', '.join(names)} pending). Run: mergeline migrate (or correct {variable('database_url')})."
        )


async def not_ready(store: Store) -> str | None:
    """What keeps the database from serving, or None."""
    try:
        async with store.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            names = await pending(connection)
    except Exception as error:  # noqa: BLE001 (whatever it is, nothing can be applied)
        return f"the database does not answer ({describe(error)})"
    return f"the database is not migrated ({', '.join(names)})" if names else None


async def keep_days(store: Store) -> None:
    """Make the ledger's next days, now and every hour, for ever; the default partition takes what has none."""
    while True:
        try:
            async with store.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                await make_days(connection)
        except Exception as error:  # noqa: BLE001 (whatever it is, the default partition takes what has no day)
            log.warning("ledger.days_not_made", error=describe(error))
        await asyncio.sleep(DAYS_EVERY_S)


async def make_days(connection: Connection) -> None:
    """Make the ledger's next days; what cannot be made now is made later, or goes to the default partition."""
    try:
        await ensure_ledger_days(connection, DAYS_AHEAD)
    except (asyncpg.PostgresError, Unsettled) as error:
        log.warning("ledger.days_not_made", error=describe(error))
