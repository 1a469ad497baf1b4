"""From a dead letter back to the message it was, as it can be sent to its topic again.

In: a record of a dead-letter topic. Out: a `Letter`, and what is to become of it: the record to send, or why it stays.
Never: a judgement of its own of what is a request (`decode` says it, as it does to the worker), another id for a
message than the one it had, or a look at what the ledger knows.

A message that named its request id is sent byte for byte. One that named none went by its place, and would go by
another one now; so that id is written into it. It decides nothing while the message is a dead letter, and what is
made of one letter is always the same bytes: sent twice, it is a repeat.

| letter | -> |
| --- | --- |
| its message stood on the internal topic by itself | stays: no input topic took it, nor those who guard these |
| its content was cut off | stays: there is nothing left to send |
| no request, read as the worker reads it now | stays: it would come back, and many of them stop a worker |
| larger, with the id, than a request or a topic takes | stays |
| a request that names its id | byte for byte |
| a request that names none | its derived id is put in |
"""

import json
from enum import StrEnum
from hashlib import sha256
from typing import Final

from msgspec import Struct

from mergeline.domain import json_text
from mergeline.domain.decode import BYTES_MAX, decode
from mergeline.domain.incarnations import FIRST, name_of, topic_of
from mergeline.domain.messages import (
    CODE_PREFIX,
    CUT,
    DEAD_LETTER_HEADERS,
    INCARNATION,
    Coordinate,
    DeadLetterReason,
    Header,
    Message,
)
from mergeline.domain.vocabulary import INPUT_TOPICS, Topic, dead_letter_topic

RECORD_MAX_BYTES: Final = 1_000_000
"""Key, value and headers of what is sent: below what an input topic takes, uncompressed."""
_DIGITS_MAX: Final = 18


class Letter(Struct, frozen=True):
    """A dead letter: the message that it was, and why it became one.

    `at_ms` is when it did (the record's own time), `headers` are the producer's.
    """

    origin: Coordinate
    code: str
    text: str
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


class Fate(StrEnum):
    """What becomes of a dead letter."""

    SEND = "send"
    NO_TOPIC = "no topic"
    CUT = "cut"
    NO_REQUEST = "no request"
    TOO_LARGE = "too large"


class Redriven(Struct, frozen=True):
    """What becomes of a letter; `value` is what is to be sent where that is its fate."""

    fate: Fate
    org_id: int
    request_id: str
    value: bytes | None = None
    why: str = ""
    """For one that stays: one sentence, without a word of the content."""

    @property
    def body_sha256(self) -> bytes:
        """The hash that the ledger compares messages of one id by."""
        return sha256(self.value or b"").digest()


def letter_of(
    topic: str,
    at_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[Header, ...],
    topic_prefix: str,
) -> Letter | None:
    """The letter that a record of dead-letter topic `topic` (without prefix) is; None where no worker wrote it.

    The last headers are the worker's. What stands before them is the producer's, however it is named.
    """
    headers, incarnation = _without_incarnation(headers)
    own, said = headers[: -len(DEAD_LETTER_HEADERS)], headers[-len(DEAD_LETTER_HEADERS) :]
    if tuple(name for name, _ in said) != DEAD_LETTER_HEADERS:
        return None
    texts = [(text or b"").decode(errors="replace") for _, text in said]
    named, partition, offset, _, code, reason = texts
    origin_topic = named.removeprefix(topic_prefix)
    known = (*INPUT_TOPICS, Topic.COMMANDS_BY_CUSTOMER)
    if (
        named != f"{topic_prefix}{origin_topic}"
        or origin_topic not in known
        or dead_letter_topic(origin_topic) != topic
    ):
        return None
    if not all(
        number.isascii() and number.isdecimal() and len(number) <= _DIGITS_MAX
        for number in (partition, offset, incarnation)
    ):
        return None
    origin = Coordinate(name_of(origin_topic, int(incarnation)), int(partition), int(offset))
    return Letter(origin, code.removeprefix(CODE_PREFIX), reason, at_ms, key, value, own)


def _without_incarnation(headers: tuple[Header, ...]) -> tuple[tuple[Header, ...], str]:
    """The headers before it, and the number of the incarnation; the last header of a letter is the worker's."""
    if headers and headers[-1][0] == INCARNATION:
        return headers[:-1], (headers[-1][1] or b"").decode(errors="replace")
    return headers, str(FIRST)


def redriven(letter: Letter) -> Redriven:
    """What becomes of a letter."""
    origin, value = letter.origin, letter.value
    if topic_of(origin.topic) not in INPUT_TOPICS:
        return Redriven(Fate.NO_TOPIC, 0, origin.request_id, why="its message was on the internal topic by itself")
    if letter.key is None and value is None and [name for name, _ in letter.headers] == [CUT]:
        return Redriven(Fate.CUT, 0, origin.request_id, why="its content was cut off")
    request = decode(Message(origin, origin, letter.at_ms, letter.key, value, letter.headers))
    if isinstance(request, DeadLetterReason):
        return Redriven(Fate.NO_REQUEST, request.org_id, origin.request_id, why=f"{request.code}: {request.text}")
    sent = _with_id(value or b"", origin.request_id)
    size = len(sent) + len(letter.key or b"") + sum(len(name) + len(text or b"") for name, text in letter.headers)
    if len(sent) > BYTES_MAX or size > RECORD_MAX_BYTES:
        why = f"{len(sent)} bytes with its id, {size} with key and headers; at most {BYTES_MAX} and {RECORD_MAX_BYTES}"
        return Redriven(Fate.TOO_LARGE, request.org_id, request.request_id, why=why)
    return Redriven(Fate.SEND, request.org_id, request.request_id, sent)


def _with_id(value: bytes, derived_id: str) -> bytes:
    """The value itself where it names an id, else the same JSON with the derived one.

    Of a well-formed request only: it has no number that another writing could change, and no key twice.
    """
    document = json_text.parse(value)
    if document.get("requestId") is not None:
        return value
    named = {"requestId": derived_id} | {name: one for name, one in document.items() if name != "requestId"}
    return json.dumps(named, ensure_ascii=False, separators=(",", ":")).encode()
