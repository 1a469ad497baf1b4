"""Whether the internal topic is empty for this group, which `MERGELINE_REQUESTS_KEYED` needs.

In: settings. Out: nothing, or a `SetupError`. Never: an offset committed.

A worker that reads the public topics directly would overtake what the router left on the internal topic, and so
apply a customer's requests in another order than they were produced.
"""

from aiokafka import AIOKafkaConsumer, TopicPartition

from mergeline.domain.vocabulary import Topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.stream.clients import client_options, started
from mergeline.stream.topics import admin, existing_partitions, full_name


async def check_drained(settings: Settings) -> None:
    """Refuse while the group has not read all of the internal topic.

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
    read = {partition: max(offset.offset, starts.get(partition, 0)) for partition, offset in committed.items()}
    left = sum(ends[partition] - read.get(partition, starts[partition]) for partition in partitions)
    if left:
        raise SetupError(
            f"{topic} still holds {left} messages that were routed but not applied. Run workers with "
            "MERGELINE_REQUESTS_KEYED=false until it is drained, then switch all of them."
        )
