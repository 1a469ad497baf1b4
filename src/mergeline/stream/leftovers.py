"""Answers that were stored and not published before the log of their messages went; whoever resets it publishes them.

In: their rows of the ledger. Out: the records to publish. Never: an answer decided anew; a dead letter whose message is
gone (its record is made of the message, which is read where its producer put it, if it still stands there).

No worker would publish them any more: what comes again by way of the router was answered, and so is dropped.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from mergeline.domain.batch import answer_again
from mergeline.domain.incarnations import name_of, topic_of
from mergeline.domain.ledger import LedgerRow, RowKind
from mergeline.domain.messages import Coordinate, Message, Outgoing
from mergeline.domain.vocabulary import INPUT_TOPICS
from mergeline.settings import Settings
from mergeline.store.incarnations import Incarnation
from mergeline.stream.clients import onlooker, started
from mergeline.stream.consumer import PARTITION_FETCH_BYTES_MAX

MESSAGE_WAIT_S: Final = 5.0
"""For a message that is read again."""


async def records_of(
    settings: Settings, rows: Sequence[LedgerRow], known: Mapping[str, Incarnation]
) -> tuple[list[Outgoing], int]:
    """The records of the answers, in order, and how many dead letters have lost their message.

    Args:
        settings: brokers, prefix.
        rows: the answers.
        known: the incarnations of the topics that can still be read.
    """
    letters = [row for row in rows if row.kind is RowKind.DEAD_LETTER]
    messages = await _messages(settings, [row for row in letters if _still_stands(row.origin, known)])
    records: list[Outgoing] = []
    for row in rows:
        message = messages.get(row.origin)
        if row.kind is not RowKind.DEAD_LETTER:
            records += row.outgoing
        elif message is not None:
            records += answer_again(message, row, settings.topic_prefix).outgoing
    return records, sum(row.origin not in messages for row in letters)


def _still_stands(origin: Coordinate, known: Mapping[str, Incarnation]) -> bool:
    topic = topic_of(origin.topic)
    return topic in INPUT_TOPICS and topic in known and name_of(topic, known[topic].number) == origin.topic


async def _messages(settings: Settings, rows: Sequence[LedgerRow]) -> dict[Coordinate, Message]:
    """The messages of dead letters, from where their producers put them; without those that expired."""
    if not rows:
        return {}
    places = [TopicPartition(settings.topic_prefix + topic_of(row.origin.topic), row.origin.partition) for row in rows]
    consumer = onlooker(settings, auto_offset_reset="none", max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX)
    found: dict[Coordinate, Message] = {}
    async with started(consumer, settings):
        for row, place in zip(rows, places, strict=True):
            consumer.assign([place])
            consumer.seek(place, row.origin.offset)
            with suppress(OffsetOutOfRangeError, TimeoutError):
                record = await asyncio.wait_for(consumer.getone(place), MESSAGE_WAIT_S)
                if record.offset == row.origin.offset:
                    headers = tuple(record.headers)
                    found[row.origin] = Message(row.origin, row.at, record.timestamp, record.key, record.value, headers)
    return found
