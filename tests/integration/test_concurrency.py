"""Two stores at once on the same customers: one of them waits, and the end is one that some order gives."""

import asyncio

import pytest
from tests.integration.desk import Desk, Gate, codes, issue, kinds, line, outcome
from tests.integration.test_merges import customers, meets, owners, sound

from mergeline.domain.messages import Message

# Where the first of two transactions is held up while the second one comes along.
STATIONS = ["discover", "lock", "read", "ledger_insert", "commit"]


class Contest:
    """Two batches: the second starts while the first stands at a station."""

    def __init__(self, new_store, sql) -> None:
        self._new_store, self._sql = new_store, sql

    async def run(self, station: str, first: Message, second: Message):
        gate = Gate(station)
        held, free = await self._new_store(gate), await self._new_store()
        one = asyncio.create_task(held.apply([first]))
        await gate.reached.wait()
        two = asyncio.create_task(free.apply([second]))
        while not (two.done() or await self._waiting()):
            await asyncio.sleep(0.002)
        gate.open()
        return (await one)[0], (await two)[0]

    async def _waiting(self) -> int:
        """How many wait for a lock of another."""
        return await self._sql.fetchval("select count(*) from pg_locks where not granted")


@pytest.fixture
async def contest(new_store, sql):
    return Contest(new_store, sql)


@pytest.mark.parametrize("station", STATIONS)
async def test_one_identifier_for_two_customers_goes_to_one(desk, sql, contest, station):
    await desk.register(1, 2)
    answers = await contest.run(station, desk.log.update(1, add=line("both")), desk.log.update(2, add=line("both")))
    assert sorted(kinds(answers)) == ["applied", "rejected"]
    (loser,) = [answer for answer in answers if answer.kind == "rejected"]
    assert codes(loser) == ["IDENTIFIER_TAKEN"]
    assert await sound(sql)


@pytest.mark.parametrize("station", STATIONS)
async def test_two_merges_that_cross_make_no_cycle(desk, sql, contest, station):
    await desk.register(1, 2)
    await contest.run(station, meets(desk, 1, 2), meets(desk, 2, 1))
    survivors = [survivor for survivor, _ in (await customers(sql)).values()]
    assert sorted(survivors, key=str) in ([1, None], [2, None])
    assert len(set((await owners(sql)).values())) == 1
    assert await sound(sql)


@pytest.mark.parametrize("station", STATIONS)
async def test_two_merges_in_a_row_make_no_chain(desk, sql, contest, station):
    await desk.register(1, 2, 3)
    await contest.run(station, meets(desk, 1, 2), meets(desk, 2, 3))
    assert {customer: survivor for customer, (survivor, _) in (await customers(sql)).items()} == {1: 3, 2: 3, 3: None}
    assert await sound(sql)


@pytest.mark.parametrize("station", STATIONS)
async def test_an_entry_added_to_a_victim_is_not_left_behind(desk, sql, contest, station):
    await desk.register(1, 2)
    _, added = await contest.run(station, meets(desk, 1, 2), desk.log.update(1, add=line("late")))
    assert added.kind == "applied"
    assert (await owners(sql))["late", "INSTORE"] == 2
    assert await sound(sql)


@pytest.mark.parametrize("station", STATIONS)
async def test_an_entry_of_a_victim_that_is_met_meets_the_survivor(desk, sql, contest, station):
    """The second finds its identifier's owner first, and it is another one by the time it has the locks."""
    await desk.register(1, 2, 3)
    _, met = await contest.run(station, meets(desk, 1, 2), meets(desk, 3, 1))
    assert outcome(met)["mergedInto"] in (1, 2)
    assert {customer: survivor for customer, (survivor, _) in (await customers(sql)).items()} == {1: 2, 2: None, 3: 2}
    assert await sound(sql)


@pytest.mark.parametrize("station", STATIONS)
async def test_one_card_is_issued_once(desk, sql, contest, station):
    await desk.register(1, 2)
    await desk.apply(desk.log.card("c-1"))
    answers = await contest.run(station, desk.log.update(1, add=issue("c-1")), desk.log.update(2, add=issue("c-1")))
    assert sorted(kinds(answers)) == ["applied", "rejected"]
    assert await sound(sql)


@pytest.mark.parametrize("station", STATIONS)
async def test_one_request_sent_twice_takes_effect_once(desk, sql, contest, station):
    await desk.register(1)
    message = desk.log.update(1, add=line("x"), requestId="r-1")
    answers = await contest.run(station, message, desk.log.sent_again(message))
    assert sorted(kinds(answers)) == ["applied", "repeat"]
    assert await sql.fetchval("select version from customer where customer_id = 1") == 2
    assert await sound(sql)


@pytest.mark.parametrize("station", STATIONS)
async def test_a_zombie_that_decides_the_same_message_gets_the_same_bytes(desk, contest, station):
    await desk.register(1)
    message = desk.log.update(1, add=line("x"))
    one, two = await contest.run(station, message, message)
    assert one.outgoing == two.outgoing
    assert sorted(kinds((one, two))) == ["answered", "applied"]


async def test_many_writers_on_few_customers_wait_in_no_circle(new_store, desk, sql):
    """Eight stores, batches that name the same things in other orders. A deadlock would be raised: nobody retries."""
    await desk.register(*range(1, 7))
    writers = [Desk(await new_store(), desk.log) for _ in range(8)]

    async def work(number: int) -> None:
        for turn in range(6):
            named = [(number * 7 + turn * 5 + step) % 6 + 1 for step in range(4)]
            await writers[number].apply(
                *(desk.log.update(customer, add=line(f"hot-{(customer + turn) % 5}")) for customer in named),
                *(desk.log.update(customer, remove=line(f"hot-{customer % 5}")) for customer in reversed(named)),
            )

    await asyncio.gather(*(work(number) for number in range(len(writers))))
    assert await sound(sql)
