"""Files of registrations: lines to messages, each judged as a worker would judge it.

In: a file's lines as bytes, its kind (customers or cards) and format (JSON Lines or CSV). Out: `Registration`s and
`BadLine`s in order, each with the raw lines it came from. Never: Kafka, a made-up request id, or a word of a line's
content in a reason. Blank lines, and the reasons in a `.rejects` file (`# line 7: ...`), are skipped.

A CSV has one identifier a row, and rows of a customer stand together. A customer that is registered without one of
its rows could not get it by a second import (it would be known by then), so a bad row takes its customer with it.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final, Literal

import orjson

from mergeline.domain.commands import RegisterCard, RegisterCustomer, Request
from mergeline.domain.decode import BYTES_MAX, decode
from mergeline.domain.keys import card_key, customer_key
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message
from mergeline.domain.vocabulary import Topic
from mergeline.errors import SetupError
from mergeline.stream.topics import INPUT_MESSAGE_MAX_BYTES

Kind = Literal["customers", "cards"]
Format = Literal["jsonl", "csv"]
TOPICS: Final[dict[Kind, Topic]] = {
    "customers": Topic.CUSTOMER_REGISTRATIONS,
    "cards": Topic.CARD_REGISTRATIONS,
}
LINE_MAX_BYTES: Final = INPUT_MESSAGE_MAX_BYTES - 2_048
"""A longer line is read past and reported: with its key and what Kafka puts around it, no input topic would take it."""
CUSTOMERS_REMEMBERED_MAX: Final = 1_000_000
"""Customers of a CSV whose rows are known to have ended, so that a later row of one is found."""

_REASON: Final = re.compile(rb"# line \d+: ")
"""How a reason begins; a card's number may begin with `#`."""
_BOM: Final = b"\xef\xbb\xbf"
_NUMBERS: Final = frozenset({"orgId", "customerId", "seriesId"})
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")
"""As JSON has them. With zeros before it, it could be somebody else's id in the system it comes from."""
_COLUMNS: Final[dict[Kind, tuple[frozenset[str], frozenset[str]]]] = {
    "customers": (
        frozenset({"orgId", "customerId", "source", "type", "value"}),
        frozenset({"accountId", "registeredAt", "requestId"}),
    ),
    "cards": (
        frozenset({"orgId", "cardNumber"}),
        frozenset({"seriesId", "seriesCode", "cardExternalId", "statusLabel", "requestId"}),
    ),
}
"""Needed and possible columns."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file; `raw` is cut at `LINE_MAX_BYTES`."""

    number: int
    raw: bytes
    too_long: bool = False


@dataclass(frozen=True, slots=True)
class BadLine:
    """Lines that cannot be sent, and why: `number` is where the reason is."""

    number: int
    reason: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Registration:
    """A message, the lines it came from, and what its outcome is known by."""

    lines: tuple[Line, ...]
    key: bytes
    value: bytes
    org_id: int
    request_id: str | None
    """None where it follows from the place that Kafka gives the message."""

    @property
    def number(self) -> int:
        """Where it begins in the file."""
        return self.lines[0].number


def format_of(name: str) -> Format:
    """The format by the file's name; that of a `.rejects` file is that of its origin."""
    while name.endswith(".rejects"):
        name = name.removesuffix(".rejects")
    return "csv" if name.lower().endswith(".csv") else "jsonl"


def read_lines(stream: IO[bytes]) -> Iterator[Line]:
    """All lines that are not blank or reasons of an earlier run, without their line ends."""
    number = 0
    while raw := stream.readline(LINE_MAX_BYTES):
        number += 1
        whole = raw.endswith(b"\n") or len(raw) < LINE_MAX_BYTES
        rest = raw
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(LINE_MAX_BYTES)
        raw = raw.removeprefix(_BOM) if number == 1 else raw
        raw = raw.rstrip(b"\r\n")
        if raw.strip() and not _REASON.match(raw):
            yield Line(number, raw, too_long=not whole)


def read_registrations(lines: Iterable[Line], kind: Kind, file_format: Format) -> Iterator[Registration | BadLine]:
    """What the lines ask for.

    Raises:
        SetupError: if a CSV has no header, or one with a wrong column; then nothing of it can be read.
    """
    if file_format == "jsonl":
        return (_judge((line,), line.raw, kind) for line in lines)
    rows = _rows(iter(lines), kind)
    if kind == "cards":
        return (_card(row) for row in rows)
    return _customers(rows)


def _judge(lines: tuple[Line, ...], value: bytes, kind: Kind) -> Registration | BadLine:
    """The message, judged by the worker's own decoder."""
    first = lines[0]
    if any(line.too_long for line in lines):
        return BadLine(first.number, f"TOO_LARGE: over {BYTES_MAX} bytes", lines)
    request, own_id = judged(TOPICS[kind], value)
    if isinstance(request, DeadLetterReason):
        return BadLine(first.number, f"{request.code}: {request.text}", lines)
    command = request.command
    if isinstance(command, RegisterCustomer):
        key = customer_key(command.org_id, command.customer_id)
    else:
        assert isinstance(command, RegisterCard)  # noqa: S101 - the topic gives the kind
        key = card_key(command.org_id, command.number)
    return Registration(lines, key, value, request.org_id, own_id)


