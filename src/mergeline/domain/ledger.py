"""What a message means, given what the ledger has under its request id.

In: a message and ledger rows. Out: one `Meaning`. Never: two places that decide this.

| ledger has this request id | body  | origin | at    | -> |
| ---                        | ---   | ---    | ---   | -- |
| no                         |       |        |       | DECIDE |
| yes                        | same  | same   | same  | ANSWERED: publish the stored bytes again |
| yes                        | same  | same   | other | DROP: the router sent it twice |
| yes                        | same  | other  |       | REPEAT: the stored outcome again, flagged |
| yes                        | other |        |       | REUSED: an outcome that says so |

`origin` is where the producer put the message, `at` where apply read it. A message whose own row (of a repeat,
a reuse, a dead letter) is there already follows rows two and three. A dead letter decides nothing: a later
message under its request id is decided.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum, StrEnum
from hashlib import sha256
from typing import final

from msgspec import Struct

from mergeline.domain.messages import Coordinate, Message, Outgoing


class RowKind(StrEnum):
    """How the message of a ledger row was answered."""

    DECIDED = "decided"
    REPEAT = "repeat"
    REUSED = "reused"
    DEAD_LETTER = "dead_letter"


class LedgerRow(Struct, frozen=True, gc=False):
    """One message and its answer.

    `status` is that of the outcome, or the code of a dead letter; `detail` the text of a dead letter, whose record
    is made of the message itself; `outgoing` the exact records of every other answer.
    """

    org_id: int
    request_id: str
    kind: RowKind
    body_sha256: bytes
    status: str
    detail: str | None
    origin: Coordinate
    at: Coordinate
    requested_at: datetime | None
    decided_at: datetime
    outgoing: tuple[Outgoing, ...]

    def answers(self, message: Message) -> bool:
        """Whether this answers the message, and not another one that stood at its place before."""
        return self.origin == message.origin and self.body_sha256 == sha256(message.value or b"").digest()


@final
class Own(Struct, frozen=True, gc=False):
    """A message of the batch in hand that will have a row: what is known of that before the row is made."""

    number: int
    """Its place in the batch."""
    body_sha256: bytes
    at: Coordinate


class Meaning(Enum):
    """What is to be done with a message."""

    DECIDE = "decide"
    ANSWERED = "answered"
    DROP = "drop"
    REPEAT = "repeat"
    REUSED = "reused"


class Ledger:
    """The rows of the request ids of one batch; grows with the batch's own messages."""

    def __init__(self, rows: Iterable[LedgerRow] = ()) -> None:
        self._decided: dict[tuple[int, str], LedgerRow | Own] = {}
        self._by_origin: dict[tuple[int, str, Coordinate], LedgerRow | Own] = {}
        for row in rows:
            self.add(row.org_id, row.request_id, row.origin, row, decides=row.kind is RowKind.DECIDED)

    def add(self, org_id: int, request_id: str, origin: Coordinate, row: LedgerRow | Own, *, decides: bool) -> None:
        """Take a row in, so that the next message sees it; `decides`: whether it is the decided one of its id."""
        self._by_origin[org_id, request_id, origin] = row
        if decides:
            self._decided[org_id, request_id] = row

    def meaning(
        self, org_id: int, request_id: str, body_sha256: bytes, origin: Coordinate, at: Coordinate
    ) -> tuple[Meaning, LedgerRow | Own | None]:
        """What the message means, and the row that says so (None for DECIDE)."""
        own = self._by_origin.get((org_id, request_id, origin))
        if own is not None and own.body_sha256 == body_sha256:
            return (Meaning.ANSWERED if own.at == at else Meaning.DROP), own
        decided = self._decided.get((org_id, request_id))
        if decided is None:
            return Meaning.DECIDE, None
        return (Meaning.REPEAT if decided.body_sha256 == body_sha256 else Meaning.REUSED), decided
