"""The servers that all other tests stand on, in whichever kind was chosen."""

import asyncio

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

DELIVERY_TIMEOUT_S = 20
KILLS = 3
"""A broker that forgets to end transactions (see `KAFKA_VERSION`) does so in one of several."""


async def test_killed_kafka_keeps_address_and_what_was_committed_right_before(killable_kafka, topic_prefix):
    topic, address = f"{topic_prefix}kept", killable_kafka.bootstrap_servers
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()
    for kill in range(KILLS):
        # Each of a producer of its own: the next transaction of the same one would end what was left open.
        producer = AIOKafkaProducer(bootstrap_servers=address, transactional_id=f"{topic_prefix}{kill}")
        async with producer, producer.transaction():
            await producer.send_and_wait(topic, b"%d" % kill)
        await asyncio.to_thread(killable_kafka.kill)
        await asyncio.to_thread(killable_kafka.start)
        assert killable_kafka.bootstrap_servers == address

    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=address, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    async with consumer, asyncio.timeout(DELIVERY_TIMEOUT_S):
        assert [int((await consumer.getone()).value) for _ in range(KILLS)] == list(range(KILLS))


async def test_killed_postgres_keeps_address_and_rows(killable_postgres, empty_database_url):
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("create table kept as select 1 as value")

    await asyncio.to_thread(killable_postgres.kill)
    connection.terminate()
    await asyncio.to_thread(killable_postgres.start)

    connection = await asyncpg.connect(empty_database_url)
    assert await connection.fetchval("select value from kept") == 1
    assert await connection.fetchval("show max_locks_per_transaction") == "256"
    await connection.close()


async def test_killing_postgres_ends_a_session_that_is_busy(killable_postgres, empty_database_url):
    connection = await asyncpg.connect(empty_database_url)
    busy = asyncio.create_task(connection.execute("do $$ begin loop end loop; end $$"))
    await asyncio.sleep(0.1)

    await asyncio.to_thread(killable_postgres.kill)

    assert isinstance((await asyncio.gather(busy, return_exceptions=True))[0], Exception)
