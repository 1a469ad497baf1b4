"""The scenarios themselves: they say what the reference model says, and leave out nothing that the contract names."""

import re
from pathlib import Path

import pytest
from tests.conformance.judge import differences
from tests.conformance.reference_player import played_by_reference
from tests.conformance.scenario import load

SCENARIOS = load(first_org=1)
CONTRACT = Path(__file__).parents[2] / "schemas" / "README.md"
RULES = {
    "new-entry", "already-there", "taken", "merge", "conflict", "remove", "issue", "change-label", "remove-card",
    "all-or-nothing", "all-errors", "normalise", "left-out", "derived-id", "repeat", "registration",
    "card-registration", "order-of-events", "customer-merged", "customer-redirects", "orgs",
}  # fmt: skip
NOT_FROM_OUTSIDE = {"PROCESSING_FAILED"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_reference_model_does_what_the_scenario_says(scenario):
    assert played_by_reference(scenario) == []


def test_every_code_of_the_contract_and_every_rule_is_covered():
    codes = set(re.findall(r"^\|[^|]*\| `([A-Z_]{5,})` \|", CONTRACT.read_text(), re.MULTILINE))
    codes |= set(re.findall(r"^\| `([A-Z_]{5,})` \|", CONTRACT.read_text(), re.MULTILINE))
    covered = {name for scenario in SCENARIOS for name in scenario.covers}
    assert len(codes) > 30
    assert (codes | RULES) - covered == NOT_FROM_OUTSIDE
    assert covered - codes - RULES == set(), "a name that means nothing"


def test_codes_that_are_covered_are_said():
    for scenario in SCENARIOS:
        said = str([step.expected for step in scenario.steps])
        assert [name for name in scenario.covers if name.isupper() and name not in said] == [], scenario.title


@pytest.mark.parametrize("wrong", ["outcome", "customer-merged", "identifiers-changed", "final"])
def test_a_difference_is_found(wrong):
    """The judge is judged: a scenario that expects something else is not held."""
    (scenario,) = [one for one in load(first_org=1) if one.title.startswith("One that another customer has elsewhere")]
    assert played_by_reference(scenario) == []
    scenario.sent.clear()
    if wrong == "final":
        scenario.final["identifiers"]["externalId X2 WEB"] = 2
    else:
        part = scenario.steps[-1].expected[wrong]
        (part if isinstance(part, dict) else part[0])["customerVersion"] += 1
    assert len(played_by_reference(scenario)) in (1, 2)


def test_a_missing_and_an_unexpected_event_are_found():
    scenario = load(first_org=1)[0]
    places = []
    for number, step in enumerate(scenario.steps):
        scenario.messages(step)
        places.append(("identifier-updates", 0, number))
    assert all(line.startswith(("missing", "in the end")) for line in differences(scenario, places, [], {}))
