"""What is set back where the group is beyond what the database knows, and what is left as it is."""

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, GroupLoadInProgressError
from aiokafka.protocol.commit import OffsetFetchResponse_v3

from mergeline.cli.offsets import as_document, to_be_done
from mergeline.domain.messages import Place
from mergeline.settings import Settings
from mergeline.store.ownership import Owner
from mergeline.stream.forgotten import Gap
from mergeline.stream.group import committed_offsets
from mergeline.stream.rewinding import Standing, judge

PARTITION = TopicPartition("p.t", 0)
PLACE = Place("t", 0)
APPLIED, ROUTED = {"t"}, set()
SOME, ALL, NOTHING = (Owner(None, 2, answered) for answered in (5, 9, None))


def standing(committed=10, answered=4, start=0, published=0, *, routed=False, forgotten=True, problem=None):
    return Standing(PARTITION, committed, published, answered, start, 20, routed, forgotten, problem)


@pytest.mark.parametrize(
    ("given", "back_to", "to_start", "gone"),
    [
        pytest.param({}, 4, 0, None, id="to what is answered"),
        pytest.param({"forgotten": False}, None, 0, None, id="nowhere if no record was forgotten"),
        pytest.param({"start": 6}, 6, 6, (4, 6), id="to the start of a log that lost some of it"),
        pytest.param({"start": 10}, None, None, (4, 10), id="nowhere if the log lost all of it"),
        pytest.param({"committed": 4, "forgotten": False}, None, 0, None, id="nowhere from what is answered"),
        pytest.param({"committed": 3, "forgotten": True}, None, 0, None, id="never forward to what is answered"),
        pytest.param({"committed": 3, "start": 5, "answered": 1}, None, None, (1, 3), id="never forward to the start"),
        pytest.param({"committed": None}, None, None, None, id="nowhere without an offset"),
        pytest.param(
            {"answered": None, "routed": True, "forgotten": False},
            None,
            0,
            None,
            id="of what is routed, to the start only",
        ),
        pytest.param({"published": 3}, 4, 3, None, id="never below what is published, where workers begin"),
        pytest.param(
            {"answered": None, "routed": True, "forgotten": False, "published": 3},
            None,
            0,
            None,
            id="but a router begins where it is told",
        ),
        pytest.param({"routed": True}, 4, 4, None, id="with a router, never below what was answered without one"),
        pytest.param({"problem": "another matter"}, None, None, None, id="nowhere if that would hide another matter"),
    ],
)
def test_an_offset_goes_back(given, back_to, to_start, gone):
    one = standing(**given)
    assert (one.back_to(), one.back_to(to_start=True), one.gone) == (back_to, to_start, gone)


def judged(applied=APPLIED, owner=None, horizon=None, committed=None, log=(0, 20)):
    """A partition, and its gap."""
    (one,), found = judge(
        {PLACE: PARTITION},
        applied,
        {} if owner is None else {PLACE: owner},
        {} if horizon is None else {PLACE: horizon},
        {} if committed is None else {PARTITION: committed},
        {PARTITION: log},
    )
    return one, found.get(PARTITION)


@pytest.mark.parametrize(
    ("given", "answered", "gap"),
    [
        pytest.param({}, 0, None, id="a group that has read nothing"),
        pytest.param({"committed": 9}, 0, Gap(0, 9), id="what the database never heard of, it has not answered"),
        pytest.param({"committed": 9, "applied": ROUTED}, None, None, id="but a router answers nothing"),
        pytest.param({"committed": 9, "owner": ALL}, 9, None, id="all is answered"),
        pytest.param({"committed": 9, "owner": SOME}, 5, Gap(5, 9), id="some is not"),
        pytest.param({"committed": 9, "owner": SOME, "horizon": 6}, 7, Gap(7, 9), id="the ledger has more"),
        pytest.param({"committed": 9, "owner": NOTHING, "horizon": 6}, None, None, id="it was routed since"),
        pytest.param({"committed": 9, "owner": SOME, "applied": ROUTED}, 5, Gap(5, 9), id="it was answered before"),
    ],
)
def test_the_group_is_beyond_what_is_answered(given, answered, gap):
    one, found = judged(**given)
    assert (one.answered, one.problem, found) == (answered, None, gap)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param({"committed": 3, "log": (5, 20)}, "expired before they were read", id="the log begins behind it"),
        pytest.param({"committed": 21}, "mergeline topics reset p.t --same-id", id="the log ends before it"),
        pytest.param(
            {"owner": Owner(None, 21, 21)}, "but 21 was published", id="the log ends before what was published"
        ),
        pytest.param(
            {"owner": SOME, "applied": ROUTED, "horizon": 4, "committed": 3},
            "MERGELINE_REQUESTS_KEYED=true have stored answers up to 4 and published them up to 3",
            id="a router finds answers that nobody has published",
        ),
    ],
)
def test_what_is_not_mended_by_going_back_is_said_as_a_worker_says_it_and_left(given, problem):
    one, found = judged(**given)
    assert problem in one.problem
    assert (found, one.back_to(), one.back_to(to_start=True)) == (None, None, None)


def test_what_was_published_by_apply_says_nothing_of_where_a_router_goes_on():
    one, _ = judged(ROUTED, Owner(None, 21, None), committed=9)
    assert one.problem is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"forgotten": False}, "nothing"),
        ({}, "set back to 4"),
        ({"start": 6}, "set back to 6; gone: 4 to 5"),
        ({"problem": "another matter"}, "see below"),
    ],
)
def test_what_is_to_be_done_is_said_in_words(given, said):
    one = standing(**given)
    assert to_be_done(one, one.back_to()) == said


def test_a_program_gets_all_of_it():
    one = standing(start=6)
    assert as_document(one, one.back_to()) == {
        "topic": "p.t", "partition": 0, "committed": 10, "published": 0, "answered": 4, "logStart": 6, "logEnd": 20,
        "setBackTo": 6, "gone": {"from": 4, "toBefore": 6}, "problem": None,
    }  # fmt: skip


async def offsets_of(monkeypatch, topics, code):
    """What the group has committed, by an answer of its coordinator."""

    async def answer(*_):
        return OffsetFetchResponse_v3(0, topics, code)

    async def coordinator(*_):
        return 1

    client = AIOKafkaAdminClient()
    monkeypatch.setattr(client, "_send_request", answer)
    monkeypatch.setattr(client, "find_coordinator", coordinator)
    return {at: known.offset for at, known in (await committed_offsets(Settings(), client, [PARTITION])).items()}


async def test_a_coordinator_that_refuses_is_not_taken_for_a_group_that_has_committed_nothing(monkeypatch):
    """One that has just started answers with no partition at all; the group is not at the start for that."""
    assert await offsets_of(monkeypatch, [("p.t", [(0, 7, "", 0)])], 0) == {PARTITION: 7}
    assert await offsets_of(monkeypatch, [("p.t", [(0, -1, "", 0)])], 0) == {}
    with pytest.raises(GroupLoadInProgressError):
        await offsets_of(monkeypatch, [], GroupLoadInProgressError.errno)
    with pytest.raises(GroupAuthorizationFailedError):
        await offsets_of(monkeypatch, [("p.t", [(0, -1, "", GroupAuthorizationFailedError.errno)])], 0)
