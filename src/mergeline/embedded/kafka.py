"""A real Apache Kafka: one node, broker and controller in one process.

In: a folder or none. Out: ``bootstrap_servers``. Never: a topic that nobody has created, as in no
production cluster.
"""

from __future__ import annotations

import json
import re
import signal
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from mergeline.embedded import packages
from mergeline.embedded.jvm import Jvm
from mergeline.embedded.ports import HOST, free_ports, kafka_answers
from mergeline.embedded.server import NO_SETTINGS, Server, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mergeline.embedded.guarded import Guarded

HEAP_MB = 512
HEARTBEAT_MS = 500
SESSION_TIMEOUT_MS = 1500
"""Short, for a killed broker's successor is let in when the session of its predecessor has ended."""
MEMBER_SESSION_TIMEOUT_MS_MIN = 1000
"""Kafka's own 6 s are long for a test that waits until a killed member of a group is given up."""

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": str(MEMBER_SESSION_TIMEOUT_MS_MIN),
    "broker.heartbeat.interval.ms": str(HEARTBEAT_MS),
    "broker.session.timeout.ms": str(SESSION_TIMEOUT_MS),
}
"""A cluster of one, wherever it runs; addresses and folders come on top."""

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
    """One broker.

    Args:
        data_dir: where its data stays; a temporary folder without one.
        notice: told of slow first times.
        settings: win over those of the cluster of one.
        relays: addresses (host:port) in front of the broker. Each has a listener of its own (`behind`), whose clients
            are told to come back through the relay.
        protocols: security protocols (as `SASL_SSL`) beside `PLAINTEXT`. Each has a listener of its own (`secured`);
            keys, users and the like are among `settings`, as `listener.name.sasl_ssl....`.
    """

    name: ClassVar[str] = "Kafka"
    last_signal_kept: ClassVar[signal.Signals] = signal.SIGTERM
    last_signal_temporary: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        notice: Callable[[str], None] = quiet,
        settings: Mapping[str, str] = NO_SETTINGS,
        relays: Sequence[str] = (),
        protocols: Sequence[str] = (),
    ) -> None:
        super().__init__(data_dir=data_dir, notice=notice)
        self._own_settings = dict(settings)
        self._port, self._controller_port, *more = free_ports(2 + len(relays) + len(protocols))
        self._relays = {f"RELAYED{number}": relay for number, relay in enumerate(relays)}
        addresses = [f"{HOST}:{port}" for port in more]
        self.behind = addresses[: len(relays)]
        """Where each relay has to pass its connections on to."""
        self.secured = dict(zip(protocols, addresses[len(relays) :], strict=True))
        """The address for each of the protocols."""
        self._archive_maker: Guarded | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address; the same after ``kill`` and ``start``."""
        return f"{HOST}:{self._port}"

    def wait_ready(self) -> None:
        """The half of ``start`` that waits; makes the next starts quicker from then on."""
        super().wait_ready()
        self._archive_maker = self._archive_maker or self._jvm.make_archive(self._class_list)

    def stop(self) -> None:
        """Ends the broker, and removes its folder unless ``data_dir`` was given. Does nothing to a stopped one."""
        maker, self._archive_maker = self._archive_maker, None
        try:
            if maker:
                maker.close()
        finally:
            super().stop()

    @cached_property
    def _jvm(self) -> Jvm:
        return Jvm(packages.java(), packages.kafka_jars(self.notice))

    @property
    def _class_list(self) -> Path:
        return self.folder / "classes"

    def _fetch(self) -> None:
        self._jvm  # noqa: B018 - fetched when it is first asked for

    def _steps(self, folder: Path) -> list[list[str]]:
        settings, data, logging = folder / "server.properties", folder / "data", folder / "log4j2.properties"
        own = {"PLAINTEXT": self.bootstrap_servers} | self.secured
        listeners = {
            **own,
            "CONTROLLER": f"{HOST}:{self._controller_port}",
            **dict(zip(self._relays, self.behind, strict=True)),
        }
        here = {
            "log.dirs": str(data),
            "listeners": _addresses(listeners),
            "advertised.listeners": _addresses(own | self._relays),
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ",".join(
                f"{name}:{name if name in self.secured else 'PLAINTEXT'}" for name in listeners
            ),
            "controller.quorum.voters": f"1@{HOST}:{self._controller_port}",
        }
        lines = (f"{name}={value}\n" for name, value in (SETTINGS | here | self._own_settings).items())
        settings.write_text(_in_latin("".join(lines)), encoding="ascii")
        logging.write_text(_LOGGING, encoding="utf-8")
        java = [
            *self._jvm.command(self._class_list),
            f"-Xmx{HEAP_MB}m",
            f"-Dlog4j2.configurationFile={logging}",
            f"-Djava.io.tmpdir={folder}",  # compression libraries are unpacked there, and stay after a kill
        ]
        serve = [*java, "kafka.Kafka", str(settings)]
        if (data / "meta.properties").exists():
            return [serve]
        return [[*java, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(settings)], serve]

    def _answers(self) -> bool:
        return kafka_answers(self._port)


def _in_latin(text: str) -> str:
    """As Java reads properties: what is not ASCII (a folder's name) by its number."""
    return re.sub(r"[^\x00-\x7f]", lambda letter: json.dumps(letter[0])[1:-1], text)


def _addresses(listeners: Mapping[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in listeners.items())
