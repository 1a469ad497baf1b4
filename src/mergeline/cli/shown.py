"""What is stored about a customer, an identifier, a card or a request, as text for people.

In: the documents that `mergeline show --json` prints. Out: trees for the terminal. Never: a look at the database.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final

import orjson
from rich.text import Text
from rich.tree import Tree

from mergeline.cli.events import STYLES, said_of, scope_text
from mergeline.domain.incarnations import FIRST
from mergeline.domain.vocabulary import INPUT_TOPICS, DeadLetterCode

DEAD_LETTER_CODES: Final = frozenset(map(str, DeadLetterCode))
Document = Mapping[str, Any]


def customer_tree(document: Document) -> Tree:
    """A customer with its identifiers by source, its cards, whom it took in."""
    living = document["status"] == "living"
    status = "living" if living else f"merged into {document['survivorId']} at {document['mergedAt']}"
    tree = Tree(Text(f"customer {document['orgId']}:{document['customerId']}", "bold"))
    tree.add(Text(f"{status}, version {document['version']}, registered {document['registeredAt']}"))
    add_identifiers(tree, document["identifiers"])
    for card in document["cards"]:
        tree.add(Text(card_line(card)))
    for merge in document["merges"]:
        other = f"took in {merge['victimId']}" if merge["survivorId"] == document["customerId"] else "merged away"
        tree.add(Text(f"{other} at {merge['mergedAt']} by request {merge['requestId']}"))
    if document["victims"]:
        tree.add(Text(f"also found as {', '.join(map(str, document['victims']))}"))
    return tree


def add_identifiers(tree: Tree, entries: Iterable[Document]) -> None:
    """A branch a scope, a leaf an identifier."""
    ordered = sorted(entries, key=lambda entry: (scope_text(entry), entry["type"], entry["value"]))
    for scope, held in groupby(ordered, key=scope_text):
        branch = tree.add(Text(scope, "cyan"))
        for entry in held:
            branch.add(Text(f"{entry['type']} {entry['value']}"))


def card_line(card: Document) -> str:
    """A card in a line."""
    label = card["statusLabel"]
    status = label if label == card["status"] else f"{label} ({card['status']})"
    dates = f", issued {card['issuedAt']}" if card["issuedAt"] else ""
    dates += f", expires {card['expiresAt']}" if card["expiresAt"] else ""
    return f"card {card['cardNumber']} of series {card['seriesId']}: {status}{dates}"


def identifier_tree(org_id: int, identifier_type: str, value: str, document: Document) -> Tree:
    """Who holds an identifier."""
    owner = document["entries"][0]["customerId"]
    tree = Tree(Text(f"{identifier_type} {value} belongs to customer {org_id}:{owner}", "bold"))
    for entry in document["entries"]:
        tree.add(Text(scope_text(entry), "cyan"))
    return tree


def card_tree(document: Document) -> Tree:
    """A card."""
    tree = Tree(Text(card_line(document), "bold"))
    owner = document["customerId"]
    tree.add(Text("belongs to nobody" if owner is None else f"belongs to customer {document['orgId']}:{owner}"))
    if document["cardExternalId"]:
        tree.add(Text(f"external id {document['cardExternalId']}"))
    return tree


def request_tree(document: Document) -> Tree:
    """A request, what was published for it, and what came again under its id."""
    tree = Tree(Text(f"request {document['requestId']} of org {document['orgId']}: {document['status']}", "bold"))
    origin = document["origin"]
    tree.add(Text(f"{document['kind']} from {_place(origin)}"))
    asked = f", requested {document['requestedAt']}" if document["requestedAt"] else ""
    tree.add(Text(f"decided {document['decidedAt']}{asked}"))
    if document["status"] in DEAD_LETTER_CODES and origin["topic"] in INPUT_TOPICS:
        place = f"--topic {origin['topic']} --partition {origin['partition']} --offset {origin['offset']}"
        tree.add(Text(f"its reason, and what becomes of it: mergeline redrive {place}"))
    for event in document["events"]:
        headers = [(name, text.encode()) for name, text in event["headers"].items()]
        said = said_of(event["topic"], orjson.dumps(event["data"]), headers)
        branch = tree.add(Text(str(said), STYLES[said.mood]))
        for problem in (*event["data"].get("errors", ()), *event["data"].get("warnings", ())):
            branch.add(Text(f"{problem['code']} at {problem['path'] or '/'}: {problem['message']}"))
    for repeat in document["repeats"]:
        tree.add(Text(f"again as {_place(repeat['origin'])} at {repeat['decidedAt']}: {repeat['kind']}"))
    return tree


def _place(origin: Document) -> str:
    incarnation = "" if origin["incarnation"] == FIRST else f" (incarnation {origin['incarnation']})"
    return f"{origin['topic']}{incarnation} {origin['partition']}@{origin['offset']}"
