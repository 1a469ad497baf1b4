"""`mergeline redrive` on real dead letters: each takes effect once, as what it was, however often it is sent."""

import asyncio
import json
import os
import sys
import time
from collections import Counter

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from tests.worker.conftest import new_world
from tests.worker.harness import CARDS, COMMANDS, CUSTOMERS, ORG, OUTCOMES, OUTPUTS, UPDATES, adding, headers
from tests.worker.process import IMPORTED_FROM
from tests.worker.test_poison import poisoned

from mergeline.stream.publisher import OddBatch

DLT = f"{UPDATES}-dlt"
DAY_MS = 24 * 60 * 60 * 1000


@pytest.fixture(scope="module")
async def mended(postgres, bootstrap_servers, template_database, tmp_path_factory):
    """A world whose worker runs, and whose updates are read; each test has customers of its own."""
    folder = tmp_path_factory.mktemp("mended")
    topics = (*OUTPUTS, UPDATES)
    async with new_world(postgres, bootstrap_servers, template_database, folder, topics=topics) as world:
        world.worker(MERGELINE_DEAD_LETTER_LIMIT="0")
        yield world


async def redrive(world, *options, **settings):
    """What it says of each letter."""
    return [json.loads(line) for line in (await world.command("redrive", "--json", *options, **settings)).splitlines()]


async def sent(world, *options):
    """The places that it sent to, by request id."""
    said = await redrive(world, "--send", *options)
    return {one["requestId"]: one["sentTo"] for one in said if one["status"] == "sent"}


async def letters_of(world, customer, requests, **produced):
    """Requests of a customer that the database refuses for now: where they were put, and their letters."""
    await world.register([customer])
    before = len(world.records[DLT])
    async with poisoned(world, customer):
        places = await world.produce(UPDATES, requests, **produced)
        await world.letters(before + len(requests))
    return places, world.records[DLT][before:]


async def put_letters(world, values, timestamp_ms=None, first=10_000, own=()):
    """Letters as a worker writes them, of requests that stood in one partition, with keys that spread them."""
    titles = ("original-topic", "original-partition", "original-offset", "original-timestamp", "exception-fqcn")
    for number, value in enumerate(values):
        said = (f"{world.prefix}{UPDATES}", "1", str(first + number), "0", "mergeline.PROCESSING_FAILED")
        marks = [*own, *((f"kafka_dlt-{title}", text.encode()) for title, text in zip(titles, said, strict=True))]
        marks.append(("kafka_dlt-exception-message", b"PROCESSING_FAILED: why"))
        key, data = b"%d" % (number * 7919 % len(values)), json.dumps(value).encode()
        await world._producer.send(world.prefix + DLT, data, key, headers=marks, timestamp_ms=timestamp_ms)
    await world._producer.flush()


def changes(world, customer):
    """The values that a customer was given, one for each event."""
    of = [value for value in world.values("identifiers-changed") if value["customerId"] == customer]
    return [item["value"] for value in of for item in value["added"]]


def statuses(said):
    return Counter(one["status"] for one in said)


async def test_a_letter_whose_reason_is_mended_is_sent_and_takes_effect_once_however_often(mended):
    requests = [adding(1, "own-1", "named"), adding(1, None, "unnamed")]
    places, _ = await letters_of(mended, 1, requests)
    derived = mended.origin(places[1])
    said = await redrive(mended, "--org", str(ORG))
    assert statuses(said) == {"would be sent": 2}
    assert [one["requestId"] for one in said] == ["own-1", derived]
    assert [one["sentTo"] for one in said] == [None, None]

    first, second = await sent(mended), await sent(mended, "--decided")
    assert first.keys() == second.keys() == {"own-1", derived}
    await mended.answered(["own-1", derived])
    await mended.drained()
    assert changes(mended, 1) == ["named", "unnamed"]
    answers = [record for record in mended.records[OUTCOMES] if json.loads(record.value)["requestId"] == derived]
    assert [headers(record).get("mergeline-duplicate") for record in answers] == [None, b"true"]
    assert answers[0].value == answers[1].value

    said = await redrive(mended, "--send")
    assert statuses(said) == {"already decided": 2}
    shown = json.loads(await mended.command("show", "request", str(ORG), derived, "--json"))
    assert (shown["status"], [one["kind"] for one in shown["repeats"]]) == ("applied", ["dead_letter", "repeat"])
    assert shown["repeats"][0]["origin"]["offset"] == places[1].offset
    assert shown["origin"]["offset"] == first[derived]["offset"]


