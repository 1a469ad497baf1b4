"""Hostile messages, files and sizes; `hostile.py` makes them, `hostile_run.py` sends them to a real worker."""

import itertools
import json

import pytest
from tests.attacks import hostile_pure, hostile_run
from tests.attacks.hostile import CARDS, COMMANDS, CUSTOMERS, ORG, ORIGINS, UPDATES, Hostile, Sent
from tests.attacks.hostile_run import HostileWorld
from tests.services import databases

from mergeline.settings import Settings

MESSAGES = 20_000
STALL_S_MAX = 10.0
"""A bound for a machine that does other things; the figures of the release run are in tests/README.md."""


@pytest.fixture
async def world(postgres, bootstrap_servers, template_database, topic_prefix, tmp_path):
    name = databases.new_name("hostile")
    await databases.create(postgres.database_url, name, template_database)
    world = HostileWorld(bootstrap_servers, databases.url_of(postgres.database_url, name), topic_prefix, tmp_path)
    try:
        await world.prepare()
        yield world
    finally:
        await world.close()
        await databases.drop(postgres.database_url, name)


SLOWEST_MS_MAX = 150.0


def test_the_domain_answers_every_hostile_message_once_and_none_takes_long(seed):
    figures = hostile_pure.run(seed, 5_000)
    print(figures)
    assert figures.outcomes + figures.dead_letters == figures.messages
    assert figures.slowest_ms < SLOWEST_MS_MAX, figures


@pytest.mark.timeout(300)
async def test_every_hostile_message_ends_once_and_the_worker_stays(world, seed):
    print(f"the same at any size: python -m tests.attacks hostile --messages {MESSAGES} --seed {seed}")
    figures = await hostile_run.run(world, itertools.islice(Hostile(seed), MESSAGES), seed)
    print(figures)
    assert figures.outcomes > MESSAGES / 4
    assert figures.dead_letters > MESSAGES / 4
    assert figures.stall_s < STALL_S_MAX, figures
    await world.command("verify")


GOOD = json.dumps({"orgId": ORG, "customerId": 1, "source": "INSTORE", "add": {"type": "line", "value": "x"}}).encode()
CARD = {"orgId": ORG, "seriesId": 163, "cardNumber": "7" * 60_000}
MIB = 1 << 20
ODD = ((b"\xff\xfe", b"odd"), (b"\xed\xa0\x80", None))
EDGES = [
    *(Sent(UPDATES, b"k", value, ODD) for value in (GOOD, b"{", None, bytes(70_000), GOOD * 900)),
    *(Sent(topic, bytes(size), GOOD) for topic in (UPDATES, CUSTOMERS) for size in (900_000, 4 * MIB)),
    *(Sent(topic, b"k", GOOD, ((b"h", bytes(size)),)) for topic in (UPDATES, CARDS) for size in (900_000, 4 * MIB)),
    *(Sent(UPDATES, b"k", bytes(size)) for size in (65_536, 65_537, 900_000, 4 * MIB, 7 * MIB)),
    *(Sent(UPDATES, b"k", GOOD, ((b"h", b""),) * count) for count in (1_000, 60_000)),
    *(Sent(UPDATES, b"k", GOOD, ((b"traceparent", text),)) for text in (None, b"", b"\xff", bytes(900_000))),
    *(Sent(UPDATES, b"k", GOOD, (*ODD, (b"h", bytes(size)))) for size in (900_000, 4 * MIB)),
    *(Sent(COMMANDS, b"k", GOOD, ((b"mergeline-origin", origin),)) for origin in ORIGINS),
    *(Sent(COMMANDS, key, value) for key in (None, b"k") for value in (GOOD, b"", b"null")),
    Sent(CARDS, None, json.dumps(CARD).encode()),
]


@pytest.mark.timeout(300)
async def test_each_of_these_that_ended_a_worker_or_held_its_partition(world, seed):
    """By one codec or another, alone or with others."""
    figures = await hostile_run.run(world, iter(EDGES), seed)
    print(figures)
    assert figures.messages == len(EDGES)


LARGE = 1_500
BATCH_MIB = 2
BOUND_MIB = 120 + 12 * 2 + 8 * (1 + Settings.model_fields["apply_lanes"].default) * BATCH_MIB
"""A worker's own, two fetches for each of the twelve partitions, and two batches of the router and of each lane of
apply, in four forms: fetched, as text, as a record to publish, and in the batch that goes to the broker."""


def of_64_kib(count):
    """Requests and dead letters in turn, each as large as a request may be."""
    for number in range(count):
        body = {"orgId": ORG, "customerId": number + 1, "source": "INSTORE"}
        value = json.dumps(body).encode() if number % 2 else b"no request %d" % number
        yield Sent(CUSTOMERS, None, value.ljust(64 * 1024))


@pytest.mark.timeout(300)
async def test_a_backlog_of_64_kib_messages_takes_no_more_memory_than_the_settings_say(world):
    peak_mib = await hostile_run.backlog(world, of_64_kib(LARGE), MERGELINE_BATCH_MAX_BYTES=str(BATCH_MIB * MIB))
    print(f"{LARGE} messages of 64 KiB, batches of {BATCH_MIB} MiB: a peak of {peak_mib:.0f} MiB")
    assert peak_mib < BOUND_MIB
