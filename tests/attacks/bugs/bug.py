"""Bugs as data: read from YAML, and put into a copy of the sources.

In: the files beside this one. A row has a `name`; `why` somebody could make that mistake; `file` (below
`src/mergeline`), its `old` text, which stands there exactly once, and the `new` one (or several of these, as `edits`);
and `caught_by`, the test files (below `tests`) that are expected to notice. Out: `Bug`s. Never: a change of this
checkout.

Whoever changes the line that a bug is made of changes the bug with it: it says what must not become of that line.
"""

from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
SOURCES = Path("src/mergeline")


@dataclass(frozen=True)
class Edit:
    """One text in place of another."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Bug:
    """A change that must be noticed."""

    name: str
    why: str
    edits: tuple[Edit, ...]
    caught_by: tuple[str, ...]

    def changed(self, root):
        """The files of the checkout at `root` as the bug has them, by path; each `old` must stand there once."""
        texts = {}
        for edit in self.edits:
            path = root / SOURCES / edit.file
            text = texts.get(path) or path.read_text(encoding="utf-8")
            if (found := text.count(edit.old)) != 1:
                raise ValueError(f"{self.name}: {edit.file} has this {found} times, not once: {edit.old}")
            texts[path] = text.replace(edit.old, edit.new)
        return texts


def put(texts):
    """Write files; what they were before, by path. Python must not take their old bytecode for them."""
    before = {path: path.read_text(encoding="utf-8") for path in texts}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
        if path.suffix == ".py":
            Path(cache_from_source(path)).unlink(missing_ok=True)
    return before


def _bug(row):
    edits = row.get("edits") or [{part: row[part] for part in ("file", "old", "new")}]
    return Bug(row["name"], row["why"], tuple(Edit(**edit) for edit in edits), tuple(row["caught_by"]))


def bugs():
    """All of them, in the order of the files."""
    return [_bug(row) for file in sorted(FOLDER.glob("*.yaml")) for row in yaml.safe_load(file.read_text())]
