"""An org's catalog: its sources, card series, status labels, block list and policies (SPEC section 7).

In: a parsed YAML or JSON document. Out: a frozen `Catalog` with the look-ups that `prepare` needs; what a change
would orphan. Never: a document that is only partly valid.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from mergeline.domain.requests import Id, Strict, Text
from mergeline.domain.values import is_region
from mergeline.domain.vocabulary import CardStatus

SERIES_MAX = 10_000
SOURCES_MAX = 1_000
LABELS_MAX = 1_000
BLOCK_LIST_MAX = 10_000
SOURCE_BYTES_MAX = 512
"""Bytes of a source's name in UTF-8: with a value and an account of 255 characters of 4 bytes, the key of an entry
is then just below the 2,704 bytes that an index of PostgreSQL takes."""


def _region(code: str) -> str:
    if not is_region(code):
        raise PydanticCustomError("region", "not a region that libphonenumber knows (ISO 3166, as in CN or US)")
    return code


def _source(name: str) -> str:
    if len(name.encode()) > SOURCE_BYTES_MAX:
        raise PydanticCustomError("source", "a name longer than 512 bytes in UTF-8")
    return name


class Policies(Strict):
    """What the org chose where the contract leaves a choice."""

    merged_customer: Literal["redirect", "reject"] = "redirect"


class Series(Strict):
    """A card series; a cap or an expiry that is None is none."""

    id: Id
    code: Text | None = None
    active: bool = True
    auto_create: bool = False
    max_active_cards_per_customer: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    expiry_days: Annotated[int, Field(ge=1, le=36_500)] | None = None


class Catalog(Strict):
    """One org's catalog, valid as a whole."""

    org_id: Id
    default_region: Annotated[str, AfterValidator(_region)] | None = None
    policies: Policies = Field(default_factory=Policies)
    block_list: list[Text] = Field(default_factory=list, max_length=BLOCK_LIST_MAX)
    sources: Annotated[
        dict[Annotated[Text, AfterValidator(_source)], Literal["single", "multiple"]],
        Field(min_length=1, max_length=SOURCES_MAX),
    ]
    series: list[Series] = Field(default_factory=list, max_length=SERIES_MAX)
    status_labels: dict[Text, Annotated[CardStatus, Field(strict=False)]] = Field(
        default_factory=dict, max_length=LABELS_MAX
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, document: Any) -> Any:
        if isinstance(document, Mapping):
            optional = {field.alias for field in cls.model_fields.values() if not field.is_required()}
            return {field: value for field, value in document.items() if value is not None or field not in optional}
        return document

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        codes = [series.code for series in self.series if series.code is not None]
        if len({series.id for series in self.series}) < len(self.series) or len(set(codes)) < len(codes):
            raise PydanticCustomError("series", "two series share an id or a code")
        if CardStatus.NOT_ISSUED not in self.labels.values():
            raise PydanticCustomError("labels", "no status label is left for NOT_ISSUED, which removed cards need")
        return self

    @cached_property
    def labels(self) -> dict[str, CardStatus]:
        """Every label: the file's, then each standard status by its own name unless the file maps that name."""
        return self.status_labels | {
            status.value: status for status in CardStatus if status.value not in self.status_labels
        }

    @cached_property
    def removal_label(self) -> str:
        """What a card carries that was removed without a label."""
        if self.labels[CardStatus.NOT_ISSUED] is CardStatus.NOT_ISSUED:
            return CardStatus.NOT_ISSUED.value
        return next(label for label, status in self.labels.items() if status is CardStatus.NOT_ISSUED)

    @cached_property
    def _series_by_id(self) -> dict[int, Series]:
        return {series.id: series for series in self.series}

    @cached_property
    def _series_by_code(self) -> dict[str, Series]:
        return {series.code: series for series in self.series if series.code is not None}

    @cached_property
    def _blocked(self) -> frozenset[str]:
        return frozenset(text.strip().casefold() for text in self.block_list)

    def find_series(self, series_id: int | None, series_code: str | None) -> Series | None:
        """The series by id, or by code where that is what was sent."""
        if series_id is not None:
            return self._series_by_id.get(series_id)
        return self._series_by_code.get(series_code) if series_code is not None else None

    def series_by_id(self, series_id: int) -> Series | None:
        """The series of a stored card."""
        return self._series_by_id.get(series_id)

    def blocks(self, written: str, normalised: str | None) -> bool:
        """Whether a value is on the block list, case ignored, as written or normalised (None: it is no such value)."""
        blocked = self._blocked
        if not blocked:
            return False
        return written.casefold() in blocked or (normalised is not None and normalised.casefold() in blocked)


class Reference(Strict):
    """Something in a catalog that stored data may rest on."""

    kind: Literal["source", "series", "label"]
    name: str


def changed_references(old: Catalog, new: Catalog) -> Iterable[Reference]:
    """What stored data may not rest on for `new` to replace `old`.

    A source that goes or changes between single and multiple, a series that goes, a label that goes or stands
    for another status. The store looks whether anything uses them; one use is enough to refuse the change.
    """
    for name, kind in old.sources.items():
        if new.sources.get(name) != kind:
            yield Reference(kind="source", name=name)
    for series in old.series:
        if new.series_by_id(series.id) is None:
            yield Reference(kind="series", name=str(series.id))
    for label, status in old.labels.items():
        if new.labels.get(label) is not status:
            yield Reference(kind="label", name=label)
