"""What ends a partition and is no record is passed over; what a fetch brought and nobody got is not."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from faust.types.tuples import TP
from tests.unit.piped import ONE, TWO, Stage, opened, records, under_way

from mergeline.stream.assignment import Assignment, Reader
from mergeline.stream.consumer import _fetched

HERE = TopicPartition("t", 1)
BOUNDS = SimpleNamespace(batch_max=10, batch_max_bytes=1000, batch_wait_ms=0, start_timeout_ms=1000)


class Consumer:
    """A fetch brings three records and moves the position, as aiokafka's does."""

    flow_active, should_stop = True, False

    def __init__(self):
        self.app = SimpleNamespace(consumer_generation_id=1, consumer=self)
        self.position = {HERE: 0}

    def assignment(self):
        return {TP("t", 1)}

    async def seek_wait(self, positions):
        pass

    async def _getmany(self, active_partitions, timeout):
        await asyncio.sleep(0.05)
        self.position[HERE] = 3
        return {TP("t", 1): records(1, 0, 1, 2)}

    async def reached(self, partitions):
        return dict(self.position)


@pytest.fixture
async def reading():
    """An open assignment over a stage, and its consumer."""
    consumer, stage = Consumer(), Stage({HERE: 0})
    assignment = Assignment(consumer.app, [Reader(stage, frozenset({"t"}))], BOUNDS, None)
    await assignment.open()
    assignment.flows()
    yield consumer, assignment, stage
    await assignment.close(0.0)


async def test_end_markers_are_passed_over(reading):
    consumer, assignment, stage = reading
    consumer.position[HERE] = 2
    assert await assignment.progress(consumer.reached) == {HERE: 2}
    await asyncio.sleep(0)
    assert stage.published == [([], {HERE: 2})]


async def test_what_a_fetch_brought_is_not(reading):
    consumer, assignment, stage = reading
    fetch = asyncio.create_task(_fetched(consumer, assignment, {TP("t", 1)}, 0.25))
    await asyncio.sleep(0.01)
    assert await assignment.progress(consumer.reached) == {HERE: 0}
    assert len(await fetch) == 1
    assert stage.published == []


async def test_nor_what_was_dropped_since_the_worker_stops(reading):
    """Faust stops the flow before it says so: what a fetch brings then is dropped, and positions have moved."""
    consumer, assignment, stage = reading
    fetch = asyncio.create_task(_fetched(consumer, assignment, {TP("t", 1)}, 0.25))
    await asyncio.sleep(0.01)
    assignment.stops()
    consumer.flow_active = False
    assert await assignment.progress(consumer.reached) == {}
    assert await fetch == []
    await assignment.close(1.0)
    assert stage.published == []


async def test_what_is_passed_over_goes_out_in_its_turn():
    stage, bench = await under_way(Stage({ONE: 0, TWO: 0}), lanes=2)
    bench.pipeline.pass_over(TWO, 5)
    bench.pipeline.put(records(2, 5))
    stage.may_publish.set()
    await bench.settled(stage, 2)
    assert stage.published[0] == (["1/0"], {ONE: 1})
    assert {place: end for _, ends in stage.published[1:] for place, end in ends.items()} == {TWO: 6}
    await bench.pipeline.close(1.0)


async def test_a_position_that_is_behind_is_not_gone_back_to():
    stage = Stage({ONE: 4, TWO: 0})
    bench = await opened(stage)
    bench.pipeline.pass_over(ONE, 3)
    await asyncio.sleep(0.01)
    assert stage.published == []
    await bench.pipeline.close(0.0)
