"""Schedules of concurrent transactions: one statement at a time, in every order that can matter.

In: rivals, each a coroutine that calls a gate before every statement, and the address of the database to see who waits.
Out: every schedule of them, or one chosen by dice. A rival that PostgreSQL keeps waiting for a lock counts as waiting;
it goes on when the transaction that it waits for has ended.

Two schedules are the same if they differ only in the order of neighbours that cannot influence each other: of two
reads, of a read and a write that is not committed yet, and of anything and a statement that touches no data. One of
each such class is run (sleep sets, Godefroid 1996); all classes together are every interleaving.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import asyncpg

QUIET = {"begin", "ledger_insert"}  # touch nothing that another transaction could see or hold
ENDS = {"commit", "rollback"}
ROWS = {  # of which tables a statement writes rows or locks them; `lock` is of the advisory kind
    "write": {"customer", "identifier", "request", "partition_owner"},
    "write_rest": {"customer", "identifier", "card", "merge", "request"},
    "runs_write": {"partition_owner"},
    "partitions_insert": {"partition_owner"},
    "partitions_lock": {"partition_owner"},
    "catalogs_insert": {"catalog"},
}
GRANT_WAIT_S = 0.002
STALLED_AFTER_S = 20.0


def influence(one, other):
    """Whether the order of two statements of different transactions can matter."""
    if one in QUIET or other in QUIET:
        return False
    if one in ENDS or other in ENDS:
        return not (one in ENDS and other in ENDS)
    if one == other == "lock":
        return True
    return bool(ROWS.get(one, set()) & ROWS.get(other, set()))


# ---------------------------------------------------------------- rivals


class Rival:
    """One transaction after the other on one connection; held before each statement while `held` is set."""

    def __init__(self, pool):
        self.pid, self.held, self.pending, self.waits = None, False, None, False
        self._pool = pool
        self.news, self._pass, self._task = asyncio.Event(), None, None

    async def connect(self):
        """Be told which connection it has: asyncpg takes another one after 50,000 statements."""
        async with self._pool.acquire() as connection:
            self.pid = connection.get_server_pid()

    async def gate(self, name):
        """What the store calls before each statement."""
        if self.held:
            self.pending, self._pass = name, asyncio.get_running_loop().create_future()
            self.news.set()
            await self._pass

    def start(self, work):
        self.held, self.waits = True, False
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(lambda _: self.news.set())

    def step(self):
        """Let it send the statement that it stands at; which one that was."""
        name, self.pending = self.pending, None
        self._pass.set_result(None)
        return name

    @property
    def done(self):
        return self._task.done()

    @property
    def rests(self):
        return self.pending is not None or self.done

    def result(self):
        self.held = False
        return self._task.result()


@dataclass
class Stage:
    """Several rivals, one of which moves at a time."""

    rivals: list[Rival]
    observer: asyncpg.Connection
    steps: list[tuple[int, str]] = field(default_factory=list)

    async def begin(self, works):
        self.steps.clear()
        for rival in self.rivals:
            await rival.connect()
        for rival, work in zip(self.rivals, works, strict=False):
            rival.start(work)
        self.playing = self.rivals[: len(works)]
        await self.settle()

    def choices(self):
        """Number of each rival that can move → the statement that it stands at."""
        return {number: rival.pending for number, rival in enumerate(self.playing) if rival.pending is not None}

    async def step(self, number):
        name = self.playing[number].step()
        self.steps.append((number, name))
        if name in ENDS:  # only now can somebody get the lock that it waits for
            for rival in self.playing:
                rival.waits = False
        await self.settle()

    async def settle(self):
        """Until each rival stands at a gate, has finished, or waits for a lock."""
        deadline = asyncio.get_running_loop().time() + STALLED_AFTER_S
        while restless := [rival for rival in self.playing if not (rival.rests or rival.waits)]:
            for rival in restless:
                rival.news.clear()
            waits = [asyncio.ensure_future(rival.news.wait()) for rival in restless if not rival.rests]
            if len(waits) == len(restless):
                await asyncio.wait(waits, timeout=GRANT_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            moving = [rival for rival in restless if not rival.rests]
            # As long as one of them is under way, it may let go of what another waits for.
            if moving and {rival.pid for rival in moving} <= await self.waiting_for_locks():
                for rival in moving:
                    rival.waits = not rival.rests
            assert asyncio.get_running_loop().time() < deadline, f"nobody moves after {self.told()}"

    async def waiting_for_locks(self):
        rows = await self.observer.fetch("select pid from pg_locks where not granted")
        return {row["pid"] for row in rows}

    async def finish(self):
        """Let everybody go on as they come; the results, in the order of the rivals."""
        while choices := self.choices():
            await self.step(next(iter(choices)))
        assert all(rival.done for rival in self.playing), f"a deadlock after {self.told()}"
        return [rival.result() for rival in self.playing]

    def told(self):
        return " ".join(f"{'ABC'[number]}.{name}" for number, name in self.steps)


# ---------------------------------------------------------------- every schedule


@dataclass
class Fork:
    """A point at which somebody had to be chosen to move."""

    choices: dict[int, str]
    asleep: set[int]
    chosen: int
    tried: set[int] = field(default_factory=set)

    def asleep_after(self):
        """Whoever was tried here need not be tried again behind a step that does not influence theirs."""
        step = self.choices[self.chosen]
        return {one for one in self.asleep | self.tried if not influence(self.choices[one], step)}

    def next_choice(self):
        """Somebody not tried yet; None if nobody is left."""
        self.tried.add(self.chosen)
        self.chosen = next((one for one in self.choices if one not in self.tried | self.asleep), None)
        return self.chosen


async def every_schedule(stage: Stage, run: Callable[[], Awaitable[list]], judge: Callable[[list], Awaitable[None]]):
    """Run all schedules: `run` sets a fresh scene and gives the works, `judge` looks at the results. How many."""
    forks: list[Fork] = []
    count = 0
    while True:
        await stage.begin(await run())
        for fork in forks:
            assert stage.choices() == fork.choices, f"not the same choices again after {stage.told()}"
            await stage.step(fork.chosen)
        redundant = not await extend(stage, forks)
        results = await stage.finish()
        await judge(results)
        count += not redundant
        while forks and forks[-1].next_choice() is None:
            forks.pop()
        if not forks:
            return count


async def extend(stage, forks):
    """Go on to the end, each time with the first who is awake; False if all are asleep: that schedule was run."""
    asleep = forks[-1].asleep_after() if forks else set()
    while choices := stage.choices():
        awake = [one for one in choices if one not in asleep]
        if not awake:
            return False
        forks.append(Fork(choices, asleep & set(choices), awake[0]))
        await stage.step(awake[0])
        asleep = forks[-1].asleep_after()
    return True


async def one_schedule(stage: Stage, works: list, dice):
    """A schedule by dice; the results."""
    await stage.begin(works)
    while choices := stage.choices():
        await stage.step(dice.choice(sorted(choices)))
    return await stage.finish()
