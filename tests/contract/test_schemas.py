"""The schemas hold together: each is valid, every example does what its name says, AsyncAPI and README keep up."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError

ROOT = Path(__file__).parents[2] / "schemas"
SCHEMAS = {str(path.relative_to(ROOT)): json.loads(path.read_bytes()) for path in sorted(ROOT.rglob("*.schema.json"))}
ASYNCAPI = yaml.safe_load((ROOT / "asyncapi.yaml").read_bytes())
README = (ROOT / "README.md").read_text(encoding="utf-8")
INPUTS = ("identifier-updates", "customer-registrations", "card-registrations")
OUTPUTS = (
    "update-outcomes",
    "registration-outcomes",
    "customer-merged",
    "identifiers-changed",
    "card-issued",
    "card-changed",
    "customer-redirects",
)
INTERNAL = "commands-by-customer"


def name_of(schema: dict[str, Any]) -> str:
    return schema["$id"].removeprefix("urn:mergeline:schema:")


BY_NAME = {name_of(schema): schema for schema in SCHEMAS.values()}


def index(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "index.json").read_bytes())


MALFORMED = {topic: index(ROOT / "examples" / topic / "malformed") for topic in INPUTS}


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object of a schema document, depth first."""
    if isinstance(schema, dict):
        yield schema
        schema = schema.values()
    if not isinstance(schema, str):
        for part in schema if hasattr(schema, "__iter__") else ():
            yield from nodes(part)


def at(document: Any, pointer: str) -> Any:
    """What a JSON pointer names."""
    for part in pointer.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


def broken_rules(error: ValidationError) -> Iterator[tuple[str, str]]:
    """The rules an error comes down to: the pointer to the field at fault, and the keyword.

    Of the branches of an `anyOf` or `oneOf`, those of another JSON type are set aside; if that leaves one, its
    errors are meant, otherwise the choice itself is.
    """
    branches: dict[Any, list[ValidationError]] = {}
    for part in error.context or ():
        branches.setdefault(part.schema_path[0], []).append(part)
    meant = [
        parts for parts in branches.values() if not any(p.validator == "type" and not p.relative_path for p in parts)
    ]
    if len(meant) == 1:
        for part in meant[0]:
            yield from broken_rules(part)
        return
    pointer = "".join(f"/{part}" for part in error.absolute_path)
    fields: list[str] = []
    if error.validator == "required":
        fields = [field for field in error.validator_value if field not in error.instance]
    if error.validator == "additionalProperties" and error.validator_value is False:
        fields = [field for field in error.instance if field not in error.schema.get("properties", {})]
    for place in [f"{pointer}/{field}" for field in fields] or [pointer]:
        yield place, error.validator


# ---------------------------------------------------------------- the schemas


def test_every_kind_of_message_has_a_schema() -> None:
    assert set(BY_NAME) == {
        "identifier-update",
        "customer-registration",
        "card-registration",
        "customer-merged",
        "card-issued",
        "card-removed",
        "card-status-changed",
        "identifiers-changed",
        "update-outcome",
        "registration-outcome",
        "customer-redirect",
        "catalog",
        "show-customer",
        "show-identifier",
        "show-card",
        "show-request",
    }


@pytest.mark.parametrize("file", SCHEMAS)
def test_schema_is_valid_2020_12_and_named_after_its_file(file: str) -> None:
    schema = SCHEMAS[file]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    stem = file.removesuffix(".schema.json")
    assert name_of(schema) == (stem.replace("/", "-") if stem.startswith("show/") else stem.rpartition("/")[2])


@pytest.mark.parametrize("file", SCHEMAS)
def test_no_object_takes_unknown_fields(file: str) -> None:
    closed = [node for node in nodes(SCHEMAS[file]) if "object" in node.get("type", ()) and "required" in node]
    assert closed
    for node in closed:
        assert node["additionalProperties"] is False, node.get("title")


@pytest.mark.parametrize("file", SCHEMAS)
def test_references_are_local_used_and_described(file: str) -> None:
    schema = SCHEMAS[file]
    used = {node["$ref"] for node in nodes(schema) if "$ref" in node}
    assert used == {f"#/$defs/{name}" for name in schema.get("$defs", {})}
    for node in nodes(schema):
        for field, value in node.get("properties", {}).items() if "additionalProperties" in node else ():
            resolved = at(schema, value["$ref"]) if "$ref" in value else value
            assert resolved.get("description") or resolved.get("title"), field


