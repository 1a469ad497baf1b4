"""Lanes: batches of other partitions at once under a backlog, and one of all of them where there is none."""

import asyncio
import random

import pytest
from aiokafka import TopicPartition
from tests.unit.piped import ONE, TWO, Stage, opened, records, under_way

from mergeline.stream.lanes import Bounds, lanes_of
from mergeline.stream.pipeline import Pipeline, Work, first_of
from mergeline.stream.retrying import Retriable


async def test_what_fills_no_batch_gathers_from_all_lanes_until_none_has_one_under_way():
    stage, bench = await under_way(batch_wait_ms=10_000, batch_max=12, lanes=2)
    for partition in (1, 2):
        bench.pipeline.put(records(partition, 1))
        await asyncio.sleep(0.01)
    assert stage.processed == [[0]]
    stage.may_publish.set()
    await bench.settled(stage, 2)
    assert stage.published[1:] == [(["1/1", "2/1"], {ONE: 2, TWO: 2})]
    await bench.pipeline.close(1)


async def test_full_lanes_are_processed_at_once_and_none_twice():
    stage = Stage({ONE: 0, TWO: 0})
    stage.may_process.clear()
    bench = await opened(stage, batch_max=2, lanes=2)
    bench.pipeline.put(records(1, 0, 1, 2, 3))
    bench.pipeline.put(records(2, 10, 11, 12, 13))
    await asyncio.sleep(0.01)
    assert stage.processed == [[0, 1], [10, 11]]
    stage.may_process.set()
    await bench.settled(stage, 2)
    assert sorted(stage.processed) == [[0, 1], [2, 3], [10, 11], [12, 13]]
    await bench.pipeline.close(1)


async def test_lanes_share_the_partitions_there_are_whatever_their_numbers():
    """Of two workers one has the even partitions."""
    even = [TopicPartition("t", number) for number in (0, 2, 4, 6)]
    stage = Stage(dict.fromkeys(even, 0))
    stage.may_process.clear()
    bench = await opened(stage, batch_max=2, lanes=2, partitions=even)
    for place in even:
        bench.pipeline.put(records(place.partition, 10 * place.partition, 10 * place.partition + 1))
    await asyncio.sleep(0.01)
    assert stage.processed == [[0, 1], [20, 21]]
    await bench.pipeline.close(0)


async def test_a_lane_that_fills_does_not_wait_for_another():
    stage, bench = await under_way(batch_max=2, batch_wait_ms=10_000, lanes=2)
    bench.pipeline.put(records(2, 0, 1))
    await asyncio.sleep(0.01)
    assert (stage.processed, stage.published) == ([[0], [0, 1]], [])
    stage.may_publish.set()
    await bench.settled(stage, 2)
    await bench.pipeline.close(1)


async def test_a_full_lane_is_a_batch_by_itself():
    stage = Stage({ONE: 0, TWO: 0})
    bench = await opened(stage, batch_max=2, lanes=2)
    bench.pipeline.put(records(1, 0))
    bench.pipeline.put(records(2, 10, 11))
    await bench.settled(stage, 1)
    assert stage.processed == [[10, 11], [0]]
    await bench.pipeline.close(1)


async def test_what_was_processed_meanwhile_is_published_at_once():
    stage, bench = await under_way(batch_max=2, lanes=2)
    bench.pipeline.put(records(1, 1, 2))
    bench.pipeline.put(records(2, 0, 1))
    await asyncio.sleep(0.01)
    assert (len(stage.processed), stage.published) == (3, [])
    stage.may_publish.set()
    await bench.settled(stage, 2)
    assert stage.published == [(["1/0"], {ONE: 1}), (["1/1", "1/2", "2/0", "2/1"], {ONE: 3, TWO: 2})]
    await bench.pipeline.close(1)


async def test_what_fails_together_is_published_one_by_one():
    """Else two batches that are too much for one publish would be tried together for ever."""

    class Narrow(Stage):
        async def publish(self, batch, ends):
            await self.may_publish.wait()
            if len(batch) > 2:
                raise Retriable("too much for the time there is")
            await super().publish(batch, ends)

    stage, bench = await under_way(Narrow({ONE: 0, TWO: 0}, {ONE: 1, TWO: 0}), batch_max=2, lanes=2)
    bench.pipeline.put(records(1, 1, 2))
    bench.pipeline.put(records(2, 0, 1))
    await asyncio.sleep(0.01)
    stage.may_publish.set()
    await bench.settled(stage, 3)
    assert [ends for _, ends in stage.published] == [{ONE: 1}, {ONE: 3}, {TWO: 2}]
    assert stage.released == 1
    await bench.pipeline.close(1)


