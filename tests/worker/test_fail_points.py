"""A whole worker stopped at a point of acquiring or publishing while another takes over, then killed or woken.

One point by default, all of them with `--every-fail-point`; `test_taking_over` has all of them without the group.
"""

import pytest
from tests.worker.harness import OUTCOMES, headers
from tests.worker.load import load, moves, owns
from tests.worker.points import ACQUIRE, PUBLISH

CUSTOMERS = range(1, 21)
PARTITIONS = 3 * 4
SOME = {("sent", "SIGSTOP")}
EVERY = [(point, signal) for point in ACQUIRE + PUBLISH for signal in ("SIGSTOP", "SIGKILL")]
PUBLISHED_BEFORE = 4


def pytest_generate_tests(metafunc):
    if "point" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-fail-point")
        metafunc.parametrize(("point", "signal"), [case for case in EVERY if every or case in SOME])


@pytest.fixture(scope="module")
async def steady(module_world):
    """The worker that takes over."""
    worker = module_world.worker()
    await module_world.register(CUSTOMERS)
    return worker


def took_all(worker):
    return len([event for event in worker.events("assignment.opened") if event["partitions"] == PARTITIONS])


async def test_exactly_once_when_a_worker_stops_at(module_world, steady, point, signal):
    world = module_world
    await world.until(lambda: owns(steady) == PARTITIONS, "it is alone")
    before = took_all(steady)
    nth = "1" if point in ACQUIRE else str(PUBLISHED_BEFORE)
    async with load(world, f"{point}-{signal}".replace(" ", "-"), CUSTOMERS):
        await moves(world)
        stopping = world.worker(
            "tests.worker.stopping",
            MERGELINE_TEST_STOP_AT=point, MERGELINE_TEST_STOP_BY=signal, MERGELINE_TEST_STOP_NTH=nth,
        )  # fmt: skip
        await world.until(lambda: stopping.is_stopped or not stopping.running, "it stops there")
        assert stopping.is_stopped == (signal == "SIGSTOP"), stopping.log_tail()
        await world.until(lambda: took_all(steady) > before, "the other takes over")
        await moves(world)
        before_waking = await world.committed()
        if signal == "SIGSTOP":
            heard = len(stopping.events())
            stopping.wake()
            await world.until(lambda: len(stopping.events()) > heard, "it finds out")
            await world.until(lambda: owns(stopping) and owns(steady), "it is a worker like any other again")
        await moves(world)
        committed = await world.committed()
        assert [place for place, offset in before_waking.items() if committed[place] < offset] == [], "never back"
        stopping.kill()
    assert steady.running
    firsts = [h for h in map(headers, world.records[OUTCOMES]) if "mergeline-duplicate" not in h]
    assert len({h["ce_id"] for h in firsts}) == len(firsts)
