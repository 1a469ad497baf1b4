"""The commands that speak to Kafka, each with the rights of the second table of `deploy/README.md` and no others."""

import json

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.protocol.admin import CreateAclsRequest
from tests.services import databases
from tests.worker.conftest import new_world
from tests.worker.harness import COMMANDS, CUSTOMERS, ORG, OUTCOMES, REGISTERED, UPDATES, adding
from tests.worker.test_secured import (
    ALLOW,
    DESCRIBE,
    DESCRIBE_CONFIGS,
    GROUP,
    INPUTS,
    LITERAL,
    OUTPUTS,
    PASSWORD,
    PREFIXED,
    READ,
    TOPIC,
    WRITE,
)

from mergeline.embedded.kafka import Kafka

CREATE = 5
RIGHTS = {
    "send": {f"Write {UPDATES}"},
    "send-wait": {f"Write {UPDATES}", f"Read {OUTCOMES}", f"Read {UPDATES}-dlt"},
    "import": {f"Write {CUSTOMERS}", f"Read {REGISTERED}", f"Read {CUSTOMERS}-dlt"},
    "watch": {f"Read {topic}" for topic in OUTPUTS},
    "watch-one": {f"Read {OUTCOMES}"},
    "prune": {"Describe", "DescribeConfigs", "Describe group"},
    "create": {"Create", "Describe", "DescribeConfigs"},
    "offsets": {*(f"Read {topic}" for topic in (*INPUTS, COMMANDS)), "Describe group"},
    "rewind": {*(f"Read {topic}" for topic in (*INPUTS, COMMANDS)), "Read group"},
}
"""By principal; what names no topic is for all that begin with the prefix."""
IN_GROUPS_OF_THEIR_OWN = ("offsets", "rewind")
"""With a database that knows nothing of what these have read, as a restored one."""
UNSEEING = "create-unseeing"
LACKING = [
    ("send", f"Write {UPDATES}", "Topics are missing"),
    ("send-wait", f"Write {UPDATES}", "Topics are missing"),
    ("send-wait", f"Read {OUTCOMES}", "Topics are missing"),
    ("send-wait", f"Read {UPDATES}-dlt", "Topics are missing"),
    ("import", f"Read {REGISTERED}", "Topics are missing"),
    ("prune", "Describe", "Topics are missing"),
    ("prune", "DescribeConfigs", "hidden from us"),
    ("prune", "Describe group", "GroupAuthorizationFailed"),
    ("create", "Create", "refuses to create"),
    ("offsets", f"Read {COMMANDS}", "Topics are missing"),
    ("offsets", f"Read {UPDATES}", "Topics are missing"),
    ("offsets", "Describe group", "GroupAuthorizationFailed"),
    ("rewind", f"Read {COMMANDS}", "Topics are missing"),
    ("rewind", "Read group", "GroupAuthorizationFailed"),
]
OPERATIONS = {"Read": READ, "Write": WRITE, "Create": CREATE, "Describe": DESCRIBE, "DescribeConfigs": DESCRIBE_CONFIGS}


def principals():
    """Each with its rights: those who have all, and those who lack one."""
    lacking = {f"{name}-{number}": RIGHTS[name] - {right} for number, (name, right, _) in enumerate(LACKING)}
    return RIGHTS | lacking | {UNSEEING: {"Create", "Describe"}}


def group_of(world, principal):
    return f"{world.group}.{principal}" if principal.startswith(IN_GROUPS_OF_THEIR_OWN) else world.group


async def read_all(world, principal):
    """Nobody is in its group, which has read all that was routed."""
    places = [TopicPartition(f"{world.prefix}{COMMANDS}", number) for number in range(3)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.bootstrap_servers, group_id=group_of(world, principal), enable_auto_commit=False
    )
    consumer.assign(places)
    async with consumer:
        await consumer.commit(await consumer.end_offsets(places))


def acl(world, principal, right):
    operation, _, on = right.partition(" ")
    if on == "group":
        where = GROUP, group_of(world, principal), LITERAL
    else:
        where = (TOPIC, world.prefix + on, LITERAL) if on else (TOPIC, world.prefix, PREFIXED)
    return CreateAclsRequest(*where, f"User:{principal}", "*", OPERATIONS[operation], ALLOW)


