"""`mergeline worker` as a process of its own: started, signalled, looked at from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED_FROM = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
"""This checkout, wherever the package is installed from; and the tests, for the workers that have fail points."""


class WorkerProcess:
    """One worker; `kill` is safe to call at any time."""

    def __init__(self, log, settings, module="mergeline"):
        self.log = log
        self._events, self._parsed = [], 0
        base = {name: value for name, value in os.environ.items() if not name.startswith("MERGELINE_")}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "worker"],
                env=base | {"COLUMNS": "100", "PYTHONPATH": IMPORTED_FROM} | settings, stdin=subprocess.DEVNULL,
                stderr=file, stdout=file,
            )  # fmt: skip

    def kill(self):
        """SIGKILL."""
        if self.running:
            self.process.kill()
        self.process.wait(10)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def wake(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self, number=signal.SIGTERM, timeout_s=40.0):
        """SIGTERM, or another; the exit status and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(timeout_s), time.monotonic() - started

    @property
    def running(self):
        return self.process.poll() is None

    @property
    def is_stopped(self):
        """Whether the process sleeps by SIGSTOP."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except FileNotFoundError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def events(self, name=None):
        """The log's records, as dicts; each parsed once."""
        with self.log.open("rb") as log:
            log.seek(self._parsed)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._parsed += len(line)
                if line.startswith(b"{"):
                    self._events.append(json.loads(line))
        return [event for event in self._events if name is None or event.get("event") == name]

    @property
    def text(self):
        return self.log.read_text(errors="replace")

    def log_tail(self, lines=15):
        return "\n".join(self.text.splitlines()[-lines:])
