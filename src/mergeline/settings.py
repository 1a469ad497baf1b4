"""All settings: what the environment may say, within which bounds, and what holds where it says nothing.

In: an environment as a mapping (`MERGELINE_*`, each also as `MERGELINE_..._FILE` with the name of a file that holds
the value). Out: a frozen `Settings`, or a `SetupError` that names the variable, what is wrong and what to do. Never:
a settings object at import, a look at `os.environ` by itself, or a secret in a text.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from mergeline.errors import SetupError

PREFIX: Final = "MERGELINE_"
FILE_SUFFIX: Final = "_FILE"
FILE_MAX_BYTES: Final = 64 * 1024
"""A `..._FILE` that is larger holds no setting."""
MASK: Final = "********"
_ADDRESS: Final = re.compile(r"postgres(ql)?://[^\s?#]*(\?([^\s%=&#]+=[^\s&#]*(&|\Z))*)?\Z")
"""No white space, of which readers drop some, and plain names in the query: `pass%77ord` is read as `password`."""

PORT_MAX: Final = 65_535
_NOT_SETTINGS: Final = re.compile(
    r"MERGELINE_(TEST_.*"  # what the tests are told
    r"|(.+_)?SERVICE_(HOST|PORT)(_.+)?|(.+_)?PORT_\d+_(TCP|UDP)(_.+)?)"  # Kubernetes' links to a service so named
)


def _database_url(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    try:
        valid = _ADDRESS.match(text) is not None and _is_address(urlsplit(text))
    except ValueError:
        valid = False
    if not valid:
        raise PydanticCustomError(
            "database_url",
            "not an address like postgresql://user:password@host:5432/database (in which names and password have "
            "@ as %40, / as %2F, # as %23, % as %25)",
        )
    return SecretStr(text)


def _is_address(parts: SplitResult) -> bool:
    """Whether each reader of it takes it for the same: the driver, and `masked`, which must know the password."""
    hosts = parts.netloc.partition("@")[2] if "@" in parts.netloc else parts.netloc
    places = [urlsplit(f"//{host}") for host in hosts.split(",")]  # several, where the database can fail over
    named = parse_qs(parts.query)
    ports = [place.port for place in places]
    ports += [int(port) for given in named.get("port", []) for port in given.split(",") if port]
    names = [place.hostname or "" for place in places] + named.get("host", [])
    return "@" not in hosts + parts.path and 0 not in ports and not any(map(_has_gap, names))


def _servers(text: str) -> str:
    servers = [one.strip() for one in text.split(",")]
    for server in servers:
        found = re.fullmatch(r"([^\s:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", server)
        if found is None or _has_gap(found[1]) or not 0 < int(found[2]) <= PORT_MAX:
            raise PydanticCustomError("servers", "not a list like host:9092,host:9092")
    return ",".join(servers)


def _has_gap(host: str) -> bool:
    """Whether a part of the name is empty, which no look-up takes."""
    return ".." in host or (host.startswith(".") and "/" not in host)


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
Servers = Annotated[str, AfterValidator(_servers)]
KafkaName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]*$", max_length=150)]


def _ms(default: int, low: int, high: int, meaning: str) -> Any:
    return Field(default, ge=low, le=high, description=meaning)


class Settings(BaseModel):
    """One field a setting; its variable is `MERGELINE_` and the field's name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # -------------------------------------------------------- where the services are
    database_url: DatabaseUrl = Field(
        SecretStr("postgresql://localhost:5432/mergeline"),
        description="PostgreSQL 15+; TLS by ?sslmode=verify-full&sslrootcert=FILE",
    )
    database_pool_max: int = Field(4, ge=1, le=100, description="connections of one process")
    database_timeout_ms: int = _ms(10_000, 100, 600_000, "for one statement, its waiting for locks included")
    kafka_bootstrap_servers: Servers = Field("localhost:9092", description="host:port of brokers, with commas")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how clients speak to the brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="for SASL_PLAINTEXT and SASL_SSL"
    )
    kafka_sasl_username: str | None = Field(None, description="for SASL_PLAINTEXT and SASL_SSL")
    kafka_sasl_password: SecretStr | None = Field(None, description="for SASL_PLAINTEXT and SASL_SSL")
    kafka_ssl_cafile: Path | None = Field(None, description="PEM file that brokers are verified by (else the system's)")
    kafka_ssl_certfile: Path | None = Field(None, description="PEM file of the client's certificate, for mutual TLS")
    kafka_ssl_keyfile: Path | None = Field(None, description="PEM file of the client's key")
    kafka_ssl_password: SecretStr | None = Field(None, description="of the client's key, where it is encrypted")

    # -------------------------------------------------------- names
    topic_prefix: KafkaName = Field("mergeline.", description="before the name of every topic")
    group_id: Annotated[KafkaName, Field(min_length=1)] = Field(
        "mergeline", description="consumer group of the workers"
    )

    # -------------------------------------------------------- what a request may do
    delivery: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once", description="how often a read_committed subscriber sees an event"
    )
    requests_keyed: bool = Field(False, description="producers key by customer: no hop over the internal topic")
    ledger_days: int = Field(
        14, ge=1, le=3_650, description="days a request id is remembered; above every input topic's retention"
    )
    merge_max_entries: int = Field(5_000, ge=1, le=50_000, description="entries and cards that one merge may move")
    event_max_bytes: int = Field(
        900_000, ge=100_000, le=100_000_000, description="largest event; below the topics' max.message.bytes"
    )
    dead_letter_limit: int = Field(
        100, ge=0, le=1_000_000, description="dead letters in a row on a partition that end the worker (0: none do)"
    )

    # -------------------------------------------------------- batches
    batch_max: int = Field(500, ge=1, le=10_000, description="messages in one transaction of the database")
    batch_max_bytes: int = Field(
        8_388_608, ge=65_536, le=1_073_741_824, description="bytes of messages in one transaction; bounds memory"
    )
    apply_lanes: int = Field(
        2, ge=1, le=16, description="batches applied at once, each of its own partitions; below the pool's connections"
    )
    batch_wait_ms: int = _ms(100, 0, 1_000, "how long a batch that is no quarter full may wait for those under way")
    lock_keys_max: int = Field(
        8_000, ge=500, le=1_000_000, description="locks of one transaction; PostgreSQL's lock table bounds them"
    )
    catalogs_cached_max: int = Field(1_000, ge=1, le=100_000, description="catalogs that a process remembers")

    # -------------------------------------------------------- time
    start_timeout_ms: int = _ms(30_000, 100, 600_000, "how long a start waits for brokers and database")
    shutdown_timeout_ms: int = _ms(10_000, 100, 600_000, "how long a stop may finish what is under way")
    progress_timeout_ms: int = _ms(60_000, 5_000, 3_600_000, "a worker that does not move for so long ends itself")
    session_timeout_ms: int = _ms(10_000, 6_000, 300_000, "silence after which Kafka gives a worker's partitions away")
    kafka_request_timeout_ms: int = _ms(8_000, 1_000, 300_000, "for one answer of a broker")
    publish_timeout_ms: int = _ms(7_000, 500, 299_000, "for one publish; below the request's time-out")
    transaction_timeout_ms: int = _ms(
        10_000, 1_000, 900_000, "after which a broker aborts; above the publish's time-out"
    )

    # -------------------------------------------------------- looking at it
    http_host: str = Field("0.0.0.0", description="address of liveness, readiness and metrics")  # noqa: S104 - probes come from outside
    http_port: int = Field(8_080, ge=0, le=65_535, description="port of liveness, readiness and metrics (0: none)")
    log_format: Literal["json", "text"] | None = Field(None, description="json, or text; else text on a terminal only")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="the least that is logged")

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """The settings that `environ` gives. An empty variable counts as left out.

        Raises:
            SetupError: if a value, a file or a combination is not usable; the text names the variable.
        """
        given = {name: text for name in cls.model_fields if (text := _text(environ, variable(name)))}
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            raise SetupError(_complaint(error.errors(include_url=False, include_input=False), given)) from None
        for problem in _contradictions(settings):
            raise SetupError(problem)
        return settings

    def as_environ(self) -> dict[str, str]:
        """The variables, secrets in clear, that another process would load the same settings from."""
        return {
            variable(name): _plain(value)
            for name, value in self
            if value is not None and value != type(self).model_fields[name].default
        }

    def described(self) -> list["Described"]:
        """Every setting for the reader's eye, secrets masked."""
        return [
            Described(
                variable=variable(name),
                value=_shown(name, getattr(self, name)),
                default=_shown(name, field.default),
                meaning=field.description or "",
                changed=getattr(self, name) != field.default,
            )
            for name, field in type(self).model_fields.items()
        ]


