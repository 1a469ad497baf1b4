"""Connections to PostgreSQL.

In: an address, bounds. Out: a pool of asyncpg. Never: a connection that waits for ever, or session state that a
pooler between us and the server would mix up.
"""

from typing import Final

import asyncpg

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 40.0
"""Above the server's own time-outs: for a server, or a network, that says nothing at all any more."""
CONNECTION_IDLE_S_MAX: Final = 300.0


async def open_pool(database_url: str, connections_max: int = 4) -> asyncpg.Pool:
    """A pool that connects when it is first used."""
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=connections_max,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=ANSWER_TIMEOUT_S,
        max_inactive_connection_lifetime=CONNECTION_IDLE_S_MAX,
        server_settings={"application_name": "mergeline"},
        # All that is set is set for a transaction, so there is nothing to reset, and a round trip to save.
        reset=_leave,
    )


async def _leave(_connection: asyncpg.Connection) -> None:
    pass
