"""Records as values: where a message came from, what it holds, what is to be published.

In: what a consumer read. Out: what a producer sends. Never: a Kafka type; topics stand here without their
prefix, and those of a place with their incarnation (`incarnations`).
"""

from typing import Final, NamedTuple, final

from msgspec import Struct

from mergeline.domain.incarnations import FIRST, incarnation_of, topic_of
from mergeline.domain.vocabulary import DeadLetterCode, dead_letter_topic

Header = tuple[str, bytes | None]


CUT: Final = "mergeline-cut"
"""The header of a message that was too large or too odd to be read: it has neither key nor value, and this says why."""


class Place(NamedTuple):
    """A partition: of a topic by its name without prefix, with its incarnation where that is not the first."""

    topic: str
    partition: int


class Coordinate(NamedTuple):
    """A place in a log: topic (as in `Place`), partition, offset."""

    topic: str
    partition: int
    offset: int

    @property
    def request_id(self) -> str:
        """The request id of a message that names none (SPEC section 2)."""
        return f"{self.topic}-{self.partition}-{self.offset}"


class Message(Struct, frozen=True, gc=False):
    """One record as `apply` reads it.

    `origin` is where its producer put it (a public topic), `at` where apply read it (the internal topic; the
    same as `origin` with `MERGELINE_REQUESTS_KEYED`). `key`, `value` and `headers` are the producer's, byte for
    byte, without the router's headers.
    """

    origin: Coordinate
    at: Coordinate
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class Outgoing(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """One record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


@final
class DeadLetterReason(Struct, frozen=True, gc=False):
    """Why a message is a dead letter; `text` holds nothing of the message's content but known field names."""

    code: DeadLetterCode
    text: str
    org_id: int = 0
    """The org the message names, 0 where it names none."""


DEAD_LETTER_HEADERS: Final = (
    "kafka_dlt-original-topic",
    "kafka_dlt-original-partition",
    "kafka_dlt-original-offset",
    "kafka_dlt-original-timestamp",
    "kafka_dlt-exception-fqcn",
    "kafka_dlt-exception-message",
)
"""What a dead letter has behind its producer's own headers, in this order; `redrive` takes them off again."""
ORIGINAL_TOPIC, ORIGINAL_PARTITION, ORIGINAL_OFFSET, *_, REASON = DEAD_LETTER_HEADERS
INCARNATION: Final = "mergeline-incarnation"
"""Behind those, the number of the topic's incarnation where that is not the first."""
CODE_PREFIX: Final = "mergeline."
"""Before the code of a dead letter, in the header that Spring's users know for the class of an exception."""


def dead_letter(message: Message, code: str, text: str, topic_prefix: str) -> Outgoing:
    """The message, byte for byte, with headers that say where it came from and what was wrong (SPEC section 3)."""
    origin = message.origin
    topic = topic_of(origin.topic)
    texts = (
        f"{topic_prefix}{topic}".encode(),
        b"%d" % origin.partition,
        b"%d" % origin.offset,
        b"%d" % message.timestamp_ms,
        f"{CODE_PREFIX}{code}".encode(),
        f"{code}: {text}".encode(),
    )
    said: tuple[Header, ...] = tuple(zip(DEAD_LETTER_HEADERS, texts, strict=True))
    if (incarnation := incarnation_of(origin.topic)) != FIRST:
        said += ((INCARNATION, b"%d" % incarnation),)
    return Outgoing(dead_letter_topic(topic), message.key, message.value, message.headers + said)
