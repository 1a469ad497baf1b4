"""Rows that are sorted on disk come out as the ones that went in, in order."""

import random
import tempfile

import pytest

from mergeline.errors import SetupError
from mergeline.store import sorting
from mergeline.store.sorting import SortedRows


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 99, 1_000])
def test_all_rows_come_back_in_order(monkeypatch, number):
    monkeypatch.setattr(sorting, "ROWS_IN_MEMORY_MAX", 10)
    monkeypatch.setattr(sorting, "BUFFER_BYTES", 50)
    chance = random.Random(number)
    given = [(chance.randrange(5), chance.randrange(1 << 63), chance.randrange(3)) for _ in range(number)]
    with SortedRows(3) as rows:
        for row in given:
            rows.put(*row)
        assert list(rows) == sorted(given)


def test_a_folder_that_cannot_be_written_is_said_in_a_line(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null/nothing")
    with pytest.raises(SetupError, match=r"The folder for temporary files: Not a directory.* set TMPDIR"):
        SortedRows(1)


def test_no_more_rows_are_kept_in_memory_than_told(monkeypatch):
    monkeypatch.setattr(sorting, "ROWS_IN_MEMORY_MAX", 10)
    with SortedRows(1) as rows:
        for number in range(1_000):
            rows.put(number)
            assert len(rows._rows) < 10