@dataclass(frozen=True, slots=True)
class Described:
    """One setting as `mergeline settings` shows it."""

    variable: str
    value: str
    default: str
    meaning: str
    changed: bool


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A line for each `MERGELINE_*` variable that is no setting, with the one that was meant, if one is near."""
    known = [variable(name) for name in Settings.model_fields]
    lines = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or name.removesuffix(FILE_SUFFIX) in known:
            continue
        if _NOT_SETTINGS.fullmatch(name) or (name.endswith("_PORT") and "://" in environ[name]):
            continue
        field = name.removesuffix(FILE_SUFFIX).removeprefix(PREFIX).lower()
        near = difflib.get_close_matches(field, Settings.model_fields, n=1)
        lines.append(
            f"{name} is not a setting and has no effect" + (f"; is {variable(near[0])} meant?" if near else "")
        )
    return lines


def masked(url: str) -> str:
    """A database address without its password, wherever it stands in it."""
    without = re.sub(r"(?<=[?&])((?:ssl)?password=)[^&]*", rf"\g<1>{MASK}", url)
    # Greedy to the last @: an unescaped password is no valid address, and must not be shown either.
    return re.sub(r"^(\w+://[^/@?:]*):.*@", rf"\1:{MASK}@", without)


def _text(environ: Mapping[str, str], name: str) -> str:
    """What is set under `name`, directly or by file; empty where it is not."""
    text, file = environ.get(name, ""), environ.get(name + FILE_SUFFIX, "")
    if text and file:
        raise SetupError(f"{name} and {name}{FILE_SUFFIX} are both set. Keep one of them.")
    if not file:
        return text
    try:
        with Path(file).open(encoding="utf-8") as lines:
            text = lines.read(FILE_MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SetupError(f"{name}{FILE_SUFFIX} names {file}, which cannot be read: {reason}.") from None
    text = text.strip()
    if not text or len(text) > FILE_MAX_BYTES:
        raise SetupError(f"{name}{FILE_SUFFIX} names {file}, which is empty or no text of one setting.")
    return text


def _complaint(errors: list[ErrorDetails], given: Mapping[str, str]) -> str:
    """The first problem in full, the others by name."""
    first, *others = errors
    name = str(first["loc"][0])
    # Addresses and passwords are secrets; the rest may be shown.
    secret = "SecretStr" in str(Settings.model_fields[name].annotation)
    said = "is not usable" if secret else f'is "{given[name]}"'
    rule = _RULES.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
    text = f"{variable(name)} {said}: {rule}. {_remedy(name)}"
    names = ", ".join(variable(str(error["loc"][0])) for error in others)
    return f"{text} Also wrong: {names}." if names else text


_RULES: Final = {
    "int_parsing": "not a whole number",
    "bool_parsing": "neither true nor false",
    "greater_than_equal": "at least {ge} is needed",
    "less_than_equal": "at most {le} is possible",
    "literal_error": "it must be {expected}",
    "string_too_short": "too short",
    "string_too_long": "too long",
    "string_pattern_mismatch": "only letters, digits, dot, underscore and hyphen may stand in a name of Kafka's",
}


def _remedy(name: str) -> str:
    field = Settings.model_fields[name]
    shown = _shown(name, field.default) if field.default is not None else ""
    return "Correct it" + (f', or leave it out for "{shown}"' if shown else "") + f" ({field.description})."


_ABOVE: Final = (
    # Each lane holds a connection for as long as it applies a batch; readiness and leaving need one beside them.
    ("database_pool_max", "apply_lanes"),
    # A publish must be given up before the client repeats its end-of-transaction by itself, and before brokers end it.
    ("kafka_request_timeout_ms", "publish_timeout_ms"),
    ("transaction_timeout_ms", "publish_timeout_ms"),
    # A worker that waits for a statement for as long as it may stands still.
    ("progress_timeout_ms", "database_timeout_ms"),
)
"""Settings of which the first must be above the second."""


def _contradictions(settings: Settings) -> list[str]:
    """What each value by itself may be, but not all of them together."""
    found = []
    sasl, tls = (kind in settings.kafka_security_protocol for kind in ("SASL", "SSL"))
    protocol = f"{variable('kafka_security_protocol')} is {settings.kafka_security_protocol}"
    for name in ("kafka_sasl_username", "kafka_sasl_password"):
        if sasl and getattr(settings, name) is None:
            found.append(f"{protocol} but {variable(name)} is not set. Set it, or its {FILE_SUFFIX} form.")
        if not sasl and getattr(settings, name) is not None:
            found.append(f"{protocol} but {variable(name)} is set. Set the protocol to SASL_SSL, or leave it out.")
    found += [
        f"{protocol} but {variable(name)} is set. Set the protocol to SSL, or leave it out."
        for name in ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile", "kafka_ssl_password")
        if not tls and getattr(settings, name) is not None
    ]
    if settings.kafka_ssl_keyfile is not None and settings.kafka_ssl_certfile is None:
        found.append(f"{variable('kafka_ssl_keyfile')} is set but {variable('kafka_ssl_certfile')} is not. Set both.")
    for larger, smaller in _ABOVE:
        if getattr(settings, larger) <= getattr(settings, smaller):
            found.append(
                f"{variable(larger)} is {getattr(settings, larger)}, but must be above "
                f"{variable(smaller)} ({getattr(settings, smaller)}). Raise it, or lower the other."
            )
    return found


def _plain(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "database_url":
        return masked(_plain(value))
    return MASK if isinstance(value, SecretStr) else _plain(value)
