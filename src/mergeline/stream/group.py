"""The group's offsets, as whoever is no member of it reads and sets them.

In: an admin client, partitions, offsets. Out: what the group has committed; offsets that are committed in its place.
Never: a commit while the group has members, who would neither know nor heed it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, RebalanceInProgressError, UnknownMemberIdError, for_code
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata

from mergeline.errors import SetupError
from mergeline.settings import Settings, variable
from mergeline.stream import protocol
from mergeline.stream.offsets import NO_GENERATION
from mergeline.stream.protocol import GroupRequest

COORDINATOR_POLL_MS: Final = 100
AS_BROKERS_KEEP_IT: Final = -1
"""The retention of a committed offset."""


async def check_idle(settings: Settings, client: AIOKafkaAdminClient) -> None:
    """Refuse while the group has members.

    Raises:
        SetupError: saying how many.
        KafkaError: if brokers do not say.
    """
    coordinator = await _coordinator(settings, client)
    response = await client._send_request(GroupRequest(settings.group_id), coordinator)  # noqa: SLF001 (no other way)
    (group,) = response.to_object()["groups"]
    if group["error_code"]:
        raise for_code(group["error_code"])(settings.group_id)
    if group["members"]:
        raise SetupError(_busy(settings, f"{len(group['members'])} member(s)"))


async def committed_offsets(
    settings: Settings, client: AIOKafkaAdminClient, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """What the group has committed of these; a partition of which it has nothing is left out.

    Raises:
        KafkaError: if brokers do not say.
    """
    coordinator = await _coordinator(settings, client)

    async def send(request: OffsetFetchRequest) -> Any:
        return await client._send_request(request, coordinator)  # noqa: SLF001 (there is no other way)

    return await protocol.committed_offsets(send, settings.group_id, partitions)


async def commit(
    settings: Settings, client: AIOKafkaAdminClient, ends: Mapping[TopicPartition, int], metadata: str = ""
) -> None:
    """Commit as nobody, which brokers take while the group has no members.

    Raises:
        SetupError: if it has some.
        KafkaError: if it may not be.
    """
    by_topic: dict[str, list[tuple[int, int, str]]] = {}
    for partition, end in ends.items():
        by_topic.setdefault(partition.topic, []).append((partition.partition, end, metadata))
    request = OffsetCommitRequest(settings.group_id, NO_GENERATION, "", AS_BROKERS_KEEP_IT, list(by_topic.items()))
    coordinator = await _coordinator(settings, client)
    response = await client._send_request(request, coordinator)  # noqa: SLF001 (there is no other way)
    for _, answers in response.topics:
        for _, code in answers:
            error = for_code(code)
            if error in (UnknownMemberIdError, RebalanceInProgressError):
                raise SetupError(_busy(settings, "members again"))
            if code:
                raise error(settings.group_id)


async def _coordinator(settings: Settings, client: AIOKafkaAdminClient) -> int:
    """The group's; for the first group of a new cluster it takes a moment until there is one."""
    for _ in range(settings.start_timeout_ms // COORDINATOR_POLL_MS):
        with suppress(GroupCoordinatorNotAvailableError):
            return int(await client.find_coordinator(settings.group_id))
        await asyncio.sleep(COORDINATOR_POLL_MS / 1000)
    return int(await client.find_coordinator(settings.group_id))


def _busy(settings: Settings, members: str) -> str:
    return (
        f"The group {settings.group_id} has {members}. Stop all workers, then run this again. (One that did not leave, "
        f"since it was killed, counts for another {variable('session_timeout_ms')}.)"
    )
