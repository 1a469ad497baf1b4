"""A real worker on a broker that lets nobody in who does not show who it is, with the rights of `deploy/README.md` and
no others."""

import asyncio
import json
import shutil
import subprocess

import pytest
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from tests.worker.conftest import new_world
from tests.worker.harness import CARDS, COMMANDS, CUSTOMERS, EVENTS, ORG, OUTCOMES, REGISTERED, UPDATES, adding
from tests.worker.test_poison import poisoned

from mergeline.embedded import packages
from mergeline.embedded.kafka import Kafka
from mergeline.embedded.server import quiet

TOPIC, GROUP, TRANSACTIONAL_ID = 2, 3, 5
LITERAL, PREFIXED = 3, 4
READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS = 3, 4, 8, 10
ALLOW = 3
WORKER, PASSWORD = "loyalty", "s3cret of-it"
REDRIVER, REPLAYER = "redriver", "replayer"
INPUTS = (UPDATES, CUSTOMERS, CARDS)
OUTPUTS = (*(f"{name}-dlt" for name in INPUTS), OUTCOMES, REGISTERED, *EVENTS)
OPENSSL = shutil.which("openssl")


def rights(world):
    """The table of `deploy/README.md`: what, its name, how that is meant, what may be done."""
    return {
        **{f"read {name}": (TOPIC, world.prefix + name, LITERAL, READ) for name in (*INPUTS, COMMANDS)},
        **{f"write {name}": (TOPIC, world.prefix + name, LITERAL, WRITE) for name in (*OUTPUTS, COMMANDS)},
        "describe": (TOPIC, world.prefix, PREFIXED, DESCRIBE),
        "configs": (TOPIC, world.prefix, PREFIXED, DESCRIBE_CONFIGS),
        "group": (GROUP, world.group, LITERAL, READ),
        "write transactions": (TRANSACTIONAL_ID, "mergeline-", PREFIXED, WRITE),
        "describe transactions": (TRANSACTIONAL_ID, "mergeline-", PREFIXED, DESCRIBE),
    }


LACKING = {
    "stranger": (),
    "unread": (f"read {UPDATES}",),
    "unrouted": (f"write {COMMANDS}",),
    "unpublished": (f"write {OUTCOMES}",),
    "unseen": ("configs",),
    "groupless": ("group",),
    "idless": ("write transactions", "describe transactions"),
    "fenceless": ("write transactions",),
}
"""Other principals, and the rights that they lack; the first has no password."""


def operators_rights(world):
    """The other table: of principals that send again, the same."""
    letters = {f"read {name}-dlt": (TOPIC, f"{world.prefix}{name}-dlt", LITERAL, READ) for name in INPUTS}
    inputs = {f"write {name}": (TOPIC, world.prefix + name, LITERAL, WRITE) for name in INPUTS}
    events = {f"write {name}": (TOPIC, world.prefix + name, LITERAL, WRITE) for name in (OUTCOMES, REGISTERED, *EVENTS)}
    seen = {"describe": rights(world)["describe"]}
    return {REDRIVER: letters | inputs | seen, REPLAYER: events | seen}


async def change(world, request_class, principal, names):
    """Grant or revoke rights: a request for each, which is all that aiokafka can."""
    known = operators_rights(world).get(principal) or rights(world)
    async with world.admin() as admin:
        for name in names:
            kind, resource, meant, operation = known[name]
            response = await admin._send_request(
                request_class(kind, resource, meant, f"User:{principal}", "*", operation, ALLOW)
            )
            (answer,) = response.creation_responses if request_class is CreateAclsRequest else response.filter_responses
            assert answer[0] == 0, answer


