"""One readable line for each event, outcome and dead letter.

In: a topic without prefix, the event's data, its headers. Out: a `Said`: a word, a text, a mood. Never: printing, or
a crash at a record that somebody else wrote; what cannot be read is shown as such.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import orjson

from mergeline.domain.events import DUPLICATE
from mergeline.domain.messages import ORIGINAL_OFFSET, ORIGINAL_PARTITION, ORIGINAL_TOPIC, REASON
from mergeline.domain.vocabulary import EventType, Topic, is_dead_letter_topic

Mood = Literal["good", "plain", "bad", "change"]
STYLES: Final[dict[Mood, str]] = {"good": "green", "plain": "", "bad": "red", "change": "cyan"}
WORD_WIDTH: Final = 11

Headers = Sequence[tuple[str, bytes | None]]


class Said(NamedTuple):
    """A line about a record."""

    word: str
    text: str
    mood: Mood
    codes: tuple[str, ...] = ()
    """Of errors and warnings."""
    request_id: str = ""
    """Of an outcome."""

    def __str__(self) -> str:
        request = [f"request {self.request_id}"] if self.request_id else []
        return f"{self.word:<{WORD_WIDTH}} " + "  ".join([self.text, *self.codes, *request])


def said_of(topic: str, value: bytes | None, headers: Headers) -> Said:
    """The line for a record of `topic`."""
    if is_dead_letter_topic(topic):
        return _dead_letter({name: text for name, text in headers if text is not None})
    try:
        data = orjson.loads(value or b"")
        return _WRITERS[topic](data, {name: text for name, text in headers if text is not None})
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return Said("unreadable", f"a record of {topic} that mergeline did not write", "bad")


def scope_text(item: Mapping[str, Any]) -> str:
    """`SOURCE`, or `SOURCE/account`."""
    return f"{item['source']}/{item['accountId']}" if item.get("accountId") else str(item["source"])


def problems_text(problems: Sequence[Mapping[str, Any]]) -> list[str]:
    """`CODE at /path: sentence`, for each error or warning."""
    return [f"{one['code']} at {one['path'] or '/'}: {one['message']}" for one in problems]


_Headers = Mapping[str, bytes]


def _outcome(data: Any, headers: _Headers) -> Said:
    where = f"{data['orgId']}:{data['customerId']}"
    parts = [where]
    if data["mergedInto"] is not None:
        parts.append(f"merged into {data['mergedInto']}")
    elif data["appliedTo"] not in (None, data["customerId"]):
        parts.append(f"applied to {data['appliedTo']}")
    return _answer(data, headers, parts)


def _registration(data: Any, headers: _Headers) -> Said:
    if "cardNumber" in data:
        return _answer(data, headers, [f"card {data['cardNumber']} of org {data['orgId']}"])
    return _answer(data, headers, [f"customer {data['orgId']}:{data['customerId']}"])


def _answer(data: Any, headers: _Headers, parts: list[str]) -> Said:
    if data.get("customerVersion") is not None:
        parts.append(f"version {data['customerVersion']}")
    if DUPLICATE in headers.items():
        parts.append("(answered before)")
    codes = tuple(problem["code"] for problem in (*data["errors"], *data["warnings"]))
    moods: dict[str, Mood] = {"applied": "good", "rejected": "bad"}
    return Said(data["status"], "  ".join(parts), moods.get(data["status"], "plain"), codes, data["requestId"])


def _merged(data: Any, _: _Headers) -> Said:
    moved = f"{_count(data['movedIdentifiers'], 'identifier')} and {_count(data['movedCards'], 'card')} moved"
    text = f"{data['orgId']}:{data['victimId']} into {data['orgId']}:{data['survivorId']}  {moved}"
    return Said("merged", text, "change")


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things)} {name}" + ("" if len(things) == 1 else "s")


def _identifiers(data: Any, _: _Headers) -> Said:
    changes = [f"+{item['type']} {item['value']}" for item in data["added"]]
    changes += [f"-{item['type']} {item['value']}" for item in data["removed"]]
    text = f"{data['orgId']}:{data['customerId']}  {scope_text(data)}: {', '.join(changes)}"
    return Said("identifiers", text, "change")


def _card_text(data: Any) -> str:
    return f"{data['orgId']}:{data['customerId']}  card {data['cardNumber']} of series {data['seriesId']}"


def _issued(data: Any, _: _Headers) -> Said:
    return Said("card issued", f"{_card_text(data)}: {data['statusLabel']}", "change")


def _card_changed(data: Any, headers: _Headers) -> Said:
    word = "card gone" if headers.get("ce_type") == EventType.CARD_REMOVED.encode() else "card status"
    return Said(word, f"{_card_text(data)}: {data['previousStatusLabel']} -> {data['statusLabel']}", "change")


def _redirect(data: Any, _: _Headers) -> Said:
    return Said("redirect", f"{data['orgId']}:{data['victimId']} -> {data['orgId']}:{data['survivorId']}", "change")


def _dead_letter(headers: _Headers) -> Said:
    place = "@".join(
        headers.get(name, b"?").decode(errors="replace")
        for name in (ORIGINAL_TOPIC, ORIGINAL_PARTITION, ORIGINAL_OFFSET)
    )
    reason = headers.get(REASON, b"no reason given").decode(errors="replace")
    return Said("dead letter", f"{place}  {reason}", "bad")


_WRITERS: Final[dict[str, Callable[[Any, _Headers], Said]]] = {
    Topic.UPDATE_OUTCOMES: _outcome,
    Topic.REGISTRATION_OUTCOMES: _registration,
    Topic.CUSTOMER_MERGED: _merged,
    Topic.IDENTIFIERS_CHANGED: _identifiers,
    Topic.CARD_ISSUED: _issued,
    Topic.CARD_CHANGED: _card_changed,
    Topic.CUSTOMER_REDIRECTS: _redirect,
}
