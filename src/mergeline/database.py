"""The database that the settings name: reached, current, and opened as a `Store`.

In: settings. Out: a connection or a store; a `SetupError` that names the setting where that cannot be. Never: a
password in a text, or a database that is not migrated taken for one that is.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import structlog

from mergeline.domain.limits import Limits
from mergeline.errors import SetupError
from mergeline.settings import Settings, masked, variable
from mergeline.store import Options, Store, open_pool
from mergeline.store.days import DAYS_AHEAD, ensure_ledger_days
from mergeline.store.failures import describe
from mergeline.store.migrations import pending
from mergeline.store.pool import CONNECT_TIMEOUT_S
from mergeline.store.statements import Connection

DAYS_EVERY_S: Final = 3_600.0
UNREACHABLE: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.ClientConfigurationError)
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
    )


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Connection]:
    """A connection to the migrated database, closed afterwards.

    Raises:
        SetupError: if it cannot be reached within one attempt, or is not migrated.
    """
    try:
        connection = await asyncpg.connect(settings.database_url.get_secret_value(), timeout=CONNECT_TIMEOUT_S)
    except UNREACHABLE as error:
        raise unreachable(settings, error) from None
    try:
        await check_migrated(settings, connection)
        yield connection
    finally:
        await connection.close()


async def open_store(settings: Settings) -> Store:
    """A store on the migrated database.

    Raises:
        SetupError: as `connected`.
    """
    async with connected(settings) as connection:
        await make_days(connection)
    address = settings.database_url.get_secret_value()
    pool = await open_pool(address, settings.database_pool_max, statement_ms_max=settings.database_timeout_ms)
    return Store(pool, options(settings))


async def check_migrated(settings: Settings, connection: Connection) -> None:
    """Refuse a database that is behind this code.

    Raises:
        SetupError: naming what is pending.
    """
    try:
        names = await pending(connection)
    except UNREACHABLE as error:
        raise unreachable(settings, error) from None
    if names:
        raise SetupError(
            f"The database at {masked(settings.database_url.get_secret_value())} is not migrated "
            f"({', '.join(names)} pending). Run: mergeline migrate (or correct {variable('database_url')})."
        )


async def not_ready(store: Store) -> str | None:
    """What keeps the database from serving, or None."""
    try:
        async with store.pool.acquire() as connection:
            names = await pending(connection)
    except UNREACHABLE as error:
        return f"the database does not answer ({describe(error)})"
    return f"the database is not migrated ({', '.join(names)})" if names else None


async def keep_days(store: Store) -> None:
    """Make the ledger's next days, now and every hour, for ever; the default partition takes what has none."""
    while True:
        try:
            async with store.pool.acquire() as connection:
                await make_days(connection)
        except UNREACHABLE as error:
            log.warning("ledger.days_not_made", error=describe(error))
        await asyncio.sleep(DAYS_EVERY_S)


async def make_days(connection: Connection) -> None:
    """Make the ledger's next days; what cannot be made now is made later, or goes to the default partition."""
    try:
        await ensure_ledger_days(connection, DAYS_AHEAD)
    except asyncpg.PostgresError as error:
        log.warning("ledger.days_not_made", error=describe(error))


def unreachable(settings: Settings, error: BaseException) -> SetupError:
    """One line for whoever finds that the database does not let us in."""
    reason = describe(error) if isinstance(error, asyncpg.PostgresError) else str(error) or type(error).__name__
    address = masked(settings.database_url.get_secret_value())
    return SetupError(
        f"PostgreSQL at {address} cannot be reached: {' '.join(reason.split())}. "
        f"Start it, or correct {variable('database_url')}."
    )