def keys(folder):
    """The broker's key in a store for Java, and its certificate; the client's certificate and key, as PEM files."""
    keytool = packages.java().with_name("keytool")
    store = ("-keystore", folder / "broker.p12", "-storepass", PASSWORD)
    known_as = ("-ext", "san=ip:127.0.0.1", "-dname", "CN=broker")
    commands = [
        (keytool, "-genkeypair", "-keyalg", "EC", "-validity", "2", *known_as, *store),
        (keytool, "-exportcert", "-rfc", "-file", folder / "broker.pem", *store),
    ]
    if OPENSSL:
        own = ("-keyout", folder / "client.key", "-out", folder / "client.pem")
        commands.append((OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={WORKER}", *own))
    for words in commands:
        subprocess.run([str(word) for word in words], check=True, capture_output=True)


def broker_settings(folder):
    certificate = {"ssl.keystore.location": folder / "broker.p12", "ssl.keystore.password": PASSWORD}
    users = " ".join(
        f'user_{name}="{PASSWORD}"' for name in (WORKER, REDRIVER, REPLAYER, *LACKING) if name != "stranger"
    )
    listeners = {
        "sasl_plaintext": {
            "sasl.enabled.mechanisms": "PLAIN",
            "plain.sasl.jaas.config": f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};",
        },
        "sasl_ssl": certificate | {
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
            "scram-sha-256.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            "scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        },
    }  # fmt: skip
    if OPENSSL:
        trusted = {"ssl.truststore.location": folder / "client.pem", "ssl.truststore.type": "PEM"}
        named = {"ssl.client.auth": "required", "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/"}
        listeners["ssl"] = certificate | trusted | named
    return listeners, {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # on the listener without a password, which the tests themselves use
        **{f"listener.name.{name}.{key}": str(value) for name, of in listeners.items() for key, value in of.items()},
    }


def add_scram_user(kafka):
    classes = ":".join(map(str, packages.kafka_jars(quiet)))
    user = ("--entity-type", "users", "--entity-name", WORKER)
    command = (packages.java(), "-cp", classes, "kafka.admin.ConfigCommand", "--bootstrap-server")
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        added = ("--alter", "--add-config", f"{mechanism}=[password={PASSWORD}]")
        subprocess.run([*command, kafka.bootstrap_servers, *added, *user], check=True, capture_output=True)


@pytest.fixture(scope="module")
async def secured(postgres, template_database, tmp_path_factory):
    """A world on a broker with a listener for each protocol, and what a worker needs to be let in by each."""
    folder = tmp_path_factory.mktemp("secured")
    await asyncio.to_thread(keys, folder)
    listeners, settings = broker_settings(folder)
    with Kafka(settings=settings, protocols=[name.upper() for name in listeners]) as kafka:
        await asyncio.to_thread(add_scram_user, kafka)
        async with new_world(postgres, kafka.bootstrap_servers, template_database, folder) as world:
            everybody = {WORKER: (), **LACKING}
            granted = {name: [right for right in rights(world) if right not in everybody[name]] for name in everybody}
            granted |= {name: [*of] for name, of in operators_rights(world).items()}
            await asyncio.gather(*(change(world, CreateAclsRequest, *grant) for grant in granted.items()))
            yield world, kafka


def shown(secured, protocol, name=WORKER, **changed):
    world, kafka = secured
    settings = {
        "MERGELINE_KAFKA_SECURITY_PROTOCOL": protocol,
        "MERGELINE_KAFKA_BOOTSTRAP_SERVERS": kafka.secured[protocol],
    }
    if protocol.startswith("SASL"):
        mechanism = "PLAIN" if protocol == "SASL_PLAINTEXT" else "SCRAM-SHA-512"
        settings |= {
            "MERGELINE_KAFKA_SASL_MECHANISM": mechanism,
            "MERGELINE_KAFKA_SASL_USERNAME": name,
            "MERGELINE_KAFKA_SASL_PASSWORD": PASSWORD,
        }
    if protocol.endswith("SSL"):
        settings["MERGELINE_KAFKA_SSL_CAFILE"] = str(world.folder / "broker.pem")
    if protocol == "SSL":
        settings["MERGELINE_KAFKA_SSL_CERTFILE"] = str(world.folder / "client.pem")
        settings["MERGELINE_KAFKA_SSL_KEYFILE"] = str(world.folder / "client.key")
    return settings | changed


WAYS = [
    pytest.param("SASL_SSL", {}, id="SCRAM over TLS"),
    pytest.param("SASL_SSL", {"MERGELINE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}, id="SCRAM-SHA-256 over TLS"),
    pytest.param("SASL_SSL", {"MERGELINE_DELIVERY": "at_least_once"}, id="SCRAM over TLS, at_least_once"),
    pytest.param("SASL_SSL", {"MERGELINE_REQUESTS_KEYED": "true"}, id="SCRAM over TLS, without the router"),
    pytest.param("SASL_PLAINTEXT", {}, id="a password in the clear"),
    pytest.param("SSL", {}, id="mutual TLS", marks=pytest.mark.skipif(not OPENSSL, reason="makes a key with openssl")),
]


@pytest.mark.parametrize(("protocol", "changed"), WAYS)
async def test_a_worker_with_the_rights_of_the_table_does_all_its_work(secured, request, protocol, changed):
    world, _ = secured
    way = request.node.callspec.id
    customer = 1 + [each.id for each in WAYS].index(way)
    worker = world.worker(**shown(secured, protocol, **changed))
    await world.register([customer])
    (outcome,) = await world.outcomes_of([adding(customer, f"way-{customer}")])
    assert outcome["status"] == "applied"
    torn = f"torn on {way}".encode()
    await world.produce(UPDATES, [torn])
    await world.letters(1, where=lambda record: record.value == torn)
    await world.drained()
    assert (await asyncio.to_thread(worker.stop))[0] == 0
    assert "Authorization" not in worker.text


REFUSED = [
    pytest.param("stranger", ["SaslAuthenticationFailed", "correct", "MERGELINE_KAFKA_SASL_*"], id="no password"),
    pytest.param("unread", [f"Read {{prefix}}{UPDATES}. Grant"], id="may not read an input"),
    pytest.param("unrouted", [f"Write {{prefix}}{COMMANDS}. Grant"], id="may not write to the internal topic"),
    pytest.param("unpublished", [f"Write {{prefix}}{OUTCOMES}. Grant"], id="may not write an output"),
    pytest.param("groupless", ["Read group {group}. Grant"], id="may not join the group"),
    pytest.param("idless", ["Describe and Write transactional ids mergeline-*. Grant"], id="may begin no transaction"),
    pytest.param("fenceless", ["TransactionalIdAuthorizationFailed. Grant"], id="may only describe transactions"),
]


@pytest.fixture(scope="module")
async def refused(secured):
    """Workers that lack something, all at once, by who they are; ended."""
    world, _ = secured
    short = {"MERGELINE_START_TIMEOUT_MS": "1000"}
    workers = {one.values[0]: shown(secured, "SASL_PLAINTEXT", name=one.values[0], **short) for one in REFUSED}
    # What it lacks shows when it acquires, which this setting bounds too: on a busy machine that takes longer.
    del workers["fenceless"]["MERGELINE_START_TIMEOUT_MS"]
    untrusted = shown(secured, "SASL_SSL", **short)
    del untrusted["MERGELINE_KAFKA_SSL_CAFILE"]
    workers = {name: world.worker(**settings) for name, settings in (workers | {"untrusting": untrusted}).items()}
    await world.until(lambda: not any(worker.running for worker in workers.values()), "their ends")
    return workers


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *REFUSED,
        pytest.param("untrusting", ["CERTIFICATE_VERIFY_FAILED", "MERGELINE_KAFKA_SSL_*"], id="an unknown authority"),
    ],
)
async def test_what_a_worker_lacks_is_said_in_one_line_before_it_begins(secured, refused, name, words):
    world, _ = secured
    worker = refused[name]
    last = worker.text.splitlines()[-1]
    assert (worker.process.returncode, last[:11]) == (2, "mergeline: "), worker.log_tail()
    for word in words:
        assert word.format(prefix=world.prefix, group=world.group) in last
    assert PASSWORD not in worker.text


async def test_who_sends_again_needs_no_more_than_the_table_says(secured):
    """A group is not among it."""
    world, _ = secured
    worker = world.worker(**shown(secured, "SASL_PLAINTEXT"))
    await world.register([98])
    async with poisoned(world, 98):
        await world.produce(UPDATES, [adding(98, "sent-again")])
        await world.letters(1, where=lambda record: b"sent-again" in (record.value or b""))
    redriver, replayer = (shown(secured, "SASL_PLAINTEXT", name=name) for name in (REDRIVER, REPLAYER))
    words = ("redrive", "--request", "sent-again", "--send")
    said = await world.command(*words, status=2, **replayer)
    assert f"TopicAuthorizationFailedError: {world.prefix}{UPDATES}-dlt" in said
    assert "sent  topic" in await world.command(*words, **redriver)
    await world.answered(["sent-again"])
    words = ("replay", "--since", "1h", "--customer", "98", "--org", str(ORG), "--send")
    assert "TopicAuthorizationFailedError" in await world.command(*words, status=2, **redriver)
    assert "All are acknowledged." in await world.command(*words, **replayer)
    await asyncio.to_thread(worker.stop)


async def test_configs_that_are_hidden_are_a_warning(secured):
    world, _ = secured
    worker = world.worker(**shown(secured, "SASL_PLAINTEXT", name="unseen"))
    await world.register([99])
    (outcome,) = await world.outcomes_of([adding(99, "unseen")])
    assert outcome["status"] == "applied"
    (event,) = worker.events("topics.check")
    assert "hidden from us (DescribeConfigs)" in event["problem"]
    await asyncio.to_thread(worker.stop)


async def test_a_topic_is_reset_with_the_rights_of_a_worker(secured):
    world, _ = secured
    worker = world.worker(**shown(secured, "SASL_PLAINTEXT"))
    await world.register([101])
    await world.outcomes_of([adding(101, "before")])
    worker.kill()  # so that there is something to publish
    await world.until_nobody_is_in_the_group()
    await world.make_anew(COMMANDS)
    said = await world.command("topics", "reset", COMMANDS, "--yes", "--json", **shown(secured, "SASL_PLAINTEXT"))
    assert json.loads(said)["published"] >= 1
    worker = world.worker(**shown(secured, "SASL_PLAINTEXT"))
    await world.outcomes_of([adding(101, "behind")])
    await asyncio.to_thread(worker.stop)


async def test_a_worker_that_has_nothing_to_do_ends_too_once_it_may_not_be_in_the_group(secured):
    world, _ = secured
    worker = world.worker(**shown(secured, "SASL_PLAINTEXT"))
    await world.until(lambda: worker.events("assignment.opened"), "its partitions")
    await change(world, DeleteAclsRequest, WORKER, ["group"])
    await world.until(lambda: not worker.running, "its end", 20)
    await change(world, CreateAclsRequest, WORKER, ["group"])
    assert worker.process.returncode == 2, worker.log_tail()
    assert f"denies this principal: Read {world.group}" in worker.text.splitlines()[-1]


@pytest.mark.parametrize("right", [f"write {OUTCOMES}", f"write {COMMANDS}", f"read {COMMANDS}", "group"])
async def test_a_right_that_is_taken_away_ends_the_worker_and_loses_nothing(secured, right):
    world, _ = secured
    worker = world.worker(**shown(secured, "SASL_PLAINTEXT"))
    name = right.replace(" ", "-")
    await world.register([100])
    await world.outcomes_of([adding(100, f"before-{name}")])
    await change(world, DeleteAclsRequest, WORKER, [right])
    await world.produce(UPDATES, [adding(100, f"meanwhile-{name}")])
    await world.until(lambda: not worker.running, "its end", 20)
    assert worker.process.returncode == 2, worker.log_tail()
    assert "denies this principal" in worker.text.splitlines()[-1]
    await change(world, CreateAclsRequest, WORKER, [right])
    worker = world.worker(**shown(secured, "SASL_PLAINTEXT"))
    (outcome,) = (await world.answered([f"meanwhile-{name}"])).values()
    assert outcome["status"] == "applied"
    await asyncio.to_thread(worker.stop)
