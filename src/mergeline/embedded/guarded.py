"""Our end of a guard: starts it, tells it what to run, and knows what became of that.

In: command lines, a log file, signals. Out: a temporary folder, running or exited. Never: a signal by
process id, which may be somebody else's by then; the guard signals, whose child it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from mergeline.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GUARD_START_TIMEOUT_S = 20.0
GUARD_END_TIMEOUT_S = 30.0
"""More than the guard's own time-outs together take in any case that was ever seen."""
READ_MAX_BYTES = 65536
_BUSY = frozenset({"starting", "running"})


class Guarded:
    """One guard process and the child it runs, in a kept folder or a new one that ends with the guard."""

    def __init__(
        self, *, last_signal: int, kept: Path | None = None, prefix: str = "mergeline-", parent_dir: Path | None = None
    ) -> None:
        self._lock = RLock()
        self._unread = b""
        self._state: dict[str, Any] = {"state": "idle"}
        self._last_step = 0
        self._temporary: Path | None = None
        # A session of its own: Ctrl-C reaches our Python only, which then stops its servers in order.
        self._guard = subprocess.Popen(  # noqa: S603 - our own command
            [
                sys.executable,
                "-I",
                "-S",
                str(Path(__file__).with_name("guard.py")),
                str(int(last_signal)),
                *([] if kept else [str(parent_dir or tempfile.gettempdir()), prefix]),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        self._take_lines(GUARD_START_TIMEOUT_S)
        if "folder" not in self._state:
            self.close()
            raise EmbeddedError("the process that guards the embedded servers did not start")
        self._temporary = None if kept else Path(self._state["folder"])
        self.folder = kept or Path(self._state["folder"])
        self._state = {"state": "idle"}

    @property
    def pid(self) -> int | None:
        """The process that runs now, for those who look at it; to end it, use :meth:`signal`."""
        self._take_lines(0)
        return self._state.get("pid")

    @property
    def busy(self) -> bool:
        """Whether it has been told to run something that has not ended; a child that only begins has no ``pid`` yet."""
        self._take_lines(0)
        return self._state["state"] in _BUSY

    @property
    def exit_code(self) -> int | None:
        """The code of a child that has ended, negative for a signal; None while one runs."""
        self._take_lines(0)
        return self._state.get("code")

    @property
    def on_last_step(self) -> bool:
        """Whether the server itself is up, and not a step that prepares it."""
        self._take_lines(0)
        return bool(self._state["state"] == "running" and self._state["step"] == self._last_step)

    def launch(
        self, steps: Sequence[Sequence[str]], *, log: Path, cwd: Path, env: Mapping[str, str], user: str | None = None
    ) -> None:
        """Starts the steps, one after the other; returns at once."""
        with self._lock:
            self._state = {"state": "starting"}
            self._last_step = len(steps) - 1
            self._tell(steps=[list(step) for step in steps], log=str(log), cwd=str(cwd), env=dict(env), user=user)

    def signal(self, number: int, *, timeout_s: float) -> bool:
        """Signals the child and waits for its end, and that of all it started; False if it did not come in time."""
        with self._lock:
            self._tell(signal=int(number))
            return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> bool:
        """Waits until the child has ended; False if it has not in that time."""
        deadline = time.monotonic() + timeout_s
        while self._state["state"] in _BUSY:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not self._take_lines(left_s):
                return self._state["state"] not in _BUSY
        return True

    def close(self) -> None:
        """Ends the child, the temporary folder and the guard."""
        if self._guard.stdin:
            with contextlib.suppress(OSError):
                self._guard.stdin.close()
        try:
            self._guard.wait(GUARD_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait(GUARD_END_TIMEOUT_S)
        if self._guard.stdout:
            self._guard.stdout.close()
        if self._temporary:  # the guard has removed it, unless it was killed itself
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _tell(self, **order: Any) -> None:
        if not self._guard.stdin:
            raise EmbeddedError("the process that guards the embedded servers is gone")
        try:
            self._guard.stdin.write(json.dumps(order).encode() + b"\n")
            self._guard.stdin.flush()
        except (OSError, ValueError) as error:
            raise EmbeddedError("the process that guards the embedded servers is gone") from error

    def _take_lines(self, timeout_s: float) -> bool:
        """Takes what the guard has said; False if there was nothing in that time, or will never be again."""
        with self._lock:
            out = self._guard.stdout
            if out is None or out.closed or not select.select([out], [], [], timeout_s)[0]:
                return False
            read = os.read(out.fileno(), READ_MAX_BYTES)
            *lines, self._unread = (self._unread + read).split(b"\n")
            for line in lines:
                self._state = json.loads(line)
            if not read and self._state.get("state") in _BUSY:
                # Whoever killed the guard killed the server too: its last signal comes from the kernel.
                self._state = {"state": "exited", "code": self._guard.wait(GUARD_END_TIMEOUT_S)}
            return bool(read)
