"""Whether the versions of each customer's changes have no gap, over all the change events that the ledger has.

In: a connection's statements, in a transaction. Out: a text for each customer that is wrong, and for each answer that
cannot be read. Never: more in memory than a page of answers and what `SortedRows` keeps there, or a second pass over
the ledger.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import Final, NamedTuple

import asyncpg
import orjson

from mergeline.domain.requests import ID_MAX
from mergeline.domain.vocabulary import CHANGE_TOPICS
from mergeline.store.framing import Torn, unpack_bare
from mergeline.store.sorting import SortedRows
from mergeline.store.statements import Statements, columns_of

ANSWERS_PAGE: Final = 200
"""Answers read at a time; one can be megabytes."""
CUSTOMERS_PAGE: Final = 1_000


class Change(NamedTuple):
    """A change event: whose, and the version it says."""

    org_id: int
    customer_id: int
    version: int


async def wrong_versions(db: Statements) -> AsyncIterator[str]:
    """What is wrong, a line each."""
    with SortedRows(len(Change._fields)) as changes:
        async for row in db.stream("verify_changes", page=ANSWERS_PAGE):
            try:
                found = list(_changes(row))
            except (Torn, ValueError, KeyError, TypeError):
                yield f"org {row['org_id']}: request {row['request_id']} has unreadable events"
                continue
            for change in found:
                changes.put(*change)
        customers = _by_customer(map(Change._make, changes))
        while page := list(islice(customers, CUSTOMERS_PAGE)):
            rows = await db.fetch("verify_versions", *columns_of([key for key, _ in page], 2))
            stored = {(row["org_id"], row["customer_id"]): row["version"] for row in rows}
            for key, versions in page:
                for fault in _faults(versions, stored[key]):
                    yield f"org {key[0]}: customer {key[1]} {fault}"


def _by_customer(changes: Iterable[Change]) -> Iterator[tuple[tuple[int, int], "Versions"]]:
    for key, group in groupby(changes, key=itemgetter(0, 1)):
        yield key, Versions.of(change.version for change in group)


class Versions(NamedTuple):
    """The versions of a customer's changes, in order: what there is to say about them without keeping them."""

    last: int
    twice: int | None
    """The first that is there twice (0 is none that a change can have)."""
    gap: bool

    @classmethod
    def of(cls, versions: Iterable[int]) -> "Versions":
        """Of versions in order. Older days may have been pruned, so they may begin anywhere."""
        last, twice, gap = None, None, False
        for version in versions:
            if version in (0, last):
                twice = version if twice is None else twice
            elif last:
                gap = gap or version != last + 1
            last = version
        return cls(last or 0, twice, gap)


def _faults(versions: Versions, stored: int | None) -> Iterator[str]:
    """What is wrong with a customer at version `stored`; None is one that is not registered."""
    if versions.twice is not None:
        yield f"has a change of version {versions.twice} that cannot be, or is there twice"
    if stored is None:
        yield "has changes, but is not registered"
    elif versions.last != stored:
        yield f"is at version {stored}, but its last change is of version {versions.last}"
    elif versions.gap:
        yield "has a gap among the versions of its changes"


def _changes(row: asyncpg.Record) -> Iterator[Change]:
    """The change events of an answer."""
    for topic, key, value, _ in unpack_bare(row["outgoing"]):
        if topic in CHANGE_TOPICS:
            if key is None or value is None:
                raise Torn("an event has a key and a value")
            org_id, customer_id = key.split(b":")
            version = orjson.loads(value)["customerVersion"]
            change = Change(int(org_id), int(customer_id), version)
            if not isinstance(version, int) or not all(0 <= number <= ID_MAX for number in change):
                raise Torn("a number is none that an event can have")
            yield change
