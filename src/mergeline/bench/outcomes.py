"""The answers, as a subscriber that reads what is committed sees them.

In: the topics of outcomes and dead letters. Out: records in bunches, each bunch with the time it came; whether every
message of a run was answered once, and rightly. Never: an answer taken for the right one unseen.
"""

import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from mergeline.bench.mix import Message
from mergeline.bench.plan import Kind
from mergeline.domain.events import DUPLICATE
from mergeline.domain.messages import REASON
from mergeline.domain.vocabulary import Topic, dead_letter_topic, is_dead_letter_topic
from mergeline.settings import Settings
from mergeline.stream.clients import connected, onlooker
from mergeline.stream.topics import full_name

TOPICS: Final = (Topic.UPDATE_OUTCOMES.value, dead_letter_topic(Topic.IDENTIFIER_UPDATES))
FETCH_WAIT_MS: Final = 100
BACK_OFF_S: Final = 0.002
"""aiokafka waits 100 ms, for which it has no setting, before it fetches again: a reader's affair, not the worker's."""
FETCH_MAX_BYTES: Final = 4 * 1024 * 1024
WRONG_SHOWN_MAX: Final = 5
_REQUEST_ID: Final = re.compile(rb'"requestId":"([^"]*)-(\d+)"')
"""As the bench writes it, and as a torn message still has it."""


class Answer(NamedTuple):
    """One record: to which request of the run, and what it says."""

    request: int
    said: str
    is_duplicate: bool


class Subscriber:
    """A reader of all partitions."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def bunch(self, timeout_ms: int) -> tuple[float, list[ConsumerRecord]]:
        """What has come, and when (`time.perf_counter`)."""
        found = await self._consumer.getmany(timeout_ms=timeout_ms)
        now = time.perf_counter()
        return now, [record for records in found.values() for record in records]


@asynccontextmanager
async def subscribed(settings: Settings, partitions: int, *, from_beginning: bool) -> AsyncIterator[Subscriber]:
    """A subscriber for the length of a block, from the logs' beginning or their end."""
    consumer = onlooker(
        settings,
        client_id="mergeline-bench",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_MAX_BYTES,
    )
    places = [TopicPartition(full_name(settings, topic), number) for topic in TOPICS for number in range(partitions)]
    consumer.assign(places)
    async with connected(consumer, settings):
        consumer._fetcher._prefetch_backoff = BACK_OFF_S  # noqa: SLF001 - see there
        await (consumer.seek_to_beginning(*places) if from_beginning else consumer.seek_to_end(*places))
        yield Subscriber(consumer)


def answer_of(record: ConsumerRecord, run: bytes) -> Answer | None:
    """The answer that a record is to a message of this run, if it is one."""
    found = _REQUEST_ID.search(record.value or b"")
    if found is None or found[1] != run:
        return None
    if is_dead_letter_topic(record.topic):
        code = dict(record.headers).get(REASON, b"").partition(b":")[0].decode()
        return Answer(int(found[2]), code, False)
    document: dict[str, Any] = orjson.loads(record.value)
    said = [document["status"], *(problem["code"] for problem in document["errors"])]
    if document["mergedInto"]:
        said.append(f"into {document['mergedInto']}")
    return Answer(int(found[2]), " ".join(said), DUPLICATE in record.headers)


@dataclass(slots=True)
class Judgement:
    """What became of the messages of a run."""

    answered: int = 0
    """Messages that were."""
    again: int = 0
    """Answers that came again."""
    wrong: list[str] = field(default_factory=list)
    """A line each, `WRONG_SHOWN_MAX` at most."""
    faults: int = 0


class Judge:
    """Knows what must be said to each message, and hears what is said."""

    def __init__(self, *, once: bool) -> None:
        """`once`: whether an answer that comes again is a fault, as with `delivery: exactly_once`."""
        self._once = once
        self._expected: list[str] = []
        self._heard = bytearray()
        self._repeats: dict[int, int] = {}
        self._judgement = Judgement()

    def expect(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Pass messages on, and remember what they must be answered."""
        for message in messages:
            self._expected.append(message.answer)
            self._heard.append(0)
            if message.kind is Kind.REPEAT:
                self._repeats[message.request] = message.number
            yield message

    def hear(self, answer: Answer) -> int | None:
        """Take an answer; the number of the message that it is to."""
        number = self._repeats.get(answer.request) if answer.is_duplicate else answer.request
        if number is None or number >= len(self._expected):
            self._fault(f"request {answer.request}: {answer.said}, but nobody asked")
            return None
        if self._heard[number]:
            self._judgement.again += 1
            if self._once:
                self._fault(f"request {answer.request}: answered again")
            return None
        self._heard[number] = 1
        self._judgement.answered += 1
        if answer.said != self._expected[number]:
            self._fault(f"request {answer.request}: {answer.said}, not {self._expected[number]}")
        return number

    @property
    def missing(self) -> int:
        """How many messages were not answered."""
        return len(self._expected) - self._judgement.answered

    def verdict(self) -> Judgement:
        """What was heard; what was not heard is wrong too."""
        for number, heard in enumerate(self._heard):
            if not heard:
                self._fault(f"message {number}: no answer")
        return self._judgement

    def _fault(self, line: str) -> None:
        self._judgement.faults += 1
        if len(self._judgement.wrong) < WRONG_SHOWN_MAX:
            self._judgement.wrong.append(line)
