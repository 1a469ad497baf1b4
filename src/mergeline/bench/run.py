"""A whole plan, run: the worker closed and open, and what it is compared with.

In: a plan, a site. Out: `Results`. Never: two systems under load at the same time.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from mergeline.bench.closed import run_closed
from mergeline.bench.comparison import baseline_command, checkout, run_floor
from mergeline.bench.opened import run_open
from mergeline.bench.plan import Plan
from mergeline.bench.results import Closed, Floor, Open, Results
from mergeline.bench.subject import Subject, without_router
from mergeline.bench.workers import Workers
from mergeline.bench.world import Site, World

CLOSED_RUN: Final = 0
Notice = Callable[[str], None]


async def run_plan(plan: Plan, site: Site, notice: Notice) -> Results:
    """Run it; `notice` is told what begins.

    Raises:
        SetupError: if something is to be compared and this is no checkout, or if answers stay out.
    """
    root = checkout() if plan.baseline_requests else None
    baseline = floor = None
    async with _world(plan, site, "worker", notice) as world:
        sizes = await world.sizes()
        with Workers(world.settings, plan.workers) as workers:
            subject = Subject(site, world, workers)
            notice(f"closed run: a backlog of {plan.requests:,} requests")
            closed = await run_closed(subject, plan.requests, CLOSED_RUN)
            rates = enumerate(_rates(plan, closed), CLOSED_RUN + 1)
            opened = [await _open(subject, rate, number, notice) for number, rate in rates]
        if root is not None:
            notice("the floor: the same rows, set-based, straight into PostgreSQL")
            async with _world(plan, site, "floor", notice) as other:
                floor = Floor(**await run_floor(root, world, other, plan.requests))
    if root is not None:
        async with _world(plan, site, "baseline", notice) as world:
            with Workers(world.settings, 1, baseline_command(), root) as workers:
                notice(f"the baseline: {plan.baseline_requests:,} requests, one transaction each")
                subject = Subject(site, world, workers, without_router)
                baseline = await run_closed(subject, plan.baseline_requests, CLOSED_RUN)
    return Results(closed, opened, baseline, floor, sizes)


@asynccontextmanager
async def _world(plan: Plan, site: Site, name: str, notice: Notice) -> AsyncIterator[World]:
    notice(f"{name}: storing {plan.customers:,} customers with {plan.customers * plan.entries:,} entries")
    async with site.world(name, plan, notice) as world:
        yield world


async def _open(subject: Subject, rate: int, run: int, notice: Notice) -> Open:
    seconds = subject.world.plan.seconds
    notice(f"open run: {rate:,} requests/s for {seconds:g} s")
    return await run_open(subject, rate, seconds, run)


def _rates(plan: Plan, closed: Closed) -> list[int]:
    found = closed.cost.requests_per_second
    return [*plan.rates, *(max(1, int(found * share)) for share in plan.rate_shares)]
