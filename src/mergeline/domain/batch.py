"""A batch of messages in order, each decided in the state that the ones before it left.

In: the state and ledger rows read under locks, the messages, the time. Out: a `Verdict` on each message, and the
state with all decisions folded in; then an `Answer` to each. Never: I/O.

Step by step for all messages, not message by message: each step's code then stays in the processor's cache, which
saves a third of the time. What is to be written is known with the verdicts, so the store writes while answers are made.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final, final

from msgspec import Struct

from mergeline.domain import events
from mergeline.domain.answers import Decision
from mergeline.domain.commands import UpdateIdentifiers
from mergeline.domain.decide import decide
from mergeline.domain.ledger import Ledger, LedgerRow, Meaning, Own, RowKind
from mergeline.domain.limits import Limits
from mergeline.domain.messages import DeadLetterReason, Message, Outgoing, dead_letter
from mergeline.domain.prepare import Prepared
from mergeline.domain.state import State
from mergeline.domain.vocabulary import Status


@final
class DeadLetter(Struct, frozen=True, gc=False):
    """A message that is to become a dead letter, under its own or its derived request id."""

    message: Message
    reason: DeadLetterReason
    request_id: str


class Verdict(Struct, frozen=True, gc=False):
    """What a message means, and what is decided on it."""

    item: Prepared | DeadLetter
    message: Message
    org_id: int
    request_id: str
    body_sha256: bytes
    kind: RowKind | None = None
    """Of the row to be stored; None where the ledger has one already."""
    known: LedgerRow | Own | None = None
    """The row whose answer is given again; where there is none, and none to be stored, the message is dropped."""
    decision: Decision | None = None
    version: int | None = None
    """Of the customer whose version the outcome carries, before the decision."""
    victims: dict[int, int] | None = None
    """Versions of the victim of a merge and of those repointed, before it."""


class Answer(Struct, frozen=True, gc=False):
    """What to publish for a message, and what to store (None where the ledger has it already)."""

    message: Message
    outgoing: tuple[Outgoing, ...]
    row: LedgerRow | None = None

    @property
    def kind(self) -> str:
        """How it was answered, for whoever counts: a status, `repeat`, `answered` (before), `dropped`, ..."""
        if self.row is None:
            return "answered" if self.outgoing else "dropped"
        return self.row.status if self.row.kind is RowKind.DECIDED else self.row.kind.value


def judge_batch(
    state: State, ledger: Ledger, items: Sequence[Prepared | DeadLetter], now: datetime, limits: Limits
) -> list[Verdict]:
    """The verdicts, in order; the state has every decision folded in then."""
    return [_judge(state, ledger, item, number, now, limits) for number, item in enumerate(items)]


def answer_batch(verdicts: Sequence[Verdict], now: datetime, topic_prefix: str) -> list[Answer]:
    """The answers, in order. `topic_prefix` stands in the headers of dead letters."""
    published = [_published(verdict) for verdict in verdicts]
    answers: list[Answer] = []
    for verdict, outgoing in zip(verdicts, published, strict=True):
        answers.append(_answer(verdict, outgoing, answers, now, topic_prefix))
    return answers


def answer_again(message: Message, row: LedgerRow, topic_prefix: str) -> Answer:
    """The stored answer of a message again, byte for byte."""
    if row.kind is RowKind.DEAD_LETTER:
        return Answer(message, (dead_letter(message, row.status, row.detail or "", topic_prefix),))
    return Answer(message, row.outgoing)


_KINDS: Final = {Meaning.DECIDE: RowKind.DECIDED, Meaning.REPEAT: RowKind.REPEAT, Meaning.REUSED: RowKind.REUSED}


def _judge(
    state: State, ledger: Ledger, item: Prepared | DeadLetter, number: int, now: datetime, limits: Limits
) -> Verdict:
    """State and ledger are as the next message finds them then."""
    if type(item) is DeadLetter:
        org_id, request_id, message = item.reason.org_id, item.request_id, item.message
        body_sha256 = sha256(message.value or b"").digest()
    else:
        request = item.request
        org_id, request_id, message = request.command.org_id, request.request_id, request.message
        body_sha256 = request.body_sha256
    means, known = ledger.meaning(org_id, request_id, body_sha256, message.origin, message.at)
    if means is Meaning.DROP:
        return Verdict(item, message, org_id, request_id, body_sha256)
    if means is Meaning.ANSWERED:
        return Verdict(item, message, org_id, request_id, body_sha256, known=known)
    kind = RowKind.DEAD_LETTER if type(item) is DeadLetter else _KINDS[means]
    decides = kind is RowKind.DECIDED
    ledger.add(org_id, request_id, message.origin, Own(number, body_sha256, message.at), decides=decides)
    if not decides or type(item) is DeadLetter:
        return Verdict(item, message, org_id, request_id, body_sha256, kind, known)
    decision = decide(state, item, now, limits)
    version_of, merge = decision.version_of, decision.merge
    version = None if version_of is None else state.version(org_id, version_of)
    victims = None
    if merge is not None:
        victims = {victim_id: state.version(org_id, victim_id) for victim_id in (merge.victim_id, *merge.repointed_ids)}
    state.fold(org_id, decision)
    return Verdict(item, message, org_id, request_id, body_sha256, kind, None, decision, version, victims)


def _published(verdict: Verdict) -> tuple[Outgoing, ...]:
    """The records of what is decided."""
    item, decision = verdict.item, verdict.decision
    if decision is None or type(item) is DeadLetter:
        return ()
    return events.publications(item, decision, verdict.version, verdict.victims or {})


def _answer(
    verdict: Verdict, published: tuple[Outgoing, ...], before: Sequence[Answer], now: datetime, topic_prefix: str
) -> Answer:
    """The records and the row. `before`: the answers to the messages before this one."""
    item, message, kind, known = verdict.item, verdict.message, verdict.kind, verdict.known
    row = before[known.number].row if type(known) is Own else known
    if kind is None:
        return Answer(message, ()) if row is None else answer_again(message, row, topic_prefix)
    outgoing, stored, status, detail = published, published, "", None
    requested_at = None
    if type(item) is DeadLetter:
        status, detail = item.reason.code.value, item.reason.text
        outgoing = (dead_letter(message, item.reason.code, item.reason.text, topic_prefix),)
    else:
        command = item.request.command
        requested_at = command.requested_at if type(command) is UpdateIdentifiers else None
        if verdict.decision is not None:
            status = verdict.decision.status.value
        elif kind is RowKind.REPEAT and row is not None:
            status = row.status
            outgoing = stored = events.repeated(row.outgoing)
        else:
            status = Status.REJECTED.value
            outgoing = stored = (events.reused(item.request, now),)
    return Answer(
        message,
        outgoing,
        LedgerRow(
            org_id=verdict.org_id,
            request_id=verdict.request_id,
            kind=kind,
            body_sha256=verdict.body_sha256,
            status=status,
            detail=detail,
            origin=message.origin,
            at=message.at,
            requested_at=requested_at,
            decided_at=now,
            outgoing=stored,
        ),
    )
