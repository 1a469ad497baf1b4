"""A real worker on a real Kafka and PostgreSQL, driven from outside: what its users see is what is tested.

Everything here speaks Kafka, SQL and the command line; it knows topics, keys and shapes from `schemas/`, nothing of
the code. Waits are for conditions, and bounded; "nothing more comes" is asked after all that was sent is committed
(`drained`), not after a while.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import MappingProxyType

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from click.testing import CliRunner
from tests.worker.process import WorkerProcess

from mergeline.cli import main

ORG = 100737
CATALOG = {
    "orgId": ORG,
    "defaultRegion": "CN",
    "blockList": ["test@test.com"],
    "sources": {"INSTORE": "single", "WEBSHOP": "single", "WECHAT": "multiple"},
    "series": [{"id": 163, "code": "GOLD", "autoCreate": True, "maxActiveCardsPerCustomer": 2, "expiryDays": 365}],
}
SOON_STALLED = MappingProxyType({"MERGELINE_PROGRESS_TIMEOUT_MS": "5000", "MERGELINE_DATABASE_TIMEOUT_MS": "4000"})
UPDATES, CUSTOMERS, CARDS = "identifier-updates", "customer-registrations", "card-registrations"
OUTCOMES, REGISTERED, COMMANDS = "update-outcomes", "registration-outcomes", "commands-by-customer"
EVENTS = ("customer-merged", "card-issued", "card-changed", "identifiers-changed", "customer-redirects")
OUTPUTS = (OUTCOMES, REGISTERED, *EVENTS, f"{UPDATES}-dlt", f"{CUSTOMERS}-dlt", f"{CARDS}-dlt")
PATIENCE_S = 90.0


class World:
    """One topic prefix, one group and one database: everything a test needs of its own."""

    def __init__(self, bootstrap_servers, database_url, topic_prefix, folder: Path):
        self.bootstrap_servers, self.database_url, self.prefix = bootstrap_servers, database_url, topic_prefix
        self.folder = folder
        self.group = f"{topic_prefix}group"
        self.settings = {
            "MERGELINE_DATABASE_URL": database_url,
            "MERGELINE_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "MERGELINE_TOPIC_PREFIX": topic_prefix,
            "MERGELINE_GROUP_ID": self.group,
            "MERGELINE_HTTP_PORT": "0",
            "MERGELINE_SESSION_TIMEOUT_MS": "6000",
        }
        self.workers: list[WorkerProcess] = []
        self.records = defaultdict(list)
        self._values = defaultdict(list)
        self._produced: dict[TopicPartition, int] = {}
        self._open = contextlib.AsyncExitStack()
        self._arrived = asyncio.Event()

    # ------------------------------------------------------------ setting up

    async def prepare(self, partitions=3, catalog=CATALOG, topics=OUTPUTS):
        """Topics and catalog by the commands that users run; then a producer, and a reader of all that comes out."""
        await self.command("topics", "create", "--partitions", str(partitions), "--replication-factor", "1")
        await self.apply_catalog(catalog)
        await self.new_producer()
        self._consumer = await self._opened(
            AIOKafkaConsumer(
                bootstrap_servers=self.bootstrap_servers, isolation_level="read_committed",
                auto_offset_reset="earliest", enable_auto_commit=False, fetch_max_wait_ms=50,
            )
        )  # fmt: skip
        self._uncommitted = await self._opened(AIOKafkaConsumer(bootstrap_servers=self.bootstrap_servers))
        self._consumer.assign([TopicPartition(self.prefix + name, p) for name in topics for p in range(partitions)])
        self._partitions = partitions
        self._reading = asyncio.create_task(self._read())

    async def make_anew(self, *topics):
        """Delete topics and create them; with another producer, which has numbered nothing there."""
        names = {self.prefix + topic for topic in topics}
        async with self.admin() as admin:
            await admin.delete_topics(list(names))
            while names & set(await admin.list_topics()):
                await asyncio.sleep(0.1)
        await self.command("topics", "create", "--partitions", str(self._partitions), "--replication-factor", "1")
        self._produced = {place: offset for place, offset in self._produced.items() if place.topic not in names}
        await self.new_producer()

    async def until_nobody_is_in_the_group(self):
        """Wait until Kafka has given up the members that did not leave."""
        async with self.admin() as admin:
            while (await admin.describe_consumer_groups([self.group]))[0].to_object()["groups"][0]["members"]:
                await asyncio.sleep(0.2)

    async def new_producer(self):
        """The producer of what goes in; another one after an error that none survives."""
        self._producer = await self._opened(
            AIOKafkaProducer(
                bootstrap_servers=self.bootstrap_servers, enable_idempotence=True, linger_ms=5,
                max_batch_size=1 << 18, max_request_size=4 << 20, metadata_max_age_ms=10_000,
            )
        )  # fmt: skip

    async def apply_catalog(self, catalog):
        path = self.folder / f"catalog-{catalog['orgId']}.json"  # JSON is YAML
        path.write_text(json.dumps(catalog))
        await self.command("catalog", "apply", str(path))

    async def command(self, *arguments, status=0, **settings):
        """Run the command line; its standard output (standard error where it is not to succeed)."""
        result = await self._ran(arguments, status, settings)
        return result.stdout if status == 0 else result.stderr

    async def document(self, *arguments, status=0, **settings):
        """Run the command line with --json; what it answers, also where the answer is no."""
        return json.loads((await self._ran([*arguments, "--json"], status, settings)).stdout)

    async def shown(self, *arguments, status=0, **settings):
        """Run the command line; its standard output, also where the answer is no."""
        return (await self._ran(arguments, status, settings)).stdout

    async def _ran(self, arguments, status, settings):
        runner, environment = CliRunner(), self.settings | {"COLUMNS": "100"} | settings
        result = await asyncio.to_thread(runner.invoke, main, arguments, env=environment)
        assert result.exit_code == status, (arguments, result.exit_code, result.output, result.exception)
        return result

    def worker(self, module="mergeline", **settings):
        """Start a worker process."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        self.workers.append(WorkerProcess(log, self.settings | settings, module))
        return self.workers[-1]

    @contextlib.asynccontextmanager
    async def connection(self):
        connection = await asyncpg.connect(self.database_url)
        try:
            yield connection
        finally:
            await connection.close()

    async def sql(self, statement, *arguments):
        async with self.connection() as connection:
            return await connection.fetch(statement, *arguments)

    def kill_workers(self):
        for worker in self.workers:
            worker.kill()

    async def close(self):
        self.kill_workers()
        if hasattr(self, "_reading"):
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._open.aclose()

    async def _opened(self, client):
        await client.start()

        async def stop():
            # A session's client may not have had its turn for minutes, while tests without a loop ran: its requests
            # have timed out then, and aiokafka lets the cancellation of its own task out of `stop`.
            with contextlib.suppress(asyncio.CancelledError, KafkaError):
                await client.stop()

        self._open.push_async_callback(stop)
        return client

    # ------------------------------------------------------------ what goes in

    async def produce(self, topic, values, key=None, headers=(), partition=None, timestamp_ms=None):
        """Send values (dicts as JSON, bytes as they are) in order; where each one landed."""
        sent = []
        for value in values:
            data = json.dumps(value).encode() if isinstance(value, dict) else value
            own = key if key is not None else _key(value)
            if data is None:  # `send` takes none without key and value
                batch = self._producer.create_batch()
                batch.append(timestamp=None, key=own, value=None, headers=list(headers))
                sent.append(await self._producer.send_batch(batch, self.prefix + topic, partition=partition))
            else:
                record = data, own, partition, timestamp_ms, list(headers)
                sent.append(await self._producer.send(self.prefix + topic, *record))
        places = [await one for one in sent]
        for place in places:
            self._produced[place.topic_partition] = max(self._produced.get(place.topic_partition, 0), place.offset)
        return places

    def origin(self, place):
        """The request id of a message that names none."""
        return f"{place.topic.removeprefix(self.prefix)}-{place.partition}-{place.offset}"

    async def register(self, customers, source="INSTORE", org=ORG):
        """Register customers, by their ids or as dicts without orgId, and wait for their outcomes."""
        given = [one if isinstance(one, dict) else {"customerId": one, "source": source} for one in customers]
        values = [{"orgId": org, **one} for one in given]
        places = await self.produce(CUSTOMERS, values)
        await self.answered(map(self.origin, places), REGISTERED)

    # ------------------------------------------------------------ what comes out

    async def until(self, condition, why="", timeout_s=PATIENCE_S):
        """Wait until what was read, or anything else that `condition` looks at, is so; what it answered."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._arrived.clear()
            found = condition()
            if found:
                return found
            assert time.monotonic() < deadline, (why, self.counts(), [w.log_tail() for w in self.workers])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), 0.1)

    async def answered(self, request_ids, topic=OUTCOMES, timeout_s=PATIENCE_S):
        """The values of these requests' outcomes, by id, once all are there."""
        wanted = set(request_ids)

        def found():
            values = {value["requestId"]: value for value in self.values(topic)}
            return wanted <= values.keys() and {name: values[name] for name in wanted}

        return await self.until(found, f"outcomes of {len(wanted)} requests", timeout_s)

    async def outcomes_of(self, requests, timeout_s=PATIENCE_S):
        """Send requests that name their ids; their outcomes in the same order."""
        await self.produce(UPDATES, requests)
        found = await self.answered((request["requestId"] for request in requests), timeout_s=timeout_s)
        return [found[request["requestId"]] for request in requests]

    async def letters(self, count, topic=UPDATES, where=lambda _: True):
        """The dead letters of a topic that `where` chooses, once there are so many."""
        name = f"{topic}-dlt"

        def found():
            chosen = [record for record in self.records[name] if where(record)]
            return len(chosen) >= count and chosen

        return await self.until(found, f"{count} dead letters")

    async def read(self, topic, count):
        """The values of a topic, once there are so many."""
        return await self.until(
            lambda: len(self.records[topic]) >= count and self.values(topic), f"{count} records of {topic}"
        )

    def values(self, topic):
        """The records' values, each parsed once."""
        known = self._values[topic]
        known += [json.loads(record.value) for record in self.records[topic][len(known) :]]
        return known

    def answers(self, topic=OUTCOMES):
        """How often each request was answered."""
        return Counter(value["requestId"] for value in self.values(topic))

    def counts(self):
        return {topic: len(records) for topic, records in self.records.items() if records}

    async def drained(self, timeout_s=PATIENCE_S):
        """Wait until all that was sent is committed, and all that was published is read: nothing more can come."""
        deadline = time.monotonic() + timeout_s
        while left := await self._left():
            self.left = left
            assert time.monotonic() < deadline, (left, self.counts(), [w.log_tail() for w in self.workers])
            await asyncio.sleep(0.2)
        self.left = None
        # Offsets can be visible before the records of their transaction are: the ends are those of the logs.
        ends = await self._uncommitted.end_offsets(self._consumer.assignment())
        for place, end in ends.items():
            while await self._consumer.position(place) < end:
                assert time.monotonic() < deadline + 30, ("not all is read", place, end)
                await asyncio.sleep(0.02)
        await asyncio.sleep(0)  # the reader hands over what it read at the next turn
        await self.until(lambda: not self._handing_over)

    async def ends(self, topic):
        """How long the logs of a topic are."""
        return await self._consumer.end_offsets(
            [TopicPartition(self.prefix + topic, number) for number in range(self._partitions)]
        )

    async def log_of(self, topic):
        """All records of a topic, in order by partition."""
        ends = await self.ends(topic)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap_servers, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign(list(ends))
            await consumer.seek_to_beginning()
            found = []
            while len(found) < sum(ends.values()):  # nothing of a transaction stands where this is asked
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
        finally:
            await consumer.stop()
        return found

    async def committed(self):
        """The group's offsets."""
        async with self.admin() as admin:
            while True:
                try:
                    found = await admin.list_consumer_group_offsets(self.group)
                    break
                except GroupCoordinatorNotAvailableError:  # a broker that has just started
                    await asyncio.sleep(0.1)
        return {(p.topic.removeprefix(self.prefix), p.partition): known.offset for p, known in found.items()}

    @contextlib.asynccontextmanager
    async def admin(self):
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    async def configure(self, topic, configs):
        """Set a topic's configs (all of them: this is how the request works), and wait until the broker knows."""
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs)
        deadline = time.monotonic() + PATIENCE_S
        async with self.admin() as admin:
            (response,) = await admin.alter_configs([resource])
            assert [refused for refused in response.resources if refused[0]] == []
            while True:
                (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
                (shown,) = response.to_object()["resources"]
                values = {entry["config_names"]: entry["config_value"] for entry in shown["config_entries"]}
                if configs.items() <= values.items():
                    return
                assert time.monotonic() < deadline, (topic, configs, values)
                await asyncio.sleep(0.05)

    left = None
    """What `drained` still waits for: partitions, how far they are committed and have to be; or an error."""

    async def _left(self):
        internal = [TopicPartition(self.prefix + COMMANDS, number) for number in range(self._partitions)]
        try:
            # In this order, and with what is not visible yet: what the router had committed is in these logs.
            async with self.admin() as admin:  # each time: brokers come and go
                committed = await admin.list_consumer_group_offsets(self.group)
            ends = await self._uncommitted.end_offsets(internal)
        except KafkaError as error:
            return repr(error)
        wanted = {place: offset + 1 for place, offset in self._produced.items()} | ends
        done = {place: known.offset for place, known in committed.items()}
        return {place: (done.get(place), end) for place, end in wanted.items() if max(done.get(place, 0), 0) < end}

    def took(self, topic, records):
        """What the reader does with what it read."""
        self.records[topic] += records

    _handing_over = False

    async def _read(self):
        while True:
            self._handing_over = True
            try:
                found = await self._consumer.getmany(timeout_ms=0)
            except KafkaError:  # a broker that was killed
                found = {}
            for place, records in found.items():
                self.took(place.topic.removeprefix(self.prefix), records)
            self._handing_over = False
            if found:
                self._arrived.set()
            await asyncio.sleep(0.02)


def _key(value):
    if isinstance(value, dict) and "orgId" in value and "customerId" in value:
        return f"{value['orgId']}:{value['customerId']}".encode()
    return None


def headers(record):
    return dict(record.headers)


def update(customer, request_id=None, source="INSTORE", account=None, org=ORG, **lists):
    """A request of `schemas/requests/identifier-update`."""
    body = {"orgId": org, "customerId": customer, "source": source, **lists}
    if account is not None:
        body["accountId"] = account
    if request_id is not None:
        body["requestId"] = request_id
    return body


def adding(customer, request_id, value=None, **more):
    """A request that always applies: an identifier that nobody else has."""
    item = {"type": "externalId", "value": value or f"of {request_id}"}
    return update(customer, request_id, "WECHAT", f"a{customer}", add=item, **more)
