"""What must be true of the whole database, whatever happened to it: `mergeline verify`.

In: a connection. Out: every offender of every rule, then the counts of what was looked at, all of one moment. Never:
a change, the value of an identifier, or more in memory than a page of rows and `CUSTOMERS_AT_ONCE_MAX` customers.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson

from mergeline.domain.vocabulary import Topic
from mergeline.store.framing import Torn, unpack
from mergeline.store.queries import SQL
from mergeline.store.statements import Connection, columns_of

ROWS_PAGE: Final = 1_000
CUSTOMERS_AT_ONCE_MAX: Final = 1_000_000
"""Customers whose versions are gathered in one pass over the ledger; more customers take more passes."""

VERSIONS_MAX: Final = 10_000_000
"""A version beyond is none that anybody reached."""

RULES: Final = {
    "entry-owner-living": "verify_entry_owners",
    "card-owner-living": "verify_card_owners",
    "identifier-one-owner": "verify_one_owner",
    "survivor-living": "verify_survivors",
    "merge-recorded": "verify_merges",
    "living-and-merged-are-registered": "verify_population",
    "card-owner-by-status": "verify_card_statuses",
    "request-decided-once": "verify_decided_once",
    "request-found-by-id": "verify_decided_found",
    "place-answered-once": "verify_places",
}
"""Rules that one query can judge. A cycle of merges is a survivor that does not live."""
VERSIONS_RULE: Final = "versions-without-gap"
CHANGE_TOPICS: Final = frozenset(
    {Topic.CUSTOMER_MERGED, Topic.IDENTIFIERS_CHANGED, Topic.CARD_ISSUED, Topic.CARD_CHANGED}
)


@dataclass(frozen=True, slots=True)
class Offence:
    """Something that breaks a rule."""

    rule: str
    offender: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What was looked at: rows by table, and the rules that were judged."""

    counts: dict[str, int]
    rules: tuple[str, ...]


async def verify(connection: Connection) -> AsyncIterator[Offence | Summary]:
    """Every offence, and at the end one summary."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for rule, query in RULES.items():
            async for row in connection.cursor(SQL[query], prefetch=ROWS_PAGE):
                yield Offence(rule, row["offender"])
        (row,) = await connection.fetch(SQL["verify_counts"])
        counts = dict(row)
        customers = counts["living_customers"] + counts["merged_customers"]
        passes = customers // CUSTOMERS_AT_ONCE_MAX + 1
        for number in range(passes):
            async for offence in _verify_versions(connection, number, passes):
                yield offence
        yield Summary(counts, (*RULES, VERSIONS_RULE))


_CustomerKey = tuple[int, int]


async def _verify_versions(connection: Connection, number: int, passes: int) -> AsyncIterator[Offence]:
    """The change events that the ledger still has: each version of a customer once, none left out, up to its last."""
    seen: dict[_CustomerKey, int] = {}
    """A bit for each version."""
    async for row in connection.cursor(SQL["verify_changes"], prefetch=ROWS_PAGE):
        try:
            changes = [change for change in _changes(row) if hash(change[0]) % passes == number]
        except (Torn, ValueError, KeyError):
            if number == 0:
                yield Offence(VERSIONS_RULE, f"org {row['org_id']}: request {row['request_id']} has unreadable events")
            continue
        for key, version in changes:
            bits = seen.get(key, 0)
            if not 0 < version < VERSIONS_MAX or bits >> version & 1:
                yield _about(key, f"has a change of version {version} that cannot be, or is there twice")
            else:
                seen[key] = bits | 1 << version
    keys = list(seen)
    for start in range(0, len(keys), ROWS_PAGE):
        page = keys[start : start + ROWS_PAGE]
        rows = await connection.fetch(SQL["customers_read"], *columns_of(page, 2))
        versions = {(row["org_id"], row["customer_id"]): row["version"] for row in rows}
        for key in page:
            if (fault := _fault(seen[key], versions.get(key))) is not None:
                yield _about(key, fault)


def _about(key: _CustomerKey, fault: str) -> Offence:
    return Offence(VERSIONS_RULE, f"org {key[0]}: customer {key[1]} {fault}")


def _fault(bits: int, version: int | None) -> str | None:
    """What is wrong with a customer's versions, of which `bits` were seen and `version` is stored."""
    last = bits.bit_length() - 1
    if version is None:
        return "has changes, but is not registered"
    if last != version:
        return f"is at version {version}, but its last change is of version {last}"
    # Older days may have been pruned, so the row of versions may begin anywhere; shifted down it is all ones.
    ones = bits >> ((bits & -bits).bit_length() - 1)
    return "has a gap among the versions of its changes" if ones & (ones + 1) else None


def _changes(row: asyncpg.Record) -> Iterator[tuple[_CustomerKey, int]]:
    """Customer and version of each change event of a ledger row."""
    for record in unpack(row["outgoing"]):
        if record.topic in CHANGE_TOPICS:
            org_id, customer_id = (record.key or b"").split(b":")
            yield (int(org_id), int(customer_id)), orjson.loads(record.value or b"")["customerVersion"]
