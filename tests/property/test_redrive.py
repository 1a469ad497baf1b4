"""A message that became a dead letter, whatever it asked for, is sent again as what it was, under the id it had."""

import json

from hypothesis import given
from hypothesis import strategies as st
from tests.property import worlds

from mergeline.domain.commands import Request
from mergeline.domain.decode import decode
from mergeline.domain.messages import Coordinate, Message, dead_letter
from mergeline.domain.redrive import Fate, letter_of, redriven

PLACES = st.tuples(st.integers(0, 99), st.integers(0, 10**9))
HEADERS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple)
INDENTS = st.sampled_from([None, 0, 2])


def sent_again(message):
    record = dead_letter(message, "PROCESSING_FAILED", "why", "p.")
    letter = letter_of(record.topic, 0, record.key, record.value, record.headers, "p.")
    assert (letter.origin, letter.key, letter.value, letter.headers) == (
        message.origin, message.key, message.value, message.headers,
    )  # fmt: skip
    return redriven(letter)


@given(worlds.REQUESTS, PLACES, PLACES, st.none() | st.binary(max_size=5), HEADERS, INDENTS, st.booleans())
def test_a_letter_that_is_sent_again_is_the_same_request_however_often(
    request, place, next_place, key, headers, indent, names_id
):
    topic, body = request
    body = {name: value for name, value in body.items() if name != "requestId"} | (
        {"requestId": "own"} if names_id else {}
    )
    origin = Coordinate(topic, *place)
    message = Message(origin, origin, 0, key, json.dumps(body, indent=indent).encode(), headers)
    was = decode(message)
    assert isinstance(was, Request)
    once = sent_again(message)
    assert once.fate is Fate.SEND
    assert once.request_id == was.request_id == ("own" if names_id else origin.request_id)
    if names_id:
        assert once.value == message.value
    now = decode(Message(Coordinate(topic, *next_place), origin, 0, key, once.value, headers))
    assert (now.request_id, now.command, now.body_sha256) == (was.request_id, was.command, once.body_sha256)
    twice = sent_again(Message(Coordinate(topic, *next_place), origin, 0, key, once.value, headers))
    assert twice == once
