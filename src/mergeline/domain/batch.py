"""A batch of messages in order, each decided in the state that the ones before it left.

In: the state and ledger rows read under locks, the messages, the time. Out: an `Answer` for each message, and the
state with all decisions folded in. Never: I/O.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import final

from msgspec import Struct

from mergeline.domain import events
from mergeline.domain.answers import Decision, Merge
from mergeline.domain.commands import UpdateIdentifiers
from mergeline.domain.decide import decide
from mergeline.domain.ledger import Ledger, LedgerRow, Meaning, RowKind
from mergeline.domain.limits import Limits
from mergeline.domain.messages import DeadLetterReason, Message, Outgoing, dead_letter
from mergeline.domain.prepare import Prepared
from mergeline.domain.state import State
from mergeline.domain.vocabulary import Status


@final
class Refused(Struct, frozen=True, gc=False):
    """A message that is to become a dead letter, under its own or its derived request id."""

    message: Message
    reason: DeadLetterReason
    request_id: str


class Answer(Struct, frozen=True, gc=False):
    """What to publish for a message, and what to store (None where the ledger has it already)."""

    message: Message
    outgoing: tuple[Outgoing, ...]
    row: LedgerRow | None = None
    merge: Merge | None = None
    """The merge of this request, to be recorded."""

    @property
    def kind(self) -> str:
        """How it was answered, for whoever counts: a status, or `repeat`, `reused`, `replay`, `dropped`, ..."""
        if self.row is None:
            return "replay" if self.outgoing else "dropped"
        return self.row.status if self.row.kind is RowKind.DECIDED else self.row.kind.value

    @property
    def is_dead_letter(self) -> bool:
        """Whether the message was given up."""
        return self.row is not None and self.row.kind is RowKind.DEAD_LETTER


def decide_batch(
    state: State,
    ledger: Ledger,
    items: Sequence[Prepared | Refused],
    now: datetime,
    limits: Limits,
    topic_prefix: str,
) -> list[Answer]:
    """The answers, in order. `topic_prefix` stands in the headers of dead letters."""
    return [
        _refuse(ledger, item, now, topic_prefix)
        if type(item) is Refused
        else _answer(state, ledger, item, now, limits, topic_prefix)
        for item in items
    ]


def replay(message: Message, row: LedgerRow, topic_prefix: str) -> Answer:
    """The stored answer of a message again, byte for byte."""
    if row.kind is RowKind.DEAD_LETTER:
        return Answer(message, (dead_letter(message, row.status, row.detail or "", topic_prefix),))
    return Answer(message, row.outgoing)


def _answer(
    state: State, ledger: Ledger, prepared: Prepared, now: datetime, limits: Limits, topic_prefix: str
) -> Answer:
    request = prepared.request
    message = request.message
    means, row = ledger.meaning(request.org_id, request.request_id, request.body_sha256, message.origin, message.at)
    merge = None
    if means is Meaning.DROP:
        return Answer(message, ())
    if means is Meaning.REPLAY and row is not None:
        return replay(message, row, topic_prefix)
    if means is Meaning.REPEAT and row is not None:
        kind, status, outgoing = RowKind.REPEAT, row.status, events.repeated(row.outgoing)
    elif means is Meaning.REUSED:
        kind, status, outgoing = RowKind.REUSED, Status.REJECTED.value, (events.reused(request, now),)
    else:
        decision = decide(state, prepared, now, limits)
        outgoing = _publications(state, prepared, decision)
        state.fold(request.org_id, decision)
        kind, status, merge = RowKind.DECIDED, decision.status.value, decision.merge
    command = request.command
    stored = LedgerRow(
        org_id=request.org_id,
        request_id=request.request_id,
        kind=kind,
        body_sha256=request.body_sha256,
        status=status,
        detail=None,
        origin=message.origin,
        at=message.at,
        requested_at=command.requested_at if type(command) is UpdateIdentifiers else None,
        decided_at=now,
        outgoing=outgoing,
    )
    ledger.add(stored)
    return Answer(message, outgoing, stored, merge)


def _publications(state: State, prepared: Prepared, decision: Decision) -> tuple[Outgoing, ...]:
    """The records of a decision, with the versions of those it concerns as they are before it is folded in."""
    org_id, merge = prepared.request.org_id, decision.merge
    target = None if decision.version_of is None else state.version(org_id, decision.version_of)
    gone = (merge.victim_id, *merge.repointed_ids) if merge is not None else ()
    victims = {victim_id: state.version(org_id, victim_id) for victim_id in gone}
    return events.publications(prepared, decision, target, victims)


def _refuse(ledger: Ledger, refused: Refused, now: datetime, topic_prefix: str) -> Answer:
    message, reason = refused.message, refused.reason
    body_sha256 = sha256(message.value or b"").digest()
    means, row = ledger.meaning(reason.org_id, refused.request_id, body_sha256, message.origin, message.at)
    if means is Meaning.DROP:
        return Answer(message, ())
    if means is Meaning.REPLAY and row is not None:
        return replay(message, row, topic_prefix)
    stored = LedgerRow(
        org_id=reason.org_id,
        request_id=refused.request_id,
        kind=RowKind.DEAD_LETTER,
        body_sha256=body_sha256,
        status=reason.code.value,
        detail=reason.text,
        origin=message.origin,
        at=message.at,
        requested_at=None,
        decided_at=now,
        outgoing=(),
    )
    ledger.add(stored)
    return Answer(message, (dead_letter(message, reason.code, reason.text, topic_prefix),), stored)
