"""The name of a topic and its incarnation: one for each, read back as it was written, and no topic of Kafka's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_stream_parts import Record, TopicPartition

from mergeline.domain.incarnations import FIRST, incarnation_of, name_of, topic_of
from mergeline.domain.messages import Coordinate, Message, dead_letter
from mergeline.domain.redrive import letter_of, redriven
from mergeline.domain.requests import REQUEST_ID_MAX
from mergeline.domain.vocabulary import INPUT_TOPICS, Topic
from mergeline.stream.origin import message_of, place_of, routed

KAFKA = re.compile(r"[a-zA-Z0-9._-]{1,249}")
topics = st.sampled_from([*INPUT_TOPICS, Topic.COMMANDS_BY_CUSTOMER])
incarnations = st.integers(FIRST, 999_999_999)
partitions = st.integers(0, 999_999_999)
offsets = st.integers(0, 10**18 - 1)


@given(topics, incarnations)
def test_a_name_says_topic_and_incarnation(topic, incarnation):
    name = name_of(topic, incarnation)
    assert (topic_of(name), incarnation_of(name)) == (topic, incarnation)
    assert (KAFKA.fullmatch(name) is not None) == (incarnation == FIRST)


@given(topics, incarnations, partitions, offsets)
def test_a_derived_request_id_is_one_that_a_request_could_have(topic, incarnation, partition, offset):
    found = Coordinate(name_of(topic, incarnation), partition, offset).request_id
    assert re.fullmatch(rf"[!-~]{{1,{REQUEST_ID_MAX}}}", found)


@given(st.sampled_from(INPUT_TOPICS), incarnations, incarnations, partitions, offsets)
def test_a_place_goes_through_the_routers_header_and_back(topic, sent_in, read_in, partition, offset):
    place = place_of(TopicPartition(f"p.{topic}", partition), "p.", sent_in)
    out = routed(Record(f"p.{topic}", partition, offset), place, b"k")
    inside = place_of(TopicPartition("p.commands-by-customer", 0), "p.", read_in)
    message = message_of(Record("p.commands-by-customer", 0, 1, out.key, out.value, out.headers), inside)
    assert message.origin == Coordinate(name_of(topic, sent_in), partition, offset)
    assert message.at == Coordinate(name_of("commands-by-customer", read_in), 0, 1)


@pytest.mark.parametrize("topic", INPUT_TOPICS)
@given(incarnation=incarnations)
def test_a_dead_letter_goes_where_its_topic_has_them_and_names_it_as_kafka_does(topic, incarnation):
    place = Coordinate(name_of(topic, incarnation), 1, 2)
    letter = dead_letter(Message(place, place, 0, None, b"{"), "MALFORMED_JSON", "", "p.")
    assert (letter.topic, letter.headers[0][1]) == (f"{topic}-dlt", f"p.{topic}".encode())
    read = letter_of(letter.topic, 7, letter.key, letter.value, letter.headers, "p.")
    assert (read.origin, read.headers, redriven(read).request_id) == (place, (), place.request_id)
