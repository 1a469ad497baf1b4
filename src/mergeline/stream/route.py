"""The router: gives each message the key of the customer (or card) it is about.

In: records of the public topics. Out: the same records for the internal topic. Never: a decision; it reads no more
than the ids, and what it cannot read goes under a key of its origin partition for `apply` to judge.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from aiokafka import TopicPartition

from mergeline.domain.decode import BYTES_MAX
from mergeline.domain.messages import Outgoing
from mergeline.domain.requests import ID_MAX
from mergeline.domain.vocabulary import Topic
from mergeline.stream.offsets import Offsets
from mergeline.stream.origin import Record, place_of, routed
from mergeline.stream.pipeline import Work
from mergeline.stream.producers import Producers
from mergeline.stream.publisher import Publisher, PublishFailed

TOPICS: Final = (Topic.IDENTIFIER_UPDATES, Topic.CUSTOMER_REGISTRATIONS, Topic.CARD_REGISTRATIONS)


def routing_key(topic: str, partition: int, value: bytes | None) -> bytes:
    """`orgId:customerId`, `orgId:card:number`, or `unread:topic:partition` where those cannot be read."""
    unread = f"unread:{topic}:{partition}".encode()
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
        return f"{org_id}:card:{number.strip()}".encode() if isinstance(number, str) else unread
    customer_id = document.get("customerId")
    return f"{org_id}:{customer_id}".encode() if _is_id(customer_id) else unread


def _is_id(value: Any) -> bool:
    return type(value) is int and 1 <= value <= ID_MAX


class RouteStage:
    """The router's part of a pipeline: at least once, an idempotent producer, one batch under way.

    A batch that is published again repeats records with the same origin, which `apply` drops.
    """

    name = "route"

    def __init__(self, producers: Producers, offsets: Offsets, topic_prefix: str) -> None:
        self._producers, self._offsets, self._prefix = producers, offsets, topic_prefix
        self._publisher: Publisher | None = None

    async def acquire(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """A new producer, and where the group stands."""
        self._publisher = await self._producers.start()
        return await self._offsets.positions(partitions)

    async def process(self, records: Sequence[Record]) -> list[Work]:
        """Each record under its new key."""
        return [Work(record, (routed(record, self._key(record), self._prefix),)) for record in records]

    def _key(self, record: Record) -> bytes:
        place = place_of(record, self._prefix)
        return routing_key(place.topic, place.partition, record.value)

    async def publish(self, records: Sequence[Outgoing], ends: Mapping[TopicPartition, int]) -> None:
        """All records acknowledged, then the offsets committed."""
        if self._publisher is None:
            raise PublishFailed("not acquired")
        await self._publisher.publish(records, {})
        await self._offsets.commit(ends)

    async def release(self) -> None:
        """Kill the producer."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.kill()
