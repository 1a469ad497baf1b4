"""What a stage does around its producer: offsets are committed behind the records that go with them, or not at all."""

import pytest
from aiokafka import TopicPartition

from mergeline.domain.messages import Outgoing
from mergeline.settings import Settings
from mergeline.stream.apply import ApplyStage
from mergeline.stream.publisher import PublishFailed
from mergeline.stream.route import RouteStage

RECORDS = [Outgoing("update-outcomes", b"7:1", b"{}")]
ENDS = {TopicPartition("mergeline.commands-by-customer", 0): 5}


class Publisher:
    """An idempotent producer; with `fails` its brokers do not acknowledge."""

    transactional_id = None

    def __init__(self, done, *, fails):
        self._done, self._fails = done, fails

    async def publish(self, records, offsets):
        if self._fails:
            raise PublishFailed("told to")
        self._done.append(("records", len(records)))


class Offsets:
    def __init__(self, done):
        self._done = done

    async def commit(self, ends):
        self._done.append(("offsets", dict(ends)))


def router(publisher, offsets):
    stage = RouteStage(None, offsets, "mergeline.")
    stage._publisher = publisher
    return stage


def at_least_once(publisher, offsets):
    stage = ApplyStage(Settings(delivery="at_least_once"), None, None, offsets)
    stage._publisher = publisher
    return stage


@pytest.mark.parametrize("stage", [router, at_least_once])
async def test_offsets_are_committed_once_the_records_are_acknowledged(stage):
    done = []
    await stage(Publisher(done, fails=False), Offsets(done)).publish(RECORDS, ENDS)
    assert done == [("records", 1), ("offsets", ENDS)]


@pytest.mark.parametrize("stage", [router, at_least_once])
async def test_no_offset_is_committed_of_records_that_may_not_be_there(stage):
    done = []
    with pytest.raises(PublishFailed):
        await stage(Publisher(done, fails=True), Offsets(done)).publish(RECORDS, ENDS)
    assert done == []