async def test_nothing_is_sent_unless_it_is_said(mended):
    await letters_of(mended, 2, [adding(2, "dry-1")])
    before = [await mended.ends(topic) for topic in (UPDATES, CUSTOMERS, CARDS)]
    assert "Nothing was sent. Send them with: --send" in await mended.command("redrive")
    assert [await mended.ends(topic) for topic in (UPDATES, CUSTOMERS, CARDS)] == before


def found_at(world, *places):
    """The updates that stand at some places, once they were read."""

    def found():
        of = {(one.partition, one.offset): one for one in world.records[UPDATES]}
        return of.keys() >= {*places} and [of[place] for place in places]

    return world.until(found)


async def test_key_value_headers_and_partition_are_what_they_were(mended):
    key = b"any key"
    elsewhere = ((murmur2(key) & 0x7FFFFFFF) + 1) % 3
    own = [("traceparent", b"t"), ("none", None), ("kafka_dlt-original-topic", b"a producer's")]
    body = b' {"requestId": "own-3",  "orgId":%d,"customerId":3,"source":"INSTORE","add":{"type":"line","value":"l3"}}'
    (place,), (letter,) = await letters_of(mended, 3, [body % ORG], key=key, headers=own, partition=elsewhere)
    assert letter.value == body % ORG
    to = (await sent(mended, "--request", "own-3"))["own-3"]
    assert (to["topic"], to["partition"]) == (UPDATES, elsewhere)
    first, again = await found_at(mended, (elsewhere, place.offset), (elsewhere, to["offset"]))
    assert (again.key, again.value, again.headers) == (first.key, first.value, first.headers)
    assert again.headers == tuple(own)
    await mended.answered(["own-3"])


async def test_names_of_headers_that_are_no_text_are_what_they_were_too(mended):
    await mended.register([8])
    batch = OddBatch(0, is_transactional=False)
    value = json.dumps(adding(8, "odd")).encode()
    batch.append(timestamp=None, key=None, value=value, headers=[("\udcff\udcfe", b"odd")])
    batch.close()
    async with poisoned(mended, 8):
        place = await (await mended._producer.send_batch(batch, mended.prefix + UPDATES, partition=0))
        await mended.letters(1, where=lambda record: record.value == value)
    to = (await sent(mended, "--request", "odd"))["odd"]
    first, again = await found_at(mended, (0, place.offset), (0, to["offset"]))
    assert [*again.headers] == [*first.headers] == [("\udcff\udcfe", b"odd")]
    assert (again.key, again.value) == (None, value)
    await mended.answered(["odd"])


async def test_one_that_becomes_a_letter_again_is_sent_once_more_under_the_first_id(mended):
    (place,), _ = await letters_of(mended, 4, [adding(4, None, "stubborn")])
    derived = mended.origin(place)
    for _ in range(2):
        before = len(mended.records[DLT])
        async with poisoned(mended, 4):
            assert (await sent(mended, "--request", derived)).keys() == {derived}, "as one, though it stands twice"
            await mended.letters(before + 1)
    said = (await mended.command("redrive", "--request", derived)).splitlines()
    assert said[0].startswith(f"would be sent    {derived}  PROCESSING_FAILED")
    assert any(line.startswith("2 not sent: the same message as another letter") for line in said)
    await sent(mended, "--request", derived)
    await mended.answered([derived])
    assert changes(mended, 4) == ["stubborn"]


async def test_filters_choose_what_is_sent(mended):
    places, _ = await letters_of(mended, 5, [adding(5, f"chosen-{n}") for n in range(3)])
    await mended.produce(CARDS, [b"nope"], key=b"chosen")
    await mended.letters(1, CARDS)
    place = places[1]

    async def chosen(*options):
        return {one["requestId"] for one in await redrive(mended, *options) if one["requestId"].startswith("chosen-")}

    everything = {"chosen-0", "chosen-1", "chosen-2"}
    assert await chosen() == await chosen("--topic", UPDATES) == await chosen("--since", "1h") == everything
    assert await chosen("--code", "PROCESSING_FAILED", "--code", "TOO_LARGE", "--org", str(ORG)) == everything
    assert await chosen("--partition", str(place.partition), "--offset", str(place.offset)) == {"chosen-1"}
    assert await chosen("--request", "chosen-2") == {"chosen-2"}
    for options in (
        ("--topic", CUSTOMERS),
        ("--code", "INVALID_REQUEST"),
        ("--org", "1"),
        ("--until", "1h"),
        ("--since", "2999-01-01T00:00:00Z"),
    ):
        assert "no such dead letter" in await mended.command("redrive", *options, status=1), options
    (card,) = await redrive(mended, "--topic", CARDS, "--send", "--org", "0")
    assert (card["status"], card["sentTo"]) == ("no request", None)
    assert card["why"].startswith("MALFORMED_JSON: ")


