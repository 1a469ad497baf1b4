"""The topics as they should be, what is refused and what is warned of; how a client is told to speak to Kafka."""

import shutil
import ssl
import subprocess
from types import SimpleNamespace

import pytest

from mergeline.domain.vocabulary import EVENT_TOPICS, INPUT_TOPICS, Topic, dead_letter_topic
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.stream import topics
from mergeline.stream.brokers import old_brokers
from mergeline.stream.clients import client_options

SETTINGS = Settings.load({})
INTERNAL = "mergeline.commands-by-customer"


def planned(**given):
    plan = topics.topic_plan(Settings.load({f"MERGELINE_{name}": value for name, value in given.items()}))
    return {spec.name: dict(spec.configs) for spec in plan}


def test_there_is_a_topic_for_everything_that_is_read_or_written():
    names = [*INPUT_TOPICS, *map(dead_letter_topic, INPUT_TOPICS), Topic.COMMANDS_BY_CUSTOMER, *EVENT_TOPICS]
    assert sorted(planned(TOPIC_PREFIX="p.")) == sorted(f"p.{name}" for name in names)


def test_what_is_planned_is_neither_refused_nor_warned_of():
    for days in ("1", "14", "400"):
        for size in ("100000", "900000", "20000000"):
            settings = Settings.load({"MERGELINE_LEDGER_DAYS": days, "MERGELINE_EVENT_MAX_BYTES": size})
            configs = {spec.name: dict(spec.configs) for spec in topics.topic_plan(settings)}
            assert topics._refusals(settings, configs) == []
            assert topics._warnings(settings, configs) == []


def test_the_ledger_remembers_longer_than_an_input_keeps():
    configs = planned(LEDGER_DAYS="3")
    assert int(configs["mergeline.identifier-updates"]["retention.ms"]) < 3 * topics.DAY_MS
    assert int(configs[INTERNAL]["retention.ms"]) == 14 * topics.DAY_MS
    assert int(planned(LEDGER_DAYS="30")[INTERNAL]["retention.ms"]) == 30 * topics.DAY_MS


def test_redirects_are_compacted():
    assert planned()["mergeline.customer-redirects"]["cleanup.policy"] == "compact"


def test_events_are_kept_for_as_long_as_brokers_keep_what_is_not_said():
    configs = planned()
    assert [name for name in EVENT_TOPICS if "retention.ms" in configs[f"mergeline.{name}"]] == []


def test_what_workers_write_has_the_time_of_the_broker():
    """A broker refuses the records of a worker whose clock is an hour ahead."""
    inputs = {f"mergeline.{topic}" for topic in INPUT_TOPICS}
    own_time = {name for name, configs in planned().items() if configs.get("message.timestamp.type") != "LogAppendTime"}
    assert own_time == inputs


@pytest.mark.parametrize(
    ("topic", "config", "value", "said"),
    [
        (INTERNAL, "max.message.bytes", "1048588", f"{INTERNAL} takes messages of 1048588 bytes"),
        ("mergeline.card-registrations-dlt", "max.message.bytes", "1000000", "card-registrations-dlt takes messages"),
        ("mergeline.identifier-updates", "max.message.bytes", "2097152", "identifier-updates-dlt takes messages"),
        ("mergeline.customer-merged", "max.message.bytes", "900000", "MERGELINE_EVENT_MAX_BYTES"),
        (INTERNAL, "message.timestamp.type", "CreateTime", "LogAppendTime"),
        ("mergeline.identifier-updates", "cleanup.policy", "compact", "is compacted"),
        (INTERNAL, "cleanup.policy", "compact,delete", "is compacted"),
        ("mergeline.card-registrations-dlt", "cleanup.policy", "compact", "refuses what has no key"),
        (INTERNAL, "compression.type", "uncompressed", "set its compression.type to producer"),
        ("mergeline.identifier-updates-dlt", "compression.type", "uncompressed", "identifier-updates-dlt keeps"),
    ],
)
def test_what_could_lose_a_message_or_stop_a_partition_is_refused(topic, config, value, said):
    configs = planned()
    configs[topic][config] = value
    assert said in " ".join(topics._refusals(SETTINGS, configs))


