"""A real worker under hostile messages: every one of them ends once, nothing stands still, nothing restarts.

In: a `HostileWorld`, messages, a seed. Out: `Figures`, or an AssertionError that says what is missing. Never:
a look at how the worker does it. What was sent is compared with what a `read_committed` reader finds.

Each message is known by its place (or, on the internal topic, by the place it claims). It ends as one dead letter that
names that place and holds its bytes, key and headers, or as one outcome under its request id.

A partition stands still while something in it waits and its committed offset does not move. The monitor looks every
`LOOK_S`; a stall is counted from when the first look saw the offset where it is until the last that did so was asked,
so it is never longer than the truth, however late the monitor itself was (`late_s` at worst), and shorter by two looks.
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import math
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from tests.attacks.hostile import COMMANDS, CUSTOMERS, KNOWN_CUSTOMERS, ORG, TOPICS
from tests.worker.harness import OUTCOMES, REGISTERED, World

BATCH_BYTES = 700_000
PACKING = (1, 2, 3, 4)
CODECS = (0, 0, 0, *PACKING)
MIB = 1 << 20
WAVE = 500
"""Messages that are made, and put into batches, together."""
AHEAD = 1_000
"""Messages that may wait for an answer: two batches. With more, what waits longest waits for the others, not for
something that holds it up."""
LOOK_S = 0.1
SETTINGS = {"MERGELINE_DEAD_LETTER_LIMIT": "0"}


class RawName(str):
    """A header's name of any bytes: the Python builder asks it for them."""

    __slots__ = ("raw",)

    def __new__(cls, raw):
        made = super().__new__(cls, "x")
        made.raw = raw
        return made

    def encode(self, *_):
        return self.raw


@dataclass
class Figures:
    messages: int = 0
    outcomes: int = 0
    dead_letters: int = 0
    seconds: float = 0.0
    stall_s: float = 0.0
    stalled: str = ""
    late_s: float = 0.0
    peak_mib: float = 0.0
    cpu_us: float = 0.0
    load: float = 0.0
    kinds: Counter = field(default_factory=Counter)
    codes: Counter = field(default_factory=Counter)

    def __str__(self):
        return (
            f"{self.messages} messages = {self.outcomes} outcomes + {self.dead_letters} dead letters in "
            f"{self.seconds:.0f} s ({self.messages / self.seconds:.0f}/s); largest stall {self.stall_s:.2f} s "
            f"({self.stalled}; the monitor was {self.late_s:.2f} s late at worst); "
            f"worker's peak {self.peak_mib:.0f} MiB, CPU {self.cpu_us:.0f} us a message; load average {self.load:.0f}\n"
            f"{dict(self.kinds)}\n{dict(self.codes)}"
        )


def digest(key, value, headers):
    """What a record holds, in 16 bytes; header names as bytes."""
    named = [
        (name if isinstance(name, bytes) else str.encode(name, errors="surrogateescape"), v) for name, v in headers
    ]
    return hashlib.blake2b(repr((key, value, named)).encode(), digest_size=16).digest()


