"""What a file or a pipe gives, as it comes.

In: something to iterate over, which may make whoever asks wait. Out: chunks: full ones where it is quick, what there is
where it is slow, an empty one where nothing comes. Never: a wait of the event loop for it, more than `AHEAD_MAX` in
memory, or an end of the process that waits for it.
"""

import asyncio
import os
import queue
import stat
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import IO, Final, Generic, TypeVar

CHUNK: Final = 2_000
AHEAD_MAX: Final = 2 * CHUNK
NOTHING_CAME_S: Final = 0.25

Thing = TypeVar("Thing")


async def at_hand(things: Iterable[Thing]) -> AsyncGenerator[list[Thing]]:
    """Chunks of what nobody has to wait for."""
    remaining = iter(things)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


async def arriving(things: Iterable[Thing]) -> AsyncGenerator[list[Thing]]:
    """Chunks of what is read in a thread of its own; an empty one after `NOTHING_CAME_S` without anything.

    Raises:
        Exception: what reading raises, behind what came before.
    """
    feed = _Feed(things)
    feed.start()
    try:
        while (chunk := await feed.take()) is not None:
            yield chunk
        if feed.error is not None:
            raise feed.error
    finally:
        feed.leave()


def is_at_hand(file: IO[bytes]) -> bool:
    """Whether nobody has to wait for what it holds: a file on a disk, or in memory."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except OSError:
        return True  # in memory


def own_reader(file: IO[bytes]) -> IO[bytes]:
    """Another reader of the same pipe, which nobody has read from yet.

    The interpreter closes its own one of the standard input when it ends, and cannot while a thread waits in it.
    """
    return open(file.fileno(), "rb", closefd=False)


class _Feed(Generic[Thing]):
    """A thread that reads, and whoever takes what it has read."""

    def __init__(self, things: Iterable[Thing]) -> None:
        self._things = things
        self._read: queue.Queue[Thing] = queue.Queue(AHEAD_MAX)
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()
        self._asked = self._ended = self._left = False
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to read. The thread ends with the process: it may wait for what never comes."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            for thing in self._things:
                self._read.put(thing)
                if self._left:
                    return
                if self._asked:
                    self._tell()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised by who takes
            self.error = error
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        self._asked = False
        with suppress(RuntimeError):  # the loop is closed: nobody takes any more
            self._loop.call_soon_threadsafe(self._came.set)

    async def take(self) -> list[Thing] | None:
        """What there is, `CHUNK` at most, or nothing after a while; None at the end."""
        self._came.clear()
        self._asked = True  # before the look: what is read behind that is told of
        if self._read.empty() and not self._ended:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), NOTHING_CAME_S)
        ended = self._ended  # before the last look: behind it nothing is put
        chunk = list(islice(self._taken(), CHUNK))
        return None if ended and not chunk else chunk

    def _taken(self) -> Iterator[Thing]:
        with suppress(queue.Empty):
            while True:
                yield self._read.get_nowait()

    def leave(self) -> None:
        """Take no more; a thread that waits for room hears of it."""
        self._left = True
        for _ in self._taken():
            pass
