"""How many dead letters in a row: the run at the end of what was answered."""

import pytest

from mergeline.domain.batch import DeadLetter, Verdict
from mergeline.domain.dead_letters import runs
from mergeline.domain.ledger import RowKind
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message

TOPIC = "identifier-updates"
LETTER, ANSWERED = "x", "-"
"""Of a text, one character an answer; any other is one that ends a run."""
KINDS = {"d": RowKind.DECIDED, "r": RowKind.REPEAT, "u": RowKind.REUSED, LETTER: RowKind.DEAD_LETTER, ANSWERED: None}


def verdicts(text: str, partition: int = 0) -> list[Verdict]:
    return [verdict(character, partition) for character in text]


def verdict(character: str, partition: int) -> Verdict:
    place = Coordinate(TOPIC, partition, 0)
    message = Message(place, Coordinate("commands-by-customer", 5, 0), 0, None, b"")
    item = DeadLetter(message, DeadLetterReason("INVALID_REQUEST", ""), "r")
    return Verdict(item, message, 7, "r", b"", KINDS[character])


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("x", 0, 1),
        ("xxx", 4, 7),
        ("d", 4, 0),
        ("xxd", 4, 0),
        ("dxx", 4, 2),
        ("xdx", 4, 1),
        ("r", 4, 0),  # a repeat is an answer,
        ("u", 4, 0),  # and so is a reuse
        ("x-x", 4, 6),  # what was answered before counts neither way
        ("d-", 4, 0),
    ],
)
def test_a_run_is_what_stands_at_the_end(text, before, after):
    assert runs(verdicts(text), {(TOPIC, 0): before}) == {(TOPIC, 0): after}


def test_a_partition_without_an_answer_that_counts_is_not_touched():
    assert runs(verdicts("--"), {(TOPIC, 0): 3}) == {}


def test_each_partition_has_its_own_run():
    mixed = [one for pair in zip(verdicts("xxx", 0), verdicts("xdx", 1), strict=True) for one in pair]
    assert runs(mixed, {(TOPIC, 1): 9}) == {(TOPIC, 0): 3, (TOPIC, 1): 1}


def test_a_run_over_two_batches_is_that_of_one():
    text = "xxdx-xrxxx"
    for cut in range(len(text) + 1):
        first = runs(verdicts(text[:cut]), {})
        assert first | runs(verdicts(text[cut:]), first) == runs(verdicts(text), {})
