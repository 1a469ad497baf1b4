"""What processes used, by the kernel's own count.

In: process ids. Out: seconds of CPU, bytes of memory. Never: a process that is not one of the run.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PROCESSORS: Final = os.cpu_count() or 1
_IDLE: Final = (3, 4)
"""Idle and waiting for the disk, in the first line of `/proc/stat`."""
_GUESTS: Final = 8
"""The fields from here on are part of others already."""
_AFTER_NAME: Final = 2
"""Fields of `stat` are counted from 1; the first two end with the name in parentheses."""
_UTIME, _CSTIME = 14, 17


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of processes and all their children, those included that have ended."""
    return sum(_family_s(pid) for pid in pids)


def _family_s(pid: int) -> float:
    try:
        fields = _stat(pid)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 0.0
    return sum(int(field) for field in fields[_UTIME : _CSTIME + 1]) / TICKS_PER_S + cpu_s(map(int, children))


def machine_cpu_s() -> float:
    """What all processes of this machine together have used, and what was stolen from it."""
    first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:]
    return sum(int(ticks) for place, ticks in enumerate(first[:_GUESTS]) if place not in _IDLE) / TICKS_PER_S


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` by their numbers in proc(5)."""
    name_and_rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return [""] * (_AFTER_NAME + 1) + name_and_rest.rpartition(")")[2].split()


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process has held at once."""
    return _status_kib(pid, "VmHWM") * 1024


def _status_kib(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def folder_bytes(folder: Path, pattern: str) -> int:
    """What the files of some folders hold, as far as it is written."""
    return sum(file.stat().st_size for file in folder.glob(pattern))
