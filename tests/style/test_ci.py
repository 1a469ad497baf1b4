"""`.ci/run` by itself, in a project of nothing but it: its docker, its engine and its lanes are stand-ins that say how
they were called.
"""

import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

END_TIMEOUT_S = 20
DOCKER = """#!/usr/bin/env bash
echo "docker $*" >>"$CALLS"
case $* in
  version) [[ -e $ENGINE ]] || { touch "$ENGINE"; exit 1; } ;;  # does not answer the first time
  "ps --all --quiet") echo somebodys ;;
  *" up "*)
    [[ -z ${UP_HANGS:-} ]] || { echo $$ >running.new && mv running.new running && exec sleep 60; }
    exit "${UP_STATUS:-0}" ;;
  "compose run"*) exit "${RUN_STATUS:-0}" ;;
esac
"""
LOCAL_IMAGES = """#!/usr/bin/env bash
echo "local-images $*" >>"$CALLS"
[[ $* != engine || -z ${STARTS:-} ]] || { echo "dockerd runs (pid 1)" >&2; touch "$ENGINE"; }
"""
PYTHON = """#!/usr/bin/env bash
echo 1 2 3
"""
MAKEFILE = """demo:
\t@echo $$$$ >running.new && mv running.new running && exec sleep 60
"""
EMPTIED = "docker rm --force --volumes somebodys"
STOPPED = "local-images stop"
DOWN = "docker compose --progress quiet down --volumes --timeout 15"


class Ci:
    """The script in a folder of its own."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.project = folder / "project"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.running = self.project / "running"
        self._folder, self._calls = folder, folder / "calls"
        self._calls.touch()
        (self.project / ".ci").mkdir(parents=True)
        shutil.copy(root / ".ci/run", self.project / ".ci/run")
        (self.project / "Makefile").write_text(MAKEFILE)
        self.program("bin/docker", DOCKER)
        self.program("project/.venv/bin/python", PYTHON)

    def program(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def environment(self, **own: str) -> dict[str, str]:
        path = f"{self._folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        folders = {"CALLS": str(self._calls), "ENGINE": str(self._folder / "engine"), "TMPDIR": str(self.temporary)}
        return os.environ | folders | {"PATH": path} | own

    def run(self, *lanes: str, **own: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", ".ci/run", *lanes]
        return subprocess.run(
            command,
            cwd=self.project,
            env=self.environment(**own),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines()


@pytest.fixture
def ci(root: Path, tmp_path: Path) -> Iterator[Ci]:
    made = Ci(root, tmp_path)
    yield made
    assert list(made.temporary.iterdir()) == []


def test_a_lane_that_there_is_not_is_refused(ci: Ci) -> None:
    ended = ci.run("image", "chekcs")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("there is no lane 'chekcs', only: test demo checks ")
    assert ci.calls == []


def test_nothing_but_skipped_lanes_is_no_success(ci: Ci) -> None:
    ended = ci.run("image")
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (75, "0 passed, 0 failed, 1 skipped")


def test_an_engine_that_was_slow_to_answer_is_somebody_else_s(ci: Ci) -> None:
    ci.program("shared/tools/local-images", LOCAL_IMAGES)
    assert ci.run("image").stdout.splitlines()[-1] == "1 passed, 0 failed, 0 skipped"
    assert not {EMPTIED, STOPPED} & set(ci.calls)


def test_an_engine_that_was_started_here_is_emptied_and_stopped(ci: Ci) -> None:
    ci.program("shared/tools/local-images", LOCAL_IMAGES)
    assert ci.run("image", STARTS="yes").returncode == 0
    assert ci.calls[-2:] == [EMPTIED, STOPPED]


def test_compose_starts_the_image_of_this_source(ci: Ci) -> None:
    ci.run("image")  # the engine answers from now on
    ended = ci.run("compose", UP_STATUS="1")
    assert ended.returncode == 1
    began, *_ = [number for number, call in enumerate(ci.calls) if " up " in call]
    assert ci.calls[began - 1] == "docker build --quiet -f deploy/Dockerfile -t mergeline ."
    assert DOWN in ci.calls[began:]


def test_a_command_that_fails_leaves_no_folder(ci: Ci) -> None:
    ci.run("image")
    assert ci.run("compose", RUN_STATUS="1").returncode == 1
    first = next(call for call in ci.calls if call.startswith("docker compose run"))
    assert first.endswith("catalog apply catalog.yaml")


@pytest.mark.parametrize("lane", ["demo", "compose"])
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_a_lane_ends_when_it_is_told_to(ci: Ci, how: str, lane: str) -> None:
    ci.run("image")
    terminal, end = pty.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", "bash", ".ci/run", lane],
        cwd=ci.project, env=ci.environment(UP_HANGS="yes"), stdin=end, stdout=end, stderr=end,
    ) as script:  # fmt: skip
        os.close(end)
        deadline = time.monotonic() + END_TIMEOUT_S
        while not ci.running.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.write(terminal, b"\x03") if how == "Ctrl-C" else script.send_signal(signal.SIGTERM)
        assert script.wait(END_TIMEOUT_S) == {"Ctrl-C": 130, "SIGTERM": 143}[how]
    os.close(terminal)
    with pytest.raises(ProcessLookupError):
        os.kill(int(ci.running.read_text()), 0)
    assert (ci.calls[-1] == DOWN) == (lane == "compose")
