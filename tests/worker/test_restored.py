"""A database restored from a backup that is older than what Kafka has: nobody goes on, and what mends it.

That is `mergeline offsets rewind`; any other way to set the group back does as well.
"""

import asyncio
import json
import re
from types import MappingProxyType

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import CommitFailedError
from tests.services import databases
from tests.worker.conftest import new_world
from tests.worker.harness import CARDS, COMMANDS, OUTCOMES, UPDATES, adding, headers
from tests.worker.harness import CUSTOMERS as REGISTRATIONS
from tests.worker.load import owns

from mergeline.stream import forgotten

CUSTOMERS = (1, 2, 3)
UNKNOWN_ORG = 999
KEYED = MappingProxyType({"MERGELINE_REQUESTS_KEYED": "true"})
START = MappingProxyType({0: 0, 1: 0, 2: 0})


async def go_back(world, topic, offsets=START):
    """The group's offsets of a topic to the start, or where it is said, while the group is empty."""
    places = {TopicPartition(world.prefix + topic, number): offset for number, offset in offsets.items()}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.bootstrap_servers, group_id=world.group, enable_auto_commit=False
    )
    consumer.assign(list(places))
    async with consumer:
        async with asyncio.timeout(60):  # a worker that ended hard is a member until its session has
            while True:
                try:
                    return await consumer.commit(places)
                except CommitFailedError:
                    await asyncio.sleep(0.5)


async def worked(world, when, settings, newcomers=()):
    """A worker that answered a request of each customer, and ended."""
    worker = world.worker(**settings)
    if newcomers:
        await world.register(newcomers)
    await world.outcomes_of([adding(customer, f"{when}-{customer}") for customer in CUSTOMERS])
    await world.drained()
    assert (await asyncio.to_thread(worker.stop))[0] == 0, worker.log_tail()


@pytest.fixture(params=[COMMANDS, UPDATES], ids=["routed", "keyed"])
async def restored(request, postgres, bootstrap_servers, template_database, tmp_path):
    """A world whose database has forgotten the last answers; the topic to go back in, and how workers are set."""
    settings = KEYED if request.param == UPDATES else {}
    backup = databases.new_name("backup")
    async with new_world(postgres, bootstrap_servers, template_database, tmp_path) as world:
        await worked(world, "before", settings, newcomers=CUSTOMERS)
        await databases.create(postgres.database_url, backup, world.database_url.rpartition("/")[2])
        await worked(world, "after", settings)
        world.database_url = databases.url_of(postgres.database_url, backup)
        world.settings["MERGELINE_DATABASE_URL"] = world.database_url
        yield world, request.param, settings
        world.kill_workers()
        await databases.drop(postgres.database_url, backup)


async def refusal(world, settings):
    """What a worker says that does not go on."""
    worker = world.worker(**settings)
    await world.until(lambda: not worker.running, "it ends itself")
    assert worker.process.returncode == 2, worker.log_tail()
    (said,) = [line for line in worker.text.splitlines() if not line.startswith("{")]
    return said


async def published_by_a_worker(world, settings):
    """The outcomes of a worker on the restored database, up to those of requests of now, which every partition gets."""
    before = len(world.records[OUTCOMES])
    worker = world.worker(**settings)
    await world.outcomes_of([adding(one, f"now-{len(world.workers)}-{one}", org=UNKNOWN_ORG) for one in range(1, 31)])
    assert (await asyncio.to_thread(worker.stop))[0] == 0, worker.log_tail()
    return ids(world.records[OUTCOMES][before:])


def ids(records):
    """Of outcomes, by the request id."""
    found = {json.loads(record.value)["requestId"]: headers(record)["ce_id"] for record in records}
    assert len(found) == len(records), "each once"
    return {name: event_id for name, event_id in found.items() if not name.startswith("now-")}


async def decides_the_rest_again(world, settings, first):
    """A worker answers each request since the backup once, under the event id that it had; then all are known."""
    again = await published_by_a_worker(world, settings)
    assert set(again) == {f"after-{customer}" for customer in CUSTOMERS}
    assert again.items() <= first.items()
    assert await known(world) == set(first)


async def test_offsets_from_before_the_backup_have_the_rest_decided_again_under_the_same_ids(restored):
    world, topic, settings = restored
    first = ids(world.records[OUTCOMES])
    await go_back(world, topic)
    await decides_the_rest_again(world, settings, first)


async def test_without_that_no_worker_goes_on_and_it_says_how_far_to_go_back(restored):
    world, topic, settings = restored
    first = ids(world.records[OUTCOMES])
    said = await refusal(world, settings)
    assert "The database is older than the group's offsets" in said
    assert "mergeline offsets rewind --yes" in said
    named = {int(number): int(offset) for number, offset in re.findall(rf"{re.escape(topic)} (\d+) to (\d+)", said)}
    assert named
    await go_back(world, topic, named)
    await decides_the_rest_again(world, settings, first)


