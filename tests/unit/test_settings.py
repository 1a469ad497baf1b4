"""Settings: what the environment may say, and what is said where it is wrong."""

import asyncpg
import pytest

from mergeline.database import database_errors, options
from mergeline.errors import SetupError
from mergeline.settings import MASK, Settings, masked, unknown_variables, variable

SECRET = "hunter2-secret"


def refusal(**given):
    with pytest.raises(SetupError) as caught:
        Settings.load({f"MERGELINE_{name}": text for name, text in given.items()})
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_nothing_set_is_the_defaults():
    settings = Settings.load({})
    assert (settings.topic_prefix, settings.group_id, settings.delivery) == ("mergeline.", "mergeline", "exactly_once")
    assert (settings.batch_max, settings.ledger_days, settings.dead_letter_limit) == (500, 14, 100)
    assert (settings.batch_wait_ms, settings.merge_max_entries, settings.http_port) == (100, 5_000, 8_080)
    assert (settings.requests_keyed, settings.start_timeout_ms) == (False, 30_000)
    assert settings.as_environ() == {}


def test_the_store_is_told_what_is_set():
    told = options(Settings.load({"MERGELINE_DATABASE_TIMEOUT_MS": "7000", "MERGELINE_PROGRESS_TIMEOUT_MS": "30000"}))
    assert (told.statement_ms_max, told.retries.seconds_max) == (7_000, 30.0)


def test_no_setting_is_read_that_was_not_given(monkeypatch):
    monkeypatch.setenv("MERGELINE_BATCH_MAX", "7")
    assert Settings.load({}).batch_max == 500


def test_an_empty_variable_counts_as_left_out():
    assert Settings.load({"MERGELINE_BATCH_MAX": "", "MERGELINE_LOG_FORMAT": ""}) == Settings.load({})


def test_a_value_can_stand_in_a_file(tmp_path):
    file = tmp_path / "url"
    file.write_text("postgresql://u:p@db/loyalty\n")
    settings = Settings.load({"MERGELINE_DATABASE_URL_FILE": str(file)})
    assert settings.database_url.get_secret_value() == "postgresql://u:p@db/loyalty"


def test_a_database_that_can_fail_over_has_several_hosts():
    url = "postgresql://u:p@one:5432,two:5433,[::1]:5434/loyalty?target_session_attrs=read-write"
    assert Settings.load({"MERGELINE_DATABASE_URL": url}).database_url.get_secret_value() == url


def test_a_value_and_its_file_exclude_each_other(tmp_path):
    text = refusal(GROUP_ID="a", GROUP_ID_FILE=str(tmp_path / "x"))
    assert "MERGELINE_GROUP_ID and MERGELINE_GROUP_ID_FILE are both set" in text


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff", b"x" * 70_000])
def test_an_unusable_file_is_named(tmp_path, content):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    text = refusal(KAFKA_SASL_PASSWORD_FILE=str(file))
    assert "MERGELINE_KAFKA_SASL_PASSWORD_FILE" in text
    assert str(file) in text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BATCH_MAX", "many", 'is "many": not a whole number'),
        ("BATCH_MAX", "0", "at least 1 is needed"),
        ("HTTP_PORT", "65536", "at most 65535 is possible"),
        ("DELIVERY", "twice", "'exactly_once' or 'at_least_once'"),
        ("REQUESTS_KEYED", "perhaps", "neither true nor false"),
        ("TOPIC_PREFIX", "a b", "letters, digits, dot"),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost", "host:9092"),
        ("LOG_LEVEL", "LOUD", "'DEBUG'"),
        ("DATABASE_URL", "mysql://u@h/d", "postgresql://user:password@host:5432/database"),
        ("DATABASE_URL", "postgresql:///d?host=h&port=abc", "postgresql://user:password@host:5432/database"),
        ("DATABASE_URL", "postgresql://ho..st/d", "postgresql://user:password@host:5432/database"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka..internal:9092", "host:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:99999", "host:9092"),
    ],
)
def test_a_bad_value_names_its_variable_the_problem_and_the_remedy(name, value, said):
    text = refusal(**{name: value})
    assert text.startswith(f"MERGELINE_{name} ")
    assert said in text
    assert "Correct it, or leave it out for" in text


def test_two_bad_values_are_one_line():
    text = refusal(BATCH_MAX="x", HTTP_PORT="y")
    assert text.startswith("MERGELINE_BATCH_MAX")
    assert text.endswith("Also wrong: MERGELINE_HTTP_PORT.")


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(f"mysql://user:{SECRET}@host/db", id="of another database"),
        pytest.param(f"postgresql:user:{SECRET}@host/db", id="without slashes"),
        pytest.param(f"postgresql://user@corp:{SECRET}@host/db", id="a user with an @"),
        pytest.param(f"postgresql://user:@{SECRET}@host/db", id="a password with an @"),
        pytest.param(f"postgresql://user:1/{SECRET}@host/db", id="a password with a slash"),
        pytest.param(f"postgresql://user:?{SECRET}@host/db", id="a password with a question mark"),
        pytest.param(f"postgresql://user:1#{SECRET}@host/db", id="a password with a hash"),
        pytest.param(f"postgresql://user:{SECRET}\n@host/db", id="the end of a line in it"),
        pytest.param(f"postgresql://user:{SECRET} @host/db", id="a blank in it"),
        pytest.param(f"postgresql://host/db?pass%77ord={SECRET}", id="a name that is spelt oddly"),
        pytest.param(f"postgresql://host/db?{SECRET}", id="no value"),
    ],
)
def test_a_bad_address_is_not_repeated(address):
    """What passes here `masked` knows the password of."""
    said = refusal(DATABASE_URL=address)
    assert said.startswith("MERGELINE_DATABASE_URL is not usable: not an address like postgresql://")
    assert SECRET not in said


