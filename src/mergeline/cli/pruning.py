"""`mergeline prune`: the ledger's old days go, whole.

In: the settings, how many days are kept. Out: the days that are (or would be) dropped. Never: a day that Kafka or a
producer may still ask for, one with an unpublished answer, or anything dropped unless it was said with --yes.
"""

import asyncio
from typing import Any, Final

import click
from rich.text import Text

from mergeline.cli.group import json_option, with_settings
from mergeline.cli.output import console, lay_out, note, print_json, table
from mergeline.database import connected
from mergeline.errors import SetupError
from mergeline.settings import Settings, variable
from mergeline.store.connecting import LONG_STATEMENT_MS_MAX
from mergeline.store.incarnations import read_incarnations
from mergeline.store.pruning import OldDay, check_published, check_rights, drop_day, old_days
from mergeline.store.statements import Statements
from mergeline.stream.retention import Deliverable, read_deliverable

MEGABYTE: Final = 1_000_000


@click.command(short_help="Drop the ledger's old days.")
@click.option("--keep-days", type=click.IntRange(1, 36_500), metavar="DAYS",
              help="Whole days that are kept besides today.  [default: MERGELINE_LEDGER_DAYS]")  # fmt: skip
@click.option("--yes", is_flag=True, help="Drop them. Without this, it is only said what would be dropped.")
@click.option("--ignore-retention", is_flag=True,
              help="Although an input topic keeps messages for longer than the ledger would know them.")  # fmt: skip
@json_option
@with_settings
def prune(settings: Settings, keep_days: int | None, *, yes: bool, ignore_retention: bool, as_json: bool) -> None:
    """Drop the ledger's old days: the stored answers, and the request ids that are known by them.

    What the ledger has forgotten takes effect again when it is sent, or read, once more. So a day is refused that
    MERGELINE_LEDGER_DAYS promises to remember, that an input topic can still deliver (its retention.ms and segment.ms
    say so), or that has an answer which may be unpublished. Customers, identifiers, cards, merges and catalogs stay.

    Safe beside running workers, and to be run again after it was interrupted. It needs the role that migrates.

    \b
    Example:
      mergeline prune              say what would go
      mergeline prune --yes        drop it (daily, by cron)
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    wanted = _days_to_keep(settings, keep_days)
    asyncio.run(_prune(settings, wanted, drop=yes, ignore_retention=ignore_retention, as_json=as_json))


def _days_to_keep(settings: Settings, given: int | None) -> int:
    if given is not None and given < settings.ledger_days:
        raise SetupError(
            f"--keep-days {given} is less than {variable('ledger_days')} ({settings.ledger_days}), for which a "
            "repeated request is promised to be known. Keep more days, or lower the setting, for the workers too."
        )
    return given or settings.ledger_days


async def _prune(settings: Settings, keep_days: int, *, drop: bool, ignore_retention: bool, as_json: bool) -> None:
    deliverable = await read_deliverable(settings)
    if (complaint := too_short(deliverable, keep_days)) is not None:
        if not ignore_retention:
            raise SetupError(complaint)
        note(complaint)
    shown: list[dict[str, Any]] = []
    async with connected(settings, LONG_STATEMENT_MS_MAX) as connection:
        await check_rights(connection)
        known = await read_incarnations(Statements(connection))
        place = (settings.group_id, deliverable.published(settings.topic_prefix, known))
        try:
            for old in await old_days(connection, keep_days):
                if drop:
                    shown.append(_row(old, await drop_day(connection, old.day, *place)))
                else:
                    await check_published(connection, old.day, *place)
                    shown.append(_row(old, None))
        except SetupError:
            if shown:  # what is gone is said, whatever stopped it then
                _show(shown, keep_days, dropped=drop, as_json=as_json)
            raise
    _show(shown, keep_days, dropped=drop, as_json=as_json)


def too_short(deliverable: Deliverable, keep_days: int) -> str | None:
    """Why so few days are too few for what the input topics keep, or None."""
    least = deliverable.days_least()
    if least is not None and keep_days >= least:
        return None
    names = ", ".join(deliverable.longest())
    if least is None:
        return (
            f"{names} keeps messages for ever (retention.ms -1, or compacted): whatever the ledger forgets takes "
            "effect again if it is read again, as after a loss of the group's offsets. Give it a retention.ms, or "
            "accept that with --ignore-retention."
        )
    return (
        f"{names} can deliver messages for up to {least} days (retention.ms + segment.ms), so {keep_days} days of the "
        f"ledger are too few: what is read again must be known. Keep {least} days (--keep-days {least}), or lower "
        "retention.ms or segment.ms."
    )


def _row(old: OldDay, request_ids: int | None) -> dict[str, Any]:
    return {"day": old.day.isoformat(), "bytes": old.bytes, "requestIds": request_ids}


def _show(shown: list[dict[str, Any]], keep_days: int, *, dropped: bool, as_json: bool) -> None:
    if as_json:
        print_json({"keepDays": keep_days, "dropped": dropped, "days": shown})
        return
    if not shown:
        console().print(f"No day is older than {keep_days} days.")
        return
    rows = table("dropped" if dropped else "would be dropped", "MB", "request ids")
    for row in rows.columns[1:]:
        row.justify = "right"
    for one in shown:
        ids = "" if one["requestIds"] is None else str(one["requestIds"])
        rows.add_row(Text(one["day"]), f"{one['bytes'] / MEGABYTE:.1f}", ids)
    lay_out(console(), rows)
    if not dropped:
        console().print("\nNothing was changed. Drop them with: mergeline prune --yes")
