"""Workers killed with -9 in the middle of a load: every outcome exactly once for a read_committed reader."""

import asyncio
import random
from collections import Counter

import asyncpg
import pytest

from tests.worker.harness import OUTCOMES, update

CUSTOMERS_COUNT, REQUESTS, KILLS = 300, 6_000, 4


@pytest.fixture
def seed(request):
    """`--seed N` replays a run; the seed stands in the failure either way."""
    chosen = request.config.getoption("--seed") or random.randrange(1 << 32)
    print(f"\nreplay with: pytest {request.node.nodeid} --seed {chosen}")
    return chosen


def load(seed):
    """Adds and removes with merges and repeats among them, and now and then a message that is none."""
    dice = random.Random(seed)
    sent = []
    for number in range(REQUESTS):
        customer = dice.randrange(CUSTOMERS_COUNT) + 1
        kind = dice.random()
        if kind < 0.01:
            sent.append(b'{"torn": %d' % number)
        elif kind < 0.04 and sent:
            sent.append(dice.choice(sent[-50:]))
        elif kind < 0.10:
            shared = {"type": "email", "value": f"shared{dice.randrange(60)}@example.com"}
            sent.append(update(customer, f"r{number}", dice.choice(["INSTORE", "WEBSHOP"]), add=shared))
        else:
            item = {"type": "externalId", "value": f"x{dice.randrange(4000)}"}
            lists = {"add" if dice.random() < 0.7 else "remove": item}
            sent.append(update(customer, f"r{number}", "WECHAT", f"a{customer}", **lists))
    return sent


async def test_every_outcome_exactly_once_through_kills(world, seed):
    dice = random.Random(seed)
    requests = load(seed)
    readable = [request for request in requests if isinstance(request, dict)]
    torn = [request for request in requests if isinstance(request, bytes)]

    workers = [world.worker(), world.worker()]
    await world.register([{"customerId": n + 1, "source": "INSTORE"} for n in range(CUSTOMERS_COUNT)])
    producing = asyncio.create_task(world.produce("identifier-updates", requests))
    for _ in range(KILLS):
        await asyncio.sleep(dice.uniform(0.3, 1.5))
        victim = dice.randrange(2)
        workers[victim].kill()
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        workers[victim] = world.worker()
    await producing

    outcomes = await world.read(OUTCOMES, len(readable), timeout_s=120, settle_s=2)
    letters = await world.read("identifier-updates-dlt", len(torn), settle_s=0.5)

    answered = Counter(value["requestId"] for value in outcomes.values())
    assert answered == Counter(request["requestId"] for request in readable)
    assert Counter(record.value for record in letters.records) == Counter(torn)
    firsts = [h for h in outcomes.headers() if "mergeline-duplicate" not in h]
    assert len({h["ce_id"] for h in firsts}) == len(firsts) == len(answered)
    await assert_published_equals_ledger(world, outcomes)
    await world.command("verify")


async def assert_published_equals_ledger(world, outcomes):
    """Each published outcome is, byte for byte, what `show request` has stored; the counts by kind agree."""
    connection = await asyncpg.connect(world.database_url)
    try:
        rows = await connection.fetch("select kind, outgoing from ledger where request_id like 'r%'")
    finally:
        await connection.close()
    stored = b"".join(row["outgoing"] for row in rows)
    assert len(rows) == len(outcomes.records)
    missing = [record for record in outcomes.records if record.value not in stored]
    assert not missing
