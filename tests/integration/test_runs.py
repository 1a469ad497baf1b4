"""Dead letters in a row, by the partition that they come from: counted on over batches, workers and restarts."""

import asyncio

import pytest
from tests.integration.desk import AT, UPDATES, Desk, Gate, kinds, line

from mergeline.store.progress import Progress


class Flood(Exception):
    """What the caller raises when there are too many."""


@pytest.fixture
def letters(desk):
    return lambda number, partition=0: [desk.log.put(UPDATES, b"{", partition) for _ in range(number)]


async def runs(sql):
    rows = await sql.fetch("select partition, dead_letters_in_a_row from partition_owner where topic = $1", UPDATES)
    return {row["partition"]: row["dead_letters_in_a_row"] for row in rows}


async def test_a_run_goes_on_from_batch_to_batch_and_from_worker_to_worker(new_store, desk, sql, letters):
    await desk.apply(*letters(3))
    assert await runs(sql) == {0: 3}
    await Desk(await new_store(), desk.log).apply(*letters(2), *letters(4, partition=1))
    assert await runs(sql) == {0: 5, 1: 4}


async def test_an_answer_in_between_ends_it(desk, sql, letters):
    await desk.register(1)
    await desk.apply(*letters(3), desk.log.update(1, add=line("x")), *letters(2))
    assert await runs(sql) == {0: 2}
    await desk.apply(desk.log.update(404, add=line("x")))  # a rejection is an answer
    assert await runs(sql) == {0: 0}


async def test_what_was_answered_before_and_drops_count_neither_way(desk, sql, letters):
    first = letters(3)
    await desk.apply(*first)
    assert kinds(await desk.apply(*first, *map(desk.log.routed_again, first))) == ["answered"] * 3 + ["dropped"] * 3
    assert await runs(sql) == {0: 3}
    await desk.apply(*first, horizons={AT: first[-1].at.offset})
    assert await runs(sql) == {0: 3}


async def test_who_asks_is_told_and_may_undo_the_batch(desk, sql, letters):
    told = []
    await desk.apply(*letters(3), check_runs=lambda *found: told.append(found))

    def refuse(*found):
        told.append(found)
        raise Flood

    more = letters(2)
    with pytest.raises(Flood):
        await desk.apply(*more, progress={AT: Progress(9)}, check_runs=refuse)
    assert told == [
        ({(UPDATES, 0): 3}, {(UPDATES, 0): [0, 1, 2]}),
        ({(UPDATES, 0): 5}, {(UPDATES, 0): [letter.origin.offset for letter in more]}),
    ]
    assert await runs(sql) == {0: 3}
    assert await sql.fetchval("select count(*) from ledger") == 3
    assert kinds(await desk.apply(*more)) == ["dead_letter", "dead_letter"]


async def test_a_batch_that_changes_no_run_locks_no_row_that_workers_share(new_store, sql):
    gate = Gate()
    desk = Desk(await new_store(gate))
    await desk.register(1)
    assert "write" in gate.passed
    assert {"partitions_lock", "runs_write"}.isdisjoint(gate.passed)


async def test_two_workers_count_on_one_run_at_the_same_time(new_store, desk, sql, letters):
    gate = Gate("commit")
    slow = await new_store(gate)
    one = asyncio.create_task(slow.apply(letters(3)))
    await gate.reached.wait()
    two = asyncio.create_task(desk.apply(*letters(4)))
    await asyncio.sleep(0.1)
    gate.open()
    await asyncio.gather(one, two)
    assert await runs(sql) == {0: 7}
