"""Statements by name: those of `queries.sql`, and of files like it.

In: a file of a package. Out: `SQL`, text by name. Never: a value in a statement's text.
"""

import re
from importlib.resources import files
from typing import Final

_NAMED: Final = re.compile(r"^-- name: (\w+)$(.*?)(?=^-- (?:name: |-{20})|\Z)", re.MULTILINE | re.DOTALL)


def load(package: str, file: str) -> dict[str, str]:
    """The statements of a file, without what ends them."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    return {name: statement.strip().removesuffix(";") for name, statement in _NAMED.findall(text)}


SQL: Final = load("mergeline.store", "queries.sql")
