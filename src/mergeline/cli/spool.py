"""Dead letters put in the order that their messages had, however many there are.

In: letters that can be sent, in the order they are read. Out: the same by origin (topic, partition, offset), each
message once. Never: more of them in memory than a page, or a file that outlives the block.

A dead-letter topic spreads what one input partition held, and a message that was sent again in vain stands in it again.
SQLite keeps them, in a file without a name in TMPDIR once they are more than its cache takes.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import msgspec
from msgspec import Struct

from mergeline.domain.messages import Coordinate
from mergeline.domain.redrive import Fate, Letter, Redriven
from mergeline.errors import SetupError
from mergeline.stream.unpacking import raw_name

CACHE_KIB: Final = 16 * 1024
Waiting = tuple[Letter, Redriven]
"""A letter whose message can be sent, and what is to be sent."""

_MAKE: Final = """
create table letter (
    topic text, partition integer, "offset" integer, org_id integer, request_id text, sha256 blob, content blob,
    primary key (topic, org_id, request_id, sha256)
)
"""
_ADD: Final = """
insert into letter values (?, ?, ?, ?, ?, ?, ?)
on conflict (topic, org_id, request_id, sha256) do update
set partition = excluded.partition, "offset" = excluded."offset", content = excluded.content
where (excluded.partition, excluded."offset") < (partition, "offset")
"""
_IN_ORDER: Final = 'select topic, partition, "offset", org_id, request_id, content from letter order by 1, 2, 3'
_COUNT: Final = "select count(*) from letter"


class _Content(Struct, array_like=True):
    code: str
    text: str
    at_ms: int
    key: bytes | None
    value: bytes | None
    sent: bytes | None
    """The value that is to be sent."""
    headers: list[tuple[bytes, bytes | None]]
    """Names are bytes here: they need not be UTF-8."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Content)


class Spool:
    """Letters that wait to be sent."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._added = 0

    def add(self, letter: Letter, redriven: Redriven) -> None:
        """Take one; of several of the same message, that which stood first in its topic is kept."""
        self._added += 1
        headers = [(raw_name(name), text) for name, text in letter.headers]
        content = _Content(letter.code, letter.text, letter.at_ms, letter.key, letter.value, redriven.value, headers)
        key = (redriven.org_id, redriven.request_id, redriven.body_sha256)
        self._database.execute(_ADD, (*letter.origin, *key, _ENCODER.encode(content)))

    @property
    def again(self) -> int:
        """How many were of a message that another one was of."""
        ((kept,),) = self._database.execute(_COUNT)
        return self._added - int(kept)

    def pages(self, size: int) -> Iterator[list[Waiting]]:
        """All, in order, so many at a time."""
        rows = self._database.execute(_IN_ORDER)
        while page := rows.fetchmany(size):
            yield [_waiting(*row) for row in page]


def _waiting(topic: str, partition: int, offset: int, org_id: int, request_id: str, content: bytes) -> Waiting:
    one = _DECODER.decode(content)
    headers = tuple((name.decode(errors="surrogateescape"), text) for name, text in one.headers)
    letter = Letter(Coordinate(topic, partition, offset), one.code, one.text, one.at_ms, one.key, one.value, headers)
    return letter, Redriven(Fate.SEND, org_id, request_id, one.sent)


@contextmanager
def spool() -> Iterator[Spool]:
    """An empty one.

    Raises:
        SetupError: if the folder for temporary files has no room for it, also inside the block.
    """
    try:
        with closing(sqlite3.connect("", isolation_level=None)) as database:
            database.execute(f"pragma cache_size = -{CACHE_KIB}")
            database.execute(_MAKE)
            yield Spool(database)
    except sqlite3.Error as error:
        raise SetupError(
            f"Dead letters cannot be kept in the folder for temporary files: {error}. "
            "Mount one with room for them at /tmp, or set TMPDIR."
        ) from None
