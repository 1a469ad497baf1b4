"""Kafka and PostgreSQL together.

In: a folder to keep the data in, or none. Out: ``bootstrap_servers`` and ``database_url`` of two servers that answer.
Never: one of them without the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mergeline.embedded.kafka import Kafka
from mergeline.embedded.postgres import Postgres
from mergeline.embedded.server import NO_SETTINGS, Startable, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Services(Startable):
    """Both servers, started side by side."""

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        notice: Callable[[str], None] = quiet,
        durable: bool | None = None,
        kafka_settings: Mapping[str, str] = NO_SETTINGS,
        postgres_settings: Mapping[str, str] = NO_SETTINGS,
    ) -> None:
        """`durable` is PostgreSQL's: whether a commit waits for the disk; None: where the data is kept."""
        self.kafka = Kafka(data_dir=data_dir and data_dir / "kafka", notice=notice, settings=kafka_settings)
        self.postgres = Postgres(
            data_dir=data_dir and data_dir / "postgres", notice=notice, durable=durable, settings=postgres_settings
        )

    @property
    def bootstrap_servers(self) -> str:
        """Kafka's address."""
        return self.kafka.bootstrap_servers

    @property
    def database_url(self) -> str:
        """PostgreSQL's address, with its password."""
        return self.postgres.database_url

    def start(self) -> None:
        """Starts both and waits for both."""
        # Neither waits before both have begun, so no thread is needed, and Ctrl-C ends the wait at once.
        self.postgres.begin()
        self.kafka.begin()
        self.postgres.wait_ready()
        self.kafka.wait_ready()

    def stop(self) -> None:
        """Ends both, Kafka first."""
        try:
            self.kafka.stop()
        finally:
            self.postgres.stop()
