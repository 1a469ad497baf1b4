"""The malformed messages of `schemas/examples`, as values."""

import json
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"


@dataclass(frozen=True)
class Malformed:
    value: bytes
    code: str
    why: str


def malformed(topic):
    """Every listed case of an input topic."""
    folder = EXAMPLES / topic / "malformed"
    return [
        Malformed(_value(folder, entry), entry["code"], entry["why"])
        for entry in json.loads((folder / "index.json").read_bytes())
    ]


def _value(folder, entry):
    if "file" in entry:
        return (folder / entry["file"]).read_bytes()
    return b"".join(text.encode() * count for text, count in entry["repeat"])
