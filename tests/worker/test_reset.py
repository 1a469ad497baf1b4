"""Topics that were made anew: workers stop at them, and `mergeline topics reset` has all of their messages answered."""

import asyncio
import json
import os
import signal
import sys
import time

import pytest
from aiokafka.admin import NewPartitions
from tests.defaults import default_options, open_pool
from tests.worker.breaking_off import STEPS
from tests.worker.harness import CARDS, COMMANDS, CUSTOMERS, OUTCOMES, UPDATES, adding
from tests.worker.load import held_ledger, owns, until_somebody_waits
from tests.worker.process import IMPORTED_FROM

from mergeline.app import EXIT_FAILED, EXIT_SETUP
from mergeline.domain.messages import Coordinate, Message, Place
from mergeline.settings import Settings
from mergeline.store.apply import Store
from mergeline.store.failures import Forgotten
from mergeline.store.progress import Progress
from mergeline.stream.protocol import topic_ids

DAY_MS = 86_400_000
OLD = 12
"""Requests that were answered before, without ids of their own among them."""


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
    await lived.make_anew(UPDATES)
    requests = a_few("new", count)
    places = await lived.produce(UPDATES, requests)
    before = lived.counts()
    said = await stops(lived, lived.worker(), lived.prefix + UPDATES, "was made anew", f"topics reset {UPDATES}")
    assert await lived.command("topics", "reset", UPDATES) != ""  # without --yes it only says what it would do
    assert await stops(lived, lived.worker()) == said
    assert lived.counts() == before

    done = await reset(lived, UPDATES)
    assert (done["changed"], done["published"], done["lost"]) == (True, 0, 0)
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
    assert headers["mergeline-incarnation"] == b"2"
    await lived.command("verify")


async def test_the_internal_topic_made_anew_with_what_was_routed_and_not_applied(lived):
    routed = sum((await lived.ends(COMMANDS)).values())
    requests = a_few("new", 20)
    worker = lived.worker()
    await lived.until(lambda: owns(worker), "it has its partitions")
    async with held_ledger(lived):
        places = await lived.produce(UPDATES, requests)
        await until_somebody_waits(lived)
        while sum((await lived.ends(COMMANDS)).values()) < routed + len(requests):
            await asyncio.sleep(0.05)
        worker.kill()
    before = lived.answers()
    await lived.make_anew(COMMANDS)
    await stops(lived, lived.worker(), lived.prefix + COMMANDS, "was made anew", f"topics reset {COMMANDS}")
    await lived.until_nobody_is_in_the_group()
    done = await reset(lived, lived.prefix + COMMANDS)
    assert done["readFromTheStart"] == [lived.prefix + topic for topic in (COMMANDS, UPDATES, CUSTOMERS, CARDS)]
    assert done["published"] == 0
    lived.worker()
    await answered_once(lived, requests, places)
    assert {name: count for name, count in before.items() if lived.answers()[name] != count} == {}
    await lived.command("verify")


async def test_what_was_published_last_before_a_crash_is_published_again_byte_for_byte(lived):
    """Kafka has forgotten the group's offsets with the topic, and the database learns of a batch with the next one."""
    worker = lived.worker()
    await lived.outcomes_of([adding(1, "last")])
    worker.kill()
    await lived.until_nobody_is_in_the_group()
    await lived.make_anew(COMMANDS)
    assert (await reset(lived, COMMANDS))["published"] == 1
    lived.worker()
    await lived.outcomes_of([adding(1, "first")])
    await lived.drained()
    last = [record for record in lived.records[OUTCOMES] if json.loads(record.value)["requestId"] == "last"]
    assert len({(record.key, record.value, record.headers) for record in last}) == 1
    assert lived.answers()["first"] == 1


async def leave_answers(world, point, signal):
    """A worker that ends, or sleeps, with answers stored and none of them published; requests and their places."""
    stopping = world.worker(
        "tests.worker.stopping", MERGELINE_TEST_STOP_AT=point, MERGELINE_TEST_STOP_BY=signal,
        MERGELINE_TEST_STOP_NTH="1", MERGELINE_TRANSACTION_TIMEOUT_MS="300000",
    )  # fmt: skip
    await world.until(lambda: owns(stopping), "it has its partitions")
    requests = a_few("left", 20)
    places = await world.produce(UPDATES, requests)
    await world.produce(UPDATES, [b"{"], key=b"a dead letter")
    await world.until(lambda: stopping.is_stopped or not stopping.running, "it stops there")
    await world.until_nobody_is_in_the_group()
    return stopping, requests, places


async def unpublished(world):
    ((count,),) = await world.sql(
        """select count(*) from ledger join partition_owner on topic = at_topic and partition = at_partition
           where at_offset >= published_offset"""
    )
    return count


