"""The three kinds of request as strict models (SPEC sections 2 and 7).

In: a parsed JSON value. Out: a frozen model, field for field what was sent, values trimmed.
Never: a look at the catalog (that is `prepare`), or a coerced value (`"7"` is no
number, `1.0` no id).
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

IDENTIFIERS_MAX: Final = 64
"""Identifiers a request may name; SPEC section 2."""
TEXT_MAX: Final = 255
REQUEST_ID_MAX: Final = 128
ID_MAX: Final = 2**63 - 1

# Each `Meta` repeats bounds for `plain`, which reads the same annotations.
Id = Annotated[int, Field(ge=1, le=ID_MAX), Meta(ge=1, le=ID_MAX)]
Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=TEXT_MAX, pattern=r"^[^\p{Cc}]+$"),
    Meta(min_length=1, max_length=TEXT_MAX),
]
RequestId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=REQUEST_ID_MAX, pattern=r"^[\x21-\x7e]+$"),
    Meta(min_length=1, max_length=REQUEST_ID_MAX),
]

_WHEN: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt]((?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)(?:\.(\d+))?"
    r"([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def _trimmed(value: str) -> str:
    trimmed = value.strip()
    if not trimmed:
        raise PydanticCustomError("empty", "empty after trimming")
    return trimmed


def instant(value: object) -> datetime:
    """RFC 3339 with offset; a leap second counts as the one before it, digits past microseconds are cut."""
    match = _WHEN.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        day, minute, second, fraction, offset = match.groups()
        time = f"{minute}:{min(second, '59')}.{(fraction or '')[:6]:0<6}"
        try:
            return datetime.fromisoformat(f"{day}T{time}{'+00:00' if offset in 'Zz' else offset}").astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError("instant", "not a date and time of RFC 3339 with an offset, like 2026-11-21T10:00:00Z")


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


IdentifierType = Literal[
    "mobile",
    "email",
    "externalId",
    "wechat",
    "martjackId",
    "fbId",
    "tmall_uname",
    "cuid",
    "ali_uname",
    "jd_uname",
    "vip_uname",
    "line",
    "unionId",
]
ItemType = Literal[IdentifierType, "cardnumber", "cardNumber"]
Value = Annotated[Text, AfterValidator(_trimmed)]
Instant = Annotated[datetime, BeforeValidator(instant)]


class Strict(BaseModel):
    """camelCase on the wire, no unknown field, no coercion, frozen; `null` means left out, where a field may be."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", alias_generator=to_camel)


class Identifier(Strict):
    """An identifier of a registration: no card."""

    type: IdentifierType
    value: Value


class Item(Strict):
    """An item of `add` or `remove`: an identifier, or a card with series and label."""

    type: ItemType
    value: Value
    series_id: Id | None = None
    series_code: Text | None = None
    status_label: Text | None = None


Items = Annotated[list[Item] | None, BeforeValidator(_one_or_many)]


class IdentifierUpdate(Strict):
    """Topic `identifier-updates`: add and remove identifiers and cards of a customer."""

    request_id: RequestId | None = None
    org_id: Id
    customer_id: Id
    source: Text
    account_id: Text | None = None
    add: Items = None
    remove: Items = None
    requested_at: Instant | None = None


class CustomerRegistration(Strict):
    """Topic `customer-registrations`: a customer and its first identifiers in one scope."""

    request_id: RequestId | None = None
    org_id: Id
    customer_id: Id
    source: Text
    account_id: Text | None = None
    identifiers: list[Identifier] | None = None
    registered_at: Instant | None = None


class CardRegistration(Strict):
    """Topic `card-registrations`: a card that can be issued later."""

    request_id: RequestId | None = None
    org_id: Id
    series_id: Id | None = None
    series_code: Text | None = None
    card_number: Value
    card_external_id: Text | None = None
    status_label: Text | None = None
