"""What the style tests read: the project's files, as git sees them."""

import ast
import gc
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Module:
    """A Python file of ours, parsed once."""

    name: str
    lines: int
    tree: ast.Module


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def files() -> list[str]:
    """Every file that is, or would be, committed. Without git (an unpacked archive) there is nothing to hold it to."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    return sorted(name for name in answer.stdout.split("\0") if name and (ROOT / name).is_file())


@pytest.fixture(scope="session")
def texts(files: list[str]) -> dict[str, str]:
    """The text of each file; one that is no UTF-8 is no text."""
    found = {}
    for name in files:
        try:
            found[name] = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


@pytest.fixture(scope="session")
def modules() -> list[Module]:
    """Every module under src."""
    found = []
    # A finaliser that parses (one that logs a traceback does) breaks the parsing it interrupts on Python 3.11.
    gc.disable()
    try:
        for path in sorted((ROOT / "src").rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found.append(Module(path.relative_to(ROOT).as_posix(), len(text.splitlines()), ast.parse(text)))
    finally:
        gc.enable()
    return found