async def test_a_worker_that_slept_through_a_reset_in_its_transaction_publishes_nothing_and_the_reset_does(lived):
    sleeping, requests, places = await leave_answers(lived, "committing", "SIGSTOP")
    left = await unpublished(lived)
    assert left > 0
    before = lived.counts()
    await lived.make_anew(COMMANDS)
    said = await lived.command("topics", "reset", COMMANDS)
    assert f"{left} answers" in said
    assert lived.counts() == before
    done = await reset(lived, COMMANDS)
    assert (done["published"], done["lost"]) == (left, 0)
    committed = await lived.committed()
    sleeping.wake()
    await lived.until(lambda: not sleeping.running, "it finds out", timeout_s=60)
    # By the topic's id, or by a batch that it had in hand and that the database takes no more.
    assert sleeping.process.returncode in {EXIT_SETUP, EXIT_FAILED}, sleeping.log_tail()
    assert {place: offset for place, offset in (await lived.committed()).items() if offset != committed[place]} == {}
    await lived.until_nobody_is_in_the_group()
    lived.worker()
    await answered_once(lived, requests, places)
    assert len(await lived.letters(1)) == 1
    assert await lived.command("verify")


async def test_a_reset_that_was_killed_behind_any_of_its_steps_is_run_again(lived):
    _, requests, places = await leave_answers(lived, "stored", "SIGKILL")
    await lived.make_anew(COMMANDS)
    for step in STEPS:
        environment = os.environ | lived.settings | {"PYTHONPATH": IMPORTED_FROM, "MERGELINE_TEST_STOP_AT": step}
        killed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.worker.breaking_off", "topics", "reset", COMMANDS, "--yes"), env=environment
        )
        assert await killed.wait() == -signal.SIGKILL
    await stops(lived, lived.worker(), "was made anew")
    async with lived.admin() as admin:  # partitions that no run of it has begun
        await admin.create_partitions({lived.prefix + COMMANDS: NewPartitions(5)})
    done = await reset(lived, COMMANDS)
    assert (done["incarnation"], done["published"]) == ({"was": 1, "is": 2}, 0)
    lived.worker()
    await answered_once(lived, requests, places)
    assert len(await lived.letters(1)) == 1
    await lived.command("verify")
    await lived.command("topics", "reset", COMMANDS, "--yes", status=2)


async def test_a_worker_that_wakes_between_two_runs_stores_nothing_that_the_second_would_pass_over(lived):
    """The first run has published beyond its partition, and was killed; it has its batch in hand, and no producer."""
    await leave_answers(lived, "stored", "SIGKILL")
    owner = "select answered_offset from partition_owner where topic = $1 and partition = 0"
    ((answered,),) = await lived.sql(owner, COMMANDS)
    await lived.make_anew(COMMANDS)
    environment = os.environ | lived.settings | {"PYTHONPATH": IMPORTED_FROM, "MERGELINE_TEST_STOP_AT": "published"}
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.worker.breaking_off", "topics", "reset", COMMANDS, "--yes"), env=environment
    )
    assert await killed.wait() == -signal.SIGKILL
    place = Place(COMMANDS, 0)
    origin, at = Coordinate(UPDATES, 0, 1_000_000), Coordinate(*place, answered)
    late = Message(origin, at, 1_700_000_000_000, b"k", json.dumps(adding(1, "late")).encode())
    pool = await open_pool(lived.database_url)
    settings = Settings.load(lived.settings)
    store = Store(pool, default_options(group_id=settings.group_id, topic_prefix=settings.topic_prefix))
    try:
        with pytest.raises(Forgotten):
            await store.apply([late], progress={place: Progress(0, answered)})
    finally:
        pool.terminate()
    await reset(lived, COMMANDS)
    assert await lived.sql("select from ledger where request_id = 'late'") == []


async def test_a_copy_with_the_same_messages_at_the_same_offsets_keeps_what_is_known(lived):
    """As on another cluster: ids are others, the rest is what it was."""
    requests = [adding(1, f"copied-{number}") for number in range(6)]
    worker = lived.worker()
    places = await lived.produce(UPDATES, requests, partition=0)
    await answered_once(lived, requests, places)
    await stopped(worker)
    logs = {topic: await lived.log_of(topic) for topic in (UPDATES, COMMANDS)}
    before = lived.counts()
    await lived.make_anew(*logs)
    for topic, records in logs.items():
        for record in records:
            await lived.produce(topic, [record.value], record.key, record.headers, record.partition)
    for topic in logs:
        await stops(lived, lived.worker(), lived.prefix + topic, "was made anew")
        done = await reset(lived, topic, "--keep-offsets")
        assert (done["incarnation"], done["readFromTheStart"]) == ({"was": 1, "is": 1}, [])
    lived.worker()
    await lived.drained()
    assert lived.counts() == before
    await answered_once(lived, [unnamed(1, "more")], await lived.produce(UPDATES, [unnamed(1, "more")]))
    await lived.command("verify")


