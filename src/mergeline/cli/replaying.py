"""`mergeline replay`: stored events are published again, from the ledger.

In: the ledger; which events. Out: what is (or would be) published: the stored bytes, flagged as duplicates, as they
were decided. Never: anything published unless it was said with --send, an event that was not stored, a lock, or
something that is no topic for events.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.text import Text

from mergeline.cli.events import STYLES, said_of
from mergeline.cli.group import id_type, json_option, org_id_type, text_type, with_settings
from mergeline.cli.kafka import Parcel, Placed, Sender, send_all, sending_to, telling_how_far
from mergeline.cli.output import console, lay_out, note, print_json, table
from mergeline.cli.times import moment_type
from mergeline.database import connected
from mergeline.domain.events import again, timestamp
from mergeline.domain.keys import customer_key
from mergeline.domain.ledger import LedgerRow
from mergeline.domain.messages import Outgoing
from mergeline.domain.replay import in_order
from mergeline.domain.vocabulary import EVENT_TOPICS
from mergeline.errors import SetupError
from mergeline.settings import Settings, variable
from mergeline.store.published import STATEMENT_MS_MAX, Window, database_time, first_day, published, published_for
from mergeline.store.statements import Connection, Statements
from mergeline.stream.topics import admin, existing_partitions, full_name, topic_plan

PAGE: Final = 1_000
"""Events that are all acknowledged before more are read."""
SENT, WOULD = "published", "would be published"
ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events; None is any."""

    org_id: int | None
    customer_id: int | None
    request_id: str | None
    since: datetime | None
    until: datetime | None
    topics: tuple[str, ...]

    def has(self, record: Outgoing) -> bool:
        """Whether it is one of them, by its topic and its key."""
        key = None if self.customer_id is None else customer_key(self.org_id or 0, self.customer_id)
        return record.topic in self.topics and key in (None, record.key)


@click.command(short_help="Publish stored events again.")
@click.option("--org", "org_id", type=org_id_type, help="Only of this org.")
@click.option("--customer", "customer_id", type=id_type, metavar="ID",
              help="Only events with the key of this customer of --org.")  # fmt: skip
@click.option("--request", "request_id", type=text_type, metavar="ID", help="Only of this request of --org.")
@click.option("--since", type=moment_type, help="Only what was decided then or later. Needed without --request.")
@click.option("--until", type=moment_type, help="Only what was decided before.  [default: now]")
@click.option("--topic", "topics", type=click.Choice([*map(str, EVENT_TOPICS)]), multiple=True, metavar="TOPIC",
              help=f"Only of this one; can be given again. One of: {', '.join(EVENT_TOPICS)}.")  # fmt: skip
