"""From the bytes of a message to a request, or the reason why it is none (SPEC sections 2 and 3).

In: a `Message`. Out: a `Request`, or a `DeadLetterReason` whose text names the field and the rule. Never: a word
of the message's content in that text, an exception, or a look at anything but the message.
Judged in this order: size, UTF-8 and JSON, depth, count, the rest. A plain update is read in one pass (`plain`).
"""

import difflib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mergeline.domain import json_text, plain
from mergeline.domain.commands import (
    Command,
    NamedCard,
    NamedIdentifier,
    RegisterCard,
    RegisterCustomer,
    Request,
    UpdateIdentifiers,
)
from mergeline.domain.incarnations import topic_of
from mergeline.domain.messages import DeadLetterReason, Message
from mergeline.domain.plain import PlainItem, PlainItems, PlainUpdate
from mergeline.domain.requests import (
    ID_MAX,
    IDENTIFIERS_MAX,
    CardRegistration,
    CustomerRegistration,
    Identifier,
    IdentifierUpdate,
    Item,
)
from mergeline.domain.vocabulary import CARD_SPELLINGS, DeadLetterCode, Topic

BYTES_MAX: Final = 64 * 1024
"""Bytes of a request; SPEC section 2."""


_Located = Sequence[tuple[str, Item]] | Sequence[tuple[str, PlainItem]]
"""Items of an update, each with its JSON pointer."""


