"""A real PostgreSQL.

In: a folder or none. Out: ``database_url``. Never: an open door. It listens on the loopback address only, asks for a
password that is made for its folder (its superuser can run programs, and a machine may have other users), and when
root starts it, it runs as ``nobody``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import stat
from typing import TYPE_CHECKING, ClassVar

from mergeline.embedded import packages
from mergeline.embedded.errors import EmbeddedError
from mergeline.embedded.ports import HOST, free_ports, postgres_answers
from mergeline.embedded.server import NO_SETTINGS, Server, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MAX_CONNECTIONS = 200
MAX_LOCKS_PER_TRANSACTION = 256
PASSWORD_BYTES = 16

_UNPRIVILEGED = "nobody"
_SHARED_MEMORY_LINE = 6  # of postmaster.pid: key and number of the segment
_IPC_RMID = 0
_OWNER_TO_OTHERS = 6  # bits, in a file's mode
_SUPERUSER = "postgres"


class Postgres(Server):
    """One PostgreSQL server."""

    name: ClassVar[str] = "PostgreSQL"
    last_signal_kept: ClassVar[signal.Signals] = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
    last_signal_temporary: ClassVar[signal.Signals] = signal.SIGQUIT  # "immediate"; SIGKILL would leave shared memory

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        notice: Callable[[str], None] = quiet,
        durable: bool | None = None,
        settings: Mapping[str, str] = NO_SETTINGS,
    ) -> None:
        """`durable`: as a server that has to survive a power cut; None: where the data is kept. `settings` win."""
        super().__init__(data_dir=data_dir, notice=notice)
        self._durable = bool(data_dir) if durable is None else durable
        self._own_settings = dict(settings)
        (self._port,) = free_ports(1)

    @property
    def database_url(self) -> str:
        """The superuser's way into the database ``postgres``; the same after ``kill`` and ``start``."""
        password = self._password_file.read_text(encoding="ascii").strip()
        return f"postgresql://{_SUPERUSER}:{password}@{HOST}:{self._port}/postgres"

    def kill(self) -> None:
        """Ends it with SIGKILL, as a crash would; data and port stay for the next ``start``."""
        super().kill()
        # The next start would remove it, but there may be none. By now nobody uses it: the guard has seen them all end.
        with contextlib.suppress(OSError, LookupError, ValueError):
            lines = (self.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            ctypes.CDLL(None).shmctl(int(lines[_SHARED_MEMORY_LINE].split()[1]), _IPC_RMID, None)

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    def _fetch(self) -> None:
        self._home = packages.postgres_home()

    def _user(self) -> str | None:
        return _UNPRIVILEGED if os.geteuid() == 0 else None

    def _steps(self, folder: Path) -> list[list[str]]:
        data = folder / "data"
        home = self._reachable_home(folder)
        steps = []
        if not (data / "PG_VERSION").exists():
            shutil.rmtree(data, ignore_errors=True)
            data.mkdir(mode=0o700)
            self._write_password()
            initdb = [str(home / "bin" / "initdb"), "-D", str(data), "-U", _SUPERUSER, "--no-locale", "--encoding=UTF8"]
            # The password is long and random: thousands of rounds would only slow every connection down.
            auth = ["--auth=scram-sha-256", f"--pwfile={self._password_file}", "--set=scram_iterations=1"]
            steps.append([*initdb, *auth, "--no-sync", "--no-instructions"])
        if user := self._user():
            account = pwd.getpwnam(user)
            for path in (data, self._password_file):
                os.chown(path, account.pw_uid, account.pw_gid)
        settings = [word for name, value in self._settings().items() for word in ("-c", f"{name}={value}")]
        return [*steps, [str(home / "bin" / "postgres"), "-D", str(data), *settings]]

    def _settings(self) -> dict[str, str]:
        # What goes with its process needs no protection from a power cut; what is kept does.
        durable = "on" if self._durable else "off"
        settings = {
            "listen_addresses": HOST,
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "max_locks_per_transaction": str(MAX_LOCKS_PER_TRANSACTION),
            "dynamic_shared_memory_type": "mmap",  # in the folder, so that it goes with it after SIGKILL too
            "fsync": durable,
            "full_page_writes": durable,
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        return settings | self._own_settings

    def _write_password(self) -> None:
        self._password_file.unlink(missing_ok=True)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_hex(PASSWORD_BYTES), encoding="ascii")

    def _reachable_home(self, folder: Path) -> Path:
        """The programs; a copy of them where root's own folders keep the unprivileged user out."""
        home = self._home
        if not self._user():
            return home
        folder.chmod(folder.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
        if not _open_to_all(folder):
            raise EmbeddedError(
                f"started by root, PostgreSQL runs as the user {_UNPRIVILEGED}, who may not enter {folder}: "
                "give another folder, or another user than root"
            )
        if _open_to_all(home):
            return home
        programs = folder / "programs"
        if not programs.exists():
            _copy_programs(home, programs)
        return programs / home.parent.name / home.name

    def _answers(self) -> bool:
        return postgres_answers(self._port)


def _copy_programs(home: Path, programs: Path) -> None:
    """All of them at once, or none: a folder that is kept must not keep half a copy. What root may use, all may."""
    partial = programs.with_name(f"{programs.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    libraries = f"{home.parent.name}.libs"  # next to the package, found from there by a relative path
    shutil.copytree(home.parent.parent / libraries, partial / libraries)
    shutil.copytree(home, partial / home.parent.name / home.name, ignore=shutil.ignore_patterns("include"))
    for place in (partial, *partial.rglob("*")):
        mode = place.stat().st_mode
        place.chmod(mode | (mode & (stat.S_IRUSR | stat.S_IXUSR)) >> _OWNER_TO_OTHERS)
    partial.rename(programs)


def _open_to_all(path: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))
