"""What a stage does around its producer: offsets are committed behind the records that go with them, or not at all."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from mergeline.domain.messages import Outgoing, Place
from mergeline.settings import Settings
from mergeline.store.ownership import Owner
from mergeline.stream import incarnations
from mergeline.stream.apply import ApplyStage, works_of
from mergeline.stream.lanes import Chunk
from mergeline.stream.retrying import Retriable
from mergeline.stream.route import RouteStage
from mergeline.stream.trailing import Trailing

RECORDS = [Outgoing("update-outcomes", b"7:1", b"{}")]
ENDS = {TopicPartition("mergeline.commands-by-customer", 0): 5}
ONE, TWO = TopicPartition("mergeline.commands-by-customer", 1), TopicPartition("mergeline.commands-by-customer", 2)
APPLIED = Place("commands-by-customer", 0)
REFUSED = Retriable("told to")


class Publisher:
    """An idempotent producer; with `fails` its brokers do not acknowledge."""

    transactional_id = None

    def __init__(self, done, *, fails):
        self._done, self._fails = done, fails
        self.kills = 0

    async def publish(self, records, offsets):
        if self._fails:
            raise Retriable("told to")
        self._done.append(("records", len(records)))

    async def kill(self):
        self.kills += 1


class Offsets:
    """The group's offsets; the first `refusals` commits end with the error."""

    def __init__(self, done, *, refusals=0, committed=0, error=REFUSED):
        self._done, self.refusals, self._committed, self._error = done, refusals, committed, error

    async def positions(self, partitions):
        return dict.fromkeys(partitions, self._committed)

    async def commit(self, ends):
        if self.refusals:
            self.refusals -= 1
            raise self._error
        self._done.append(("offsets", dict(ends)))


class Incarnations(incarnations.Incarnations):
    """Topics that are what they were."""

    def __init__(self):
        super().__init__(None, None, "mergeline.")

    async def acquire(self, partitions):
        pass


async def nobody_answers(places):
    """No partition was ever answered where the router reads."""


class Producers:
    async def start(self):
        return Publisher([], fails=False)


def router(publisher, offsets):
    stage = RouteStage(Producers(), offsets, Incarnations(), nobody_answers)
    stage._publisher, stage._trailing = publisher, Trailing(offsets, {})
    return stage


def at_least_once(publisher, offsets):
    stage = ApplyStage(Settings(delivery="at_least_once"), None, None, offsets, Incarnations())
    stage._publisher = publisher
    stage._reached.acquired({APPLIED: Owner(None, 0, 0)}, {APPLIED: 0}, {APPLIED: -1})
    return stage


async def until(ready):
    for _ in range(400):
        if ready():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("not in time")


@pytest.mark.parametrize("stage", [router, at_least_once])
async def test_offsets_are_committed_once_the_records_are_acknowledged(stage):
    done = []
    await stage(Publisher(done, fails=False), Offsets(done)).publish(RECORDS, ENDS)
    await until(lambda: len(done) == 2)
    assert done == [("records", 1), ("offsets", ENDS)]


@pytest.mark.parametrize("stage", [router, at_least_once])
async def test_no_offset_is_committed_of_records_that_may_not_be_there(stage):
    done = []
    with pytest.raises(Retriable):
        await stage(Publisher(done, fails=True), Offsets(done)).publish(RECORDS, ENDS)
    assert done == []


# ---------------------------------------------------------------- the router's offsets, at a pace

PLACE = TopicPartition("mergeline.identifier-updates", 0)
OTHER = TopicPartition("mergeline.identifier-updates", 1)


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr("mergeline.stream.trailing.COMMIT_PACE_S", 60.0)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("mergeline.stream.trailing.COMMIT_PACE_S", 0.01)


def offsets_of(done):
    return [ends for kind, ends in done if kind == "offsets"]


async def test_a_batch_waits_for_no_commit_and_many_batches_have_one(quick):
    done = []
    stage = router(Publisher(done, fails=False), Offsets(done))
    for end in range(1, 6):
        await stage.publish(RECORDS, {PLACE: end})
        await stage.publish(RECORDS, {OTHER: 2 * end})
    assert offsets_of(done) == []
    await until(lambda: offsets_of(done))
    assert offsets_of(done) == [{PLACE: 5, OTHER: 10}]


async def test_the_next_commit_keeps_the_pace_and_leaving_does_not_wait_for_it(slow):
    done = []
    stage = router(Publisher(done, fails=False), Offsets(done))
    await stage.publish(RECORDS, {PLACE: 1})
    await until(lambda: offsets_of(done))
    await stage.publish(RECORDS, {PLACE: 2})
    await asyncio.sleep(0.05)
    assert offsets_of(done) == [{PLACE: 1}]
    await stage.release()
    assert offsets_of(done) == [{PLACE: 1}, {PLACE: 2}]