def test_a_definition_means_the_same_in_every_schema() -> None:
    seen: dict[str, Any] = {}
    for schema in SCHEMAS.values():
        for name, definition in schema.get("$defs", {}).items():
            assert seen.setdefault(name, definition) == definition, name


# ---------------------------------------------------------------- the examples


@pytest.mark.parametrize("name", BY_NAME)
def test_valid_examples(name: str) -> None:
    validator = Draft202012Validator(BY_NAME[name])
    for path in (ROOT / "examples" / name / "valid").iterdir():
        assert [*validator.iter_errors(json.loads(path.read_bytes()))] == [], path


@pytest.mark.parametrize("name", BY_NAME)
def test_invalid_examples_break_the_rule_they_are_named_after_and_no_other(name: str) -> None:
    validator = Draft202012Validator(BY_NAME[name])
    for entry in index(ROOT / "examples" / name / "invalid"):
        document = json.loads((ROOT / "examples" / name / "invalid" / entry["file"]).read_bytes())
        broken = {rule for error in validator.iter_errors(document) for rule in broken_rules(error)}
        assert (entry["path"], entry["keyword"]) in broken, entry
        assert {place for place, _ in broken} == {entry["path"]}, entry


@pytest.mark.parametrize("name", BY_NAME)
def test_draft_7_gives_the_same_verdicts(name: str) -> None:
    """AsyncAPI tools read the schemas by draft 7, so they use nothing that it reads in another way."""
    newest, draft_7 = Draft202012Validator(BY_NAME[name]), Draft7Validator(BY_NAME[name])
    for path in (ROOT / "examples" / name).rglob("*.json"):
        document = json.loads(path.read_bytes())
        assert newest.is_valid(document) == draft_7.is_valid(document), path


def test_every_example_is_listed_and_every_schema_has_some() -> None:
    for name in BY_NAME:
        folder = ROOT / "examples" / name
        listed = {entry["file"] for entry in index(folder / "invalid")}
        assert {path.name for path in (folder / "invalid").iterdir()} == listed | {"index.json"}, name
        assert any((folder / "valid").iterdir()), name
    for name in ("identifier-update", "customer-registration", "card-registration"):
        assert len(index(ROOT / "examples" / name / "invalid")) >= 8
    for topic, entries in MALFORMED.items():
        listed = {entry["file"] for entry in entries if "file" in entry}
        assert {path.name for path in (ROOT / "examples" / topic / "malformed").iterdir()} == listed | {"index.json"}
    known = {*BY_NAME, *INPUTS}
    assert {path.name for path in (ROOT / "examples").iterdir()} == known


@pytest.mark.parametrize("topic", INPUTS)
def test_malformed_examples_say_why(topic: str) -> None:
    codes = [entry["code"] for entry in MALFORMED[topic]]
    assert set(codes) == {"MALFORMED_JSON", "INVALID_REQUEST", "TOO_LARGE"}
    assert all(entry["why"] and ("file" in entry) != ("repeat" in entry) for entry in MALFORMED[topic])


# ---------------------------------------------------------------- AsyncAPI


def asyncapi_at(reference: str) -> Any:
    """What a `$ref` of asyncapi.yaml names: a place in it, or a schema file."""
    file, _, pointer = reference.partition("#")
    document = json.loads((ROOT / file).read_bytes()) if file else ASYNCAPI
    return at(document, pointer)


def test_asyncapi_references_resolve() -> None:
    references = [node["$ref"] for node in nodes(ASYNCAPI) if "$ref" in node]
    assert references
    for reference in references:
        asyncapi_at(reference)


def test_asyncapi_names_every_topic_and_every_channel_has_an_operation() -> None:
    public = {f"mergeline.{topic}" for topic in (*INPUTS, *OUTPUTS)}
    dead_letters = {f"mergeline.{topic}-dlt" for topic in INPUTS}
    assert {c["address"] for c in ASYNCAPI["channels"].values()} == public | dead_letters | {f"mergeline.{INTERNAL}"}
    for name, channel in ASYNCAPI["channels"].items():
        assert channel["address"] == f"mergeline.{name}"
        assert channel.get("x-internal", False) == (name == INTERNAL)
    asked = {(op["channel"]["$ref"].rpartition("/")[2], op["action"]) for op in ASYNCAPI["operations"].values()}
    # Seen from mergeline, as AsyncAPI 3 has it.
    dead_letter_channels = {f"{topic}-dlt" for topic in INPUTS}
    assert asked == (
        {(topic, "receive") for topic in (*INPUTS, INTERNAL)}
        | {(topic, "send") for topic in {*OUTPUTS, *dead_letter_channels, INTERNAL}}
    )


