"""Which answer belongs to which message that we sent.

In: messages with the place Kafka gave them, then records of outcome and dead-letter topics. Out: an `Answer` for each
of ours. Never: a request id made up here; a message is known by its own request id, else by the one derived from its
place, and as a dead letter by that place alone.
"""

import re
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import orjson
from aiokafka import ConsumerRecord

from mergeline.cli.events import Said, problems_text, said_of
from mergeline.cli.kafka import Placed
from mergeline.domain.messages import ORIGINAL_OFFSET, ORIGINAL_PARTITION, ORIGINAL_TOPIC, REASON, Coordinate
from mergeline.domain.vocabulary import OUTCOME_TOPICS, Topic, dead_letter_topic
from mergeline.stream.origin import LATER
from mergeline.stream.unpacking import shown_name

Mark = TypeVar("Mark")
Status = Literal["applied", "unchanged", "rejected", "dead letter"]

_LATER: Final = re.compile(rf"\A({'|'.join(OUTCOME_TOPICS)}){LATER}(-[0-9]+-[0-9]+)\Z")
"""A request id that was derived, perhaps of a later incarnation of the topic."""


class Identity(NamedTuple):
    """What a well-formed message is known by; `request_id` is None where it follows from its place."""

    subject: str
    """The key: `orgId:customerId`, or `orgId:card:number`."""
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Answer(Generic[Mark]):
    """How one of our messages ended."""

    mark: Mark
    status: Status
    reasons: list[str]
    topic: str
    """Without prefix."""
    record: ConsumerRecord

    def said(self) -> Said:
        """In words."""
        return said_of(self.topic, self.record.value, self.record.headers)

    def document(self) -> Any:
        """For a program: the outcome's data, or the dead letter's headers."""
        if self.status != "dead letter":
            return orjson.loads(self.record.value)
        return {shown_name(name): (value or b"").decode(errors="replace") for name, value in self.record.headers}


class _Sent(NamedTuple, Generic[Mark]):
    mark: Mark
    place: tuple[int, int]
    known_by: tuple[str, str]


class Following(Generic[Mark]):
    """The messages to one topic that were not answered yet."""

    def __init__(self, topic: Topic, topic_prefix: str) -> None:
        self._topic, self._prefix = topic, topic_prefix
        self._by_place: dict[tuple[int, int], _Sent[Mark]] = {}
        self._by_id: dict[tuple[str, str], deque[_Sent[Mark]]] = {}

    def __len__(self) -> int:
        return len(self._by_place)

    @property
    def topics(self) -> tuple[str, str]:
        """Where answers come: the outcomes, the dead letters."""
        return OUTCOME_TOPICS[self._topic], dead_letter_topic(self._topic)

    def sent(self, placed: Placed[Mark], identity: Identity | None) -> None:
        """Wait for the answer to a message; without `identity` only a dead letter can be one."""
        derived = Coordinate(self._topic, placed.partition, placed.offset).request_id
        known_by = (identity.subject, identity.request_id or derived) if identity else ("", derived)
        sent = _Sent(placed.mark, (placed.partition, placed.offset), known_by)
        self._by_place[sent.place] = sent
        self._by_id.setdefault(known_by, deque()).append(sent)

    def take(self, record: ConsumerRecord) -> Answer[Mark] | None:
        """The answer that a record is to one of our messages, if it is one."""
        headers = {name: value or b"" for name, value in record.headers}
        outcomes, letters = self.topics
        if record.topic == self._prefix + letters:
            sent = self._at_place(headers)
            reason = headers.get(REASON, b"").decode(errors="replace")
            return Answer(self._answered(sent), "dead letter", [reason], letters, record) if sent else None
        try:
            data = orjson.loads(record.value)
            subject, request_id = (record.key or b"").decode(), data["requestId"]
            # Derived in a later incarnation of the topic, of which nobody knows who only sends.
            derived = _LATER.sub(r"\1\2", request_id)
            waiting = self._by_id.get((subject, request_id)) or self._by_id.get((subject, derived))
            if not waiting:
                return None
            return Answer(self._answered(waiting[0]), data["status"], problems_text(data["errors"]), outcomes, record)
        except (orjson.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError):
            # Somebody else's record in our topic is nobody's answer.
            return None

    def _at_place(self, headers: dict[str, Any]) -> _Sent[Mark] | None:
        if headers.get(ORIGINAL_TOPIC) != f"{self._prefix}{self._topic}".encode():
            return None
        try:
            place = tuple(int(headers[name]) for name in (ORIGINAL_PARTITION, ORIGINAL_OFFSET))
        except (LookupError, ValueError):
            return None
        return self._by_place.get((place[0], place[1]))

    def _answered(self, sent: _Sent[Mark]) -> Mark:
        del self._by_place[sent.place]
        waiting = self._by_id[sent.known_by]
        waiting.remove(sent)
        if not waiting:
            del self._by_id[sent.known_by]
        return sent.mark
