"""A worker that can do nothing any more, though brokers are there, says so and ends; a silent one nobody restarts."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from tests.worker.conftest import new_world
from tests.worker.harness import SOON_STALLED, UPDATES, adding
from tests.worker.proxy import Relay

from mergeline import embedded


async def test_a_group_that_another_program_holds(world):
    """It shares partitions out in another way: the broker refuses who comes second, whose client tells nobody."""
    stray = AIOKafkaConsumer(
        world.prefix + UPDATES,
        bootstrap_servers=world.bootstrap_servers,
        group_id=world.group,
        partition_assignment_strategy=(RangePartitionAssignor,),
    )
    await stray.start()
    try:
        worker = world.worker(**SOON_STALLED)
        await world.until(lambda: not worker.running, "it ends")
    finally:
        await stray.stop()
    assert worker.process.returncode == 2, worker.log_tail()
    (said,) = [line for line in worker.text.splitlines() if not line.startswith("{")]
    assert "InconsistentGroupProtocolError" in said
    assert "MERGELINE_GROUP_ID" in said


@pytest.fixture
async def moving():
    """A broker that can be had at two addresses, one after the other."""
    old, new = Relay(None), Relay(None)
    kafka = embedded.Kafka(relays=[old.address, new.address])
    await asyncio.to_thread(kafka.start)
    old.target, new.target = kafka.behind
    await old.open()
    yield kafka, old, new
    await new.close()
    await old.close()
    await asyncio.to_thread(kafka.stop)


async def test_brokers_that_moved_to_other_addresses_of_the_settings(moving, postgres, template_database, tmp_path):
    """aiokafka looks at the addresses that it was given once in its life."""
    kafka, old, new = moving
    async with new_world(postgres, kafka.bootstrap_servers, template_database, tmp_path) as world:
        worker = world.worker(
            MERGELINE_KAFKA_BOOTSTRAP_SERVERS=f"{old.address},{new.address}",
            **SOON_STALLED,
        )
        await world.register([1])
        await old.close()
        await new.open()
        await world.produce(UPDATES, [adding(1, "after")])
        await world.until(lambda: not worker.running, "it ends", timeout_s=90)
        assert worker.process.returncode == 70
        (event,) = worker.events("worker.failed")
        assert (event["error"], event["problem"]) == ("Stalled", "brokers answer a new client, and not this one")
        world.worker(MERGELINE_KAFKA_BOOTSTRAP_SERVERS=f"{old.address},{new.address}")
        await world.answered(["after"])


@pytest.fixture
async def strict():
    """Brokers that let no transaction take as long as a worker may ask for."""
    kafka = embedded.Kafka(settings={"transaction.max.timeout.ms": "9000"})
    await asyncio.to_thread(kafka.start)
    yield kafka
    await asyncio.to_thread(kafka.stop)


async def test_brokers_that_allow_no_transaction_of_that_length(strict, postgres, template_database, tmp_path):
    async with new_world(postgres, strict.bootstrap_servers, template_database, tmp_path) as world:
        worker = world.worker()
        await world.until(lambda: not worker.running, "it ends")
        assert worker.process.returncode == 2, worker.log_tail()
        (said,) = [line for line in worker.text.splitlines() if not line.startswith("{")]
        assert "allow no MERGELINE_TRANSACTION_TIMEOUT_MS of 10000: lower it" in said
        shorter = world.worker(MERGELINE_TRANSACTION_TIMEOUT_MS="9000")
        await world.register([1])
        assert shorter.running
