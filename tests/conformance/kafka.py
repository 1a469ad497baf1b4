"""Scenarios on a Kafka: all side by side, each step once the one before it is answered.

In: where Kafka is, the prefix of the topics, scenarios whose catalogs are applied. Out: the differences by scenario.
It reads `read_committed`, and only what comes from now on. Nothing but the contract is used: topics, keys, headers.
"""

import asyncio
import time
from contextlib import AsyncExitStack

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.conformance.judge import Record, differences
from tests.conformance.scenario import CARDS, CUSTOMERS, EVENTS, OUTCOMES, UPDATES
from tests.conformance.shapes import wrong_shapes

LETTERS = tuple(f"{topic}-dlt" for topic in (UPDATES, CUSTOMERS, CARDS))
ANSWERS = tuple(set(OUTCOMES.values()))


class Runner:
    """One run of scenarios against whatever answers the topics."""

    def __init__(self, bootstrap_servers, prefix, scenarios, *, timeout_s=120.0, settle_s=1.0):
        self.bootstrap_servers, self.prefix, self.scenarios = bootstrap_servers, prefix, scenarios
        self.timeout_s, self.settle_s = timeout_s, settle_s
        self.records = {scenario.org: [] for scenario in scenarios}
        self.letters, self.places = {}, {scenario.org: [] for scenario in scenarios}
        self.due = dict.fromkeys(self.records, 0)

    async def run(self):
        """Scenario name → its differences; without those that have none."""
        topics = [self.prefix + topic for topic in (*EVENTS, *ANSWERS, *LETTERS)]
        async with AsyncExitStack() as stack:
            self._reader = await stack.enter_async_context(
                AIOKafkaConsumer(
                    *topics, bootstrap_servers=self.bootstrap_servers, isolation_level="read_committed",
                    auto_offset_reset="latest", enable_auto_commit=False, fetch_max_wait_ms=50,
                )
            )  # fmt: skip
            await self._reader.seek_to_end()
            # The ends of the logs, open transactions and all: what is committed up to there is all there is.
            self._ends = await stack.enter_async_context(AIOKafkaConsumer(bootstrap_servers=self.bootstrap_servers))
            self._producer = await stack.enter_async_context(AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers))
            for number in range(max(len(scenario.steps) for scenario in self.scenarios)):
                await self._step([scenario for scenario in self.scenarios if number < len(scenario.steps)], number)
            await self._drain()
        found = {scenario.name: self._differences(scenario) for scenario in self.scenarios}
        return {name: lines for name, lines in found.items() if lines}

    def _differences(self, scenario):
        records = self.records[scenario.org]
        return differences(scenario, self.places[scenario.org], records, self.letters) + wrong_shapes(records)

    async def _step(self, scenarios, number):
        """Send the step of each scenario, then wait until all are answered."""
        acknowledged = []
        for scenario in scenarios:
            step = scenario.steps[number]
            sent = [await self._send(message) for message in scenario.messages(step)]
            acknowledged.append((scenario, sent))
            self.due[scenario.org] += step.answers
        for scenario, sent in acknowledged:
            places = [await one for one in sent]
            self.places[scenario.org].append(
                (places[0].topic.removeprefix(self.prefix), places[0].partition, places[0].offset)
            )
        deadline = time.monotonic() + self.timeout_s
        while late := [scenario.name for scenario in scenarios if self._answers(scenario) < self.due[scenario.org]]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"step {number + 1} has no answer after {self.timeout_s} s in {', '.join(late)}")
            await self._read()

    async def _send(self, message):
        return await self._producer.send(self.prefix + message.topic, message.value, key=message.key)

    def _answers(self, scenario):
        outcomes = sum(record.topic in ANSWERS for record in self.records[scenario.org])
        return outcomes + sum(place in self.letters for place in self.places[scenario.org])

    async def _read(self):
        for place, records in (await self._reader.getmany(timeout_ms=100)).items():
            topic = place.topic.removeprefix(self.prefix)
            for one in records:
                self._take(topic, one)

    def _take(self, topic, one):
        headers = {name: value.decode() for name, value in one.headers if value is not None}
        record = Record(topic, one.key.decode() if one.key is not None else None, headers, one.value)
        if topic in LETTERS:
            origin = headers["kafka_dlt-original-topic"].removeprefix(self.prefix)
            numbers = (int(headers[f"kafka_dlt-original-{name}"]) for name in ("partition", "offset"))
            self.letters[origin, *numbers] = record
        elif (org := record.data["orgId"]) in self.records:  # others may use the topics too
            self.records[org].append(record)

    async def _drain(self):
        """Read on until nothing more can come."""
        await asyncio.sleep(self.settle_s)
        ends = await self._ends.end_offsets(self._reader.assignment())
        deadline = time.monotonic() + self.timeout_s
        while [place for place, end in ends.items() if await self._reader.position(place) < end]:
            if time.monotonic() > deadline:
                raise TimeoutError("a transaction stays open")
            await self._read()
