"""How a client of ours speaks to Kafka: where, as whom, over what.

In: the settings; an aiokafka client that was not started. Out: its keyword arguments; the client, started, for the
length of a block. Never: a traceback of aiokafka where a setting is wrong or no broker answers; that is a `SetupError`
which names the settings.
"""

import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import aiokafka.conn
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from mergeline.errors import SetupError
from mergeline.settings import Settings, variable
from mergeline.stream import unpacking

assert unpacking  # noqa: S101 - whoever makes a client reads with it

POLL_MS: Final = 250
POLL_RECORDS_MAX: Final = 2_000
TRANSACTIONAL_ID_PREFIX: Final = "mergeline-"
"""One prefixed ACL covers every transactional id."""
DENIALS: Final = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    ClusterAuthorizationFailedError,
)
"""What brokers say to whom they let in, but not do what was asked. To ask again helps nobody."""


class _Connection(AIOKafkaConnection):
    """What uvloop says of a connection that was reset before its reader heard of it is no OSError.

    aiokafka takes it for a bug of its own then, and its consumer crashes.
    """

    def send(self, *arguments: Any, **options: Any) -> Any:
        """As aiokafka's."""
        try:
            return super().send(*arguments, **options)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(str(error)) from error


aiokafka.conn.AIOKafkaConnection = _Connection


def client_options(settings: Settings) -> dict[str, Any]:
    """The keyword arguments that all aiokafka clients share."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
    }
    if "SSL" in settings.kafka_security_protocol:
        options["ssl_context"] = _ssl_context(settings)
    if "SASL" in settings.kafka_security_protocol and settings.kafka_sasl_password is not None:
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password.get_secret_value(),
        }
    return options


class Client(Protocol):
    """What producers, consumers and admin clients of aiokafka have in common."""

    async def start(self) -> None:
        """Find the brokers."""


_Client = TypeVar("_Client", bound=Client)


@asynccontextmanager
async def started(client: _Client, settings: Settings) -> AsyncIterator[_Client]:
    """The client while it is connected; stopped afterwards.

    Raises:
        SetupError: if no broker lets us in. One attempt, bounded by the client's own time-outs.
    """
    stop = getattr(client, "stop", None) or getattr(client, "close")  # noqa: B009 - not in the protocol
    last_word = _LastWord()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(last_word)
    try:
        try:
            await client.start()
        except (KafkaError, OSError, TimeoutError) as error:
            raise SetupError(unreachable(settings, last_word.text or str(error))) from None
        finally:
            logger.removeHandler(last_word)
        yield client
    finally:
        await stop()


@asynccontextmanager
async def connected(client: _Client, settings: Settings) -> AsyncIterator[_Client]:
    """As `started`; errors of Kafka inside the block become a `SetupError` too."""
    async with started(client, settings):
        with kafka_errors(settings):
            yield client


def onlooker(settings: Settings, *, client_id: str = "mergeline-look", **options: Any) -> AIOKafkaConsumer:
    """A consumer in no group, not started: it reads what is committed, and commits nothing."""
    return AIOKafkaConsumer(
        **client_options(settings),
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        request_timeout_ms=settings.kafka_request_timeout_ms,
        **options,
    )


async def read_up_to(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]
) -> AsyncIterator[dict[TopicPartition, list[ConsumerRecord]]]:
    """The records of each partition in order, some at a time; nothing where none came for a moment.

    Bounded by whoever reads: brokers may say nothing for ever. What is no record, as the end of a transaction, is
    stepped over.

    Args:
        consumer: which stands where to begin.
        ends: by partition, the first offset that is not wanted any more; whoever has enough of one takes it out.
    """
    while left := [place for place, end in ends.items() if await consumer.position(place) < end]:
        found = await consumer.getmany(*left, timeout_ms=POLL_MS, max_records=POLL_RECORDS_MAX)
        yield {place: [one for one in records if one.offset < ends[place]] for place, records in found.items()}


@contextmanager
def kafka_errors(settings: Settings) -> Iterator[None]:
    """For a command that has nothing better to do with an error of Kafka than to say it and end."""
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        raise SetupError(refused(settings, error)) from None


def unreachable(settings: Settings, reason: str) -> str:
    """One line for whoever finds that no broker lets us in."""
    servers, protocol = settings.kafka_bootstrap_servers, settings.kafka_security_protocol
    names = [variable("kafka_bootstrap_servers"), variable("kafka_security_protocol")]
    if "SASL" in protocol:
        names.append(variable("kafka_sasl") + "_*")
    if "SSL" in protocol:
        names.append(variable("kafka_ssl") + "_*")
    reason = " ".join(reason.split()) or "no answer"
    return f"Kafka at {servers} ({protocol}) cannot be reached: {reason}. Start it, or correct {', '.join(names)}."


def denied(settings: Settings, what: str) -> str:
    """One line for whoever finds that the brokers let us in but not do what we have to."""
    return (
        f"Kafka at {settings.kafka_bootstrap_servers} denies this principal: {what}. Grant that (ACLs). A worker "
        f"needs Read on what it reads, Write on what it writes, Read on the group {settings.group_id}, Describe and "
        f"Write on transactional ids that begin with {TRANSACTIONAL_ID_PREFIX}: deploy/README.md has the table."
    )


def refused(settings: Settings, error: BaseException) -> str:
    """One line for an error of Kafka after we were let in."""
    if isinstance(error, KafkaConnectionError | NodeNotReadyError | OSError | TimeoutError):
        return unreachable(settings, str(error))
    return f"Kafka at {settings.kafka_bootstrap_servers} refuses: {' '.join(str(error).split())}."


class _LastWord(logging.Handler):
    """aiokafka logs why a broker refused, and then raises an error that does not say it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[-1], BaseException):
            self.text = str(record.args[-1])


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    cafile, certfile, keyfile = (settings.kafka_ssl_cafile, settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    try:
        context = ssl.create_default_context(cafile=cafile)
    except OSError as error:
        raise SetupError(_unusable("kafka_ssl_cafile", cafile, error)) from None
    if certfile is not None:
        secret = settings.kafka_ssl_password
        password = secret.get_secret_value() if secret is not None else ""
        try:
            # A function, so that OpenSSL never asks on the terminal.
            context.load_cert_chain(certfile, keyfile, lambda: password)
        except OSError as error:
            fields = "kafka_ssl_certfile", certfile if keyfile is None else f"{certfile} (key: {keyfile})"
            raise SetupError(_unusable(*fields, error)) from None
    return context


def _unusable(field: str, file: Path | str | None, error: OSError) -> str:
    reason = "it is not a PEM file, or its password is wrong" if isinstance(error, ssl.SSLError) else error.strerror
    return f"{variable(field)} names {file}, which cannot be used: {reason}. Correct it, or leave it out."
