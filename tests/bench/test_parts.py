"""The parts of the bench that decide whether its figures can be believed."""

import asyncio
import io
import os
import re
import time
from array import array
from collections import Counter
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from rich.console import Console

from mergeline.bench import closed, comparison, load, opened
from mergeline.bench.comparison import run_floor
from mergeline.bench.latency import PERCENTILES, percentiles_ms
from mergeline.bench.load import Load
from mergeline.bench.meter import Cost
from mergeline.bench.mix import Messages
from mergeline.bench.outcomes import Answer, Judge, Judgement
from mergeline.bench.plan import Hot, Kind, Plan
from mergeline.bench.results import Closed, Open, Results
from mergeline.cli import bench_report, main
from mergeline.embedded import EmbeddedError
from mergeline.errors import SetupError

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


def test_where_nothing_was_answered_there_is_no_latency_in_place_of_a_short_one():
    assert percentiles_ms([]) == dict.fromkeys(PERCENTILES)


def test_a_report_shows_what_was_not_measured_as_that():
    nothing_used = Cost(1, 1.0, {}, 0.0, 0.0, None, 0.0, 0.0, 0, 0)
    run = Open(20, percentiles_ms([]), nothing_used, {}, Judgement())
    run_closed = Closed(1000, 1.0, nothing_used, {}, {}, [], 0, Judgement())
    results = Results(run_closed, [run], None, None, {"customers": 1, "entries": 1, "bytes": 1})
    said = io.StringIO()
    bench_report.show(Console(file=said, width=100), results, "mergeline bench")
    assert re.search(r"^20( +-){5} +0 ", said.getvalue(), re.MULTILINE)
    assert "- requests a fsync, - a commit" in said.getvalue()
    assert bench_report.as_document(results, "")["latency_ms_p50"] is None


async def test_a_closed_run_that_is_over_at_the_first_look_is_no_measurement():
    class Over:
        async def until(self, *_):
            pass

        async def committed(self):
            return 1000

    class NoMeter:
        async def read(self):
            pytest.fail("nothing is to be measured")

    with pytest.raises(SetupError, match="1,000 requests are too few to measure"):
        await closed._measure(Over(), NoMeter(), None, 1000)


class TestOpenRun:
    class Silence:
        """A subscriber that nothing comes to."""

        async def bunch(self, timeout_ms):
            await asyncio.sleep(timeout_ms / 1000)
            return time.perf_counter(), []

    class Workers:
        def check(self):
            raise EmbeddedError("a worker ended with 1; its last words:")

    class Alive:
        def check(self):
            pass

    @pytest.fixture
    def judge(self):
        judge = Judge(once=True)
        list(judge.expect(made(5)))
        return judge

    async def test_a_worker_that_has_ended_ends_it_at_once_and_the_load_too(self, judge):
        began, stopped = time.perf_counter(), asyncio.Event()

        async def load_for_ever():
            try:
                await asyncio.sleep(3600)
            finally:
                stopped.set()

        with pytest.raises(EmbeddedError, match="last words"):
            async with opened._beside(load_for_ever()) as sending:
                await opened._listen(self.Silence(), judge, sending, self.Workers(), 0)
        assert stopped.is_set()
        assert time.perf_counter() - began < opened.SILENCE_S / 10

    async def test_a_load_that_fails_ends_it_at_once(self, judge):
        began = time.perf_counter()

        async def refused():
            raise SetupError("Kafka refuses")

        with pytest.raises(SetupError, match="Kafka refuses"):
            async with opened._beside(refused()) as sending:
                await opened._listen(self.Silence(), judge, sending, self.Alive(), 0)
        assert time.perf_counter() - began < opened.SILENCE_S / 10

    async def test_workers_that_live_and_say_nothing_are_waited_for(self, judge, monkeypatch):
        monkeypatch.setattr(opened, "SILENCE_S", 0.2)
        async with opened._beside(asyncio.sleep(0)) as sending:
            assert await opened._listen(self.Silence(), judge, sending, self.Alive(), 0) == []
        assert judge.verdict().faults == 5


class TestFloor:
    """A program of `tests.bench`, here another one of that name."""

    @pytest.fixture
    def floor(self, tmp_path):
        folder = tmp_path / "tests" / "bench"
        folder.mkdir(parents=True)
        for package in (folder, folder.parent):
            (package / "__init__.py").touch()
        database = SimpleNamespace(database_url="postgresql://127.0.0.1:1/x")

        def run(text):
            (folder / "floor.py").write_text(text)
            return run_floor(tmp_path, database, database, 1000)

        return run

    async def test_what_it_found_is_the_last_line_that_it_says(self, floor):
        assert await floor("print('warned')\nprint('{\"requests\": 7, \"seconds\": 0.5}')") == {
            "requests": 7,
            "seconds": 0.5,
        }

    async def test_a_failure_is_told_by_its_last_words(self, floor):
        with pytest.raises(SetupError, match=r"failed with 1; its last words:\n(.*\n)*AssertionError: of it$"):
            await floor("assert False, 'of it'")

    async def test_one_that_takes_too_long_is_ended(self, floor, monkeypatch):
        monkeypatch.setattr(comparison, "FLOOR_POLLS_MAX", 3)
        with pytest.raises(SetupError, match="took more than"):
            await floor("import time; time.sleep(3600)")

    async def test_it_does_not_outlive_a_bench_that_is_interrupted(self, floor, tmp_path):
        told = tmp_path / "pid"
        text = "import os, time; open('pid.new', 'w').write(str(os.getpid())); os.rename('pid.new', 'pid')"
        running = asyncio.create_task(floor(f"{text}; time.sleep(3600)"))
        while not told.exists():
            await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(ProcessLookupError):
            os.kill(int(told.read_text()), 0)


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
        ("--mix", "add=0", "at least one of them above"),
        ("--mix", "add=-1,merge=2", "weights are numbers from 0 on"),
        ("--mix", "add=nan", "weights are numbers from 0 on"),
        ("--mix", "add=inf", "weights are numbers from 0 on"),
        ("--mix", "add=1e308,merge=1e308", "weights are numbers from 0 on"),
        ("--mix", ",", "at least one of them above"),
        ("--set", "topic_prefix=mergeline.", "topic_prefix is the bench's own affair"),
        ("--set", "TOPIC_PREFIX=", "TOPIC_PREFIX is the bench's own affair"),
        ("--set", "group_id=mergeline", "the bench's own affair"),
        ("--set", "database_url=postgresql://h/x", "the bench's own affair"),
        ("--set", "database_url_file=x", "the bench's own affair"),
        ("--set", "kafka_bootstrap_servers=h:1", "the bench's own affair"),
        ("--set", "kafka_sasl_username=u", "the bench's own affair"),
        ("--set", "http_port=8080", "the bench's own affair"),
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
