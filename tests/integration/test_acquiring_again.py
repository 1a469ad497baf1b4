"""An apply stage that acquires while a batch is under way: all that it reads is of one moment, or remembered."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from tests.integration.desk import AT, ORG, UPDATES, Gate
from tests.integration.test_pruning import GROUP

from mergeline.domain.messages import Place
from mergeline.settings import Settings
from mergeline.store.failures import Forgotten
from mergeline.store.ownership import claim
from mergeline.stream.apply import ApplyStage
from mergeline.stream.incarnations import Incarnations
from mergeline.stream.lanes import chunk_of

PARTITION = TopicPartition(f"mergeline.{AT[0]}", AT[1])
OURS = Place(*AT)


class Producers:
    """Of a producer that is never asked to publish."""

    async def start(self, _own_id):
        return SimpleNamespace(kill=self.kill, transactional_id=None)

    async def kill(self):
        """Nothing is left of it."""


class Offsets:
    """A group that has committed nothing; `reading` is awaited while its offsets are read."""

    async def topic_ids(self, names):
        return dict.fromkeys(names)

    async def confirm(self):
        """A member of the group."""

    async def reading(self):
        """At once."""

    async def positions(self, partitions, floor):
        await self.reading()
        return {partition: floor[partition] for partition in partitions}


def stage_of(store, offsets):
    settings = Settings(delivery="at_least_once", group_id=GROUP)
    return ApplyStage(settings, store, Producers(), offsets, Incarnations(store, offsets, "mergeline."))


async def process(stage, offset):
    """A batch of one request."""
    origin = ("mergeline-origin", f"{UPDATES}/0/{offset}/1700000000000/0".encode())
    value = json.dumps({"orgId": ORG, "customerId": 1, "source": "INSTORE"}).encode()
    record = SimpleNamespace(
        topic=PARTITION.topic, partition=AT[1], offset=offset, timestamp=0, key=b"k", value=value, headers=(origin,)
    )
    (works,) = [works async for works in stage.process([chunk_of(PARTITION, [record])], [PARTITION])]
    return works


async def test_who_acquires_again_publishes_nothing_from_memory_that_the_database_has_forgotten(new_store, sql):
    stage = stage_of(await new_store(), Offsets())
    await stage.acquire([PARTITION], {})
    await process(stage, 0)
    await process(stage, 1)
    await sql.execute("delete from ledger where at_offset = 1")
    await sql.execute("update partition_owner set answered_offset = 1")
    with pytest.raises(Forgotten):
        await stage.acquire([PARTITION], {PARTITION: 0})  # a publish has failed


async def test_what_a_batch_stored_meanwhile_is_missed_too_if_the_database_forgets_it(new_store, sql):
    gate = Gate()
    stage = stage_of(await new_store(gate), Offsets())
    await stage.acquire([PARTITION], {})
    await process(stage, 0)
    gate.names.add("commit")
    batch = asyncio.create_task(process(stage, 1))
    await gate.reached.wait()
    again = asyncio.create_task(stage.acquire([PARTITION], {PARTITION: 0}))  # a publish has failed
    await asyncio.sleep(0.2)  # it waits for the row
    gate.open()
    await asyncio.gather(batch, again)
    await sql.execute("delete from ledger where at_offset = 1")
    await sql.execute("update partition_owner set answered_offset = 1")
    with pytest.raises(Forgotten):
        await process(stage, 2)


async def test_nobody_takes_over_between_what_it_reads_and_its_becoming_the_owner(new_store):
    """Else it would find that the group is beyond what was answered, and say that the database is an old one."""
    offsets, store = Offsets(), await new_store()
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def held():
        reading.set()
        await go_on.wait()

    offsets.reading = held
    acquiring = asyncio.create_task(stage_of(store, offsets).acquire([PARTITION], {}))
    await reading.wait()

    async def another():
        async with claim(await new_store(), [OURS]) as claimed:
            return claimed.owners[OURS].answered_offset

    other = asyncio.create_task(another())
    await asyncio.sleep(0.2)
    assert not other.done()
    go_on.set()
    await acquiring
    assert await other == 0, "it begins there, and the database knows"
