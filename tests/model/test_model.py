"""The protocol on paper: every state of a small world keeps the promises, and each known mistake breaks one."""

import importlib
import re
from pathlib import Path

import pytest
from tests.model.checker import DRAINED, EVENTUALLY, NEVER_BACK, PROMISES, SPEC, TIMEOUT_S, Size, check

README = Path(__file__).with_name("README.md")

pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)

# The states are counted, so that a model in which nothing can happen does not pass.
WORLDS = [
    (Size("TwoRequests", faults=1, contests=1), 14_000),
    (Size("TwoRequests", faults=2), 4_000),
    (Size("TwoRequests", contests=2), 5_000),
    (Size("ProducerRepeatsAndReuses", batch=2, faults=1), 1_800),
    (Size("RouterRepeats", batch=2, contests=1), 6_000),
    (Size("TwoPartitions", batch=2, contests=1, ids=6), 10_000),
]

MISTAKES = [
    ("id visible before its init", "PublishedOnce", Size("TwoRequests", contests=1)),
    ("offsets read before fencing", "PublishedOnce", Size("TwoRequests", contests=1)),
    ("waiting batch not cut", "PublishedOnce", Size("TwoRequests", contests=2)),
    ("failed batch not cut", "PublishedOnce", Size("TwoRequests", faults=1)),
    ("EndTxn retried", "RecordsAndOffsetsTogether", Size("TwoRequests", faults=1)),
    ("EndTxn retried", "PublishedOnce", Size("TwoRequests", faults=2)),
    ("last owner not fenced", "PublishedOnce", Size("TwoRequests", contests=1)),
    ("last owner not fenced", NEVER_BACK, Size("TwoRequests", contests=1)),
    ("rows not locked", "PublishedOnce", Size("TwoRequests", contests=1)),
    ("unknown claim taken for owned", "PublishedOnce", Size("TwoRequests", faults=1, contests=1)),
    ("unknown batch commit taken for done", "PublishedAsStored", Size("TwoRequests", faults=1)),
    ("ledger not looked up", "DecidedOnce", Size("TwoRequests", faults=1)),
    ("offsets outside the transaction", "NothingLost", Size("TwoRequests")),
    ("published_offset raised too early", "NothingLost", Size("TwoRequests", faults=1)),
    ("published_offset raised too early", DRAINED, Size("TwoRequests", faults=1)),
]

# Kafka forgets the offsets of a group that was away for days: what was published last is then published again.
EXPIRED = ("offsets expire", Size("TwoRequests", faults=2))
EXPIRED_KEEPS = ("NothingLost", "PublishedAsStored", "DecidedOnce", DRAINED)


def named(value):
    return " ".join(f"{name}={of}" for name, of in vars(value).items()) if isinstance(value, Size) else None


@pytest.mark.parametrize(("size", "states_min"), WORLDS, ids=named)
def test_every_state_keeps_the_promises(tmp_path, size, states_min):
    result = check(size, tmp_path)
    assert result.violated is None, result.text
    assert result.states >= states_min


@pytest.mark.parametrize("size", [Size("TwoRequests", faults=1), Size("OneRequest", contests=1)], ids=named)
def test_every_behaviour_ends_with_nothing_left_to_do(tmp_path, size):
    result = check(size, tmp_path, promises=[EVENTUALLY])
    assert result.violated is None, result.text
    assert result.states > 300


@pytest.mark.parametrize(("broken", "promise", "size"), MISTAKES, ids=named)
def test_a_mistake_breaks_a_promise(tmp_path, broken, promise, size):
    result = check(size, tmp_path, broken=broken, promises=[promise])
    assert result.violated == promise, result.text


def test_expired_offsets_repeat_but_lose_and_change_nothing(tmp_path):
    broken, size = EXPIRED
    for promises, violated in ((EXPIRED_KEEPS, None), (["PublishedOnce"], "PublishedOnce")):
        assert check(size, tmp_path, broken=broken, promises=promises).violated == violated


def test_every_way_to_break_the_model_is_tried():
    text = SPEC.read_text(encoding="utf-8")
    (ways,) = re.findall(r"ASSUME Broken \\subseteq \{(.*?)\}", text, re.DOTALL)
    assert set(re.findall(r'"([^"]+)"', ways)) == {EXPIRED[0], *(broken for broken, *_ in MISTAKES)}
    assert {promise for _, promise, _ in MISTAKES} <= set(PROMISES)


def rows():
    """The rows of README's table of actions: the first cell, the last one."""
    table = README.read_text(encoding="utf-8").split("| action ", 1)[1].split("\n\n", 1)[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return [(cells[0], cells[-1]) for cells in lines]


def test_every_action_stands_in_the_readme():
    text = SPEC.read_text(encoding="utf-8")
    steps = "".join(re.findall(r"^(?:Step|Acquire\(w\)|Publish\(w\)) ==\n((?: .*\n)+)", text, re.MULTILINE))
    actions = set(re.findall(r"\b([A-Z]\w+)\(", steps)) | {"OffsetsExpire"}
    assert {action for cell, _ in rows() for action in re.findall(r"`(\w+)`", cell)} == actions - {"Acquire", "Publish"}


def test_every_function_in_the_readme_exists():
    functions = [name for _, cell in rows() for name in re.findall(r"`(mergeline\.[\w.]+)`", cell)]
    assert len(functions) > 15
    for name in functions:
        resolve(name)


def resolve(name):
    """What a dotted name stands for: a module, and in it a class and its methods."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)
