"""Every seeded bug of `tests/attacks/bugs` can still be put in, once and as Python."""

import ast
from pathlib import Path

import pytest
from tests.attacks.bugs.bug import Bug, bugs


def test_there_are_forty_with_names_of_their_own() -> None:
    assert len(bugs()) == len({bug.name for bug in bugs()}) == 52


@pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug.name)
def test_a_bug_can_be_put_in(root: Path, bug: Bug) -> None:
    """Else its line was changed: mend the row with it, so that it says what must not become of the new line."""
    for path, text in bug.changed(root).items():
        assert text != path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            ast.parse(text)
    assert bug.why
    assert [file for file in bug.caught_by if not (root / "tests" / file).is_file()] == []
