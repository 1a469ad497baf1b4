"""One run: orgs of its own, what was sent to them, and what the reference model says about it.

In: what to send next, as kinds, seeds and how far back to look. Out: messages; and a failure, where mergeline's records
are not those of the model. It never talks to mergeline: a state machine puts it between the two (`machine`).
"""

import json
import random
from collections import Counter
from datetime import UTC, datetime
from functools import lru_cache

from hypothesis import note
from tests.simulation import workload
from tests.simulation.compare import assert_same_records, occurred_at
from tests.simulation.reference import UPDATES, Reference

from mergeline.domain.messages import Coordinate, Message

INTERNAL = "commands-by-customer"
MERGE_MAX_ENTRIES = 6
ORGS_A_RUN = 3
NEVER = datetime(2000, 1, 1, tzinfo=UTC)
PARTITIONS = 2

# What arrives: a new request (with an id of its own, without one, or with one that another request had), one that
# follows on an earlier one, bytes that are none, or an earlier message once more: sent again, routed again, delivered
# again, or sent with other bytes.
FRESH, NO_ID, BORROWED_ID = "fresh id", "no id", "borrowed id"
TAKEN_BACK, RELABELLED, TORN = "taken back", "relabelled", "torn"
RESENT, REROUTED, REDELIVERED, CHANGED = "resent", "rerouted", "redelivered", "changed"
OF_REQUESTS = [FRESH] * 16 + [NO_ID] * 2 + [BORROWED_ID] + [TAKEN_BACK] * 4 + [RELABELLED] * 2
KINDS = [*OF_REQUESTS, TORN, RESENT, RESENT, REROUTED, REDELIVERED, CHANGED]
SEEDS = 1 << 40
LOOK_BACK = 30  # how many messages ago the one may be that is followed, or comes again


class Run:
    """Its orgs and partitions begin at `first_org`; `seen` counts answers, codes and events over all runs."""

    def __init__(self, first_org, seen):
        self.first_org, self.seen = first_org, seen
        self.model = Reference(MERGE_MAX_ENTRIES)
        self.sent, self.answered, self.places = [], {}, Counter()
        self._sent_at_change = self._sent_at_crash = 0

    # ------------------------------------------------------------ what is sent

    def own(self, body):
        """A document or request, for an org of this run."""
        return body | {"orgId": body["orgId"] + self.first_org}

    def first_customers(self, seed):
        return [self._new(topic, body) for topic, body in workload.first_customers(random.Random(seed))]

    def first_cards(self):
        return [self._new(topic, body) for topic, body in workload.first_cards()]

    def arrivals(self, batch):
        """The messages of a batch of (kind, seed, how many messages ago); each place once."""
        messages = []
        for kind, seed, back in batch:
            before = self.sent + messages
            earlier = before[-1 - back % len(before)]
            if kind in OF_REQUESTS:
                request = self._request(kind, random.Random(seed), before[: len(before) - back])
                messages.append(self._new(*request, kind, earlier))
            elif kind == TORN:
                messages.append(self._message(UPDATES, b'{"orgId": '))
            elif kind != REDELIVERED or earlier not in messages:
                messages.append(self._again(kind, earlier))
        return list({message.at: message for message in messages}.values())

    def may_change_catalog(self):
        return len(self.sent) >= self._sent_at_change + 30

    def catalog_changed(self):
        self._sent_at_change = len(self.sent)

    def may_crash(self):
        return len(self.sent) >= self._sent_at_crash + 10

    def after_a_crash(self, back, count):
        """What comes again when a worker goes back in its partitions: some messages, from so many messages ago."""
        self._sent_at_crash = len(self.sent)
        end = max(len(self.sent) - back, 0)
        return list({message.at: message for message in self.sent[max(end - count, 0) : end]}.values())

    # ------------------------------------------------------------ what is said

    def judge(self, message, records):
        """Mergeline decides first, so that the model can be told when; in the order of the messages."""
        if message.at in self.answered:
            assert records == self.answered[message.at], "not the same bytes again"
            return
        said = occurred_at(records)
        now = datetime.fromisoformat(said) if said else NEVER
        origin = (message.origin.partition, message.origin.offset)
        # A failure shows what was sent, in its shortest form.
        note(f"{message.origin.request_id} at {message.at.offset}: {message.value.decode()}")
        answer = self.model.take(message.origin.topic, message.value, origin, now)
        assert_same_records(records, answer, message)
        self.answered[message.at] = records
        self.sent.append(message)
        self._count(answer)

    def _count(self, answer):
        self.seen[answer.code or answer.kind] += 1
        outcome = answer.outcome["data"] if answer.outcome else {"errors": [], "warnings": []}
        self.seen.update({problem["code"] for problem in outcome["errors"] + outcome["warnings"]})
        self.seen.update(event["type"] for event in answer.events)

    # ------------------------------------------------------------ messages

    def _request(self, kind, dice, before):
        """A new request; where the kind says so, it follows on the latest one before that can be followed."""
        follow = {TAKEN_BACK: workload.taken_back, RELABELLED: workload.relabelled}.get(kind, lambda *_: None)
        followed = (follow(dice, body_of(message)) for message in reversed(before[-LOOK_BACK:]))
        body = next((body for body in followed if body is not None), None)
        return workload.request(dice) if body is None else (UPDATES, body | {"orgId": body["orgId"] - self.first_org})

    def _new(self, topic, body, kind=FRESH, earlier=None):
        body = self.own(body)
        if kind == BORROWED_ID:
            body["requestId"] = body_of(earlier).get("requestId") or "of-nobody"
        elif kind != NO_ID:
            body["requestId"] = f"request-{sum(self.places.values())}"
        return self._message(topic, json.dumps(body).encode())

    def _again(self, kind, earlier):
        if kind == REDELIVERED:
            return earlier
        if kind == REROUTED:
            return self._message(earlier.origin.topic, earlier.value, earlier.origin)
        return self._message(earlier.origin.topic, earlier.value + (b" " if kind == CHANGED else b""))

    def _message(self, topic, value, origin=None):
        """The next message of a topic, and the next place in the internal topic."""
        partition = self.first_org + len(value) % PARTITIONS
        if origin is None:
            origin = Coordinate(topic, partition, self._next_offset(topic, partition))
        at = Coordinate(INTERNAL, origin.partition, self._next_offset(INTERNAL, origin.partition))
        return Message(origin=origin, at=at, timestamp_ms=0, key=b"key", value=value)

    def _next_offset(self, topic, partition):
        self.places[topic, partition] += 1
        return self.places[topic, partition] - 1


def body_of(message):
    return parsed(message.value)


@lru_cache(10_000)
def parsed(value):
    try:
        return json.loads(value)
    except ValueError:
        return {}
