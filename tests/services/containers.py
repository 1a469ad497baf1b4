"""Kafka and PostgreSQL in containers, with the interface of the embedded ones.

In: a Docker engine. Out: servers to start, kill and start again. Ports are fixed before the start, since the engine
gives a container that is started again another one.
"""

import time

import docker
from testcontainers.community.postgres import PostgresContainer as Postgres
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from tests.services.choice import KAFKA_IMAGE, POSTGRES_IMAGE

from mergeline.embedded.kafka import HEAP_MB, SETTINGS
from mergeline.embedded.ports import free_ports, kafka_answers, postgres_answers
from mergeline.embedded.postgres import MAX_CONNECTIONS, MAX_LOCKS_PER_TRANSACTION

START_TIMEOUT_S = 90.0
START_POLL_S = 0.05


def _allow_no_reaper() -> None:
    """Without the image of the reaper, testcontainers would pull it, or fail where nothing can be pulled."""
    engine = docker.from_env()
    try:
        engine.images.get(testcontainers_config.ryuk_image)
    except docker.errors.ImageNotFound:
        testcontainers_config.ryuk_disabled = True
    finally:
        engine.close()


class _Server:
    """A container that can be killed and started again."""

    def __init__(self, container: DockerContainer, port: int, inner_port: int, answers) -> None:
        self._container = container.with_bind_ports(inner_port, port)
        self._port = port
        self._answers = answers
        self._created = False

    @property
    def host(self) -> str:
        return self._container.get_container_host_ip() if self._created else "localhost"

    def start(self) -> None:
        if not self._created:
            _allow_no_reaper()
            self._created = True
            self._container.start()
        else:
            self._container.get_wrapped_container().start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers(self._port, self.host):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer within {START_TIMEOUT_S} s:\n{self._container.get_logs()}")
            time.sleep(START_POLL_S)

    def kill(self) -> None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status == "running":
            container.kill()
            container.wait()

    def stop(self) -> None:
        if self._created:
            self._created = False
            self._container.stop()


class PostgresContainer(_Server):
    """PostgreSQL with the settings of the embedded one."""

    def __init__(self) -> None:
        self._postgres = Postgres(POSTGRES_IMAGE, driver=None)
        settings = {"max_locks_per_transaction": MAX_LOCKS_PER_TRANSACTION, "max_connections": MAX_CONNECTIONS}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._postgres.with_command(["postgres", *options, "-c", "fsync=off", "-c", "full_page_writes=off"])
        super().__init__(self._postgres, free_ports(1)[0], self._postgres.port, postgres_answers)

    @property
    def database_url(self) -> str:
        user, password, name = self._postgres.username, self._postgres.password, self._postgres.dbname
        return f"postgresql://{user}:{password}@{self.host}:{self._port}/{name}"


class KafkaContainer(_Server):
    """Kafka with the settings of the embedded one."""

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self.bootstrap_servers = f"localhost:{port}"
        settings = SETTINGS | {
            "listeners": "HOST://:9092,INTERNAL://:19092,CONTROLLER://:9093",
            "advertised.listeners": f"HOST://{self.bootstrap_servers},INTERNAL://localhost:19092",
            "inter.broker.listener.name": "INTERNAL",
            "listener.security.protocol.map": "HOST:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": "1@localhost:9093",
        }
        container = DockerContainer(KAFKA_IMAGE).with_env("KAFKA_HEAP_OPTS", f"-Xmx{HEAP_MB}m")
        for name, value in settings.items():
            container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
        super().__init__(container, port, 9092, kafka_answers)
