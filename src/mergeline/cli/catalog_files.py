"""Catalog files: YAML or JSON to valid catalogs.

In: files. Out: a `Catalog` a file; or what is wrong, each with file, place and reason. Never: YAML's surprises. Words
like `NO` and `on`, dates, and numbers with leading zeros are texts here, as they are in what people mean; a key that
stands twice is an error; aliases and tags are none of ours.
"""

import codecs
import re
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mergeline.domain.catalog import Catalog
from mergeline.domain.json_text import Malformed, TooDeep, parse

FILE_MAX_BYTES: Final = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a file; `path` is empty where it is about the file as a whole."""

    file: str
    path: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.path, self.reason) if part)


def read_catalogs(paths: Sequence[Path]) -> tuple[list[Catalog], list[Problem]]:
    """The catalogs of all files, and all that is wrong with them."""
    catalogs: list[Catalog] = []
    problems: list[Problem] = []
    by_org: dict[int, Path] = {}
    for path in paths:
        try:
            catalog = Catalog.model_validate(_parse(path))
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            problems += [Problem(str(path), _place(one["loc"]), _reason(one)) for one in details]
            continue
        except _Unreadable as error:
            problems.append(Problem(str(path), "", str(error)))
            continue
        first = by_org.setdefault(catalog.org_id, path)
        if first is not path:
            problems.append(Problem(str(path), "orgId", f"the catalog of this org is in {first} too"))
        catalogs.append(catalog)
    return catalogs, problems


def as_yaml(catalog: Catalog) -> str:
    """A catalog as a file that can be applied; what is left to its default is left out."""
    document = catalog.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return str(yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100))


class _Unreadable(Exception):
    """The file is no single YAML document."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's few plain types, and every key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in seen:
                problem = "a key that stands twice" if isinstance(key, Hashable) else "a key that is not a text"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not taken here", mark)
        event = self.peek_event()  # type: ignore[no-untyped-call]
        # PyYAML trusts a tag: a text that is said to be a time or a truth value, and is none, breaks its constructors.
        if getattr(event, "tag", None) is not None:
            problem = "tags are not taken here; a text can be put in quotes"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads: a text that could be read as something else is quoted."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), list("-0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])


def _value(text: bytes) -> Any:
    """What a file says. PyYAML does not take all JSON: not tabs, escaped emoji, or long escaped texts."""
    if text.lstrip().startswith(b"{"):
        with suppress(Malformed, TooDeep):  # YAML's braces may hold what is no JSON, and its complaints name a line
            return parse(text)
    return yaml.load(text.decode("utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader


def _parse(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            text = stream.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise _Unreadable(f"cannot be read: {error.strerror}") from None
    if len(text) > FILE_MAX_BYTES:
        raise _Unreadable(f"over {FILE_MAX_BYTES} bytes")
    try:
        return _value(text.removeprefix(codecs.BOM_UTF8))
    except UnicodeDecodeError as error:
        raise _Unreadable(f"not UTF-8 at byte {error.start}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _Unreadable(f"{place}{error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _Unreadable(f"not YAML: {type(error).__name__}") from None


_RULES: Final = {
    "string_type": "not a text; put it in quotes",
    "extra_forbidden": "no such field",
    "missing": "missing",
    "int_type": "not a whole number",
    "bool_type": "neither true nor false",
    "model_type": "not a mapping of fields",
    "dict_type": "not a mapping",
    "list_type": "not a list",
}


def _reason(error: ErrorDetails) -> str:
    reason = _RULES.get(error["type"], error["msg"])
    return reason[:1].lower() + reason[1:]


def _place(location: Sequence[str | int]) -> str:
    """`series[2].code`, as people write it."""
    parts = [part for part in location if part != "[key]"]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")
