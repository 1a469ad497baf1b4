"""Incarnations of topics in the database: who records them, how the next begins, what the ledger makes of places."""

import asyncio
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace
from tests.horizons import horizons
from tests.integration.desk import AT, UPDATES, codes, kinds, line, outcome
from tests.integration.test_ledger import age
from tests.integration.test_merges import sound
from tests.integration.test_pruning import GROUP, LONG_AGO, pruned

from mergeline.domain.messages import Coordinate, Place
from mergeline.store import incarnations
from mergeline.store.failures import Forgotten, Unsettled
from mergeline.store.incarnations import Incarnation, next_incarnation, read_incarnations, record
from mergeline.store.ownership import claim
from mergeline.store.progress import Progress, write_progress
from mergeline.store.pruning import Unpublished
from mergeline.store.statements import Statements

ONE, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def db(sql):
    return Statements(sql)


async def test_what_is_new_is_recorded_as_the_first_and_kept(db):
    assert await record(db, {"a": ONE}) == {"a": Incarnation(1, ONE)}
    assert await record(db, {"a": OTHER, "b": OTHER}) == {"a": Incarnation(1, ONE), "b": Incarnation(1, OTHER)}


async def test_an_id_is_recorded_once_brokers_give_one(db):
    assert await record(db, {"a": None}) == {"a": Incarnation(1, None)}
    assert await record(db, {"a": ONE}) == {"a": Incarnation(1, ONE)}
    assert await record(db, {"a": None}) == {"a": Incarnation(1, ONE)}


async def test_of_workers_that_record_at_the_same_time_all_read_what_one_has_recorded(new_store, sql):
    stores = [await new_store() for _ in range(4)]

    async def recorded(store, number):
        async with store.statements() as db:
            return await record(db, {"a": UUID(int=number), "b": UUID(int=number)})

    found = await asyncio.gather(*(recorded(store, number) for number, store in enumerate(stores, 1)))
    assert all(one == found[0] for one in found)


async def _twice(turn):
    await turn.write(OTHER, 2)
    await turn.write(OTHER, 0)  # which no topic has


async def test_the_next_incarnation_begins_when_its_block_ends_and_not_if_it_fails(db):
    await record(db, {"a": ONE, "b": ONE})
    with pytest.raises(asyncpg.CheckViolationError):
        async with next_incarnation(db, GROUP, "a") as turn:
            await _twice(turn)
    assert (await read_incarnations(db))["a"] == Incarnation(1, ONE)
    async with next_incarnation(db, GROUP, "a") as turn:
        assert (turn.now, turn.others) == (Incarnation(1, ONE), {"b": Incarnation(1, ONE)})
        await turn.write(OTHER, 2)
    assert await read_incarnations(db) == {"a": Incarnation(2, OTHER), "b": Incarnation(1, ONE)}


async def test_a_topic_that_was_never_read_has_no_next_incarnation(db):
    async with next_incarnation(db, GROUP, "a") as turn:
        assert turn is None


async def test_it_names_former_owners_and_the_answers_that_they_may_not_have_published(desk, db, store):
    await record(db, {AT[0]: ONE})
    async with claim(store, [Place(*AT)]) as claimed:
        await claimed.write("its-owner")
    await desk.register(1, 2, 3)
    await write_progress(db, GROUP, {Place(*AT): Progress(1)})
    async with next_incarnation(db, GROUP, AT[0]) as turn:
        assert turn.transactional_ids == {"its-owner"}
        (rows,) = [page async for page in turn.unpublished()]
        assert [row.at.offset for row in rows] == [1, 2]
        assert {record.topic for row in rows for record in row.outgoing} >= {"registration-outcomes"}
        await turn.write(OTHER, 2)
    async with next_incarnation(db, GROUP, AT[0]) as turn:
        assert turn.transactional_ids == frozenset()
        assert [page async for page in turn.unpublished()] == []


async def test_whatever_their_number_they_come_page_by_page_in_order(desk, db, store, monkeypatch):
    monkeypatch.setattr(incarnations, "UNPUBLISHED_PAGE", 3)
    await record(db, {AT[0]: ONE})
    places = [Place(AT[0], number) for number in range(3)]
    async with claim(store, places):
        pass
    messages = [replace(desk.log.customer(number), at=Coordinate(AT[0], number % 3, number)) for number in range(1, 11)]
    await desk.apply(*messages)
    await write_progress(db, GROUP, {places[1]: Progress(4)})  # published: that of customer 1
    async with next_incarnation(db, GROUP, AT[0]) as turn:
        pages = [[(row.at.partition, row.at.offset) for row in page] async for page in turn.unpublished()]
    assert pages == [[(0, 3), (0, 6), (0, 9)], [(1, 4), (1, 7), (1, 10)], [(2, 2), (2, 5), (2, 8)]]


