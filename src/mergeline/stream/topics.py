"""The topics: which there are, how they must be, and whether they are so.

In: the settings and an admin client. Out: a plan, what was created, what is missing or differs. Never: a topic made
by asking for it, one changed that exists, or one deleted.

Retention. What is in an input topic may be delivered again, so the ledger (`MERGELINE_LEDGER_DAYS`) must remember
longer than any input topic keeps: the plan gives inputs half of it, and short segments, since a message goes with its
segment, when the last one of that is old enough. The internal topic keeps at least 14 days, for a worker that is down
for long. Sizes. A message grows on its way by headers of ours, so the internal topic and the
dead-letter topics take larger ones than the inputs; what an input took can then always be passed on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from mergeline.domain.vocabulary import EVENT_TOPICS, INPUT_TOPICS, Topic, dead_letter_topic
from mergeline.errors import SetupError
from mergeline.settings import Settings, variable
from mergeline.stream.brokers import old_brokers
from mergeline.stream.clients import client_options, connected

PARTITIONS: Final = 8
BROKERS_CHOICE: Final = -1
"""As replication factor: the broker's `default.replication.factor`."""
INPUT_MESSAGE_MAX_BYTES: Final = 1_048_588
"""Kafka's own default, made explicit, since other sizes rest on it."""
HEADERS_MAX_BYTES: Final = 64 * 1024
"""What our headers and a batch's overhead may add to a message."""
PASSED_ON_MAX_BYTES: Final = 2 * 1024 * 1024
INTERNAL_RETENTION_DAYS_MIN: Final = 14
DEAD_LETTER_RETENTION_DAYS: Final = 30
CREATED_POLL_MS: Final = 100
DAY_MS: Final = 24 * 60 * 60 * 1000
SEGMENT_MS_MAX: Final = DAY_MS
BROKER_SLACK_MS: Final = 60 * 60 * 1000
"""How much later than it may a broker deletes a segment: it looks every few minutes."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be."""

    name: str
    partitions: int
    replication_factor: int
    configs: dict[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A config of an existing topic that is not as planned."""

    topic: str
    config: str
    actual: str
    planned: str


@dataclass(frozen=True, slots=True)
class Created:
    """What `create_topics` did and found."""

    created: list[str]
    existing: list[str]
    differences: list[Difference] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    """Existing ones whose configs we may not see, and which so were not compared."""


def full_name(settings: Settings, topic: str) -> str:
    """The topic's name in Kafka."""
    return f"{settings.topic_prefix}{topic}"


def topic_plan(
    settings: Settings, partitions: int = PARTITIONS, replication_factor: int = BROKERS_CHOICE
) -> list[TopicSpec]:
    """Every topic that workers read or write, with the configs that the promises rest on."""
    retention_ms = settings.ledger_days * DAY_MS
    internal_ms = max(settings.ledger_days, INTERNAL_RETENTION_DAYS_MIN) * DAY_MS
    configs: dict[str, dict[str, str]] = {}
    for topic in INPUT_TOPICS:
        configs[topic] = {
            "max.message.bytes": str(INPUT_MESSAGE_MAX_BYTES),
            "retention.ms": str(retention_ms // 2),
            "segment.ms": str(min(SEGMENT_MS_MAX, retention_ms // 4)),
        }
    # The broker's clock, in all that workers write: it refuses the records of a producer whose own is an hour ahead,
    # and retention would go by one that is behind. (The router keeps original timestamps in headers.)
    stamped = {"message.timestamp.type": "LogAppendTime"}
    for topic in INPUT_TOPICS:
        configs[dead_letter_topic(topic)] = stamped | {
            "max.message.bytes": str(PASSED_ON_MAX_BYTES),
            "retention.ms": str(DEAD_LETTER_RETENTION_DAYS * DAY_MS),
        }
    configs[Topic.COMMANDS_BY_CUSTOMER] = stamped | {
        "max.message.bytes": str(PASSED_ON_MAX_BYTES),
        "retention.ms": str(internal_ms),
    }
    for topic in EVENT_TOPICS:
        configs[topic] = stamped | {"max.message.bytes": str(_event_max_bytes(settings))}
    configs[Topic.CUSTOMER_REDIRECTS]["cleanup.policy"] = "compact"
    return [TopicSpec(full_name(settings, topic), partitions, replication_factor, configs[topic]) for topic in configs]


def _event_max_bytes(settings: Settings) -> int:
    return max(INPUT_MESSAGE_MAX_BYTES, settings.event_max_bytes + HEADERS_MAX_BYTES)


@asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client; errors of Kafka inside the block become a `SetupError`."""
    client = AIOKafkaAdminClient(
        **client_options(settings), request_timeout_ms=settings.kafka_request_timeout_ms, client_id="mergeline-admin"
    )
    async with connected(client, settings):
        yield client


async def answers(settings: Settings) -> bool:
    """Whether brokers answer a new client at the addresses that the settings name."""
    try:
        async with admin(settings):
            return True
    except SetupError:
        return False


async def existing_partitions(client: AIOKafkaAdminClient) -> dict[str, int]:
    """All topics that we may see, with their number of partitions."""
    # All of them: to ask for one by name could create it.
    return {topic["topic"]: len(topic["partitions"]) for topic in await client.describe_topics()}


async def partitions_of(
    client: AIOKafkaAdminClient, names: Sequence[str], *, if_there: Sequence[str] = ()
) -> dict[str, int]:
    """The topics with their number of partitions; those of `if_there` that do not exist are left out.

    Raises:
        SetupError: if one of them does not exist (or we may not see it).
    """
    existing = await existing_partitions(client)
    missing = [name for name in names if name not in existing]
    if missing:
        raise SetupError(
            f"Topics are missing: {', '.join(missing)}. Create them with: mergeline topics create "
            f"(or correct {variable('topic_prefix')})."
        )
    return {name: existing[name] for name in (*names, *if_there) if name in existing}


async def create_topics(client: AIOKafkaAdminClient, settings: Settings, plan: Sequence[TopicSpec]) -> Created:
    """Create what is missing; leave, and compare, what exists. Returns once the cluster knows all of them.

    Raises:
        SetupError: if the cluster refuses one, or does not show it within `start_timeout_ms`.
    """
    existing = await existing_partitions(client)
    wanted = [spec for spec in plan if spec.name not in existing]
    if wanted:
        new = [_new_topic(spec) for spec in wanted]
        response = (await client.create_topics(new, timeout_ms=settings.kafka_request_timeout_ms)).to_object()
        for refusal in response["topic_errors"]:
            error = for_code(refusal["error_code"])
            if refusal["error_code"] and error is not TopicAlreadyExistsError:
                reason = (refusal["error_message"] or error.__name__).rstrip(".")
                raise SetupError(
                    f"Kafka refuses to create {refusal['topic']}: {reason}. Correct that, and run it again."
                )
        await _until_known(client, settings, [spec.name for spec in wanted])
    kept = [spec for spec in plan if spec.name in existing]
    found, hidden = await read_configs(client, [spec.name for spec in kept])
    differences = [
        Difference(spec.name, config, actual, planned)
        for spec in kept
        for config, planned in spec.configs.items()
        if (actual := found.get(spec.name, {}).get(config, planned)) != planned
    ]
    differences += [
        Difference(spec.name, "partitions", str(existing[spec.name]), str(spec.partitions))
        for spec in kept
        if existing[spec.name] != spec.partitions
    ]
    return Created([spec.name for spec in wanted], [spec.name for spec in kept], differences, hidden)


def _new_topic(spec: TopicSpec) -> NewTopic:
    topic = NewTopic(spec.name, spec.partitions, 1, topic_configs=spec.configs)
    # Set afterwards, since aiokafka's check takes the broker's choice for "not given".
    topic.replication_factor = spec.replication_factor
    return topic


async def _until_known(client: AIOKafkaAdminClient, settings: Settings, names: Iterable[str]) -> None:
    waiting = set(names)
    for _ in range(settings.start_timeout_ms // CREATED_POLL_MS):
        waiting -= {name for name, partitions in (await existing_partitions(client)).items() if partitions}
        if not waiting:
            return
        await asyncio.sleep(CREATED_POLL_MS / 1000)
    raise SetupError(
        f"Kafka created {', '.join(sorted(waiting))} but does not show them after {variable('start_timeout_ms')}. "
        "Look at its controller's log."
    )


async def read_configs(
    client: AIOKafkaAdminClient, names: Sequence[str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The configs of topics, and those topics whose configs we may not see."""
    if not names:
        return {}, []
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    hidden: list[str] = []
    for response in await client.describe_configs(wanted):
        for resource in response.to_object()["resources"]:
            name = resource["resource_name"]
            error = for_code(resource["error_code"])
            if resource["error_code"] == 0:
                found[name] = {entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]}
            elif error is TopicAuthorizationFailedError:
                hidden.append(name)
            else:
                raise error(resource["error_message"])
    return found, hidden


async def check_topics(client: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """Whether a worker can keep its promises on these topics; warnings are what is left to say.

    Raises:
        SetupError: if topics are missing, or one is so that a message could be lost or stop a partition.
    """
    names = [spec.name for spec in topic_plan(settings)]
    await partitions_of(client, names)
    configs, hidden = await read_configs(client, names)
    old = await old_brokers(client)
    problems = _refusals(settings, configs)
    if problems:
        raise SetupError(" ".join(problems))
    warnings = [f"The configs of {', '.join(hidden)} are hidden from us (DescribeConfigs), and so not checked."]
    return old + (warnings if hidden else []) + _warnings(settings, configs)


def _refusals(settings: Settings, configs: dict[str, dict[str, str]]) -> list[str]:
    """What would lose a message or stop a partition."""
    found: list[str] = []
    internal = full_name(settings, Topic.COMMANDS_BY_CUSTOMER)
    for topic in INPUT_TOPICS:
        source = full_name(settings, topic)
        for target in (full_name(settings, dead_letter_topic(topic)), internal):
            least = _number(configs, source, "max.message.bytes") + HEADERS_MAX_BYTES
            actual = _number(configs, target, "max.message.bytes")
            if source in configs and target in configs and actual < least:
                found.append(
                    f"{target} takes messages of {actual} bytes, but what comes from {source} can need {least}: "
                    f"raise its max.message.bytes to {least}."
                )
    least = settings.event_max_bytes + HEADERS_MAX_BYTES
    events = [full_name(settings, topic) for topic in EVENT_TOPICS]
    small = [name for name in events if name in configs and _number(configs, name, "max.message.bytes") < least]
    if small:
        found.append(
            f"{variable('event_max_bytes')} with headers needs {least} bytes, more than max.message.bytes of "
            f"{', '.join(small)}: raise that, or lower the setting."
        )
    if configs.get(internal, {}).get("message.timestamp.type", "LogAppendTime") != "LogAppendTime":
        found.append(f"{internal} keeps its producers' timestamps: set its message.timestamp.type to LogAppendTime.")
    dead_letters = [full_name(settings, dead_letter_topic(topic)) for topic in INPUT_TOPICS]
    found += [
        f"{name} is compacted, which loses messages and refuses what has no key: set its cleanup.policy to delete."
        for name in (*(full_name(settings, topic) for topic in INPUT_TOPICS), internal, *dead_letters)
        if "compact" in configs.get(name, {}).get("cleanup.policy", "")
    ]
    found += [
        f"{name} keeps messages uncompressed, and so refuses some that an input topic took compressed: set its "
        "compression.type to producer."
        for name in (internal, *dead_letters)
        if configs.get(name, {}).get("compression.type") == "uncompressed"
    ]
    return found


def _warnings(settings: Settings, configs: dict[str, dict[str, str]]) -> list[str]:
    """What narrows a promise, but loses nothing by itself."""
    found: list[str] = []
    for topic in INPUT_TOPICS:
        name = full_name(settings, topic)
        if name in configs and ((kept := kept_ms(configs[name])) is None or kept > settings.ledger_days * DAY_MS):
            found.append(
                f"{name} can keep messages for longer than the ledger remembers them: one that is read again after "
                f"that takes effect again. Lower its retention.ms or segment.ms, or raise {variable('ledger_days')}."
            )
    internal = full_name(settings, Topic.COMMANDS_BY_CUSTOMER)
    if 0 <= _number(configs, internal, "retention.ms") < INTERNAL_RETENTION_DAYS_MIN * DAY_MS and internal in configs:
        found.append(
            f"{internal} keeps messages for less than {INTERNAL_RETENTION_DAYS_MIN} days: raise its retention.ms."
        )
    written = [full_name(settings, topic) for topic in (*map(dead_letter_topic, INPUT_TOPICS), *EVENT_TOPICS)]
    unstamped = [name for name in written if configs.get(name, {}).get("message.timestamp.type") == "CreateTime"]
    if unstamped:
        found.append(
            f"{', '.join(unstamped)} keep the timestamps of workers, so one whose clock is an hour ahead cannot "
            "publish: set their message.timestamp.type to LogAppendTime."
        )
    redirects = full_name(settings, Topic.CUSTOMER_REDIRECTS)
    if "compact" not in configs.get(redirects, {}).get("cleanup.policy", "compact"):
        found.append(f"{redirects} is not compacted, so redirects will expire: set its cleanup.policy to compact.")
    return found


def kept_ms(configs: Mapping[str, str]) -> int | None:
    """The longest time after which a message of a topic with these configs can still be read; None is for ever."""
    retention_ms = int(configs.get("retention.ms", "-1"))
    if retention_ms < 0 or "delete" not in configs.get("cleanup.policy", "delete"):
        return None
    return retention_ms + int(configs.get("segment.ms", "0")) + BROKER_SLACK_MS


def _number(configs: dict[str, dict[str, str]], topic: str, config: str) -> int:
    return int(configs.get(topic, {}).get(config, "0"))


def as_json(created: Created) -> dict[str, Any]:
    """What `create_topics` did, for a program."""
    return {
        "created": created.created,
        "existing": created.existing,
        "differences": [
            {"topic": one.topic, "config": one.config, "actual": one.actual, "planned": one.planned}
            for one in created.differences
        ],
        "hidden": created.hidden,
    }
