"""A pipeline with a stage that does what the test says."""

import asyncio
from dataclasses import dataclass

from aiokafka import TopicPartition

from mergeline.domain.messages import Outgoing
from mergeline.stream.lanes import Bounds
from mergeline.stream.pipeline import Pipeline, Work
from mergeline.stream.retrying import Retriable

ONE, TWO = TopicPartition("t", 1), TopicPartition("t", 2)


@dataclass(frozen=True)
class Record:
    topic: str
    partition: int
    offset: int
    value: bytes = b""
    key: bytes | None = None
    headers: tuple = ()


def records(partition, *offsets):
    return [Record("t", partition, offset) for offset in offsets]


class Stage:
    """Publishes into a list; `acquisitions` and `failures` are consumed one by one."""

    name = "test"

    def __init__(self, *acquisitions, failures=()):
        self.acquisitions, self.failures = list(acquisitions), list(failures)
        self.processed, self.published, self.released = [], [], 0
        self.may_process, self.may_publish = asyncio.Event(), asyncio.Event()
        self.may_process.set()
        self.may_publish.set()

    async def acquire(self, partitions, published):
        found = self.acquisitions.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def process(self, batch, partitions):
        self.processed.append([r.offset for _, found, _ in batch for r in found])
        await self.may_process.wait()
        yield [
            Work(
                place,
                [r.offset for r in found],
                [(Outgoing("out", None, f"{r.partition}/{r.offset}".encode()),) for r in found],
            )
            for place, found, _ in batch
        ]

    async def publish(self, batch, ends):
        await self.may_publish.wait()
        if self.failures and self.failures.pop(0):
            raise Retriable("told to")
        self.published.append(([record.value.decode() for record in batch], dict(ends)))

    async def release(self):
        self.released += 1


class Bench:
    """A pipeline over two partitions, which are a lane each where there are two."""

    def __init__(
        self, stage, ours=lambda: True, batch_max=10, batch_max_bytes=1000, batch_wait_ms=0, lanes=1,
        partitions=(ONE, TWO),
    ):  # fmt: skip
        self.failed = []
        self.pipeline = Pipeline(
            stage, partitions, lanes=lanes, bounds=Bounds(batch_max, batch_max_bytes), batch_wait_ms=batch_wait_ms,
            still_ours=ours, got_room=lambda: None, fail=self.failed.append,
        )  # fmt: skip

    async def settled(self, stage, count):
        for _ in range(200):
            if len(stage.published) >= count or self.failed:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(stage.published)


async def opened(stage, **options):
    """A pipeline that has its partitions."""
    bench = Bench(stage, **options)
    await bench.pipeline.open()
    return bench


async def under_way(stage=None, **options):
    """A pipeline whose first batch, offset 0 of partition 1, is being published, and then gets what follows."""
    stage = stage or Stage({ONE: 0, TWO: 0})
    stage.may_publish.clear()
    bench = await opened(stage, **options)
    bench.pipeline.put(records(1, 0))
    await asyncio.sleep(0.01)
    return stage, bench
