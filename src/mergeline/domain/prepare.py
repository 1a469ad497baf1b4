"""The catalog's word on a request: scope, normalised values, series and labels (SPEC section 3, stage catalog).

In: a `Request` and the org's `Catalog` (None where there is none). Out: a `Prepared` that holds either every
error of the stage or all that `decide` needs. Never: a look at customers, entries or cards.
"""

from collections.abc import Callable, Iterable
from typing import Final, final

from msgspec import Struct

from mergeline.domain.answers import Problem, Scope, problem
from mergeline.domain.catalog import Catalog, Series
from mergeline.domain.commands import NamedCard, NamedIdentifier, RegisterCard, Request, UpdateIdentifiers
from mergeline.domain.values import normalise
from mergeline.domain.vocabulary import COUNTED_STATUSES, CardStatus, ErrorCode

NO_SCOPE: Final = Scope("", "")
"""Of requests that are rejected before their scope matters, and of cards."""


class PreparedCard(Struct, frozen=True, gc=False):
    """A card with its series and label looked up; the series is None where a removal names none."""

    path: str
    number: str
    series: Series | None
    label: str
    status: CardStatus


@final
class Prepared(Struct, frozen=True, gc=False):
    """A request after the catalog stage; with `errors` it goes no further."""

    request: Request
    catalog: Catalog | None
    errors: tuple[Problem, ...] = ()
    scope: Scope = NO_SCOPE
    adds: tuple[NamedIdentifier, ...] = ()
    removes: tuple[NamedIdentifier, ...] = ()
    card_adds: tuple[PreparedCard, ...] = ()
    card_removes: tuple[PreparedCard, ...] = ()


def prepare(request: Request, catalog: Catalog | None) -> Prepared:
    """The request with everything the catalog decides decided: pure, so it is done again when a catalog changes."""
    command = request.command
    if catalog is None:
        unknown = problem(ErrorCode.UNKNOWN_ORG, "The org has no catalog.", "/orgId")
        return Prepared(request, None, errors=(unknown,))
    stage = _Stage(catalog)
    if type(command) is RegisterCard:
        card = stage.registered_card(command)
        return Prepared(request, catalog, tuple(stage.errors), card_adds=(card,) if card else ())
    scope = stage.scope(command.source, command.account_id)
    adds = stage.identifiers(command.adds, blockable=True)
    removes: tuple[NamedIdentifier, ...] = ()
    card_adds: tuple[PreparedCard, ...] = ()
    card_removes: tuple[PreparedCard, ...] = ()
    if type(command) is UpdateIdentifiers:
        if command.removes:
            removes = stage.identifiers(command.removes, blockable=False)
            stage.reject_overlap(adds, removes)
        if command.card_adds:
            card_adds = stage.cards(command.card_adds, stage.added_card)
        if command.card_removes:
            card_removes = stage.cards(command.card_removes, stage.removed_card)
    if stage.errors:
        return Prepared(request, catalog, tuple(stage.errors))
    return Prepared(request, catalog, (), scope, adds, removes, card_adds, card_removes)


