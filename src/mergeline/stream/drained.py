"""Whether the internal topic is empty for this group, which `MERGELINE_REQUESTS_KEYED` needs.

In: settings, and how far the database knows that it was published. Out: nothing, or a `SetupError`. Never: an offset
committed, or the word of the group's offsets, which a database that was restored from a backup knows less than.

A worker that reads the public topics directly would overtake what the router left on the internal topic, and so
apply a customer's requests in another order than they were produced.
"""

from collections.abc import Mapping

from aiokafka import TopicPartition

from mergeline.domain.vocabulary import Topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.stream.clients import connected, onlooker
from mergeline.stream.topics import admin, full_name, partitions_of


async def check_drained(settings: Settings, published: Mapping[int, int]) -> None:
    """Refuse while not all of the internal topic is known to be published.

    Args:
        settings: the brokers, the prefix.
        published: by partition.

    Raises:
        SetupError: naming how many messages are left, or why brokers do not say.
    """
    if left := await messages_left(settings, published):
        raise SetupError(
            f"{full_name(settings, Topic.COMMANDS_BY_CUSTOMER)} still holds {left} messages that were routed but not "
            "applied. Run workers with MERGELINE_REQUESTS_KEYED=false until it is drained, then switch all of them."
        )


async def messages_left(settings: Settings, published: Mapping[int, int]) -> int:
    """How many messages of the internal topic are not known to be published; arguments as `check_drained`.

    Raises:
        SetupError: if there is no such topic, or brokers do not say.
    """
    topic = full_name(settings, Topic.COMMANDS_BY_CUSTOMER)
    async with admin(settings) as client:
        count = (await partitions_of(client, [topic]))[topic]
    async with connected(onlooker(settings), settings) as consumer:
        # Nothing but the router writes there, and it needs no transactions: offsets count messages.
        partitions = [TopicPartition(topic, number) for number in range(count)]  # a consumer knows none of its own
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    return sum(left_of(starts[one], ends[one], published.get(one.partition, 0)) for one in partitions)


def left_of(start: int, end: int, published: int) -> int:
    """How many messages of a partition are left; of a log that is shorter than it was, made anew, all that it has."""
    return end - (published if start <= published <= end else start)
