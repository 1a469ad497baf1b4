"""A real worker on a real Kafka and PostgreSQL, driven from outside: what its users see is what is tested.

Everything here speaks Kafka and SQL only; it knows topics, keys and shapes from `schemas/`, nothing of the code.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

ORG = 100737
CATALOG = {
    "orgId": ORG,
    "defaultRegion": "CN",
    "blockList": ["test@test.com"],
    "sources": {"INSTORE": "single", "WEBSHOP": "single", "WECHAT": "multiple"},
    "series": [{"id": 163, "code": "GOLD", "autoCreate": True, "maxActiveCardsPerCustomer": 2, "expiryDays": 365}],
}
UPDATES, CUSTOMERS, CARDS = "identifier-updates", "customer-registrations", "card-registrations"
OUTCOMES, REGISTERED = "update-outcomes", "registration-outcomes"


@dataclass
class Read:
    """What a read_committed reader saw of a topic: records with parsed values."""

    records: list = field(default_factory=list)

    def values(self):
        return [json.loads(record.value) for record in self.records]

    def headers(self):
        return [dict(record.headers) for record in self.records]


class World:
    """One topic prefix, one group and one database: everything a test needs of its own."""

    def __init__(self, bootstrap_servers, database_url, topic_prefix, folder: Path):
        self.bootstrap_servers, self.database_url, self.prefix = bootstrap_servers, database_url, topic_prefix
        self.folder = folder
        self.settings = {
            "MERGELINE_DATABASE_URL": database_url,
            "MERGELINE_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "MERGELINE_TOPIC_PREFIX": topic_prefix,
            "MERGELINE_GROUP_ID": f"{topic_prefix}group",
            "MERGELINE_HTTP_PORT": "0",
            "MERGELINE_SESSION_TIMEOUT_MS": "6000",
        }
        self.workers: list[WorkerProcess] = []

    async def prepare(self, partitions=4, catalog=CATALOG):
        """Topics and catalog, by the command that users run."""
        await self.command("topics", "create", "--partitions", str(partitions), "--replication-factor", "1")
        path = self.folder / "catalog.json"  # JSON is YAML
        path.write_text(json.dumps(catalog))
        await self.command("catalog", "apply", str(path))

    async def command(self, *arguments, status=0, text=None, **settings):
        """Run the command line; its standard output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mergeline", *arguments, env=self.environment(**settings),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(text and text.encode()), 90)
        assert process.returncode == status, (arguments, process.returncode, out.decode(), err.decode())
        return out.decode() if status == 0 else err.decode()

    def environment(self, **settings):
        base = {name: value for name, value in os.environ.items() if not name.startswith("MERGELINE_")}
        return base | self.settings | {"COLUMNS": "100"} | settings

    def worker(self, **settings):
        """Start a worker process."""
        worker = WorkerProcess(self, len(self.workers), settings)
        self.workers.append(worker)
        return worker

    async def produce(self, topic, values, key=None):
        """Send values (dicts as JSON, bytes as they are) in order; where each one landed."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers, enable_idempotence=True, max_batch_size=1 << 18, linger_ms=5
        )
        await producer.start()
        try:
            sent = []
            for value in values:
                data = json.dumps(value).encode() if isinstance(value, dict) else value
                own = key if key is not None else _key(value)
                sent.append(await producer.send(self.prefix + topic, data, key=own))
            return [await one for one in sent]
        finally:
            await producer.stop()

    async def produce_one(self, topic, value, key, headers, partition=None):
        """Send one record exactly as given."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers, max_request_size=4 << 20)
        await producer.start()
        try:
            return await producer.send_and_wait(
                self.prefix + topic, value, key=key, headers=headers, partition=partition
            )
        finally:
            await producer.stop()

    async def read(self, topic, count, timeout_s=60.0, settle_s=0.0):
        """The first `count` committed records of a topic; then, for `settle_s`, whatever comes that should not."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, isolation_level="read_committed", auto_offset_reset="earliest",
            enable_auto_commit=False, fetch_max_wait_ms=50,
        )  # fmt: skip
        await consumer.start()
        try:
            places = [TopicPartition(self.prefix + topic, p) for p in await self._partitions(consumer, topic)]
            consumer.assign(places)
            await consumer.seek_to_beginning()
            seen = Read()
            deadline = time.monotonic() + timeout_s
            while len(seen.records) < count and time.monotonic() < deadline:
                await self._more(consumer, seen)
            until = time.monotonic() + settle_s
            while time.monotonic() < until:
                await self._more(consumer, seen)
            assert len(seen.records) >= count, (topic, len(seen.records), count, [w.log_tail() for w in self.workers])
            return seen
        finally:
            await consumer.stop()

    async def _partitions(self, consumer, topic):
        return sorted(await consumer._client._wait_on_metadata(self.prefix + topic))

    @staticmethod
    async def _more(consumer, seen):
        for records in (await consumer.getmany(timeout_ms=100)).values():
            seen.records += records

    async def register(self, customers):
        """Register customers (dicts without orgId) and wait for their outcomes."""
        before = len((await self.read(REGISTERED, 0, settle_s=0.2)).records)
        await self.produce(CUSTOMERS, [{"orgId": ORG, **customer} for customer in customers])
        return (await self.read(REGISTERED, before + len(customers))).values()

    def close(self):
        for worker in self.workers:
            worker.kill()


def _key(value):
    if isinstance(value, dict) and "orgId" in value and "customerId" in value:
        return f"{value['orgId']}:{value['customerId']}".encode()
    return None


class WorkerProcess:
    """`mergeline worker` as a process of its own."""

    def __init__(self, world, number, settings):
        self.log = world.folder / f"worker-{number}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mergeline", "worker"], env=world.environment(**settings), stderr=log, stdout=log
            )

    def kill(self):
        """SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def signal(self, number):
        self.process.send_signal(number)

    def terminate(self, timeout_s=15.0):
        """SIGTERM; the exit status and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout_s)
        return status, time.monotonic() - started

    @property
    def running(self):
        return self.process.poll() is None

    def wait(self, timeout_s=30.0):
        return self.process.wait(timeout_s)

    def log_tail(self, lines=15):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def update(customer, request_id=None, source="INSTORE", account=None, **lists):
    """A request of `schemas/requests/identifier-update`."""
    body = {"orgId": ORG, "customerId": customer, "source": source, **lists}
    if account is not None:
        body["accountId"] = account
    if request_id is not None:
        body["requestId"] = request_id
    return body