async def test_nor_does_one_that_is_told_otherwise_who_keys_the_requests(restored):
    world, topic, settings = restored
    said = await refusal(world, {"MERGELINE_START_TIMEOUT_MS": "1000"} | ({} if settings else KEYED))
    left = f"{COMMANDS} still holds {len(CUSTOMERS)} messages"
    assert (left if topic == COMMANDS else "The database is older than") in said
    await world.until_nobody_is_in_the_group()
    before, keyed = await world.committed(), KEYED if topic == COMMANDS else {}
    for words in ([], ["rewind", "--yes"], ["rewind", "--to-start", "--yes"]) if keyed else ([],):
        told = await world.command("offsets", *words, status=2 if keyed else 1, **keyed)
        assert not keyed or f"{COMMANDS} holds {len(CUSTOMERS)} messages" in told
    assert await world.committed() == before


@pytest.mark.parametrize("seen", [True, False], ids=["was seen", "was never seen"])
@pytest.mark.parametrize(("topic", "settings"), [(COMMANDS, {}), (REGISTRATIONS, KEYED)], ids=["routed", "keyed"])
async def test_a_partition_that_had_no_answer_before_the_backup_is_found_out_too(
    postgres, bootstrap_servers, template_database, tmp_path, seen, topic, settings
):
    backup = databases.new_name("backup")
    async with new_world(postgres, bootstrap_servers, template_database, tmp_path) as world:
        if seen:
            worker = world.worker(**settings)
            await world.until(lambda: worker.events("assignment.opened"), "it has seen every partition")
            assert (await asyncio.to_thread(worker.stop))[0] == 0
        await databases.create(postgres.database_url, backup, world.database_url.rpartition("/")[2])
        await worked(world, "after", settings, newcomers=CUSTOMERS)
        world.settings["MERGELINE_DATABASE_URL"] = databases.url_of(postgres.database_url, backup)
        for _ in range(2):
            assert re.search(rf"{topic} \d to 0", await refusal(world, settings))
        world.kill_workers()
        await databases.drop(postgres.database_url, backup)


def asked_back(document):
    """The partitions that are to be set back, and to where."""
    return {
        (one["topic"], one["partition"]): one["setBackTo"]
        for one in document["partitions"]
        if one["setBackTo"] is not None
    }


async def test_the_command_that_it_names_sets_back_just_that(restored):
    world, _, settings = restored
    first = ids(world.records[OUTCOMES])
    said = await refusal(world, settings)
    named = {(topic, int(at)): int(to) for topic, at, to in re.findall(r"([\w.-]+) (\d+) to (\d+)", said)}
    await world.until_nobody_is_in_the_group()
    before = await world.committed()

    assert asked_back(await world.document("offsets", status=1, **settings)) == named
    shown = await world.document("offsets", "rewind", **settings)
    assert (shown["changed"], asked_back(shown)) == (False, named)
    assert await world.committed() == before
    done = await world.document("offsets", "rewind", "--yes", **settings)
    assert (done["changed"], asked_back(done)) == (True, named)
    back = {(topic.removeprefix(world.prefix), number): offset for (topic, number), offset in named.items()}
    assert await world.committed() == before | back
    assert asked_back(await world.document("offsets", **settings)) == {}
    assert (await world.document("offsets", "rewind", "--yes", **settings))["changed"] is False

    await decides_the_rest_again(world, settings, first)


async def test_what_expired_meanwhile_is_said_and_the_rest_is_set_back(restored):
    world, _, settings = restored
    named = asked_back(await world.document("offsets", status=1, **settings))
    gone, *rest = sorted(named)
    committed = await world.committed()
    end = committed[gone[0].removeprefix(world.prefix), gone[1]]
    async with world.admin() as admin:
        await admin.delete_records({TopicPartition(*gone): RecordsToDelete(end)})
    (done,) = [
        one
        for one in (await world.document("offsets", "rewind", "--yes", **settings))["partitions"]
        if (one["topic"], one["partition"]) == gone
    ]
    assert (done["setBackTo"], done["gone"]) == (None, {"from": named[gone], "toBefore": end})
    assert "cannot be read again" in await world.command("offsets", **settings)
    assert {place for place, offset in (await world.committed()).items() if offset != committed[place]} == {
        (topic.removeprefix(world.prefix), number) for topic, number in rest
    }
    again = await published_by_a_worker(world, settings)
    assert set(again) < {f"after-{customer}" for customer in CUSTOMERS}


