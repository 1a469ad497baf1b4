"""A worker needs no more rights in PostgreSQL than deploy/README.md gives it."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest_asyncio
from tests.worker.harness import CARDS, ORG, OUTCOMES, REGISTERED, UPDATES, update

README = Path(__file__).parents[2] / "deploy/README.md"
FORBIDDEN = ["create table x ()", "drop table card", "truncate customer", "select ledger_drop_day('2020-01-01')"]


@pytest_asyncio.fixture
async def worker_url(world):
    """The database's address for a role that was made by the README's own statements."""
    role = f"worker_{uuid.uuid4().hex[:8]}"
    (statements,) = re.findall(r"^```sql\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    owner = await asyncpg.connect(world.database_url)
    await owner.execute(statements.replace("mergeline_worker", role))
    await owner.execute(f"alter role {role} password 'secret'")
    parts = urlsplit(world.database_url)
    yield urlunsplit(parts._replace(netloc=f"{role}:secret@{parts.netloc.rpartition('@')[2]}"))
    world.kill_workers()
    # Roles belong to the server, which other tests use too.
    await owner.execute(f"drop owned by {role}; drop role {role}")
    await owner.close()


async def test_the_rights_of_the_readme_are_enough_for_all_that_a_worker_does(world, worker_url):
    owner = await asyncpg.connect(world.database_url)
    soon = datetime.now(UTC).date() + timedelta(days=2)
    await owner.execute("select ledger_drop_day($1)", soon)

    world.worker(MERGELINE_DATABASE_URL=worker_url)
    await world.register(
        [
            {"customerId": 1, "source": "WEBSHOP"},
            {"customerId": 2, "source": "INSTORE", "identifiers": [identifier("a")]},
        ]
    )
    await world.produce(CARDS, [{"orgId": ORG, "seriesId": 163, "cardNumber": "C1"}])
    await world.read(REGISTERED, 3)
    requests = [
        update(1, add={"type": "cardnumber", "value": "C1", "seriesId": 163, "statusLabel": "ACTIVE"}),
        update(1, add=[identifier("b"), identifier("c")]),
        update(1, remove=[identifier("c"), {"type": "cardnumber", "value": "C1"}]),
        update(1, add=identifier("a"), source="WEBSHOP"),  # merges 1 into 2
        update(1, add=identifier("d"), request_id="again"),
        update(1, add=identifier("d"), request_id="again"),
        update(1, add=identifier("e"), request_id="again"),  # reused
    ]
    await world.produce(UPDATES, [*requests, b"no request"], key=b"1")
    outcomes = await world.read(OUTCOMES, len(requests))
    await world.letters(1)

    assert [value["status"] for value in outcomes] == ["applied"] * 6 + ["rejected"]
    assert [value["mergedInto"] for value in outcomes].count(2) == 1
    assert await owner.fetchval("select to_regclass($1)", f"ledger_{soon:%Y%m%d}"), "the worker makes the next days"
    await owner.close()


async def test_and_no_more_than_enough(worker_url):
    connection = await asyncpg.connect(worker_url)
    refused = []
    for statement in FORBIDDEN:
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            refused.append(statement)
    await connection.close()
    assert refused == FORBIDDEN


def identifier(name):
    return {"type": "email", "value": f"{name}@example.com"}
