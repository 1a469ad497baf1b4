"""The key that brings all messages about a customer, or about a card, to one partition.

In: the bytes of a message and where it stands. Out: a key. Never: a verdict; it reads no more than the ids, and what
it cannot read goes under a key of its origin partition, for `decode` to judge.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from mergeline.domain.decode import BYTES_MAX
from mergeline.domain.keys import card_key, customer_key
from mergeline.domain.requests import TEXT_MAX, Id
from mergeline.domain.vocabulary import Topic

UNREAD: Final = b"unread:"
"""What the key begins with where a message does not say whom it is about; no org id does."""


class _AboutCustomer(Struct, gc=False, rename="camel"):
    org_id: Id
    customer_id: Id


class _AboutCard(Struct, gc=False, rename="camel"):
    org_id: Id
    card_number: Annotated[str, Meta(max_length=TEXT_MAX)]


_CUSTOMER: Final = msgspec.json.Decoder(_AboutCustomer)
_CARD: Final = msgspec.json.Decoder(_AboutCard)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def routing_key(topic: str, partition: int, value: bytes | None) -> bytes:
    """`orgId:customerId`, `orgId:card:number`, or `unread:topic:partition` where those cannot be read."""
    if value is not None and len(value) <= BYTES_MAX:
        try:
            if topic != Topic.CARD_REGISTRATIONS:
                customer = _CUSTOMER.decode(value)
                return customer_key(customer.org_id, customer.customer_id)
            card = _CARD.decode(value)
            return card_key(card.org_id, card.card_number.strip())
        except _UNREADABLE:
            pass
    return UNREAD + f"{topic}:{partition}".encode()
