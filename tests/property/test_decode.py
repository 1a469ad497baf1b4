"""No message does anything else than become a request or a dead letter, and a dead letter repeats nothing of it."""

import copy
import json
from collections.abc import Iterator

from hypothesis import example, given, note
from hypothesis import strategies as st
from tests.property import worlds

from mergeline.domain.commands import RegisterCard, Request, UpdateIdentifiers
from mergeline.domain.decode import decode
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message
from mergeline.domain.vocabulary import DeadLetterCode, Topic

CANARY = "cAnArY"
INPUTS = st.sampled_from([Topic.IDENTIFIER_UPDATES, Topic.CUSTOMER_REGISTRATIONS, Topic.CARD_REGISTRATIONS])
STRANGE = st.one_of(
    st.sampled_from(
        [
            *(None, True, 0, -1, 1.0, 2**63, 10**40),
            *("", " ", CANARY, f"{CANARY}\0", f"{CANARY}\ud800", "\u3000", "x" * 256),
            *([], {}, [[]], [None], {CANARY: 1}, {"type": CANARY}, [CANARY], {"type": "line", "value": CANARY}),
        ]
    ).map(copy.deepcopy),
    st.text(max_size=5),
    st.integers(),
)
NAMES = st.sampled_from(
    [
        *("requestId", "orgId", "customerId", "source", "accountId", "add", "remove", "requestedAt"),
        *("identifiers", "registeredAt", "cardNumber", "cardExternalId"),
        *("type", "value", "seriesId", "seriesCode", "statusLabel"),
        *(CANARY, f"{CANARY}\ud800", "Add", ""),
    ]
)


def decoded(data: bytes, topic: str = Topic.IDENTIFIER_UPDATES) -> Request | DeadLetterReason:
    at = Coordinate(topic, 0, 7)
    return decode(Message(at, at, 0, None, data))


def containers(value: object) -> Iterator[dict | list]:
    """Every object and list of a document."""
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Topic, bytes]:
    """A request with up to three fields or items replaced, added or taken away."""
    topic, body = draw(worlds.REQUESTS)
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        places = list(containers(body))
        place = places[draw(st.integers(0, len(places) - 1))]
        if isinstance(place, list):
            place[draw(st.integers(0, 2)) :] = [draw(STRANGE)]
        elif draw(st.booleans()):
            place[draw(NAMES)] = draw(STRANGE)
        else:
            place.pop(draw(NAMES), None)
    return topic, json.dumps(body).encode()


@given(damaged())
def test_a_damaged_request_is_a_request_or_a_dead_letter_without_its_content(message: tuple[Topic, bytes]) -> None:
    topic, data = message
    answer = decoded(data, topic)
    note(repr(answer))
    if isinstance(answer, DeadLetterReason):
        assert answer.code in (DeadLetterCode.INVALID_REQUEST, DeadLetterCode.TOO_LARGE)
        assert CANARY not in answer.text
        assert answer.text.isascii()
        assert len(answer.text) < 200
        answer.text.encode()


@given(st.binary(max_size=60), INPUTS)
@example(b"\xff", Topic.IDENTIFIER_UPDATES)
def test_any_bytes_are_a_dead_letter(data: bytes, topic: Topic) -> None:
    assert isinstance(decoded(data, topic), DeadLetterReason)


@given(worlds.REQUESTS, st.sampled_from([None, 0, 1, "\t"]))
def test_how_a_request_is_written_does_not_matter_to_what_it_asks(request: tuple[Topic, dict], indent: object) -> None:
    topic, body = request
    nulls = dict.fromkeys(("requestId", "accountId"))
    if topic == Topic.CARD_REGISTRATIONS:
        nulls = dict.fromkeys(("requestId", "cardExternalId", "statusLabel"))
    compact = decoded(json.dumps(body).encode(), topic)
    wordy = decoded(json.dumps(nulls | body, indent=indent).encode(), topic)
    assert compact.command == wordy.command
    assert compact.body_sha256 != wordy.body_sha256


@given(worlds.REQUESTS)
def test_a_request_says_what_its_body_says(request: tuple[Topic, dict]) -> None:
    topic, body = request
    command = decoded(json.dumps(body).encode(), topic).command
    if isinstance(command, RegisterCard):
        assert (command.number, command.series_id, command.label) == (
            body["cardNumber"],
            body.get("seriesId"),
            body.get("statusLabel"),
        )
        return
    assert (command.customer_id, command.source, command.account_id) == (
        body["customerId"],
        body["source"],
        body.get("accountId"),
    )
    added = {item.value for item in command.adds} | {card.number for card in getattr(command, "card_adds", ())}
    assert added == {item["value"].strip() for item in body.get("add", body.get("identifiers", ()))}
    if isinstance(command, UpdateIdentifiers):
        removed = {item.value for item in command.removes} | {card.number for card in command.card_removes}
        assert removed == {item["value"].strip() for item in body.get("remove", ())}
