"""Each kind of malformed message ends in its dead-letter topic, and the good one behind it is answered."""

import time

import pytest
from aiokafka import AIOKafkaProducer
from tests.contract.malformed import malformed
from tests.worker.harness import CARDS, CUSTOMERS, ORG, OUTCOMES, REGISTERED, UPDATES, headers, update

GOOD = {
    UPDATES: (update(11, add={"type": "email", "value": "a@example.com"}), OUTCOMES),
    CUSTOMERS: ({"orgId": ORG, "customerId": 11, "source": "INSTORE"}, REGISTERED),
    CARDS: ({"orgId": ORG, "seriesId": 163, "cardNumber": "C11"}, REGISTERED),
}


@pytest.mark.parametrize("topic", [UPDATES, CUSTOMERS, CARDS])
async def test_each_kind_of_malformed_message_is_a_dead_letter_and_its_partition_goes_on(served, topic):
    cases = malformed(topic)
    good, answered_on = GOOD[topic]
    key = f"bad {topic}".encode()

    places = await served.produce(topic, [value for case in cases for value in (case.value, good)], key=key)
    letters = await served.letters(len(cases), topic, lambda record: record.key == key)
    await served.answered(map(served.origin, places[1::2]), answered_on)
    await served.drained()

    letters = {int(headers(record)["kafka_dlt-original-offset"]): record for record in letters}
    assert letters.keys() == {place.offset for place in places[::2]}, "only the bad ones"
    assert len([record for record in served.records[f"{topic}-dlt"] if record.key == key]) == len(cases), "each once"
    for case, place in zip(cases, places[::2], strict=True):
        record, said = letters[place.offset], headers(letters[place.offset])
        assert record.value == case.value, case.why
        assert said["kafka_dlt-exception-message"].decode().startswith(case.code + ": "), case.why
        assert said["kafka_dlt-exception-fqcn"].decode().endswith(case.code)
        assert said["kafka_dlt-original-topic"].decode() == served.prefix + topic
        assert int(said["kafka_dlt-original-partition"]) == place.partition


async def test_a_message_without_value_or_key_is_a_dead_letter_with_its_own_headers_and_time(served):
    own = [("own", b"kept"), ("null", None), ("mergeline-origin", b"forged")]
    before_ms = time.time() * 1000
    await served.produce(UPDATES, [None], headers=own, partition=1)
    (record,) = await served.letters(1, where=lambda record: headers(record).get("own") == b"kept")
    assert (record.key, record.value) == (None, None)
    assert record.headers[:3] == tuple(own)
    assert before_ms - 1 <= int(headers(record)["kafka_dlt-original-timestamp"]) <= time.time() * 1000


@pytest.mark.parametrize("size", [64 * 1024 + 1, 1_000_000], ids=["above 64 KiB", "as large as the topic takes"])
async def test_a_message_that_is_too_large_is_a_dead_letter_byte_for_byte(served, size):
    key, large = b"large %d" % size, b"x" * size
    await served.produce(UPDATES, [large], key=key)
    (record,) = await served.letters(1, where=lambda record: record.key == key)
    assert record.value == large
    assert headers(record)["kafka_dlt-exception-message"].startswith(b"TOO_LARGE: ")


@pytest.mark.parametrize(
    ("codec", "size", "why"),
    [
        pytest.param("lz4", 9 << 20, b"it unpacks to 9437", id="one that nobody could pass on"),
        pytest.param("zstd", 70 << 20, b"its batch unpacks to more than can be held, or not at all", id="a bomb"),
    ],
)
async def test_what_unpacks_to_too_much_is_a_dead_letter_that_says_so(served, codec, size, why):
    key = b"bomb %d" % size
    producer = AIOKafkaProducer(
        bootstrap_servers=served.bootstrap_servers, compression_type=codec, max_request_size=size + 1_000
    )
    await producer.start()
    try:
        place = await producer.send_and_wait(served.prefix + UPDATES, bytes(size), key, partition=0)
    finally:
        await producer.stop()
    where = {"kafka_dlt-original-partition": b"0", "kafka_dlt-original-offset": b"%d" % place.offset}
    (record,) = await served.letters(1, where=lambda record: where.items() <= headers(record).items())
    assert (record.key, record.value) == (None, None)
    assert headers(record)["mergeline-cut"].startswith(why)
