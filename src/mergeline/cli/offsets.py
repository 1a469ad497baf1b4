"""`mergeline offsets`: how far the group is beyond what the database knows, and the way back.

In: the settings. Out: each partition and what is to be done; exit status 1 where something is. Never: an offset set
unless it was said with --yes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import groupby
from typing import Any

import click
from aiokafka.admin import AIOKafkaAdminClient
from rich.text import Text

from mergeline.cli.group import json_option, with_settings, yes_option
from mergeline.cli.output import console, lay_out, print_json, table
from mergeline.database import connected
from mergeline.settings import Settings
from mergeline.store.statements import Connection
from mergeline.stream import rewinding
from mergeline.stream.rewinding import Standing
from mergeline.stream.topics import admin

Ask = Callable[[Settings, AIOKafkaAdminClient, Connection], Awaitable[list[Standing]]]


@click.group(invoke_without_command=True, short_help="Whether the group is beyond what the database knows.")
@json_option
@click.pass_context
def offsets(context: click.Context, *, as_json: bool) -> None:
    """Whether the consumer group is beyond what the database has answered, and how far it has to go back.

    A database that was restored from an older backup, or whose standby took over without the last commits, knows no
    answers to the last of what the group has read. Workers refuse to go on then. This shows of each partition that
    they read what the group has committed, what the database has as published and as answered, where the log begins
    and ends, and what is to be done. Exit status 1 if anything is.

    Safe beside running workers.

    \b
    Example:
      mergeline offsets
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    if context.invoked_subcommand is None:
        _show(as_json=as_json)
    elif as_json:
        raise click.UsageError(f"--json goes behind {context.invoked_subcommand}.")


@with_settings
def _show(settings: Settings, *, as_json: bool) -> None:
    found = asyncio.run(_ask(settings, rewinding.standings))
    todo = [one for one in found if one.problem is not None or one.back_to() is not None]
    if as_json:
        print_json({"partitions": [as_document(one, one.back_to()) for one in found]})
    else:
        _print(found, to_start=False)
        if any(one.problem is None for one in todo):
            console().print("\nStop all workers, then run: mergeline offsets rewind --yes")
        if not todo:
            console().print("\nNothing has to be set back.")
    if todo:
        raise SystemExit(1)


@offsets.command()
@click.option("--to-start", is_flag=True,
              help="To the start of the logs: where MERGELINE_REQUESTS_KEYED was changed since the backup, so that the "
                   "database does not know what it lacks.")  # fmt: skip
@yes_option
@json_option
@with_settings
def rewind(settings: Settings, *, to_start: bool, yes: bool, as_json: bool) -> None:
    """Set the group back to what the database has answered, so that workers decide the rest again.

    What the database knows is passed over when it is read again, so further back is safe. No offset is set forward.
    What has expired from a log cannot be read again; it is said where that is so. Exit status 1 if workers still stop
    at a partition that is not mended by going back.

    All workers must be stopped. Safe to be run again.

    \b
    Example:
      mergeline offsets rewind              say what would be done
      mergeline offsets rewind --yes        do it
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    found = asyncio.run(_ask(settings, partial(rewinding.rewind, to_start=to_start, change=yes)))
    back = [one.back_to(to_start=to_start) for one in found]
    if as_json:
        documents = [as_document(one, to) for one, to in zip(found, back, strict=True)]
        print_json({"changed": yes and any(to is not None for to in back), "partitions": documents})
    else:
        _print(found, to_start=to_start)
        _say(sum(to is not None for to in back), changed=yes, stuck=any(one.problem is not None for one in found))
    if any(one.problem is not None for one in found):
        raise SystemExit(1)


def _say(count: int, *, changed: bool, stuck: bool) -> None:
    if not count:
        said, then = "Nothing has to be set back.", ""
    elif changed:
        said, then = f"{count} partitions were set back.", " Start the workers."
    else:
        said, then = "Nothing was changed. Do it with --yes.", ""
    console().print(f"\n{said}{' Workers still stop at what is said above.' if stuck else then}", soft_wrap=True)


async def _ask(settings: Settings, ask: Ask) -> list[Standing]:
    async with admin(settings) as client, connected(settings) as connection:
        return await ask(settings, client, connection)


def as_document(one: Standing, back_to: int | None) -> dict[str, Any]:
    """For programs."""
    return {
        "topic": one.partition.topic,
        "partition": one.partition.partition,
        "committed": one.committed,
        "published": one.published,
        "answered": one.answered,
        "logStart": one.start,
        "logEnd": one.end,
        "setBackTo": back_to,
        "gone": None if one.gone is None else {"from": one.gone[0], "toBefore": one.gone[1]},
        "problem": one.problem,
    }


def _print(found: list[Standing], *, to_start: bool) -> None:
    for topic, partitions in groupby(found, lambda one: one.partition.topic):
        rows = table("partition", "committed", "published", "answered", "log", "to be done", title=f"\n{topic}")
        for one in partitions:
            numbers = (
                str(one.partition.partition),
                "none" if one.committed is None else str(one.committed),
                str(one.published),
                "routed" if one.answered is None else str(one.answered),
                f"{one.start} to {one.end}",
            )
            rows.add_row(*numbers, Text(to_be_done(one, one.back_to(to_start=to_start))))
        lay_out(console(), rows)
    if any(one.gone is not None for one in found):
        lost = "\nWhat is gone from a log cannot be read again: the database does not get it back."
        console().print(lost, style="yellow", soft_wrap=True)
    for one in found:
        if one.problem is not None:
            console().print(f"\n{one.problem}", style="yellow", soft_wrap=True)


def to_be_done(one: Standing, back_to: int | None) -> str:
    """In words."""
    if one.problem is not None:
        return "see below"
    done = "nothing" if back_to is None else f"set back to {back_to}"
    if one.gone is None:
        return done
    return f"{done}; gone: {one.gone[0]} to {one.gone[1] - 1}"
