"""What lies in the repository: a small top level, nothing left open, nothing of the machine it was written on."""

import re
from pathlib import Path

TOP_FILES = {"LICENSE", "Makefile", "README.md", "docker-compose.yml", "pyproject.toml"}
TOP_FOLDERS = {"deploy", "schemas", "src", "tests"}
# Put together, so that this file does not name what it looks for.
LEFT_OPEN = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
REGISTRIES = re.compile(
    r"\bpypi\.org|\bpythonhosted\.org|\bnpmjs\.(?:org|com)|\bmaven\.(?:org|apache\.org)|\bcrates\.io|\bgolang\.org/|\bdebian\.org"
)
HOMES = re.compile(r"(?<![\w.$}])/(?:root|home|Users)/")


def lines_with(pattern: re.Pattern[str], texts: dict[str, str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_the_top_level_holds_what_the_readme_shows(files: list[str]) -> None:
    top = {name.split("/")[0] for name in files}
    assert {name for name in top if not name.startswith(".")} - TOP_FILES - TOP_FOLDERS == set()


def test_nothing_is_left_open(texts: dict[str, str]) -> None:
    assert lines_with(LEFT_OPEN, texts) == []


def test_packages_are_named_by_name_version_and_hash_never_by_a_registry(texts: dict[str, str]) -> None:
    assert lines_with(REGISTRIES, texts) == []


def test_no_path_of_somebodys_machine(texts: dict[str, str]) -> None:
    assert lines_with(HOMES, texts) == []


def test_text_ends_with_a_newline_and_has_no_carriage_returns(texts: dict[str, str], root: Path) -> None:
    # The examples of schemas/ are messages, byte for byte: those may look any way.
    ours = {name: text for name, text in texts.items() if text and not name.startswith("schemas/examples/")}
    assert [name for name, text in ours.items() if not text.endswith("\n") or "\r" in text] == []
