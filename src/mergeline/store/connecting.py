"""One connection by itself, of which no wait is without an end.

In: an address, how long a statement may take. Out: the connection, for the length of a block. Never: a wait for a
server, or a network, that fell silent: each statement is bounded, and where the bound is long the silence is found out
before. A connection on which a statement was given up is not used again.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
from asyncpg.connection import LoggedQuery

from mergeline.store.pool import (
    ANSWER_SLACK_S,
    CONNECT_TIMEOUT_S,
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    KEEPALIVES_MAX,
    SERVER_SETTINGS,
    UNACKNOWLEDGED_MS_MAX,
    let_the_server_notice,
)
from mergeline.store.queries import SQL
from mergeline.store.statements import GIVEN_UP, Connection

LONG_STATEMENT_MS_MAX: Final = 3_600_000
"""For what goes through whole tables."""
GIVEN_UP_WITHIN_S: Final = 1.0
"""For the server to hear that a statement, or the connection, was given up."""
LOOK_EVERY_S: Final = 5.0
SILENCES_MAX: Final = 3
"""So many looks in a row without an answer, each of twice `CONNECT_TIMEOUT_S` at most: within a minute in all."""
SERVER_GONE_AFTER: Final = {
    "TCP_KEEPIDLE": KEEPALIVE_IDLE_S,
    "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_S,
    "TCP_KEEPCNT": KEEPALIVES_MAX,
    "TCP_USER_TIMEOUT": UNACKNOWLEDGED_MS_MAX,
}
"""As the server is told of us; a system that has not all of these goes by the looks alone."""


@asynccontextmanager
async def connecting(database_url: str, statement_ms_max: int) -> AsyncIterator[Connection]:
    """A connection for the length of a block, closed afterwards.

    Args:
        database_url: where.
        statement_ms_max: for one statement; a little later it is given up.

    Raises:
        TimeoutError: where nothing answers (any more).
        asyncpg.InterfaceError: for an error of the system (OSError) that ended the connection inside the block.
    """
    connection = await _connect(database_url, statement_ms_max / 1000 + ANSWER_SLACK_S)
    silent = asyncio.Event()
    _end_with_what_is_given_up(connection, silent)
    _notice_the_server_gone(connection)
    watching = asyncio.create_task(_until_silent(database_url, connection, silent))
    try:
        await let_the_server_notice(connection)
        yield connection
    except (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
        if not connection.is_closed():
            raise
        if silent.is_set():
            raise TimeoutError from None  # what was said of the connection is what came of that
        if isinstance(error, OSError):
            raise asyncpg.InterfaceError(str(error)) from None
        raise
    finally:
        watching.cancel()
        with suppress(TimeoutError):
            await connection.close(timeout=GIVEN_UP_WITHIN_S)


async def _connect(database_url: str, command_timeout_s: float) -> Connection:
    return await asyncpg.connect(
        database_url,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=command_timeout_s,
        server_settings=SERVER_SETTINGS,
    )


def _end_with_what_is_given_up(connection: Connection, silent: asyncio.Event) -> None:
    """Else a rollback would be waited for as long again as the statement was."""
    loop = asyncio.get_running_loop()

    def hear(record: LoggedQuery) -> None:
        if isinstance(record.exception, TimeoutError):
            silent.set()
        if isinstance(record.exception, GIVEN_UP):
            loop.call_later(GIVEN_UP_WITHIN_S, connection.terminate)

    connection.add_query_logger(hear)


def _notice_the_server_gone(connection: Connection) -> None:
    """Have our system end this connection soon after the server is gone without a word, or its way was forgotten."""
    ours = getattr(connection, "_transport").get_extra_info("socket")  # noqa: B009 - the stubs do not know it
    if ours.family not in (socket.AF_INET, socket.AF_INET6):
        return
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in SERVER_GONE_AFTER.items():
        if (option := getattr(socket, name, None)) is not None:
            ours.setsockopt(socket.IPPROTO_TCP, option, value)


async def _until_silent(database_url: str, connection: Connection, silent: asyncio.Event) -> None:
    """Ask the server again and again, beside what it has to do; end the connection when it answers nobody."""
    silences = 0
    while silences < SILENCES_MAX:
        await asyncio.sleep(LOOK_EVERY_S)
        silences = 0 if await _answers(database_url) else silences + 1
    silent.set()
    connection.terminate()


async def _answers(database_url: str) -> bool:
    """Whether a new connection is answered, or refused in words."""
    try:
        asking = await _connect(database_url, CONNECT_TIMEOUT_S)
        try:
            await asking.fetchval(SQL["now"])
        finally:
            with suppress(TimeoutError):
                await asking.close(timeout=GIVEN_UP_WITHIN_S)
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError):
        return False
    except asyncpg.PostgresError:
        pass
    return True
