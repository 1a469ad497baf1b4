"""The pipeline by itself, with a stage that does what the test says (no Kafka, no database)."""

import asyncio
import contextlib

import pytest
from aiokafka import TopicPartition
from tests.unit.piped import ONE, TWO, Record, Stage, opened, records, under_way

from mergeline.domain.messages import Outgoing
from mergeline.stream import pipeline
from mergeline.stream.pipeline import Work, first_of
from mergeline.stream.retrying import Retriable


async def test_a_batch_holds_what_gathered_of_all_partitions_with_their_ends():
    stage = Stage({ONE: 0, TWO: 5})
    bench = await opened(stage)
    bench.pipeline.put(records(1, 0, 1))
    bench.pipeline.put(records(2, 5))
    await bench.settled(stage, 1)
    assert stage.published == [(["1/0", "1/1", "2/5"], {ONE: 2, TWO: 6})]
    await bench.pipeline.close(1)


async def test_records_below_the_acquired_positions_are_dropped():
    stage = Stage({ONE: 3, TWO: 0})
    bench = await opened(stage)
    bench.pipeline.put(records(1, 1, 2))
    bench.pipeline.put(records(1, 2, 3, 4))
    await bench.settled(stage, 1)
    assert stage.published == [(["1/3", "1/4"], {ONE: 5})]
    await bench.pipeline.close(1)


async def test_a_batch_is_at_most_batch_max_and_keeps_order():
    stage = Stage({ONE: 0, TWO: 0})
    bench = await opened(stage, batch_max=2)
    bench.pipeline.put(records(1, 0, 1, 2, 3, 4))
    await bench.settled(stage, 3)
    assert [ends for _, ends in stage.published] == [{ONE: 2}, {ONE: 4}, {ONE: 5}]
    await bench.pipeline.close(1)


async def test_a_small_batch_gathers_until_the_one_before_is_done():
    stage, bench = await under_way(batch_wait_ms=10_000, batch_max=16)
    for offset in (1, 2, 3):
        bench.pipeline.put(records(1, offset))
        await asyncio.sleep(0.01)
    assert stage.processed == [[0]]
    stage.may_publish.set()
    await bench.settled(stage, 2)
    assert stage.processed == [[0], [1, 2, 3]]
    await bench.pipeline.close(1)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        pytest.param({"batch_wait_ms": 30}, [1], id="but no longer than batch_wait_ms"),
        pytest.param({"batch_wait_ms": 10_000, "batch_max": 2}, [1, 2], id="and one that is full, not at all"),
        pytest.param({"batch_wait_ms": 10_000, "batch_max": 12}, [1, 2, 3], id="nor one of a quarter of that"),
        pytest.param({"batch_wait_ms": 10_000, "batch_max_bytes": 64}, [1, 2], id="nor one of a quarter of the bytes"),
        pytest.param({"batch_wait_ms": 10_000, "batch_max_bytes": 16}, [1, 2], id="nor one of as many bytes as may be"),
    ],
)
async def test_a_batch_is_processed_while_the_one_before_is_published(options, sent):
    stage, bench = await under_way(**options)
    for offset in sent:
        bench.pipeline.put([Record("t", 1, offset, b"12345678")])
    for _ in range(100):
        if len(stage.processed) == 2:
            break
        await asyncio.sleep(0.005)
    assert (stage.processed, stage.published) == ([[0], sent], [])
    stage.may_publish.set()
    await bench.settled(stage, 2)
    await bench.pipeline.close(1)


async def test_there_is_room_for_two_batches_and_no_more():
    stage = Stage({ONE: 0, TWO: 0})
    stage.may_publish.clear()
    bench = await opened(stage, batch_max=2)
    bench.pipeline.put(records(1, 0, 1, 2))
    assert bench.pipeline.has_room(ONE)
    bench.pipeline.put(records(1, 3))
    assert not bench.pipeline.has_room(ONE)
    stage.may_publish.set()
    await bench.settled(stage, 2)
    await asyncio.sleep(0.01)
    assert bench.pipeline.has_room(ONE)
    await bench.pipeline.close(1)


