"""Two apply stages that want the same partition, at every point of acquiring and publishing.

The stage and its pipeline are the real ones, PostgreSQL and Kafka too; only Faust and the group are left out, so that
one sleeps exactly where a test says. Neither ever believes that it lost the partition: fencing alone has to do.
"""

import asyncio
import json
import random
from contextlib import suppress
from contextvars import ContextVar
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from tests.defaults import default_options, open_pool
from tests.worker import points
from tests.worker.harness import COMMANDS, ORG, UPDATES, adding

from mergeline.domain.messages import Place
from mergeline.settings import Settings
from mergeline.store.apply import Store
from mergeline.store.failures import Forgotten
from mergeline.stream.apply import ApplyStage
from mergeline.stream.clients import client_options
from mergeline.stream.handover import hand_over
from mergeline.stream.incarnations import Incarnations
from mergeline.stream.lanes import Bounds
from mergeline.stream.offsets import position
from mergeline.stream.pipeline import Pipeline
from mergeline.stream.producers import Producers
from mergeline.stream.retrying import Retriable

CUSTOMER = 7
ASLEEP = {  # for as long as the test says, and not for a publish's seven seconds
    "MERGELINE_PUBLISH_TIMEOUT_MS": "100000",
    "MERGELINE_KAFKA_REQUEST_TIMEOUT_MS": "101000",
    "MERGELINE_TRANSACTION_TIMEOUT_MS": "102000",
}
IDLE_MS_MAX = 1_000
who = ContextVar("who", default=None)


class Log:
    """A partition of the internal topic, as a list; offsets are the group's in Kafka."""

    def __init__(self, world):
        self.world, self.place, self.records = world, TopicPartition(world.prefix + COMMANDS, 0), []

    def append(self, names):
        for name in names:
            offset = len(self.records)
            origin = ("mergeline-origin", f"{UPDATES}/0/{offset}/1700000000000/0".encode())
            value = json.dumps(adding(CUSTOMER, name)).encode()
            self.records.append(
                SimpleNamespace(
                    topic=self.place.topic, partition=0, offset=offset, timestamp=1_700_000_000_000, key=b"k",
                    value=value, headers=(origin,),
                )
            )  # fmt: skip

    async def topic_ids(self, names):
        return dict.fromkeys(names)

    async def confirm(self):
        """Neither believes that it lost the partition."""

    async def positions(self, partitions, floor=None):
        committed = (await self.world.committed()).get((COMMANDS, 0))
        return {self.place: position(self.place, committed, 0, len(self.records), (floor or {}).get(self.place, 0))}


class Contender:
    """A pipeline over the partition, tried again as a worker does; `gate` is awaited at each point."""

    def __init__(self, log, pool, gate):
        settings = Settings.load(log.world.settings | {"MERGELINE_BATCH_MAX": "5"} | ASLEEP)
        options = default_options(
            group_id=settings.group_id, topic_prefix=settings.topic_prefix, idle_ms_max=IDLE_MS_MAX
        )
        producers, store = Producers(settings, client_options(settings)), Store(pool, options)
        self.settings, self.producers, self.store = settings, producers, store
        self.log, self.gate, self.failed = log, gate, []
        self.pipeline = Pipeline(
            ApplyStage(settings, store, producers, log, Incarnations(store, log, settings.topic_prefix)),
            [log.place], lanes=1,
            bounds=Bounds(5, 1 << 20), batch_wait_ms=0, still_ours=lambda: True, got_room=lambda: None,
            fail=self.failed.append,
        )  # fmt: skip
        self.task = asyncio.create_task(self._guarded())

    async def _guarded(self):
        who.set(self)
        self.ended = False
        try:
            await self._run()
        except Exception as error:
            self.failed.append(error)
            raise

    async def _run(self):
        while not self.ended:
            try:
                await self.pipeline.open()
                break
            except Retriable:
                await self.pipeline.stage.release()
                await asyncio.sleep(0.1)
        read = 0
        while not self.ended:
            if self.pipeline.has_room(self.log.place) and self.log.records[read:]:
                self.pipeline.put(self.log.records[read:])
                read = len(self.log.records)
            await asyncio.sleep(0.01)

    async def end(self):
        self.ended = True  # a cancellation alone is lost where a connection breaks while it is being left
        self.task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self.task
        await self.pipeline.close(0)