class _Invalid(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def decode(message: Message) -> Request | DeadLetterReason:
    """What the message asks for; or, never raising, why it is a dead letter."""
    (request,) = decode_all([message])
    return request


def decode_all(messages: Sequence[Message]) -> list[Request | DeadLetterReason]:
    """`decode` of each; the plain ones are read first, all of them, which takes less time than in turns."""
    return [
        _decode(message) if found is None else _plain_request(message, *found)
        for message, found in zip(messages, [_plain(message) for message in messages], strict=True)
    ]


def _plain(message: Message) -> tuple[PlainUpdate, datetime | None] | None:
    body = message.value
    if topic_of(message.origin.topic) != Topic.IDENTIFIER_UPDATES or not body or len(body) > BYTES_MAX:
        return None
    return plain.read(body)


def _decode(message: Message) -> Request | DeadLetterReason:
    """The long way."""
    topic = topic_of(message.origin.topic)
    if topic not in _COMMANDS:
        return DeadLetterReason(DeadLetterCode.INVALID_REQUEST, "not sent to a public topic")
    body = message.value if message.value is not None else b""
    if len(body) > BYTES_MAX:
        return DeadLetterReason(DeadLetterCode.TOO_LARGE, f"{len(body)} bytes; at most {BYTES_MAX}")
    if not body:
        return DeadLetterReason(DeadLetterCode.MALFORMED_JSON, "no value")
    try:
        document = json_text.parse(body)
    except json_text.Malformed as error:
        return DeadLetterReason(DeadLetterCode.MALFORMED_JSON, str(error))
    except json_text.TooDeep as error:
        return DeadLetterReason(DeadLetterCode.TOO_LARGE, str(error))
    count = _identifier_count(topic, document)
    if count > IDENTIFIERS_MAX:
        text = f"{count} identifiers; at most {IDENTIFIERS_MAX}"
        return DeadLetterReason(DeadLetterCode.TOO_LARGE, text, _org_of(document))
    try:
        wire, command = _COMMANDS[topic](document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return DeadLetterReason(DeadLetterCode.INVALID_REQUEST, _reason(details[0], document), _org_of(document))
    except _Invalid as invalid:
        return DeadLetterReason(DeadLetterCode.INVALID_REQUEST, invalid.text, _org_of(document))
    request_id = wire.request_id or message.origin.request_id
    return Request(message, request_id, hashlib.sha256(body).digest(), command)


def _plain_request(message: Message, update: PlainUpdate, requested_at: datetime | None) -> Request | DeadLetterReason:
    adds, removes = _plainly_located("add", update.add), _plainly_located("remove", update.remove)
    try:
        command = _updating(update, adds, removes, requested_at)
    except _Invalid as invalid:
        return DeadLetterReason(DeadLetterCode.INVALID_REQUEST, invalid.text, update.org_id)
    body_sha256 = hashlib.sha256(message.value or b"").digest()
    return Request(message, update.request_id or message.origin.request_id, body_sha256, command)


def _org_of(document: Any) -> int:
    org_id = document.get("orgId") if isinstance(document, dict) else None
    return org_id if type(org_id) is int and 1 <= org_id <= ID_MAX else 0


_LISTS: Final[dict[str, tuple[str, ...]]] = {
    Topic.IDENTIFIER_UPDATES: ("add", "remove"),
    Topic.CUSTOMER_REGISTRATIONS: ("identifiers",),
    Topic.CARD_REGISTRATIONS: (),
}


def _identifier_count(topic: str, document: Any) -> int:
    """Identifiers named, before repeats are folded; anything that is no list counts one or, absent, none."""
    if not isinstance(document, dict):
        return 0
    lists = (document.get(field) for field in _LISTS[topic])
    return sum(len(items) if isinstance(items, list) else items is not None for items in lists)


# ---------------------------------------------------------------- the three kinds


def _update(document: Any) -> tuple[IdentifierUpdate, Command]:
    wire = IdentifierUpdate.model_validate(document)
    adds, removes = _located("add", document, wire.add), _located("remove", document, wire.remove)
    return wire, _updating(wire, adds, removes, wire.requested_at)


def _updating(
    update: IdentifierUpdate | PlainUpdate, adding: _Located, removing: _Located, requested_at: datetime | None
) -> UpdateIdentifiers:
    if not adding and not removing:
        raise _Invalid("/add: at least one of add and remove is needed")
    adds, card_adds = _named(adding, adding=True)
    removes, card_removes = _named(removing, adding=False)
    if adding and removing:
        _check_overlap(adds, removes, card_adds, card_removes)
    return UpdateIdentifiers(
        org_id=update.org_id,
        customer_id=update.customer_id,
        source=update.source,
        account_id=update.account_id or None,
        adds=adds,
        removes=removes,
        card_adds=card_adds,
        card_removes=card_removes,
        requested_at=requested_at,
    )


def _check_overlap(
    adds: Iterable[NamedIdentifier],
    removes: Iterable[NamedIdentifier],
    card_adds: Iterable[NamedCard],
    card_removes: Iterable[NamedCard],
) -> None:
    removed = {(item.type, item.value) for item in removes}
    for named in adds:
        if (named.type, named.value) in removed:
            raise _Invalid(f"{named.path}: the same identifier stands in remove")
    removed_cards = {card.number for card in card_removes}
    for card in card_adds:
        if card.number in removed_cards:
            raise _Invalid(f"{card.path}: the same card stands in remove")


def _customer(document: Any) -> tuple[CustomerRegistration, Command]:
    wire = CustomerRegistration.model_validate(document)
    named: dict[tuple[str, str], NamedIdentifier] = {}
    for path, item in _located("identifiers", document, wire.identifiers):
        named.setdefault((item.type, item.value), NamedIdentifier(path, item.type, item.value))
    return wire, RegisterCustomer(
        org_id=wire.org_id,
        customer_id=wire.customer_id,
        source=wire.source,
        account_id=wire.account_id,
        adds=tuple(named.values()),
        registered_at=wire.registered_at,
    )


def _card(document: Any) -> tuple[CardRegistration, Command]:
    wire = CardRegistration.model_validate(document)
    if wire.series_id is None and wire.series_code is None:
        raise _Invalid("/seriesId: needed (or seriesCode)")
    if wire.series_id is not None and wire.series_code is not None:
        raise _Invalid("/seriesCode: seriesId and seriesCode exclude each other")
    return wire, RegisterCard(
        org_id=wire.org_id,
        number=wire.card_number,
        series_id=wire.series_id,
        series_code=wire.series_code,
        external_id=wire.card_external_id,
        label=wire.status_label,
    )


_Wire = IdentifierUpdate | CustomerRegistration | CardRegistration
_COMMANDS: Final[dict[str, Callable[[Any], tuple[_Wire, Command]]]] = {
    Topic.IDENTIFIER_UPDATES: _update,
    Topic.CUSTOMER_REGISTRATIONS: _customer,
    Topic.CARD_REGISTRATIONS: _card,
}

# ---------------------------------------------------------------- items

_AnyItem = TypeVar("_AnyItem", Item, Identifier)
_POINTERS: Final = {
    field: tuple(f"/{field}/{index}" for index in range(IDENTIFIERS_MAX)) for field in ("add", "remove", "identifiers")
}


def _located(field: str, document: dict[str, Any], items: list[_AnyItem] | None) -> list[tuple[str, _AnyItem]]:
    """Each item with its JSON pointer: `/add/1`, or `/add` where that is one object."""
    if not items:
        return []
    if isinstance(document[field], dict):
        return [(f"/{field}", items[0])]
    return list(zip(_POINTERS[field], items, strict=False))


def _plainly_located(field: str, items: PlainItems) -> _Located:
    if type(items) is list:
        return list(zip(_POINTERS[field], items, strict=False))
    return [(f"/{field}", items)] if type(items) is PlainItem else []


def _named(items: _Located, *, adding: bool) -> tuple[tuple[NamedIdentifier, ...], tuple[NamedCard, ...]]:
    """The identifiers and the cards among the items, each once, at the path that names it first.

    Raises:
        _Invalid: if an item has a field too many or too few, or a card is named again with another series or label.
    """
    identifiers: dict[tuple[str, str], NamedIdentifier] = {}
    cards: dict[str, NamedCard] = {}
    for path, item in items:
        kind, value = item.type, item.value.strip()
        if kind not in CARD_SPELLINGS:
            _check_identifier(path, item)
            if (kind, value) not in identifiers:
                identifiers[kind, value] = NamedIdentifier(path, kind, value)
            continue
        _check_card(path, item, adding=adding)
        # What is there is not empty, nor 0.
        card = NamedCard(path, value, item.series_id or None, item.series_code or None, item.status_label or None)
        first = cards.setdefault(value, card)
        if (first.series_id, first.series_code, first.label) != (card.series_id, card.series_code, card.label):
            raise _Invalid(f"{path}: the same card stands in the list with another series or label")
    return tuple(identifiers.values()), tuple(cards.values())


def _check_identifier(path: str, item: Item | PlainItem) -> None:
    if not (item.series_id or item.series_code or item.status_label):
        return
    fields = {"seriesId": item.series_id, "seriesCode": item.series_code, "statusLabel": item.status_label}
    named = next(field for field, value in fields.items() if value)
    raise _Invalid(f"{path}/{named}: belongs to cards only")


def _check_card(path: str, item: Item | PlainItem, *, adding: bool) -> None:
    if item.series_id and item.series_code:
        raise _Invalid(f"{path}/seriesCode: seriesId and seriesCode exclude each other")
    if adding and not (item.series_id or item.series_code):
        raise _Invalid(f"{path}/seriesId: needed to add a card (or seriesCode)")
    if adding and not item.status_label:
        raise _Invalid(f"{path}/statusLabel: needed to add a card")


# ---------------------------------------------------------------- reasons

_MODELS: Final[dict[Topic, type[BaseModel]]] = {
    Topic.IDENTIFIER_UPDATES: IdentifierUpdate,
    Topic.CUSTOMER_REGISTRATIONS: CustomerRegistration,
    Topic.CARD_REGISTRATIONS: CardRegistration,
}


def _aliases(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


_FIELDS: Final = sorted(_aliases(Item) | {field for model in _MODELS.values() for field in _aliases(model)})


def _reason(error: ErrorDetails, document: Any) -> str:
    """What was wrong where, without a word of what was sent."""
    location = list(error["loc"])
    if len(location) > 1 and isinstance(document, dict) and isinstance(document.get(location[0]), dict):
        del location[1]  # one object in place of a list: the model sees a list of one
    if error["type"] == "extra_forbidden":
        *parents, last = location
        return f"{_pointer(parents)}: unknown field{_hint(str(last), top=not parents)}"
    if error["type"] == "missing":
        return f"{_pointer(location)}: missing"
    rule = _RULES.get(error["type"], error["msg"])
    if error["type"] == "literal_error":
        rule = "not one of " + error["ctx"]["expected"].replace("'", "")
    return f"{_pointer(location)}: {rule}"


def _hint(name: str, *, top: bool) -> str:
    """Where a field belongs that another request has, or which field is meant."""
    if name in _FIELDS:
        owners = [topic for topic, model in _MODELS.items() if top and name in _aliases(model)]
        return f' "{name}": it belongs to {owners[0]}' if len(owners) == 1 else ""
    close = difflib.get_close_matches(name, _FIELDS, n=1) or [
        field for field in _FIELDS if field.lower() == name.lower()
    ]
    return f'; is "{close[0]}" meant?' if close else ""


_RULES: Final = {
    "model_type": "not an object",
    "int_type": "not an integer",
    "string_pattern_mismatch": "a character not allowed (control characters; in requestId all but 0x21 to 0x7E)",
    "string_unicode": "a lone surrogate",
    "list_type": "not a list",
    "string_type": "not a string",
}


def _pointer(location: Iterable[str | int]) -> str:
    return "".join(f"/{part}" for part in location) or "/"