async def test_a_kafka_that_was_restored_from_an_older_copy_has_the_same_ids_and_lacks_what_was_answered(lived):
    await lived.make_anew(COMMANDS)
    async with lived.admin() as admin:
        ids = await topic_ids(admin._send_request, [lived.prefix + COMMANDS])
    await lived.sql("update topic_incarnation set topic_id = $1 where topic = $2", *ids.values(), COMMANDS)
    await stops(lived, lived.worker(), "Kafka was restored from an older copy", "--same-id")
    await lived.until_nobody_is_in_the_group()
    refused = await lived.command("topics", "reset", COMMANDS, "--yes", status=2)
    assert "was not made anew" in refused
    assert "--same-id" in refused
    await reset(lived, COMMANDS, "--same-id")
    lived.worker()
    requests = a_few("new", 10)
    await answered_once(lived, requests, await lived.produce(UPDATES, requests))
    assert {name: count for name, count in lived.answers().items() if count != 1} == {}
    await lived.command("verify")


async def test_an_input_topic_that_is_read_without_the_hop(world):
    keyed = {"MERGELINE_REQUESTS_KEYED": "true"}
    worker = world.worker(**keyed)
    await world.register(range(1, 6))
    requests = a_few("old", 10)
    await answered_once(world, requests, await world.produce(UPDATES, requests))
    await stopped(worker)
    await world.make_anew(UPDATES)
    requests = a_few("new", 5)
    places = await world.produce(UPDATES, requests)
    await stops(world, world.worker(**keyed), world.prefix + UPDATES, "was made anew")
    await world.command("topics", "reset", UPDATES, "--yes", **keyed)
    world.worker(**keyed)
    await answered_once(world, requests, places, incarnation=2)
    await world.command("verify")


@pytest.mark.parametrize("topic", [UPDATES, COMMANDS])
async def test_a_worker_that_runs_while_a_topic_is_made_anew_ends_itself(lived, topic):
    worker = lived.worker()
    await lived.outcomes_of([adding(1, "it-runs")])
    await lived.make_anew(topic)
    await lived.until(lambda: not worker.running, "it ends itself", timeout_s=15)
    assert worker.process.returncode == 2, worker.log_tail()
    await stops(lived, lived.worker(), lived.prefix + topic, "was made anew")


async def test_what_the_ledger_forgot_of_an_internal_topic_that_is_read_again_does_not_take_effect_again(world):
    """It keeps messages for longer than the ledger: 14 days, and for as long as a segment grows."""
    own = {"retention.ms": str(15 * DAY_MS), "max.message.bytes": "2097152"}
    worker = world.worker()
    await world.until(lambda: owns(worker), "it has its partitions")
    await world.configure(world.prefix + COMMANDS, own | {"message.timestamp.type": "CreateTime"})
    await long_ago(world, "forgotten", 1)
    await world.answered(["forgotten"])
    await world.drained()
    await stopped(worker)
    for table in ("ledger", "request"):
        await world.sql(f"delete from {table} where request_id = 'forgotten'")
    await long_ago(world, "never-read", 2)
    await world.configure(world.prefix + COMMANDS, own | {"message.timestamp.type": "LogAppendTime"})
    await reset(world, COMMANDS, "--same-id")
    world.worker()
    await world.answered(["never-read"])
    await world.outcomes_of([adding(1, "afterwards")])
    await world.drained()
    assert set(world.answers().values()) == {1}


async def long_ago(world, request_id, number):
    """A message that was routed twelve days ago."""
    at_ms = int(time.time() * 1000) - 12 * DAY_MS
    await world.produce(
        COMMANDS, [adding(1, request_id)], key=b"100737:1", timestamp_ms=at_ms,
        headers=[("mergeline-origin", f"{UPDATES}/0/{10**9 + number}/{at_ms}/0".encode())],
    )  # fmt: skip


async def test_what_is_refused_and_why(lived):
    async def refused(*arguments):
        (line,) = (await lived.command("topics", "reset", *arguments, "--yes", status=2)).splitlines()
        return line

    assert "is the topic that is known" in await refused(UPDATES)
    assert "is not a topic that workers read" in await refused(OUTCOMES)
    assert "is not a topic that workers read" in await refused("nowhere")
    worker = lived.worker()
    await lived.outcomes_of([adding(1, "it-runs")])
    assert f"The group {lived.group} has 1 member(s)" in await refused(UPDATES)
    assert f"The group {lived.group} has 1 member(s)" in await refused(UPDATES, "--same-id")
    await stopped(worker)
    async with lived.connection() as connection:
        await connection.execute("delete from topic_incarnation")
    assert "was never read with this database" in await refused(UPDATES)
    assert await lived.sql("select from topic_incarnation") == []
