"""Whether a topic is the one that is known; and what brokers say of topics, as bytes."""

import asyncio
from io import BytesIO
from uuid import UUID

import pytest
from aiokafka import TopicPartition

from mergeline.domain.messages import Place
from mergeline.settings import Settings
from mergeline.store.incarnations import Incarnation
from mergeline.stream import incarnations
from mergeline.stream.incarnations import Incarnations, MadeAnew, check
from mergeline.stream.protocol import NO_ID, TopicsRequest, topic_ids
from mergeline.stream.resetting import topic_meant
from mergeline.stream.retrying import Retriable
from mergeline.stream.topics import full_name

ONE, OTHER = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(
    ("known", "found"),
    [
        pytest.param(ONE, ONE, id="the same id"),
        pytest.param(ONE, None, id="brokers that give none now"),
        pytest.param(None, None, id="brokers that never gave one"),
    ],
)
def test_a_topic_that_is_the_one_that_is_known_goes_on(known, found):
    assert check("p.t", "t", Incarnation(3, known), found) == 3


def test_a_topic_with_another_id_stops_the_worker_with_the_command_that_helps():
    with pytest.raises(
        MadeAnew, match=rf"p\.t was made anew .* its id is {OTHER}, .* {ONE}.* mergeline topics reset t "
    ):
        check("p.t", "t", Incarnation(1, ONE), OTHER)


# ---------------------------------------------------------------- what brokers say

SAID = ("p.t", ONE), ("p.old", NO_ID)


def answer(struct):
    """Bytes of a broker: two topics that exist, and one that does not."""
    partition = (0, 3, 1, 7, [1, 2], [1], [])
    with_ids = struct.API_VERSION >= 10
    tags = ({},) if with_ids else ()

    def topic(code, name, topic_id):
        ids = (topic_id,) if with_ids else ()
        return (code, name, *ids, False, [(*partition, *tags)], 8, *tags)

    topics = [topic(0, *SAID[0]), topic(0, *SAID[1]), topic(3, "p.gone", NO_ID)]
    return struct.RESPONSE_TYPE.SCHEMA.encode((0, [(1, "h", 9092, None, *tags)], "c", 1, topics, 0, *tags))


def sender(version_max):
    """A broker that knows Metadata up to this version."""

    async def send(request):
        struct = request.prepare({3: (0, version_max)})
        struct.encode()
        return struct.RESPONSE_TYPE.decode(BytesIO(answer(struct)))

    return send


@pytest.mark.parametrize(
    ("version_max", "expected"), [(8, {"p.t": None, "p.old": None}), (13, {"p.t": ONE, "p.old": None})]
)
async def test_the_ids_of_topics_that_exist_are_read_where_brokers_give_some(version_max, expected):
    assert await topic_ids(sender(version_max), ["p.t", "p.old", "p.gone"]) == expected


def test_a_request_names_topics_and_creates_none():
    struct = TopicsRequest(["p.t"]).prepare({3: (0, 13)})
    # topics: one, the null id, its name, no tags; create none; no operations of the cluster, those of topics; no tags
    assert struct.encode() == b"\x02" + bytes(16) + b"\x04p.t\x00" + b"\x00\x00\x01\x00"
    assert struct.build_request_header(7, "me").encode() == b"\x00\x03\x00\x0a\x00\x00\x00\x07\x00\x02me\x00"


# ---------------------------------------------------------------- a process and its topics


class Offsets:
    """Brokers that give these ids, one answer after the other, then the last one again."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def topic_ids(self, names):
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return {name: topic_id for name, topic_id in found.items() if name in names}


@pytest.fixture
def recorded(monkeypatch):
    """What the database knows, by topic."""
    known = {}

    async def record(_db, ids):
        return {topic: known.get(topic, Incarnation(1, topic_id)) for topic, topic_id in ids.items()}

    monkeypatch.setattr(incarnations, "record", record)
    return known


class Store:
    def statements(self):
        return self

    async def __aenter__(self):
        return None

    async def __aexit__(self, *_):
        return None


PARTITION = TopicPartition("p.t", 4)


async def test_a_place_has_the_incarnation_that_was_found_when_the_partition_was_acquired(recorded):
    recorded["t"] = Incarnation(2, ONE)
    ours = Incarnations(Store(), Offsets({"p.t": ONE}), "p.")
    await ours.acquire([PARTITION])
    assert ours.place(PARTITION) == Place("t@2", 4)


async def test_a_topic_that_is_not_there_is_waited_for(recorded):
    with pytest.raises(Retriable, match=r"no topic p\.t"):
        await Incarnations(Store(), Offsets({}), "p.").acquire([PARTITION])


async def test_a_process_reads_one_incarnation_of_a_topic_and_no_other(recorded):
    """Woken after a reset, it would take what it has in hand for messages of the new log."""
    ours = Incarnations(Store(), Offsets({"p.t": ONE}, {"p.t": OTHER}), "p.")
    await ours.acquire([PARTITION])
    recorded["t"] = Incarnation(2, OTHER)
    with pytest.raises(Exception, match=r"p\.t was reset while this worker ran\. Start it again"):
        await ours.acquire([PARTITION])


async def test_a_topic_that_is_made_anew_while_it_is_read_is_found_by_a_look_every_few_seconds(recorded, monkeypatch):
    monkeypatch.setattr(incarnations, "LOOK_PACE_S", 0.01)
    failed = asyncio.get_running_loop().create_future()
    answers = {"p.t": ONE}, Retriable("away"), {}, {"p.t": ONE}, {"p.t": OTHER}
    ours = Incarnations(Store(), Offsets({"p.t": ONE}, *answers), "p.")
    await ours.acquire([PARTITION])
    watching = asyncio.create_task(ours.watch(lambda error: failed.done() or failed.set_result(error)))
    error = await asyncio.wait_for(failed, 5)
    watching.cancel()
    assert isinstance(error, MadeAnew)


# ---------------------------------------------------------------- which topic somebody means

SETTINGS = Settings(topic_prefix="p.")


@pytest.mark.parametrize("given", ["identifier-updates", full_name(SETTINGS, "identifier-updates")])
def test_a_topic_is_named_with_or_without_its_prefix(given):
    assert topic_meant(SETTINGS, given) == "identifier-updates"


@pytest.mark.parametrize("given", ["update-outcomes", "identifier-updates-dlt", "identifier-updates@2", "p.", ""])
def test_only_a_topic_that_workers_read_can_be_reset(given):
    with pytest.raises(Exception, match=r"is not a topic that workers read\. Those are: identifier-updates, "):
        topic_meant(SETTINGS, given)
