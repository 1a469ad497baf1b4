"""How the demo tells what happened: texts and pictures of messages and records.

In: messages as they were sent, records as they were published. Out: renderables that fit any width. Never: I/O, or a
judgement of what was right.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from aiokafka import ConsumerRecord
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mergeline.cli.events import STYLES, WORD_WIDTH, said_of, scope_text
from mergeline.cli.shown import card_line
from mergeline.domain.vocabulary import CARD_SPELLINGS, DEAD_LETTER_SUFFIX, Topic, is_dead_letter_topic

INDENT: Final = 4
EVENT_ORDER: Final = (
    "-outcomes",
    DEAD_LETTER_SUFFIX,
    "customer-merged",
    "identifiers-changed",
    "card-",
    "customer-redirects",
)


def request_text(body: bytes) -> str:
    """A request in a line: who, where, what."""
    document = orjson.loads(body)
    org_id = document["orgId"]
    if "cardNumber" in document:
        return f"card {document['cardNumber']} of series {document['seriesCode']}, org {org_id}"
    changes = [f"+{_item(item)}" for item in _items(document, "identifiers") + _items(document, "add")]
    changes += [f"-{_item(item)}" for item in _items(document, "remove")]
    # A misspelt field is shown as it is.
    changes += [f"{name} {_item(document[name])}" for name in ("Add",) if name in document]
    return f"{org_id}:{document['customerId']} {scope_text(document)}: {', '.join(changes)}"


def _items(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    items = document.get(name) or []
    return items if isinstance(items, list) else [items]


def _item(item: Mapping[str, Any]) -> str:
    if item["type"] in CARD_SPELLINGS:
        return f"card {item['value']} {item['statusLabel']}"
    return f"{item['type']} {item['value']}"


def told(title: str, body: bytes, records: Sequence[ConsumerRecord], prefix: str) -> RenderableType:
    """A step: what somebody did, the request, its outcome under it, the events under that."""
    rows = Table.grid(padding=(0, 1))
    rows.add_column(width=WORD_WIDTH, no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row(Text("request", "dim"), Text(request_text(body)))
    for record in sorted(records, key=lambda one: _order(one.topic.removeprefix(prefix))):
        said = said_of(record.topic.removeprefix(prefix), record.value, record.headers)
        # A dead letter's headers say all that its line does.
        text = f"to {record.topic}" if is_dead_letter_topic(record.topic) else said.text
        rows.add_row(Text(said.word, STYLES[said.mood]), Text(text))
        for reason in _reasons(record):
            rows.add_row("", Text(reason, "dim"))
    return Group(Text(f"  {title}", "bold"), Padding(rows, (0, 0, 1, INDENT)))


def _order(topic: str) -> int:
    return next(index for index, part in enumerate(EVENT_ORDER) if part in topic)


def _reasons(record: ConsumerRecord) -> list[str]:
    """What stands with a record: problems of an outcome, headers of a dead letter."""
    if is_dead_letter_topic(record.topic):
        return [f"{name}: {(value or b'').decode()}" for name, value in record.headers]
    data = orjson.loads(record.value)
    return [f"{one['code']}: {one['message']}" for one in (*data.get("errors", ()), *data.get("warnings", ()))]


def merge_picture(merged: Mapping[str, Any], added: Sequence[Mapping[str, Any]], survivor: Mapping[str, Any],
                  *, ascii_only: bool) -> RenderableType:  # fmt: skip
    """Who merged into whom, and what the survivor holds now, by source.

    Args:
        merged: the data of the merge event.
        added: the entries that the request added.
        survivor: what is stored about it, as `mergeline show customer --json` says.
        ascii_only: where the terminal can show no more.
    """
    arrow = "-->" if ascii_only else "──▶"
    org_id, victim_id, survivor_id = merged["orgId"], merged["victimId"], merged["survivorId"]
    tree = Tree(
        Text.assemble((f"{org_id}:{victim_id}", "red"), f" {arrow} ", (f"{org_id}:{survivor_id}", "bold green"))
    )
    moved = {_known_by(entry) for entry in merged["movedIdentifiers"]}
    linking = {_known_by(entry) for entry in added}
    scopes = sorted({scope_text(entry) for entry in survivor["identifiers"]})
    for scope in scopes:
        branch = tree.add(Text(scope, "cyan"))
        for entry in survivor["identifiers"]:
            if scope_text(entry) != scope:
                continue
            leaf = Text(f"{entry['type']} {entry['value']}")
            if _known_by(entry) in moved:
                leaf.append(f"  moved from {victim_id}", "red")
            elif _known_by(entry) in linking:
                leaf.append("  added: it is what both have", "green")
            branch.add(leaf)
    for card in survivor["cards"]:
        tree.add(Text(card_line(card)))
    return Padding(tree, (0, 0, 1, INDENT))


def _known_by(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry["type"], entry["value"], scope_text(entry)


def data_of(records: Sequence[ConsumerRecord], topic: Topic, prefix: str) -> dict[str, Any]:
    """The data of the one record of a topic."""
    (record,) = (one for one in records if one.topic == f"{prefix}{topic}")
    data: dict[str, Any] = orjson.loads(record.value)
    return data
