"""What the tests of the store speak: topics that messages lie in, a store that answers them, and SQL to look.

A message has two places, as in production: where its producer put it, and where the router put it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace
from tests.defaults import applied

from mergeline.domain.batch import Answer
from mergeline.domain.messages import Coordinate, Message, Outgoing
from mergeline.domain.vocabulary import Topic
from mergeline.store.apply import Store

ORG = 7
AT = (Topic.COMMANDS_BY_CUSTOMER.value, 0)
UPDATES, CUSTOMERS, CARDS = (
    Topic.IDENTIFIER_UPDATES.value,
    Topic.CUSTOMER_REGISTRATIONS.value,
    Topic.CARD_REGISTRATIONS.value,
)
CATALOG = {
    "orgId": ORG,
    "blockList": ["null"],
    "sources": {"INSTORE": "single", "ECOMMERCE": "single", "WECHAT": "multiple"},
    "series": [
        {"id": 163, "code": "GOLD", "maxActiveCardsPerCustomer": 2},
        {"id": 164, "autoCreate": True, "expiryDays": 365},
    ],
    "statusLabels": {"Live": "ACTIVE"},
}


@dataclass
class Log:
    """The ends of all topics; shared by everybody who produces in a test."""

    ends: Counter[tuple[str, int]] = field(default_factory=Counter)

    def put(self, topic: str, value: bytes | None, partition: int = 0, **parts: object) -> Message:
        """A new message of a producer, routed once."""
        origin = self._next(topic, partition)
        return Message(origin, self._next(*AT), 1_700_000_000_000, **{"key": b"k", "value": value} | parts)

    def routed_again(self, message: Message) -> Message:
        """The router repeats itself: the same origin at another place."""
        return replace(message, at=self._next(*AT))

    def sent_again(self, message: Message, value: bytes | None = None) -> Message:
        """The producer repeats itself: another origin, the same bytes (or not)."""
        return self.put(message.origin.topic, message.value if value is None else value, message.origin.partition)

    def _next(self, topic: str, partition: int) -> Coordinate:
        self.ends[topic, partition] += 1
        return Coordinate(topic, partition, self.ends[topic, partition] - 1)

    # ------------------------------------------------------------ the three kinds of request

    def update(self, customer_id: int, *, source: str = "INSTORE", **fields: object) -> Message:
        body = {"orgId": ORG, "customerId": customer_id, "source": source} | fields
        return self.put(UPDATES, json.dumps(body).encode())

    def customer(self, customer_id: int, *values: str, source: str = "ECOMMERCE", **fields: object) -> Message:
        """A registration, with a `line` identifier for each value."""
        body = {"orgId": ORG, "customerId": customer_id, "source": source} | fields
        return self.put(CUSTOMERS, json.dumps(body | {"identifiers": [line(value) for value in values]}).encode())

    def card(self, number: str, **fields: object) -> Message:
        body = {"orgId": ORG, "cardNumber": number, "seriesId": 163} | fields
        return self.put(CARDS, json.dumps(body).encode())


def line(value: str) -> dict[str, str]:
    """An identifier whose value is kept as it is."""
    return {"type": "line", "value": value}


def issue(number: str, label: str = "ACTIVE", series_id: int = 163) -> dict[str, object]:
    return {"type": "cardnumber", "value": number, "seriesId": series_id, "statusLabel": label}


@dataclass
class Desk:
    """A store and the log it reads."""

    store: Store
    log: Log = field(default_factory=Log)

    async def apply(self, *messages: Message, **arguments: object) -> list[Answer]:
        """One batch, as it is: a failure is a failure."""
        return await self.store.apply(messages, **arguments)

    async def persist(self, *messages: Message, **arguments: object) -> list[Answer]:
        """One batch, until it is through."""
        return await applied(self.store, messages, **arguments)

    async def register(self, *customer_ids: int) -> None:
        """Customers, each with the identifier `of-<id>` in ECOMMERCE."""
        answers = await self.apply(*(self.log.customer(number, f"of-{number}") for number in customer_ids))
        assert {answer.kind for answer in answers} == {"applied"}


def kinds(answers: Sequence[Answer]) -> list[str]:
    return [answer.kind for answer in answers]


def outcome(answer: Answer) -> dict:
    """The data of the outcome among an answer's records."""
    (record,) = [record for record in answer.outgoing if record.topic.endswith("-outcomes")]
    return json.loads(record.value)


def codes(answer: Answer) -> list[str]:
    return [error["code"] for error in outcome(answer)["errors"]]


def header(record: Outgoing, name: str) -> bytes | None:
    return dict(record.headers).get(name)


class Gate:
    """Holds a store in front of a named statement, until it is opened; counts what passes."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.passed: list[str] = []
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    async def __call__(self, name: str) -> None:
        self.passed.append(name)
        if name in self.names:
            self.names.discard(name)
            self.reached.set()
            await self._opened.wait()

    def open(self) -> None:
        self._opened.set()
