"""The group's offsets: what was committed stays committed."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    NotCoordinatorForGroupError,
)
from aiokafka.protocol.commit import OffsetFetchRequest_v3, OffsetFetchResponse_v3

from mergeline.stream.offsets import NO_GENERATION, Offsets
from mergeline.stream.retrying import Retriable

ONE, TWO = TopicPartition("updates", 0), TopicPartition("updates", 1)


class Group:
    """A coordinator, a consumer with its subscription, and its thread."""

    def __init__(self):
        self.committed, self.commits = {}, []
        self.generation = 7
        self.known = asyncio.Event()
        self.known.set()
        self.tps = {ONE, TWO}
        self.group_id, self.refused = "group", 0
        self._consumer = self._coordinator = self._subscription = self.subscription = self.assignment = self
        self._commit_lock = asyncio.Lock()

    async def ensure_coordinator_known(self):
        await self.known.wait()

    async def _do_commit_offsets(self, _, marks):
        ends = {tp: mark.offset for tp, mark in marks.items()}
        self.commits.append(ends)
        self.committed |= ends

    async def _send_req(self, request):
        if self.refused:
            return OffsetFetchResponse_v3(0, [], self.refused)
        named = request.build(OffsetFetchRequest_v3).topics
        found = [(name, [(at, self.committed.get((name, at), -1), "", 0) for at in numbers]) for name, numbers in named]
        return OffsetFetchResponse_v3(0, found, 0)

    def coordinator_dead(self):
        self.known.clear()

    async def beginning_offsets(self, partitions):
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions):
        return dict.fromkeys(partitions, 1_000)

    async def call_thread(self, function, *arguments):
        return await function(*arguments)


@pytest.fixture
def group():
    return Group()


@pytest.fixture
async def offsets(group):
    """Both partitions are acquired."""
    offsets = Offsets(SimpleNamespace(consumer=SimpleNamespace(_thread=group)))
    await offsets.positions([ONE, TWO])
    return offsets


async def test_a_commit_that_arrives_late_and_takes_an_offset_back_is_mended(offsets, group):
    """Over a connection that was given up: the same member, the same generation, so the broker takes it."""
    await offsets.commit({ONE: 165, TWO: 20})
    await offsets.commit({ONE: 171})
    group.committed[ONE] = 165
    await offsets.keep([ONE, TWO])
    assert group.committed == {ONE: 171, TWO: 20}
    assert group.commits[2:] == [{ONE: 171}]


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (GroupLoadInProgressError, True),
        (GroupCoordinatorNotAvailableError, False),
        (NotCoordinatorForGroupError, False),
    ],
    ids=["starts", "stops", "moved"],
)
async def test_a_coordinator_that_refuses_is_not_taken_for_a_group_that_has_committed_nothing(
    offsets, group, error, known
):
    """Or what was published would be published again, and all that was routed be routed again."""
    await offsets.commit({ONE: 165})
    group.refused = error.errno
    with pytest.raises(Retriable, match=error.__name__):
        await offsets.positions([ONE])
    assert group.known.is_set() is known  # else it is looked for
    group.refused = 0
    group.known.set()
    assert await offsets.positions([ONE, TWO]) == {ONE: 165, TWO: 0}


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


@pytest.mark.parametrize("generation", [8, NO_GENERATION], ids=["a later one", "none any more"])
async def test_nothing_is_committed_in_another_generation_than_the_positions_were_read_in(offsets, group, generation):
    """Somebody else may have committed more; as no member at all, the broker would take it once the group is empty."""
    group.generation = generation
    with pytest.raises(Retriable, match="CommitFailedError"):
        await offsets.commit({ONE: 165})
    assert group.commits == []


async def test_who_still_looks_for_its_brokers_was_refused_nothing(offsets, group):
    group._coordinator = None
    assert offsets.refusal() is None
    group._consumer = None
    assert offsets.refusal() is None
    with pytest.raises(KafkaConnectionError):
        await offsets.ends([ONE])
    assert not await offsets.is_answered()


async def test_who_was_no_member_when_positions_were_read_commits_nothing(offsets, group):
    group.generation = NO_GENERATION
    await offsets.positions([ONE])
    with pytest.raises(Retriable, match="CommitFailedError"):
        await offsets.commit({ONE: 165})
    assert group.commits == []


async def test_nothing_is_committed_for_a_partition_that_is_not_assigned(offsets, group):
    group.tps = {TWO}
    with pytest.raises(Retriable, match="IllegalStateError"):
        await offsets.commit({ONE: 165, TWO: 20})
    assert group.commits == []


async def test_a_commit_that_was_given_up_does_not_go_on(offsets, group, monkeypatch):
    monkeypatch.setattr("mergeline.stream.offsets.CALL_TIMEOUT_S", 0.01)
    group.known.clear()
    with pytest.raises(Retriable, match="TimeoutError"):
        await offsets.commit({ONE: 165})
    group.known.set()
    await asyncio.sleep(0.05)
    assert group.commits == []


async def test_a_call_that_the_consumers_thread_cancels_has_failed_and_whoever_made_it_goes_on(offsets, group):
    async def cancelled(*_):
        raise asyncio.CancelledError

    group.call_thread = cancelled
    with pytest.raises(Retriable, match="ConnectionAbortedError"):
        await offsets.commit({ONE: 165})


async def test_whoever_cancels_a_call_ends_it(offsets, group):
    group.known.clear()
    calling = asyncio.create_task(offsets.commit({ONE: 165}))
    await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    group.known.set()
    await asyncio.sleep(0.01)
    assert group.commits == []
