"""What `mergeline show` tells people beyond what is in the document."""

import json
from pathlib import Path

import pytest

from mergeline.cli.shown import request_tree

EXAMPLES = Path(__file__).parents[2] / "schemas/examples/show-request/valid"
HINT = "mergeline redrive --topic identifier-updates --partition 3 --offset 1208"


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.stem)
def test_a_dead_letter_says_where_its_reason_is_and_nothing_else_does(path: Path) -> None:
    document = json.loads(path.read_bytes())
    said = [str(branch.label) for branch in request_tree(document).children]
    assert any(line.endswith(HINT) for line in said) == (document["status"] == "MALFORMED_JSON")