def test_asyncapi_has_a_message_for_every_request_and_event() -> None:
    schemas = {m["payload"]["$ref"] for m in ASYNCAPI["components"]["messages"].values() if "payload" in m}
    assert schemas == {f"./{file}" for file in SCHEMAS if file.startswith(("requests/", "events/"))}


def channel_of(message: str) -> str:
    return next(name for name, channel in ASYNCAPI["channels"].items() if message in channel["messages"])


EXAMPLES = [
    pytest.param(name, example, id=f"{name}-{example['name']}")
    for name, message in ASYNCAPI["components"]["messages"].items()
    for example in message.get("examples", ())
]


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_asyncapi_example(name: str, example: dict[str, Any]) -> None:
    """Payload and headers fit their schemas; id, time and subject follow from what stands beside them."""
    message, headers, payload = ASYNCAPI["components"]["messages"][name], example.get("headers"), example.get("payload")
    if headers is not None:
        schema = {"allOf": [message["headers"]], "components": ASYNCAPI["components"]}
        Draft202012Validator(schema).validate(headers)
    if payload is not None:
        Draft202012Validator(asyncapi_at(message["payload"]["$ref"])).validate(payload)
    if headers is not None and payload is not None:
        assert headers["ce_time"] == payload["occurredAt"]
        assert headers["ce_subject"].startswith(f"{payload['orgId']}:")
        assert headers["ce_id"] == event_id(f"{payload['orgId']}:{payload['requestId']}:{channel_of(name)}:0")


def test_asyncapi_has_an_example_of_every_message_but_the_internal_one() -> None:
    shown = {param.values[0] for param in EXAMPLES}
    assert set(ASYNCAPI["components"]["messages"]) - shown == {"command"}


# ---------------------------------------------------------------- README


def event_id(name: str) -> str:
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, "urn:mergeline:events"), name))


def table_after(heading: str) -> list[list[str]]:
    """The rows of the first table after a heading, without its head, cells stripped."""
    section = README.partition(f"\n## {heading}\n")[2]
    rows = re.findall(r"^\|.*\|$", section.partition("\n## ")[0], re.MULTILINE)[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def codes_of(definition: str) -> dict[str, set[int]]:
    """Code to upstream codes, as the schema of outcomes has them."""
    schema = SCHEMAS["events/update-outcome.schema.json"]["$defs"][definition]
    upstream: dict[str, set[int]] = {code: set() for code in schema["properties"]["code"]["enum"]}
    for rule in schema["allOf"]:
        numbers = rule["then"].get("properties", {}).get("upstreamCode", {}).get("enum", ())
        for code in rule["if"]["properties"]["code"]["enum"]:
            upstream[code] |= set(numbers)
    return upstream


@pytest.mark.parametrize(
    ("heading", "definition", "columns"), [("Errors", "error", (1, 2)), ("Warnings", "warning", (0, 1))]
)
def test_readme_lists_the_codes_of_the_schema_in_order(heading: str, definition: str, columns: tuple[int, int]) -> None:
    listed: dict[str, set[int]] = {}
    for row in table_after(heading):
        listed.setdefault(row[columns[0]].strip("`"), set()).update(map(int, re.findall(r"\d{4}", row[columns[1]])))
    assert listed == codes_of(definition)
    assert list(listed) == list(codes_of(definition))


def test_readme_shows_a_request_of_each_topic_and_every_field_and_type_there_is() -> None:
    shown = {
        row[0].strip("`").removeprefix("mergeline."): row[1].strip("`") for row in table_after("Sending a request")
    }
    assert set(shown) == set(INPUTS)
    for topic, request in shown.items():
        assert [*Draft202012Validator(BY_NAME[topic.removesuffix("s")]).iter_errors(json.loads(request))] == []
    text = README.partition("\n## Sending a request\n")[2].partition("\n* ")[0]
    schemas = [BY_NAME[topic.removesuffix("s")] for topic in INPUTS]
    fields = {name for schema in schemas for node in nodes(schema) for name in node.get("properties", {})}
    types = set(BY_NAME["identifier-update"]["$defs"]["itemType"]["enum"]) - {"cardNumber"}  # another spelling
    assert fields | types == {name for name in fields | types if f'"{name}"' in text or f"`{name}`" in text}


def test_readme_links_every_schema_and_every_link_leads_somewhere() -> None:
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link}
    assert {file for file in links if not (ROOT / file).exists()} == set()
    assert links >= set(SCHEMAS)


def test_readme_worked_example_of_event_ids() -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})
    assert program.count("assert ") >= 3
