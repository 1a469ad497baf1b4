"""The processes that are measured.

In: a command (`mergeline worker`, or another that obeys the same settings), how many of it. Out: their process ids,
their metrics, their log where one ends. Never: a process that outlives the bench.
"""

import os
import signal
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from prometheus_client.parser import text_string_to_metric_families

from mergeline.embedded.errors import EmbeddedError
from mergeline.embedded.guarded import Guarded
from mergeline.embedded.ports import HOST, free_ports
from mergeline.settings import PREFIX, Settings, variable

LOG_TAIL_LINES: Final = 12
STOP_TIMEOUT_S: Final = 15.0
METRICS_TIMEOUT_S: Final = 3.0
WORKER: Final = (sys.executable, "-m", "mergeline", "worker")


def last_words(log: Path) -> str:
    """What a process said last."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:])


class Workers:
    """Processes of one command, side by side."""

    def __init__(
        self, settings: Settings, count: int, command: Sequence[str] = WORKER, folder: Path | None = None
    ) -> None:
        """`folder`: where the command is run, if not here."""
        self._settings, self._command, self._folder = settings, command, folder or Path.cwd()
        self._ports = free_ports(count)
        self._guarded: list[Guarded] = []

    def start(self) -> None:
        """Start them; returns at once."""
        base = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        for port in self._ports:
            process = Guarded(last_signal=signal.SIGTERM, prefix="mergeline-bench-")
            self._guarded.append(process)
            http = {variable("http_host"): HOST, variable("http_port"): str(port)}
            environ = base | self._settings.as_environ() | http | {"TMPDIR": str(process.folder)}
            process.launch([self._command], log=self._log(process), cwd=self._folder, env=environ)

    @property
    def pids(self) -> list[int]:
        """Those that run."""
        return [pid for process in self._guarded if (pid := process.pid) is not None]

    def check(self) -> None:
        """Complain if one has ended.

        Raises:
            EmbeddedError: with the last lines of its log.
        """
        for process in self._guarded:
            if process.exit_code is not None:
                said = last_words(self._log(process))
                raise EmbeddedError(f"a worker ended with {process.exit_code}; its last words:\n{said}")

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Sums over all workers, by the sample's name and the values of its labels; empty where they have none."""
        found: dict[tuple[str, ...], float] = defaultdict(float)
        for port in self._ports:
            try:
                url = f"http://{HOST}:{port}/metrics"
                with urllib.request.urlopen(url, timeout=METRICS_TIMEOUT_S) as answer:
                    text = answer.read().decode()
            except OSError:
                continue
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found[sample.name, *sample.labels.values()] += sample.value
        return found

    def stop(self) -> None:
        """End them, as a supervisor would."""
        guarded, self._guarded = self._guarded, []
        for process in guarded:
            if process.pid is not None:
                process.signal(signal.SIGTERM, timeout_s=STOP_TIMEOUT_S)
            process.close()

    def __enter__(self) -> Self:
        """Not started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _log(self, process: Guarded) -> Path:
        return process.folder / "worker.log"
