"""A whole plan, run: the worker closed and open, and what it is compared with.

In: a plan, a site. Out: `Results`. Never: two systems under load at the same time.
"""

from collections.abc import Callable
from typing import Final

from mergeline.bench.closed import Subject, run_closed
from mergeline.bench.plan import Plan
from mergeline.bench.results import Results
from mergeline.bench.workers import Workers
from mergeline.bench.world import Site

CLOSED_RUN: Final = "c"


async def run_plan(plan: Plan, site: Site, notice: Callable[[str], None]) -> Results:
    """Run it; `notice` is told what begins."""
    notice(f"storing {plan.customers} customers with {plan.customers * plan.entries} entries")
    async with site.world("worker", plan) as world:
        sizes = await world.sizes()
        with Workers(world.settings, plan.workers) as workers:
            subject = Subject(site, world, workers)
            notice(f"closed: a backlog of {plan.requests} requests")
            closed = await run_closed(subject, plan.requests, CLOSED_RUN)
    return Results(closed, sizes)
