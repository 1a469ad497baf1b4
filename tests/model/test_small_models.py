"""The smaller models: a database that forgets, a handover between modes, a topic that is reset."""

import re

import pytest
from tests.model.checker import DRAINED, FOLDER, SMALL, TIMEOUT_S, World, check
from tests.model.test_model import README, resolve

pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)

STORED = "PublishedAsStored"
IN_ORDER = "InOrder"


def forgetting(**constants):
    return World("Forgetting", {f"{name.title()}Max": value for name, value in constants.items()} | {"Records": 3})


def handover(**constants):
    return World("Handover", constants)


def reset(**constants):
    return World("Reset", constants)


TWO_WORKERS = {"Workers": "{A, B}", "ContestsMax": 1}
IN_TURN = {"Overlap": "FALSE"}

# What is left out, and the least number of states: a model in which nothing can happen does not pass.
WORLDS = [
    (forgetting(faults=1, forgets=1, batch=2), (), 13_000),
    (forgetting(forgets=1, contests=1), (STORED,), 27_000),
    (forgetting(faults=1, contests=1), (), 14_000),
    (handover(FaultsMax=1), (IN_ORDER,), 15_000),
    (handover(Routers="{R, S}"), (IN_ORDER,), 18_000),
    (handover(**IN_TURN, StartsMax=5, FaultsMax=2), (), 2_000),
    (reset(FaultsMax=2), (), 11_000),
    (reset(FaultsMax=1, Runs="{R, S}"), (), 7_000),
    (reset(**TWO_WORKERS), (), 20_000),
]

MISTAKES = [
    ("batch does not compare", "AnsweredIsThere", forgetting(forgets=1)),
    ("acquiring does not compare", "AnsweredIsThere", forgetting(forgets=1, faults=1)),
    ("what was stored meanwhile not remembered", "AnsweredIsThere", forgetting(forgets=1, faults=1)),
    ("read behind the claim", "AnsweredIsThere", forgetting(forgets=1, faults=1)),
    ("halves remember the same", "AnsweredIsThere", forgetting(forgets=1, batch=2)),
    ("takes the group's word", "AnsweredIsThere", forgetting(forgets=1, faults=1)),
    ("router does not take over", "NothingLost", handover()),
    ("not asked what is published", "NothingLost", handover()),
    ("not disowned", "NothingLost", handover()),
    ("begun behind the claim", "NothingLost", handover()),
    ("confirmed before it locks", "NothingLost", handover()),
    ("guard reads before it waits", "NothingLost", handover()),
    ("not asked whether it is drained", IN_ORDER, handover(**IN_TURN, FaultsMax=1)),
    ("not locked out first", "NothingLost", reset(FaultsMax=2)),
    ("workers not fenced", "PublishedOnce", reset()),
    ("former incarnation not closed", "NothingLost", reset()),
    ("guard reads before it waits", "NothingLost", reset()),
    ("claim does not name the incarnation", "NothingPassedOver", reset()),
    ("nothing stored, nothing missed", "NothingLost", reset(FaultsMax=2)),
    ("mark not read", "PublishedOnce", reset(FaultsMax=1)),
    ("marked before published", "NothingLost", reset(FaultsMax=1)),
    ("ends before all is published", "NothingLost", reset()),
]

# What is not promised, and README.md says so: it is found as well, or the sentence would be wrong.
NOT_PROMISED = [
    (None, STORED, forgetting(forgets=1, contests=1)),
    ("claims forgotten", "PublishedOnce", forgetting(forgets=1, contests=1)),
    (None, "NothingLost", handover(Keyed="{K, L}")),
]


def named(value):
    return f"{value.model} {dict(value.constants)}" if isinstance(value, World) else str(value or "-")


@pytest.mark.parametrize(("world", "without", "states_min"), WORLDS, ids=named)
def test_every_state_keeps_the_promises(tmp_path, world, without, states_min):
    promises = [promise for promise in (*SMALL[world.model][1], DRAINED) if promise not in without]
    result = check(world, tmp_path, promises=promises)
    assert result.violated is None, result.text
    assert result.states >= states_min


@pytest.mark.parametrize(("broken", "promise", "world"), MISTAKES + NOT_PROMISED, ids=named)
def test_a_mistake_or_what_is_not_promised_breaks_a_promise(tmp_path, broken, promise, world):
    result = check(world, tmp_path, broken=broken, promises=[promise])
    assert result.violated == promise, result.text


@pytest.mark.parametrize("model", SMALL)
def test_every_way_to_break_a_model_is_tried(model):
    (ways,) = re.findall(r"ASSUME Broken \\subseteq \{(.*?)\}", text_of(model), re.DOTALL)
    tried = {broken for broken, _, world in MISTAKES + NOT_PROMISED if world.model == model and broken}
    assert set(re.findall(r'"([^"]+)"', ways)) == tried


def text_of(model):
    return (FOLDER / f"{model}.tla").read_text(encoding="utf-8")


def actions_of(model):
    """The names in the formulas that say what steps there are."""
    (step,) = re.findall(r"^Step == (.*)", text_of(model), re.MULTILINE)
    groups = set(re.findall(r"\b([A-Z]\w+)\([wr]\)", step))
    found = set(re.findall(r"\b([A-Z]\w+)\b", re.sub(r"[A-Z]\w+\([wr]\)|\\E \w+ \\in \w+", "", step)))
    for group in groups:
        (body,) = re.findall(rf"^{group}\(\w\) ==\n((?:    \\/.*\n(?:       .*\n)*)+)", text_of(model), re.MULTILINE)
        found |= set(re.findall(r"\b([A-Z]\w+)\(", body))
    return found


def rows(model):
    """The rows of the model's table of actions in README.md: the first cell, the last one."""
    table = README.read_text(encoding="utf-8").split(f"| action of `{model}` ", 1)[1].split("\n\n", 1)[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return [(cells[0], cells[-1]) for cells in lines]


@pytest.mark.parametrize("model", SMALL)
def test_every_action_stands_in_the_readme_with_functions_that_exist(model):
    assert {action for cell, _ in rows(model) for action in re.findall(r"`(\w+)`", cell)} == actions_of(model)
    functions = [name for _, cell in rows(model) for name in re.findall(r"`(mergeline\.[\w.]+)`", cell)]
    assert len(functions) > 8
    for name in functions:
        resolve(name)
