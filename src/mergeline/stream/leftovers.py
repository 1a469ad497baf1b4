"""Answers that were stored and not published before the log of their messages went; whoever resets it publishes them.

In: their rows of the ledger. Out: the records to publish. Never: an answer decided anew; a dead letter whose message is
gone (its record is made of the message, which is read where its producer put it, if it still stands there).

No worker would publish them any more: what comes again by way of the router was answered, and so is dropped.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from mergeline.domain.batch import answer_again
from mergeline.domain.incarnations import name_of, topic_of
from mergeline.domain.ledger import LedgerRow, RowKind
from mergeline.domain.messages import Coordinate, Message, Outgoing
from mergeline.domain.vocabulary import INPUT_TOPICS
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.incarnations import Incarnation
from mergeline.stream.clients import onlooker, read_up_to, started
from mergeline.stream.consumer import PARTITION_FETCH_BYTES_MAX

READ_S_MAX: Final = 60.0
"""For the messages of a page: half of what the database waits for whoever resets (`IDLE_MS_MAX`)."""


async def records_of(
    settings: Settings, rows: Sequence[LedgerRow], known: Mapping[str, Incarnation]
) -> tuple[list[Outgoing], int]:
    """The records of the answers, in order, and how many dead letters have lost their message.

    Args:
        settings: brokers, prefix.
        rows: the answers.
        known: the incarnations of the topics that can still be read.

    Raises:
        SetupError: if brokers do not give the messages of dead letters in time.
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
    """The messages of dead letters, from where their producers put them; without those that expired.

    Raises:
        SetupError: if they are not all read, or known to be gone, within `READ_S_MAX`.
    """
    wanted: dict[TopicPartition, dict[int, LedgerRow]] = {}
    for row in rows:
        place = TopicPartition(settings.topic_prefix + topic_of(row.origin.topic), row.origin.partition)
        wanted.setdefault(place, {})[row.origin.offset] = row
    if not wanted:
        return {}
    found: dict[Coordinate, Message] = {}
    # From the earliest: of what expires while it is read, the rest.
    consumer = onlooker(settings, auto_offset_reset="earliest", max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX)
    try:
        async with asyncio.timeout(READ_S_MAX), started(consumer, settings):
            await _read(consumer, wanted, found)
    except TimeoutError:
        raise SetupError(
            f"{len(rows) - len(found)} messages of dead letters that were not published could not be read within "
            f"{READ_S_MAX:.0f} s, from {', '.join(sorted({place.topic for place in wanted}))}. The reset is not "
            "done; run it again once the brokers answer."
        ) from None
    return found


async def _read(
    consumer: AIOKafkaConsumer,
    wanted: Mapping[TopicPartition, Mapping[int, LedgerRow]],
    found: dict[Coordinate, Message],
) -> None:
    """Read each partition once, from the first message that is wanted and still there to the last."""
    starts, ends = await consumer.beginning_offsets(list(wanted)), await consumer.end_offsets(list(wanted))
    there = {
        place: [offset for offset in by_offset if starts[place] <= offset < ends[place]]
        for place, by_offset in wanted.items()
    }
    behind = {place: max(offsets) + 1 for place, offsets in there.items() if offsets}
    consumer.assign(list(behind))
    for place in behind:
        consumer.seek(place, min(there[place]))
    async for read in read_up_to(consumer, behind):
        for place, records in read.items():
            for record in records:
                if (row := wanted[place].get(record.offset)) is not None:
                    headers = tuple(record.headers)
                    message = Message(row.origin, row.at, record.timestamp, record.key, record.value, headers)
                    if row.answers(message):  # a topic that was made anew too has another one there
                        found[row.origin] = message