def test_partitions_of_one_number_are_in_one_lane_since_their_customers_are_the_same():
    both = [TopicPartition(topic, number) for topic in "ab" for number in (0, 4, 8)]
    lanes = lanes_of(both, 2, Bounds(1, 1))
    assert [[place.partition for place in lane.partitions] for lane in lanes] == [[0, 8, 0, 8], [4, 4]]


async def test_each_lane_has_room_of_its_own():
    stage = Stage({ONE: 0, TWO: 0})
    stage.may_publish.clear()
    bench = await opened(stage, batch_max=2, lanes=2)
    bench.pipeline.put(records(1, 0, 1, 2, 3))
    assert (bench.pipeline.has_room(ONE), bench.pipeline.has_room(TWO)) == (False, True)
    await bench.pipeline.close(0)


PLACES = [TopicPartition("t", number) for number in range(7)]
EACH = 60


@pytest.mark.parametrize("lanes", [1, 2, 3, 16])
async def test_each_partition_comes_out_whole_once_and_in_order_whatever_takes_how_long_and_fails(lanes, seed):
    stage, failed = Jumpy(random.Random(seed), lanes), []
    pipeline = Pipeline(
        stage, PLACES, lanes=lanes, bounds=BOUNDS, batch_wait_ms=2,
        still_ours=lambda: True, got_room=lambda: None, fail=failed.append,
    )  # fmt: skip
    await pipeline.open()
    read = dict.fromkeys(PLACES, 0)
    async with asyncio.timeout(20):
        while not failed and (unread := [place for place in PLACES if read[place] < EACH]):
            place = stage.random.choice(unread)
            if pipeline.has_room(place):
                end = min(EACH, read[place] + stage.random.randint(1, 9))
                pipeline.put(records(place.partition, *range(read[place], end)))
                read[place] = end
            await asyncio.sleep(stage.random.choice((0, 0, 0.001)))
        while not failed and len(stage.published) < EACH * len(PLACES):
            await asyncio.sleep(0.001)
    await pipeline.close(1)
    assert failed == []
    by_place = {place: [text for text in stage.published if text.startswith(f"{place.partition}/")] for place in PLACES}
    assert by_place == {place: [f"{place.partition}/{offset}" for offset in range(EACH)] for place in PLACES}


BOUNDS = Bounds(7, 1 << 20)


def behind(works, done):
    """What is left of them behind so many records."""
    left = []
    for partition, offsets, outgoing in works:
        left.append(Work(partition, offsets[done:], outgoing[done:]))
        done = max(0, done - len(offsets))
    return [work for work in left if work.offsets]


class Jumpy(Stage):
    """Takes its time, and fails now and then, with or without effect; looks at what it is given."""

    def __init__(self, chance, lanes):
        super().__init__()
        self.random, self.lanes = chance, lanes
        self.positions = dict.fromkeys(PLACES, 0)
        self.in_process = []

    async def acquire(self, partitions, published):
        await self._takes_time()
        return dict(self.positions)

    async def process(self, batch, partitions):
        assert {place for place, _, _ in batch} <= set(partitions)
        assert not any(set(partitions) & set(others) for others in self.in_process), (
            "of these a batch is processed already"
        )
        assert 1 <= sum(len(found) for _, found, _ in batch) <= BOUNDS.records
        self.in_process.append(partitions)
        assert len(self.in_process) <= self.lanes
        await self._takes_time()
        async for works in super().process(batch, partitions):
            left = list(works)
            while left:
                part = first_of(left, self.random.choice((1, 8, 1 << 20)))
                yield part
                await self._takes_time()
                done = sum(len(work.offsets) for work in part)
                left = behind(left, done)
        self.in_process.remove(partitions)

    async def publish(self, batch, ends):
        assert len(batch) <= BOUNDS.records * min(self.lanes, len(PLACES))
        await self._takes_time()
        fate = self.random.random()
        if fate < 0.9:
            self.published += [record.value.decode() for record in batch]
            self.positions |= ends
        if fate > 0.8:
            raise Retriable("told to")

    async def _takes_time(self):
        await asyncio.sleep(self.random.choice((0, 0.001, 0.003)))
