"""What becomes of a dead letter, one row a rule; how letters are ordered; in what order stored events go again."""

import json

import pytest
from tests.contract.malformed import malformed

from mergeline.cli.spool import spool
from mergeline.domain.decode import BYTES_MAX, decode
from mergeline.domain.events import DUPLICATE, again
from mergeline.domain.messages import DEAD_LETTER_HEADERS, Coordinate, Message, Outgoing, dead_letter
from mergeline.domain.redrive import RECORD_MAX_BYTES, Fate, letter_of, redriven
from mergeline.domain.replay import in_order

PREFIX = "brand."
UPDATES, CARDS = "identifier-updates", "card-registrations"
PLACE = Coordinate(UPDATES, 3, 1207)
DERIVED = "identifier-updates-3-1207"
UPDATE = {"orgId": 7, "customerId": 1, "source": "INSTORE", "add": {"type": "line", "value": "\u00e9 \\ x"}}
OWN = [("traceparent", b"t"), ("none", None), ("\udcff", b"odd"), ("kafka_dlt-original-topic", b"the producer's own")]


def lettered(value, origin=PLACE, key=b"k", headers=(), code="PROCESSING_FAILED"):
    """The letter that a worker makes of a message, read again."""
    message = Message(origin, Coordinate("commands-by-customer", 1, 2), 1_700_000_000_000, key, value, tuple(headers))
    record = dead_letter(message, code, "a: reason", PREFIX)
    return letter_of(record.topic, 99, record.key, record.value, record.headers, PREFIX)


def body(**fields):
    return json.dumps(UPDATE | fields, indent=2).encode()


def test_a_letter_is_the_message_that_it_was_with_the_reason():
    letter = lettered(body(), headers=OWN)
    assert (letter.origin, letter.key, letter.value) == (PLACE, b"k", body())
    assert letter.headers == tuple(OWN)
    assert (letter.code, letter.text, letter.at_ms) == ("PROCESSING_FAILED", "PROCESSING_FAILED: a: reason", 99)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="none"),
        pytest.param(DEAD_LETTER_HEADERS[1:], id="one too few"),
        pytest.param((*DEAD_LETTER_HEADERS, "behind"), id="one behind them"),
        pytest.param((*DEAD_LETTER_HEADERS[:2], DEAD_LETTER_HEADERS[3], DEAD_LETTER_HEADERS[2]), id="in another order"),
    ],
)
def test_what_has_not_the_headers_of_a_worker_at_its_end_is_no_letter(headers):
    assert letter_of(f"{UPDATES}-dlt", 0, None, b"", tuple((name, b"1") for name in headers), PREFIX) is None


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param((b"other.identifier-updates", b"3", b"7"), id="another prefix"),
        pytest.param((b"brand.update-outcomes", b"3", b"7"), id="a topic that has no letters"),
        pytest.param((b"brand.card-registrations", b"3", b"7"), id="a topic that has other letters"),
        pytest.param((b"brand.identifier-updates", b"-1", b"7"), id="no partition"),
        pytest.param((b"brand.identifier-updates", b"3", "\u0667".encode()), id="a digit of another script"),
        pytest.param((b"brand.identifier-updates", b"3", b"9" * 19), id="past every offset"),
        pytest.param((b"brand.identifier-updates", b"3", None), id="no offset"),
    ],
)
def test_what_names_no_place_of_this_installation_is_no_letter(texts):
    headers = tuple(zip(DEAD_LETTER_HEADERS, (*texts, b"0", b"mergeline.X", b"X: y"), strict=True))
    assert letter_of(f"{UPDATES}-dlt", 0, None, b"", headers, PREFIX) is None


def test_a_request_that_names_its_id_goes_byte_for_byte():
    value = body(requestId="own-1")
    found = redriven(lettered(value))
    assert (found.fate, found.org_id, found.request_id, found.value) == (Fate.SEND, 7, "own-1", value)


@pytest.mark.parametrize("fields", [{}, {"requestId": None}], ids=["left out", "null"])
def test_one_that_names_none_goes_with_the_id_that_was_derived_and_nothing_else_changed(fields):
    found = redriven(lettered(body(**fields)))
    assert (found.fate, found.request_id) == (Fate.SEND, DERIVED)
    assert json.loads(found.value) == UPDATE | {"requestId": DERIVED}
    assert "\u00e9".encode() in found.value, "no longer than it has to be"
    assert redriven(lettered(body(**fields))).value == found.value, "always the same bytes"


def test_one_that_became_a_letter_again_keeps_the_first_id_and_its_bytes():
    first = redriven(lettered(body()))
    second = redriven(lettered(first.value, Coordinate(UPDATES, 3, 5000)))
    assert (second.request_id, second.value) == (DERIVED, first.value)


def test_an_id_that_looks_derived_is_the_producers_own():
    value = body(requestId=DERIVED)
    assert redriven(lettered(value)).value == value


