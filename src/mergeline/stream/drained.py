"""Whether the internal topic is empty for this group, which `MERGELINE_REQUESTS_KEYED` needs.

In: settings, and how far the database knows that it was published. Out: nothing, or a `SetupError`. Never: an offset
committed.

A worker that reads the public topics directly would overtake what the router left on the internal topic, and so
apply a customer's requests in another order than they were produced.
"""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition

from mergeline.domain.vocabulary import Topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.stream.clients import client_options, started
from mergeline.stream.topics import admin, existing_partitions, full_name


async def check_drained(settings: Settings, published: Mapping[int, int]) -> None:
    """Refuse while the group has not read all of the internal topic.

    Args:
        settings: the group.
        published: by partition; nobody is subscribed any more, so the group's offsets expire before the records do.

    Raises:
        SetupError: naming how many messages are left, or why brokers do not say.
    """
    topic = full_name(settings, Topic.COMMANDS_BY_CUSTOMER)
    async with admin(settings) as client:
        committed = await client.list_consumer_group_offsets(settings.group_id)
        count = (await existing_partitions(client))[topic]
    async with started(AIOKafkaConsumer(**client_options(settings)), settings) as consumer:
        # Nothing but the router writes there, and it needs no transactions: offsets count messages.
        partitions = [TopicPartition(topic, number) for number in range(count)]  # a consumer knows none of its own
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    read = {
        partition: max(
            starts[partition],
            committed[partition].offset if partition in committed else 0,
            published.get(partition.partition, 0),
        )
        for partition in partitions
    }
    left = sum(ends[partition] - read[partition] for partition in partitions)
    if left:
        raise SetupError(
            f"{topic} still holds {left} messages that were routed but not applied. Run workers with "
            "MERGELINE_REQUESTS_KEYED=false until it is drained, then switch all of them."
        )
