"""What a request asks for, after decoding and before the catalog has a say.

In: nothing. Out: values that `prepare` takes. Never: anything but the three commands and their parts.

Which of several final structs a value is, is asked by `type(value) is`: to `isinstance` a struct that is none of the
class is a question for Python's slow path, several times as long, and asked a dozen times a request.
"""

from datetime import datetime
from typing import final

from msgspec import Struct

from mergeline.domain.messages import Message


class NamedIdentifier(Struct, frozen=True, gc=False):
    """An identifier as written (trimmed), with the JSON pointer of the item as sent."""

    path: str
    type: str
    value: str


class NamedCard(Struct, frozen=True, gc=False):
    """A card as written; series and label are None where a removal leaves them out."""

    path: str
    number: str
    series_id: int | None
    series_code: str | None
    label: str | None


@final
class UpdateIdentifiers(Struct, frozen=True, gc=False):
    """Remove, add, and change cards of a registered customer, in one scope."""

    org_id: int
    customer_id: int
    source: str
    account_id: str | None
    adds: tuple[NamedIdentifier, ...] = ()
    removes: tuple[NamedIdentifier, ...] = ()
    card_adds: tuple[NamedCard, ...] = ()
    card_removes: tuple[NamedCard, ...] = ()
    requested_at: datetime | None = None


@final
class RegisterCustomer(Struct, frozen=True, gc=False):
    """Create a customer, then add its identifiers by the rules of an update."""

    org_id: int
    customer_id: int
    source: str
    account_id: str | None
    adds: tuple[NamedIdentifier, ...] = ()
    registered_at: datetime | None = None


@final
class RegisterCard(Struct, frozen=True, gc=False):
    """Create a card that belongs to nobody."""

    org_id: int
    number: str
    series_id: int | None
    series_code: str | None
    external_id: str | None
    label: str | None


Command = UpdateIdentifiers | RegisterCustomer | RegisterCard


@final
class Request(Struct, frozen=True, gc=False):
    """A well-formed message: the command, the id it goes by, and the hash of its bytes (SHA-256)."""

    message: Message
    request_id: str
    body_sha256: bytes
    command: Command

    @property
    def org_id(self) -> int:
        """The org of the command."""
        return self.command.org_id
