"""Connections to PostgreSQL.

In: an address, bounds. Out: a pool of asyncpg. Never: a connection that waits for ever, or session state that a
pooler between us and the server would mix up.
"""

from typing import Final

import asyncpg

from mergeline.store.statements import Connection, Statements

CONNECT_TIMEOUT_S: Final = 5.0
ACQUIRE_TIMEOUT_S: Final = 30.0
"""For a connection of the pool, connecting included."""
ANSWER_SLACK_S: Final = 3.0
"""Above the server's own time-out: for a server, or a network, that says nothing at all any more."""
CONNECTION_IDLE_S_MAX: Final = 300.0
SERVER_SETTINGS: Final = {"application_name": "mergeline"}
KEEPALIVE_IDLE_S: Final = 5
KEEPALIVE_INTERVAL_S: Final = 2
KEEPALIVES_MAX: Final = 3
UNACKNOWLEDGED_MS_MAX: Final = 11_000
"""What was sent: as long as the three above take together. By a system's defaults it would be hours."""
PEER_GONE_AFTER: Final = {
    "tcp_keepalives_idle": str(KEEPALIVE_IDLE_S),
    "tcp_keepalives_interval": str(KEEPALIVE_INTERVAL_S),
    "tcp_keepalives_count": str(KEEPALIVES_MAX),
    "tcp_user_timeout": str(UNACKNOWLEDGED_MS_MAX),
}
"""In settings of the server for this connection."""


async def open_pool(database_url: str, connections_max: int, statement_ms_max: int) -> asyncpg.Pool:
    """A pool that connects when it is first used.

    Args:
        database_url: where.
        connections_max: of this process.
        statement_ms_max: that of `Options`; a little later a statement without an answer is given up.
    """
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=connections_max,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=statement_ms_max / 1000 + ANSWER_SLACK_S,
        max_inactive_connection_lifetime=CONNECTION_IDLE_S_MAX,
        max_cached_statement_lifetime=0,  # for ever: what is prepared once is not prepared again under locks
        server_settings=SERVER_SETTINGS,
        # All that is set is set for a transaction, so there is nothing to reset, and a round trip to save.
        reset=_leave,
        init=let_the_server_notice,
    )


async def let_the_server_notice(connection: Connection) -> None:
    """Have the server end this connection soon after we are gone without a word: until then it keeps our locks.

    Its own time-outs end what is idle in a transaction, but not what waits for the rest of a prepare.
    """
    db = Statements(connection)
    for name, value in PEER_GONE_AFTER.items():
        await db.execute("setting", name, value)


async def _leave(_connection: asyncpg.Connection) -> None:
    pass
