"""What must be true of the whole database, whatever happened to it: `mergeline verify`.

In: a connection. Out: every offender of every rule, then the counts of what was looked at, all of one moment. Never:
a change, the value of an identifier, or memory or temporary files (of the server's too) that grow with the tables: its
queries follow indexes. What it keeps on disk itself is 24 bytes for each change event that the ledger has.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from mergeline.store.statements import Connection, Statements
from mergeline.store.versions import wrong_versions

ROWS_PAGE: Final = 1_000
IDLE_MS_MAX: Final = 600_000
"""Between two statements: the client sorts."""

RULES: Final = {
    "entry-once": "verify_entry_once",
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
OF_KEPT_DAYS: Final = frozenset({"request-decided-once", "request-found-by-id"})
"""Rules about the ledger's days that are kept: `prune` may stand in the middle of an older one."""
VERSIONS_RULE: Final = "versions-without-gap"


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


async def verify(connection: Connection, kept_from: date = date.min) -> AsyncIterator[Offence | Summary]:
    """Every offence, and at the end one summary.

    Args:
        connection: to the database; it can be a standby.
        kept_from: the first day of the ledger that no `prune` may touch.
    """
    db = Statements(connection)
    async with db.snapshot():
        await db.fetch("verify_bounds", f"{IDLE_MS_MAX}ms")
        for rule, query in RULES.items():
            arguments = (kept_from,) if rule in OF_KEPT_DAYS else ()
            async for row in db.stream(query, *arguments, page=ROWS_PAGE):
                yield Offence(rule, row["offender"])
        async for text in wrong_versions(db):
            yield Offence(VERSIONS_RULE, text)
        (row,) = await db.fetch("verify_counts")
        yield Summary(dict(row), (*RULES, VERSIONS_RULE))
