"""The keys of messages: what all that is about one customer, or one card that nobody holds yet, has in common.

In: ids. Out: bytes; the same in the internal topic, in events (where `ce_subject` repeats them) and in what the
commands send. Never: an id that was not read from a well-formed message.
"""


def customer_key(org_id: int, customer_id: int) -> bytes:
    """`orgId:customerId`, in decimal digits."""
    return b"%d:%d" % (org_id, customer_id)


def card_key(org_id: int, number: str) -> bytes:
    """`orgId:card:number`; the number without white space around it."""
    return f"{org_id}:card:{number}".encode()
