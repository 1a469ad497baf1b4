"""`mergeline verify`: whether what must always hold does.

In: the database. Out: each rule with the number of its offenders and the first of them; exit status 1 if there is
one. Never: a change, or more offenders in memory than are shown.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.text import Text

from mergeline.cli.group import json_option, with_settings
from mergeline.cli.output import console, lay_out, print_json, table
from mergeline.database import connected
from mergeline.settings import Settings
from mergeline.store.connecting import LONG_STATEMENT_MS_MAX
from mergeline.store.invariants import RULES, VERSIONS_RULE, Offence
from mergeline.store.invariants import verify as offences_of
from mergeline.store.statements import Connection

MEANINGS: Final = {
    "entry-once": "an identifier is in a source (and account) once",
    "entry-owner-living": "every identifier belongs to a customer that is registered and not merged",
    "card-owner-living": "every card that has an owner has one that is registered and not merged",
    "identifier-one-owner": "an identifier belongs to one customer, in whatever sources it is",
    "survivor-living": "a merged customer points straight at a living one",
    "merge-recorded": "every merged customer has the record of its merge",
    "living-and-merged-are-registered": "living and merged customers together are all that were registered",
    "card-owner-by-status": "issued, active and suspended cards have an owner; cards not issued have none",
    "request-decided-once": "every request was decided once, where its id leads to",
    "request-found-by-id": "every request that is known as decided has its row in the ledger",
    "place-answered-once": "every message was answered once",
    VERSIONS_RULE: "the versions of a customer's changes have no gap",
}


@dataclass(slots=True)
class Findings:
    """Offenders by rule, and how much was looked at."""

    numbers: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether there is no offender."""
        return not self.numbers


@click.command(short_help="Check what must always hold, on the live database.")
@click.option("--offenders", "shown_max", type=click.IntRange(0, 100_000), default=20, show_default=True,
              help="Of each rule, at most so many are named.")  # fmt: skip
@json_option
@with_settings
def verify(settings: Settings, shown_max: int, *, as_json: bool) -> None:
    """Check what must always hold, on the live database, at one moment. Exit status 1 if something does not.

    It reads everything once (10 million identifiers: about a minute) in one read-only transaction, whose snapshot
    keeps the server from vacuuming for so long; a standby does as well. Batches are not held up.

    \b
    Example:
      mergeline verify
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    findings = asyncio.run(_verify(settings, shown_max))
    if as_json:
        print_json(as_document(findings))
    else:
        lay_out(console(), picture(findings))
    raise SystemExit(0 if findings.holds else 1)


async def _verify(settings: Settings, shown_max: int) -> Findings:
    kept_from = datetime.now(UTC).date() - timedelta(days=settings.ledger_days)
    async with connected(settings, LONG_STATEMENT_MS_MAX) as connection:
        return await find(connection, shown_max, kept_from)


async def find(connection: Connection, shown_max: int, kept_from: date = date.min) -> Findings:
    """All rules judged; of each, at most `shown_max` offenders are kept. `kept_from` as in `invariants.verify`."""
    findings = Findings()
    async for found in offences_of(connection, kept_from):
        if isinstance(found, Offence):
            findings.numbers[found.rule] += 1
            kept = findings.first.setdefault(found.rule, [])
            if len(kept) < shown_max:
                kept.append(found.offender)
        else:
            findings.counts = found.counts
    return findings


def picture(findings: Findings) -> RenderableType:
    """For people: a line a rule, offenders under the table."""
    rows = table("offenders", "rule")
    rows.columns[0].justify = "right"
    for rule in (*RULES, VERSIONS_RULE):
        number = findings.numbers[rule]
        rows.add_row(Text(str(number), "bold red" if number else "green"), MEANINGS[rule])
    parts: list[RenderableType] = [rows]
    for rule, offenders in findings.first.items():
        parts.append(Text(f"\n{rule}: {findings.numbers[rule]}", "bold red"))
        parts += [Text(f"  {offender}") for offender in offenders]
    looked_at = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in findings.counts.items())
    parts.append(Text(f"\nLooked at {looked_at}.", "dim"))
    return Group(*parts)


def as_document(findings: Findings) -> dict[str, Any]:
    """For programs."""
    rules = [
        {"rule": rule, "offenders": findings.numbers[rule], "first": findings.first.get(rule, [])}
        for rule in (*RULES, VERSIONS_RULE)
    ]
    return {"holds": findings.holds, "rules": rules, "counts": findings.counts}
