"""A server that takes connections and then says nothing: a start ends in time, and so does every command."""

import asyncio
import os
import socket
import subprocess
import sys
import time

import pytest
from tests.services.databases import address_of, moved
from tests.worker.process import IMPORTED_FROM
from tests.worker.proxy import Relay

from mergeline.store import connecting, pool

PARSE = b"P"
"""What a message that prepares a statement begins with, in PostgreSQL's protocol."""
QUERY = b"Q"
STATEMENT_MS_MAX = 200
MARGIN_S = 6.0


def behind_the_handshake(data):
    return data[:1] in {PARSE, QUERY}


@pytest.fixture
async def relay(module_world):
    """A relay to the world's database."""
    async with Relay(address_of(module_world.database_url), mutes=behind_the_handshake) as relay:
        yield relay


def by(relay, world):
    """The setting that leads there."""
    return {"MERGELINE_DATABASE_URL": moved(world.database_url, relay.address)}


async def test_a_start_ends_with_one_line_once_its_time_is_over(module_world, relay):
    began = time.monotonic()
    worker = module_world.worker(**by(relay, module_world), MERGELINE_START_TIMEOUT_MS="1000")
    await module_world.until(lambda: not worker.running, "it ends", timeout_s=30)
    assert worker.process.returncode == 2, worker.log_tail()
    (line,) = [line for line in worker.text.splitlines() if not line.startswith("{")]
    assert "PostgreSQL at " in line
    assert "cannot be reached: no answer. Start it, or correct MERGELINE_DATABASE_URL." in line
    assert "Task" not in worker.text
    assert time.monotonic() - began < 20


async def test_brokers_that_say_nothing_end_a_start_likewise(module_world):
    async with Relay(module_world.bootstrap_servers, mutes=lambda _: True) as silent:
        settings = {"MERGELINE_KAFKA_BOOTSTRAP_SERVERS": silent.address, "MERGELINE_START_TIMEOUT_MS": "1000"}
        worker = module_world.worker(**settings)
        await module_world.until(lambda: not worker.running, "it ends", timeout_s=20)
    assert worker.process.returncode == 2, worker.log_tail()
    (line,) = [line for line in worker.text.splitlines() if not line.startswith("{")]
    assert f"Kafka at {silent.address} (PLAINTEXT) cannot be reached: no answer" in line


@pytest.mark.parametrize(
    "words",
    [["show", "customer", "100737", "1"], ["catalog", "show", "100737"], ["redrive"], ["offsets"]],
    ids=" ".join,
)
async def test_a_command_gives_a_statement_up(module_world, relay, words):
    began = time.monotonic()
    line = await module_world.command(
        *words, status=2, **by(relay, module_world), MERGELINE_DATABASE_TIMEOUT_MS=str(STATEMENT_MS_MAX)
    )
    assert "cannot be reached: no answer" in line
    assert relay.held.is_set()
    assert time.monotonic() - began < STATEMENT_MS_MAX / 1000 + pool.ANSWER_SLACK_S + MARGIN_S


@pytest.mark.parametrize("words", [["migrate"], ["verify"], ["replay", "--since", "1h"], ["prune"]], ids=" ".join)
async def test_one_whose_statements_may_take_long_asks_meanwhile_whether_anybody_answers(
    module_world, relay, monkeypatch, words
):
    monkeypatch.setattr(connecting, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT_S", 0.5)
    began = time.monotonic()
    line = await module_world.command(*words, status=2, **by(relay, module_world))
    assert "cannot be reached: no answer" in line
    assert time.monotonic() - began < MARGIN_S


async def test_a_slow_statement_of_a_server_that_answers_others_is_waited_for(module_world, monkeypatch):
    monkeypatch.setattr(connecting, "LOOK_EVERY_S", 0.1)
    async with connecting.connecting(module_world.database_url, connecting.LONG_STATEMENT_MS_MAX) as connection:
        assert await connection.fetchval("select 1 from pg_sleep(2)") == 1


async def test_what_was_given_up_is_not_waited_for_once_more(module_world, relay):
    """A rollback on a silent connection would wait as long again."""
    relay.mutes = lambda data: b"pg_sleep" in data
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with (
            connecting.connecting(moved(module_world.database_url, relay.address), STATEMENT_MS_MAX) as connection,
            connection.transaction(),
        ):
            await connection.execute("select pg_sleep(60)")
    bound_s = STATEMENT_MS_MAX / 1000 + pool.ANSWER_SLACK_S + 2 * connecting.GIVEN_UP_WITHIN_S
    assert time.monotonic() - began < bound_s + 0.5


async def test_our_system_is_told_to_notice_soon_when_the_server_is_gone_without_a_word(module_world):
    """A proxy answers in TCP for whoever is behind it."""
    async with connecting.connecting(module_world.database_url, STATEMENT_MS_MAX) as connection:
        ours = connection._transport.get_extra_info("socket")
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        found = {
            name: ours.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in connecting.SERVER_GONE_AFTER
        }
    assert found == connecting.SERVER_GONE_AFTER


async def told(module_world, *words, **how):
    """A command in a process of its own."""
    command = [sys.executable, "-m", "mergeline", *words]
    environment = os.environ | module_world.settings | {"PYTHONPATH": IMPORTED_FROM}
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, check=False, stderr=subprocess.PIPE, text=True, **how
    )


async def test_a_reader_that_has_enough_and_a_full_disk_are_not_the_database_s_fault(module_world):
    module_world.worker()
    await module_world.register([1])
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        ended = await told(module_world, "replay", "--since", "1h", "--json", stdout=closed)
    assert (ended.returncode, ended.stderr) == (1, "")
    with open("/dev/full", "w") as full:  # noqa: PTH123 - not a file
        ended = await told(module_world, "replay", "--since", "1h", "--json", stdout=full)
    assert (ended.returncode, ended.stderr) == (2, "mergeline: No space left on device\n")