class _Stage:
    """Collects every error of the catalog stage."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.errors: list[Problem] = []

    def scope(self, source: str, account_id: str | None) -> Scope:
        kind = self.catalog.sources.get(source)
        if kind is None:
            self._say(ErrorCode.UNKNOWN_SOURCE, "The org's catalog has no such source.", "/source")
        elif kind == "multiple" and account_id is None:
            self._say(ErrorCode.ACCOUNT_REQUIRED, "This source has many accounts: name one.", "/accountId")
        elif kind == "single" and account_id is not None:
            self._say(ErrorCode.ACCOUNT_NOT_ALLOWED, "This source has one account: name none.", "/accountId")
        return Scope(source, account_id or "")

    def identifiers(self, named: Iterable[NamedIdentifier], *, blockable: bool) -> tuple[NamedIdentifier, ...]:
        """The identifiers with normalised values, those that become equal folded into the first."""
        kept: dict[tuple[str, str], NamedIdentifier] = {}
        blocked: set[tuple[str, str]] = set()
        region = self.catalog.default_region
        for item in named:
            value = normalise(item.type, item.value, region)
            if blockable and self.catalog.blocks(item.value, value):
                key = (item.type, item.value if value is None else value)
                if key in blocked:
                    continue
                blocked.add(key)
                self._say(ErrorCode.BLOCKED_VALUE, "The org blocks this value.", item.path)
            elif value is None:
                self._say(ErrorCode.INVALID_VALUE, f"This is not a valid {item.type}.", item.path, item.type)
            else:
                same = value == item.value
                kept.setdefault((item.type, value), item if same else NamedIdentifier(item.path, item.type, value))
        return tuple(kept.values())

    def reject_overlap(self, adds: Iterable[NamedIdentifier], removes: Iterable[NamedIdentifier]) -> None:
        """What only normalising makes equal in both lists (equal as written makes a dead letter in `decode`)."""
        removed = {(item.type, item.value) for item in removes}
        for item in adds:
            if (item.type, item.value) in removed:
                text = "Normalised, this is the identifier that the request removes."
                self._say(ErrorCode.INVALID_VALUE, text, item.path, item.type)

    @staticmethod
    def cards(
        named: Iterable[NamedCard], check: Callable[[NamedCard], PreparedCard | None]
    ) -> tuple[PreparedCard, ...]:
        prepared = (check(card) for card in named)
        return tuple(card for card in prepared if card is not None)

    def added_card(self, card: NamedCard) -> PreparedCard | None:
        series = self._series(card.path, card.series_id, card.series_code)
        if series is not None and not series.active:
            self._say(ErrorCode.SERIES_INACTIVE, "The card series is not active.", card.path)
        status = self._status(card.path, card.label or "")
        if status is CardStatus.NOT_ISSUED:
            text = "A card cannot be added with a label of NOT_ISSUED."
            self._say(ErrorCode.LABEL_NOT_ISSUABLE, text, card.path)
        if series is None or status is None:
            return None
        return PreparedCard(card.path, card.number, series, card.label or "", status)

    def removed_card(self, card: NamedCard) -> PreparedCard | None:
        named = card.series_id is not None or card.series_code is not None
        series = self._series(card.path, card.series_id, card.series_code) if named else None
        label = card.label if card.label is not None else self.catalog.removal_label
        status = self._status(card.path, label)
        if status not in (None, CardStatus.NOT_ISSUED):
            text = "A card can only be removed with a label of NOT_ISSUED."
            self._say(ErrorCode.LABEL_NOT_REMOVAL, text, card.path)
        return PreparedCard(card.path, card.number, series, label, status) if status is not None else None

    def registered_card(self, command: RegisterCard) -> PreparedCard | None:
        path = "/seriesId" if command.series_id is not None else "/seriesCode"
        series = self._series(path, command.series_id, command.series_code)
        label = command.label if command.label is not None else CardStatus.NOT_ISSUED.value
        status = self._status("/statusLabel", label)
        if status in COUNTED_STATUSES:
            text = "A card of this status needs an owner: register it with another label and issue it."
            self._say(ErrorCode.LABEL_NOT_ISSUABLE, text, "/statusLabel")
        if series is None or status is None:
            return None
        return PreparedCard("", command.number, series, label, status)

    def _series(self, path: str, series_id: int | None, series_code: str | None) -> Series | None:
        series = self.catalog.find_series(series_id, series_code)
        if series is None:
            self._say(ErrorCode.UNKNOWN_SERIES, "The org's catalog has no such card series.", path)
        return series

    def _status(self, path: str, label: str) -> CardStatus | None:
        status = self.catalog.labels.get(label)
        if status is None:
            self._say(ErrorCode.UNKNOWN_STATUS_LABEL, "The org's catalog has no such status label.", path)
        return status

    def _say(self, code: ErrorCode, text: str, path: str, identifier_type: str | None = None) -> None:
        self.errors.append(problem(code, text, path, identifier_type=identifier_type))
