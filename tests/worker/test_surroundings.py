"""What a worker leaves alone: topics, ports, and offsets of what it has not answered."""

import asyncio
import socket
from pathlib import Path

from tests.worker.harness import COMMANDS, CUSTOMERS, EVENTS, OUTPUTS, UPDATES, adding
from tests.worker.load import held_ledger, until_somebody_waits

FAUST_COMMITS_EVERY_S = 2.8
LISTENING = "0A"


async def test_no_topic_is_made_but_the_planned_ones(served):
    await served.register([51])
    async with served.admin() as admin:
        names = {name for name in await admin.list_topics() if served.prefix in name}
    assert names == {served.prefix + name for name in (*OUTPUTS, UPDATES, CUSTOMERS, "card-registrations", COMMANDS)}
    assert len(EVENTS) == 5


async def test_no_port_is_opened_where_none_is_wanted(served):
    """Faust's web server would listen on 0.0.0.0:6066."""
    await served.register([52])
    assert listening(served.workers[0].process.pid) == []


async def test_the_one_port_that_is_wanted_answers(served):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker = served.worker(MERGELINE_HTTP_PORT=str(port), MERGELINE_GROUP_ID=f"{served.prefix}port")
    await served.until(lambda: worker.events("assignment.opened"), "it runs")
    assert listening(worker.process.pid) == [port]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /ready HTTP/1.0\r\n\r\n")
    assert b"200" in await reader.readline()
    writer.close()
    worker.kill()


async def test_what_a_worker_writes_is_empty_folders_in_the_one_for_temporary_files(served, tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir(mode=0o555)
    temporary.mkdir()
    own = {"TMPDIR": str(temporary), "HOME": str(home), "MERGELINE_GROUP_ID": f"{served.prefix}writes"}
    worker = served.worker(**own)
    await served.until(lambda: worker.events("assignment.opened"), "it runs")
    assert [path for path in temporary.rglob("*") if not path.is_dir()] == []
    assert list(home.iterdir()) == []
    worker.kill()


async def test_nobody_commits_what_was_read_but_not_answered(served):
    await served.register([53])
    await served.drained()
    before = await served.committed()
    async with held_ledger(served):
        await served.produce(UPDATES, [adding(53, "held")])
        await until_somebody_waits(served)
        await asyncio.sleep(FAUST_COMMITS_EVERY_S)
        meanwhile = await served.committed()
    moved = {topic for (topic, number), offset in meanwhile.items() if offset != before.get((topic, number))}
    assert moved == {UPDATES}, "routed, and not answered"
    await served.answered(["held"])


def listening(pid):
    """The ports a process listens on."""
    sockets = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = []
    for file in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{file}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENING and f"socket:[{inode}]" in sockets:
                found.append(int(local.rpartition(":")[2], 16))
    return sorted(found)
