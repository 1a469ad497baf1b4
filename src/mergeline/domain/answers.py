"""Errors, warnings and decisions as data.

In: what `decide` found. Out: values that `events` turns into bytes and `fold` into state. Never: a value of an
identifier in a message text (it is personal data; the path says which one is meant).
"""

from datetime import datetime
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from mergeline.domain.vocabulary import CardStatus, ErrorCode, Status, WarningCode, upstream_code


class Scope(Struct, frozen=True, gc=False, order=True):
    """Where an identifier lives; `account` is empty for a single-account source."""

    source: str
    account: str


class Entry(Struct, frozen=True, gc=False, order=True):
    """One identifier in one scope."""

    type: str
    value: str
    scope: Scope


class Problem(Struct, frozen=True, gc=False):
    """An error or a warning: a code, a sentence, a JSON pointer, the upstream number, the others involved."""

    code: ErrorCode | WarningCode
    message: str
    path: str
    upstream_code: int | None = None
    customer_ids: tuple[int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The shape of events: what is absent is left out."""
        said: dict[str, Any] = {"code": self.code.value, "message": self.message, "path": self.path}
        if self.upstream_code is not None:
            said["upstreamCode"] = self.upstream_code
        if self.customer_ids:
            said["customerIds"] = list(self.customer_ids)
        return said


def problem(
    code: ErrorCode | WarningCode,
    message: str,
    path: str,
    *,
    identifier_type: str | None = None,
    customer_ids: tuple[int, ...] = (),
) -> Problem:
    """A problem with the upstream number that goes with its code (and type)."""
    return Problem(code, message, path, upstream_code(code, identifier_type), customer_ids)


class Customer(Struct, frozen=True, gc=False):
    """A registered customer; `survivor_id` is None while it lives."""

    org_id: int
    customer_id: int
    survivor_id: int | None
    version: int
    registered_at: datetime
    merged_at: datetime | None = None


class Card(Struct, frozen=True, gc=False):
    """A loyalty card; `customer_id` is None while nobody holds it."""

    org_id: int
    number: str
    series_id: int
    external_id: str | None
    customer_id: int | None
    label: str
    status: CardStatus
    issued_at: datetime | None = None
    expires_at: datetime | None = None


class Match(NamedTuple):
    """An added identifier and the entries of the survivor that it met."""

    added: Entry
    entries: tuple[Scope, ...]


class Merge(Struct, frozen=True, gc=False):
    """Victim into survivor, with all that moved (cards: number and series id), each list sorted."""

    victim_id: int
    survivor_id: int
    matched: tuple[Match, ...]
    moved_entries: tuple[Entry, ...]
    moved_cards: tuple[tuple[str, int], ...]
    repointed_ids: tuple[int, ...]
    warnings: tuple[Problem, ...] = ()


class CardChange(Struct, frozen=True, gc=False):
    """What happens to one card; `before` is None for a card made on the spot."""

    kind: Literal["issued", "removed", "status_changed"]
    before: Card | None
    after: Card


class Decision(Struct, frozen=True, gc=False):
    """What one request does, and what is said about it. A rejection changes nothing.

    `applied_to` is the root, `merged_into` the survivor of a merge in this request; the customer who gets what is
    added, and whose version counts (`version_of`), is the latter where there is one. Lists are sorted, cards by
    number, removals first.
    """

    status: Status
    occurred_at: datetime
    applied_to: int | None = None
    merged_into: int | None = None
    version_of: int | None = None
    """Whose version the outcome carries; None where no customer was looked up."""
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    registered: Customer | None = None
    removed: tuple[Entry, ...] = ()
    added: tuple[Entry, ...] = ()
    merge: Merge | None = None
    cards: tuple[CardChange, ...] = ()
    registered_card: Card | None = None

    @property
    def changes(self) -> int:
        """Change events, each of which raises the target's version by one (SPEC section 5)."""
        return (self.merge is not None) + bool(self.removed or self.added) + len(self.cards)
