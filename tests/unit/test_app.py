"""A worker that fails where nobody thought of it says so in one line of its log, and exits with a status of its own;
a start waits for servers that come up late, and for none that says nothing.
"""

import asyncio
import json
import subprocess
import sys
import time

import pytest
from structlog.testing import capture_logs

from mergeline import app
from mergeline.errors import SetupError

FAILING = """
import asyncio
from types import SimpleNamespace
import mergeline.app
from mergeline.settings import Settings

async def fails(settings):
    raise ConnectionResetError("a value of somebody's request")

async def prepared(settings):
    return SimpleNamespace(pool=SimpleNamespace(close=None))

mergeline.app._prepared = PREPARED
mergeline.app.keep_days = lambda store: asyncio.sleep(60)
given = {"LOG_FORMAT": "json", "LOG_LEVEL": "WARNING", "HTTP_PORT": "0", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
settings = Settings.load({f"MERGELINE_{name}": text for name, text in given.items()})
raise SystemExit(mergeline.app.run_worker(settings))
"""


@pytest.mark.parametrize(
    ("prepared", "kind"),
    [
        pytest.param("fails", "ConnectionResetError", id="before it joins: a database that dies under the first look"),
        pytest.param("prepared", "KafkaConnectionError", id="as it joins: a broker that dies after the first look"),
    ],
)
def test_an_error_while_it_starts_is_one_line_without_its_text(prepared, kind):
    command = [sys.executable, "-c", FAILING.replace("PREPARED", prepared)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (70, ""), ended.stderr
    *_, last = [json.loads(line) for line in ended.stderr.splitlines()]
    assert (last["event"], last["error"]) == ("worker.failed", kind)
    assert "somebody" not in ended.stderr


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(app, "ATTEMPT_S_MIN", 0.2)
    monkeypatch.setattr(app, "TASKS_END_WITHIN_S", 0.2)
    monkeypatch.setattr(app, "START_RETRY_S", 0.01)


async def waits_for_ever():
    await asyncio.Event().wait()


async def hears_nothing():
    for _ in range(5):
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            continue


async def fails_as_it_ends():
    try:
        await waits_for_ever()
    finally:
        raise OSError("the connection is closed")


@pytest.mark.parametrize("attempt", [waits_for_ever, hears_nothing, fails_as_it_ends])
@pytest.mark.parametrize("left_s", [0.3, -1.0], ids=["begun in time", "begun late"])
async def test_an_attempt_that_does_not_end_is_given_up(soon, attempt, left_s):
    began = time.monotonic()
    with pytest.raises(SetupError, match="no answer"):
        await app._patiently(attempt, began + left_s, "no answer")
    assert 0.2 <= time.monotonic() - began < 0.8


async def test_what_comes_up_late_is_tried_until_it_is_there_and_the_last_complaint_is_the_one_that_is_said(soon):
    attempts = []

    async def attempt():
        attempts.append(None)
        if len(attempts) < 3:
            raise SetupError(f"complaint {len(attempts)}")
        return "there"

    assert await app._patiently(attempt, time.monotonic() + 5, "no answer") == "there"
    attempts.clear()
    with pytest.raises(SetupError, match="complaint 1"):
        await app._patiently(attempt, time.monotonic() - 1, "no answer")


async def test_what_is_waited_for_is_logged_once_and_again_when_it_is_something_else(soon):
    complaints = iter(["no Kafka", "no Kafka", "no Kafka", "no topics", "no topics", "no Kafka"])

    async def attempt():
        for complaint in complaints:
            raise SetupError(complaint)

    with capture_logs() as logged:
        await app._patiently(attempt, time.monotonic() + 5, "no answer")
    assert [entry["problem"] for entry in logged] == ["no Kafka", "no topics", "no Kafka"]
