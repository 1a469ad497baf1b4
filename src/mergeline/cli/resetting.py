"""`mergeline topics reset`: a topic that was made anew is read, and nothing of it is taken for what was there before.

In: the settings, a topic. Out: what is (or would be) done. Never: anything changed unless it was said with --yes.
"""

import asyncio
from typing import Any

import click

from mergeline.cli.group import json_option, with_settings, yes_option
from mergeline.cli.output import console, print_json
from mergeline.database import connected
from mergeline.settings import Settings
from mergeline.store.incarnations import STATEMENT_MS_MAX
from mergeline.stream.resetting import Reset, topic_meant
from mergeline.stream.resetting import reset as reset_topic
from mergeline.stream.topics import admin


@click.command()
@click.argument("topic")
@click.option("--keep-offsets", is_flag=True,
              help="It has the same messages at the same offsets, as on another cluster that was copied byte for byte: "
                   "take its new id for the one before.")  # fmt: skip
@click.option("--same-id", is_flag=True,
              help="Although its id is the one that is known, since Kafka was restored from an older copy; or although "
                   "brokers give topics no ids.")  # fmt: skip
@yes_option
@json_option
@with_settings
def reset(loaded: Settings, topic: str, *, keep_offsets: bool, same_id: bool, yes: bool, as_json: bool) -> None:
    """Begin a new incarnation of a topic that was made anew: deleted and created, lost, or on another cluster.

    Everything that is known of a message is known by its topic, partition and offset. In a topic that was made anew
    these mean other messages, so workers stop at it. This says that they are others: all of them are read, from the
    start, and requests without a requestId get ids of the new incarnation (identifier-updates@2-3-17).

    With the internal topic, commands-by-customer, went what was routed and not applied. So the three input topics are
    read from their start too: what was answered is known, and dropped; the rest is applied.

    All workers must be stopped. Safe to be run again after it was interrupted. It needs what a worker needs.

    \b
    Example:
      mergeline topics reset identifier-updates          say what would be done
      mergeline topics reset identifier-updates --yes    do it
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    if keep_offsets and same_id:
        raise click.UsageError("--keep-offsets and --same-id exclude each other.")
    done = asyncio.run(_reset(loaded, topic, keep_offsets=keep_offsets, same_id=same_id, change=yes))
    if as_json:
        print_json(as_document(done, changed=yes))
    else:
        _show(done, changed=yes)


async def _reset(settings: Settings, given: str, **how: bool) -> Reset:
    topic = topic_meant(settings, given)
    async with admin(settings) as client, connected(settings, STATEMENT_MS_MAX) as connection:
        return await reset_topic(settings, client, connection, topic, **how)


def as_document(done: Reset, *, changed: bool) -> dict[str, Any]:
    """For programs."""
    return {
        "topic": done.topic,
        "changed": changed,
        "incarnation": {"was": done.was.number, "is": done.now.number},
        "topicId": {"was": _text(done.was.topic_id), "is": _text(done.now.topic_id)},
        "readFromTheStart": done.read_again,
        "published": done.published,
        "lost": done.lost,
    }


def _text(topic_id: object) -> str | None:
    return None if topic_id is None else str(topic_id)


def _show(done: Reset, *, changed: bool) -> None:
    out = console()
    out.print(f"{done.topic}: incarnation {done.was.number} -> {done.now.number}", style="bold", soft_wrap=True)
    out.print(f"  id {done.was.topic_id or 'unknown'} -> {done.now.topic_id or 'unknown'}", soft_wrap=True)
    for name in done.read_again:
        out.print(f"  {name} is read from the start of its log", soft_wrap=True)
    if done.published:
        out.print(
            f"  {done.published} answers to messages of the former log were stored and not known to be published: "
            f"published {'now' if changed else 'then'}, perhaps once more",
            soft_wrap=True,
        )
    if done.lost:
        out.print(
            f"  {done.lost} dead letters among them are lost: their messages are gone", style="yellow", soft_wrap=True
        )
    if not changed:
        out.print("\nNothing was changed. Do it with --yes.")
