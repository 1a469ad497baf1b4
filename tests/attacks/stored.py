"""What the database holds, row by row: for the auditor, who judges it.

In: a database's address. Out: rows of the ledger, with their records unpacked by the layout that `schema.sql` states;
customers, entries and cards. Nothing is held in memory but a page of rows.
"""

import contextlib
from types import SimpleNamespace

import asyncpg
import msgspec

PAGE = 2_000
LEDGER = "select org_id, request_id, kind, origin_topic, origin_partition, origin_offset, outgoing from ledger"
CUSTOMERS = "select org_id, customer_id, survivor_id, version from customer"
ENTRIES = "select org_id, customer_id, type, value, source, account from identifier"
CARDS = "select org_id, customer_id, number, status, label from card where customer_id is not null"


class Stored:
    """The tables of one database, at one moment."""

    def __init__(self, connection):
        self._connection = connection

    def ledger(self):
        return self._rows(LEDGER)

    def customers(self):
        return self._rows(CUSTOMERS)

    def entries(self):
        return self._rows(ENTRIES)

    def cards(self):
        return self._rows(CARDS)

    async def _rows(self, statement):
        async for row in self._connection.cursor(statement, prefetch=PAGE):
            yield row


@contextlib.asynccontextmanager
async def stored(database_url):
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield Stored(connection)
    finally:
        await connection.close()


def records_of(outgoing):
    """The records of a ledger row: topic, key, value, headers."""
    assert outgoing[:1] == b"\x02", outgoing[:1]
    for topic, key, value, headers in msgspec.msgpack.decode(outgoing[1:]):
        yield SimpleNamespace(topic=topic, key=key, value=value, headers=[(name, content) for name, content in headers])