@click.option("--to", metavar="NAME", help="To this topic (its full name), not to those where the events were.")
@click.option("--send", is_flag=True, help="Publish them. Without this, it is only said what would be published.")
@json_option
@with_settings
def replay(
    settings: Settings,
    org_id: int | None,
    customer_id: int | None,
    request_id: str | None,
    since: datetime | None,
    until: datetime | None,
    topics: tuple[str, ...],
    to: str | None,
    *,
    send: bool,
    as_json: bool,
) -> None:
    """Publish stored events again, for a subscriber that lost them.

    The same bytes under the same key and ids, in the order they were decided, with the header mergeline-duplicate:
    true. Every subscriber of a topic gets them; with --to, only those of another one. The ledger has what was decided
    within MERGELINE_LEDGER_DAYS, as far as it was not pruned. Times are RFC 3339, or 90m, 12h, 2d ago.

    Safe beside workers. Exit status 1 if there is no such event.

    \b
    Example:
      mergeline replay --since 2d --topic card-issued
      mergeline replay --since 2d --topic card-issued --to crm.replayed --send
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    if since is None and request_id is None:
        raise click.UsageError("one of --since and --request is needed")
    if org_id is None and (customer_id is not None or request_id is not None):
        raise click.UsageError("--customer and --request need --org")
    wanted = Wanted(org_id, customer_id, request_id, since, until, topics or tuple(map(str, EVENT_TOPICS)))
    raise SystemExit(asyncio.run(_Run(settings, wanted, to, send=send, as_json=as_json).go()))


class _Run:
    """One run of the command, and its counts."""

    def __init__(self, settings: Settings, wanted: Wanted, to: str | None, *, send: bool, as_json: bool) -> None:
        self.settings, self.wanted, self.to, self.send, self.as_json = settings, wanted, to, send, as_json
        self.counts: Counter[str] = Counter()
        """Those that are or would be published, by topic."""
        self.page_since: datetime | None = None
        """When the first of those that may not be acknowledged yet was decided."""
        self.out = console()

    async def go(self) -> int:
        """Read, publish, report; the exit status.

        Raises:
            SetupError: where it cannot go on; with how far it got.
        """
        with telling_how_far(self._how_far):
            await self._go()
        self._report()
        return 0 if self.counts else 1

    def _how_far(self) -> str:
        if self.page_since is None:
            return ""
        return (
            f"{self.counts.total()} were published before that, and perhaps some of the next. "
            f"Go on with --since {timestamp(self.page_since)}, or publish all again: events keep their ids."
        )

    async def _go(self) -> None:
        names = [full_name(self.settings, topic) for topic in self.wanted.topics]
        if self.to is not None:
            names = [await self._target(self.to)]
        async with connected(self.settings, STATEMENT_MS_MAX) as connection:
            if not self.send:
                await self._each(connection, {})
            else:
                async with sending_to(self.settings, names) as senders:
                    await self._each(connection, senders)

    async def _target(self, name: str) -> str:
        """Refuse what events do not belong in."""
        if name in {spec.name for spec in topic_plan(self.settings)}:
            raise SetupError(
                f"--to {name} is a topic that workers read or write. Name one of your own, or leave it out."
            )
        async with admin(self.settings) as client:
            if name not in await existing_partitions(client):
                raise SetupError(f"--to {name} does not exist, or may not be seen. Create it; it is a full name.")
        return name

    async def _each(self, connection: Connection, senders: Mapping[str, Sender[Outgoing]]) -> None:
        page: list[Outgoing] = []
        async for rows in self._rows(connection):
            if self.send and not page:
                self.page_since = rows[0].decided_at
            found = in_order([record for row in rows for record in row.outgoing])
            page += [again(record) for record in found if self.wanted.has(record)]
            if len(page) >= PAGE:
                await self._publish(page, senders)
                page = []
        await self._publish(page, senders)

    async def _rows(self, connection: Connection) -> AsyncIterator[list[LedgerRow]]:
        """Those of one moment together."""
        wanted = self.wanted
        # Not what is decided from now on, or this would go on for as long as workers do.
        now = await database_time(connection)
        until = min(wanted.until or now, now)
        if wanted.request_id is not None:
            for row in await published_for(connection, wanted.org_id or 0, wanted.request_id):
                if (wanted.since or ALWAYS) <= row.decided_at < until:
                    yield [row]
            return
        since = wanted.since or ALWAYS
        first = await first_day(Statements(connection))
        if first is not None and since.date() < first:
            note(
                f"the ledger begins on {first}: what was decided before is not in it (it keeps "
                f"{variable('ledger_days')}, {self.settings.ledger_days}, and what was not pruned)"
            )
        async for rows in published(connection, Window(since, until, wanted.org_id)):
            yield rows

    async def _publish(self, page: Sequence[Outgoing], senders: Mapping[str, Sender[Outgoing]]) -> None:
        if not self.send:
            for record in page:
                self._say(record, None)
            return
        parcels = [
            Parcel(self.to or full_name(self.settings, one.topic), one.key, one.value, one.headers, one) for one in page
        ]
        await send_all(self.settings, senders, parcels, lambda placed: self._say(placed.mark, placed))

    def _say(self, record: Outgoing, placed: Placed[Outgoing] | None) -> None:
        self.counts[record.topic] += 1
        if self.as_json:
            print_json(as_document(record, placed, self.to or full_name(self.settings, record.topic)))
            return
        said = said_of(record.topic, record.value, record.headers)
        self.out.print(Text(str(said), STYLES[said.mood]), soft_wrap=True)

    def _report(self) -> None:
        if not self.counts:
            note("no such event")
            return
        done = SENT if self.send else WOULD
        if self.as_json:
            note("; ".join(f"{count} {done}: {topic}" for topic, count in sorted(self.counts.items())))
            return
        rows = table(done, "event topic")
        rows.columns[0].justify = "right"
        for topic, count in sorted(self.counts.items()):
            rows.add_row(str(count), Text(topic))
        self.out.print()
        lay_out(self.out, rows)
        self.out.print(
            f"\nAll are acknowledged{f' by {self.to}' if self.to else ''}."
            if self.send
            else "\nNothing was published. Publish them with: --send"
        )


def as_document(record: Outgoing, placed: Placed[Outgoing] | None, target: str) -> dict[str, Any]:
    """An event for a program: what it is, and where it is now."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    return {
        "status": WOULD if placed is None else SENT,
        "topic": record.topic,
        "key": (record.key or b"").decode(),
        "id": headers["ce_id"],
        "type": headers["ce_type"],
        "time": headers["ce_time"],
        "to": target,
        "partition": placed.partition if placed else None,
        "offset": placed.offset if placed else None,
    }