@pytest.fixture(scope="module")
async def log(module_world):
    insert = "insert into customer (org_id, customer_id, version, registered_at) values ($1, $2, 0, now())"
    await module_world.sql(insert, ORG, CUSTOMER)
    return Log(module_world)


@pytest.fixture
async def contend(log, monkeypatch):
    """Makes contenders; all of them end with the test."""

    async def reached(point):
        if who.get() is not None:
            await who.get().gate(point)

    points.install(reached, monkeypatch.setattr)
    pools, made = [], []

    async def make(gate):
        pools.append(await open_pool(log.world.database_url))
        made.append(Contender(log, pools[-1], gate))
        return made[-1]

    yield make
    for one in made:
        await one.end()
    for pool in pools:
        pool.terminate()


async def passes(_):
    """No gate."""


async def all_answered_once(log, contenders):
    world = log.world
    names = {json.loads(record.value)["requestId"] for record in log.records}
    await world.until(lambda: names <= world.answers().keys() or any(one.failed for one in contenders), "all answers")
    await world.drained()
    assert [error for one in contenders for error in one.failed] == []
    assert {name: times for name, times in world.answers().items() if times != 1} == {}
    assert (await world.committed())[COMMANDS, 0] == len(log.records)


@pytest.mark.parametrize("point", points.ACQUIRE + points.PUBLISH)
async def test_exactly_once_when_one_sleeps_at_a_point_and_wakes_after_another_took_over(log, contend, point):
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def gate(reached):
        if reached == point and not asleep.is_set():
            asleep.set()
            await wake.wait()

    log.append(f"{point}.{number}".replace(" ", "-") for number in range(12))
    sleeper = await contend(gate)
    await asyncio.wait_for(asleep.wait(), 60)
    heir = await contend(passes)
    await all_answered_once(log, [heir])  # as if the sleeper had been killed there

    wake.set()
    log.append(f"{point}.{number}".replace(" ", "-") for number in range(12, 20))
    await all_answered_once(log, [sleeper, heir])


async def test_who_slept_behind_its_claim_answers_nothing_of_what_is_routed_by_now(log, contend):
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def gate(reached):
        if reached == "owned" and not asleep.is_set():
            asleep.set()
            await wake.wait()

    routed_before = """insert into partition_owner (group_id, topic, partition) values ($1, $2, 0)
                       on conflict (group_id, topic, partition) do update set answered_offset = null"""
    await log.world.sql(routed_before, log.world.group, COMMANDS)
    log.append(f"routed.{number}" for number in range(3))
    sleeper = await contend(gate)
    await asyncio.wait_for(asleep.wait(), 60)
    await hand_over(sleeper.settings, sleeper.store, sleeper.producers, log, {Place(COMMANDS, 0): log.place})
    wake.set()
    await log.world.until(lambda: sleeper.failed, "it ends", timeout_s=20)
    assert [type(error) for error in sleeper.failed] == [Forgotten]
    await all_answered_once(log, [await contend(passes)])


async def test_exactly_once_when_two_take_the_same_partition_at_the_same_moment_again_and_again(log, contend, seed):
    dice = random.Random(seed)

    async def stumbles(_):
        await asyncio.sleep(dice.choice([0, 0, 0, 0.005, 0.02, 0.1]))

    contenders = [await contend(stumbles), await contend(stumbles)]
    for turn in range(3):
        log.append(f"turn.{seed}.{turn}.{number}" for number in range(10))
        await asyncio.sleep(dice.uniform(0, 0.3))
    await all_answered_once(log, contenders)
