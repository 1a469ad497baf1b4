"""What was published, as the ledger gives it back: in the order it was decided, in pages, without a snapshot."""

import json
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from msgspec.structs import replace
from tests.integration.desk import ORG, Desk, line

from mergeline.domain.messages import Coordinate
from mergeline.store import published as module
from mergeline.store.migrations import pending
from mergeline.store.published import Window, database_time, first_day, published, published_for
from mergeline.store.showing import decided_among
from mergeline.store.statements import Statements

WEEK = timedelta(days=7)


async def rows(sql, since=-WEEK, until=WEEK, org_id=None):
    now = await database_time(sql)
    return [batch async for batch in published(sql, Window(now + since, now + until, org_id))]


def ids(batches):
    return [[row.request_id for row in batch] for batch in batches]


@pytest.fixture
async def spread(desk: Desk):
    """Batches that took messages from three partitions, each in its own order."""
    await desk.register(1, 2)

    def at(number, partition, offset):
        message = desk.log.update(1 + number % 2, requestId=f"r-{number}", add=line(f"l-{number}"))
        return replace(message, at=Coordinate("commands-by-customer", partition, offset))

    await desk.apply(at(0, 2, 10), at(1, 1, 5))
    await desk.apply(at(2, 3, 1))
    await desk.apply(at(3, 1, 6), at(4, 2, 11), at(5, 1, 7))
    await desk.apply(at(6, 2, 12))
    return desk


EXPECTED = [["r-1", "r-0"], ["r-2"], ["r-3", "r-5", "r-4"], ["r-6"]]
"""Within a batch by partition."""


@pytest.mark.parametrize("rows_max", [5_000, 4, 1], ids=["one page", "a row a page", "fewer than partitions"])
async def test_batches_come_in_the_order_they_were_decided_whatever_the_pages(sql, spread, monkeypatch, rows_max):
    monkeypatch.setattr(module, "ROWS_MAX", rows_max)
    assert ids(await rows(sql))[1:] == EXPECTED


async def test_a_batch_is_in_or_out_by_when_it_was_decided(sql, spread):
    batches = (await rows(sql))[1:]
    since, until = batches[1][0].decided_at, batches[3][0].decided_at
    found = [batch async for batch in published(sql, Window(since, until))]
    assert ids(found) == EXPECTED[1:3], "from the one on, to before the other"


async def test_an_org_is_asked_for_alone(sql, spread):
    await spread.apply(spread.log.put("identifier-updates", json.dumps(
        {"orgId": 8, "customerId": 1, "source": "X", "requestId": "other", "add": line("x")}
    ).encode()))  # fmt: skip
    assert ids(await rows(sql, org_id=8)) == [["other"]]
    assert ids(await rows(sql, org_id=ORG))[1:] == EXPECTED


async def test_dead_letters_have_nothing_that_was_published_from_here(sql, desk):
    await desk.apply(desk.log.put("identifier-updates", b"nope"))
    assert await rows(sql) == []
    assert await published_for(sql, 0, "identifier-updates-0-0") == []


async def test_a_request_has_its_outcome_and_those_of_its_repeats(sql, desk):
    await desk.register(1)
    first = desk.log.update(1, requestId="r", add=line("x"))
    await desk.apply(first)
    await desk.apply(desk.log.sent_again(first))
    assert [row.kind for row in await published_for(sql, ORG, "r")] == ["decided", "repeat"]


async def test_nothing_is_locked_between_two_pages(sql, spread):
    reading = published(sql, Window(await database_time(sql) - WEEK, await database_time(sql) + WEEK))
    await anext(reading)
    mine = await sql.fetchval(
        "select count(*) from pg_locks where pid = pg_backend_pid() and relation = 'ledger'::regclass"
    )
    assert not sql.is_in_transaction()
    assert mine == 0
    await reading.aclose()


async def test_the_first_day_is_that_of_the_oldest_partition(sql, desk):
    today = await sql.fetchval("select current_date")
    async with sql.transaction():
        await sql.execute("select ledger_add_day($1)", today - timedelta(days=20))
        assert await first_day(Statements(sql)) == today - timedelta(days=20)
        await sql.execute("select ledger_drop_day($1)", today - timedelta(days=20))


async def test_a_dead_letter_decides_nothing_and_its_id_is_free_until_it_is_decided(sql, desk):
    await desk.register(1)
    message = desk.log.update(1, requestId="r", add=line("x"))
    await desk.apply(message, forced={message.at: "why"})
    asked = [(ORG, "r"), (ORG, "customer-registrations-0-0"), (8, "customer-registrations-0-0"), (0, "none")]
    assert await decided_among(sql, asked) == {(ORG, "customer-registrations-0-0")}
    await desk.apply(desk.log.sent_again(message))
    assert await decided_among(sql, asked) == {(ORG, "customer-registrations-0-0"), (ORG, "r")}
    assert await decided_among(sql, []) == set()


async def test_who_sends_again_needs_to_read_three_tables_and_no_more(sql, spread, shared_database_url):
    """The grants that deploy/README.md names."""
    await sql.execute(
        "create role sender login password 'sender'; grant select on migration, request, ledger to sender"
    )
    parts = urlsplit(shared_database_url)
    address = urlunsplit(parts._replace(netloc=f"sender:sender@{parts.hostname}:{parts.port}"))
    connection = await asyncpg.connect(address)
    try:
        assert await pending(connection) == []
        assert await decided_among(connection, [(ORG, "r-1")]) == {(ORG, "r-1")}
        assert ids(await rows(connection))[1:] == EXPECTED
        assert await first_day(Statements(connection)) is not None
        assert len(await published_for(connection, ORG, "r-1")) == 1
    finally:
        await connection.close()
        await sql.execute("drop owned by sender; drop role sender")
