"""A worker that fails where nobody thought of it says so in one line of its log, and exits with a status of its own."""

import json
import subprocess
import sys

import pytest

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
