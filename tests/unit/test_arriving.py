"""Lines that come when they come: nobody waits for the next one to have the last, and nobody waits at the end."""

import asyncio
import itertools
import threading
import time
from contextlib import aclosing

import pytest

from mergeline.cli.arriving import AHEAD_MAX, CHUNK, arriving, at_hand


async def test_what_came_is_had_before_the_next_comes():
    taken = [threading.Event() for _ in range(3)]

    def things():
        for number, event in enumerate(taken):
            yield number
            assert event.wait(5)

    had = []
    async for chunk in arriving(things()):
        had += chunk
        for number in chunk:
            taken[number].set()
    assert had == [0, 1, 2]


async def test_the_loop_turns_while_nothing_comes():
    end = threading.Event()

    def things():
        end.wait(5)
        yield from ()

    chunks = arriving(things())
    assert [await anext(chunks), await anext(chunks)] == [[], []]
    end.set()
    assert [chunk async for chunk in chunks if chunk] == []


@pytest.mark.parametrize("chunks_of", [arriving, at_hand])
async def test_all_of_it_comes_in_order_and_in_chunks(chunks_of):
    chunks = [chunk async for chunk in chunks_of(range(5 * CHUNK + 1))]
    assert list(itertools.chain(*chunks)) == list(range(5 * CHUNK + 1))
    assert max(map(len, chunks)) <= CHUNK


async def test_an_error_comes_behind_what_was_read_before():
    def things():
        yield 1
        raise OSError("the disk is gone")

    had = []

    async def take():
        async for chunk in arriving(things()):
            had.extend(chunk)

    with pytest.raises(OSError, match="the disk is gone"):
        await take()
    assert had == [1]


async def test_who_leaves_early_is_not_waited_for_and_leaves_no_thread():
    before = set(threading.enumerate())  # one of another test may end meanwhile
    read = itertools.count()
    async with aclosing(arriving(read)) as chunks:
        await anext(chunks)
        await asyncio.sleep(0.1)
    deadline = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert left == set()
    assert next(read) <= CHUNK + 2 * AHEAD_MAX + 2, "no more is read than there is room for"
