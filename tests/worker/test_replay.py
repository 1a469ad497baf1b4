"""`mergeline replay` beside a running worker: stored events once more, byte for byte but for the mark, in order."""

import asyncio
import itertools
import json
from collections import defaultdict
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from tests.worker.harness import CARDS, EVENTS, ORG, OUTCOMES, REGISTERED, UPDATES, adding, headers, update

PUBLISHED = (OUTCOMES, REGISTERED, *EVENTS)
DUPLICATE = ("mergeline-duplicate", b"true")
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
async def told(module_world):
    """A world in which every kind of event was published, a request was repeated, and an id used again."""
    world = module_world
    world.worker(MERGELINE_DEAD_LETTER_LIMIT="0")
    await world.register([1, 2, 3])
    card = {"type": "cardnumber", "value": "C1", "seriesId": 163, "statusLabel": "ACTIVE"}
    mail = {"type": "email", "value": "one@example.com"}
    await world.outcomes_of([update(1, "mail", add=[mail, card]), adding(3, "third")])
    await world.outcomes_of([update(2, "merge", "WEBSHOP", add=mail)])
    await world.outcomes_of([update(1, "gone", remove=[{"type": "cardnumber", "value": "C1"}])])
    await world.produce(UPDATES, [adding(3, "third"), adding(3, "third", "another value"), b"nope"])
    await world.produce(CARDS, [{"orgId": ORG, "seriesId": 163, "cardNumber": "C2"}])
    await world.outcomes_of([adding(1, f"many-{number}") for number in range(40)])
    await world.letters(1)
    await world.drained()
    world.first = published(world)
    world.times = ("--since", "1h", "--until", datetime.now(UTC).isoformat())
    return world


def by_key(records):
    """What a subscriber sees of each key in each topic, in order."""
    found = defaultdict(list)
    for topic, record in records:
        found[topic, record.key].append((record.value, [one for one in record.headers if one != DUPLICATE]))
    return found


def published(world):
    return [(topic, record) for topic in PUBLISHED for record in world.records[topic]]


async def replay(world, *options):
    """What it says of each event; with `--send`, also the records that came of it."""
    before = {topic: len(world.records[topic]) for topic in PUBLISHED}
    said = [json.loads(line) for line in (await world.command("replay", "--json", *options)).splitlines()]
    if "--send" not in options or "--to" in options:
        return said
    count = sum(before.values()) + len(said)
    await world.until(lambda: len(published(world)) >= count)
    return [(topic, record) for topic in PUBLISHED for record in world.records[topic][before[topic] :]]


async def own_topic(world, partitions=2, **configs):
    name = f"{world.prefix}lost-{next(NUMBERS)}"
    async with world.admin() as admin:
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    return name