class Ledger:
    """What was sent and what came of it: one entry a message."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.sent, self.derived, self.letters, self.answers = {}, {}, {}, Counter()
        self.wrong, self.codes = [], Counter()

    def add(self, sent, place):
        """A message, and the place that Kafka gave it."""
        known_by = sent.origin or place
        headers = sent.headers[1:] if sent.origin else sent.headers
        key = None if sent.origin else sent.key
        self.sent[known_by] = digest(key, sent.value, headers)
        self.derived[known_by] = request_id(sent.value)

    def letter(self, record):
        """A dead letter."""
        *own, topic, partition, offset, _, _, message = record.headers
        names = [name for name, _ in record.headers[-6:]]
        assert all(name.startswith("kafka_dlt-") for name in names), names
        place = topic[1].decode().removeprefix(self.prefix), int(partition[1]), int(offset[1])
        if place in self.letters:
            self.wrong.append(("a second dead letter", place))
        self.letters[place] = digest(record.key, record.value, own)
        self.codes[message[1].decode().partition(":")[0]] += 1

    def answer(self, record):
        """An outcome."""
        self.answers[json.loads(record.value)["requestId"]] += 1

    @property
    def ended(self):
        return len(self.letters) + self.answers.total()

    def check(self):
        """Every message once, dead letters byte for byte.

        Raises:
            AssertionError: naming some that are not so.
        """
        letters = self.letters
        changed = [place for place, held in letters.items() if self.sent.get(place) != held]
        asked = Counter(
            self.derived[place] or f"{place[0]}-{place[1]}-{place[2]}" for place in self.sent if place not in letters
        )
        missing, surplus = asked - self.answers, self.answers - asked
        assert not self.wrong, self.wrong[:5]
        assert not changed, ("dead letters of nothing that was sent, or changed", changed[:5], len(changed))
        assert not missing, ("requests without an outcome", list(missing.items())[:5], missing.total())
        assert not surplus, ("outcomes too many", list(surplus.items())[:5], surplus.total())
        assert self.ended == len(self.sent)


def request_id(value):
    """The request id that a message names, if it is one that can be read."""
    try:
        document = json.loads(value)
        return document.get("requestId") if isinstance(document, dict) else None
    except (ValueError, TypeError, RecursionError):
        return None


class Sender:
    """Puts messages into batches of all codecs, and knows where each one landed."""

    def __init__(self, world, dice):
        self.world, self.dice = world, dice

    async def __aenter__(self):
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.world.bootstrap_servers, acks="all", max_request_size=8 << 20
        )
        await self.producer.start()
        return self

    async def __aexit__(self, *_):
        await self.producer.stop()

    async def send(self, messages):
        """Send; returns once each has its place."""
        groups = {}
        for sent in messages:
            partition = self.dice.randrange(self.world._partitions)
            odd = any(not _is_text(name) for name, _ in sent.headers)
            groups.setdefault((sent.topic, partition, odd), []).append(sent)
        flights = []
        for (topic, partition, odd), group in groups.items():
            left = group
            while left:
                batch, taken = self._batch(left, odd)
                left, chosen = left[taken:], left[:taken]
                future = await self.producer.send_batch(batch, self.world.prefix + topic, partition=partition)
                flights.append((chosen, topic, partition, future))
        for chosen, topic, partition, future in flights:
            place = await future
            for number, sent in enumerate(chosen):
                self.world.ledger.add(sent, (topic, partition, place.offset + number))
            ends = self.world._produced
            ends[place.topic_partition] = max(ends.get(place.topic_partition, 0), place.offset + len(chosen) - 1)

    def _batch(self, group, odd):
        codec = self.dice.choice(CODECS)
        if (
            len(group[0].key or b"") + len(group[0].value or b"") + sum(len(v or b"") for _, v in group[0].headers)
            > MIB
        ):
            codec = self.dice.choice(PACKING)  # the broker takes it no other way
        batch = BatchBuilder(BATCH_BYTES, codec)
        if odd:
            batch._builder = _DefaultRecordBatchBuilderPy(2, codec, False, -1, -1, 0, BATCH_BYTES)
        taken = 0
        for sent in group[: self.dice.choice((1, 10, 200, 500))]:
            names = RawName if odd else bytes.decode
            headers = [(names(name), value) for name, value in sent.headers]
            if batch.append(timestamp=sent.timestamp_ms, key=sent.key, value=sent.value, headers=headers) is None:
                break
            taken += 1
        batch.close()
        return batch, taken


def _is_text(name):
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


class HostileWorld(World):
    """A world whose reader hands everything to a `Ledger`."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.ledger = Ledger(self.prefix)

    def took(self, topic, records):
        if topic in (OUTCOMES, REGISTERED):
            for record in records:
                self.ledger.answer(record)
        elif topic.endswith("-dlt"):
            for record in records:
                self.ledger.letter(record)

    def counts(self):
        return {"sent": len(self.ledger.sent), "ended": self.ledger.ended}

    async def check_reader(self):
        """Raise what ended the reader, if anything did."""
        if self._reading.done():
            await self._reading


