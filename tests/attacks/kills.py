"""Kills: workers, broker and database killed with -9, and workers put to sleep past their session, while load runs.

In: how many requests and kills, a seed. Out: every defect that an auditor finds in the end. The seed decides the
messages, the order of the kills and how long is waited before each; the moments themselves are the machine's.

Most kills come at a random number of answers after the one before, so that they hit a system at work, and are spread
over all of the load; the others come soon after the one before, in the middle of the recovery. There is always
something to do.
"""

import asyncio
import math
import random
import time
from collections import Counter

from tests.attacks.attacked import SESSION_MS, pour
from tests.attacks.workload import Workload

SHARES = {"broker": (0.04, 2), "database": (0.06, 2), "zombie": (0.06, 1)}
"""Of all kills, and at least so many; the others are workers'."""
SOON_SHARE, SOON_S = 0.5, 2.0
"""How many kills come soon after the one before, and how soon."""
AT_WORK_WITHIN_S = 15.0
"""How long the others wait for their number of answers."""
DOWN_S, RESTART_S, OVERSLEPT_S = 0.8, 0.3, 1.5
AHEAD = 3
"""So many kills' part of the load is sent ahead of them."""
POLL_S = 0.02
OPERATOR_NEEDED = 2


def planned(kills, dice):
    """Which kill follows which."""
    plan = [kind for kind, (share, least) in SHARES.items() for _ in range(max(least, round(share * kills)))]
    plan += ["worker"] * (kills - len(plan))
    dice.shuffle(plan)
    return plan


class Kills:
    """One run against one world; `servers` are those that may be killed, by kind."""

    def __init__(self, world, servers, *, requests, kills, seed, workers=2, seconds_max=math.inf, verbose=False):
        self.world, self.servers = world, servers
        self.requests, self.seed, self.verbose = requests, seed, verbose
        self._started, self._seconds_max, self._is_over = time.monotonic(), seconds_max, False
        self._dice = random.Random(seed)
        self._plan = planned(kills, self._dice)
        self._part = requests / kills
        self._locks = {kind: asyncio.Lock() for kind in servers}
        self._workers = [world.forked_worker() for _ in range(workers)]
        self._asleep, self._mending = set(), set()
        self._struck = self._answers_then = 0
        self.done, self.ended, self.reasons = Counter(), Counter(), Counter()
        self.at_work = 0

    async def run(self):
        """Strike after strike under load, then heal and audit; the defects."""
        watching = asyncio.create_task(self._watch())
        load = asyncio.create_task(
            pour(self.world, Workload(self.seed), self.requests, self._due, random.Random(self.seed))
        )
        try:
            for number, kind in enumerate(self._plan):
                if time.monotonic() - self._started > self._seconds_max:
                    break
                await self._moment()
                await getattr(self, f"_strike_{kind}")()
                self.done[kind] += 1
                self._struck, self._answers_then = number + 1, self.world.answers()
                self._tell(kind)
                for task in (watching, load):
                    if task.done():
                        task.result()  # the load ends behind the last kill, or by an error
            self._is_over = True
            await load
            await asyncio.gather(*self._mending)
            defects = await self.world.audit()
        finally:
            for task in (load, watching, *self._mending):
                task.cancel()
            await asyncio.gather(load, watching, *self._mending, return_exceptions=True)
        if self.ended[OPERATOR_NEEDED]:
            defects.add("a worker asks for an operator", f"{self.ended[OPERATOR_NEEDED]} times")
        return defects

    def figures(self):
        return {
            "requests": self.requests, "seed": self.seed, "kills": dict(self.done), "kills_at_work": self.at_work,
            "workers_that_ended_themselves": {str(status): number for status, number in self.ended.items()},
            "since": dict(self.reasons),
            "records": self.world.counts(),
        }  # fmt: skip

    # ------------------------------------------------------------ when

    def _due(self):
        """How many messages may be sent by now."""
        return self.requests if self._is_over else int((self._struck + AHEAD) * self._part)

    def _tell(self, kind):
        if self.verbose:
            at_s, answers = time.monotonic() - self._started, self.world.answers()
            print(f"{at_s:.1f} s: {self._struck} kills, {kind}; {answers} answers", flush=True)

    async def _moment(self):
        """Wait for the moment of the next kill."""
        if self._struck and self._dice.random() < SOON_SHARE:
            await asyncio.sleep(self._dice.random() * SOON_S)
            return
        wanted = self._answers_then + max(1, int(self._dice.random() * 2 * self._part))
        deadline = time.monotonic() + AT_WORK_WITHIN_S
        while self.world.answers() < wanted:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(POLL_S)
        self.at_work += 1

    # ------------------------------------------------------------ what

    def _awake(self):
        return [worker for worker in self._workers if worker not in self._asleep]

    async def _strike_worker(self):
        while not self._workers:  # all are being started
            await asyncio.sleep(POLL_S)
        victim = self._dice.choice(self._awake() or self._workers)
        wait_s = self._dice.random() * RESTART_S
        victim.kill()
        self._asleep.discard(victim)
        self._workers.remove(victim)
        self._mend(self._start_another(wait_s))

    async def _start_another(self, wait_s):
        await asyncio.sleep(wait_s)
        self._workers.append(self.world.forked_worker())

    async def _strike_zombie(self):
        """A worker sleeps until it has lost its partitions, and wakes in the middle of what it did."""
        while not (awake := self._awake()):
            await asyncio.sleep(POLL_S)
        victim = self._dice.choice(awake)
        self._asleep.add(victim)
        victim.pause()
        self._mend(self._wake(victim, SESSION_MS / 1000 + self._dice.random() * OVERSLEPT_S))

    async def _wake(self, victim, after_s):
        await asyncio.sleep(after_s)
        if victim in self._asleep:
            self._asleep.discard(victim)
            victim.wake()

    async def _strike_broker(self):
        await self._strike_server("broker")

    async def _strike_database(self):
        await self._strike_server("database")

    async def _strike_server(self, kind):
        down_s = self._dice.random() * DOWN_S
        await self._locks[kind].acquire()
        await asyncio.to_thread(self.servers[kind].kill)
        self._mend(self._restart(kind, down_s))

    async def _restart(self, kind, after_s):
        try:
            await asyncio.sleep(after_s)
            await asyncio.to_thread(self.servers[kind].start)
        finally:
            self._locks[kind].release()

    def _mend(self, repair):
        task = asyncio.create_task(repair)
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    async def _watch(self):
        """Start again what ended by itself, as a supervisor does."""
        while True:
            self.world.check_reader()
            for worker in [worker for worker in self._workers if not worker.running]:
                self.ended[worker.status] += 1
                self.reasons[_reason(worker)] += 1
                self._asleep.discard(worker)
                self._workers.remove(worker)
                self._mend(self._start_another(RESTART_S))
            await asyncio.sleep(POLL_S)


def _reason(worker):
    """What the last line of its log says; no values of requests stand there."""
    said = [event for event in worker.events() if event.get("event") in {"worker.failed", "worker.refused"}]
    return " ".join(str(said[-1].get(name, "")) for name in ("error", "problem", "places")) if said else "nothing"
