"""Where the demo plays: a real Kafka, a real PostgreSQL, a real worker, all on this machine.

In: a folder to keep the data in, or none. Out: settings to reach them by; a worker that is a process of its own.
Never: a process or a temporary folder that outlives this one, or a setting of the user's own services.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from mergeline.embedded import EmbeddedError, Services
from mergeline.embedded.guarded import Guarded
from mergeline.settings import PREFIX, Settings
from mergeline.store.migrations import migrate
from mergeline.stream import topics

PARTITIONS: Final = 4
LOG_TAIL_LINES: Final = 8


class Scene:
    """The services, and a worker once it was started."""

    def __init__(self, data_dir: Path | None, notice: Callable[[str], None]) -> None:
        self._services = Services(data_dir, notice=notice)
        self._data_dir = data_dir
        self._worker: Guarded | None = None
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """How everything here is reached."""
        if self._settings is None:
            raise EmbeddedError("the services have not been started")
        return self._settings

    @property
    def worker_log(self) -> Path:
        """What the worker says."""
        folder = self._data_dir or (self._worker and self._worker.folder)
        if not folder:
            raise EmbeddedError("the worker has not been started")
        return folder.absolute() / "worker.log"

    def prepare(self) -> None:
        """Migrate, and create the topics."""
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        await migrate(self.settings.database_url.get_secret_value())
        async with topics.admin(self.settings) as client:
            await topics.create_topics(client, self.settings, topics.topic_plan(self.settings, PARTITIONS))

    def start_worker(self) -> None:
        """`mergeline worker`, as anybody would start it; returns at once."""
        self._worker = Guarded(last_signal=signal.SIGTERM, prefix="mergeline-worker-")
        # Not the user's own: those could lead to their Kafka.
        environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        log = self.worker_log
        command = [sys.executable, "-m", "mergeline", "worker"]
        # What it leaves in its folder for temporary files goes with it.
        environ |= {"TMPDIR": str(self._worker.folder)} | self.settings.as_environ()
        self._worker.launch([command], log=log, cwd=log.parent, env=environ)

    def check_worker(self) -> None:
        """Complain if the worker has ended.

        Raises:
            EmbeddedError: with the last lines of its log.
        """
        code = self._worker and self._worker.exit_code
        if code is not None:
            lines = self.worker_log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
            raise EmbeddedError("\n".join([f"the worker ended with {code}; its last words:", *lines]))

    def __enter__(self) -> Self:
        try:
            self._services.start()
            self._settings = Settings.load(
                {
                    "MERGELINE_DATABASE_URL": self._services.database_url,
                    "MERGELINE_KAFKA_BOOTSTRAP_SERVERS": self._services.bootstrap_servers,
                    "MERGELINE_HTTP_PORT": "0",
                }
            )
        except BaseException:
            self._services.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._worker is not None:
                self._worker.close()
        finally:
            self._services.stop()
