"""Columns, which travel as text, arrive as they were."""

from datetime import UTC, date, datetime

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergeline.store.statements import array_text

TEXTS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=20)
NASTY = [
    '"',
    "\\",
    "\\n",
    "\n",
    "{",
    "}",
    "{a,b}",
    ",",
    "null",
    "NULL",
    "",
    " ",
    "\x1f",
    "\x7f",
    "ü",
    "\U0001f600",
    None,
]


@pytest.fixture
async def connection(postgres):
    connection = await asyncpg.connect(postgres.database_url)
    yield connection
    await connection.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
async def test_texts_arrive_as_they_were(connection, column):
    assert await connection.fetchval("select $1::text::text[]", array_text(column)) == column


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("text", NASTY),
        ("text", []),
        ("bigint", [1, -(2**63), 2**63 - 1, None]),
        ("boolean", [True, False, None]),
        ("date", [date(2026, 11, 22), date(1, 1, 1), None]),
        ("timestamptz", [datetime(2026, 11, 22, 9, 59, 59, 123456, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), None]),
    ],
)
async def test_every_kind_of_column_does(connection, kind, column):
    assert await connection.fetchval(f"select $1::text::{kind}[]", array_text(column)) == column
