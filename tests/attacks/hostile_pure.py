"""Hostile messages through the domain alone: route, read back, decode, prepare, decide, pack and unpack; no servers.

In: a seed, how many messages. Out: `Figures`, or an AssertionError that names the message. Never: a clock of the wall
in a verdict: `slowest_ms` is CPU time, and the best of three for a message that took long once.

Each message gets one answer: a dead letter with its bytes, key and headers and a reason without a word of them, or
an outcome that names its request id. What is answered and what is in the state fits together whether the state holds
everything or only what was needed (`tests.unit.world`).
"""

import json
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.attacks.hostile import COMMANDS, KNOWN_CUSTOMERS, ORG, Hostile
from tests.unit.world import World
from tests.worker.harness import CATALOG

from mergeline.domain.catalog import Catalog
from mergeline.domain.messages import Coordinate, Message
from mergeline.domain.routing import routing_key
from mergeline.store.framing import pack, unpack
from mergeline.stream.origin import Place, message_of, routed

BATCH = 50
BATCHES_A_WORLD = 20
PARTITION = 3
SLOW_MS = 20.0
SECOND_LOOKS = 3


@dataclass
class Figures:
    messages: int = 0
    outcomes: int = 0
    dead_letters: int = 0
    seconds: float = 0.0
    slowest_ms: float = 0.0
    slowest: str = ""
    codes: Counter = field(default_factory=Counter)


@dataclass
class Record:
    """As aiokafka hands it over."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple


def run(seed, messages, say=lambda _: None):
    """That many messages; what came of them."""
    figures, hostile, started = Figures(), Hostile(seed), time.monotonic()
    worlds = 0
    while figures.messages < messages:
        world = _world()
        for _ in range(BATCHES_A_WORLD):
            batch = [next(hostile) for _ in range(min(BATCH, messages - figures.messages))]
            if not batch:
                break
            first = figures.messages
            read = [_read(sent, first + number) for number, sent in enumerate(batch)]
            items = [_timed(world, sent, message, figures) for sent, message in zip(batch, read, strict=True)]
            for message, said in zip(read, world.decide(items), strict=True):
                _check(message, said, figures)
            figures.messages += len(batch)
        worlds += 1
        if not worlds % 250:
            say(f"{figures.messages} messages, the slowest {figures.slowest_ms:.1f} ms")
    figures.seconds = time.monotonic() - started
    return figures


def _world():
    world = World()
    world.catalogs = {ORG: Catalog.model_validate(CATALOG)}
    world.customer(*range(1, KNOWN_CUSTOMERS + 1), org=ORG)
    return world


def _read(sent, offset):
    """The message as `apply` reads it: by way of the router, but for what was put behind it."""
    names = (name.decode(errors="surrogateescape") for name, _ in sent.headers)
    headers = tuple(zip(names, (value for _, value in sent.headers), strict=True))
    record = Record(sent.topic, PARTITION, offset, 7, sent.key, sent.value, headers)
    place = Place(sent.topic, PARTITION)
    if sent.topic == COMMANDS:
        return message_of(record, place)
    out = routed(record, place, routing_key(sent.topic, PARTITION, sent.value))
    inside = Record(COMMANDS, 1, offset, 9, out.key, out.value, out.headers)
    message = message_of(inside, Place(COMMANDS, 1))
    origin = Coordinate(sent.topic, PARTITION, offset)
    assert message == Message(origin, Coordinate(COMMANDS, 1, offset), 7, sent.key, sent.value, headers), sent
    return message


def _timed(world, sent, message, figures):
    """What a message asks for; it is counted how long that takes to understand, at its best."""
    took_ms, item = _once(world, message)
    if took_ms > max(SLOW_MS, figures.slowest_ms):
        took_ms = min(took_ms, *(_once(world, message)[0] for _ in range(SECOND_LOOKS)))
    if took_ms > figures.slowest_ms:
        figures.slowest_ms, figures.slowest = took_ms, f"{sent.kind}, {len(sent.value or b'')} bytes"
    return item


def _once(world, message):
    before = time.process_time()
    item = world.item(message)
    return (time.process_time() - before) * 1000, item


def _check(message, said, figures):
    letters = [record for record in said.records if record.topic.endswith("-dlt")]
    if not letters:
        figures.outcomes += 1
        assert unpack(pack(said.records)) == said.records, message
        named = json.loads(message.value).get("requestId")
        assert said.outcome["requestId"] == (named or message.origin.request_id), message
        return
    (letter,) = said.records
    figures.dead_letters += 1
    assert (letter.key, letter.value, letter.headers[:-6]) == (message.key, message.value, message.headers)
    text = dict(letter.headers[-6:])["kafka_dlt-exception-message"].decode()
    code, _, reason = text.partition(": ")
    figures.codes[code] += 1
    assert reason.isascii(), text
    assert len(text) < 300, text
    assert code != "PROCESSING_FAILED", message
