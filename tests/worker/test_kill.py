"""Workers killed with -9 in the middle of a load: every outcome exactly once for a read_committed reader."""

import random
from collections import Counter

import pytest
from tests.worker.harness import OUTCOMES, UPDATES, headers, update

CUSTOMERS, CHUNK, ROUNDS = 100, 500, 2


def load(dice):
    """Adds and removes with merges and repeats among them, and now and then a message that is none."""
    sent, number = [], 0
    while True:
        number += 1
        customer = dice.randrange(CUSTOMERS) + 1
        kind = dice.random()
        if kind < 0.01:
            sent.append(b'{"torn": %d' % number)
        elif kind < 0.04 and sent:
            sent.append(dice.choice(sent[-50:]))
        elif kind < 0.10:
            shared = {"type": "email", "value": f"shared{dice.randrange(60)}@example.com"}
            sent.append(update(customer, f"r{number}", dice.choice(["INSTORE", "WEBSHOP"]), add=shared))
        else:
            item = {"type": "externalId", "value": f"x{dice.randrange(1000)}"}
            lists = {"add" if dice.random() < 0.7 else "remove": item}
            sent.append(update(customer, f"r{number}", "WECHAT", f"a{customer}", **lists))
        yield sent[-1]


@pytest.mark.timeout(300)
async def test_every_outcome_exactly_once_through_kills(world, seed):
    """In each round both workers are killed, the second while the first is being replaced."""
    dice = random.Random(seed)
    requests, sent = load(dice), []

    async def go_on(messages):
        """Send more, and return in the middle of their being answered."""
        before = sum(world.counts().values())
        sent.extend(next(requests) for _ in range(messages))
        await world.produce(UPDATES, sent[-messages:])
        some = dice.randrange(1, messages // 2)
        await world.until(lambda: sum(world.counts().values()) >= before + some, "some of the answers")

    workers = [world.worker(), world.worker()]
    await world.register(range(1, CUSTOMERS + 1))
    for _ in range(ROUNDS):
        for victim in dice.sample(range(2), 2):
            await go_on(CHUNK)
            workers[victim].kill()
            workers[victim] = world.worker()
    await go_on(CHUNK)
    await world.drained()

    readable = [request for request in sent if isinstance(request, dict)]
    torn = [request for request in sent if isinstance(request, bytes)]
    assert world.answers() == Counter(request["requestId"] for request in readable)
    assert Counter(record.value for record in world.records[f"{UPDATES}-dlt"]) == Counter(torn)
    firsts = [h for h in map(headers, world.records[OUTCOMES]) if "mergeline-duplicate" not in h]
    assert len({h["ce_id"] for h in firsts}) == len(firsts) == len(world.answers())
    await assert_published_equals_ledger(world)
    await world.command("verify")


async def assert_published_equals_ledger(world):
    """Each published outcome is, byte for byte, what the ledger holds, and the ledger holds no other."""
    rows = await world.sql("select outgoing from ledger where request_id like 'r%'")
    stored = b"".join(row["outgoing"] for row in rows)
    assert len(rows) == len(world.records[OUTCOMES])
    assert not [record for record in world.records[OUTCOMES] if record.value not in stored]
