"""The shape of what was published, by the schemas of the contract (`schemas/events`)."""

import json
from functools import cache
from pathlib import Path

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[2] / "schemas" / "events"
FILES = {
    "mergeline.update.outcome": "update-outcome",
    "mergeline.registration.outcome": "registration-outcome",
    "mergeline.customer.merged": "customer-merged",
    "mergeline.identifiers.changed": "identifiers-changed",
    "mergeline.card.issued": "card-issued",
    "mergeline.card.removed": "card-removed",
    "mergeline.card.status_changed": "card-status-changed",
    "mergeline.customer.redirect": "customer-redirect",
}


@cache
def validator(name):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def wrong_shapes(records):
    """A line for each record that its schema refuses."""
    lines = []
    for record in records:
        name = FILES.get(record.headers.get("ce_type"))
        errors = validator(name).iter_errors(record.data) if name else []
        lines += [f"{record.topic}: {error.json_path}: {error.message}" for error in errors]
    return lines
