"""The named statements of `queries.sql`.

In: the file beside this module. Out: `SQL`, text by name. Never: a statement put together from parts.
"""

import re
from importlib.resources import files
from typing import Final

_NAMED: Final = re.compile(r"^-- name: (\w+)$(.*?)(?=^-- (?:name: |-{20})|\Z)", re.MULTILINE | re.DOTALL)


def _load() -> dict[str, str]:
    text = files("mergeline.store").joinpath("queries.sql").read_text(encoding="utf-8")
    return {name: statement.strip().removesuffix(";") for name, statement in _NAMED.findall(text)}


SQL: Final = _load()
