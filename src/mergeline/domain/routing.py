"""The key that brings all messages about a customer, or about a card, to one partition.

In: the bytes of a message and where it stands. Out: a key. Never: a verdict; it reads no more than the ids, and what
it cannot read goes under a key of its origin partition, for `decode` to judge.
"""

from typing import Any, Final

import orjson

from mergeline.domain.decode import BYTES_MAX
from mergeline.domain.requests import ID_MAX, TEXT_MAX
from mergeline.domain.vocabulary import Topic

UNREAD: Final = b"unread:"
"""What the key begins with where a message does not say whom it is about; no org id does."""


def routing_key(topic: str, partition: int, value: bytes | None) -> bytes:
    """`orgId:customerId`, `orgId:card:number`, or `unread:topic:partition` where those cannot be read."""
    unread = UNREAD + f"{topic}:{partition}".encode()
    if value is None or len(value) > BYTES_MAX:
        return unread
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        return unread
    if not isinstance(document, dict) or not _is_id(document.get("orgId")):
        return unread
    org_id = document["orgId"]
    if topic == Topic.CARD_REGISTRATIONS:
        number = document.get("cardNumber")
        if not isinstance(number, str) or len(number) > TEXT_MAX:
            return unread
        return f"{org_id}:card:{number.strip()}".encode()
    customer_id = document.get("customerId")
    return f"{org_id}:{customer_id}".encode() if _is_id(customer_id) else unread


def _is_id(value: Any) -> bool:
    return type(value) is int and 1 <= value <= ID_MAX
