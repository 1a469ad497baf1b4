"""Judges a run from outside: from all that was sent, all that a `read_committed` reader of every topic saw, and rows.

In: messages about to be sent, acknowledgements, every record of every topic, in the end the database. Out: defects,
by kind. It shares no code with the program; it knows the contract (`schemas/`) and the tables. Records are judged as
they come, and only digests and the state of a subscriber's copy are kept.
"""

from collections import Counter, defaultdict
from operator import itemgetter
from uuid import UUID, uuid5

import orjson
from schemas.subscriber import CHANGES, REDIRECTS, REGISTRATIONS
from tests.attacks.answers import NAMESPACE, OUTCOME_OF, Answers, digest
from tests.attacks.copies import Copies
from tests.attacks.defects import Defects
from tests.attacks.stored import records_of

INPUTS = tuple(OUTCOME_OF)
OUTCOMES = tuple(sorted(set(OUTCOME_OF.values())))
LETTERS = tuple(f"{topic}-dlt" for topic in INPUTS)
EVENTS_A_TOPIC_MAX = 64
"""Events of one request in one topic, but redirects: a request names no more cards."""


class Auditor:
    """One run. Call `took` with each record once, then `judge`."""

    def __init__(self):
        self.defects = Defects()
        self.answers, self.copies = Answers(self.defects), Copies(self.defects)
        self.topics = Counter()
        self._published = Counter()
        self._events = set()
        self._read = defaultdict(lambda: -1)
        self._registered = set()

    # ------------------------------------------------------------ what went in and came out

    def sending(self, message):
        """A message of the workload is about to be produced."""
        if message.letter:
            self.answers.expect_letter(message.value)

    def acknowledged(self, topic, place, value):
        self.answers.acknowledged(topic, place.partition, place.offset, value)

    def took(self, topic, record):
        """A record of a topic (without prefix), in the order of its partition."""
        assert record.offset > self._read[topic, record.partition], ("the reader read it twice", topic, record)
        self._read[topic, record.partition] = record.offset
        self.topics[topic] += 1
        if topic in OUTCOME_OF:
            self.answers.message(topic, record)
            return
        headers = dict(record.headers)
        if topic in LETTERS:
            self.answers.letter(topic, record, headers)
            return
        self._published[record_digest(topic, record)] += 1
        self._event(topic, record, headers, orjson.loads(record.value))
        self.copies.take(topic, record.key, record.headers, record.value)

    def _event(self, topic, record, headers, data):
        key = record.key.decode()
        if headers["ce_subject"] != record.key:
            self.defects.add("key and subject disagree", f"{topic} {key}")
        if topic in OUTCOMES:
            self.answers.outcome(topic, record, data, headers)
            if topic == REGISTRATIONS and data["status"] == "applied" and "customerId" in data:
                self._registered.add(f"{data['orgId']}:{data['customerId']}")
        elif topic in CHANGES:
            self.answers.change(data, data.get("survivorId"))
        if "mergeline-duplicate" not in headers:
            self._event_id(topic, headers["ce_id"].decode(), data)

    def _event_id(self, topic, event_id, data):
        """Derived as the contract says, and never seen before; but the answer to a reused id is sent for each."""
        if [error["code"] for error in data.get("errors", [])] == ["REQUEST_ID_REUSED"]:
            return
        known = UUID(event_id).int
        if known in self._events:
            self.defects.add("an event id twice", f"{topic} {event_id}")
        self._events.add(known)
        if topic == REDIRECTS:
            return  # held against the merge that it tells of
        name = f"{data['orgId']}:{data['requestId']}:{topic}"
        if not any(str(uuid5(NAMESPACE, f"{name}:{n}")) == event_id for n in range(EVENTS_A_TOPIC_MAX)):
            self.defects.add("an event id that is not derived", f"{topic} {event_id}")

    # ------------------------------------------------------------ the judgement

    async def judge(self, rows):
        """Everything that can be said now; `rows` as `stored` gives them."""
        self.answers.judge()
        self.copies.judge()
        await self._judge_ledger(rows)
        await self._judge_owners("entries", rows.entries(), entry_of, lambda _: None)
        await self._judge_owners("cards", rows.cards(), itemgetter("number"), itemgetter("status", "label"))
        await self._judge_customers(rows)
        return self.defects

    async def _judge_ledger(self, rows):
        """Each message has one row; each record of a row was published, and nothing else was."""
        places = defaultdict(set)
        async for row in rows.ledger():
            partition = (row["origin_topic"], row["origin_partition"])
            place = (*partition, row["origin_offset"])
            if row["origin_offset"] in places[partition]:
                self.defects.add("two rows of one message", place)
            places[partition].add(row["origin_offset"])
            if not self.answers.body_at(*place):
                self.defects.add("a row without a message", place)
            if (row["kind"] == "dead_letter") != self.answers.has_letter(place):
                self.defects.add("a row says wrongly whether there is a dead letter", place)
            for record in records_of(row["outgoing"]):
                self._published[record_digest(record.topic, record)] -= 1
                if self._published[record_digest(record.topic, record)] < 0:
                    self.defects.add("stored, but not published", f"{record.topic} of {row['request_id']}")
        if (answered := sum(map(len, places.values()))) != self.answers.messages:
            self.defects.add("messages and rows", f"{self.answers.messages} messages, {answered} rows")
        for left in self._published.values():
            if left > 0:
                self.defects.add("published, but not stored", left)

    async def _judge_owners(self, kind, rows, name_of, state_of):
        held = self.copies.held(kind)
        async for row in rows:
            name, stored = name_of(row), (row["customer_id"], state_of(row))
            told = held.pop((row["org_id"], name), None)
            if told != stored:
                self.defects.add(f"{kind}: the database and the events disagree", f"{name}: {stored}, events: {told}")
        for (_, name), told in held.items():
            self.defects.add(f"{kind}: the database and the events disagree", f"{name}: nobody, events: {told}")

    async def _judge_customers(self, rows):
        left = self._registered | self.copies.customers.keys()
        async for row in rows.customers():
            key = f"{row['org_id']}:{row['customer_id']}"
            left.discard(key)
            known = self.copies.customers.get(key)
            if known is None or row["version"] != known.version:
                self.defects.add("the database and the events disagree about a version", key)
            root = f"{row['org_id']}:{row['survivor_id'] or row['customer_id']}"
            if key not in self._registered:
                self.defects.add("a customer that was not registered", key)
            if self.copies.root(key) != root or (row["survivor_id"] is not None) != (key in self.copies.redirects):
                self.defects.add("the database and the events disagree about a survivor", key)
        for key in left:
            self.defects.add("a registered customer is missing", key)


def entry_of(row):
    return row["type"], row["value"], row["source"], row["account"] or None


def record_digest(topic, record):
    parts = [topic.encode(), record.key or b"", record.value or b""]
    for name, value in record.headers:
        parts += (name.encode(), value or b"")
    return digest(b"\0".join(parts))