class Monitor:
    """Looks at committed offsets and ends, partition by partition."""

    def __init__(self, world, figures):
        self.world, self.figures = world, figures
        self._since = {}

    async def run(self):
        world, figures = self.world, self.figures
        topics, numbers = (*TOPICS, COMMANDS), range(world._partitions)
        partitions = [TopicPartition(world.prefix + topic, number) for topic in topics for number in numbers]
        async with world.admin() as admin:
            due = time.monotonic()
            while True:
                await asyncio.sleep(max(0.0, due + LOOK_S - time.monotonic()))
                now = time.monotonic()
                figures.late_s, due = max(figures.late_s, now - due - LOOK_S), now
                # Ends first: what is behind such an end had come before the committed offset was looked up.
                ends = await world._uncommitted.end_offsets(partitions)
                asked = time.monotonic()
                committed = await admin.list_consumer_group_offsets(world.group)
                self._look(asked, time.monotonic(), {tp: known.offset for tp, known in committed.items()}, ends)

    def _look(self, asked, now, committed, ends):
        """An offset stood where it is from `now` on, when it was seen, until a later look `asked` at least."""
        for partition, end in ends.items():
            done = max(committed.get(partition, 0), 0)
            at, since = self._since.get(partition, (None, now))
            if done >= end:
                self._since.pop(partition, None)
            elif at != done:
                self._since[partition] = (done, now)
            elif asked - since > self.figures.stall_s:
                name = partition.topic.removeprefix(self.world.prefix)
                self.figures.stall_s, self.figures.stalled = asked - since, f"{name}, partition {partition.partition}"


async def run(world: HostileWorld, messages, seed, minutes=math.inf, say=lambda _: None):
    """Send them to a worker that starts now, for at most so many minutes; what came of them."""
    figures, ledger = Figures(), world.ledger
    worker = world.worker(**SETTINGS)
    customers = [{"orgId": ORG, "customerId": n + 1, "source": "INSTORE"} for n in range(KNOWN_CUSTOMERS)]
    await world.produce(CUSTOMERS, customers)
    await _until(world, lambda: ledger.answers.total() == KNOWN_CUSTOMERS, "the customers are registered")
    ledger.answers.clear()
    async with Sender(world, random.Random(seed)) as sender, _watched(world, figures):
        started = time.monotonic()
        while time.monotonic() < started + 60 * minutes and (wave := list(itertools.islice(messages, WAVE))):
            figures.kinds.update(sent.kind for sent in wave)
            await sender.send(wave)
            await _until(world, lambda: len(ledger.sent) - ledger.ended < AHEAD, "it keeps up")
            if len(ledger.sent) % (WAVE * 20) == 0:
                say(f"{world.counts()}, largest stall {figures.stall_s:.2f} s ({figures.stalled})")
        await _until(world, lambda: ledger.ended >= len(ledger.sent), "all have ended")
        figures.messages, figures.seconds = len(ledger.sent), time.monotonic() - started
    await world.drained()
    ledger.check()
    figures.outcomes, figures.dead_letters, figures.codes = ledger.answers.total(), len(ledger.letters), ledger.codes
    figures.load = os.getloadavg()[2]
    figures.peak_mib = peak_mib(worker.process.pid)
    figures.cpu_us = cpu_s(worker.process.pid) / figures.messages * 1e6
    assert len(world.workers) == 1
    assert worker.running
    status, _ = await asyncio.to_thread(worker.stop)
    assert status == 0, (status, worker.log_tail())
    return figures


async def backlog(world: HostileWorld, messages, **settings):
    """Send them all, then start a worker; the most memory that it had, in MiB."""
    async with Sender(world, random.Random(0)) as sender:
        while wave := list(itertools.islice(messages, 200)):
            await sender.send(wave)
    worker = world.worker(**SETTINGS, **settings)
    await _until(world, lambda: world.ledger.ended, "the first has ended")
    await _until(world, lambda: world.ledger.ended >= len(world.ledger.sent), "all have ended")
    await world.drained()
    world.ledger.check()
    assert worker.running
    return peak_mib(worker.process.pid)


@contextlib.asynccontextmanager
async def _watched(world, figures):
    watching = asyncio.create_task(Monitor(world, figures).run())
    try:
        yield
        assert not watching.done(), watching
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _until(world, condition, why, patience_s=120.0):
    """Wait for a condition while the worker lives and something ends now and then."""
    ended, deadline = -1, 0.0
    while not condition():
        if world.ledger.ended != ended:
            ended, deadline = world.ledger.ended, time.monotonic() + patience_s
        (worker,) = world.workers
        assert worker.running, (why, worker.process.returncode, worker.log_tail())
        assert time.monotonic() < deadline, (why, world.counts(), worker.log_tail())
        await world.check_reader()
        await asyncio.sleep(0.02)


def cpu_s(pid):
    """CPU seconds of a process, from its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid):
    """The most memory that a process ever had, in MiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
