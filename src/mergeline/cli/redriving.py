"""`mergeline redrive`: dead letters are sent again to the topics that they came from.

In: the dead-letter topics, up to where they end now; filters; what the ledger has decided. Out: what is (or would be)
sent, and why the rest stays. Never: anything sent unless it was said with --send, a message under another request id
than it had, two messages of one partition in another order than they had, or a consumer group.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
from aiokafka import ConsumerRecord
from rich.text import Text

from mergeline.cli.group import json_option, ledger_org_type, text_type, with_settings
from mergeline.cli.kafka import Parcel, Placed, Sender, read_through, send_all, sending_to, telling_how_far
from mergeline.cli.output import console, lay_out, note, print_json, table
from mergeline.cli.spool import Spool, Waiting, spool
from mergeline.cli.times import moment_type
from mergeline.database import connected
from mergeline.domain.events import timestamp
from mergeline.domain.incarnations import topic_of
from mergeline.domain.redrive import Fate, Letter, Redriven, letter_of, redriven
from mergeline.domain.vocabulary import INPUT_TOPICS, dead_letter_topic
from mergeline.settings import Settings
from mergeline.store.showing import decided_among, place_document
from mergeline.store.statements import Connection
from mergeline.stream.topics import full_name

PAGE: Final = 500
"""Messages between two looks at the ledger; all of them are acknowledged before the next."""
SENT, DECIDED, FORGOTTEN, FOREIGN, AGAIN = "sent", "already decided", "too old", "foreign", "same again"
WOULD: Final = "would be sent"
MEANINGS: Final = {
    DECIDED: "the ledger has decided their request ids since (--decided sends them all the same)",
    AGAIN: "the same message as another letter, which stands for both",
    FORGOTTEN: "older than the ledger remembers, so they may have been sent already (--since takes them)",
    FOREIGN: "no worker of this installation wrote them",
    Fate.NO_REQUEST: "no request, as this release reads them: they would come back",
    Fate.NO_TOPIC: "their messages were on the internal topic by themselves",
    Fate.CUT: "their content was cut off",
    Fate.TOO_LARGE: "too large to be sent again",
}
"""Why letters are not sent."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters; None is any."""

    topics: tuple[str, ...]
    codes: frozenset[str]
    org_id: int | None
    request_id: str | None
    partition: int | None
    offset: int | None
    since: datetime
    until: datetime | None

    def has(self, letter: Letter) -> bool:
        """Whether it is one of them, by what it says of itself."""
        return (
            (not self.codes or letter.code in self.codes)
            and self.partition in (None, letter.origin.partition)
            and self.offset in (None, letter.origin.offset)
            and (self.until is None or letter.at_ms < 1000 * self.until.timestamp())
        )

    def has_request(self, org_id: int, request_id: str) -> bool:
        """Whether it is one of them, by what its message says."""
        return self.org_id in (None, org_id) and self.request_id in (None, request_id)


@click.command(short_help="Send dead letters again to where they came from.")
@click.option("--topic", "topics", type=click.Choice([*map(str, INPUT_TOPICS)]), multiple=True,
              help="Only what came from this one; can be given again.")  # fmt: skip
@click.option("--code", "codes", type=text_type, multiple=True, metavar="CODE",
              help="Only of this code, as PROCESSING_FAILED; can be given again.")  # fmt: skip
@click.option("--org", "org_id", type=ledger_org_type, help="Only of this org (0: those that name none).")
@click.option("--request", "request_id", type=text_type, metavar="ID",
              help="Only of this request id; what is no well-formed request goes by its place.")  # fmt: skip
@click.option("--partition", type=click.IntRange(min=0), help="Only what came from this partition of its topic.")
@click.option("--offset", type=click.IntRange(min=0), help="Only what came from this offset.")
@click.option("--since", type=moment_type,
              help="Only what became a dead letter then or later.  [default: MERGELINE_LEDGER_DAYS ago]")  # fmt: skip
@click.option("--until", type=moment_type, help="Only what became one before.")
@click.option("--decided", "with_decided", is_flag=True,
              help="Also where the request id is decided by now: it gets its stored outcome again.")  # fmt: skip
