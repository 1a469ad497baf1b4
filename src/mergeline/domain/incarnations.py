"""The name that a topic has in the ledger, in derived request ids and in the router's header.

In: Kafka's name of a topic, without prefix, and which incarnation of it is meant. Out: one name for both, and back.
Never: a name of a later incarnation that could be a topic of Kafka; those have no `@`.

Everything that is known of a message is known by its place. When a topic is made anew its offsets begin at 0 and mean
other messages, so what was made anew has another name (`identifier-updates@2`) and with it other places.
"""

from typing import Final

FIRST: Final = 1
"""The incarnation of every topic until somebody says that it was made anew; it goes without a number."""
MARK: Final = "@"


def name_of(topic: str, incarnation: int) -> str:
    """`identifier-updates`, `identifier-updates@2`, ..."""
    return topic if incarnation == FIRST else f"{topic}{MARK}{incarnation}"


def topic_of(name: str) -> str:
    """The topic without its incarnation."""
    return name.partition(MARK)[0]


def incarnation_of(name: str) -> int:
    """Which one it is."""
    return int(name.partition(MARK)[2] or FIRST)