def test_white_space_around_an_address_is_no_part_of_it():
    settings = Settings.load({"MERGELINE_DATABASE_URL": f" postgresql://user:{SECRET}@host/db? \n"})
    assert settings.database_url.get_secret_value() == f"postgresql://user:{SECRET}@host/db?"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "MERGELINE_KAFKA_SASL_USERNAME is not set"),
        ({"KAFKA_SASL_USERNAME": "u"}, "MERGELINE_KAFKA_SASL_USERNAME is set"),
        ({"KAFKA_SSL_CAFILE": "/ca"}, "MERGELINE_KAFKA_SSL_CAFILE is set"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEYFILE": "/k"}, "MERGELINE_KAFKA_SSL_CERTFILE is not"),
        ({"PUBLISH_TIMEOUT_MS": "8000"}, "above MERGELINE_PUBLISH_TIMEOUT_MS (8000)"),
        ({"TRANSACTION_TIMEOUT_MS": "7000"}, "above MERGELINE_PUBLISH_TIMEOUT_MS (7000)"),
        ({"DATABASE_TIMEOUT_MS": "60000"}, "MERGELINE_PROGRESS_TIMEOUT_MS is 60000, but must be above"),
        ({"APPLY_LANES": "8", "DATABASE_POOL_MAX": "8"}, "MERGELINE_DATABASE_POOL_MAX is 8, but must be above"),
    ],
)
def test_values_that_contradict_each_other(given, said):
    assert said in refusal(**given)


def test_secrets_are_masked_wherever_settings_are_shown():
    settings = Settings.load(
        {
            "MERGELINE_DATABASE_URL": f"postgresql://user:{SECRET}@host/db?sslmode=require&password={SECRET}",
            "MERGELINE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "MERGELINE_KAFKA_SASL_USERNAME": "user",
            "MERGELINE_KAFKA_SASL_PASSWORD": SECRET,
        }
    )
    rows = {row.variable: row for row in settings.described()}
    assert SECRET not in f"{settings!r} {settings} {rows}"
    assert rows["MERGELINE_DATABASE_URL"].value == f"postgresql://user:{MASK}@host/db?sslmode=require&password={MASK}"
    assert rows["MERGELINE_KAFKA_SASL_PASSWORD"].value == MASK


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h:5432/d", "postgresql://h:5432/d"),
        ("postgresql:///d?host=/run&user=a@b:c", "postgresql:///d?host=/run&user=a@b:c"),
        ("postgresql://u:p@h/d", f"postgresql://u:{MASK}@h/d"),
        ("postgresql://u:p@s/s@h/d", f"postgresql://u:{MASK}@h/d"),
        ("postgresql://h/d?sslpassword=p&sslmode=require", f"postgresql://h/d?sslpassword={MASK}&sslmode=require"),
    ],
)
def test_masking(url, shown):
    assert masked(url) == shown


def test_another_process_loads_the_same():
    environ = {
        "MERGELINE_BATCH_MAX": "7",
        "MERGELINE_REQUESTS_KEYED": "yes",
        "MERGELINE_DATABASE_URL": "postgres://h/d",
    }
    settings = Settings.load(environ)
    assert Settings.load(settings.as_environ()) == settings


def test_every_setting_says_what_it_means():
    for row in Settings.load({}).described():
        assert row.variable.startswith("MERGELINE_")
        assert row.meaning


def test_unknown_variables_are_named_with_what_was_meant():
    lines = unknown_variables({"MERGELINE_BATCHMAX": "1", "MERGELINE_QWX": "1", "PATH": "", "MERGELINE_GROUP_ID": "g"})
    assert lines == [
        "MERGELINE_BATCHMAX is not a setting and has no effect; is MERGELINE_BATCH_MAX meant?",
        "MERGELINE_QWX is not a setting and has no effect",
    ]


def test_what_kubernetes_and_the_tests_set_is_no_mistake():
    names = ("MERGELINE_PORT_8080_TCP_ADDR", "MERGELINE_SERVICE_HOST", "MERGELINE_TEST_SERVICES")
    assert unknown_variables(dict.fromkeys((*names, variable("batch_max") + "_FILE"), "x")) == []
    assert unknown_variables({"MERGELINE_PORT": "tcp://10.0.0.7:8080"}) == []
    assert len(unknown_variables({"MERGELINE_HTP_PORT": "8080"})) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(
            asyncpg.InsufficientPrivilegeError("permission denied for table card"),
            "refuses: permission denied for table card. Grant it (deploy/README.md, PostgreSQL), or correct ",
            id="a right that is missing: where the grants are",
        ),
        pytest.param(
            asyncpg.ClientConfigurationError('file "ca.pem" does not exist', hint="Provide it."),
            'MERGELINE_DATABASE_URL cannot be used: file "ca.pem" does not exist. Correct it.',
            id="an address that is none: without the library's hint",
        ),
    ],
)
def test_what_the_database_refuses_is_said_with_what_to_do(error, said):
    with pytest.raises(SetupError) as caught, database_errors(Settings.load({})):
        raise error
    assert said in str(caught.value)
