"""What taking partitions over goes on with, tries again, and refuses."""

import asyncpg
import pytest

from mergeline.domain.messages import Place
from mergeline.errors import SetupError
from mergeline.store.failures import BatchTooLarge
from mergeline.store.ownership import Owner
from mergeline.stream.handover import check_published
from mergeline.stream.incarnations import at_the_database
from mergeline.stream.retrying import Retriable

HERE = Place("identifier-updates", 3)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(asyncpg.QueryCanceledError("statement timeout"), id="rows that others held for too long"),
        pytest.param(asyncpg.OutOfMemoryError("shared memory"), id="a full lock table"),
        pytest.param(ConnectionResetError(), id="no connection"),
        pytest.param(BatchTooLarge(2, 1), id="too many locks"),
    ],
)
def test_what_may_work_later_is_tried_again(error):
    with pytest.raises(Retriable), at_the_database():
        raise error


def test_what_never_will_ends_the_worker():
    with pytest.raises(asyncpg.InsufficientPrivilegeError), at_the_database():
        raise asyncpg.InsufficientPrivilegeError("no")


@pytest.mark.parametrize(
    ("published", "committed"), [(8, 0), (0, 8), (9, 12)], ids=["by the database", "by the group", "by both"]
)
def test_what_is_answered_and_published_may_be_routed(published, committed):
    check_published({HERE: Owner(None, published, 8)}, {HERE: 7}, {HERE: committed})
    check_published({HERE: Owner(None, 0, 0)}, {}, {HERE: 0})


def test_what_is_answered_and_not_published_may_not():
    with pytest.raises(SetupError, match=r"identifier-updates, partition 3: .* up to 7 and published them up to 5"):
        check_published({HERE: Owner(None, 4, 8)}, {HERE: 7}, {HERE: 5})
