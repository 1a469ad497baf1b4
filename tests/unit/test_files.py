"""Files of registrations: which lines become which messages, and what is said of the others (SPEC section 7)."""

import io

import orjson
import pytest

from mergeline.cli.files import LINE_MAX_BYTES, BadLine, format_of, read_lines, read_registrations
from mergeline.domain.decode import DeadLetterReason, decode
from mergeline.domain.messages import Coordinate, Message
from mergeline.errors import SetupError

HEADER = b"orgId,customerId,source,accountId,type,value\n"


def read(content, kind="customers", file_format="csv"):
    return list(read_registrations(read_lines(io.BytesIO(content)), kind, file_format))


def sent(content, kind="customers", file_format="csv"):
    found = read(content, kind, file_format)
    assert not [one for one in found if isinstance(one, BadLine)]
    return [(one.key.decode(), orjson.loads(one.value)) for one in found]


def bad(content, kind="customers", file_format="csv"):
    return [(one.number, one.reason) for one in read(content, kind, file_format) if isinstance(one, BadLine)]


# ---------------------------------------------------------------- JSON Lines


def test_a_json_line_is_sent_as_it_is():
    line = b'{"orgId": 1, "customerId": 2, "source": "INSTORE"}'
    (found,) = read(line + b"\r\n", file_format="jsonl")
    assert (found.key, found.value, found.request_id) == (b"1:2", line, None)


def test_no_request_id_is_made_up():
    content = b'{"orgId":1,"customerId":2,"source":"A"}\n{"orgId":1,"customerId":2,"source":"A","requestId":"mine"}\n'
    assert [one.request_id for one in read(content, file_format="jsonl")] == [None, "mine"]


def test_a_card_is_keyed_by_its_number():
    (found,) = read(b'{"orgId":1,"seriesId":5,"cardNumber":" C1 "}', "cards", "jsonl")
    assert found.key == b"1:card:C1"


def test_bad_lines_are_numbered_and_the_rest_goes_in():
    content = b'nope\n\n{"orgId":1,"customerId":2,"source":"A"}\n{"orgId":1,"customerId":"2","source":"A"}\n\xff\n'
    found = read(content, file_format="jsonl")
    assert [one.number for one in found] == [1, 3, 4, 5]
    assert [type(one).__name__ for one in found] == ["BadLine", "Registration", "BadLine", "BadLine"]
    assert [one.reason for one in found if isinstance(one, BadLine)] == [
        "MALFORMED_JSON: not JSON at character 0",
        "INVALID_REQUEST: /customerId: not an integer",
        "MALFORMED_JSON: not UTF-8 at byte 0",
    ]


def test_an_endless_line_is_one_bad_line():
    content = b'{"a":"' + b"x" * (3 * LINE_MAX_BYTES) + b'"}\n{"orgId":1,"customerId":3,"source":"A"}'
    first, second = read(content, file_format="jsonl")
    assert (first.number, second.number, second.key) == (1, 2, b"1:3")
    assert first.reason.startswith("TOO_LARGE")


def test_a_rejects_file_can_be_read_again():
    content = b'# line 7: some reason\n{"orgId":1,"customerId":2,"source":"A"}\n'
    assert len(sent(content, file_format="jsonl")) == 1


def test_what_begins_as_a_reason_does_not_is_a_line_like_any_other():
    """A card's number may begin with `#`; and what is no registration is reported."""
    content = b"cardNumber,orgId,seriesId\n#42,7,1\n# line 3: some reason\n43,7,1\n"
    assert [key for key, _ in sent(content, kind="cards")] == ["7:card:#42", "7:card:43"]
    (bad,) = read(b"# a note\n", file_format="jsonl")
    assert bad.reason.startswith("MALFORMED_JSON")


def test_a_byte_order_mark_is_no_part_of_the_file():
    assert len(sent(b'\xef\xbb\xbf{"orgId":1,"customerId":2,"source":"A"}', file_format="jsonl")) == 1


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("a.csv", "csv"), ("A.CSV", "csv"), ("a.csv.rejects", "csv"), ("a.jsonl", "jsonl"), ("a", "jsonl")],
)
def test_the_name_says_the_format(name, file_format):
    assert format_of(name) == file_format


# ---------------------------------------------------------------- CSV


def test_rows_of_a_customer_are_one_registration():
    content = HEADER + b"1,2,INSTORE,,email,a@b.cn\n1,2,INSTORE,,mobile,8613812345678\n1,3,WECHAT,brand-a,wechat,w\n"
    assert sent(content) == [
        (
            "1:2",
            {
                "orgId": 1,
                "customerId": 2,
                "source": "INSTORE",
                "identifiers": [{"type": "email", "value": "a@b.cn"}, {"type": "mobile", "value": "8613812345678"}],
            },
        ),
        (
            "1:3",
            {
                "orgId": 1,
                "customerId": 3,
                "source": "WECHAT",
                "accountId": "brand-a",
                "identifiers": [{"type": "wechat", "value": "w"}],
            },
        ),
    ]


