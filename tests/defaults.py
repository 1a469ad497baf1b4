"""What the domain and the store are told where a test says nothing else: the defaults of the settings."""

from dataclasses import replace

import asyncpg

from mergeline import database
from mergeline.domain.limits import Limits
from mergeline.settings import Settings
from mergeline.store import pool
from mergeline.store.answered import read_horizons
from mergeline.store.options import Options, Retries

SETTINGS = Settings()


def default_options(**changes: object) -> Options:
    return replace(database.options(SETTINGS), **changes)


def default_limits(**changes: int) -> Limits:
    return replace(default_options().limits, **changes)


def default_retries(**changes: float) -> Retries:
    return replace(default_options().retries, **changes)


async def open_pool(
    database_url: str,
    connections_max: int = SETTINGS.database_pool_max,
    statement_ms_max: int = SETTINGS.database_timeout_ms,
) -> asyncpg.Pool:
    return await pool.open_pool(database_url, connections_max, statement_ms_max)


async def horizons(store, places):
    """The highest offset of each partition that the ledger has an answer for."""
    async with store.statements() as db:
        return await read_horizons(db, places)
