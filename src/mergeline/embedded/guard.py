"""A small process of its own that owns one server: wherever our Python ends, the server ends, its files too.

In: JSON lines on stdin, ``{"steps": [[argv], ...], "log": path, "cwd": path, "user": name or null, "env": {}}`` to
run the steps one after the other (the last one is the server) and ``{"signal": number}`` for whatever runs.
Out: JSON lines on stdout, ``{"folder": path}`` once, then ``{"state": "running", "step": n, "pid": n}`` and
``{"state": "exited", "step": n, "code": n}``. End of file on stdin ends all: the server gets the last signal, then
SIGKILL; the temporary folder is removed.
Never: a server without its guard, or a guard without its reader; nor an import from outside the standard library,
since it is run by its path, without site-packages, to start in a few hundredths of a second.

Why a process and not ``atexit`` or a parent-death signal alone: ``kill -9`` of our Python runs no ``atexit``, and
Linux sends the parent-death signal when the *thread* ends that started the child, which under
``asyncio.to_thread`` is long before the process does. A pipe closes whichever way its writer dies, and on macOS too.
The guard has one thread, so it can use the parent-death signal for its own child: that covers ``kill -9`` of the
guard, on Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

END_TIMEOUT_S = 10.0
"""How long the server may take over the last signal before it is killed."""
ORPHANS_TIMEOUT_S = 10.0
"""How long processes that a killed server left behind may take to go."""
ORPHANS_POLL_S = 0.02
READ_MAX_BYTES = 65536

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STDIN = 0


class Guard:
    """Runs the steps it is told, one child at a time, and reports what becomes of them."""

    def __init__(self, last_signal: int, parent_dir: str | None, prefix: str | None) -> None:
        self.last_signal = last_signal
        self.folder = tempfile.mkdtemp(prefix=prefix, dir=parent_dir) if prefix else None
        self.libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self.order: dict[str, Any] = {}
        self.steps: list[list[str]] = []
        self.step = 0
        self.child: subprocess.Popen[bytes] | None = None
        self.lifeline: int | None = None
        if self.libc:
            # What a killed server leaves behind becomes our child, so that it can be found and killed.
            self.libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def launch(self) -> None:
        """Starts the next step with a pipe that tells when the last of its descendants is gone."""
        account = pwd.getpwnam(self.order["user"]) if self.order.get("user") else None
        lifeline, inherited = os.pipe()
        try:
            with open(self.order["log"], "ab") as log:  # noqa: PTH123 - pathlib is slow to import
                self.child = subprocess.Popen(  # noqa: S603 - our own commands
                    self.steps[self.step],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.order["cwd"],
                    env=self.order["env"],
                    pass_fds=(inherited,),
                    preexec_fn=self._die_with_guard,  # noqa: PLW1509 - the guard has one thread
                    user=account and account.pw_uid,
                    group=account and account.pw_gid,
                    extra_groups=account and [],
                )
        except OSError as error:
            os.close(lifeline)
            with open(self.order["log"], "a", encoding="utf-8") as log_text:  # noqa: PTH123
                log_text.write(f"{self.steps[self.step][0]}: {error}\n")
            say(state="exited", step=self.step, code=127)
            return
        finally:
            os.close(inherited)
        self.lifeline = lifeline
        say(state="running", step=self.step, pid=self.child.pid)

    def _die_with_guard(self) -> None:
        if self.libc:
            self.libc.prctl(_PR_SET_PDEATHSIG, self.last_signal, 0, 0, 0)

    def reap(self) -> None:
        """Collects who has ended; after the child itself, clears what it left and goes to the next step."""
        ended = False
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if self.child and found[0] == self.child.pid:
                    self.child.returncode = os.waitstatus_to_exitcode(found[1])
                    ended = True
        if not (ended and self.child):
            return
        code = self.child.returncode
        self.child = None
        self.clear_orphans()
        if code == 0 and self.step + 1 < len(self.steps):
            self.step += 1
            self.launch()
        else:
            say(state="exited", step=self.step, code=code)

    def clear_orphans(self) -> None:
        """Kills what the child left (on Linux), and waits until the last holder of its lifeline is gone.

        Elsewhere the wait alone must do: PostgreSQL's own processes notice that their postmaster is dead.
        """
        if self.lifeline is None:
            return
        deadline = time.monotonic() + ORPHANS_TIMEOUT_S
        while time.monotonic() < deadline:
            for pid in orphans():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if select.select([self.lifeline], [], [], ORPHANS_POLL_S)[0]:
                break  # nobody writes to it: readable means closed at the other end, by all
        os.close(self.lifeline)
        self.lifeline = None

    def obey(self, order: dict[str, Any]) -> None:
        """Carries out one line from our Python."""
        if "signal" in order:
            self.steps = self.steps[: self.step + 1]
            self.signal(order["signal"])
        else:
            self.order, self.steps, self.step = order, order["steps"], 0
            self.launch()

    def signal(self, number: int) -> None:
        """Signals the child. Only ``reap`` waits for it, so until then its process id is nobody else's."""
        if self.child:
            os.kill(self.child.pid, number)

    def finish(self) -> None:
        """Ends the child, kindly and then not, and removes the temporary folder."""
        self.steps = []
        for number in (self.last_signal, signal.SIGKILL):
            deadline = time.monotonic() + END_TIMEOUT_S
            self.signal(number)
            while self.child and time.monotonic() < deadline:
                time.sleep(ORPHANS_POLL_S)
                self.reap()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def orphans() -> list[int]:
    """The processes whose parent is this guard, by Linux's own list of them; elsewhere none are known."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as children:  # noqa: PTH123
            return [int(pid) for pid in children.read().split()]
    except OSError:
        return []


def say(**fields: Any) -> None:
    """Writes one line to our Python, which may be gone already."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(fields).encode() + b"\n")


def serve(guard: Guard) -> None:
    """Obeys and reports until stdin ends."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    unread = b""
    while True:
        ready, _, _ = select.select([_STDIN, woken], [], [])
        if woken in ready:
            os.read(woken, READ_MAX_BYTES)
            guard.reap()
        if _STDIN in ready:
            read = os.read(_STDIN, READ_MAX_BYTES)
            if not read:
                return
            *lines, unread = (unread + read).split(b"\n")
            for line in lines:
                guard.obey(json.loads(line))


def main(last_signal: str, parent_dir: str | None = None, prefix: str | None = None) -> None:
    """Guards one server; the arguments are its last signal and, where one is wanted, a place for a folder."""
    # Only the end of our Python ends the guard. Handlers, since what is ignored the server would inherit.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)
    guard = Guard(int(last_signal), parent_dir, prefix)
    try:
        say(folder=guard.folder)
        serve(guard)
    finally:
        guard.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
