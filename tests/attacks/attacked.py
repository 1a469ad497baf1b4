"""A world under attack: whatever is sent is known to an auditor, whatever comes out is seen by it.

In: messages of a workload. Out: the auditor's judgement. Sending goes on through the death of a broker; where a
producer gives a message up, it is sent again, which may put it into the log twice: then it is a repeat.
"""

import asyncio
import contextlib
import itertools
import time

from aiokafka.errors import KafkaError
from tests.attacks.auditor import INPUTS, LETTERS, OUTCOMES, Auditor
from tests.attacks.forked import ForkedWorker
from tests.attacks.stored import stored
from tests.attacks.workload import CATALOG
from tests.worker.harness import OUTPUTS, World

SESSION_MS = 2_000
START_TIMEOUT_MS = 120_000
"""A killed broker may take long to be back on a busy machine."""
SEND_TRIES_MAX = 5
CHUNK_MAX = 60
POLL_S = 0.02
DRAINED_WITHIN_S, STILL_S = 3_600.0, 90.0
"""How long healing may take at most, and how long without a further answer."""


class AttackedWorld(World):
    """One world with its auditor, who takes the place of the records."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.auditor = Auditor()

    async def prepare(self, partitions):
        await super().prepare(partitions, CATALOG, (*INPUTS, *OUTPUTS))

    def took(self, topic, records):
        for record in records:
            self.auditor.took(topic, record)

    def counts(self):
        return dict(self.auditor.topics)

    def answers(self):
        """How many messages were answered in any way."""
        return sum(self.auditor.topics[topic] for topic in (*OUTCOMES, *LETTERS))

    def forked_worker(self):
        """Start a worker of a short session; every other one has one lane."""
        number = len(self.workers)
        log = self.folder / f"worker-{number}.log"
        own = {"MERGELINE_START_TIMEOUT_MS": str(START_TIMEOUT_MS), "MERGELINE_APPLY_LANES": str(2 - number % 2)}
        self.workers.append(ForkedWorker(log, self.settings | own, SESSION_MS))
        return self.workers[-1]

    async def send(self, messages):
        """Every message acknowledged, whatever happens to the broker meanwhile."""
        for message in messages:
            self.auditor.sending(message)
        left = messages
        for _ in range(SEND_TRIES_MAX):
            sending = (self.produce(message.topic, [message.value], message.key) for message in left)
            results = await asyncio.gather(*sending, return_exceptions=True)
            failed = []
            for message, result in zip(left, results, strict=True):
                if isinstance(result, KafkaError):
                    failed.append(message)
                elif isinstance(result, BaseException):
                    raise result
                else:
                    self.auditor.acknowledged(message.topic, result[0], message.value)
            if not failed:
                return
            left = failed
            await self.new_producer()
        raise TimeoutError(f"{len(left)} messages cannot be sent")

    def check_reader(self):
        """Raise what ended the reader, if anything did."""
        if self._reading.done():
            self._reading.result()

    async def unread(self):
        """Partitions with records that were not read: how far they were, could be (last stable offset), and all."""
        places = self._consumer.assignment()
        stable, ends = await self._consumer.end_offsets(places), await self._uncommitted.end_offsets(places)
        read = {place: await self._consumer.position(place) for place in places}
        return {
            f"{place.topic}-{place.partition}": (read[place], stable[place], ends[place])
            for place in places
            if read[place] < ends[place]
        }

    async def audit(self):
        """Wait until nothing more can come, then judge all of it."""
        draining = asyncio.ensure_future(self.drained(DRAINED_WITHIN_S))
        answers, since = self.answers(), time.monotonic()
        while not draining.done():
            self.check_reader()
            await asyncio.wait([draining], timeout=1)
            if self.answers() > answers:
                answers, since = self.answers(), time.monotonic()
            elif time.monotonic() > since + STILL_S:
                state = f"{self.counts()}, left: {self.left}, unread: {await self.unread()}"
                raise TimeoutError(f"nothing was answered for {STILL_S:.0f} s: {state}")
        if (error := draining.exception()) is not None:
            self.auditor.defects.add("not drained", repr(error)[:2_000])
        async with stored(self.database_url) as rows:
            defects = await self.auditor.judge(rows)
        try:
            await self.command("verify")
        except AssertionError as error:
            defects.add("verify finds offenders", error)
        return defects


async def pour(world, messages, total, due, dice):
    """Send `total` messages in small chunks, never more than `due()` says."""
    sent = 0
    while sent < total:
        if (room := min(total, due()) - sent) <= 0:
            await asyncio.sleep(POLL_S)
            continue
        chunk = list(itertools.islice(messages, min(room, dice.randint(1, CHUNK_MAX))))
        await world.send(chunk)
        sent += len(chunk)


@contextlib.asynccontextmanager
async def attacked_world(bootstrap_servers, database_url, prefix, folder, partitions):
    """With topics and a catalog; its workers are killed at the end."""
    world = AttackedWorld(bootstrap_servers, database_url, prefix, folder)
    try:
        await world.prepare(partitions)
        yield world
    finally:
        await world.close()