async def test_nobody_can_claim_the_partitions_while_the_next_incarnation_begins(desk, db, store):
    await record(db, {AT[0]: ONE})
    async with claim(store, [Place(*AT)]) as claimed:
        await claimed.write("first")

    async def claims():
        async with claim(store, [Place(*AT)]) as claimed:
            await claimed.write("second")

    async with next_incarnation(db, GROUP, AT[0]) as turn:
        claiming = asyncio.create_task(claims())
        await asyncio.sleep(0.2)
        assert not claiming.done()
        assert turn.transactional_ids == {"first"}
    await claiming


async def test_who_slept_through_a_reset_neither_stores_an_answer_nor_owns_a_partition_again(desk, db, store):
    """Stored for a log that is no more, it would be published by nobody, and drop the request when it comes again."""
    await record(db, {AT[0]: ONE})
    place = Place(*AT)
    async with claim(store, [place]) as claimed:
        await claimed.write("sleeper", {place: 0})
    async with next_incarnation(db, GROUP, AT[0]) as turn:
        await turn.write(OTHER, 2)
    with pytest.raises(Forgotten):
        await desk.apply(desk.log.customer(1), progress={place: Progress(0, 0)})
    with pytest.raises(Unsettled, match="another incarnation"):
        async with claim(store, [place]):
            pass
    async with claim(store, [Place(f"{AT[0]}@2", AT[1])]) as claimed:
        assert claimed.transactional_ids == set()


async def test_nor_does_a_batch_that_waited_for_the_reset(desk, db, store):
    await record(db, {AT[0]: ONE})
    place = Place(*AT)
    async with claim(store, [place]) as claimed:
        await claimed.write("its-owner", {place: 0})
    async with next_incarnation(db, GROUP, AT[0]) as turn:
        batch = asyncio.create_task(desk.apply(desk.log.customer(1), progress={place: Progress(0, 0)}))
        await asyncio.sleep(0.2)
        assert not batch.done()
        await turn.hold()
        await turn.write(OTHER, 2)
    with pytest.raises(Forgotten):
        await batch
    assert await horizons(store, [place]) == {}


def later(message, incarnation=2):
    """Another message at the same places, of a topic that was made anew."""
    origin, at = (Coordinate(f"{place.topic}@{incarnation}", *place[1:]) for place in (message.origin, message.at))
    return replace(message, origin=origin, at=at)


async def test_at_the_places_of_a_former_log_stand_other_messages(desk, sql):
    """With ids of their own or without, below its horizons and by its offsets: each is decided, none refused."""
    await desk.register(1)
    first = [desk.log.update(1, add=line("a")), desk.log.update(1, add=line("b"), requestId="r-1")]
    await desk.apply(*first)
    assert await horizons(desk.store, [Place(*AT), Place(f"{AT[0]}@2", 0)]) == {AT: 2}
    second = [later(desk.log.update(1, add=line("c"))), later(desk.log.update(1, add=line("d"), requestId="r-2"))]
    moved = [
        replace(new, origin=Coordinate(new.origin.topic, *old.origin[1:]), at=Coordinate(new.at.topic, *old.at[1:]))
        for new, old in zip(second, first, strict=True)
    ]
    found = await desk.apply(*moved, horizons={AT: 2, Place(f"{AT[0]}@2", 0): -1})
    assert kinds(found) == ["applied", "applied"]
    assert [outcome(answer)["requestId"] for answer in found] == [f"{UPDATES}@2-0-{first[0].origin.offset}", "r-2"]
    # As before: a repeat of the router, of a producer, and another body under an id that is known.
    again = desk.log.update(1, add=line("e"), requestId="r-1")
    answers = await desk.apply(desk.log.routed_again(moved[0]), desk.log.sent_again(first[1]), later(again))
    assert kinds(answers) == ["dropped", "repeat", "reused"]
    assert codes(answers[2]) == ["REQUEST_ID_REUSED"]
    assert kinds(await desk.apply(moved[0], moved[1])) == ["answered", "answered"]
    await sound(sql)


async def test_what_was_answered_before_the_internal_topic_was_made_anew_is_dropped(desk):
    await desk.register(1)
    first = desk.log.update(1, add=line("a"))
    await desk.apply(first)
    assert kinds(await desk.apply(replace(first, at=Coordinate(f"{AT[0]}@2", 0, 0)))) == ["dropped"]


async def test_a_day_of_a_former_incarnation_is_pruned_whatever_was_published_of_it(desk, sql, db):
    await record(db, {AT[0]: ONE})
    await desk.register(1)
    await age(sql, 20)
    with pytest.raises(Unpublished):
        await pruned(sql, {})
    async with next_incarnation(db, GROUP, AT[0]) as turn:
        await turn.write(OTHER, 2)
    assert await pruned(sql, {}) == [(LONG_AGO, 1)]
    # What is unpublished of the new one counts.
    await desk.apply(later(desk.log.update(1, add=line("x"))))
    await age(sql, 20)
    with pytest.raises(Unpublished, match=f"{AT[0]}@2-0"):
        await pruned(sql, {})
