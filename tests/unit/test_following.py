"""Which answer belongs to which message; and the line that each record gets."""

from types import SimpleNamespace

import orjson
import pytest

from mergeline.cli.events import said_of
from mergeline.cli.following import Following, Identity
from mergeline.cli.kafka import Placed
from mergeline.domain.vocabulary import Topic

PREFIX = "p."


def following():
    return Following(Topic.CUSTOMER_REGISTRATIONS, PREFIX)


def outcome(request_id, key="1:2", status="applied", headers=(), **more):
    data = {"requestId": request_id, "orgId": 1, "customerId": 2, "status": status, "errors": [], "warnings": []} | more
    topic = PREFIX + Topic.REGISTRATION_OUTCOMES
    return SimpleNamespace(topic=topic, key=key.encode(), value=orjson.dumps(data), headers=headers)


def dead_letter(partition, offset, topic="p.customer-registrations"):
    headers = [
        ("kafka_dlt-original-topic", topic.encode()),
        ("kafka_dlt-original-partition", b"%d" % partition),
        ("kafka_dlt-original-offset", b"%d" % offset),
        ("kafka_dlt-exception-message", b"MALFORMED_JSON: no value"),
    ]
    return SimpleNamespace(topic="p.customer-registrations-dlt", key=None, value=b"\xff", headers=headers)


def test_a_message_without_request_id_is_known_by_its_place():
    waiting = following()
    waiting.sent(Placed("line 1", 3, 17), Identity("1:2", None))
    assert waiting.take(outcome("customer-registrations-3-18")) is None
    answer = waiting.take(outcome("customer-registrations-3-17"))
    assert (answer.mark, answer.status, len(waiting)) == ("line 1", "applied", 0)


def test_a_message_without_request_id_is_known_by_its_place_in_every_incarnation_of_its_topic():
    waiting = following()
    waiting.sent(Placed("line 1", 3, 17), Identity("1:2", None))
    assert waiting.take(outcome("customer-registrations@1-3-17")) is None
    assert waiting.take(outcome("customer-registrations@2-3-18")) is None
    assert waiting.take(outcome("card-registrations@2-3-17")) is None
    assert waiting.take(outcome("customer-registrations@12-3-17")).mark == "line 1"
    waiting.sent(Placed("line 2", 3, 18), Identity("1:2", "customer-registrations@2-0-0"))
    assert waiting.take(outcome("customer-registrations@2-0-0")).mark == "line 2"


def test_a_message_with_request_id_is_known_by_that_and_its_subject():
    waiting = following()
    waiting.sent(Placed("line 1", 0, 0), Identity("1:2", "mine"))
    assert waiting.take(outcome("mine", key="2:2")) is None
    assert waiting.take(outcome("mine")).mark == "line 1"


def test_the_same_request_id_twice_is_answered_twice_in_order():
    waiting = following()
    for number in (1, 2):
        waiting.sent(Placed(number, 0, number), Identity("1:2", "mine"))
    assert [waiting.take(outcome("mine")).mark for _ in range(2)] == [1, 2]
    assert waiting.take(outcome("mine")) is None


def test_a_dead_letter_is_known_by_its_place():
    waiting = following()
    waiting.sent(Placed("bad", 1, 5), None)
    waiting.sent(Placed("good", 1, 6), Identity("1:2", None))
    assert waiting.take(dead_letter(1, 4)) is None
    assert waiting.take(dead_letter(1, 5, topic="p.card-registrations")) is None
    answer = waiting.take(dead_letter(1, 5))
    assert (answer.mark, answer.status, answer.reasons) == ("bad", "dead letter", ["MALFORMED_JSON: no value"])
    assert len(waiting) == 1


def test_a_well_formed_message_can_end_as_a_dead_letter():
    waiting = following()
    waiting.sent(Placed("poison", 1, 5), Identity("1:2", None))
    assert waiting.take(dead_letter(1, 5)).mark == "poison"
    assert waiting.take(outcome("customer-registrations-1-5")) is None


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]", b"7", b'{"requestId": 7}', b'{"a": 1}'])
def test_what_others_write_is_nobodys_answer(value):
    waiting = following()
    waiting.sent(Placed("line", 0, 0), Identity("1:2", None))
    record = SimpleNamespace(topic="p.registration-outcomes", key=None, value=value, headers=())
    assert waiting.take(record) is None


def test_a_rejection_brings_its_reasons():
    waiting = following()
    waiting.sent(Placed("line", 0, 0), Identity("1:2", None))
    errors = [{"code": "UNKNOWN_ORG", "message": "no catalog", "path": "/orgId"}]
    answer = waiting.take(outcome("customer-registrations-0-0", status="rejected", errors=errors))
    assert answer.reasons == ["UNKNOWN_ORG at /orgId: no catalog"]


@pytest.mark.parametrize("topic", [*Topic])
@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]", b"{}", b'{"orgId": null}'])
def test_no_record_breaks_the_line_about_it(topic, value):
    assert said_of(topic, value, [("ce_type", None)]).word == "unreadable"


def test_a_dead_letter_without_headers_has_a_line():
    assert said_of("identifier-updates-dlt", None, []).text == "?@?@?  no reason given"


def test_a_repeat_says_that_it_was_answered_before():
    record = outcome("mine", headers=[("mergeline-duplicate", b"true")])
    assert "answered before" in str(said_of(Topic.REGISTRATION_OUTCOMES, record.value, record.headers))
