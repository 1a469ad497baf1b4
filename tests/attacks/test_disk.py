"""The database's disk is full, really (a small file system of its own): workers say so, wait, and go on."""

import asyncio
import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import asyncpg
import pytest
from tests.attacks.attacked import attacked_world
from tests.attacks.workload import Workload
from tests.services import databases

from mergeline import embedded
from mergeline.embedded.errors import EmbeddedError
from mergeline.store.migrations import migrate

PARTITIONS, WORKERS = 3, 2
DISK_BYTES = 256 << 20
MESSAGES, FULL_FOR_S = 600, 4.0
SMALL = {"min_wal_size": "32MB", "max_wal_size": "48MB"}


@pytest.fixture
def disk():
    """A small file system; where none may be mounted, nothing is shown."""
    folder = Path(tempfile.mkdtemp(prefix="mergeline-disk-"))
    folder.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        shutil.rmtree(folder)
        pytest.skip("no file system can be mounted here: NOTHING WAS SHOWN about a full disk (it needs root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def fill(disk):
    """Leave no byte."""
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(1 << 20))


@pytest.fixture(params=["tables", "everything"])
async def postgres_on_it(request, disk):
    """PostgreSQL with the tables, or with all it has, on the small disk; the address of a database there."""
    is_all = request.param == "everything"
    server = embedded.Postgres(data_dir=disk / "postgres" if is_all else None, durable=False, settings=SMALL)
    await asyncio.to_thread(server.start)
    connection = await asyncpg.connect(server.database_url)
    where = ""
    if not is_all:
        folder = disk / "tables"
        folder.mkdir()
        if user := server._user():
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        await connection.execute(f"create tablespace small location '{folder}'")
        where = " tablespace small"
    name = databases.new_name("disk")
    await connection.execute(f"create database {name}{where}")
    await connection.close()
    url = databases.url_of(server.database_url, name)
    await migrate(url)
    yield server, url
    await asyncio.to_thread(server.stop)


@pytest.mark.timeout(400)
async def test_nothing_is_lost_while_there_is_no_room_and_all_is_answered_after(
    postgres_on_it, disk, bootstrap_servers, topic_prefix, tmp_path, seed
):
    server, url = postgres_on_it
    messages = Workload(seed)
    async with attacked_world(bootstrap_servers, url, topic_prefix, tmp_path, PARTITIONS) as world:
        workers = [world.worker() for _ in range(WORKERS)]
        await world.send(messages.take(MESSAGES))
        await world.drained()

        fill(disk)
        await world.send(messages.take(MESSAGES))
        await world.until(lambda: any(says_what_is_wrong(worker) for worker in workers), "a line that says it")
        await asyncio.sleep(FULL_FOR_S)
        assert os.statvfs(disk).f_bavail == 0
        assert world.answers() < 2 * MESSAGES

        (disk / "ballast").unlink()
        with contextlib.suppress(EmbeddedError):
            await asyncio.to_thread(server.wait_ready)
        await asyncio.to_thread(server.start)  # as its supervisor does, where it could not write its log and gave up
        await world.send(messages.take(MESSAGES))
        defects = await world.audit()
        assert defects.lines() == []
        assert all(worker.running for worker in workers)


def says_what_is_wrong(worker):
    """53100: disk full. A server that cannot write its log ends its connections."""
    failures = [event["failure"] for event in worker.events("batch.again")]
    return any("53100" in failure or "Connection" in failure or "57P0" in failure for failure in failures)
