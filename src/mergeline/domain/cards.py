"""The card stage: removes, then status changes and issues, then the cap (SPEC section 4).

In: the state, a prepared request, its root and the merge that the identifier stage found. Out: the changes of
cards, or one error a card. Never: a look at identifiers; a card causes no merge.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from mergeline.domain.answers import Card, CardChange, Merge, Problem, problem
from mergeline.domain.catalog import Series
from mergeline.domain.commands import RegisterCard
from mergeline.domain.prepare import Prepared, PreparedCard
from mergeline.domain.state import State
from mergeline.domain.vocabulary import (
    CARD,
    COUNTED_STATUSES,
    FINAL_STATUSES,
    ISSUABLE_STATUSES,
    STATUS_CHANGES,
    CardStatus,
    ErrorCode,
    WarningCode,
)


class CardStage(Struct, frozen=True, gc=False):
    """What the stage found; `merge_warnings` are those of the merge (a cap that it exceeds)."""

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    changes: tuple[CardChange, ...] = ()
    merge_warnings: tuple[Problem, ...] = ()


NO_CARDS: Final = CardStage()
"""Of a request that names no card and merges nobody."""


def decide_cards(state: State, prepared: Prepared, root_id: int, merge: Merge | None, now: datetime) -> CardStage:
    """The cards of the request, which belong to the survivor once the request merges its customer."""
    if merge is None and not prepared.card_removes and not prepared.card_adds:
        return NO_CARDS
    owner_id = merge.survivor_id if merge is not None else root_id
    stage = _Stage(state, prepared, owner_id, {root_id, owner_id}, now)
    for card in prepared.card_removes:
        stage.judge(card, stage.remove)
    for card in prepared.card_adds:
        stage.judge(card, stage.add)
    counts = stage.final_counts(root_id, merge)
    stage.judge_caps(counts)
    if stage.errors:
        return CardStage(errors=tuple(stage.errors))
    by_number = sorted(stage.changes, key=lambda change: (change.kind != "removed", change.after.number))
    exceeded = stage.exceeded_by_merge(counts, root_id) if merge is not None else ()
    return CardStage((), tuple(stage.warnings), tuple(by_number), exceeded)


def registered_card(prepared: Prepared, command: RegisterCard) -> Card:
    """A new card that belongs to nobody."""
    (card,) = prepared.card_adds
    return Card(
        org_id=command.org_id,
        number=command.number,
        series_id=_series_of(card).id,
        external_id=command.external_id,
        customer_id=None,
        label=card.label,
        status=card.status,
    )


class _CardError(Exception):
    def __init__(self, error: Problem) -> None:
        super().__init__(error.code)
        self.error = error


class _Stage:
    """One request's cards; `own_ids` are the root and, after a merge, the survivor."""

    def __init__(self, state: State, prepared: Prepared, owner_id: int, own_ids: set[int], now: datetime) -> None:
        self.state, self.prepared, self.now = state, prepared, now
        self.org_id, self.owner_id, self.own_ids = prepared.request.org_id, owner_id, own_ids
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self.changes: list[CardChange] = []
        self.issued: dict[int, list[PreparedCard]] = {}

    def judge(self, named: PreparedCard, rule: Callable[[PreparedCard, Card | None], None]) -> None:
        """Apply the rule; one error a card, the first that applies."""
        try:
            rule(named, self.state.cards.get((self.org_id, named.number)))
        except _CardError as rejected:
            self.errors.append(rejected.error)

    def remove(self, named: PreparedCard, card: Card | None) -> None:
        """The card leaves the customer and returns to a label of NOT_ISSUED."""
        if card is None:
            raise _rejection(named, ErrorCode.CARD_NOT_FOUND, "The org has no such card.")
        if named.series is not None and named.series.id != card.series_id:
            raise _rejection(named, ErrorCode.CARD_NOT_IN_SERIES, "The card is of another series.")
        if card.customer_id not in self.own_ids:
            text = "The customer does not hold this card."
            self.warnings.append(problem(WarningCode.NOT_PRESENT, text, named.path))
            return
        if card.status in FINAL_STATUSES:
            raise _rejection(named, ErrorCode.CARD_NOT_REMOVABLE, f"A card at {card.status} cannot be removed.")
        after = replace(card, customer_id=None, label=named.label, status=named.status, issued_at=None, expires_at=None)
        self.changes.append(CardChange("removed", card, after))

    def add(self, named: PreparedCard, card: Card | None) -> None:
        """Issue the card, or change its status where the customer holds it."""
        series = _series_of(named)
        if card is None:
            if not series.auto_create:
                raise _rejection(named, ErrorCode.CARD_NOT_FOUND, "The org has no such card.")
        elif card.series_id != series.id:
            raise _rejection(named, ErrorCode.CARD_NOT_IN_SERIES, "The card is of another series.")
        elif card.customer_id in self.own_ids:
            self._change_status(named, card)
            return
        elif card.customer_id is not None:
            text = "Another customer holds this card."
            raise _rejection(named, ErrorCode.CARD_TAKEN, text, (card.customer_id,))
        elif card.status is not CardStatus.NOT_ISSUED:
            raise _rejection(named, ErrorCode.CARD_NOT_ISSUABLE, f"A card at {card.status} cannot be issued.")
        if named.status not in ISSUABLE_STATUSES:
            text = "A card can only be issued with a label of ISSUED or ACTIVE."
            raise _rejection(named, ErrorCode.LABEL_NOT_ISSUABLE, text)
        days = series.expiry_days
        after = Card(
            org_id=self.org_id,
            number=named.number,
            series_id=series.id,
            external_id=card.external_id if card is not None else None,
            customer_id=self.owner_id,
            label=named.label,
            status=named.status,
            issued_at=self.now,
            expires_at=self.now + timedelta(days=days) if days is not None else None,
        )
        self.changes.append(CardChange("issued", card, after))
        self.issued.setdefault(series.id, []).append(named)

    def _change_status(self, named: PreparedCard, card: Card) -> None:
        if named.label == card.label:
            text = "The customer holds this card with this label already."
            warning = problem(WarningCode.ALREADY_PRESENT, text, named.path, identifier_type=CARD)
            self.warnings.append(warning)
            return
        if named.status is not card.status and named.status not in STATUS_CHANGES[card.status]:
            text = f"A card at {card.status} cannot change to {named.status}."
            raise _rejection(named, ErrorCode.CARD_TRANSITION_NOT_ALLOWED, text)
        after = replace(card, customer_id=self.owner_id, label=named.label, status=named.status)
        self.changes.append(CardChange("status_changed", card, after))

    def final_counts(self, root_id: int, merge: Merge | None) -> Counter[int]:
        """Cards of the owner that count against each series' cap once the request is through."""
        counts = Counter(self.state.active(self.org_id, self.owner_id))
        if merge is not None:
            counts.update(self.state.active(self.org_id, root_id))
        for change in self.changes:
            before = change.before
            if before is not None and before.customer_id is not None and before.status in COUNTED_STATUSES:
                counts[before.series_id] -= 1
            if change.after.customer_id is not None and change.after.status in COUNTED_STATUSES:
                counts[change.after.series_id] += 1
        return counts

    def judge_caps(self, counts: Counter[int]) -> None:
        """Said once a series, at its last issued card by number, if something was issued in it."""
        for series_id, issued in sorted(self.issued.items()):
            cap = _series_of(issued[0]).max_active_cards_per_customer
            if cap is not None and counts[series_id] > cap:
                last = max(issued, key=lambda named: named.number)
                text = f"The customer would hold more active cards of the series than its cap of {cap}."
                self.errors.append(_rejection(last, ErrorCode.CARD_LIMIT_REACHED, text).error)

    def exceeded_by_merge(self, counts: Counter[int], root_id: int) -> tuple[Problem, ...]:
        """A warning for each series whose cap the victim's cards exceed."""
        catalog = self.prepared.catalog
        warnings = []
        for series_id, brought in sorted(self.state.active(self.org_id, root_id).items()):
            series = catalog.series_by_id(series_id) if catalog is not None else None
            cap = series.max_active_cards_per_customer if series is not None else None
            if brought > 0 and cap is not None and counts[series_id] > cap:
                text = f"After the merge the customer exceeds the cap of series {series_id} ({cap} active cards)."
                warnings.append(problem(WarningCode.CARD_LIMIT_EXCEEDED, text, "/add"))
        return tuple(warnings)


def _series_of(named: PreparedCard) -> Series:
    if named.series is None:
        raise AssertionError("an added card has a series after the catalog stage")
    return named.series


def _rejection(named: PreparedCard, code: ErrorCode, text: str, customer_ids: tuple[int, ...] = ()) -> _CardError:
    return _CardError(problem(code, text, named.path, customer_ids=customer_ids))
