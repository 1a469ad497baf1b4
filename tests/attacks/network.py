"""Network: the ways of two workers to Kafka and PostgreSQL fail and heal, again and again, while load runs.

In: how many rounds, a seed. Each round is every kind of fault once, in any order, on the ways of one worker or of both,
to one server or to both; most are short, some longer than a session and a publish may take. Out: every defect that an
auditor finds in the end, and each fault after whose healing it took too long until all was answered. Never: a fault of
a server itself.
"""

import asyncio
import math
import random
import time
from collections import Counter
from dataclasses import dataclass

from tests.attacks.proxy import Fault, Kind
from tests.attacks.site import WORKERS
from tests.attacks.workload import Workload

DRAINED_WITHIN_S = 30.0
GIVEN_UP_S = 150.0
SHORT_S, LONG_S, LONG_SHARE = (0.3, 3.0), (7.0, 12.0), 0.1
AT_WORK_S = (0.2, 0.6)
DELAYS_S, LONG_DELAY_S = (0.05, 0.5), 3.0
MESSAGES_A_SECOND, SEND_EVERY_S, POLL_S = 150, 0.1, 0.2
OPERATOR_NEEDED = 2


@dataclass(frozen=True)
class Strike:
    """One fault, where, and for how long."""

    fault: Fault
    proxies: tuple
    seconds: float

    def __str__(self):
        return f"{self.fault.kind.value} for {self.seconds:.1f} s on {' '.join(proxy.name for proxy in self.proxies)}"


class Network:
    """One run against one world on one site."""

    def __init__(
        self, site, world, *, rounds, seed, drained_within_s=DRAINED_WITHIN_S, seconds_max=math.inf, verbose=False
    ):
        self.site, self.world, self.rounds, self.seed, self.verbose = site, world, rounds, seed, verbose
        self._drained_within_s, self._seconds_max = drained_within_s, seconds_max
        self._started_at = time.monotonic()
        self._dice = random.Random(seed)
        self._workers = [self._started(number) for number in range(WORKERS)]
        self._at_work = asyncio.Event()
        self._at_work.set()
        self._resting = asyncio.Event()
        self.sent = 0
        self.took_s, self.done, self.ended = [], Counter(), Counter()

    async def run(self):
        """Strike after strike under load, each drained before the next one; then the defects."""
        tasks = [asyncio.create_task(self._load()), asyncio.create_task(self._watch())]
        try:
            await self.world.until(lambda: self.world.answers() > 0, "the first answers")
            for number, kind in enumerate(self._kinds()):
                if time.monotonic() - self._started_at > self._seconds_max and number % len(Kind) == 0:
                    break
                await self._strike(self._chosen(kind))
                for task in tasks:
                    if task.done():
                        task.result()
            defects = await self.world.audit()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self.ended[OPERATOR_NEEDED]:
            defects.add("a worker asks for an operator", f"{self.ended[OPERATOR_NEEDED]} times")
        return defects

    def figures(self):
        took_s = sorted(self.took_s)
        return {
            "messages": self.sent, "seed": self.seed, "faults": dict(self.done),
            "drained_s": {"median": round(took_s[len(took_s) // 2], 1), "max": round(took_s[-1], 1)} if took_s else {},
            "workers_that_ended_themselves": {str(status): number for status, number in self.ended.items()},
            "records": self.world.counts(),
        }  # fmt: skip

    # ------------------------------------------------------------ faults

    def _kinds(self):
        """Each round is every kind once."""
        for _ in range(self.rounds):
            yield from self._dice.sample(list(Kind), len(Kind))

    def _chosen(self, kind):
        dice = self._dice
        workers = dice.choice([(0,), (1,), (0, 1)])
        servers = dice.choice([[self.site.brokers], [self.site.databases], [self.site.brokers, self.site.databases]])
        is_long = dice.random() < LONG_SHARE
        fault = Fault(kind, delay_s=LONG_DELAY_S if is_long else dice.choice(DELAYS_S))
        proxies = tuple(server[number] for server in servers for number in workers)
        return Strike(fault, proxies, dice.uniform(*(LONG_S if is_long else SHORT_S)))

    async def _strike(self, strike):
        """One fault, from the middle of the load until all that was sent is answered."""
        self._at_work.set()
        await asyncio.sleep(self._dice.uniform(*AT_WORK_S))
        for proxy in strike.proxies:
            proxy.begin(strike.fault)
        await asyncio.sleep(strike.seconds)
        for proxy in strike.proxies:
            await proxy.heal()
        healed = time.monotonic()
        self._at_work.clear()
        await self._resting.wait()
        await self.world.drained(GIVEN_UP_S)
        took_s = time.monotonic() - healed
        self.took_s.append(took_s)
        self.done[strike.fault.kind.value] += 1
        said = f"{strike}: drained {took_s:.1f} s after healing"
        if took_s > self._drained_within_s:
            self.world.auditor.defects.add("not drained in time", said)
        if self.verbose:
            print(f"{time.strftime('%H:%M:%S')} {len(self.took_s)}: {said}; ended: {dict(self.ended)}", flush=True)

    async def _load(self):
        workload = Workload(self.seed)
        while True:
            self._resting.set()
            await self._at_work.wait()
            self._resting.clear()
            messages = workload.take(round(MESSAGES_A_SECOND * SEND_EVERY_S))
            await self.world.send(messages)
            self.sent += len(messages)
            await asyncio.sleep(SEND_EVERY_S)

    # ------------------------------------------------------------ workers

    def _started(self, number):
        return self.world.worker(**self.site.settings(self.world, number))

    async def _watch(self):
        """Start again what ended by itself, as a supervisor does."""
        while True:
            self.world.check_reader()
            for number, worker in enumerate(self._workers):
                if not worker.running:
                    self.ended[worker.process.returncode] += 1
                    self._workers[number] = self._started(number)
            await asyncio.sleep(POLL_S)
