"""What the database refuses for now while partitions are acquired is tried again; what it will always refuse is not."""

import asyncpg
import pytest

from mergeline.store.failures import BatchTooLarge
from mergeline.stream.incarnations import at_the_database
from mergeline.stream.retrying import Retriable


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
