"""A real Kafka and a real PostgreSQL on this machine, from packages, for the demo and the tests.

In: ``Services(data_dir=None, notice=...)``, a context manager; or ``Kafka`` and ``Postgres`` by themselves. Out:
``bootstrap_servers`` and ``database_url``. Never: a process or a temporary folder that outlives the Python that
started it, however that ends; nor an import by anything that works in production.

``python -m mergeline.embedded [--data-dir DIR]`` starts both and waits for Ctrl-C.
"""

from __future__ import annotations

from mergeline.embedded.errors import EmbeddedError
from mergeline.embedded.kafka import Kafka
from mergeline.embedded.postgres import Postgres
from mergeline.embedded.services import Services

__all__ = ["EmbeddedError", "Kafka", "Postgres", "Services"]
