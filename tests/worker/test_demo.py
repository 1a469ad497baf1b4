"""`mergeline demo`: the story in 80 columns, ending as told, and nothing left of it however it ends."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from mergeline.cli import demo_story

MARK = "DEMO_UNDER_TEST"
GONE_TIMEOUT_S = 20
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc"),
    pytest.mark.timeout(240),
]


class Demo:
    """A demo that runs; everything it starts carries its mark in the environment."""

    def __init__(self, temporary, *options, **environ):
        self.mark = uuid.uuid4().hex
        self.temporary = temporary
        base = {name: value for name, value in os.environ.items() if not name.startswith("MERGELINE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mergeline", "demo", *options],
            env=base | {"COLUMNS": "80", "TMPDIR": str(temporary), MARK: self.mark} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines = []

    async def until(self, text):
        """Read on until a line holds the text; all lines up to there."""
        while True:
            line = await asyncio.to_thread(self.process.stdout.readline)
            assert line, f"{text!r} never came in:\n" + "".join(self.lines)
            self.lines.append(line)
            if text in line:
                return "".join(self.lines)

    async def end(self):
        """The exit status and everything that was printed."""
        rest = await asyncio.to_thread(self.process.stdout.read)
        status = await asyncio.to_thread(self.process.wait, 60)
        return status, "".join(self.lines) + rest

    def processes(self):
        """Whoever carries the mark."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder.name, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        return found

    async def assert_gone(self):
        for _ in range(GONE_TIMEOUT_S * 10):
            if not self.processes():
                break
            await asyncio.sleep(0.1)
        assert self.processes() == []
        assert list(self.temporary.iterdir()) == []


@pytest.fixture
def open_folder():
    """Makes folders that others may enter, other than pytest's: started by root, PostgreSQL runs as nobody."""
    made = []

    def make():
        made.append(Path(tempfile.mkdtemp(prefix="mergeline-test-")))
        made[-1].chmod(0o755)
        return made[-1]

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def demo(open_folder):
    started = []

    def start(*options, **environ):
        started.append(Demo(open_folder(), *options, **environ))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        one.process.stdout.close()


async def test_the_story_is_told_in_eighty_columns_and_leaves_nothing(demo):
    # Settings of somebody's own services must not matter.
    running = demo(MERGELINE_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", MERGELINE_BATCH_MAX="nonsense")
    status, text = await running.end()
    assert status == 0, text
    lines = text.splitlines()
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []
    assert "\x1b" not in text
    for step in (step for chapter in demo_story.chapters(1) for step in chapter.steps):
        assert step.title in text
    for part in (
        "100737:502 ──▶ 100737:501",
        "wechat oMei-7Qx  moved from 502",
        "REDIRECTED",
        "card issued",
        "IDENTIFIER_TAKEN",
        "(answered before)",
        "kafka_dlt-original-offset: ",
        "every request was decided once",
        "Where to look next",
        "nothing is left running",
    ):
        assert part in text, part
    await running.assert_gone()


async def test_kept_it_serves_a_second_terminal_and_its_folder_can_be_told_again_even_after_a_kill(demo, open_folder):
    folder = open_folder()
    first = demo_story.FIRST_ORG_ID
    for org_id, number in ((first, signal.SIGINT), (first + 1, signal.SIGKILL)):
        running = demo("--keep", "--data-dir", str(folder))
        text = await running.until("The worker's log:")
        environ = os.environ | dict(re.findall(r"^export (\w+)=(.*)$", text, re.MULTILINE))
        (line,) = re.findall(r"^echo '(.*)' \|", text, re.MULTILINE)
        assert json.loads(line)["orgId"] == org_id
        outcome = json.loads(await command(environ, "send", "--json", "--wait", "-", given=line))
        assert outcome["status"] == "applied"
        shown = json.loads(await command(environ, "show", "customer", str(org_id), "501", "--json"))
        assert {"type": "line", "value": "mei.lin", "source": "INSTORE", "accountId": None} in shown["identifiers"]
        running.process.send_signal(number)
        status, text = await running.end()
        assert status == (0 if number == signal.SIGINT else -signal.SIGKILL), text
        await running.assert_gone()
    assert (folder / "worker.log").exists()


@pytest.mark.parametrize(
    ("moment", "number"), [("Starting Kafka", signal.SIGINT), ("What they ask for", signal.SIGTERM)]
)
async def test_it_can_be_stopped_at_any_time(demo, moment, number):
    running = demo()
    await running.until(moment)
    running.process.send_signal(number)
    status, text = await running.end()
    assert status == 130
    assert "Traceback" not in text
    await running.assert_gone()


async def command(environ, *arguments, given=None):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mergeline", *arguments),
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(given and given.encode()), 60)
    assert process.returncode == 0, err.decode()
    return out
