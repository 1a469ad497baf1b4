"""`mergeline send`: a file of requests to an input topic, line by line, as they are.

In: JSON Lines. Out: messages with the customer's key (without one where a line does not say whose it is); with
`--wait` the outcome of each. Never: a judgement of a line, which is the worker's; only one that no topic would take is
left out.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import IO

import click
from rich.text import Text

from mergeline.cli.arriving import arriving, at_hand, is_at_hand, own_reader
from mergeline.cli.events import STYLES
from mergeline.cli.exchange import Exchange, Item
from mergeline.cli.files import Line, judged, read_lines
from mergeline.cli.following import Answer, Identity
from mergeline.cli.group import json_option, timeout_option, with_settings
from mergeline.cli.output import console, note, print_json, progress
from mergeline.domain.messages import DeadLetterReason
from mergeline.domain.routing import UNREAD, routing_key
from mergeline.domain.vocabulary import INPUT_TOPICS, Topic
from mergeline.settings import Settings


@click.command(short_help="Send each line of a file as a request.")
@click.argument("file", type=click.File("rb"))
@click.option("--topic", type=click.Choice([*map(str, INPUT_TOPICS)]), default=str(Topic.IDENTIFIER_UPDATES),
              show_default=True, help="Where to.")  # fmt: skip
@click.option("--wait", is_flag=True, help="Print the outcome of each line; exit status 1 if one is rejected.")
@timeout_option(help="With --wait: seconds without any answer after which to give up.")
@json_option
@with_settings
def send(settings: Settings, file: IO[bytes], topic: str, timeout_s: float, *, wait: bool, as_json: bool) -> None:
    """Send each line of FILE (JSON Lines; - is stdin) as a request.

    Messages get their customer's key. A line that is no request is sent too: the worker answers it, in the
    dead-letter topic.

    \b
    Example:
      mergeline send --wait requests.jsonl
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    run = _Run(settings, Topic(topic), as_json=as_json)
    raise SystemExit(asyncio.run(run.go(file, timeout_s if wait else None)))


class _Run:
    """One run of the command, and its counts."""

    def __init__(self, settings: Settings, topic: Topic, *, as_json: bool) -> None:
        self.settings, self.topic, self.as_json = settings, topic, as_json
        self.sent = self.unkeyed = self.too_long = 0
        self.answers: Counter[str] = Counter()
        self.out = console()

    async def go(self, file: IO[bytes], timeout_s: float | None) -> int:
        """Send, wait where that is wanted, report; the exit status."""
        began = time.monotonic()
        with progress() as bar:
            task = bar.add_task("sent", total=None)

            def on_sent(count: int) -> None:
                self.sent += count
                bar.update(task, completed=self.sent)

            exchange: Exchange[Line] = Exchange(
                self.settings,
                self.topic,
                on_sent=on_sent,
                on_answer=None if timeout_s is None else self._answered,
                timeout_s=timeout_s or 0.0,
            )
            unanswered = await exchange.run(self._items(file, wait=timeout_s is not None))
        if exchange.stopped:
            note("the rest of the file was not sent")
        return self._report(time.monotonic() - began, unanswered, waited=timeout_s is not None)

    async def _items(self, file: IO[bytes], *, wait: bool) -> AsyncGenerator[list[Item[Line]]]:
        lines = at_hand(read_lines(file)) if is_at_hand(file) else arriving(read_lines(own_reader(file)))
        async with aclosing(lines) as chunks:
            async for chunk in chunks:
                yield list(self._judged(chunk, wait=wait))

    def _judged(self, lines: Iterable[Line], *, wait: bool) -> Iterator[Item[Line]]:
        for line in lines:
            if line.too_long:
                self.too_long += 1
                note(f"line {line.number} is longer than the topic takes, and was not sent")
                continue
            key: bytes | None = routing_key(self.topic, 0, line.raw)
            if key is not None and key.startswith(UNREAD):
                key = None
                self.unkeyed += 1
            yield Item(key, line.raw, line, self._identity(key, line) if wait else None)

    def _identity(self, key: bytes | None, line: Line) -> Identity | None:
        request, own_id = judged(self.topic, line.raw)
        if key is None or isinstance(request, DeadLetterReason):
            return None
        return Identity(key.decode(), own_id)

    def _answered(self, answer: Answer[Line]) -> None:
        self.answers[answer.status] += 1
        if self.as_json:
            print_json({"line": answer.mark.number, "status": answer.status, "answer": answer.document()})
            return
        said = answer.said()
        self.out.print(Text(f"line {answer.mark.number:<6} {said}", STYLES[said.mood]), soft_wrap=True)
        for reason in answer.reasons if answer.status == "rejected" else ():
            self.out.print(f"{'':<12}{reason}", soft_wrap=True)

    def _report(self, seconds: float, unanswered: int, *, waited: bool) -> int:
        bad = self.answers["rejected"] + self.answers["dead letter"]
        if self.as_json and not waited:
            print_json({"sent": self.sent, "withoutKey": self.unkeyed, "tooLong": self.too_long})
        else:
            parts = [f"{self.sent} sent to {self.settings.topic_prefix}{self.topic} in {seconds:.1f} s"]
            parts += [f"{self.unkeyed} of them without a key"] if self.unkeyed else []
            parts += [f"{count} {status}" for status, count in sorted(self.answers.items())]
            parts += [f"{unanswered} not answered in time"] if unanswered else []
            note("; ".join(parts))
        return 1 if bad or unanswered or self.too_long else 0
