"""Whether the brokers are of a release that the promises were proved on.

In: an admin client. Out: a warning for those that are older. Never: a refusal; they may well work, nobody has shown it.

A broker says which versions of each request it takes, not its release. Kafka 4.0 dropped the oldest ones (KIP-896), so
a broker that still takes the first versions of Fetch is an older one.
"""

from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import ApiVersionRequest

FETCH: Final = 1
FETCH_VERSION_OF_4_0: Final = 4


async def old_brokers(client: AIOKafkaAdminClient) -> list[str]:
    """A line about the brokers before 4.0, if there are any."""
    old = []
    for broker in (await client.describe_cluster())["brokers"]:
        response = await client._send_request_to_node(broker["node_id"], ApiVersionRequest())  # noqa: SLF001
        least = {key: low for key, low, _ in response.api_versions}
        if least.get(FETCH, FETCH_VERSION_OF_4_0) < FETCH_VERSION_OF_4_0:
            old.append(f"{broker['host']}:{broker['port']}")
    line = (
        f"{', '.join(sorted(old))}: older than Kafka 4.0, which is unproven. Such brokers apply the offsets of a "
        "transaction late, so that after a crash an event could be published twice. Upgrade them."
    )
    return [line] if old else []
