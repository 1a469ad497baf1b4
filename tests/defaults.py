"""What the domain and the store are told where a test says nothing else: the defaults of the settings."""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from mergeline import database
from mergeline.domain.batch import Answer
from mergeline.domain.limits import Limits
from mergeline.domain.messages import Message
from mergeline.settings import Settings
from mergeline.store import pool
from mergeline.store.apply import Store
from mergeline.store.attempts import apply_with_retries
from mergeline.store.options import Options, Retries

SETTINGS = Settings()


def default_options(**changes: object) -> Options:
    return replace(database.options(SETTINGS), **changes)


def default_limits(**changes: int) -> Limits:
    return replace(default_options().limits, **changes)


def default_retries(**changes: float) -> Retries:
    return replace(default_options().retries, **changes)


async def applied(store: Store, messages: Sequence[Message], **arguments: object) -> list[Answer]:
    """The answers to all of a batch, once it is through."""
    return [answer async for part in apply_with_retries(store, messages, **arguments) for answer in part]


async def open_pool(
    database_url: str,
    connections_max: int = SETTINGS.database_pool_max,
    statement_ms_max: int = SETTINGS.database_timeout_ms,
) -> asyncpg.Pool:
    return await pool.open_pool(database_url, connections_max, statement_ms_max)
