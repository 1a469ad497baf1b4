"""The parts of the bench that decide whether its figures can be believed."""

import asyncio
import re
from array import array
from collections import Counter

import pytest
from click.testing import CliRunner

from mergeline.bench import load
from mergeline.bench.latency import percentiles_ms
from mergeline.bench.load import Load
from mergeline.bench.mix import Messages
from mergeline.bench.outcomes import Answer, Judge
from mergeline.bench.plan import Hot, Kind, Plan
from mergeline.cli import main

MIX = {
    Kind.ADD: 60, Kind.REMOVE: 10, Kind.MERGE: 10, Kind.CARD: 5, Kind.REPEAT: 10, Kind.REJECTED: 4, Kind.BAD: 1,
}  # fmt: skip


def plan(**changed):
    given = {
        "requests": 1000, "rates": (), "rate_shares": (), "seconds": 1.0, "customers": 100, "entries": 2, "zipf": 0.8,
        "mix": MIX, "hot": Hot.NONE, "seed": 1, "workers": 1, "partitions": 4, "worker_settings": {},
        "baseline_requests": 0, "statements": False,
    }  # fmt: skip
    return Plan(**given | changed)


def made(count=5000, run=0, **changed):
    return list(Messages(plan(**changed), run, 101).make(count))


class TestMessages:
    def test_the_same_plan_makes_the_same_messages(self):
        assert made() == made()
        assert made() != made(seed=2)

    def test_two_runs_share_no_request_and_no_value(self):
        mix = {Kind.ADD: 1}
        texts = [b"".join(message.value for message in made(run=run, mix=mix)) for run in (0, 3, 12)]
        for pattern in (rb'"requestId":"[^"]*"', rb'"value":"[^"]*"'):
            one, *others = (set(re.findall(pattern, text)) for text in texts)
            assert len(one) >= 5000
            assert all(one.isdisjoint(other) for other in others)

    def test_kinds_come_in_their_shares(self):
        found = Counter(message.kind for message in made(20_000))
        shares = {kind: found[kind] / 200 for kind in Kind}
        assert shares == pytest.approx({kind: float(weight) for kind, weight in MIX.items()}, abs=1.5)

    def test_a_repeat_is_an_earlier_message_byte_for_byte_in_its_partition(self):
        messages = made()
        for repeat in (message for message in messages if message.kind is Kind.REPEAT):
            first = messages[repeat.request]
            assert first.number < repeat.number
            assert (first.key, first.value, first.partition) == (repeat.key, repeat.value, repeat.partition)

    def test_no_message_is_repeated_twice(self):
        repeated = Counter(message.request for message in made() if message.kind is Kind.REPEAT)
        assert set(repeated.values()) == {1}

    def test_popular_customers_are_asked_for_more_often(self):
        even, skewed = (Counter(message.key for message in made(zipf=zipf)) for zipf in (0.0, 1.2))
        assert max(skewed.values()) > 4 * max(even.values())

    def test_a_hot_customer_is_every_messages_customer(self):
        keys = {message.key for message in made(hot=Hot.CUSTOMER) if message.kind is not Kind.MERGE}
        assert keys == {b"100737:1"}

    def test_a_hot_identifier_is_in_every_message(self):
        whole = [message for message in made(hot=Hot.IDENTIFIER) if message.kind not in (Kind.MERGE, Kind.BAD)]
        assert all(b'"value":"p1-0"' in message.value for message in whole)


class TestJudge:
    @staticmethod
    def hearing(messages, *answers, once=True):
        judge = Judge(once=once)
        assert list(judge.expect(messages)) == messages
        for answer in answers:
            judge.hear(answer)
        return judge.verdict()

    @pytest.fixture
    def messages(self):
        first, second = made(2, mix={Kind.ADD: 1})
        return [first, second, first._replace(number=2, kind=Kind.REPEAT)]

    def test_every_message_answered_once_and_rightly_is_no_fault(self, messages):
        answers = [Answer(0, "applied", False), Answer(0, "applied", True), Answer(1, "applied", False)]
        assert self.hearing(messages, *answers).faults == 0

    @pytest.mark.parametrize(
        "answers",
        [
            [Answer(0, "applied", False), Answer(1, "applied", False)],
            [Answer(0, "applied", False), Answer(0, "applied", False), Answer(1, "applied", False)],
            [Answer(0, "applied", False), Answer(0, "applied", True), Answer(1, "rejected X", False)],
            [Answer(0, "applied", False), Answer(0, "applied", True), Answer(7, "applied", False)],
        ],
        ids=["missing", "twice", "wrong", "nobody asked"],
    )
    def test_anything_else_is(self, messages, answers):
        assert self.hearing(messages, *answers).faults > 0

    def test_an_answer_may_come_again_where_that_was_promised(self, messages):
        answers = [Answer(0, "applied", False)] * 2 + [Answer(0, "applied", True), Answer(1, "applied", False)]
        assert self.hearing(messages, *answers, once=False).faults == 0


def test_percentiles_are_those_of_the_values():
    found = percentiles_ms(number / 1000 for number in range(1, 1001))
    assert found == pytest.approx({"p50": 500, "p90": 900, "p99": 990, "p99_9": 999, "max": 1000}, rel=0.002)


class TestOpenLoad:
    class StuckProducer:
        """The broker takes nothing for a while."""

        def __init__(self):
            self.taken = []

        class Batch:
            def __init__(self, taken):
                self.taken = taken

            def append(self, *, value, **_):
                self.taken.append(value)
                return object()

            def close(self):
                pass

        def create_batch(self):
            return self.Batch(self.taken)

        async def send_batch(self, *_, **__):
            await asyncio.sleep(0.2)
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done

    async def test_each_is_sent_once_and_is_late_from_when_it_should_have_been_sent(self, monkeypatch):
        monkeypatch.setattr(load, "TICK_S", 0.001)
        messages, intended = made(50), array("d")
        began = asyncio.get_running_loop().time()
        producer = self.StuckProducer()
        await Load(producer, "topic").at_rate(messages, 5000, intended)
        took = asyncio.get_running_loop().time() - began
        assert took > 0.2
        assert producer.taken == [message.value for message in messages]
        assert intended[-1] - intended[0] == pytest.approx(0.0098)


def test_settings_may_come_together_or_one_by_one():
    options = ["--set", "batch_max=7,apply_lanes=1", "--set", "batch_wait_ms=5", "--kafka", "a=b", "--kafka", "c=d=e"]
    parsed = main.get_command(None, "bench").make_context("bench", options).params
    assert parsed["worker_settings"] == {"batch_max": "7", "apply_lanes": "1", "batch_wait_ms": "5"}
    assert parsed["kafka"] == {"a": "b", "c": "d=e"}
    assert parsed["postgres"] == {}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--set", ("batch_max=5", "batch_max=6"), "batch_max is given as 5 and as 6"),
        ("--mix", "ad=1", "kinds are add, remove, merge"),
        ("--mix", "add=much", "weights are numbers"),
        ("--mix", "add", "not a list like name=value"),
        ("--set", "batchmax=5", "is MERGELINE_BATCH_MAX meant?"),
        ("--set", "batch_max=0", "at least 1 is needed"),
        ("--given", None, "cannot be reached"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_started(option, value, said):
    nowhere = {
        "MERGELINE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "MERGELINE_DATABASE_URL": "postgresql://127.0.0.1:1/x",
    }
    values = value if isinstance(value, tuple) else (value,)
    words = [word for one in values for word in (option, one) if word]
    result = CliRunner(env=nowhere).invoke(main, ["bench", *words])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