async def test_what_is_no_request_or_came_from_nowhere_stays(mended):
    torn = {"orgId": ORG, "customerId": 6, "source": "INSTORE", "Add": []}
    stray = adding(6, "stray")
    before = len(mended.records[DLT])
    await mended.produce(UPDATES, [torn, None], key=b"6")
    await mended.produce(COMMANDS, [stray], key=b"6")
    await mended.produce(DLT, [adding(6, "forged")], key=b"6")
    await mended.letters(before + 4)  # the forged one among them
    ends = await mended.ends(UPDATES)
    said = await redrive(mended, "--send", "--code", "INVALID_REQUEST", "--code", "MALFORMED_JSON")
    assert await mended.ends(UPDATES) == ends
    assert statuses(one for one in said if one["origin"]["topic"] != CARDS) == {"no request": 2, "no topic": 1}
    assert "1 not sent: no worker of this installation wrote them" in await mended.command("redrive")


async def test_letters_that_the_ledger_may_have_forgotten_stay_unless_they_are_asked_for(world):
    configs = {"message.timestamp.type": "CreateTime", "retention.ms": str(30 * DAY_MS)}
    await world.configure(world.prefix + DLT, configs)
    await put_letters(world, [adding(1, "old")], int(time.time() * 1000) - 15 * DAY_MS)
    await put_letters(world, [adding(1, "young")], int(time.time() * 1000) - 13 * DAY_MS)
    assert [one["requestId"] for one in await redrive(world)] == ["young"]
    assert "1 not sent: older than the ledger remembers" in await world.command("redrive")
    assert {one["requestId"] for one in await redrive(world, "--since", "20d")} == {"old", "young"}
    await world.command("redrive", status=1, MERGELINE_LEDGER_DAYS="12")


async def test_it_ends_where_the_settled_transactions_end(world):
    """Behind an aborted one, and before one that is open."""
    await put_letters(world, [adding(1, f"settled-{number}") for number in range(9)])
    producers = [AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, transactional_id=world.prefix + name)
                 for name in ("aborted", "open")]  # fmt: skip
    for producer in producers:
        await producer.start()
        await producer.begin_transaction()
        for partition in range(3):
            await producer.send_and_wait(world.prefix + DLT, b"x", partition=partition)
        if producer is producers[0]:
            await producer.abort_transaction()
            assert statuses(await asyncio.wait_for(redrive(world), 20)) == {"would be sent": 9}
    said = await asyncio.wait_for(redrive(world), 20)
    for producer in producers:
        await producer.stop()
    assert statuses(said) == {"would be sent": 9}


async def test_where_kafka_takes_no_more_it_says_how_far_it_got(world):
    await world.configure(world.prefix + UPDATES, {"max.message.bytes": "300000"})
    await put_letters(world, [adding(1, f"small-{number}") for number in range(500)])
    await put_letters(world, [adding(1, "large")], first=20_000, own=[("large", bytes(400_000))])
    (line,) = (await world.command("redrive", "--send", "--json", status=2)).splitlines()
    assert "MessageSizeTooLarge" in line
    assert "500 were sent before that, and perhaps some of the next 500. Run the same again" in line
    assert sum((await world.ends(UPDATES)).values()) == 500


async def test_killed_halfway_and_run_again_each_takes_effect_once_in_order(world):
    """Two thousand letters of one partition, which stand in all partitions of their topic."""
    worker = world.worker(MERGELINE_DEAD_LETTER_LIMIT="0")
    await world.register([1])
    names = [f"half-{number:04}" for number in range(2_000)]
    await put_letters(world, [adding(1, name) for name in names])
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mergeline", "redrive", "--send", "--json"),
        env=dict(os.environ) | world.settings | {"PYTHONPATH": IMPORTED_FROM}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    (first,) = [json.loads(await command.stdout.readline())]
    command.kill()
    await command.wait()
    assert first["status"] == "sent"
    assert 0 < sum((await world.ends(UPDATES)).values()) < len(names), "in the middle"
    said = await redrive(world, "--send")
    assert len(said) == 2_000
    await world.answered(names)
    await world.drained()
    assert changes(world, 1) == [f"of {name}" for name in names]
    assert statuses(await redrive(world)) == {"already decided": 2_000}
    assert worker.running
