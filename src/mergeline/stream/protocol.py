"""Requests to brokers that aiokafka 0.14.0 has not got, or not whole: what topics are, who is in a group, and
what it has committed.

In: names, partitions. Out: requests for aiokafka's clients, and what the answers say. Never: a topic made by asking for
it, or an answer that is an error taken for an empty one.

`TopicsRequest` also tells what may be done with a topic (KIP-430) and, from version 10 on, the id that Kafka gave it
when it was created (KIP-516): one that is deleted and created has another. `GroupRequest` tells what may be done with a
group, and its members.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from io import BytesIO
from typing import Any, ClassVar, Final
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.errors import for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)
from aiokafka.structs import OffsetAndMetadata

TopicIds = dict[str, UUID | None]
"""By topic; None where brokers gave it none."""
NO_ID: Final = UUID(int=0)
"""What brokers say of a topic that they gave none."""


class Uuid(AbstractType[UUID]):
    """Kafka's uuid: 16 bytes."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        """The bytes."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        """From the next 16 bytes."""
        return UUID(bytes=data.read(16))


class _TopicsResponse(Response):
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String()), ("port", Int32), ("rack", String()))),
        ("cluster_id", String()),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("name", String()),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("in_sync", Array(Int32)),
                        ("offline", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _TopicsResponseWithIds(Response):
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _TopicsStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsResponse
    SCHEMA = Schema(
        ("topics", Array(String())),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _TopicsStructWithIds(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _TopicsResponseWithIds
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(Request[_TopicsStruct | _TopicsStructWithIds]):
    """What these topics are: in the newest version that the broker knows too."""

    API_KEY: ClassVar[int] = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: Any) -> Any:
        """As aiokafka asks for it."""
        if request_struct_class is _TopicsStruct:
            return request_struct_class(self._names, False, False, True)
        return request_struct_class([(NO_ID, name, {}) for name in self._names], False, False, True, {})


class _GroupStruct(RequestStruct):
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3  # aiokafka's own struct names that of version 2, which lacks the answer
    SCHEMA = Schema(("groups", Array(String())), ("include_authorized_operations", Boolean))


class GroupRequest(Request[_GroupStruct]):
    """Who is in a group, and what may be done with it; for its coordinator."""

    API_KEY: ClassVar[int] = 15

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id

    def build(self, request_struct_class: Any) -> Any:
        """As aiokafka asks for it."""
        return request_struct_class([self._group_id], True)


async def topic_ids(send: Callable[[TopicsRequest], Awaitable[Any]], names: Sequence[str]) -> TopicIds:
    """The ids of those topics that exist, by their full names."""
    response = await send(TopicsRequest(names))
    return {
        topic["name"]: None if (found := topic.get("topic_id", NO_ID)) == NO_ID else found
        for topic in response.to_object()["topics"]
        if topic["error_code"] == 0
    }


async def committed_offsets(
    send: Callable[[OffsetFetchRequest], Awaitable[Any]], group_id: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """What a group has committed of these; a partition of which it has nothing is left out.

    aiokafka's own take an error of the whole answer, as of a coordinator that has just started or is none any more,
    for a group that has committed nothing.

    Raises:
        KafkaError: if the coordinator does not say.
    """
    by_topic: dict[str, list[int]] = {}
    for partition in partitions:
        by_topic.setdefault(partition.topic, []).append(partition.partition)
    response = await send(OffsetFetchRequest(group_id, list(by_topic.items())))
    answers = [(topic, *answer) for topic, of_topic in response.topics for answer in of_topic]
    for code in (response.error_code, *(answer[-1] for answer in answers)):
        if code:
            raise for_code(code)(group_id)
    return {
        TopicPartition(topic, number): OffsetAndMetadata(offset, metadata)
        for topic, number, offset, metadata, _ in answers
        if offset >= 0  # -1 is none
    }
