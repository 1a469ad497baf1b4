"""A key's partition is that of Kafka's Java clients: so their messages and ours keep their order among each other."""

from zlib import crc32

import pytest

from mergeline.cli.kafka import Sender
from mergeline.stream.publisher import partition_of

PARTITIONS = 8
HASHES = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""Of the tests of Kafka's own `Utils.murmur2`."""


class Batch:
    def append(self, **_):
        return True

    def close(self):
        pass


class Producer:
    """Takes batches, and remembers where to."""

    def __init__(self):
        self.partitions = []

    def create_batch(self):
        return Batch()

    async def send_batch(self, builder, topic, partition):
        self.partitions.append(partition)

        async def place():
            return type("Place", (), {"partition": partition, "offset": 0})

        return place()


@pytest.mark.parametrize(("key", "number"), HASHES.items())
async def test_what_is_sent_and_what_is_published_goes_where_java_s_clients_put_it(key, number):
    producer = Producer()
    sender = Sender(producer, "topic", PARTITIONS)
    await sender.put(key, b"{}", "mark")
    await sender.settle()
    assert producer.partitions == [(number & 0x7FFFFFFF) % PARTITIONS]
    assert partition_of(key, PARTITIONS) == producer.partitions[0]


def test_a_client_that_hashes_by_crc32_puts_most_keys_elsewhere():
    """librdkafka's default: why the documents tell its users to set `partitioner=murmur2_random`."""
    keys = [b"100737:%d" % number for number in range(1_000)]
    same = [key for key in keys if crc32(key) % PARTITIONS == partition_of(key, PARTITIONS)]
    assert len(same) < len(keys) / 4
