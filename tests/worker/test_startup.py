"""A worker that cannot start says in one line which setting is at fault and what to do, and exits with status 2."""

import asyncio

import pytest
from tests.services import databases
from tests.worker.harness import REGISTERED, UPDATES
from tests.worker.load import owns
from tests.worker.proxy import Relay

NOWHERE = "127.0.0.1:1"


async def bad_setting(world):
    return {"MERGELINE_BATCH_MAX": "many"}


async def no_broker(world):
    return {"MERGELINE_KAFKA_BOOTSTRAP_SERVERS": NOWHERE}


async def no_database(world):
    return {"MERGELINE_DATABASE_URL": f"postgresql://me:secret@{NOWHERE}/mergeline"}


async def not_migrated(world):
    name = databases.new_name("unmigrated")
    await databases.create(world.database_url, name)
    return {"MERGELINE_DATABASE_URL": databases.url_of(world.database_url, name)}


async def no_topics(world):
    return {"MERGELINE_TOPIC_PREFIX": "elsewhere."}


async def small_dead_letter_topic(world):
    prefix = f"{world.prefix}small."
    await world.command("topics", "create", "--partitions", "1", MERGELINE_TOPIC_PREFIX=prefix)
    await world.configure(f"{prefix}{UPDATES}-dlt", {"max.message.bytes": "1000000"})
    return {"MERGELINE_TOPIC_PREFIX": prefix}


async def port_in_use(world):
    return {"MERGELINE_HTTP_HOST": "127.0.0.1", "MERGELINE_HTTP_PORT": world.bootstrap_servers.rpartition(":")[2]}


GIVEN = (bad_setting, no_broker, no_database, not_migrated, no_topics, small_dead_letter_topic, port_in_use)


@pytest.fixture(scope="module")
async def ended(module_world):
    """All of them at once, by what is wrong."""
    refused = {"MERGELINE_START_TIMEOUT_MS": "100"}
    workers = {given: module_world.worker(**refused, **await given(module_world)) for given in GIVEN}
    await module_world.until(lambda: not any(worker.running for worker in workers.values()), "their ends")
    return workers


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(bad_setting, ['MERGELINE_BATCH_MAX is "many"', "Correct it"], id="a bad setting"),
        pytest.param(no_broker, ["MERGELINE_KAFKA_BOOTSTRAP_SERVERS", NOWHERE, "Start it"], id="no broker"),
        pytest.param(no_database, ["MERGELINE_DATABASE_URL", NOWHERE, "Start it"], id="no database"),
        pytest.param(not_migrated, ["mergeline migrate", "MERGELINE_DATABASE_URL"], id="not migrated"),
        pytest.param(no_topics, ["mergeline topics create", "MERGELINE_TOPIC_PREFIX"], id="no topics"),
        pytest.param(small_dead_letter_topic, [f"{UPDATES}-dlt", "raise its max.message.bytes"], id="a small topic"),
        pytest.param(port_in_use, ["MERGELINE_HTTP_PORT", "in use", "Choose another"], id="a port in use"),
    ],
)
async def test_a_worker_that_cannot_start_says_what_to_do_in_one_line(ended, given, words):
    worker = ended[given]
    assert worker.process.returncode == 2
    said = [line for line in worker.text.splitlines() if not line.startswith("{")]
    assert len(said) == 1, worker.text
    assert said[0].startswith("mergeline: ")
    if given is not bad_setting:  # which may be that of the log itself
        (record,) = worker.events("worker.refused")
        assert said[0] == f"mergeline: {record['problem']}"
    assert [word for word in words if word not in said[0]] == []
    assert "Traceback" not in worker.text
    assert "secret" not in worker.text


async def test_one_that_waits_ends_when_it_is_told_to(module_world):
    worker = module_world.worker(**await no_broker(module_world))
    await module_world.until(lambda: worker.events("worker.waiting"), "it waits for the broker")
    status, seconds = await asyncio.to_thread(worker.stop)
    assert status == 0
    assert seconds < 2


async def test_a_broker_and_a_database_that_come_up_late_are_waited_for(module_world):
    broker = Relay(module_world.bootstrap_servers)
    address = module_world.database_url.rpartition("@")[2].partition("/")[0]
    database = Relay(address)
    worker = module_world.worker(
        MERGELINE_KAFKA_BOOTSTRAP_SERVERS=broker.address,
        MERGELINE_DATABASE_URL=module_world.database_url.replace(address, database.address),
    )

    def waits_for(name):
        return any(name in event["problem"] for event in worker.events("worker.waiting"))

    try:
        await module_world.until(lambda: waits_for("Kafka"), "it waits for the broker")
        await broker.open()
        await module_world.until(lambda: waits_for("PostgreSQL"), "it waits for the database")
        await database.open()
        await module_world.register([1])
    finally:
        worker.kill()
        await broker.close()
        await database.close()
    assert len(module_world.records[REGISTERED]) == 1


async def test_one_that_shared_out_the_partitions_before_it_knew_them_does_so_again_soon(world):
    worker = world.worker("tests.worker.forgetful")
    await world.until(lambda: worker.events("assignment.opened"), "an assignment")
    assert worker.events("assignment.opened")[0]["partitions"] == 0
    await world.until(lambda: owns(worker), "partitions", timeout_s=30)
