"""Statements that write rows of several kinds at once: their names, columns and counts.

In: rows by the name of a part. Out: what the statement says of each part. Never: a row written over another than the
one that was read (`Overtaken` instead).
"""

from typing import Any, Final

import asyncpg

from mergeline.store.failures import Overtaken
from mergeline.store.statements import Statements, columns_of

Parts = dict[str, tuple[int, list[tuple[Any, ...]]]]
"""By the name of a part of a statement: how many columns, and the rows."""
COMMON: Final = ("customers_update", "entries_insert", "requests_insert")
REST: Final = (
    *("customers_insert", "entries_delete", "entries_move", "cards_insert", "cards_update"),
    *("merges_insert", "requests_update"),
)
"""The parts of the statements `write` and `write_rest`, in the order of their columns."""
NOTHING: Final[Parts] = {"customers_update": (7, []), "entries_insert": (6, []), "requests_insert": (7, [])}


async def write_parts(db: Statements, statement: str, parts: Parts, *more: object) -> asyncpg.Record:
    """Run the statement with the columns of all parts, then `more`; what it says of each part.

    Raises:
        Overtaken: if a row is not as it was read.
    """
    columns = [column for width, rows in parts.values() for column in columns_of(rows, width)]
    (written,) = await db.fetch(statement, *columns, *more)
    for name, (_, rows) in parts.items():
        if written[name] != len(rows):
            raise Overtaken(f"{name}: {written[name]} of {len(rows)} rows were as they had been read")
    return written
