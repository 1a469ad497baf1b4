"""The schema, brought up to date.

In: an address, or a connection. Out: the names of what was, or has to be, applied. Never: half a migration, or two
processes that migrate at once.

A migration is a file of `migrations/`, applied in the order of the names; `schema.sql` shows what they lead to.
"""

from importlib.resources import files
from typing import Final

from mergeline.store.connecting import LONG_STATEMENT_MS_MAX, connecting
from mergeline.store.days import DAYS_AHEAD, ensure_ledger_days
from mergeline.store.failures import StoreError
from mergeline.store.locks import lock_key
from mergeline.store.queries import SQL
from mergeline.store.statements import Connection

MIGRATION_LOCK: Final = lock_key("migrate")
ENCODING: Final = "UTF8"
SUFFIX: Final = ".sql"
_FOLDER: Final = files("mergeline.store").joinpath("migrations")


class WrongEncoding(StoreError):
    """The database cannot hold every name."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"The database's encoding is {encoding}, which cannot hold every name. Make one with: "
            f"create database ... encoding '{ENCODING}' template template0"
        )


async def migrate(database_url: str) -> list[str]:
    """Apply what is pending, each migration in a transaction of its own, and make the ledger's next days.

    Returns:
        The names of the migrations that were applied.

    Raises:
        WrongEncoding: of a database that is not in UTF-8; nothing was changed.
    """
    applied: list[str] = []
    async with connecting(database_url, LONG_STATEMENT_MS_MAX) as connection:
        encoding = await connection.fetchval(SQL["encoding"])
        if encoding != ENCODING:
            raise WrongEncoding(encoding)
        while (name := await _apply_next(connection)) is not None:
            applied.append(name)
        await ensure_ledger_days(connection, DAYS_AHEAD)
    return applied


async def pending(connection: Connection) -> list[str]:
    """The migrations that have not been applied, in order."""
    applied: set[str] = set()
    if await connection.fetchval(SQL["migrations_exist"]):
        applied = {row["name"] for row in await connection.fetch(SQL["migrations_applied"])}
    return [name for name in _names() if name not in applied]


async def _apply_next(connection: Connection) -> str | None:
    """Apply the first pending migration; its name, or None where there is none."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(SQL["lock_one"], MIGRATION_LOCK)
        names = await pending(connection)
        if not names:
            return None
        await connection.execute(_text(names[0]))
        await connection.execute(SQL["migration_insert"], names[0])
        return names[0]


def _names() -> list[str]:
    """Of all migrations, in order."""
    names = (file.name for file in _FOLDER.iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))


def _text(name: str) -> str:
    return _FOLDER.joinpath(name + SUFFIX).read_text(encoding="utf-8")
