"""The router: gives each message the key of the customer (or card) it is about.

In: records of the public topics. Out: the same records for the internal topic. Never: a decision; it reads no more
than the ids, and what it cannot read goes under a key of its origin partition for `apply` to judge.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from aiokafka import TopicPartition

from mergeline.domain.incarnations import topic_of
from mergeline.domain.messages import Outgoing, Place
from mergeline.domain.routing import routing_key
from mergeline.stream.incarnations import Incarnations
from mergeline.stream.lanes import Chunk
from mergeline.stream.offsets import Offsets
from mergeline.stream.origin import routed
from mergeline.stream.pipeline import Work
from mergeline.stream.producers import Producers
from mergeline.stream.publisher import Publisher, PublishFailed
from mergeline.stream.trailing import Trailing

HandOver = Callable[[Mapping[Place, TopicPartition]], Awaitable[None]]
"""See `handover`."""


class RouteStage:
    """The router's part of a pipeline: at least once, an idempotent producer, one batch under way.

    Offsets follow the records that they go with, at a pace (`Trailing`). What is published again after a crash, some
    batches of the last fraction of a second, repeats records with the same origin, which `apply` drops.
    """

    name = "route"

    def __init__(self, producers: Producers, offsets: Offsets, incarnations: Incarnations, hand_over: HandOver) -> None:
        self._producers, self._offsets, self._incarnations = producers, offsets, incarnations
        self._hand_over = hand_over
        self._publisher: Publisher | None = None
        self._trailing: Trailing | None = None

    async def acquire(
        self, partitions: Sequence[TopicPartition], published: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """A new producer, and where the group stands; what is published and not committed is committed soon."""
        await self._incarnations.acquire(partitions)
        await self._hand_over({self._incarnations.place(partition): partition for partition in partitions})
        self._publisher = await self._producers.start()
        positions = await self._offsets.positions(partitions)
        left = {tp: end for tp, end in published.items() if end > positions[tp]}
        self._trailing = Trailing(self._offsets, left)
        return positions | left

    async def process(self, batch: Sequence[Chunk], _partitions: Sequence[TopicPartition]) -> AsyncIterator[list[Work]]:
        """Each record under its new key."""
        works: list[Work] = []
        for partition, records, _ in batch:
            place = self._incarnations.place(partition)
            about = topic_of(place.topic), place.partition
            outgoing = [(routed(record, place, routing_key(*about, record.value)),) for record in records]
            works.append(Work(partition, [record.offset for record in records], outgoing))
        yield works

    async def publish(self, records: Sequence[Outgoing], ends: Mapping[TopicPartition, int]) -> None:
        """All records acknowledged; their offsets are committed soon.

        Raises:
            Retriable: also if the last commit did not work, since we may be no member of the group any more.
        """
        if self._publisher is None or self._trailing is None:
            raise PublishFailed("not acquired")
        self._trailing.check()
        await self._publisher.publish(records, {})
        self._trailing.add(ends)

    async def release(self) -> None:
        """Commit what is left, as well as it goes, and kill the producer; cut short, it is to be called again."""
        try:
            if self._trailing is not None:
                await self._trailing.close()
        finally:
            if self._publisher is not None:
                await self._publisher.kill()
            self._publisher = self._trailing = None