@pytest.mark.parametrize(
    ("topic", "config", "value", "said"),
    [
        ("mergeline.identifier-updates", "retention.ms", "-1", "takes effect again"),
        ("mergeline.identifier-updates", "retention.ms", str(14 * topics.DAY_MS), "MERGELINE_LEDGER_DAYS"),
        ("mergeline.identifier-updates", "segment.ms", str(7 * topics.DAY_MS), "segment.ms"),
        (INTERNAL, "retention.ms", str(13 * topics.DAY_MS), "less than 14 days"),
        ("mergeline.customer-redirects", "cleanup.policy", "delete", "not compacted"),
        ("mergeline.card-issued", "message.timestamp.type", "CreateTime", "mergeline.card-issued keep the timestamps"),
        (f"mergeline.{Topic.CARD_REGISTRATIONS}-dlt", "message.timestamp.type", "CreateTime", "cannot publish"),
    ],
)
def test_what_narrows_a_promise_is_warned_of(topic, config, value, said):
    configs = planned()
    configs[topic][config] = value
    assert said in " ".join(topics._warnings(SETTINGS, configs))


def test_an_internal_topic_that_keeps_for_ever_is_fine():
    configs = planned()
    configs[INTERNAL]["retention.ms"] = "-1"
    assert topics._warnings(SETTINGS, configs) == []


def test_configs_that_are_hidden_are_not_judged():
    assert topics._refusals(SETTINGS, {}) == []
    assert topics._warnings(SETTINGS, {}) == []


def test_a_message_is_kept_until_its_segment_is_old_enough_and_the_broker_has_looked():
    hour = 60 * 60 * 1000
    assert topics.kept_ms({"retention.ms": "5", "segment.ms": "7"}) == 5 + 7 + hour
    assert topics.kept_ms({"retention.ms": "-1", "segment.ms": "7"}) is None
    assert topics.kept_ms({"retention.ms": "5", "segment.ms": "7", "cleanup.policy": "compact"}) is None
    assert topics.kept_ms({"retention.ms": "5", "segment.ms": "7", "cleanup.policy": "compact,delete"}) == 12 + hour


class Cluster:
    """Two brokers, and the versions of Fetch that they take."""

    def __init__(self, *least):
        self.least = least

    async def describe_cluster(self):
        return {"brokers": [{"node_id": number, "host": "kafka", "port": number} for number in range(len(self.least))]}

    async def _send_request_to_node(self, number, _request):
        return SimpleNamespace(api_versions=[(0, 0, 13), (1, self.least[number], 18), (18, 0, 4)])


async def test_brokers_before_4_0_are_named():
    assert await old_brokers(Cluster(4, 4)) == []
    (line,) = await old_brokers(Cluster(4, 0))
    assert line.startswith("kafka:1: older than Kafka 4.0")


# ---------------------------------------------------------------- clients


def options(**given):
    return client_options(Settings.load({f"MERGELINE_KAFKA_{name}": str(value) for name, value in given.items()}))


def test_plain_clients():
    assert options() == {"bootstrap_servers": "localhost:9092", "security_protocol": "PLAINTEXT"}


def test_sasl_clients():
    given = {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "u", "SASL_PASSWORD": "p"}
    said = options(SECURITY_PROTOCOL="SASL_PLAINTEXT", **given)
    assert (said["sasl_mechanism"], said["sasl_plain_username"], said["sasl_plain_password"]) == ("PLAIN", "u", "p")
    assert "ssl_context" not in said
    assert "ssl_context" in options(SECURITY_PROTOCOL="SASL_SSL", **given)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that signs itself, and its key, encrypted."""
    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with openssl")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-subj", "/CN=test", "-days", "1"),
            *("-keyout", str(key), "-out", str(cert), "-passout", "pass:hunter2"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def test_tls_clients_verify_the_broker_and_can_show_a_certificate(certificate):
    cert, key = certificate
    said = options(SECURITY_PROTOCOL="SSL", SSL_CAFILE=cert, SSL_CERTFILE=cert, SSL_KEYFILE=key, SSL_PASSWORD="hunter2")
    context = said["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"SSL_CAFILE": "/nowhere"}, "MERGELINE_KAFKA_SSL_CAFILE names /nowhere"),
        ({"SSL_CAFILE": __file__}, "not a PEM file"),
        ({"SSL_CERTFILE": "CERT", "SSL_KEYFILE": "KEY", "SSL_PASSWORD": "wrong"}, "its password is wrong"),
        ({"SSL_CERTFILE": "CERT", "SSL_KEYFILE": "KEY"}, "its password is wrong"),
        ({"SSL_CERTFILE": "CERT", "SSL_KEYFILE": "/nowhere"}, "MERGELINE_KAFKA_SSL_CERTFILE"),
    ],
)
def test_an_unusable_certificate_names_its_setting_and_asks_nobody(certificate, given, said):
    files = {"CERT": certificate[0], "KEY": certificate[1]}
    with pytest.raises(SetupError, match=said):
        options(SECURITY_PROTOCOL="SSL", **{name: files.get(value, value) for name, value in given.items()})
