"""The runner of seeded bugs tells a catch from a miss. All of them: `python -m tests.attacks bugs`."""

from dataclasses import replace

from tests.attacks.bugs.bug import Edit, bugs
from tests.attacks.bugs.runner import ROOT, hunt

BUGS = {bug.name: bug for bug in bugs()}
AT_ONCE = ("no-body-hash", "repoint-forgotten", "suspended-card-not-counted")
"""Those that are really hunted here: unit tests find them."""


def test_bugs_are_caught_and_what_does_no_harm_is_a_miss(tmp_path):
    harmless = Edit("domain/ledger.py", '"""The rows of the request ids', '"""All rows of the request ids')
    harm = [replace(BUGS[name], caught_by=BUGS[name].caught_by[:1]) for name in AT_ONCE]
    none = replace(harm[0], name="harmless", edits=(harmless,))
    verdicts = hunt([*harm, none], tmp_path, lanes=())
    caught = [verdict.caught_by and verdict.caught_by.partition("::")[0] for verdict in verdicts]
    assert caught == [*(f"tests/{bug.caught_by[0]}" for bug in harm), None]
    copy = tmp_path / "0/checkout"
    assert [
        path for path in none.changed(copy) if path.read_bytes() != (ROOT / path.relative_to(copy)).read_bytes()
    ] == []
