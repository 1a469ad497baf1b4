"""A state machine that drives the reference model and mergeline side by side.

In: a `system`, which is mergeline behind four calls. Out: a failure, with the steps that lead to it, at the first
difference in what is published or stored. Each step is one batch; and in each, messages that came before come again.
"""

import json
import random
from collections import Counter
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.simulation import workload
from tests.simulation.compare import assert_same_records, occurred_at, stored_by_model
from tests.simulation.reference import UPDATES, Reference

from mergeline.domain.messages import Coordinate, Message

INTERNAL = "commands-by-customer"
MERGE_MAX_ENTRIES = 6
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
SEED = st.integers(0, 1 << 40)
BACK = st.integers(0, 30)  # how many messages ago; 0 is the latest
BATCH = st.lists(st.tuples(st.sampled_from(KINDS), SEED, BACK), min_size=1, max_size=8)


class Simulation(RuleBasedStateMachine):
    """Set `system` in a subclass. Its `begin` gives a number from which on orgs and partitions are this run's own."""

    system = None
    seen: ClassVar = Counter()  # kinds of answers and events, codes of errors and warnings, over all runs

    def __init__(self):
        super().__init__()
        self.first_org = self.system.begin()
        self.model = Reference(MERGE_MAX_ENTRIES)
        self.sent, self.answered, self.places = [], {}, Counter()
        self.sent_at_change = self.sent_at_crash = 0

    # ------------------------------------------------------------ steps

    @initialize(seed=SEED)
    def set_up(self, seed):
        dice = random.Random(seed)
        for org in workload.ORGS:
            self.apply_catalog(workload.catalog(dice, org))
        self.process([self.new(*one) for one in workload.first_customers(dice)])
        self.process([self.new(*one) for one in workload.first_cards()])

    @rule(batch=BATCH, at_once=st.sampled_from([8, 8, 8, 2]))
    def messages_arrive(self, batch, at_once):
        messages = self.arrivals(batch)
        for start in range(0, len(messages), at_once):
            self.process(messages[start : start + at_once])

    @precondition(lambda self: len(self.sent) >= self.sent_at_change + 30)
    @rule(org=st.sampled_from(workload.ORGS), seed=SEED)
    def a_catalog_changes(self, org, seed):
        self.apply_catalog(workload.catalog(random.Random(seed), org))
        self.sent_at_change = len(self.sent)

    @precondition(lambda self: len(self.sent) >= self.sent_at_crash + 10)
    @rule(back=BACK, count=st.integers(1, 8), by_place=st.booleans())
    def a_crash_makes_them_come_again(self, back, count, by_place):
        """The same bytes, whether they are found by their place or by their id; and nothing changes."""
        end = max(len(self.sent) - back, 0)
        again = list({message.at: message for message in self.sent[max(end - count, 0) : end]}.values())
        if again:
            self.process(again, by_place=by_place)
        self.sent_at_crash = len(self.sent)

    @invariant()
    def what_is_stored_is_what_the_model_says(self):
        assert self.system.stored() == stored_by_model(self.model.state)

    # ------------------------------------------------------------ how

    def apply_catalog(self, document):
        document = document | {"orgId": document["orgId"] + self.first_org}
        taken = self.model.apply_catalog(document)
        assert self.system.apply_catalog(document, expected=taken) == taken

    def process(self, messages, *, by_place=False):
        """One batch, by mergeline and then by the model, which is told when mergeline decided."""
        if not messages:
            return
        for message in messages:  # a failure shows what was sent, in its shortest form
            note(f"{message.origin.request_id} at {message.at.offset}: {message.value.decode()}")
        for message, records in zip(messages, self.system.apply(messages, by_place), strict=True):
            if message.at in self.answered:
                assert records == self.answered[message.at], "not the same bytes again"
                continue
            said = occurred_at(records)
            now = datetime.fromisoformat(said) if said else NEVER
            origin = (message.origin.partition, message.origin.offset)
            answer = self.model.take(message.origin.topic, message.value, origin, now)
            assert_same_records(records, answer, message)
            self.answered[message.at] = records
            self.sent.append(message)
            self.count(answer)

    def count(self, answer):
        self.seen[answer.code or answer.kind] += 1
        outcome = answer.outcome["data"] if answer.outcome else {"errors": [], "warnings": []}
        self.seen.update({problem["code"] for problem in outcome["errors"] + outcome["warnings"]})
        self.seen.update(event["type"] for event in answer.events)

    # ------------------------------------------------------------ messages

    def arrivals(self, batch):
        messages = []
        for kind, seed, back in batch:
            before = self.sent + messages
            earlier = before[-1 - back % len(before)]
            if kind in OF_REQUESTS:
                request = self.request(kind, random.Random(seed), before[: len(before) - back])
                messages.append(self.new(*request, kind, earlier))
            elif kind == TORN:
                messages.append(self.message(UPDATES, b'{"orgId": '))
            elif kind != REDELIVERED or earlier not in messages:
                messages.append(self.again(kind, earlier))
        return list({message.at: message for message in messages}.values())

    def request(self, kind, dice, before):
        """A new request; where the kind says so, it follows on the latest one before that can be followed."""
        follow = {TAKEN_BACK: workload.taken_back, RELABELLED: workload.relabelled}.get(kind, lambda *_: None)
        followed = (follow(dice, body_of(message)) for message in reversed(before[-30:]))
        body = next((body for body in followed if body is not None), None)
        return workload.request(dice) if body is None else (UPDATES, body | {"orgId": body["orgId"] - self.first_org})

    def new(self, topic, body, kind=FRESH, earlier=None):
        body = body | {"orgId": body["orgId"] + self.first_org}
        if kind == BORROWED_ID:
            body["requestId"] = body_of(earlier).get("requestId") or "of-nobody"
        elif kind != NO_ID:
            body["requestId"] = f"request-{sum(self.places.values())}"
        return self.message(topic, json.dumps(body).encode())

    def again(self, kind, earlier):
        if kind == REDELIVERED:
            return earlier
        if kind == REROUTED:
            return self.message(earlier.origin.topic, earlier.value, earlier.origin)
        return self.message(earlier.origin.topic, earlier.value + (b" " if kind == CHANGED else b""))

    def message(self, topic, value, origin=None):
        """The next message of a topic, and the next place in the internal topic."""
        partition = self.first_org + len(value) % PARTITIONS
        if origin is None:
            origin = Coordinate(topic, partition, self.next_offset(topic, partition))
        at = Coordinate(INTERNAL, origin.partition, self.next_offset(INTERNAL, origin.partition))
        return Message(origin=origin, at=at, timestamp_ms=0, key=b"key", value=value)

    def next_offset(self, topic, partition):
        self.places[topic, partition] += 1
        return self.places[topic, partition] - 1


def body_of(message):
    return parsed(message.value)


@lru_cache(1000)
def parsed(value):
    try:
        return json.loads(value)
    except ValueError:
        return {}