@pytest.mark.parametrize(
    ("then", "since"), [({}, KEYED), (KEYED, {})], ids=["a router until then", "a router since then"]
)
async def test_what_was_answered_since_it_was_told_otherwise_who_keys_is_read_again_from_the_start(
    postgres, bootstrap_servers, template_database, tmp_path, then, since
):
    """With a router. A backup of when there was one says nothing of what was answered without."""
    backup = databases.new_name("backup")
    async with new_world(postgres, bootstrap_servers, template_database, tmp_path) as world:
        await worked(world, "before", then, newcomers=CUSTOMERS)
        await databases.create(postgres.database_url, backup, world.database_url.rpartition("/")[2])
        await worked(world, "after", since)
        first = ids(world.records[OUTCOMES])
        world.database_url = databases.url_of(postgres.database_url, backup)
        world.settings["MERGELINE_DATABASE_URL"] = world.database_url
        before = await world.committed()
        noticed = asked_back(await world.document("offsets", status=0 if since else 1))
        done = asked_back(await world.document("offsets", "rewind", "--to-start", "--yes"))
        if since:  # nobody notices
            assert noticed == {}
            routed = {place: offset for place, offset in (await world.committed()).items() if place[0] != COMMANDS}
            assert set(routed.values()) == {0}
        else:
            assert done.items() >= noticed.items() != set()
            assert {one: offset for one, offset in (await world.committed()).items() if offset > before[one]} == {}
        await decides_the_rest_again(world, {}, first)
        world.kill_workers()
        await databases.drop(postgres.database_url, backup)


async def test_beside_workers_it_says_that_all_is_well_and_sets_nothing_back(world):
    worker = world.worker()
    await world.until(lambda: owns(worker), "it has its partitions")
    await world.register(CUSTOMERS)
    await world.drained()
    before = await world.committed()
    assert "Nothing has to be set back." in await world.command("offsets")
    for words in ([], ["--yes"], ["--to-start", "--yes"]):
        (line,) = (await world.command("offsets", "rewind", *words, status=2)).splitlines()
        assert f"The group {world.group} has 1 member(s). Stop all workers, then run this again." in line
    assert await world.committed() == before


async def test_end_markers_of_transactions_are_nothing_to_go_back_for(world, monkeypatch):
    """The group has read one partition of records, and one of nothing that anybody could read."""
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, transactional_id=f"{world.prefix}elsewhere")
    async with producer:
        await producer.begin_transaction()
        await producer.send_and_wait(world.prefix + COMMANDS, b"{}", partition=0)
        await producer.abort_transaction()
    await world.produce(COMMANDS, [{}] * 2, partition=1)
    await go_back(world, COMMANDS, {0: 2, 1: 2})
    assert asked_back(await world.document("offsets", status=1)) == {(world.prefix + COMMANDS, 1): 0}
    # And brokers that do not say what lies there are named, not the database.
    monkeypatch.setattr(forgotten, "LOOK_TIMEOUT_S", 0.0)
    for words in ([], ["rewind", "--yes"]):
        assert "Kafka at " in await world.command("offsets", *words, status=2)
    assert await world.committed() == {(COMMANDS, 0): 2, (COMMANDS, 1): 2}


async def test_what_going_back_does_not_mend_is_said_and_left(world):
    """Records that went unread: on without them is forward."""
    await world.produce(CARDS, [{}] * 3, partition=0)
    await go_back(world, CARDS, {0: 1})
    async with world.admin() as admin:
        await admin.delete_records({TopicPartition(world.prefix + CARDS, 0): RecordsToDelete(2)})
    for words in ([], ["rewind", "--yes"], ["rewind", "--to-start", "--yes"]):
        found = await world.document("offsets", *words, status=1)
        (problem,) = [one["problem"] for one in found["partitions"] if one["problem"]]
        assert "expired before they were read" in problem
    assert await world.committed() == {(CARDS, 0): 1}
    await world.produce(COMMANDS, [{}] * 2, partition=0)
    await go_back(world, COMMANDS, {0: 2})
    for said in ("1 partitions were set back.", "Nothing has to be set back."):
        shown = await world.shown("offsets", "rewind", "--yes", status=1)
        assert f"{said} Workers still stop at what is said above." in shown
    assert await world.committed() == {(CARDS, 0): 1, (COMMANDS, 0): 0}


async def test_a_topic_that_was_made_anew_is_another_matter(world):
    worker = world.worker()
    await world.until(lambda: owns(worker), "it has its partitions")
    assert (await asyncio.to_thread(worker.stop))[0] == 0
    await world.make_anew(UPDATES)
    for words in ([], ["rewind", "--to-start", "--yes"]):
        assert f"mergeline topics reset {UPDATES}" in await world.command("offsets", *words, status=2)


async def known(world):
    """The request ids that were named, of those that the restored database has an answer to."""
    rows = await world.sql("select request_id from request where request_id ~ '^(before|after)'")
    return {row["request_id"] for row in rows}
