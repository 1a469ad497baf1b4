"""`mergeline settings`, `migrate`, `topics create`: what a worker needs before it can start.

In: the settings. Out: a database that is current, topics that exist, and what was found. Never: a change to a topic
that exists, or a secret in clear.
"""

import asyncio

import click

from mergeline.cli.group import json_option, with_settings
from mergeline.cli.output import console, lay_out, print_json, table
from mergeline.cli.resetting import reset
from mergeline.database import database_errors
from mergeline.settings import Settings
from mergeline.store import migrations
from mergeline.stream import topics as topics_of


@click.command(short_help="Show all settings with their values and meaning.")
@json_option
@with_settings
def settings(loaded: Settings, *, as_json: bool) -> None:
    """Show all settings: their variables, values, defaults and meaning. Secrets are masked.

    Every variable can also be given as the name of a file that holds the value, under its name with _FILE.

    \b
    Example:
      mergeline settings
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    rows = loaded.described()
    if as_json:
        print_json({row.variable: {"value": row.value, "default": row.default, "meaning": row.meaning} for row in rows})
        return
    out = console()
    for row in rows:
        changed = f"  (default {row.default or 'none'})" if row.changed else ""
        out.print(f"{row.variable}={row.value}{changed}", style="bold" if row.changed else None, soft_wrap=True)
        out.print(f"    {row.meaning}", style="dim")


@click.command()
@json_option
@with_settings
def migrate(loaded: Settings, *, as_json: bool) -> None:
    """Bring the database up to date. Safe to run again, and while workers run.

    Needs a role that may create tables; workers need none.

    \b
    Example:
      mergeline migrate
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    with database_errors(loaded):
        applied = asyncio.run(migrations.migrate(loaded.database_url.get_secret_value()))
    if as_json:
        print_json({"applied": applied})
        return
    for name in applied:
        click.echo(f"applied  {name}")
    click.echo("The database is current.")


@click.group(no_args_is_help=True)
def topics() -> None:
    """The topics of Kafka."""


@topics.command()
@click.option("--partitions", type=click.IntRange(1, 10_000), default=topics_of.PARTITIONS, show_default=True,
              help="Of every topic.")  # fmt: skip
@click.option("--replication-factor", type=click.IntRange(-1, 100), default=topics_of.BROKERS_CHOICE, show_default=True,
              help="Of every topic; -1 is the brokers' default.")  # fmt: skip
@json_option
@with_settings
def create(loaded: Settings, partitions: int, replication_factor: int, *, as_json: bool) -> None:
    """Create the topics that are missing, and compare those that exist.

    Input topics keep messages for half of MERGELINE_LEDGER_DAYS: the ledger must remember longer than an input
    can be read again. What exists is left as it is; differences are shown.

    \b
    Example:
      mergeline topics create --partitions 16 --replication-factor 3
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    made = asyncio.run(_create(loaded, partitions, replication_factor))
    if as_json:
        print_json(topics_of.as_json(made))
        return
    out = console()
    for name in made.created:
        out.print(f"created  {name}", style="green", soft_wrap=True)
    for name in made.existing:
        out.print(f"exists   {name}", soft_wrap=True)
    if made.differences:
        found = table("topic", "config", "is", "planned", title="\nDifferent from the plan, and left as they are")
        for one in made.differences:
            found.add_row(one.topic, one.config, one.actual, one.planned)
        lay_out(out, found)
    if made.hidden:
        names = ", ".join(made.hidden)
        hidden = f"\nHidden from us (DescribeConfigs), and so not compared: the configs of {names}"
        out.print(hidden, style="yellow", soft_wrap=True)


topics.add_command(reset)


async def _create(loaded: Settings, partitions: int, replication_factor: int) -> topics_of.Created:
    plan = topics_of.topic_plan(loaded, partitions, replication_factor)
    async with topics_of.admin(loaded) as client:
        return await topics_of.create_topics(client, loaded, plan)