@click.option("--send", is_flag=True, help="Send them. Without this, it is only said what would be sent.")
@json_option
@with_settings
def redrive(
    settings: Settings,
    topics: tuple[str, ...],
    codes: tuple[str, ...],
    org_id: int | None,
    request_id: str | None,
    partition: int | None,
    offset: int | None,
    since: datetime | None,
    until: datetime | None,
    *,
    with_decided: bool,
    send: bool,
    as_json: bool,
) -> None:
    """Send dead letters again to the topics that they came from, once what made them is mended.

    Each keeps its request id: a message that named none is sent with the id that was derived for it, any other byte for
    byte, with key and headers, to its partition, in the order they had. So a letter that is sent twice takes effect
    once. What is no request is not sent: it would come back. Times are RFC 3339, or 90m, 12h, 2d ago.

    Safe to be run again after it was interrupted, and beside workers. Exit status 1 if there is no such letter.

    \b
    Example:
      mergeline redrive --code PROCESSING_FAILED --since 2h
      mergeline redrive --code PROCESSING_FAILED --since 2h --send
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    oldest = datetime.now(UTC) - timedelta(days=settings.ledger_days)
    chosen = tuple(topics) or tuple(map(str, INPUT_TOPICS))
    wanted = Wanted(chosen, frozenset(codes), org_id, request_id, partition, offset, since or oldest, until)
    if since is not None and since < oldest:
        note(f"letters of before {timestamp(oldest)} are older than the ledger remembers: sent before, they apply anew")
    run = _Run(settings, wanted, forgetting=since is None, with_decided=with_decided, send=send, as_json=as_json)
    raise SystemExit(asyncio.run(run.go()))


class _Run:
    """One run of the command, and its counts."""

    def __init__(
        self, settings: Settings, wanted: Wanted, *, forgetting: bool, with_decided: bool, send: bool, as_json: bool
    ) -> None:
        """`forgetting`: whether what is before `since` is counted, since nobody asked for that."""
        self.settings, self.wanted = settings, wanted
        self.forgetting, self.with_decided, self.send, self.as_json = forgetting, with_decided, send, as_json
        self.counts: Counter[str] = Counter()
        self.leaving: Counter[tuple[str, str]] = Counter()
        """Those that are or would be sent, by topic and code."""
        self.began = False
        """Whether something may have been sent."""
        self.out = console()

    async def go(self) -> int:
        """Read, send, report; the exit status.

        Raises:
            SetupError: where it cannot go on; with how far it got.
        """
        with telling_how_far(self._how_far):
            await self._go()
        self._report()
        return 0 if self.counts.total() - self.counts[FORGOTTEN] - self.counts[FOREIGN] else 1

    def _how_far(self) -> str:
        if not self.began:
            return ""
        return (
            f"{self.counts[SENT]} were sent before that, and perhaps some of the next {PAGE}. "
            "Run the same again: what was sent is known by its request id."
        )

    async def _go(self) -> None:
        names = [full_name(self.settings, topic) for topic in self.wanted.topics]
        async with connected(self.settings) as connection:
            with spool() as waiting:
                await self._read(waiting)
                self.counts[AGAIN] += waiting.again
                if not self.send:
                    await self._each(waiting, connection, {})
                else:
                    async with sending_to(self.settings, names) as senders:
                        await self._each(waiting, connection, senders)

    async def _read(self, waiting: Spool) -> None:
        topics = [dead_letter_topic(topic) for topic in self.wanted.topics]
        async for records in read_through(self.settings, topics):
            for record in records:
                self._take(record, waiting)

    def _take(self, record: ConsumerRecord, waiting: Spool) -> None:
        prefix, wanted = self.settings.topic_prefix, self.wanted
        topic = record.topic.removeprefix(prefix)
        letter = letter_of(topic, record.timestamp, record.key, record.value, tuple(record.headers), prefix)
        if letter is None:
            self.counts[FOREIGN] += 1
            return
        if not wanted.has(letter):
            return
        found = redriven(letter)
        if not wanted.has_request(found.org_id, found.request_id):
            return
        if letter.at_ms < 1000 * wanted.since.timestamp():
            self.counts[FORGOTTEN] += self.forgetting
            return
        if found.fate is Fate.SEND:
            waiting.add(letter, found)
        else:
            self._say(letter, found, found.fate)

    async def _each(self, waiting: Spool, connection: Connection, senders: Mapping[str, Sender[Waiting]]) -> None:
        for page in waiting.pages(PAGE):
            decided: set[tuple[int, str]] = set()
            if not self.with_decided:
                decided = await decided_among(connection, [(found.org_id, found.request_id) for _, found in page])
            leaving = []
            for letter, found in page:
                if (found.org_id, found.request_id) in decided:
                    self._say(letter, found, DECIDED)
                elif self.send:
                    leaving.append((letter, found))
                else:
                    self._say(letter, found, WOULD)
            if self.send:
                await self._sent(leaving, senders)

    async def _sent(self, page: list[Waiting], senders: Mapping[str, Sender[Waiting]]) -> None:
        """Send all, each to the partition that it was in, whatever its producer chose that by."""
        parcels = [
            Parcel(
                full_name(self.settings, topic_of(one[0].origin.topic)),
                *(one[0].key, one[1].value, one[0].headers, one, one[0].origin.partition),
            )
            for one in page
        ]
        self.began = True
        await send_all(self.settings, senders, parcels, lambda placed: self._say(*placed.mark, SENT, placed))

    def _say(self, letter: Letter, found: Redriven, status: str, placed: Placed[Waiting] | None = None) -> None:
        """Count it, and print its line."""
        self.counts[status] += 1
        if status in (SENT, WOULD):
            self.leaving[topic_of(letter.origin.topic), letter.code] += 1
        if self.as_json:
            print_json(as_document(letter, found, status, placed))
            return
        parts = [f"{status:<15}", letter.origin.request_id, f"{letter.code}  org {found.org_id}"]
        parts += [f"request {found.request_id}"] if found.request_id != letter.origin.request_id else []
        parts += [f"at {placed.partition}-{placed.offset}"] if placed else []
        parts += [found.why] if found.why else []
        style = "green" if status in (SENT, WOULD) else ""
        self.out.print(Text("  ".join(parts), style), soft_wrap=True)

    def _report(self) -> None:
        staying = {status: self.counts[status] for status in MEANINGS if self.counts[status]}
        if self.as_json:
            counted = [f"{count} {status}" for status, count in sorted(self.counts.items()) if count]
            note("; ".join(counted) or "no such dead letter")
            return
        if not self.leaving and not staying:
            note("no such dead letter")
            return
        rows = table(SENT if self.send else WOULD, "topic", "code")
        rows.columns[0].justify = "right"
        for (topic, code), count in sorted(self.leaving.items()):
            rows.add_row(str(count), Text(topic), Text(code))
        if not self.leaving:
            rows.add_row("0", "", "")
        self.out.print()
        lay_out(self.out, rows)
        for status, count in staying.items():
            self.out.print(Text(f"{count} not sent: {MEANINGS[status]}"), soft_wrap=True)
        if self.leaving and not self.send:
            self.out.print("\nNothing was sent. Send them with: --send")


def as_document(letter: Letter, found: Redriven, status: str, placed: Placed[Waiting] | None) -> dict[str, Any]:
    """A letter for a program: where it came from, why it became one, what became of it now."""
    origin, topic = letter.origin, topic_of(letter.origin.topic)
    said: dict[str, Any] = {
        "status": str(status),
        "origin": place_document(origin),
        "orgId": found.org_id,
        "requestId": found.request_id,
        "code": letter.code,
        "text": letter.text,
        "deadSince": timestamp(datetime.fromtimestamp(letter.at_ms / 1000, UTC)),
        "why": found.why or None,
        "sentTo": None,
    }
    if placed is not None:
        said["sentTo"] = {"topic": topic, "partition": placed.partition, "offset": placed.offset}
    return said
