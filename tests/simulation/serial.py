"""What may come of concurrent operations: what the reference model gives for some serial order of them.

In: a scene (catalog, messages before), and operations, each a batch of messages or a catalog. Out: for every order,
what is said to each operation and what is stored in the end. Times are left out, since every order has others.
"""

from collections import Counter
from datetime import UTC, datetime
from itertools import permutations

from tests.simulation.compare import published, stored_by_models, told_by_model, unordered
from tests.simulation.reference import Reference

NOW = datetime(2026, 11, 21, tzinfo=UTC)
TIMES = {"occurredAt", "issuedAt", "expiresAt", "mergedAt", "issued", "expires"}


def timeless(value):
    """A value without the times in it; that there is one is kept."""
    if isinstance(value, dict):
        return {key: one is not None if key in TIMES else timeless(one) for key, one in value.items()}
    if isinstance(value, list):
        return [timeless(one) for one in value]
    return value


def outcomes_of_all_orders(scene, operations, merge_max_entries):
    """order → (what each operation is told, what is stored, dead letters in a row at the end of each topic)."""
    return {
        order: outcome_of(scene, operations, order, merge_max_entries) for order in permutations(range(len(operations)))
    }


def outcome_of(scene, operations, order, merge_max_entries):
    model = Model(merge_max_entries)
    for operation in scene:
        model.take(operation)
    told = {number: model.take(operations[number]) for number in order}
    stored = timeless(stored_by_models([model.reference.state]))
    return [told[number] for number in range(len(operations))], stored, {k: run for k, run in model.runs.items() if run}


class Model:
    """The reference model, which hears of operations and tells what is published for each."""

    def __init__(self, merge_max_entries):
        self.reference, self.by_place, self.runs = Reference(merge_max_entries), {}, Counter()

    def take(self, operation):
        if isinstance(operation, dict):
            return self.reference.apply_catalog(operation)
        return [self.told(message) for message in operation]

    def told(self, message):
        """What is published for a message; for the same message at the same place, the same again."""
        origin = (message.origin.partition, message.origin.offset)
        answer = self.reference.take(message.origin.topic, message.value, origin, NOW)
        if message.at not in self.by_place:
            if answer.kind != "dropped":
                self.runs[message.origin.topic] = (self.runs[message.origin.topic] + 1) * (answer.code is not None)
            letter = [dead_letter(f"{message.origin.topic}-dlt", answer.code)] if answer.kind == "dead_letter" else None
            self.by_place[message.at] = letter or timeless(unordered(told_by_model(answer)))
        return self.by_place[message.at]


def dead_letter(topic, code):
    return {"topic": topic, "code": code}


def told_by_store(result):
    """What an operation was told: a catalog whether it was taken, a batch the records of each message."""
    if isinstance(result, bool):
        return result
    return [timeless(unordered([told_of(record) for record in records])) for records in result]


def told_of(record):
    if not record.topic.endswith("-dlt"):
        return published(record)
    code, _, _ = dict(record.headers)["kafka_dlt-exception-message"].decode().partition(":")
    return dead_letter(record.topic, code)