def judged(topic: Topic, value: bytes) -> tuple[Request | DeadLetterReason, str | None]:
    """What a worker would make of a message, and the request id that it names itself, if it does."""
    # No message has this offset, so a request id that is derived from it is nobody's own.
    origin = Coordinate(topic, 0, -1)
    request = decode(Message(origin, origin, 0, None, value))
    if isinstance(request, DeadLetterReason) or request.request_id == origin.request_id:
        return request, None
    return request, request.request_id


# ---------------------------------------------------------------- CSV


@dataclass(frozen=True, slots=True)
class _Row:
    line: Line
    cells: dict[str, str]
    problem: str | None = None


def _rows(lines: Iterator[Line], kind: Kind) -> Iterator[_Row]:
    header = next(lines, None)
    if header is None:
        raise SetupError("The file is empty. A CSV begins with a line that names its columns.")
    columns = _header(header, kind)
    for line in lines:
        problem = None
        try:
            cells = _cells(line)
            if len(cells) != len(columns):
                problem = f"{len(cells)} cells; the header has {len(columns)}"
        except ValueError as error:
            # Cut as well as it can be, to know whose row it is.
            cells, problem = line.raw.decode(errors="replace").replace('"', "").split(","), str(error)
        named = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
        yield _Row(line, {column: cell for column, cell in named.items() if cell}, problem)


def _header(line: Line, kind: Kind) -> list[str]:
    needed, possible = _COLUMNS[kind]
    try:
        columns = _cells(line)
    except ValueError as error:
        raise SetupError(f"Line {line.number} should name the columns, but cannot be read: {error}.") from None
    wrong = sorted(set(columns) - needed - possible) or sorted({name for name in columns if columns.count(name) > 1})
    missing = sorted(needed - set(columns))
    if wrong or missing:
        said = [f"unknown or repeated: {', '.join(map(repr, wrong))}"] if wrong else []
        said += [f"missing: {', '.join(missing)}"] if missing else []
        names = f"{', '.join(sorted(needed))}; optional: {', '.join(sorted(possible))}"
        raise SetupError(
            f"Line {line.number} does not name the columns of {kind}: {'; '.join(said)}. "
            f"They are, with commas between them: {names}."
        )
    return columns


def _cells(line: Line) -> list[str]:
    """The cells, trimmed. A quoted cell ends on its line: no value may hold a line's end."""
    if line.too_long:
        raise ValueError(f"over {LINE_MAX_BYTES} bytes")
    try:
        (cells,) = csv.reader([line.raw.decode("utf-8")], strict=True)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from None
    return [cell.strip() for cell in cells]


def _card(row: _Row) -> Registration | BadLine:
    document, problem = _document(row)
    if problem is not None:
        return BadLine(row.line.number, problem, (row.line,))
    return _judge((row.line,), orjson.dumps(document), "cards")


@dataclass(slots=True)
class _Group:
    """Rows of one customer, as they stand together."""

    customer: tuple[str | None, ...]
    lines: list[Line] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    problem: tuple[int, str] | None = None

    def result(self) -> Registration | BadLine:
        lines = tuple(self.lines)
        if self.problem is not None:
            number, reason = self.problem
            together = " (all rows of this customer are left out)" if len(lines) > 1 else ""
            return BadLine(number, reason + together, lines)
        return _judge(lines, orjson.dumps(self.document), "customers")


def _customers(rows: Iterator[_Row]) -> Iterator[Registration | BadLine]:
    group: _Group | None = None
    ended: dict[tuple[str | None, ...], int] = {}
    for row in rows:
        customer = (row.cells.get("orgId"), row.cells.get("customerId"))
        if group is None or customer != group.customer:
            if group is not None:
                yield group.result()
                if len(ended) < CUSTOMERS_REMEMBERED_MAX:
                    ended[group.customer] = group.lines[-1].number
            group = _Group(customer)
            if None not in customer and customer in ended:
                reason = (
                    f"rows of a customer stand together; this one's others end at line {ended[customer]}. "
                    "If these went in, send the row as an update"
                )
                group.problem = (row.line.number, reason)
        _add(group, row)
    if group is not None:
        yield group.result()


def _add(group: _Group, row: _Row) -> None:
    """Take a row into its customer's registration, or note why it cannot be."""
    document, problem = _document(row)
    identifier = {name: document.pop(name) for name in ("type", "value") if name in document}
    if group.lines and problem is None and document != {k: v for k, v in group.document.items() if k != "identifiers"}:
        problem = "differs from the customer's row before in more than type and value; send it as an update"
    elif not identifier and group.lines:
        problem = problem or "type, value: missing"
    if not group.lines:
        group.document = document
    group.lines.append(row.line)
    if identifier:
        group.document = group.document | {"identifiers": [*group.document.get("identifiers", []), identifier]}
    if problem is not None and group.problem is None:
        group.problem = (row.line.number, problem)


def _document(row: _Row) -> tuple[dict[str, Any], str | None]:
    """The cells as JSON has them, and what is wrong with them."""
    problem = row.problem
    document: dict[str, Any] = {}
    for name, cell in row.cells.items():
        if name not in _NUMBERS:
            document[name] = cell
        elif _NUMBER.fullmatch(cell):
            document[name] = int(cell)
        else:
            problem = problem or f"{name}: not a whole number (without zeros before it)"
    return document, problem
