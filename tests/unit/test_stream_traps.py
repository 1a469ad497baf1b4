"""What Faust and aiokafka do by themselves and must not do here, as far as it shows without a broker."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError, UnknownError
from faust.types.tuples import TP

from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.stream.assignment import Assignment, Reader, SteppedOver
from mergeline.stream.consumer import batch_consumer
from mergeline.stream.offsets import Offsets
from mergeline.stream.worker import Worker

HERE = TP("t", 0)
A_RECORD = SimpleNamespace(topic="t", partition=0, offset=5, key=None, value=b"", headers=())


@pytest.fixture
def worker(tmp_path):
    return Worker(Settings(), {}, None, folder=Path(tmp_path), fail=None)


async def test_a_worker_looks_at_its_progress_and_at_its_topics(worker, monkeypatch):
    """Deleted and created between two looks at the metadata, a topic moves no partition."""
    looked = []

    async def look(*_):
        looked.append(1)

    monkeypatch.setattr(worker._watchdog, "run", look)
    monkeypatch.setattr(worker._incarnations, "watch", look)
    await worker.watch()
    assert len(looked) == 2


def test_faust_makes_no_topics_serves_no_web_and_throws_nobody_out_for_a_slow_batch(worker):
    conf = worker.app.conf
    assert (conf.topic_disable_leader, conf.topic_allow_declare, conf.web_enabled) == (True, False, False)
    assert conf.broker_max_poll_interval >= 5 * 24 * 3600
    assert conf.processing_guarantee.name == "AT_LEAST_ONCE", "Faust's own exactly_once is broken"
    assert not conf.stream_wait_empty


def test_faust_acknowledges_and_so_commits_nothing_and_runs_one_agent_a_topic(worker):
    agents = list(worker.app.agents.values())
    assert len(agents) == 2
    assert {agent.channel.acks for agent in agents} == {False}
    assert {agent.concurrency for agent in agents} == {1}


async def test_an_agent_that_raises_ends_the_process(worker, monkeypatch):
    """Faust would start it again behind the message, and nobody would read it again."""
    failed = []

    async def events():
        yield SimpleNamespace(message="boom")

    def boom(_message):
        raise MemoryError

    worker._fail = failed.append
    monkeypatch.setattr(worker.assignment, "put", boom)
    for agent in worker.app.agents.values():
        await agent.fun(SimpleNamespace(events=events))
    assert list(map(type, failed)) == [MemoryError, MemoryError]


@pytest.mark.parametrize("told", ["pending", "ended"])
def test_what_the_group_refuses_is_heard_where_no_fetch_asks_for_it(worker, told):
    refusal = UnknownError()
    task = SimpleNamespace(done=lambda: told == "ended", cancelled=lambda: False, exception=lambda: refusal)
    pending = refusal if told == "pending" else None
    coordinator = SimpleNamespace(_coordination_task=task, _pending_exception=pending)
    thread = SimpleNamespace(_consumer=SimpleNamespace(_coordinator=coordinator))
    offsets = Offsets(SimpleNamespace(consumer=SimpleNamespace(_thread=thread)))
    assert offsets.refusal() is refusal
    thread._consumer = None
    assert offsets.refusal() is None, "before it has started"


class Consumer:
    """The batch consumer over fetches that a test scripts."""

    def __init__(self, has_room=lambda _: True, fail=None):
        self.handed, self.flows = [], []
        gate = SimpleNamespace(
            has_room=has_room, room=asyncio.Event(), fetching=asyncio.Lock(), reader=lambda partition: "apply",
            fetched=lambda partition, offset: self.handed.append((partition, offset)),
            flows=lambda: self.flows.append(self.consumer.flow_active), stops=lambda: None,
        )  # fmt: skip
        kind = batch_consumer({}, gate, fail, denied=str)
        self.consumer = kind.__new__(kind)
        self.app = SimpleNamespace(consumer_generation_id=1)
        self.fetched = []
        self.consumer.__dict__.update(
            app=self.app, flow_active=True, _getmany=self.getmany, _get_active_partitions=lambda: {HERE},
            _to_message=lambda tp, record: SimpleNamespace(tp=tp, generation_id=1), _stopped=asyncio.Event(),
            _crashed=asyncio.Event(),
        )  # fmt: skip

    async def getmany(self, active_partitions, timeout):
        self.fetched.append(active_partitions)
        return {HERE: [A_RECORD]}

    async def all(self):
        return [message.value async for _, message in self.consumer.getmany(0.01)]


async def test_a_fetch_hands_over_the_records_of_all_partitions_as_one_message():
    assert await Consumer().all() == [{HERE: [A_RECORD]}]


async def test_nothing_is_fetched_where_there_is_no_room():
    """An empty set of partitions would mean all of them to aiokafka."""
    consumer = Consumer(has_room=lambda _: False)
    assert await consumer.all() == []
    assert consumer.fetched == []


async def test_what_a_fetch_brings_from_another_generation_is_dropped():
    consumer = Consumer()

    async def getmany(active_partitions, timeout):
        consumer.app.consumer_generation_id = 2
        return {HERE: [A_RECORD]}

    consumer.consumer._getmany = getmany
    assert await consumer.all() == []


async def test_an_offset_that_is_not_in_the_log_any_more_ends_the_worker():
    """aiokafka would go on at the log's start, or at its end, without a word."""
    failed = []
    consumer = Consumer(fail=failed.append)

    async def getmany(active_partitions, timeout):
        raise OffsetOutOfRangeError({TopicPartition("t", 0): 7})

    consumer.consumer._getmany = getmany
    assert await consumer.all() == []
    (error,) = failed
    assert isinstance(error, SetupError)
    assert "t, partition 0" in str(error)


