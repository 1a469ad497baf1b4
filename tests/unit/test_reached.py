"""What a pipeline knows of how far its partitions got, and what it has the database know."""

import pytest

from mergeline.domain.messages import Place
from mergeline.store.failures import Forgotten
from mergeline.store.ownership import Owner
from mergeline.store.progress import Progress
from mergeline.stream.reached import Reached

HERE = Place("identifier-updates", 3)


def acquired(begin=5, *, published=5, answered=5, horizon=-1):
    reached = Reached()
    reached.acquired({HERE: Owner(None, published, answered)}, {HERE: begin}, {HERE: horizon})
    return reached


@pytest.mark.parametrize(
    ("begin", "answered", "known"), [(5, 5, 5), (5, 9, 9), (7, 5, 7), (7, None, 7)],
    ids=["all published", "answered further", "nothing but marks between", "nobody answered"],
)  # fmt: skip
def test_a_batch_takes_along_where_it_goes_on_and_what_the_owner_before_had_answered(begin, answered, known):
    assert acquired(begin, answered=answered).of_batch([HERE], []) == {HERE: Progress(begin, known)}


def test_what_a_batch_has_stored_the_next_one_takes_along():
    reached = acquired()
    reached.stored(HERE, 7)
    assert reached.of_batch([HERE], []) == {HERE: Progress(5, 8)}


def test_but_not_what_was_in_the_ledger_before():
    reached = acquired(answered=5, horizon=7)
    reached.stored(HERE, 7)
    assert reached.of_batch([HERE], []) == {HERE: Progress(5, 5)}


def test_nor_is_less_remembered_than_another_owner_had_answered():
    reached = acquired(answered=9)
    reached.stored(HERE, 6)
    assert reached.of_batch([HERE], []) == {HERE: Progress(5, 9)}


def test_of_other_partitions_a_batch_takes_along_what_is_published_and_the_database_was_not_told():
    reached = acquired()
    assert reached.of_batch([], [HERE]) == {}
    reached.stored(HERE, 6)
    reached.published({HERE: 7})
    assert reached.of_batch([], [HERE]) == reached.untold() == {HERE: Progress(7, 7)}
    reached.told(reached.untold())
    assert reached.of_batch([], [HERE]) == reached.untold() == {}


@pytest.mark.parametrize(("end", "beyond"), [(7, False), (8, True)], ids=["what was answered", "passed over"])
def test_what_is_published_beyond_what_is_answered_is_said_so(end, beyond):
    reached = acquired()
    reached.stored(HERE, 6)
    assert reached.published({HERE: end}) is beyond


@pytest.mark.parametrize("answered", [7, 8], ids=["as much", "more"])
def test_who_acquires_again_goes_on_with_a_database_that_has_what_it_stored(answered):
    reached = acquired()
    reached.stored(HERE, 6)
    reached.check({HERE: Owner(None, 5, answered)})


@pytest.mark.parametrize("answered", [6, None], ids=["less", "nobody is to answer any more"])
def test_and_not_with_one_that_has_not(answered):
    reached = acquired()
    reached.stored(HERE, 6)
    with pytest.raises(Forgotten):
        reached.check({HERE: Owner(None, 5, answered)})


def test_nor_where_it_has_stored_nothing_and_nobody_is_to_answer_any_more():
    with pytest.raises(Forgotten):
        acquired(0, published=0, answered=0).check({HERE: Owner(None, 0, None)})


def test_whoever_acquires_for_the_first_time_has_stored_nothing():
    Reached().check({HERE: Owner(None, 0, None)})


def test_what_was_stored_while_it_acquired_again_stays_known():
    reached = acquired()
    reached.stored(HERE, 8)
    reached.acquired({HERE: Owner(None, 5, 6)}, {HERE: 6}, {HERE: 5})
    assert reached.of_batch([HERE], []) == {HERE: Progress(6, 9)}
