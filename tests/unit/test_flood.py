"""When dead letters in a row are a flood, which ends a worker, and when they are only together (SPEC section 3)."""

import pytest

from mergeline.domain.messages import Coordinate, Place
from mergeline.stream.flood import READ_BEFORE_A_VERDICT, DeadLetterFlood, FloodGate

HERE = Place("identifier-updates", 0)
LIMIT = 100


@pytest.fixture
def gate():
    return FloodGate(LIMIT)


def passes(gate, run, offsets, place=HERE):
    """Whether a batch from these offsets passes: of dead letters, so many in a row with it, or, at 0, of answers."""
    gate.saw(Coordinate(*place, offset) for offset in offsets)
    try:
        gate.check({place: run}, {place: list(offsets)} if run else {})
    except DeadLetterFlood:
        return False
    return True


def test_a_run_beyond_the_limit_is_a_flood_once_enough_was_read(gate):
    assert passes(gate, 0, range(READ_BEFORE_A_VERDICT))
    assert passes(gate, LIMIT, range(1_000, 1_100))
    assert not passes(gate, LIMIT + 1, [1_100])


def test_nothing_is_judged_before_enough_was_read(gate):
    assert passes(gate, 500, range(500))
    assert passes(gate, 999, range(500, 999))
    assert not passes(gate, 1_000, [999])


def test_bad_messages_that_stand_among_good_ones_are_no_flood_however_many_come_in_a_row(gate):
    """Every hundredth is torn; the others went another way, and were answered long ago."""
    assert passes(gate, 0, range(READ_BEFORE_A_VERDICT))
    for number in range(1, 3_000):
        assert passes(gate, number, [100_000 + 100 * number])


def test_a_producer_with_transactions_of_one_message_leaves_every_other_offset_empty(gate):
    assert passes(gate, 0, range(0, 2 * READ_BEFORE_A_VERDICT, 2))
    assert passes(gate, LIMIT, range(2_000, 2_200, 2))
    assert not passes(gate, LIMIT + 1, [2_200])


def test_a_run_that_began_anew_is_measured_from_there(gate):
    assert passes(gate, 0, range(READ_BEFORE_A_VERDICT))
    assert passes(gate, 5, [50_000])  # of another batch's run, as the database has it
    assert passes(gate, 0, [60_000])
    assert passes(gate, LIMIT, range(90_000, 90_100))
    assert not passes(gate, LIMIT + 50, range(90_100, 90_150))


def test_a_run_that_a_restart_found_goes_on(gate):
    for first in range(50_000, 50_900, 100):
        assert passes(gate, 5_000 + first, range(first, first + 100))
    assert not passes(gate, 60_000, range(50_900, 51_000))


def test_bad_messages_among_good_ones_are_no_flood_after_a_restart_either(gate):
    for number in range(1, 3_000):
        assert passes(gate, 158 + number, [100 * number])


def test_a_batch_beside_it_and_far_ahead_neither_makes_a_flood_nor_hides_one(gate):
    """Lanes: those of unreadable messages lag behind those of good ones."""
    assert passes(gate, 0, range(READ_BEFORE_A_VERDICT))
    for number in range(150):
        assert passes(gate, number, [10_000 + 100 * number])
        assert passes(gate, 0, [24_890])
    assert passes(gate, 151, [24_900])
    assert passes(gate, 99, range(30_000, 30_100))
    assert passes(gate, 0, [50_000])
    assert not passes(gate, LIMIT + 1, [30_100])


def test_a_batch_that_is_tried_again_counts_once(gate):
    assert passes(gate, 0, range(READ_BEFORE_A_VERDICT))
    for _ in range(50):
        assert passes(gate, LIMIT + 1, range(5_000, 5_040))


def test_partitions_are_judged_apart(gate):
    other = Place("identifier-updates", 1)
    assert passes(gate, 0, range(READ_BEFORE_A_VERDICT))
    assert passes(gate, LIMIT + 1, range(101), other)
    assert not passes(gate, LIMIT + 1, range(1_000, 1_101))


def test_no_limit_lets_everything_pass():
    assert passes(FloodGate(0), 100_000, range(100_000))
