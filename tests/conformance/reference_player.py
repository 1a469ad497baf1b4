"""The scenarios played by the reference model in place of a worker: no Kafka, a second.

It is the one module of the kit that knows anything of this project's tests; the kit runs without it.
"""

import json
from datetime import UTC, datetime, timedelta

from tests.conformance.judge import Record, differences
from tests.simulation.reference import Reference

START = datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)


def played_by_reference(scenario):
    """The differences between a scenario and what the reference model does."""
    model, records, letters, places = Reference(), [], {}, []
    if scenario.catalog is not None:
        assert model.apply_catalog(scenario.catalog)
    offset = 0
    for step in scenario.steps:
        for number, message in enumerate(scenario.messages(step)):
            place = (message.topic, 0, offset)
            if number == 0:
                places.append(place)
            offset += 1
            if step.action == "raw":  # the model reads requests, and has no opinion on what is none
                letters[place] = letter(message, step.expected["dead-letter"])
                continue
            answer = model.take(message.topic, message.value, place[1:], START + timedelta(seconds=offset))
            if answer.kind == "dead_letter":
                letters[place] = letter(message, answer.code)
            else:
                records += told(answer)
    return differences(scenario, places, records, letters)


def letter(message, code):
    headers = {"kafka_dlt-exception-message": f"{code}: ", "kafka_dlt-exception-fqcn": f"mergeline.{code}"}
    return Record(f"{message.topic}-dlt", message.key.decode(), headers, message.value)


def told(answer):
    duplicate = {"mergeline-duplicate": "true"} if answer.kind == "duplicate" else {}
    events = answer.events if answer.kind == "decided" else []
    return [record(event, duplicate) for event in [*events, answer.outcome]]


def record(event, more):
    headers = {
        "ce_specversion": "1.0", "ce_id": event["id"], "ce_type": event["type"], "ce_source": "/mergeline",
        "ce_time": event["data"]["occurredAt"], "ce_subject": event["key"], "content-type": "application/json",
    }  # fmt: skip
    return Record(event["topic"], event["key"], headers | more, json.dumps(event["data"]).encode())
