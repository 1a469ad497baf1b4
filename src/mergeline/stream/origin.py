"""Where a routed message came from: headers that the router writes and `apply` reads back.

In: a fetched record. Out: the record to route, or the `Message` it stands for. Never: a look at the value, or
trust in a header that the router did not write: its two stand first and are counted, so that what a producer names
alike behind them is the producer's own. A record of the internal topic without them is its own origin, and no request.
"""

import re
from typing import Any, Final, Protocol

from aiokafka import TopicPartition

from mergeline.domain.incarnations import MARK, name_of, topic_of
from mergeline.domain.messages import Coordinate, Header, Message, Outgoing, Place
from mergeline.domain.vocabulary import INPUT_TOPICS, Topic

INTERNAL: Final = Topic.COMMANDS_BY_CUSTOMER.value
ORIGIN: Final = "mergeline-origin"
"""`topic/partition/offset/timestamp_ms/keyed`; the topic with its incarnation, as in a `Place`; keyed is 1 where the
producer's key follows in `ORIGIN_KEY`."""
ORIGIN_KEY: Final = "mergeline-origin-key"
LATER: Final = rf"(?:{MARK}(?:[2-9]|[1-9][0-9]{{1,8}}))?"
"""An incarnation behind a topic's name, as `name_of` writes it."""
_ORIGIN: Final = re.compile(
    rf"((?:{'|'.join(INPUT_TOPICS)}){LATER})/([0-9]{{1,9}})/([0-9]{{1,18}})/(-?[0-9]{{1,19}})/([01])".encode()
)


class Content(Protocol):
    """What a record holds, wherever it stands."""

    @property
    def key(self) -> bytes | None:
        """Any bytes."""

    @property
    def value(self) -> bytes | None:
        """Any bytes."""

    @property
    def headers(self) -> Any:
        """Pairs of a name and any bytes or None."""


class Record(Content, Protocol):
    """A record as aiokafka hands it over."""

    topic: str
    partition: int
    offset: int
    timestamp: int


def bytes_of(record: Content) -> int:
    """What the record holds: key, value, headers."""
    size = len(record.value or b"") + len(record.key or b"")
    for name, value in record.headers:
        size += len(name) + len(value or b"")
    return size


def place_of(partition: TopicPartition, topic_prefix: str, incarnation: int) -> Place:
    """A partition as the store and the messages name it."""
    return Place(name_of(partition.topic.removeprefix(topic_prefix), incarnation), partition.partition)


def routed(record: Record, place: Place, key: bytes) -> Outgoing:
    """The record of `place` for the internal topic: value and headers byte for byte, behind those of its origin."""
    keyed = record.key is not None
    origin = f"{place.topic}/{place.partition}/{record.offset}/{record.timestamp}/{'1' if keyed else '0'}".encode()
    added: tuple[Header, ...] = ((ORIGIN, origin), (ORIGIN_KEY, record.key)) if keyed else ((ORIGIN, origin),)
    return Outgoing(INTERNAL, key, record.value, (*added, *record.headers))


def message_of(record: Record, place: Place) -> Message:
    """The message a record of `place` stands for: a routed one by its origin, any other as it is."""
    at = Coordinate(place.topic, place.partition, record.offset)
    headers = tuple(record.headers)
    if headers and headers[0][0] == ORIGIN and topic_of(place.topic) == INTERNAL:
        match = _ORIGIN.fullmatch(headers[0][1] or b"")
        keyed = match is not None and match[5] == b"1"
        if match is not None and (not keyed or (headers[1:2] and headers[1][0] == ORIGIN_KEY)):
            topic, partition, offset, timestamp_ms, _ = match.groups()
            origin = Coordinate(topic.decode(), int(partition), int(offset))
            key = headers[1][1] if keyed else None
            return Message(origin, at, int(timestamp_ms), key, record.value, headers[1 + keyed :])
    return Message(at, at, record.timestamp, record.key, record.value, headers)