def record_of(offset, size):
    """A record of so many bytes: in its value, its key, and the names and values of its headers."""
    quarter = b"x" * (size // 4)
    named = (("n" * (size // 4), quarter), ("n" * (size % 4), None))
    return Record("t", 1, offset, quarter, quarter, named)


async def test_a_batch_is_as_large_as_the_bytes_allow_and_one_record_at_least():
    stage = Stage({ONE: 0, TWO: 0})
    bench = await opened(stage, batch_max_bytes=100)
    bench.pipeline.put([record_of(offset, size) for offset, size in enumerate((60, 60, 30, 30, 30, 30, 900, 1))])
    await bench.settled(stage, 4)
    assert [ends[ONE] for _, ends in stage.published] == [2, 6, 7, 8]
    await bench.pipeline.close(1)


async def test_there_is_room_for_the_bytes_of_two_batches():
    stage = Stage({ONE: 0, TWO: 0})
    stage.may_publish.clear()
    bench = await opened(stage, batch_max_bytes=100)
    bench.pipeline.put([record_of(0, 199)])
    assert bench.pipeline.has_room(ONE)
    bench.pipeline.put([record_of(1, 1)])
    assert not bench.pipeline.has_room(ONE)
    stage.may_publish.set()
    await bench.settled(stage, 2)
    await asyncio.sleep(0.01)
    assert bench.pipeline.has_room(ONE)
    (lane,) = bench.pipeline._lanes
    assert (lane._held, lane._held_bytes) == (0, 0)
    await bench.pipeline.close(1)


@pytest.mark.parametrize(
    ("found", "then"),
    [
        pytest.param({ONE: 0, TWO: 0}, [(["1/0", "1/1"], {ONE: 2})], id="nothing of it was published"),
        pytest.param({ONE: 2, TWO: 0}, [], id="all of it was published"),
        pytest.param({ONE: 1, TWO: 0}, [(["1/1"], {ONE: 2})], id="some of it was published"),
    ],
)
async def test_after_a_failed_publish_the_batch_is_cut_at_the_positions_acquired_again(found, then):
    stage = Stage({ONE: 0, TWO: 0}, Retriable("no broker"), found, failures=[True])
    bench = await opened(stage)
    bench.pipeline.put(records(1, 0, 1))
    await bench.settled(stage, 1) if then else await asyncio.sleep(0.5)
    bench.pipeline.put(records(2, 0))
    await bench.settled(stage, len(then) + 1)
    assert stage.published == [*then, (["2/0"], {TWO: 1})]
    assert stage.released >= 1
    await bench.pipeline.close(1)


async def test_a_batch_that_was_already_waiting_is_cut_too():
    stage = Stage({ONE: 0, TWO: 0}, {ONE: 4, TWO: 0}, failures=[True])
    stage.may_publish.clear()
    bench = await opened(stage, batch_max=2)
    bench.pipeline.put(records(1, 0, 1, 2, 3))
    await asyncio.sleep(0.02)
    stage.may_publish.set()
    bench.pipeline.put(records(1, 4))
    await bench.settled(stage, 1)
    assert stage.published == [(["1/4"], {ONE: 5})]
    await bench.pipeline.close(1)


async def test_positions_never_go_back():
    stage = Stage({ONE: 0, TWO: 0}, {ONE: 0, TWO: 0}, failures=[False, True])
    bench = await opened(stage, batch_max=2)
    bench.pipeline.put(records(1, 0, 1))
    await bench.settled(stage, 1)
    bench.pipeline.put(records(2, 0))
    await bench.settled(stage, 2)
    assert stage.published == [(["1/0", "1/1"], {ONE: 2}), (["2/0"], {TWO: 1})]
    assert bench.pipeline._positions == {ONE: 2, TWO: 1}
    await bench.pipeline.close(1)


async def test_a_worker_that_lost_its_partitions_goes_quiet_and_acquires_nothing():
    stage = Stage({ONE: 0, TWO: 0}, failures=[True])
    bench = await opened(stage, ours=lambda: False)
    bench.pipeline.put(records(1, 0))
    await asyncio.sleep(0.05)
    assert (stage.published, bench.failed, bench.pipeline.has_room(ONE)) == ([], [], False)
    await bench.pipeline.close(1)


async def test_what_a_stage_cannot_mend_ends_the_process():
    stage = Stage({ONE: 0, TWO: 0})
    boom = ValueError("no way")

    async def process(batch, partitions):
        raise boom
        yield

    stage.process = process
    bench = await opened(stage)
    bench.pipeline.put(records(1, 0))
    await bench.settled(stage, 1)
    assert bench.failed == [boom]
    await bench.pipeline.close(0)


async def test_closing_finishes_what_is_under_way_and_drops_what_was_not_begun():
    stage = Stage({ONE: 0, TWO: 0})
    stage.may_publish.clear()
    bench = await opened(stage, batch_max=1)
    bench.pipeline.put(records(1, 0, 1, 2, 3, 4, 5))
    await asyncio.sleep(0.02)
    closing = asyncio.create_task(bench.pipeline.close(2))
    await asyncio.sleep(0.02)
    stage.may_publish.set()
    await closing
    assert 1 <= len(stage.published) < 6
    assert [batch for batch, _ in stage.published] == [[f"1/{n}"] for n in range(len(stage.published))]


async def test_closing_does_not_wait_longer_than_told():
    stage = Stage({ONE: 0, TWO: 0})
    stage.may_publish.clear()
    bench = await opened(stage)
    bench.pipeline.put(records(1, 0))
    await asyncio.sleep(0.02)
    await asyncio.wait_for(bench.pipeline.close(0.05), 1)
    assert (stage.published, stage.released) == ([], 1)


async def test_a_cancellation_that_a_breaking_connection_swallows_is_said_again():
    """Else the task would go on, whoever closes the pipeline would wait for it, and the group for both."""

    class Deaf(Stage):
        asleep = False

        async def process(self, batch, partitions):
            self.asleep = True
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            await asyncio.sleep(60)
            yield

    stage = Deaf({ONE: 0, TWO: 0})
    bench = await opened(stage)
    bench.pipeline.put(records(1, 0))
    while not stage.asleep:
        await asyncio.sleep(0)
    await asyncio.wait_for(bench.pipeline.close(0), 10)
    assert (stage.released, bench.failed) == (1, [])


async def test_what_is_too_much_for_one_publish_goes_in_several_and_in_order(monkeypatch):
    monkeypatch.setattr(pipeline, "PUBLISH_BYTES_MAX", 7)  # two values of three bytes
    stage = Stage({ONE: 0, TWO: 0}, {ONE: 4, TWO: 0}, failures=[None, None, Retriable("away")])
    bench = await opened(stage, batch_wait_ms=50)
    bench.pipeline.put(records(1, 0, 1, 2, 3, 4))
    bench.pipeline.put(records(2, 0, 1))
    await bench.settled(stage, 4)
    assert stage.published == [
        (["1/0", "1/1"], {ONE: 2}),
        (["1/2", "1/3"], {ONE: 4}),
        (["1/4"], {ONE: 5}),  # half of it, since the way may be slow
        (["2/0", "2/1"], {TWO: 2}),
    ]
    await bench.pipeline.close(1)


@pytest.mark.parametrize(
    ("sizes", "bytes_max", "taken"),
    [
        pytest.param([[1, 1], [1]], 3, [2, 1], id="all that fits"),
        pytest.param([[9, 1], [1]], 3, [1], id="the first, however large"),
        pytest.param([[0, 9], [1]], 3, [1], id="and none behind what takes nothing"),
        pytest.param([[1, 1], [2]], 3, [2, 0], id="up to the end of a work"),
        pytest.param([[], [9], [9]], 3, [0, 1, 0], id="the first of those that have any"),
    ],
)
def test_the_part_that_one_publish_takes(sizes, bytes_max, taken):
    works = [
        Work(TopicPartition("t", at), range(len(of)), [(Outgoing("o", None, b"x" * size),) for size in of])
        for at, of in enumerate(sizes)
    ]
    part = first_of(works, bytes_max)
    assert [len(work.offsets) for work in part] == taken
    assert [work.partition for work in part] == [work.partition for work in works[: len(part)]]
    assert all(len(work.outgoing) == len(work.offsets) for work in part)


async def test_a_part_of_a_batch_is_published_while_the_rest_is_processed_and_the_batch_is_done_with_the_last():
    """Else a batch of large merges would be held in memory whole, and stand still for minutes to the watchdog."""

    go_on = asyncio.Event()

    class Parts(Stage):
        async def process(self, batch, partitions):
            async for works in super().process(batch, partitions):
                for work in works:
                    for number in range(len(work.offsets)):
                        yield [Work(work.partition, work.offsets[number:][:1], work.outgoing[number:][:1])]
                        await go_on.wait()
                        go_on.clear()

    stage = Parts({ONE: 0, TWO: 0})
    bench = await opened(stage, batch_max=3)
    bench.pipeline.put(records(1, 0, 1, 2))
    bench.pipeline.put(records(1, 3, 4, 5))
    for ends in (1, 2):
        await bench.settled(stage, ends)
        assert (bench.pipeline.unpublished(), bench.pipeline.has_room(ONE)) == ({ONE: ends}, False)
        assert bench.pipeline.moves == ends
        go_on.set()
    for _ in range(50):
        go_on.set()
        await asyncio.sleep(0.005)
    assert [ends for _, ends in stage.published] == [{ONE: end} for end in range(1, 7)]
    assert (bench.pipeline.unpublished(), bench.pipeline.has_room(ONE)) == ({}, True)
    await bench.pipeline.close(1)