async def test_but_not_where_the_fetch_saw_a_newer_assignment_before_that_was_sought():
    consumer = Consumer(fail=pytest.fail)

    async def getmany(active_partitions, timeout):
        consumer.app.consumer_generation_id = 2
        raise NoOffsetForPartitionError(TopicPartition("t", 0))

    consumer.consumer._getmany = getmany
    assert await consumer.all() == []


class Stage:
    name = "test"

    async def acquire(self, partitions, published):
        return dict.fromkeys(partitions, 5)

    async def process(self, batch, partitions):
        yield []

    async def publish(self, records, ends):
        pass

    async def release(self):
        pass


@pytest.fixture
def assignment():
    sought = []

    async def seek_wait(positions):
        sought.append(positions)

    async def reached(partitions):
        return dict.fromkeys(partitions, 5)

    given = {HERE}
    consumer = SimpleNamespace(assignment=lambda: given, seek_wait=seek_wait)
    app = SimpleNamespace(consumer=consumer, consumer_generation_id=1)
    failed = []
    made = Assignment(app, [Reader(Stage(), frozenset({"t"}))], Settings(), failed.append)
    made.given, made.reached = given, reached
    made.sought, made.failed = sought, failed
    return made


async def test_what_faust_does_not_read_is_not_open(assignment):
    """Neither ready nor left alone by the watchdog: its task for rebalances may have ended without a word."""
    assignment.flows()  # of a rebalance before this one
    await assignment.open()
    assert not assignment.is_open
    assignment.flows()
    assert assignment.is_open
    assignment.stops()
    assert not assignment.is_open
    await assignment.close(0)


async def test_an_assignment_of_no_partition_is_open_too(assignment):
    assignment.given.clear()
    await assignment.open()
    assignment.flows()
    assert assignment.is_open
    assert await assignment.progress(assignment.reached) == {}


async def test_a_partition_goes_on_with_the_others_of_its_pipeline_while_it_waits_and_else_by_itself(assignment):
    """Or the watchdog takes one for silent that waits for the parts of a large batch; or one that is, for busy."""
    (here,) = [TopicPartition(*HERE)]
    assert assignment.moves(here) == 0
    await assignment.open()
    pipeline = assignment._pipelines[here]
    pipeline.moves = 7
    assert assignment.moves(here) == 0
    pipeline.unpublished = lambda: {here: 5}
    assert assignment.moves(here) == 7
    pipeline.unpublished, pipeline.has_room = dict, lambda _: False
    assert assignment.moves(here) == 7
    await assignment.close(0)


async def test_a_position_is_sought_when_no_fetch_is_under_way_any_more(assignment):
    """One that began before the rebalance would end behind the seek, be dropped, and so step over its records."""
    async with assignment.fetching:
        opening = asyncio.create_task(assignment.open())
        await asyncio.sleep(0.02)
        assert (assignment.sought, assignment.is_open) == ([], False)
    await opening
    assert assignment.sought == [{TopicPartition("t", 0): 5}]
    await assignment.close(0)


async def test_a_batch_of_another_generation_reaches_no_pipeline(assignment):
    await assignment.open()
    assignment.put(SimpleNamespace(tp=HERE, generation_id=2, value={HERE: [A_RECORD]}))
    assert assignment.unpublished() == {}
    assignment.put(SimpleNamespace(tp=HERE, generation_id=1, value={HERE: [A_RECORD]}))
    assert assignment.unpublished() == {TopicPartition("t", 0): 5}
    await assignment.close(0)


async def test_nothing_is_fetched_before_faust_has_resumed_the_flow_of_this_very_rebalance(assignment):
    """It clears its queues when it does; what lay there would be stepped over. One that was overtaken resumes too."""
    assignment.flows()
    await assignment.open()
    assert not assignment.has_room(HERE)
    assignment.flows()
    assert assignment.has_room(HERE)
    await assignment.close(0)
    await assignment.open()
    assert not assignment.has_room(HERE)
    await assignment.close(0)


async def test_a_batch_that_faust_did_not_bring_is_not_stepped_over(assignment):
    await assignment.open()
    later = SimpleNamespace(**{**vars(A_RECORD), "offset": 6})
    assignment.fetched(HERE, 5)
    assert assignment.unpublished() == {TopicPartition("t", 0): 5}, "the watchdog sees it, if nothing follows"
    assignment.fetched(HERE, 6)
    assignment.put(SimpleNamespace(tp=HERE, generation_id=1, value={HERE: [later]}))
    (error,) = assignment.failed
    assert isinstance(error, SteppedOver)
    await assignment.close(0)


async def test_the_consumer_tells_what_it_hands_over_and_when_its_flow_is_resumed():
    consumer = Consumer()
    await consumer.all()
    assert consumer.handed == [(HERE, A_RECORD.offset)]
    consumer.consumer.__dict__.update(can_resume_flow=asyncio.Event(), suspend_flow=asyncio.Event())
    consumer.consumer.resume_flow()
    assert consumer.flows == [True]
