"""Schemas and code say the same of a request: every example, and documents that are made up from the schemas."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from mergeline.domain.catalog import Catalog
from mergeline.domain.commands import Request
from mergeline.domain.decode import BYTES_MAX, decode
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message
from mergeline.domain.requests import (
    CardRegistration,
    CustomerRegistration,
    Identifier,
    IdentifierUpdate,
    Item,
    Strict,
)

ROOT = Path(__file__).parents[2] / "schemas"
NAMES = {
    "identifier-updates": "identifier-update",
    "customer-registrations": "customer-registration",
    "card-registrations": "card-registration",
}
SCHEMAS = {topic: json.loads((ROOT / f"requests/{name}.schema.json").read_bytes()) for topic, name in NAMES.items()}
MADE_UP = settings(
    max_examples=25,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def ask(topic: str, body: bytes | None) -> Request | DeadLetterReason:
    return decode(Message(Coordinate(topic, 3, 1207), Coordinate("commands-by-customer", 0, 1), 0, None, body))


def code_of(answer: Request | DeadLetterReason) -> str | None:
    return answer.code.value if isinstance(answer, DeadLetterReason) else None


def index(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "index.json").read_bytes())


# ---------------------------------------------------------------- every example


CONTENT = re.compile(r"example\.com|M.?ller|TS11|C1\b|E1|a b|anfrage|564767826|brand-a")
"""Words of the examples that no reason may repeat: it stands in logs and in a header."""


def malformed(topic: str) -> Iterator[tuple[str, bytes, str]]:
    """Name, bytes and code of every example that is malformed."""
    folder = ROOT / "examples" / NAMES[topic] / "invalid"
    for entry in index(folder):
        code = "TOO_LARGE" if entry["keyword"] == "maxItems" else "INVALID_REQUEST"
        yield f"invalid/{entry['file']}", (folder / entry["file"]).read_bytes(), code
    folder = ROOT / "examples" / topic / "malformed"
    for entry in index(folder):
        if "file" in entry:
            yield f"malformed/{entry['file']}", (folder / entry["file"]).read_bytes(), entry["code"]
        else:
            body = "".join(piece * times for piece, times in entry["repeat"]).encode()
            yield f"malformed: {entry['why']}", body, entry["code"]


@pytest.mark.parametrize("topic", NAMES)
def test_valid_examples_are_decoded(topic: str) -> None:
    bodies = {path.stem: path.read_bytes() for path in (ROOT / "examples" / NAMES[topic] / "valid").iterdir()}
    answers = {name: ask(topic, body) for name, body in bodies.items()}
    assert {name: answer for name, answer in answers.items() if isinstance(answer, DeadLetterReason)} == {}
    for name, answer in answers.items():
        assert isinstance(answer, Request)
        assert answer.request_id == (json.loads(bodies[name]).get("requestId") or f"{topic}-3-1207")


@pytest.mark.parametrize("topic", NAMES)
def test_malformed_examples_have_the_code_they_are_listed_with_and_a_reason_without_content(topic: str) -> None:
    examples = [*malformed(topic)]
    answers = {name: ask(topic, body) for name, body, _ in examples}
    assert {name: code_of(answer) for name, answer in answers.items()} == {name: code for name, _, code in examples}
    for name, answer in answers.items():
        assert isinstance(answer, DeadLetterReason)
        assert not CONTENT.search(answer.text), name


def test_no_value_is_no_json() -> None:
    assert code_of(ask("identifier-updates", None)) == "MALFORMED_JSON"


def test_limits_are_inclusive() -> None:
    body = (ROOT / "examples/identifier-update/valid/everything.json").read_bytes()
    assert code_of(ask("identifier-updates", body.ljust(BYTES_MAX))) is None
    assert code_of(ask("identifier-updates", body.ljust(BYTES_MAX + 1))) == "TOO_LARGE"


# ---------------------------------------------------------------- documents made up from the schemas


TEXT = st.characters(exclude_categories=["Cc", "Cs"])


STRATEGIES: dict[int, st.SearchStrategy[Any]] = {}


def valid_part(schema: Any, root: Any) -> st.SearchStrategy[Any]:
    """Values of a part of a schema. Each strategy is made once: making them takes longer than drawing from them."""
    if id(schema) not in STRATEGIES:
        STRATEGIES[id(schema)] = made(schema, root)
    return STRATEGIES[id(schema)]


def made(schema: Any, root: Any) -> st.SearchStrategy[Any]:
    """By the keywords that these schemas use, and no others."""
    if "$ref" in schema:
        return valid_part(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "type" not in schema:
        return st.one_of([valid_part(choice, root) for choice in schema["oneOf"]])
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return st.one_of([of_type(kind, schema, root) for kind in kinds])


def of_type(kind: str, schema: Any, root: Any) -> st.SearchStrategy[Any]:
    if kind == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    if kind == "array":
        return st.lists(valid_part(schema["items"], root), max_size=4)
    if kind == "object":
        return valid_object(schema, root)
    if kind == "null":
        return st.none()
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], alphabet=TEXT).map(lambda text: text.removesuffix("\n")[:255])
    return st.text(TEXT, min_size=schema["minLength"], max_size=schema["maxLength"])


@st.composite
def valid_object(draw: st.DrawFn, schema: Any, root: Any) -> Any:
    """Some of the fields; then what `if`, `oneOf`, `anyOf` and `not` want of them together."""
    fields = schema["properties"]
    document = {name: draw(valid_part(field, root)) for name, field in fields.items() if draw(st.booleans())}
    rules, wanted, unwanted = [schema], set(schema["required"]), set()
    if "if" in schema:
        (condition,) = schema["if"]["properties"].items()
        document[condition[0]] = draw(st.sampled_from(condition[1]["enum"]) | valid_part(fields[condition[0]], root))
        rules.append(schema["then" if document[condition[0]] in condition[1]["enum"] else "else"])
    for rule in rules:
        wanted |= set(rule.get("required", ()))
        unwanted |= {name for name, part in rule.get("properties", {}).items() if part == {"type": "null"}}
        unwanted |= set(rule.get("not", {}).get("required", ())[1:])
        for keyword in ("oneOf", "anyOf"):
            choices = [choice["required"][0] for choice in rule.get(keyword, ())]
            chosen = {draw(st.sampled_from(choices))} if choices else set()
            wanted |= chosen
            unwanted |= set(choices) - chosen if keyword == "oneOf" else set()
    for name in sorted(unwanted):
        document.pop(name, None)
    for name in sorted(wanted):
        if document.get(name) in (None, []):
            document[name] = draw(valid_part(fields[name], root).filter(lambda value: value not in (None, [])))
    return document


def documents(topic: str) -> st.SearchStrategy[Any]:
    return valid_object(SCHEMAS[topic], SCHEMAS[topic])


LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([2**63 - 1, 2**63, 1.0, 1.5, "", " ", "\n", "ACTIVE", "cardnumber", "x" * 255, "x" * 256, [], {}]),
)


@st.composite
def mutated(draw: st.DrawFn, topic: str) -> Any:
    """A document that the schema accepts, with one to three places changed, added or taken away."""
    document = draw(documents(topic))
    for _ in range(draw(st.integers(1, 3))):
        places = [document, *(item for value in document.values() for item in items_of(value))]
        place = draw(st.sampled_from(places))
        fields = ["seriesId", "seriesCode", "statusLabel", "type", "value", "requestId", "Add", *place]
        field = draw(st.sampled_from(fields))
        if draw(st.booleans()):
            place.pop(field, None)
        else:
            place[field] = deepcopy(draw(LEAF))
    return document


def items_of(value: Any) -> list[dict[str, Any]]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def wrong_beyond_the_schema(document: Any) -> bool:
    """The rules that schemas/README.md lists under "What a schema cannot say", as far as documents here meet them."""
    lists = {field: items_of(document.get(field)) for field in ("add", "remove", "identifiers")}
    if sum(map(len, lists.values())) > 64 or len(json.dumps(document, ensure_ascii=False).encode()) > BYTES_MAX:
        return True
    if any(isinstance(n, float) for n in scalars(document)):
        return True
    named: dict[str, set[Any]] = {}
    for field, items in lists.items():
        cards: dict[str, set[Any]] = {}
        for item in items:
            card = item["type"].lower() == "cardnumber"
            key = (card or item["type"], item["value"].strip())
            named.setdefault(field, set()).add(key)
            if card:
                how = tuple(item.get(name) for name in ("seriesId", "seriesCode", "statusLabel"))
                cards.setdefault(key[1], set()).add(how)
        if any(len(ways) > 1 for ways in cards.values()):
            return True
    return bool(named.get("add", set()) & named.get("remove", set())) or no_such_day(document)


def no_such_day(document: Any) -> bool:
    text = document.get("requestedAt") or document.get("registeredAt") or "2026-11-21T10:00:00Z"
    try:
        datetime.fromisoformat(re.sub(r"\.\d+", "", text.upper()).replace(":60", ":59")).astimezone(UTC)
    except (ValueError, OverflowError):
        return True
    return False


def scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from scalars(part)
    else:
        yield value


def check(topic: str, document: Any) -> None:
    """The code takes what the schema takes, less what no schema can say; and nothing else."""
    code = code_of(ask(topic, json.dumps(document, ensure_ascii=False).encode()))
    wanted = Draft202012Validator(SCHEMAS[topic]).is_valid(document) and not wrong_beyond_the_schema(document)
    assert (code is None) == wanted, document


@pytest.mark.parametrize("topic", NAMES)
def test_made_up_documents_without_faults(topic: str) -> None:
    validator = Draft202012Validator(SCHEMAS[topic])

    @MADE_UP
    @given(documents(topic))
    def run(document: Any) -> None:
        validator.validate(document)
        check(topic, document)

    run()


@pytest.mark.parametrize("topic", NAMES)
def test_made_up_documents_with_faults(topic: str) -> None:
    @MADE_UP
    @given(mutated(topic))
    def run(document: Any) -> None:
        check(topic, document)

    run()


# ---------------------------------------------------------------- fields, and the catalog


@pytest.mark.parametrize(
    ("model", "topic", "pointer"),
    [
        (IdentifierUpdate, "identifier-updates", ()),
        (Item, "identifier-updates", ("$defs", "addItem")),
        (Item, "identifier-updates", ("$defs", "removeItem")),
        (CustomerRegistration, "customer-registrations", ()),
        (Identifier, "customer-registrations", ("properties", "identifiers", "items")),
        (CardRegistration, "card-registrations", ()),
    ],
)
def test_model_and_schema_have_the_same_fields(model: type[Strict], topic: str, pointer: tuple[str, ...]) -> None:
    schema = SCHEMAS[topic]
    for part in pointer:
        schema = schema[part]
    assert {field.alias for field in model.model_fields.values()} == set(schema["properties"])


def test_catalog_examples() -> None:
    for path in (ROOT / "examples/catalog/valid").iterdir():
        Catalog.model_validate(json.loads(path.read_bytes()))
    for entry in index(ROOT / "examples/catalog/invalid"):
        document = json.loads((ROOT / "examples/catalog/invalid" / entry["file"]).read_bytes())
        with pytest.raises(ValidationError):
            Catalog.model_validate(document)
