"""`mergeline watch`: events, outcomes and dead letters as they come.

In: topics. Out: a line for each committed record. Never: a consumer group, so watching changes nothing for anybody.
"""

import asyncio
import contextlib
import time
from typing import Any, Final

import click
import orjson
from aiokafka import ConsumerRecord
from rich.text import Text

from mergeline.cli.events import STYLES, said_of
from mergeline.cli.group import json_option, with_settings
from mergeline.cli.kafka import reading
from mergeline.cli.output import console, note, print_json
from mergeline.domain.vocabulary import EVENT_TOPICS, INPUT_TOPICS, dead_letter_topic
from mergeline.settings import Settings
from mergeline.stream.unpacking import shown_name

TOPICS: Final = [*map(str, EVENT_TOPICS), *(dead_letter_topic(topic) for topic in INPUT_TOPICS)]
POLL_MS: Final = 500


@click.command()
@click.option("--topic", "topics", type=click.Choice(TOPICS), multiple=True, metavar="TOPIC",
              help=f"Only this one; can be given again. One of: {', '.join(TOPICS)}.")  # fmt: skip
@click.option("--from-beginning", is_flag=True, help="From the oldest record kept, not from now on.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many records.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), help="End after so many seconds.")
@json_option
@with_settings
def watch(
    settings: Settings,
    topics: tuple[str, ...],
    limit: int | None,
    timeout_s: float | None,
    *,
    from_beginning: bool,
    as_json: bool,
) -> None:
    """Print events, outcomes and dead letters as they are published.

    Reads what is committed only, from all topics that workers publish to. Ends at Ctrl-C.

    \b
    Example:
      mergeline watch --from-beginning --topic customer-merged
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    if limit is None and timeout_s is None:
        note("watching (Ctrl-C ends it)")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(settings, topics or tuple(TOPICS), limit, timeout_s, from_beginning, as_json))


async def _watch(
    settings: Settings,
    topics: tuple[str, ...],
    limit: int | None,
    timeout_s: float | None,
    from_beginning: bool,  # noqa: FBT001 - an option, passed on
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    out = console()
    seen = 0
    async with reading(settings, topics, from_beginning=from_beginning) as reader:
        while deadline is None or time.monotonic() < deadline:
            left_ms = POLL_MS if deadline is None else int(1000 * (deadline - time.monotonic())) + 1
            for record in await reader.poll(min(POLL_MS, left_ms)):
                topic = record.topic.removeprefix(settings.topic_prefix)
                if as_json:
                    print_json(as_document(topic, record))
                else:
                    said = said_of(topic, record.value, record.headers)
                    out.print(Text(str(said), STYLES[said.mood]), soft_wrap=True)
                seen += 1
                if seen == limit:
                    return


def as_document(topic: str, record: ConsumerRecord) -> dict[str, Any]:
    """A record for a program; bytes that are no UTF-8 are shown with replacement characters."""
    try:
        data = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        data = None
    said = {
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestampMs": record.timestamp,
        "key": _text(record.key),
        "headers": {shown_name(name): _text(value) for name, value in record.headers},
        "data": data,
    }
    return said if data is not None else said | {"text": _text(record.value)}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
