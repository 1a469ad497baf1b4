"""One connection, seen as the named statements of `queries.sql`.

In: a connection of asyncpg, and optionally whom to tell of each statement before it is sent (the seam at which tests
hold a schedule, count and observe). Out: rows, counts, transactions. Never: another way to the database around it,
but for what comes before there are tables (`migrations`) or a pool (`connecting`). A statement is a round trip, which
under load takes longer than most of the work that it asks for: so they are few.

A column travels as the text of an array, and PostgreSQL reads it there: of a list, asyncpg asks whether each element
is a list again, through an abstract base class, which took a tenth of a batch.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias, TypeVar

import asyncpg
import orjson

from mergeline.store.failures import Unsettled
from mergeline.store.options import OPERATOR_IDLE_MS_MAX
from mergeline.store.queries import SQL

# As text: only the stubs of asyncpg know the parameter.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
_Result = TypeVar("_Result")
OnStatement = Callable[[str], Awaitable[None]]
SENT: Final = {name: re.sub(r"(\$\d+)(::\w+\[\])", r"\1::text\2", text) for name, text in SQL.items()}
"""The statements with their columns as text."""
_NO_SIMPLE_ESCAPE: Final = re.compile(r'\\[^"\\]')
GIVEN_UP: Final = (TimeoutError, asyncio.CancelledError)
"""Nothing answers, or nobody waits for it any more. A rollback would be waited for as long again, and make another
error of a cancellation; the connection is closed instead, and a server that lost us rolls back by itself."""


def bounds(lock_wait_ms_max: int, statement_ms_max: int, idle_ms_max: int) -> str:
    """What a transaction is begun with."""
    return SQL["bounds"].format(
        lock_wait_ms_max=lock_wait_ms_max, statement_ms_max=statement_ms_max, idle_ms_max=idle_ms_max
    )


def operator_bounds(lock_wait_ms_max: int) -> str:
    """The same for a command, or for a task beside the batches."""
    return SQL["operator_bounds"].format(lock_wait_ms_max=lock_wait_ms_max, idle_ms_max=OPERATOR_IDLE_MS_MAX)


class Statements:
    """A connection and its hook; names that stand for no text are `begin`, `commit` and `rollback`."""

    def __init__(self, connection: Connection, on_statement: OnStatement | None = None) -> None:
        self._connection, self._on_statement = connection, on_statement

    async def fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a query."""
        await self._announce(name)
        return await self._connection.fetch(SENT[name], *map(_sent, arguments))

    async def fetch_value(self, name: str, *arguments: object) -> Any:
        """The value of a query that has one."""
        ((found,),) = await self.fetch(name, *arguments)
        return found

    async def fetch_lists(self, name: str, *arguments: object) -> list[list[list[Any]]]:
        """The one row of a query whose columns are lists of rows in JSON, or null for none."""
        ((*columns,),) = await self.fetch(name, *arguments)
        return [[] if column is None else orjson.loads(column) for column in columns]

    async def stream(self, name: str, *arguments: object, page: int) -> AsyncIterator[asyncpg.Record]:
        """The rows of a query, one by one, of which `page` at a time are fetched; in a transaction."""
        await self._announce(name)
        async for row in self._connection.cursor(SENT[name], *map(_sent, arguments), prefetch=page):
            yield row

    async def execute(self, name: str, *arguments: object) -> int:
        """Run a statement; how many rows it wrote."""
        await self._announce(name)
        tag = await self._connection.execute(SENT[name], *map(_sent, arguments))
        *_, rows = tag.split()
        return int(rows) if rows.isdecimal() else 0

    @asynccontextmanager
    async def transaction(self, bounds: str = "") -> AsyncIterator[None]:
        """A transaction at READ COMMITTED: committed at the end, rolled back by an exception.

        `bounds`: what is set for it, in the same round trip.
        """
        await self._announce("begin")
        await self._connection.execute(f"begin isolation level read committed; {bounds}")
        try:
            yield
            await self._announce("commit")
        except BaseException as error:
            if not isinstance(error, GIVEN_UP) and not self._connection.is_closed():
                await self._announce("rollback")
                await self._connection.execute("rollback")
            raise
        await self._commit()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """A transaction that changes nothing, and reads everything as of one moment."""
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            yield

    async def _commit(self) -> None:
        """Commit, and hear what the server has to say of it.

        Raises:
            Unsettled: where it warns: it was told not to wait for its synchronous standby, which may take over.
        """
        warnings: list[asyncpg.PostgresLogMessage] = []

        def heard(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
            if message.severity_en == "WARNING":
                warnings.append(message)

        self._connection.add_log_listener(heard)
        try:
            await self._connection.execute("commit")
        finally:
            with suppress(asyncpg.InterfaceError):  # the connection is closed, and given back
                self._connection.remove_log_listener(heard)
        if warnings:
            raise Unsettled("the server warned of the commit: not every standby may have it")

    async def _announce(self, name: str) -> None:
        if self._on_statement is not None:
            await self._on_statement(name)


@asynccontextmanager
async def statements_of(connection: Connection, on_statement: OnStatement | None = None) -> AsyncIterator[Statements]:
    """The statements of a connection, which is closed where they are given up (`GIVEN_UP`)."""
    try:
        yield Statements(connection, on_statement)
    except GIVEN_UP:
        connection.terminate()  # or a pool would wait once more, for a cancellation that nobody answers
        raise


async def meanwhile(sending: Coroutine[Any, Any, object], work: Callable[[], _Result]) -> _Result:
    """Do some work of Python's while the database has a statement to do; what comes of the work, once both are done."""
    sent = asyncio.create_task(sending)
    try:
        await asyncio.sleep(0)  # it is sent now
        return work()
    finally:
        await sent


def array_text(column: Sequence[Any]) -> str:
    """A column as PostgreSQL writes arrays: quotes and backslashes are escaped as in JSON, other characters are not."""
    text = orjson.dumps(column).decode()
    if "\\" in text and _NO_SIMPLE_ESCAPE.search(text):
        return "{" + ",".join("null" if one is None else _quoted(str(one)) for one in column) + "}"
    return "{" + text[1:-1] + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def _sent(argument: object) -> object:
    return array_text(argument) if type(argument) is list else argument


def columns_of(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as the arrays that `unnest` takes; `width` of them, also where there is no row."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
