"""Each kind of malformed message ends in its dead-letter topic, and the good one behind it is answered."""

import pytest

from tests.contract.malformed import malformed
from tests.worker.harness import CARDS, CUSTOMERS, ORG, OUTCOMES, REGISTERED, UPDATES, update

GOOD = {
    UPDATES: (update(1, add={"type": "email", "value": "a@example.com"}), OUTCOMES),
    CUSTOMERS: ({"orgId": ORG, "customerId": 1, "source": "INSTORE"}, REGISTERED),
    CARDS: ({"orgId": ORG, "seriesId": 163, "cardNumber": "C1"}, REGISTERED),
}


@pytest.mark.parametrize("topic", [UPDATES, CUSTOMERS, CARDS])
async def test_each_kind_of_malformed_message_is_a_dead_letter_and_its_partition_goes_on(world, topic):
    world.worker(MERGELINE_DEAD_LETTER_LIMIT="0")
    cases = malformed(topic)
    good, answered_on = GOOD[topic]
    sent = [value for case in cases for value in (case.value, good)]

    places = await world.produce(topic, sent, key=b"one partition")
    letters = await world.read(f"{topic}-dlt", len(cases), settle_s=0.5)
    outcomes = await world.read(answered_on, len(cases), settle_s=0.5)

    assert len(letters.records) == len(cases)
    assert len(outcomes.records) == len(cases)
    by_offset = {int(h["kafka_dlt-original-offset"]): (r, h) for r, h in zip(letters.records, letters.headers())}
    for number, case in enumerate(cases):
        record, headers = by_offset[places[2 * number].offset]
        assert (record.value, record.key) == (case.value, b"one partition"), case.why
        assert headers["kafka_dlt-exception-message"].decode().startswith(case.code + ": "), case.why
        assert headers["kafka_dlt-original-topic"].decode() == world.prefix + topic
        assert int(headers["kafka_dlt-original-partition"]) == places[0].partition
        assert int(headers["kafka_dlt-original-timestamp"]) == places[2 * number].timestamp
        assert headers["kafka_dlt-exception-fqcn"].decode().endswith(case.code)


async def test_a_message_without_value_or_key_is_a_dead_letter_with_its_own_headers(world):
    world.worker()
    await world.produce_one(UPDATES, None, key=None, headers=[("own", b"kept"), ("null", None)])
    letters = await world.read(f"{UPDATES}-dlt", 1)
    (record,) = letters.records
    assert (record.key, record.value) == (None, None)
    assert record.headers[:2] == (("own", b"kept"), ("null", None))


async def test_a_message_as_large_as_the_topic_takes_is_a_dead_letter_byte_for_byte(world):
    world.worker()
    large = b"x" * 1_000_000
    await world.produce_one(UPDATES, large, key=b"k", headers=[])
    letters = await world.read(f"{UPDATES}-dlt", 1)
    assert letters.records[0].value == large
    assert letters.headers()[0]["kafka_dlt-exception-message"].startswith(b"TOO_LARGE: ")
