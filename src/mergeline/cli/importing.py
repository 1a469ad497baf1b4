"""`mergeline import`: customers and cards from a file, each line answered for.

In: JSON Lines or CSV. Out: registrations, their outcomes counted, `FILE.rejects` with the lines that did not go in
(each under a comment with its number and the reason; it can be corrected and imported again). Never: a request id
made up here, so running the same file twice changes nothing; or a rejects file that others may read, since lines hold
personal data.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Self

import click

from mergeline.cli.arriving import at_hand
from mergeline.cli.exchange import Exchange, Item
from mergeline.cli.files import TOPICS, BadLine, Format, Kind, Registration, format_of, read_lines, read_registrations
from mergeline.cli.following import Answer, Identity
from mergeline.cli.group import json_option, timeout_option, with_settings
from mergeline.cli.output import note, print_json, progress
from mergeline.errors import SetupError
from mergeline.settings import Settings

REASONS_SHOWN_MAX: Final = 20
"""On the screen; all of them are in the rejects file."""


@click.command(name="import", short_help="Register the customers or cards in a file.")
@click.argument("kind", type=click.Choice(["customers", "cards"]))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["jsonl", "csv"]),
    help="Else by the name: .csv is CSV, all else JSON Lines.",
)
@timeout_option(help="Seconds without any answer after which to give up waiting.")
@click.option("--no-wait", is_flag=True, help="Send only; do not wait for the outcomes.")
@click.option(
    "--rejects",
    "rejects_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the lines go that did not go in; else FILE.rejects.",
)
@json_option
@with_settings
def import_(
    settings: Settings,
    kind: Kind,
    file: Path,
    file_format: Format | None,
    timeout_s: float,
    rejects_file: Path | None,
    *,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Register the customers or cards in FILE and wait for their outcomes, which come from a running worker.

    JSON Lines: one registration a line. CSV: a header, then for customers one identifier a row
    (orgId,customerId,source,accountId,type,value; rows of a customer together), for cards one card a row (orgId,
    cardNumber, seriesId or seriesCode, statusLabel, cardExternalId); white space around a value is dropped. Lines that
    are bad or rejected are written to FILE.rejects (or --rejects) with their reasons, and the exit status is 1. The
    same file can be imported again: what is registered is left as it is, so new identifiers of a customer are updates
    (mergeline send).

    \b
    Example:
      mergeline import customers customers.csv
      mergeline import cards cards.jsonl --no-wait
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    rejects_file = rejects_file or file.with_name(file.name + ".rejects")
    if rejects_file.exists() and rejects_file.samefile(file):
        raise click.UsageError(f"--rejects names the file that is imported, {file}. Name another one.")
    with Rejects(rejects_file) as rejects, file.open("rb") as stream:
        run = _Run(settings, kind, file_format or format_of(file.name), rejects)
        run.go(stream, None if no_wait else timeout_s)
    run.report(as_json=as_json)
    raise SystemExit(1 if rejects.count or run.unanswered else 0)


class Rejects:
    """The file of lines that did not go in; there is none where all did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._file is not None:
            with self._written():
                self._file.close()
        elif error is None and self.path.is_file():
            # What an earlier run left would be read as the answer to this one.
            with self._written():
                self.path.unlink()

    def add(self, number: int, reason: str, raw: Iterable[bytes], header: bytes | None) -> None:
        """Write lines down, a CSV's header before the first."""
        if self._file is None:
            with self._written():
                self._file = self._begun(header)
        self.count += 1
        if self.count <= REASONS_SHOWN_MAX:
            note(f"line {number}: {reason}")
        elif self.count == REASONS_SHOWN_MAX + 1:
            note(f"further reasons are in {self.path}")
        with self._written():
            self._file.write(f"# line {number}: {reason}\n".encode() + b"".join(line + b"\n" for line in raw))

    def _begun(self, header: bytes | None) -> IO[bytes]:
        if self.path.exists() and not self.path.is_file():
            file: IO[bytes] = self.path.open("wb")  # a device or a pipe, which is not ours to take away
        else:
            self.path.unlink(missing_ok=True)
            file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        if header is not None:
            file.write(header + b"\n")
        return file

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SetupError(
                f"{self.path} cannot be written: {error.strerror}. Name another file with --rejects, and import again."
            ) from None


