"""The router: gives each message the key of the customer (or card) it is about.

In: records of the public topics. Out: the same records for the internal topic. Never: a decision; it reads no more
than the ids, and what it cannot read goes under a key of its origin partition for `apply` to judge.
"""

from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from mergeline.domain.messages import Outgoing
from mergeline.domain.routing import routing_key
from mergeline.stream.offsets import Offsets
from mergeline.stream.origin import place_of, routed
from mergeline.stream.pipeline import Chunk, Work
from mergeline.stream.producers import Producers
from mergeline.stream.publisher import Publisher, PublishFailed


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

    async def process(self, batch: Sequence[Chunk]) -> list[Work]:
        """Each record under its new key."""
        works: list[Work] = []
        for partition, records, _ in batch:
            place = place_of(partition, self._prefix)
            works += [
                Work(partition, record.offset, (routed(record, place, routing_key(*place, record.value)),))
                for record in records
            ]
        return works

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