async def all_of(world, topic, count, partitions=2):
    consumer = AIOKafkaConsumer(bootstrap_servers=world.bootstrap_servers, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
    await consumer.start()
    try:
        return [await asyncio.wait_for(consumer.getone(), 30) for _ in range(count)]
    finally:
        await consumer.stop()


async def test_nothing_is_published_unless_it_is_said(told):
    before = [await told.ends(topic) for topic in PUBLISHED]
    said = await replay(told, *told.times)
    assert {one["status"] for one in said} == {"would be published"}
    assert "Nothing was published. Publish them with: --send" in await told.command("replay", *told.times)
    assert [await told.ends(topic) for topic in PUBLISHED] == before
    first = [(headers(record)["ce_id"].decode(), record.topic) for _, record in told.first]
    assert sorted((one["id"], one["to"]) for one in said) == sorted(first), "each as often as it was published"


async def test_another_topic_gets_all_events_byte_for_byte_and_in_order_with_the_mark(told):
    """Nobody else gets them."""
    before = [await told.ends(topic) for topic in PUBLISHED]
    name = await own_topic(told)
    said = await replay(told, *told.times, "--to", name, "--send")
    assert {(one["status"], one["to"]) for one in said} == {("published", name)}
    records = await all_of(told, name, len(said))
    assert all(record.headers[-1] == DUPLICATE for record in records)
    assert all(record.headers.count(DUPLICATE) == 1 for record in records), "also of what was a repeat"
    named = {headers(record)["ce_id"]: topic for topic, record in told.first}
    again = [(named[headers(record)["ce_id"]], record) for record in records]
    assert by_key(again) == by_key(told.first)
    assert [await told.ends(topic) for topic in PUBLISHED] == before


async def test_what_goes_where_it_was_is_the_same_but_for_the_mark(told):
    first = by_key((topic, record) for topic, record in told.first if topic == "card-issued")
    again = await replay(told, *told.times, "--topic", "card-issued", "--send")
    assert by_key(again) == first
    assert [record.headers[-1] for _, record in again] == [DUPLICATE]
    assert {record.partition for _, record in again} == {told.records["card-issued"][0].partition}


async def test_filters_choose_what_is_published(told):
    async def chosen(*options):
        said = await replay(told, *options, "--org", str(ORG))
        return sorted((one["topic"], one["key"]) for one in said)

    one, two = f"{ORG}:1", f"{ORG}:2"
    merged = ("customer-merged", one)
    assert await chosen("--request", "merge") == sorted(
        [merged, ("identifiers-changed", one), ("customer-redirects", two), (OUTCOMES, two)]
    )
    assert await chosen("--request", "merge", "--topic", "customer-merged", "--topic", OUTCOMES) == [
        merged,
        (OUTCOMES, two),
    ]
    assert {key for _, key in await chosen("--since", "1h", "--customer", "2")} == {two}
    assert [topic for topic, _ in await chosen("--request", "third")] == ["identifiers-changed", *[OUTCOMES] * 3]
    at = next(v["occurredAt"] for v in told.values(OUTCOMES) if v["requestId"] == "merge")
    assert merged in await chosen("--since", at)
    assert merged not in await chosen("--since", "1h", "--until", at)
    for options in (
        ("--since", "1h", "--org", "1"),
        ("--org", str(ORG), "--request", "nobody's"),
        ("--org", str(ORG), "--request", "merge", "--until", "1h"),
        ("--since", datetime.now(UTC).isoformat()),
    ):
        assert "no such event" in await told.command("replay", *options, status=1), options


async def test_asking_for_more_than_the_ledger_has_is_said(told):
    (first,) = await told.sql("select min(day) as day from ledger")
    said = await told.command("replay", "--since", "400d", "--until", "399d", status=1)
    assert "the ledger begins on " in said
    assert str(first["day"].year) in said
    assert "the ledger begins" not in await told.command("replay", "--since", "1m", "--until", "1m", status=1)


async def test_a_topic_that_is_not_there_is_one_line(told):
    line = await told.command("replay", "--since", "1h", "--to", "nowhere", "--send", status=2)
    assert line.startswith("mergeline: --to nowhere does not exist")


async def test_where_kafka_takes_no_more_it_says_how_far_it_got_and_how_to_go_on(told):
    name = await own_topic(told, **{"max.message.bytes": "500"})
    (line,) = (await told.command("replay", *told.times, "--to", name, "--send", status=2)).splitlines()
    first = min(value["occurredAt"] for topic in PUBLISHED for value in told.values(topic))
    assert "MessageSizeTooLarge" in line
    assert f"0 were published before that, and perhaps some of the next. Go on with --since {first}" in line


async def test_a_worker_goes_on_beside_it(told):
    name, stop = await own_topic(told), asyncio.Event()

    async def load():
        for number in itertools.count():
            if stop.is_set():
                break
            await told.outcomes_of([adding(3, f"beside-{number}-{turn}") for turn in range(20)])

    loading = asyncio.create_task(load())
    always = ("--since", "1h", "--until", "2999-01-01T00:00:00Z")
    replayed = [await replay(told, *always, "--to", name, "--send") for _ in range(3)]
    stop.set()
    await loading
    assert [len(said) for said in replayed] == sorted(len(said) for said in replayed)
    assert told.workers[0].running
    answers = told.answers()
    assert {answers[f"many-{number}"] for number in range(40)} == {1}
