"""Java with Kafka's jars, and an archive of their classes.

In: Java, the jars, and the class list that the first start writes. Out: the beginning of a command line; a file in the
cache. Never: a start that waits for an archive to be made.

With the archive Java need not read and check Kafka's 12,000 classes again at every start: measured on two cores,
formatting and start take 2.4 s with it and 4.4 s without. To make it takes 10 s, once: next to the running broker, at
the lowest priority, and given up when the broker stops first.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
from typing import TYPE_CHECKING

from mergeline.embedded.guarded import Guarded
from mergeline.embedded.packages import KAFKA_VERSION, cache_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ARCHIVES_KEPT_MAX = 3
"""An archive has 66 MB and fits one installation of Java only; every virtual environment has its own."""


# Quick to start, and enough for a demo: no second compiler, no collector threads.
_COMPILER = "-XX:TieredStopAtLevel=1"
_COLLECTOR = "-XX:+UseSerialGC"
# Java that is killed leaves its performance file in the folder for temporary files, which is everybody's.
_NO_TRACE = "-XX:-UsePerfData"


class Jvm:
    """One Java with one class path."""

    def __init__(self, java: Path, jars: Sequence[Path]) -> None:
        self._java = java
        self._class_path = os.pathsep.join(map(str, jars))
        key = f"{java}\n{java.stat().st_mtime_ns}\n{_COLLECTOR}\n{self._class_path}"
        self._archive = cache_dir() / f"kafka-{KAFKA_VERSION}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.jsa"

    def command(self, class_list: Path) -> list[str]:
        """What stands before the class to run; it uses the archive or, without one, lists what one should hold."""
        # Java goes on without an archive that does not fit.
        archived = self._archive.exists()
        archive = f"-XX:SharedArchiveFile={self._archive}" if archived else f"-XX:DumpLoadedClassList={class_list}"
        return [str(self._java), _COMPILER, _COLLECTOR, _NO_TRACE, archive, "-cp", self._class_path]

    def make_archive(self, class_list: Path) -> Guarded | None:
        """Begins to make the archive, unless it is there, or cannot be; returns at once, with what to close."""
        if self._archive.exists() or not class_list.exists() or not os.access(self._archive.parent, os.W_OK):
            return None
        for old in sorted(self._archive.parent.glob("kafka-*.jsa"), key=_age)[ARCHIVES_KEPT_MAX - 1 :]:
            old.unlink(missing_ok=True)
        maker = Guarded(last_signal=signal.SIGKILL, prefix="archive-", parent_dir=self._archive.parent)
        # The broker is still writing: leave out the line it is at.
        listed = class_list.read_bytes()
        classes, made = maker.folder / "classes", maker.folder / "made"
        classes.write_bytes(listed[: listed.rfind(b"\n") + 1])
        dump = [str(self._java), "-Xshare:dump", _COLLECTOR, _NO_TRACE, f"-XX:SharedClassListFile={classes}"]
        maker.launch(
            [
                ["nice", "-n", "19", *dump, f"-XX:SharedArchiveFile={made}", "-cp", self._class_path],
                ["mv", str(made), str(self._archive)],  # all of it, or nothing
            ],
            log=maker.folder / "log",
            cwd=maker.folder,
            env=os.environ,
        )
        return maker


def _age(file: Path) -> float:
    try:
        return -file.stat().st_mtime
    except FileNotFoundError:  # another process has removed it since it was listed
        return math.inf
