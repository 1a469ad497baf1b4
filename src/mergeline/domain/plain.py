"""Updates that are plain, read in one pass: what nearly every message is.

In: the bytes of an update. Out: the same fields that `requests.IdentifierUpdate` reads from them, or None where that
is not certain. Never: a verdict. What is not plain goes the long way, through `json_text` and the model, which alone
say what is wrong with it; what is plain, they would accept and read alike (tests/property/test_plain.py).

Types and bounds are the model's: both read the annotations of `requests`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from pydantic_core import PydanticCustomError

from mergeline.domain.requests import IDENTIFIERS_MAX, Id, ItemType, RequestId, Text, instant


@final
class PlainItem(Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"):
    """`requests.Item`, its value as written; UNSET, like None, stands for what is left out."""

    type: ItemType
    value: Text
    series_id: Id | UnsetType | None = UNSET
    series_code: Text | UnsetType | None = UNSET
    status_label: Text | UnsetType | None = UNSET


PlainItems = list[PlainItem] | PlainItem | None | UnsetType


class PlainUpdate(Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"):
    """`requests.IdentifierUpdate`, its time as written; UNSET, like None, stands for what is left out."""

    org_id: Id
    customer_id: Id
    source: Text
    request_id: RequestId | UnsetType | None = UNSET
    account_id: Text | UnsetType | None = UNSET
    add: PlainItems = UNSET
    remove: PlainItems = UNSET
    requested_at: Annotated[str, Meta(min_length=1)] | UnsetType | None = UNSET


_DECODER: Final = msgspec.json.Decoder(PlainUpdate)
_NOT_PLAIN: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, PydanticCustomError)
_QUOTE: Final = 0x22
# An escape may stand for anything; DEL and, behind the byte C2, the C1 characters are control characters. JSON itself
# takes none of the others.
_BACKSLASH: Final = 0x5C
_DEL: Final = 0x7F
_C2: Final = 0xC2


def read(body: bytes) -> tuple[PlainUpdate, datetime | None] | None:
    """The update and when it was requested, if it is plain."""
    if _BACKSLASH in body or _DEL in body or _C2 in body:
        return None
    try:
        update = _DECODER.decode(body)
        requested_at = instant(update.requested_at) if update.requested_at else None
    except _NOT_PLAIN:
        return None
    request_id = update.request_id
    if request_id and not (request_id.isascii() and " " not in request_id):
        return None
    items = (*listed(update.add), *listed(update.remove))
    for item in items:
        if item.value.isspace():
            return None
    # Without escapes a quote begins or ends a string. A key that stands twice is one more than the fields account for.
    if len(items) > IDENTIFIERS_MAX or body.count(_QUOTE) != 2 * _strings(update, items):
        return None
    return update, requested_at


def listed(items: PlainItems) -> Sequence[PlainItem]:
    """One object as a list of one; what is left out as an empty one."""
    if type(items) is list:
        return items
    return (items,) if type(items) is PlainItem else ()


def _strings(update: PlainUpdate, items: Sequence[PlainItem]) -> int:
    """The strings in the text of an update: the keys of its fields, and the values that are strings."""
    strings = 4  # three keys that are needed, and the source
    strings += (update.add is not UNSET) + (update.remove is not UNSET)
    for text in (update.request_id, update.account_id, update.requested_at):
        if text is not UNSET:
            strings += 1 if text is None else 2
    for item in items:
        strings += 4  # type and value
        if item.series_id is not UNSET:
            strings += 1
        for text in (item.series_code, item.status_label):
            if text is not UNSET:
                strings += 1 if text is None else 2
    return strings
