"""Which services the tests use.

In: MERGELINE_TEST_SERVICES. Out: "containers" or "embedded", and the reason. It never pulls an image: ``auto`` takes
containers only where a Docker engine answers that has the images.
"""

import os
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

from mergeline import embedded
from mergeline.embedded.packages import KAFKA_VERSION

POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
VARIABLE = "MERGELINE_TEST_SERVICES"
DOCKER_TIMEOUT_S = 5


class KafkaServer(Protocol):
    """A broker that tests may kill; after ``start`` it has its address and its data again."""

    @property
    def bootstrap_servers(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def stop(self) -> None: ...


class PostgresServer(Protocol):
    """A PostgreSQL that tests may kill; after ``start`` it has its address and its data again."""

    @property
    def database_url(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def stop(self) -> None: ...


@cache
def chosen() -> tuple[Literal["embedded", "containers"], str]:
    """What the tests run against, and why."""
    match os.environ.get(VARIABLE, "auto"):
        case "embedded" | "containers" as wanted:
            return wanted, f"{VARIABLE}={wanted}"
        case "auto":
            obstacle = _no_containers()
            return ("embedded", obstacle) if obstacle else ("containers", "a Docker engine has the images")
        case other:
            raise ValueError(f"{VARIABLE} is auto, embedded or containers, not {other!r}")


def new_kafka(notice) -> KafkaServer:
    """A broker of the chosen kind, not started."""
    if chosen()[0] == "containers":
        from tests.services.containers import KafkaContainer  # noqa: PLC0415 - the client is slow to import

        return KafkaContainer()
    return embedded.Kafka(notice=notice)


def new_postgres(notice) -> PostgresServer:
    """A PostgreSQL of the chosen kind, not started."""
    if chosen()[0] == "containers":
        from tests.services.containers import PostgresContainer  # noqa: PLC0415 - the client is slow to import

        return PostgresContainer()
    return embedded.Postgres(notice=notice)


def _no_containers() -> str:
    """Why there can be no containers; empty if there can."""
    # Asked first, because importing the client takes longer than all unit tests of a file.
    if not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists():
        return "no Docker engine"
    import docker  # noqa: PLC0415 - slow to import

    try:
        engine = docker.from_env(timeout=DOCKER_TIMEOUT_S)
    except docker.errors.DockerException:
        return "no Docker engine answers"
    try:
        for image in (POSTGRES_IMAGE, KAFKA_IMAGE):
            engine.images.get(image)
    except docker.errors.ImageNotFound:
        return f"the Docker engine has no {image}"
    except (docker.errors.DockerException, OSError):
        return "no Docker engine answers"
    finally:
        engine.close()
    return ""
