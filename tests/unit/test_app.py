"""A worker that fails where nobody thought of it says so in one line of its log, and exits with a status of its own."""

import json
import subprocess
import sys

FAILING = """
import mergeline.app
from mergeline.settings import Settings

async def prepared(settings):
    raise ConnectionResetError("a value of somebody's request")

mergeline.app._prepared = prepared
mergeline.app.run_worker(Settings.load({"MERGELINE_LOG_FORMAT": "json"}))
"""


def test_an_error_while_it_starts_is_one_line_without_its_text():
    ended = subprocess.run([sys.executable, "-c", FAILING], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (70, "")
    (line,) = ended.stderr.splitlines()
    said = json.loads(line)
    assert (said["event"], said["error"]) == ("worker.failed", "ConnectionResetError")
    assert "somebody" not in line
