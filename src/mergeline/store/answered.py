"""What was answered before, found by where it was read and answered before it is decoded.

In: messages, the horizons of their partitions (the highest offset that the ledger has an answer for). Out: the stored
answers, byte for byte. Never: a message decoded anew that had an answer; a deploy with a stricter decoder between
commit and publish must not change what is published. Nor more bytes at once than `ANSWERED_BYTES_MAX`, but for one
message.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mergeline.domain.batch import Answer, answer_again
from mergeline.domain.messages import Coordinate, Message, Place
from mergeline.store.failures import BatchTooLarge
from mergeline.store.rows import ledger_row_of
from mergeline.store.statements import Statements, columns_of

ANSWERED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of what is to be published for the messages of one batch; an ordinary one has half a MiB."""


def at_or_below(messages: Iterable[Message], horizons: Mapping[Place, int]) -> list[Message]:
    """The messages that the ledger may have answers for by their place."""
    reach: dict[tuple[str, int], int] = {(*place,): offset for place, offset in horizons.items()}
    return [message for message in messages if message.at.offset <= reach.get(message.at[:2], -1)]


async def read_answered(db: Statements, messages: Sequence[Message], topic_prefix: str) -> dict[Coordinate, Answer]:
    """The answers that the ledger has, by where the messages were read.

    Raises:
        BatchTooLarge: if those of more than one message have more than `ANSWERED_BYTES_MAX`.
    """
    again = {message.at: message for message in messages}
    places = [(at.topic, at.partition, at.offset) for at in again]
    size = await db.fetch_value("answered_bytes", *columns_of(places, 3))
    if size > ANSWERED_BYTES_MAX and len(messages) > 1:
        raise BatchTooLarge(size, ANSWERED_BYTES_MAX)
    answers: dict[Coordinate, Answer] = {}
    for row in map(ledger_row_of, await db.fetch("answered", *columns_of(places, 3))):
        message = again[row.at]
        if row.answers(message):
            answers[row.at] = answer_again(message, row, topic_prefix)
    return answers


async def read_horizons(db: Statements, places: Sequence[Place]) -> dict[Place, int]:
    """The highest offset of each partition that the ledger has an answer for; none where it has none."""
    rows = await db.fetch("horizons", *columns_of(list(places), 2))
    return {Place(row["topic"], row["partition"]): row["at_offset"] for row in rows}