class _Run:
    """One run of the command, and its counts."""

    def __init__(self, settings: Settings, kind: Kind, file_format: Format, rejects: Rejects) -> None:
        self.settings, self.kind, self.file_format, self.rejects = settings, kind, file_format, rejects
        self.sent = self.bad = self.unanswered = 0
        self.answers: Counter[str] = Counter()
        self.header: bytes | None = None
        self.seconds = 0.0
        self.stopped = False

    def go(self, stream: IO[bytes], timeout_s: float | None) -> None:
        """Send all and, unless `timeout_s` is None, wait for the answers."""
        began = time.monotonic()
        size = os.fstat(stream.fileno()).st_size
        with progress() as bar:
            reading = bar.add_task("read (bytes)", total=size)
            answered = bar.add_task("answered", total=0)

            def on_sent(count: int) -> None:
                self.sent += count
                bar.update(reading, completed=stream.tell() if stream.seekable() else None)
                bar.update(answered, total=self.sent)

            def on_answer(answer: Answer[Registration]) -> None:
                self._answered(answer)
                bar.update(answered, advance=1)

            exchange: Exchange[Registration] = Exchange(
                self.settings,
                TOPICS[self.kind],
                on_sent=on_sent,
                on_answer=None if timeout_s is None else on_answer,
                timeout_s=timeout_s or 0.0,
            )
            self.unanswered = asyncio.run(exchange.run(at_hand(self._items(stream))))
            self.stopped = exchange.stopped
        self.seconds = time.monotonic() - began

    def _items(self, stream: IO[bytes]) -> Iterator[Item[Registration]]:
        for found in read_registrations(self._lines(stream), self.kind, self.file_format):
            if isinstance(found, BadLine):
                self.bad += 1
                self.rejects.add(found.number, found.reason, (line.raw for line in found.lines), self.header)
            else:
                yield Item(found.key, found.value, found, Identity(found.key.decode(), found.request_id))

    def _lines(self, stream: IO[bytes]) -> Iterator[Any]:
        for line in read_lines(stream):
            if self.header is None and self.file_format == "csv":
                self.header = line.raw
            yield line

    def _answered(self, answer: Answer[Registration]) -> None:
        self.answers[answer.status] += 1
        if answer.status in ("rejected", "dead letter"):
            registration = answer.mark
            raw = (line.raw for line in registration.lines)
            self.rejects.add(registration.number, "; ".join(answer.reasons), raw, self.header)

    def report(self, *, as_json: bool) -> None:
        """What came of it."""
        if as_json:
            counts = {name: self.answers[name] for name in ("applied", "unchanged", "rejected")}
            dead = self.answers["dead letter"]
            others = {"deadLetters": dead, "bad": self.bad, "unanswered": self.unanswered, "complete": not self.stopped}
            file = str(self.rejects.path) if self.rejects.count else None
            print_json({"sent": self.sent} | counts | others | {"rejectsFile": file})
            return
        parts = [f"{self.sent} {self.kind} sent in {self.seconds:.1f} s"]
        parts += [f"{count} {status}" for status, count in sorted(self.answers.items())]
        parts += [f"{self.bad} bad"] if self.bad else []
        click.echo("; ".join(parts))
        if self.rejects.count:
            click.echo(f"What did not go in is in {self.rejects.path}")
        if self.unanswered:
            rest = ", and the rest of the file was not sent" if self.stopped else ""
            note(f"{self.unanswered} were not answered in time{rest}; start a worker, and import the file again")