@pytest.mark.parametrize("error", [REFUSED, RuntimeError("unheard of")])
async def test_a_refused_commit_stops_the_router_until_it_has_acquired_again(slow, error):
    done = []
    offsets = Offsets(done, refusals=1, error=error)
    stage = router(Publisher(done, fails=False), offsets)
    await stage.publish(RECORDS, {PLACE: 1})
    await until(lambda: not offsets.refusals)
    with pytest.raises(Retriable):
        await stage.publish(RECORDS, {PLACE: 2})
    await stage.release()
    await stage.acquire([PLACE], {PLACE: 1})
    await stage.publish(RECORDS, {PLACE: 2})
    await stage.release()
    assert offsets_of(done)[-1] == {PLACE: 2}


@pytest.mark.parametrize("error", [REFUSED, RuntimeError("unheard of")])
async def test_a_refused_commit_is_tried_again_where_nothing_more_comes(quick, error):
    done = []
    stage = router(Publisher(done, fails=False), Offsets(done, refusals=3, error=error))
    await stage.publish(RECORDS, {PLACE: 1})
    await until(lambda: offsets_of(done))
    assert offsets_of(done) == [{PLACE: 1}]


async def test_what_was_published_and_not_committed_is_committed_once_acquired_again():
    done = []
    stage = router(Publisher(done, fails=False), Offsets(done, committed=3))
    assert await stage.acquire([PLACE, OTHER], {PLACE: 7, OTHER: 3}) == {PLACE: 7, OTHER: 3}
    await until(lambda: offsets_of(done))
    assert offsets_of(done) == [{PLACE: 7}]


async def test_a_new_assignment_knows_nothing_of_the_one_before(slow):
    """Somebody else may have had the partition since, or its topic been made anew."""
    done = []
    stage = router(Publisher(done, fails=False), Offsets(done, refusals=3))
    await stage.publish(RECORDS, {PLACE: 7})
    await stage.release()
    assert await stage.acquire([PLACE], {}) == {PLACE: 0}
    await stage.release()
    assert offsets_of(done) == []


class Hanging(Offsets):
    """A broker that does not answer a commit until it is told to."""

    def __init__(self, done):
        super().__init__(done)
        self.answers = asyncio.Event()

    async def commit(self, ends):
        await self.answers.wait()
        await super().commit(ends)


async def test_leaving_does_not_wait_long_for_a_broker_that_does_not_answer(quick, monkeypatch):
    monkeypatch.setattr("mergeline.stream.trailing.LAST_COMMIT_S", 0.05)
    stage = router(Publisher([], fails=False), Hanging([]))
    await stage.publish(RECORDS, {PLACE: 1})
    await asyncio.wait_for(stage.release(), 1.0)


async def test_a_release_that_is_cut_short_leaves_no_producer_and_no_commit_behind(quick):
    """A commit that came after somebody else had the partition would take its offset back."""
    done = []
    offsets, publisher = Hanging(done), Publisher([], fails=False)
    stage = router(publisher, offsets)
    await stage.publish(RECORDS, {PLACE: 1})
    releasing = asyncio.create_task(stage.release())
    await asyncio.sleep(0.05)
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    assert publisher.kills == 1
    await stage.release()
    await stage.acquire([PLACE], {})
    offsets.answers.set()
    await asyncio.sleep(0.05)
    await stage.release()
    assert offsets_of(done) == []


async def test_apply_that_is_cut_short_while_it_releases_is_released_by_the_next_call():
    class Slow(Publisher):
        async def kill(self):
            self.kills += 1
            await asyncio.sleep(0.05)

    publisher = Slow([], fails=False)
    stage = at_least_once(publisher, Offsets([]))
    releasing = asyncio.create_task(stage.release())
    await asyncio.sleep(0.01)
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    await stage.release()
    assert publisher.kills == 2


@pytest.mark.parametrize("parts", [[5], [2, 3], [1, 1, 1, 1, 1], [4, 1], [3, 2]])
def test_the_works_of_a_batch_that_is_answered_in_parts_are_those_of_the_whole(parts):
    records = [SimpleNamespace(offset=offset) for offset in (7, 8, 9, 3, 4)]
    batch = [Chunk(ONE, records[:3], 0), Chunk(TWO, records[3:], 0)]
    answers = [SimpleNamespace(outgoing=number) for number in range(5)]
    found, done = [], 0
    for count in parts:
        works = works_of(batch, done, answers[done : done + count])
        assert sum(len(work.offsets) for work in works) == count
        found += works
        done += count
    pairs = [(work.partition, *pair) for work in found for pair in zip(work.offsets, work.outgoing, strict=True)]
    assert pairs == [(ONE, 7, 0), (ONE, 8, 1), (ONE, 9, 2), (TWO, 3, 3), (TWO, 4, 4)]
