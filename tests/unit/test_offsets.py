"""The group's offsets: what was committed stays committed."""

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from mergeline.stream.offsets import Offsets

ONE, TWO = TopicPartition("updates", 0), TopicPartition("updates", 1)


class Group:
    """A coordinator, a consumer and its thread."""

    def __init__(self):
        self.committed, self.commits = {}, []
        self._coordinator = self

    async def commit(self, ends):
        self.commits.append(dict(ends))
        self.committed |= ends

    async def fetch_committed_offsets(self, partitions):
        return {tp: OffsetAndMetadata(self.committed[tp], "") for tp in partitions if tp in self.committed}

    async def beginning_offsets(self, partitions):
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions):
        return dict.fromkeys(partitions, 1_000)

    async def call_thread(self, function, *arguments):
        return await function(*arguments)

    def _ensure_consumer(self):
        return self


@pytest.fixture
def group():
    return Group()


@pytest.fixture
def offsets(group):
    return Offsets(SimpleNamespace(consumer=SimpleNamespace(_thread=group)))


async def test_a_commit_that_arrives_late_and_takes_an_offset_back_is_mended(offsets, group):
    """Over a connection that was given up: the same member, the same generation, so the broker takes it."""
    await offsets.commit({ONE: 165, TWO: 20})
    await offsets.commit({ONE: 171})
    group.committed[ONE] = 165
    await offsets.keep([ONE, TWO])
    assert group.committed == {ONE: 171, TWO: 20}
    assert group.commits[2:] == [{ONE: 171}]


async def test_what_is_as_it_was_committed_is_left_alone(offsets, group):
    await offsets.commit({ONE: 165})
    await offsets.keep([ONE, TWO])
    group.committed[ONE] = 170  # a commit of ours whose answer was lost
    await offsets.keep([ONE])
    assert group.commits == [{ONE: 165}]


async def test_a_partition_that_is_not_ours_any_more_or_was_another_workers_meanwhile_is_left_alone(offsets, group):
    await offsets.commit({ONE: 165, TWO: 20})
    group.committed = {ONE: 100, TWO: 10}
    await offsets.keep([])
    await offsets.positions([ONE])  # acquired again: what stands there now is where it goes on
    await offsets.keep([ONE])
    assert group.commits == [{ONE: 165, TWO: 20}]