@pytest.fixture(scope="module")
async def secured(postgres, template_database, tmp_path_factory):
    """A world with a worker, and the address of the listener that asks for a password."""
    folder = tmp_path_factory.mktemp("commands")
    users = " ".join(f'user_{name}="{PASSWORD}"' for name in principals())
    listener = {
        "sasl.enabled.mechanisms": "PLAIN",
        "plain.sasl.jaas.config": f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};",
    }
    settings = {f"listener.name.sasl_plaintext.{key}": value for key, value in listener.items()}
    settings |= {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with Kafka(settings=settings, protocols=["SASL_PLAINTEXT"]) as kafka:
        async with new_world(postgres, kafka.bootstrap_servers, template_database, folder) as world:
            world.worker()
            await world.register([1])
            async with world.admin() as admin:
                for name, given in principals().items():
                    for right in given:
                        response = await admin._send_request(acl(world, name, right))
                        assert response.creation_responses[0][0] == 0
            for name in principals():
                if name.startswith(IN_GROUPS_OF_THEIR_OWN):
                    await read_all(world, name)
            restored = databases.new_name("restored")
            await databases.create(postgres.database_url, restored, template_database)
            world.restored_url = databases.url_of(postgres.database_url, restored)
            yield world, kafka.secured["SASL_PLAINTEXT"]
            await databases.drop(postgres.database_url, restored)


async def run(secured, who, *arguments, status=0, **changed):
    world, address = secured
    known_as = {
        "MERGELINE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "MERGELINE_KAFKA_BOOTSTRAP_SERVERS": address,
        "MERGELINE_KAFKA_SASL_MECHANISM": "PLAIN",
        "MERGELINE_KAFKA_SASL_USERNAME": who,
        "MERGELINE_KAFKA_SASL_PASSWORD": PASSWORD,
        "MERGELINE_START_TIMEOUT_MS": "5000",
    }
    return await world.command(*arguments, status=status, **known_as, **changed)


def arguments(secured, name, who):
    """The command, and what it needs."""
    world, _ = secured
    update, customer = world.folder / f"{who}.jsonl", world.folder / f"{who}-customer.jsonl"
    update.write_text(json.dumps(adding(1, f"of-{who}")))
    customer.write_text(json.dumps({"orgId": ORG, "customerId": 2, "source": "INSTORE"}))
    return {
        "send": ("send", str(update)),
        "send-wait": ("send", "--wait", str(update)),
        "import": ("import", "customers", str(customer)),
        "watch": ("watch", "--from-beginning", "--limit", "1", "--json"),
        "prune": ("prune", "--yes"),
        "create": ("topics", "create", "--partitions", "1", "--replication-factor", "1"),
        "offsets": ("offsets",),
        "rewind": ("offsets", "rewind", "--yes"),
    }[name]


def changed(secured, who):
    world, _ = secured
    if who.startswith(IN_GROUPS_OF_THEIR_OWN):
        return {"MERGELINE_GROUP_ID": group_of(world, who), "MERGELINE_DATABASE_URL": world.restored_url}
    return {"MERGELINE_TOPIC_PREFIX": f"{world.prefix}{who}."} if who.startswith("create") else {}


@pytest.mark.parametrize("name", [name for name in RIGHTS if name not in ("watch-one", "offsets")])
async def test_a_command_with_the_rights_of_the_table_does_its_work(secured, name):
    said = await run(secured, name, *arguments(secured, name, name), **changed(secured, name))
    assert said or name == "send"
    if name == "create":
        assert said.count("created") == len(OUTPUTS) + 4
        assert "exists" in await run(secured, name, *arguments(secured, name, name), **changed(secured, name))


async def test_one_who_may_look_at_offsets_is_told_what_to_set_back_and_may_not_do_it(secured):
    """With the right to look into a gap: what lies there are records."""
    assert await run(secured, "offsets", "offsets", status=1, **changed(secured, "offsets")) == ""
    shown = await run(secured, "offsets", "offsets", "rewind", **changed(secured, "offsets"))
    assert "set back to 0" in shown
    said = await run(secured, "offsets", "offsets", "rewind", "--yes", status=2, **changed(secured, "offsets"))
    assert "GroupAuthorizationFailed" in said


async def test_one_who_may_read_one_topic_may_watch_that_one(secured):
    world, _ = secured
    await world.outcomes_of([adding(1, "to-be-watched")])
    watched = ("watch", "--from-beginning", "--limit", "1", "--json", "--topic", OUTCOMES)
    assert json.loads(await run(secured, "watch-one", *watched))["topic"] == OUTCOMES
    assert "Topics are missing" in await run(secured, "watch-one", "watch", "--limit", "1", status=2)


@pytest.mark.parametrize(("number", "name", "right", "said"), [(number, *row) for number, row in enumerate(LACKING)])
async def test_without_one_of_them_it_says_so_and_ends(secured, number, name, right, said):
    who = f"{name}-{number}"
    assert said in await run(secured, who, *arguments(secured, name, who), status=2, **changed(secured, who)), right


async def test_topics_whose_configs_are_hidden_are_not_said_to_be_as_planned(secured):
    command = arguments(secured, "create", UNSEEING)
    created = json.loads(await run(secured, UNSEEING, *command, "--json", **changed(secured, UNSEEING)))
    assert (created["hidden"], created["differences"]) == ([], [])
    again = json.loads(await run(secured, UNSEEING, *command, "--json", **changed(secured, UNSEEING)))
    assert sorted(again["hidden"]) == sorted(again["existing"]) == sorted(created["created"])
    assert "Hidden from us (DescribeConfigs), and so not compared: the configs of " in await run(
        secured, UNSEEING, *command, **changed(secured, UNSEEING)
    )
    world, _ = secured
    said = await run(secured, "create", *command, "--json", MERGELINE_TOPIC_PREFIX=f"{world.prefix}{UNSEEING}.")
    assert json.loads(said)["hidden"] == []
