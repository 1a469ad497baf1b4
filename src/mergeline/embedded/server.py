"""What the embedded servers have in common: a folder, a guard, start, kill and stop.

In: where the data lives and whom to tell of slow first times. Out: a server that answers, or an error with the last
lines of its log. Never: a server's own settings; `kafka` and `postgres` say what to run.
"""

from __future__ import annotations

import os
import signal
import time
from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Self

from mergeline.embedded.errors import EmbeddedError
from mergeline.embedded.guarded import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

START_TIMEOUT_S = 90.0
"""A start takes 1 to 5 s; a machine that is ten times busier should still make it."""
START_POLL_S = 0.03
STOP_TIMEOUT_S = 20.0
KILL_TIMEOUT_S = 15.0
LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 8192
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


def quiet(_line: str) -> None:
    """The default listener: says nothing."""


class Startable(ABC):
    """What runs for the length of a block; what could not be started leaves nothing behind."""

    @abstractmethod
    def start(self) -> None:
        """Starts it and waits until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Ends it, or what there is of it."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Server(Startable):
    """One server. ``start`` after ``kill`` brings it back with its port and its data; ``stop`` ends it for good.

    The methods block, for seconds at most once the packages are cached; from a coroutine use ``asyncio.to_thread``.
    """

    name: ClassVar[str]
    last_signal_kept: ClassVar[signal.Signals]
    """The quickest way to end that leaves nothing to recover."""
    last_signal_temporary: ClassVar[signal.Signals]
    """The quickest way to end when the data goes too."""

    def __init__(self, *, data_dir: Path | None = None, notice: Callable[[str], None] = quiet) -> None:
        self.data_dir = data_dir.absolute() if data_dir else None
        self.notice = notice
        self._guarded: Guarded | None = None

    @abstractmethod
    def _steps(self, folder: Path) -> Sequence[Sequence[str]]:
        """What to run, the server last; called before every start."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server answers in its own protocol."""

    @abstractmethod
    def _fetch(self) -> None:
        """Brings what the server needs onto this machine; called before every start."""

    def _user(self) -> str | None:
        return None

    @property
    def folder(self) -> Path:
        """Where its data, settings and log are."""
        folder = self.data_dir or (self._guarded and self._guarded.folder)
        if not folder:
            raise EmbeddedError(f"{self.name} has not been started")
        return folder

    @property
    def log(self) -> Path:
        """What the server writes, over all its starts."""
        return self.folder / f"{self.name.lower()}.log"

    @property
    def pid(self) -> int | None:
        """The server's process; None while it does not run."""
        return self._guarded.pid if self._guarded else None

    def start(self) -> None:
        """Starts the server and waits until it answers. Does nothing to one that runs."""
        self.begin()
        self.wait_ready()

    def begin(self) -> None:
        """The half of ``start`` that does not wait."""
        if self._guarded and self._guarded.busy:
            return
        self._fetch()
        try:
            self._guarded = self._guarded or self._guard()
            steps = self._steps(self.folder)
        except OSError as error:
            place = self.data_dir or "the folder for temporary files"
            raise EmbeddedError(
                f"{self.name} cannot have its files in {place}: {error.strerror or error}. Give another folder"
            ) from error
        # PG* would change what PostgreSQL does. Messages are read in English; Java cannot open every folder in plain C.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C.UTF-8"}
        self._guarded.launch(steps, log=self.log, cwd=self.folder, env=env, user=self._user())

    def _guard(self) -> Guarded:
        if self.data_dir:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        return Guarded(
            last_signal=self.last_signal_kept if self.data_dir else self.last_signal_temporary,
            kept=self.data_dir,
            prefix=f"mergeline-{self.name.lower()}-",
        )

    def wait_ready(self) -> None:
        """The half of ``start`` that waits."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._guarded is None:
                raise EmbeddedError(f"{self.name} was stopped while it started")
            if (code := self._guarded.exit_code) is not None:
                raise EmbeddedError(f"{self.name} ended with {code} while it started\n{self.log_tail()}")
            if self._guarded.on_last_step and self._answers():
                return
            time.sleep(START_POLL_S)
        raise EmbeddedError(f"{self.name} did not answer within {START_TIMEOUT_S:.0f} s\n{self.log_tail()}")

    def kill(self) -> None:
        """Ends it with SIGKILL, as a crash would; data and port stay for the next ``start``."""
        if self._guarded and not self._guarded.signal(signal.SIGKILL, timeout_s=KILL_TIMEOUT_S):
            raise EmbeddedError(f"{self.name} is still there {KILL_TIMEOUT_S:.0f} s after SIGKILL")

    def stop(self) -> None:
        """Ends the server, and removes its folder unless ``data_dir`` was given. Does nothing to a stopped one."""
        guarded, self._guarded = self._guarded, None
        if guarded:
            try:
                if self.data_dir and guarded.pid is not None:
                    guarded.signal(self.last_signal_kept, timeout_s=STOP_TIMEOUT_S)
            finally:
                guarded.close()

    def log_tail(self) -> str:
        """The last lines of the log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except (OSError, EmbeddedError) as error:
            return f"(no log: {error})"
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])
