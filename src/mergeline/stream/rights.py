"""What the brokers let this worker do, asked before it starts: what it may not would show when it first joins its
group, reads or publishes, long after whoever deployed it has looked away.

In: an admin client, settings. Out: nothing, or a `SetupError` that names what is to be granted. Never: a group
joined, a record written.
"""

from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    TransactionalIdAuthorizationFailed,
)

from mergeline.domain.vocabulary import EVENT_TOPICS, INPUT_TOPICS, Topic, dead_letter_topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.stream.clients import TRANSACTIONAL_ID_PREFIX, denied
from mergeline.stream.protocol import GroupRequest, TopicsRequest
from mergeline.stream.topics import full_name

READ: Final = 3
WRITE: Final = 4
"""Kafka's numbers of operations: the bits of what a response calls authorized operations."""
_NAMES: Final = {READ: "Read", WRITE: "Write"}
_TRANSACTION: Final = 1
"""Kafka's number of a coordinator of transactions."""


async def check_rights(client: AIOKafkaAdminClient, settings: Settings) -> None:
    """Whether brokers allow what a worker does; to be asked once its topics are there.

    Raises:
        SetupError: naming the operations to be granted.
    """
    lacking = await _lacking_topics(client, settings) + await _lacking_group(client, settings.group_id)
    if settings.delivery == "exactly_once":
        lacking += await _lacking_ids(client)
    if lacking:
        raise SetupError(denied(settings, ", ".join(lacking)))


async def _lacking_topics(client: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """The operations on topics that a worker needs and may not do."""
    needed: list[tuple[Topic | str, int]] = [(topic, READ) for topic in INPUT_TOPICS]
    if not settings.requests_keyed:
        needed += [(Topic.COMMANDS_BY_CUSTOMER, READ), (Topic.COMMANDS_BY_CUSTOMER, WRITE)]
    needed += [(topic, WRITE) for topic in (*map(dead_letter_topic, INPUT_TOPICS), *EVENT_TOPICS)]
    names = {full_name(settings, topic) for topic, _ in needed}
    response = await client._send_request(TopicsRequest(sorted(names)))  # noqa: SLF001 (there is no other way)
    allowed = {topic["name"]: topic["authorized_operations"] for topic in response.to_object()["topics"]}
    return [
        f"{_NAMES[operation]} {name}"
        for name, operation in ((full_name(settings, topic), operation) for topic, operation in needed)
        if not allowed[name] >> operation & 1
    ]


async def _lacking_group(client: AIOKafkaAdminClient, group_id: str) -> list[str]:
    """The operation on the group, if it may not be done; nothing where no broker can tell yet."""
    try:
        coordinator = await client.find_coordinator(group_id)
    except GroupAuthorizationFailedError:
        return [f"Read group {group_id}"]
    except GroupCoordinatorNotAvailableError:  # the cluster's first group: the broker is making the topic for it
        return []
    response = await client._send_request(GroupRequest(group_id), coordinator)  # noqa: SLF001 (as above)
    (group,) = response.to_object()["groups"]
    is_allowed = group["error_code"] == 0 and group["authorized_operations"] >> READ & 1
    return [] if is_allowed else [f"Read group {group_id}"]


async def _lacking_ids(client: AIOKafkaAdminClient) -> list[str]:
    """What may not be done with transactional ids; that one may be described but not written shows at its first use."""
    try:
        await client.find_coordinator(TRANSACTIONAL_ID_PREFIX, _TRANSACTION)
    except TransactionalIdAuthorizationFailed:
        return [f"Describe and Write transactional ids {TRANSACTIONAL_ID_PREFIX}*"]
    except GroupCoordinatorNotAvailableError:  # the cluster's first transaction: as above
        pass
    return []
