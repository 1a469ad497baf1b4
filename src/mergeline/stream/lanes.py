"""What was read and is not published yet, in lanes: shares of the partitions, of each of which one batch at a time is
processed.

In: fetched records, by partition. Out: what goes into a batch, within its bounds and in order within each partition.
Never: more records of a lane than two batches hold, two batches of a lane processed at once, or a batch that is too
large.

Lanes are for a backlog: while the database works on the batch of one, this process works on that of another, and the
customers of their requests are others. Under a light load a batch is made of all of them, since what a batch costs does
not depend on its size while that is small; until it is processed, whatever it waits for, no other of them is begun.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import TopicPartition

from mergeline.stream.origin import Record, bytes_of


class Chunk(NamedTuple):
    """Records of one partition, in order, and how many bytes they hold."""

    partition: TopicPartition
    records: Sequence[Record]
    bytes: int


class Bounds(NamedTuple):
    """What a batch holds at most; the record that goes over the bytes still goes with those before it."""

    records: int
    bytes: int


class Lane:
    """The records of some partitions."""

    def __init__(self, partitions: Sequence[TopicPartition], bounds: Bounds) -> None:
        self.partitions, self._bounds = partitions, bounds
        self.in_process = False
        """Whether a batch with records of this lane is being processed."""
        self._pending: deque[Chunk] = deque()
        self._waiting = self._waiting_bytes = 0
        self._held = self._held_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether a fetch may bring more: two batches at most are held, by number and by bytes."""
        return self._held < 2 * self._bounds.records and self._held_bytes < 2 * self._bounds.bytes

    @property
    def is_ready(self) -> bool:
        """Whether records of it may go into a batch now."""
        return bool(self._pending) and not self.in_process

    @property
    def is_full(self) -> bool:
        """Whether what waits is a batch by itself."""
        return self.share >= 1

    @property
    def share(self) -> float:
        """What waits, in batches: by number or by bytes, whichever is more."""
        return max(self._waiting / self._bounds.records, self._waiting_bytes / self._bounds.bytes)

    @property
    def held(self) -> int:
        """Records that were put and are not done."""
        return self._held

    @property
    def under_way(self) -> int:
        """Records that were taken and are not done."""
        return self._held - self._waiting

    def put(self, chunk: Chunk) -> None:
        """Take fetched records."""
        self._pending.append(chunk)
        self._waits(chunk, 1)
        self._holds(chunk, 1)

    def done(self, chunk: Chunk) -> None:
        """Let records go that were taken: they are published."""
        self._holds(chunk, -1)

    def drop(self) -> None:
        """Forget what was not taken."""
        while self._pending:
            chunk = self._pending.pop()
            self._waits(chunk, -1)
            self._holds(chunk, -1)

    def take(self, space: Bounds) -> list[Chunk]:
        """The records that come next, as many as fit."""
        taken: list[Chunk] = []
        while self._pending and space.records > 0 and space.bytes > 0:
            chunk, rest = _cut(self._pending.popleft(), space)
            if rest.records:
                self._pending.appendleft(rest)
            taken.append(chunk)
            self._waits(chunk, -1)
            space = left(space, chunk)
        return taken

    def _waits(self, chunk: Chunk, sign: int) -> None:
        self._waiting += sign * len(chunk.records)
        self._waiting_bytes += sign * chunk.bytes

    def _holds(self, chunk: Chunk, sign: int) -> None:
        self._held += sign * len(chunk.records)
        self._held_bytes += sign * chunk.bytes


def lanes_of(partitions: Sequence[TopicPartition], count: int, bounds: Bounds) -> list[Lane]:
    """So many lanes, or one a partition number; partitions of one number, which share customers, are in one lane."""
    numbers = sorted({partition.partition for partition in partitions})
    shares = [set(numbers[first::count]) for first in range(min(count, len(numbers)))]
    return [Lane([tp for tp in partitions if tp.partition in share], bounds) for share in shares]


def chunk_of(partition: TopicPartition, records: Sequence[Record]) -> Chunk:
    """Records with their size."""
    return Chunk(partition, records, sum(map(bytes_of, records)))


def left(space: Bounds, *taken: Chunk) -> Bounds:
    """The space that is left in a batch."""
    return Bounds(
        space.records - sum(len(chunk.records) for chunk in taken), space.bytes - sum(chunk.bytes for chunk in taken)
    )


def _cut(chunk: Chunk, space: Bounds) -> tuple[Chunk, Chunk]:
    """What fits, and the rest."""
    partition, records, everything = chunk
    if len(records) <= space.records and everything <= space.bytes:
        return chunk, Chunk(partition, [], 0)
    size = taken = 0
    for record in records[: space.records]:
        size, taken = size + bytes_of(record), taken + 1
        if size >= space.bytes:
            break
    return Chunk(partition, records[:taken], size), Chunk(partition, records[taken:], everything - size)
