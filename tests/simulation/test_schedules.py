"""Operations that meet at the same moment: whatever the schedule, what comes of it is what some serial order gives."""

import os
import random

import pytest
from tests.simulation import workload
from tests.simulation.rivals import CATALOG, EVERYWHERE, PAIRS
from tests.simulation.schedules import every_schedule
from tests.simulation.sizes import TRIPLES
from tests.simulation.theatre import SCENES_AT_ONCE, Theatre

SEED = "MERGELINE_SCHEDULE_SEED"


@pytest.fixture
async def theatre(database_url):
    theatre = Theatre()
    await theatre.open(database_url)
    yield theatre
    await theatre.close()


class Scenes:
    """Fresh scenes of one pair, made many at a time."""

    def __init__(self, theatre, pair, warm):
        self.theatre, self.pair, self.warm, self.ready = theatre, pair, warm, []

    async def next(self):
        if not self.ready:
            operations = [self.pair.first, self.pair.second]
            before = EVERYWHERE + self.pair.before
            self.ready = [self.theatre.scene(CATALOG, before, operations) for _ in range(SCENES_AT_ONCE)]
            await self.theatre.prepare(self.ready, warm=self.warm)
        self.theatre.current = self.ready.pop()
        return self.theatre.works(self.theatre.current)


async def every_schedule_of(theatre, pair, *, warm=False):
    return await every_schedule(theatre.stage, Scenes(theatre, pair, warm).next, theatre.judge)


@pytest.mark.timeout(600)
async def test_every_schedule_of_each_pair_is_some_serial_order(theatre):
    for pair in PAIRS:
        # A catalog that changes is met by those who have the old one in their cache, and by those who have none.
        for warm in (False, True) if isinstance(pair.first, dict) else (False,):
            count = await every_schedule_of(theatre, pair, warm=warm)
            print(f"{count:6} schedules: {pair.name}{' (cached)' if warm else ''}")
            assert count > 1
    assert await theatre.final_offences() == []


@pytest.mark.timeout(0)  # bounded by their number
async def test_random_schedules_of_three_are_some_serial_order(theatre):
    chosen = os.environ.get(SEED)
    seeds = [int(chosen)] if chosen else [random.randrange(1 << 32) for _ in range(TRIPLES)]
    for start in range(0, len(seeds), SCENES_AT_ONCE):
        played = {seed: three_rivals(theatre, random.Random(seed)) for seed in seeds[start : start + SCENES_AT_ONCE]}
        await theatre.prepare(played.values())
        for seed, scene in played.items():
            try:
                await theatre.play(scene, random.Random(seed))
            except BaseException as failure:
                failure.add_note(f"replay with: {SEED}={seed} pytest {os.environ['PYTEST_CURRENT_TEST'].split()[0]}")
                raise
    assert await theatre.final_offences() == []


def three_rivals(theatre, dice):
    """Some requests before, then three batches of one or two, or now and then a repetition or a catalog."""
    before = [*workload.first_customers(dice), *workload.first_cards(), *[workload.request(dice) for _ in range(10)]]
    batches = [[workload.request(dice) for _ in range(dice.choice([1, 1, 2]))] for _ in range(3)]
    if dice.randrange(8) == 0:
        batches[2] = [dice.choice(["sent again", "routed again", "delivered again"])]
    elif dice.randrange(8) == 0:
        batches[2] = workload.catalog(dice, 1)
    return theatre.scene(workload.catalog(dice, 1), before, batches)


async def test_without_locks_some_schedule_is_none(theatre, monkeypatch):
    """That the schedules above find something is shown by taking away what they are there to watch."""

    async def no_lock(db, _names, _shared, _keys_max):
        (row,) = await db.fetch("lock", [], [])
        return row["now"]

    monkeypatch.setattr("mergeline.store.apply.lock", no_lock)
    harmless = []
    for pair in PAIRS:
        try:
            await every_schedule_of(theatre, pair)
        except Exception as failure:  # noqa: BLE001 - refused by a constraint, by a write, or by the comparison
            print(f"{pair.name}: {type(failure).__name__}")
        else:
            harmless.append(pair.name)
    # To those who do without, one look at one row is enough: it is there or not, blocked or not.
    assert len(harmless) <= len(PAIRS) // 8, harmless
