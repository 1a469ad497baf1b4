"""A real Apache Kafka: one node, broker and controller in one process.

In: a folder or none. Out: ``bootstrap_servers``. Its settings are those of a cluster of one; it never creates a topic
by itself, as no production cluster should.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, ClassVar

from mergeline.embedded import packages
from mergeline.embedded.ports import HOST, free_ports, kafka_answers
from mergeline.embedded.server import Server, quiet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAP_MB = 512
HEARTBEAT_MS = 500
SESSION_TIMEOUT_MS = 1500
"""Short, for a killed broker's successor is let in when the session of its predecessor has ended."""

# One partition each: these topics serve tests and demos.
_SETTINGS = f"""\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms={HEARTBEAT_MS}
broker.session.timeout.ms={SESSION_TIMEOUT_MS}
"""

_LOGGING = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger=INFO,out
"""

_CLUSTER_ID = "bWVyZ2VsaW5lLWtmay0x"
"""Any 16 bytes, the same every time, so that a kept folder can be formatted by whoever comes first."""


class Kafka(Server):
    """One broker."""

    name: ClassVar[str] = "Kafka"
    last_signal_kept: ClassVar[signal.Signals] = signal.SIGTERM
    last_signal_temporary: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, *, data_dir: Path | None = None, notice: Callable[[str], None] = quiet) -> None:
        super().__init__(data_dir=data_dir, notice=notice)
        self._port, self._controller_port = free_ports(2)
        self._java: Path | None = None
        self._jars: list[Path] = []

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address; the same after ``kill`` and ``start``."""
        return f"{HOST}:{self._port}"

    def _fetch(self) -> None:
        self._java = packages.java()
        self._jars = packages.kafka_class_path(self.notice)

    def _steps(self, folder: Path) -> list[list[str]]:
        settings, data, logging = folder / "server.properties", folder / "data", folder / "log4j2.properties"
        settings.write_text(
            f"{_SETTINGS}"
            f"log.dirs={data}\n"
            f"listeners=PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{HOST}:{self._controller_port}\n"
            f"advertised.listeners=PLAINTEXT://{self.bootstrap_servers}\n"
            f"controller.quorum.voters=1@{HOST}:{self._controller_port}\n",
            encoding="utf-8",
        )
        logging.write_text(_LOGGING, encoding="utf-8")
        jvm = [
            str(self._java),
            # Quick to start, and enough for a demo: no second compiler, no collector threads.
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            f"-Dlog4j2.configurationFile={logging}",
            "-cp",
            os.pathsep.join(map(str, self._jars)),
        ]
        serve = [*jvm, f"-Xmx{HEAP_MB}m", "kafka.Kafka", str(settings)]
        if (data / "meta.properties").exists():
            return [serve]
        return [[*jvm, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(settings)], serve]

    def _answers(self) -> bool:
        return kafka_answers(self._port)
