"""The apply stage: one PostgreSQL transaction a batch, one Kafka transaction for those that were processed meanwhile.

In: records of the internal topic (or of the public ones, with `MERGELINE_REQUESTS_KEYED`). Out: stored bytes,
published with the offsets of their records. Never: a publish by a worker that another one has fenced.

Acquiring is `mergeline.store.ownership`'s claim around Kafka's init_transactions, in this order: lock the
partitions' rows; fence every transactional id found there, and initialise our own new one; read the committed offsets;
write both; commit. Our id is initialised before anybody can read it: a worker that slept between the two would
otherwise wake, initialise, and be fenced by nobody. And what is read is read while the rows are locked: how far the
partitions are answered and how far they are published is of one moment, and whoever locks the rows next finds an owner
whole, or none.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice
from typing import Final

import structlog
from aiokafka import TopicPartition

from mergeline.domain.batch import Answer
from mergeline.domain.incarnations import topic_of
from mergeline.domain.messages import Message, Outgoing
from mergeline.metrics import MESSAGES, OLDEST_SECONDS
from mergeline.settings import Settings
from mergeline.store.apply import Store
from mergeline.store.attempts import apply_with_retries
from mergeline.store.failures import describe
from mergeline.store.ownership import Claim, claim
from mergeline.store.progress import write_progress
from mergeline.stream.flood import FloodGate
from mergeline.stream.forgotten import check_remembered, gaps
from mergeline.stream.incarnations import Incarnations, at_the_database
from mergeline.stream.lanes import Chunk
from mergeline.stream.offsets import Offsets
from mergeline.stream.origin import message_of
from mergeline.stream.pipeline import Work
from mergeline.stream.producers import Producers
from mergeline.stream.publisher import Publisher, PublishFailed
from mergeline.stream.reached import Reached
from mergeline.stream.retrying import all_ended

KEEP_PROGRESS_S: Final = 2.0
log = structlog.get_logger(__name__)


class ApplyStage:
    """The apply part of a pipeline; holds a publisher from `acquire` to `release`."""

    name = "apply"

    def __init__(
        self, settings: Settings, store: Store, producers: Producers, offsets: Offsets, incarnations: Incarnations
    ) -> None:
        self._settings, self._store, self._producers, self._offsets = settings, store, producers, offsets
        self._incarnations = incarnations
        self._publisher: Publisher | None = None
        self._reached = Reached()
        self._gate = FloodGate(settings.dead_letter_limit)

    async def acquire(
        self, partitions: Sequence[TopicPartition], published: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Fence the last owners, read where they got to, and become the owner.

        Raises:
            Retriable: brokers or database are away, or a commit is unknown: not acquired, but to be released.
            SetupError: an operator must act.
        """
        await self._incarnations.acquire(partitions)
        places = {self._incarnations.place(partition): partition for partition in partitions}
        if not published:  # a pipeline's first time; one that acquires once more knows itself what it has stored
            self._reached, self._gate = Reached(), FloodGate(self._settings.dead_letter_limit)
        with at_the_database():
            async with claim(self._store, list(places), answers_from=0) as claimed:
                # Cut off from the group, we would fence whoever it gave the partitions to. And not before the rows are
                # ours: a router that was given them meanwhile found that nobody answers there, and goes by that.
                await self._offsets.confirm()
                own_id = await self._fence(claimed)
                owners, horizons = claimed.owners, await claimed.horizons()
                self._reached.check(owners)
                floor = {
                    partition: max(owners[place].published_offset, published.get(partition, 0))
                    for place, partition in places.items()
                }
                positions = await self._offsets.positions(partitions, floor)
                await check_remembered(self._settings, gaps(places, owners, horizons, positions))
                begins = {place: positions[partition] for place, partition in places.items()}
                await claimed.write(own_id, begins)
        self._reached.acquired(owners, begins, horizons)
        return positions

    async def _fence(self, claimed: Claim) -> str | None:
        """Fence the last owners, and start a producer of our own; its transactional id, where it has one.

        All at once: where one of the addresses is silent each of them takes seconds, and the claim may not idle long.
        """
        exactly_once = self._settings.delivery == "exactly_once"
        own_id = self._producers.fresh_id() if exactly_once else None
        fenced = [self._producers.fence(one) for one in claimed.transactional_ids] if exactly_once else []
        await all_ended([self._start(own_id), *fenced])
        return own_id

    async def _start(self, own_id: str | None) -> None:
        self._publisher = await self._producers.start(own_id)  # before anybody can read the id

    async def process(self, batch: Sequence[Chunk], partitions: Sequence[TopicPartition]) -> AsyncIterator[list[Work]]:
        """Decide the batch and commit it, with the offsets that the batches before it have reached.

        Only those of `partitions`: two transactions that raise the same rows would wait for each other.
        """
        places = [self._incarnations.place(chunk.partition) for chunk in batch]
        messages: list[Message] = []
        for place, chunk in zip(places, batch, strict=True):
            messages += [message_of(record, place) for record in chunk.records]
        self._gate.saw(message.origin for message in messages)
        progress = self._reached.of_batch(places, map(self._incarnations.place, partitions))
        parts = apply_with_retries(
            self._store,
            messages,
            progress=progress,
            horizons=self._reached.horizons,
            check_runs=self._gate.check,
        )
        done = 0
        async for answers in parts:
            self._reached.told(progress)
            _count(answers)
            works = works_of(batch, done, answers)
            for work in works:
                self._reached.stored(self._incarnations.place(work.partition), work.offsets[-1])
            done += len(answers)
            yield works

    async def publish(self, records: Sequence[Outgoing], ends: Mapping[TopicPartition, int]) -> None:
        """Records and offsets in one transaction; with at_least_once, the offsets behind the records."""
        if self._publisher is None:
            raise PublishFailed("not acquired")
        await self._publisher.publish(records, ends)
        if self._publisher.transactional_id is None:
            await self._offsets.commit(ends)
        if self._reached.published({self._incarnations.place(partition): end for partition, end in ends.items()}):
            await self._keep_progress()  # or whoever comes next would look for records there

    async def release(self) -> None:
        """Kill the producer: what it had not published is published by the next owner."""
        if self._publisher is not None:
            await self._publisher.kill()
            self._publisher = None  # not before: cut short, this is called again
            await self._keep_progress()

    async def _keep_progress(self) -> None:
        """Say how far it got where no batch will, or not before the group's own offsets expire.

        As well as it goes: where the database does not answer, the last batch may be published again in that one case.
        """
        progress = self._reached.untold()
        try:
            async with asyncio.timeout(KEEP_PROGRESS_S), self._store.statements() as db:
                await write_progress(db, self._store.options.group_id, progress)
            self._reached.told(progress)
        except Exception as error:  # noqa: BLE001 (whatever it is, what goes on does so without)
            log.warning("progress.not_kept", error=describe(error))


def works_of(batch: Sequence[Chunk], done: int, answers: Sequence[Answer]) -> list[Work]:
    """The works of answers to the messages of a batch that stand behind the first `done`."""
    works: list[Work] = []
    left, begin, end = iter(answers), done, done + len(answers)
    for partition, records, _ in batch:
        part = records[max(begin, 0) : max(end, 0)]
        if part:
            outgoing = [answer.outgoing for answer in islice(left, len(part))]
            works.append(Work(partition, [record.offset for record in part], outgoing))
        begin, end = begin - len(records), end - len(records)
    return works


def _count(answers: Sequence[Answer]) -> None:
    oldest_ms = min((answer.message.timestamp_ms for answer in answers), default=None)
    if oldest_ms is not None:
        OLDEST_SECONDS.set(max(0.0, time.time() - oldest_ms / 1000))
    for labels, count in Counter((topic_of(answer.message.origin.topic), answer.kind) for answer in answers).items():
        MESSAGES.labels(*labels).inc(count)