def test_what_a_csv_makes_is_what_the_worker_takes():
    content = b"\xef\xbb\xbforgId,customerId,source,type,value,registeredAt,requestId\r\n"
    content += b'1,2,"IN, STORE",email,"a@b.cn",2026-01-01T00:00:00Z,r-1\r\n'
    (found,) = read(content)
    origin = Coordinate("customer-registrations", 0, 0)
    request = decode(Message(origin, origin, 0, None, found.value))
    assert not isinstance(request, DeadLetterReason)
    assert (request.request_id, found.request_id, request.command.source) == ("r-1", "r-1", "IN, STORE")


def test_a_customer_without_identifiers():
    assert sent(HEADER + b"1,2,INSTORE,,,\n") == [("1:2", {"orgId": 1, "customerId": 2, "source": "INSTORE"})]


def test_cards():
    content = b"orgId,cardNumber,seriesId,statusLabel,cardExternalId\n1,C1,5,,\n1,C2,5,SPARE,x\n"
    assert sent(content, "cards") == [
        ("1:card:C1", {"orgId": 1, "cardNumber": "C1", "seriesId": 5}),
        ("1:card:C2", {"orgId": 1, "cardNumber": "C2", "seriesId": 5, "statusLabel": "SPARE", "cardExternalId": "x"}),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1,x,INSTORE,,email,a", "customerId: not a whole number"),
        (b"1,2.0,INSTORE,,email,a", "customerId: not a whole number"),
        (b"1,02,INSTORE,,email,a", "customerId: not a whole number (without zeros before it)"),
        (b"01,2,INSTORE,,email,a", "orgId: not a whole number (without zeros before it)"),
        (b"1,2,INSTORE,,email", "5 cells; the header has 6"),
        (b"1,2,INSTORE,,email,a,b", "7 cells; the header has 6"),
        (b"1,2,INSTORE,,email,", "INVALID_REQUEST: /identifiers/0/value: missing"),
        (b"1,2,INSTORE,,cardnumber,C", "INVALID_REQUEST: /identifiers/0/type: not one of mobile, email, "),
        (b"1,2,,,email,a", "INVALID_REQUEST: /source: missing"),
        (b"1,0,INSTORE,,email,a", "INVALID_REQUEST: /customerId"),
        (b'1,2,INSTORE,,email,"a', "not CSV: unexpected end of data"),
        (b"1,2,INSTORE,,email,\xff", "not UTF-8 at byte 19"),
        (b"1,2,INSTORE,,email,a\x00b", ""),
    ],
)
def test_a_bad_row_is_line_two(row, reason):
    ((number, said),) = bad(HEADER + row + b"\n")
    assert number == 2
    assert said.startswith(reason)


@pytest.mark.parametrize(
    "middle", [b"1,2,INSTORE,,email", b'1,2,INSTORE,,email,"x', b"1,2,OTHER,,email,x", b"1,2,INSTORE,,,"]
)
def test_a_bad_row_takes_its_customer_with_it_and_nobody_else(middle):
    content = HEADER + b"1,1,A,,,\n1,2,INSTORE,,email,a\n" + middle + b"\n1,2,INSTORE,,email,b\n1,3,A,,,\n"
    before, customer, after = read(content)
    assert (before.key, after.key) == (b"1:1", b"1:3")
    assert customer.number == 4
    assert [line.number for line in customer.lines] == [3, 4, 5]


def test_rows_of_a_customer_stand_together():
    content = HEADER + b"1,2,A,,email,a\n1,3,A,,email,b\n1,2,A,,email,c\n"
    ((number, said),) = bad(content)
    assert number == 4
    assert said.startswith("rows of a customer stand together; this one's others end at line 2. If these went in, ")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"", "empty"),
        (b"orgId,customerId,source,type,value,adress\n", "'adress'"),
        (b"orgId,orgId,customerId,source,type,value\n", "'orgId'"),
        (b"orgId,source,type,value\n", "missing: customerId"),
        (b'"orgId\n', "cannot be read"),
    ],
)
def test_without_a_right_header_nothing_is_read(header, said):
    with pytest.raises(SetupError, match=said):
        read(header + b"1,2,A,email,a\n" if header else b"")


def test_a_reason_never_repeats_what_a_line_holds():
    content = HEADER + b'1,canary,INSTORE,,canary,canary\n1,2,canary,,canary,canary\n1,3,canary,,email,"canary\n'
    assert "canary" not in str(bad(content))