@pytest.mark.parametrize("case", malformed(UPDATES), ids=lambda case: case.why)
def test_what_is_no_request_stays(case):
    found = redriven(lettered(case.value, code=case.code))
    assert (found.fate, found.value) == (Fate.NO_REQUEST, None)
    assert found.why.startswith(f"{case.code}: ")


def test_a_message_without_value_stays():
    assert redriven(lettered(None)).fate is Fate.NO_REQUEST


def test_what_was_cut_off_stays():
    assert redriven(lettered(None, key=None, headers=[("mergeline-cut", b"why")])).fate is Fate.CUT
    assert redriven(lettered(body(), headers=[("mergeline-cut", b"a producer's")])).fate is Fate.SEND


def test_what_was_on_the_internal_topic_by_itself_stays_though_it_is_a_request():
    found = redriven(lettered(body(requestId="own"), Coordinate("commands-by-customer", 0, 3)))
    assert found.fate is Fate.NO_TOPIC


def compact(document):
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def of_size(size):
    """A request without id and white space, of so many bytes."""
    values = [f"{number:02}" + "\U0001f0a1" * 246 for number in range(64)]
    request = UPDATE | {"add": [{"type": "line", "value": value} for value in values]}
    missing = size - len(compact(request))
    for item in request["add"]:
        item["value"] += "x" * min(7, missing)
        missing -= min(7, missing)
    request["source"] += "x" * missing
    assert len(compact(request)) == size
    return request


@pytest.mark.parametrize(("more", "fate"), [(0, Fate.SEND), (1, Fate.TOO_LARGE)])
def test_what_has_no_room_for_its_id_stays(more, fate):
    request = of_size(BYTES_MAX - len(f'"requestId":"{DERIVED}",') + more)
    assert redriven(lettered(compact(request))).fate is fate


def test_what_no_topic_takes_stays():
    room = RECORD_MAX_BYTES - len(body(requestId="own")) - len(b"kname")
    for more, fate in ((0, Fate.SEND), (1, Fate.TOO_LARGE)):
        letter = lettered(body(requestId="own"), headers=[("name", b"x" * (room + more))])
        assert redriven(letter).fate is fate


# ---------------------------------------------------------------- in what order


def test_letters_come_in_the_order_of_their_origins_each_message_once():
    places = [Coordinate(CARDS, 1, 5), Coordinate(UPDATES, 0, 9), Coordinate(UPDATES, 0, 8), Coordinate(CARDS, 0, 7)]
    card = {"orgId": 7, "seriesId": 1, "cardNumber": "C"}
    values = {CARDS: json.dumps(card).encode(), UPDATES: body()}
    letters = [lettered(values[place.topic], place, headers=OWN) for place in places]
    with spool() as waiting:
        for letter in letters:
            waiting.add(letter, redriven(letter))
        # Sent in vain: the same message stands once more, further behind.
        sent = redriven(letters[1])
        back = lettered(sent.value, Coordinate(UPDATES, 0, 99))
        for one in (back, letters[1], lettered(sent.value, Coordinate(UPDATES, 0, 98))):
            waiting.add(one, redriven(one))
        pages = [[letter.origin for letter, _ in page] for page in waiting.pages(3)]
        assert pages == [[places[3], places[0], places[2]], [places[1]]]
        assert waiting.again == 3
        ((letter, found), *_) = next(waiting.pages(9))
        assert (letter, found) == (letters[3], redriven(letters[3]))


def changed(version, key=b"7:1", topic="identifiers-changed", mark=None):
    return Outgoing(topic, key, json.dumps({"customerVersion": version, "mark": mark}).encode())


def test_change_events_of_a_customer_go_by_version_and_all_others_as_they_are():
    outcome = [Outgoing("update-outcomes", b"7:1", b'{"customerVersion":null}') for _ in range(2)]
    other = [changed(9, b"7:2"), changed(8, topic="card-issued")]
    records = [changed(5), outcome[0], other[0], changed(3), other[1], outcome[1], changed(4)]
    expected = [changed(3), outcome[0], other[0], changed(4), other[1], outcome[1], changed(5)]
    assert in_order(records) == expected


def test_a_record_that_goes_again_is_flagged_once_and_is_otherwise_the_same():
    record = Outgoing("card-issued", b"7:1", b"{}", (("ce_id", b"1"),))
    flagged = again(record)
    assert flagged == Outgoing("card-issued", b"7:1", b"{}", (("ce_id", b"1"), DUPLICATE))
    assert again(flagged) == flagged


def test_a_redriven_request_asks_what_its_letter_did():
    found = redriven(lettered(body()))
    before, after = (decode(Message(PLACE, PLACE, 0, None, value)) for value in (body(), found.value))
    assert (before.command, before.request_id) == (after.command, after.request_id)
