"""The named statements of the bench's SQL files.

In: a file beside this module. Out: text by name. Never: a statement put together from parts.
"""

import re
from importlib.resources import files
from typing import Final

_NAMED: Final = re.compile(r"^-- name: (\w+)$(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


def statements_of(file: str) -> dict[str, str]:
    """The statements of a file, without what ends them."""
    text = files("mergeline.bench").joinpath(file).read_text(encoding="utf-8")
    return {name: statement.strip().removesuffix(";") for name, statement in _NAMED.findall(text)}
