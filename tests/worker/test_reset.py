"""Topics that were made anew: workers stop at them, and `mergeline topics reset` has all of their messages answered."""

import asyncio
import json

import pytest
from tests.worker.harness import CARDS, COMMANDS, CUSTOMERS, OUTCOMES, UPDATES, adding
from tests.worker.load import held_ledger, until_somebody_waits

PARTITIONS = 3
OLD = 12
"""Requests that were answered before, without ids of their own among them."""


async def make_anew(world, *topics, partitions=PARTITIONS):
    names = [world.prefix + topic for topic in topics]
    async with world.admin() as admin:
        await admin.delete_topics(names)
        while set(names) & set(await admin.list_topics()):
            await asyncio.sleep(0.1)
    await world.command("topics", "create", "--partitions", str(partitions), "--replication-factor", "1")
    await world.forget(*topics)


async def stops(world, worker, *words):
    """The worker ends itself, and says these words in one line."""
    await world.until(lambda: not worker.running, "the worker ends itself", timeout_s=30)
    assert worker.process.returncode == 2, worker.log_tail()
    (said,) = [line for line in worker.text.splitlines() if not line.startswith("{")]
    assert said.startswith("mergeline: ")
    assert [word for word in words if word not in said] == [], said
    return said


async def reset(world, topic, *options):
    return json.loads(await world.command("topics", "reset", topic, "--yes", "--json", *options))


async def stopped(worker):
    assert (await asyncio.to_thread(worker.stop))[0] == 0


def unnamed(customer, number):
    """A request without an id, whose value nobody else has."""
    request = adding(customer, f"unnamed-{number}")
    del request["requestId"]
    return request


def a_few(tag, count):
    """Requests of five customers, every other one without an id."""
    return [
        adding(number % 5 + 1, f"{tag}-{number}") if number % 2 else unnamed(number % 5 + 1, f"{tag}-{number}")
        for number in range(count)
    ]


async def answered_once(world, requests, places, incarnation=1):
    """Each of the requests has one outcome, and took effect; those without an id go by their place."""
    mark = "" if incarnation == 1 else f"@{incarnation}"
    ids = [
        request.get("requestId") or f"{UPDATES}{mark}-{place.partition}-{place.offset}"
        for request, place in zip(requests, places, strict=True)
    ]
    await world.answered(ids)
    await world.drained()
    said = [(value["requestId"], value["status"]) for value in world.values(OUTCOMES) if value["requestId"] in ids]
    assert sorted(said) == sorted((one, "applied") for one in ids)


@pytest.fixture
async def lived(world):
    """A world whose worker has answered some requests, and has ended."""
    worker = world.worker()
    await world.register(range(1, 6))
    requests = a_few("old", OLD)
    await answered_once(world, requests, await world.produce(UPDATES, requests))
    await stopped(worker)
    return world


@pytest.mark.parametrize("count", [3, 4 * OLD], ids=["whose log is shorter", "whose log is longer"])
async def test_an_input_topic_that_was_made_anew(lived, count):
    await make_anew(lived, UPDATES)
    requests = a_few("new", count)
    places = await lived.produce(UPDATES, requests)
    before = lived.counts()
    said = await stops(lived, lived.worker(), lived.prefix + UPDATES, "was made anew", f"topics reset {UPDATES}")
    assert await lived.command("topics", "reset", UPDATES) != ""  # without --yes it only says what it would do
    assert await stops(lived, lived.worker()) == said
    assert lived.counts() == before

    done = await reset(lived, UPDATES)
    assert (done["changed"], done["unpublished"]) == (True, 0)
    assert done["incarnation"] == {"was": 1, "is": 2}
    assert done["readFromTheStart"] == [lived.prefix + UPDATES]
    lived.worker()
    await answered_once(lived, requests, places, incarnation=2)
    assert lived.answers()[f"{UPDATES}-0-0"] == 1
    # A dead letter of it names the topic as Kafka does.
    (place,) = await lived.produce(UPDATES, [b"{"], key=b"k")
    (letter,) = await lived.letters(1)
    headers = dict(letter.headers)
    assert headers["kafka_dlt-original-topic"] == f"{lived.prefix}{UPDATES}".encode()
    assert headers["kafka_dlt-original-offset"] == b"%d" % place.offset
    await lived.command("verify")


async def test_the_internal_topic_made_anew_with_what_was_routed_and_not_applied(lived):
    worker = lived.worker()
    await lived.outcomes_of([adding(1, "it-runs")])
    routed = sum((await lived.ends(COMMANDS)).values())
    requests = a_few("new", 20)
    async with held_ledger(lived):
        places = await lived.produce(UPDATES, requests)
        await until_somebody_waits(lived)
        while sum((await lived.ends(COMMANDS)).values()) < routed + len(requests):
            await asyncio.sleep(0.05)
        worker.kill()
    before = lived.answers()
    await make_anew(lived, COMMANDS)
    await stops(lived, lived.worker(), lived.prefix + COMMANDS, "was made anew", f"topics reset {COMMANDS}")
    await free(lived)
    done = await reset(lived, lived.prefix + COMMANDS)
    assert done["readFromTheStart"] == [lived.prefix + topic for topic in (COMMANDS, UPDATES, CUSTOMERS, CARDS)]
    lived.worker()
    await answered_once(lived, requests, places)
    assert {name: count for name, count in before.items() if lived.answers()[name] != count} == {}
    await lived.command("verify")


async def free(world):
    """Wait until Kafka has given up the members that were killed."""
    async with world.admin() as admin:
        while True:
            (answer,) = await admin.describe_consumer_groups([world.group])
            if not answer.groups[0][5]:
                return
            await asyncio.sleep(0.2)


async def test_what_is_refused_and_why(lived):
    async def refused(*arguments):
        (line,) = (await lived.command("topics", "reset", *arguments, "--yes", status=2)).splitlines()
        return line

    assert "is the topic that is known" in await refused(UPDATES)
    assert "is no topic that workers read" in await refused(OUTCOMES)
    assert "is no topic that workers read" in await refused("nowhere")
    worker = lived.worker()
    await lived.outcomes_of([adding(1, "it-runs")])
    assert f"The group {lived.group} has 1 members" in await refused(UPDATES)
    assert f"The group {lived.group} has 1 members" in await refused(UPDATES, "--same-id")
    await stopped(worker)
    async with lived.connection() as connection:
        await connection.execute("delete from topic_incarnation")
    assert "was never read with this database" in await refused(UPDATES)
    assert await lived.sql("select from topic_incarnation") == []
