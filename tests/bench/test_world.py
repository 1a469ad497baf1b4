"""What the bench makes on services that somebody else uses, and that it takes it away however a run ends."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.admin import DeleteTopicsResponse_v3
from tests.bench.test_parts import plan

from mergeline.bench import world as worlds
from mergeline.bench.meter import cost, metered
from mergeline.bench.workers import Workers
from mergeline.bench.world import Site
from mergeline.errors import SetupError
from mergeline.settings import Settings, variable

SAMPLED_S = 1.0
GONE_POLLS_MAX = 50


def site_at(database_url, bootstrap_servers):
    environ = {variable("database_url"): database_url, variable("kafka_bootstrap_servers"): bootstrap_servers}
    return Site(Settings.load(environ), None)


@pytest.fixture
def site(postgres, bootstrap_servers):
    return site_at(postgres.database_url, bootstrap_servers)


@pytest.fixture
async def site_of_no_superuser(postgres, bootstrap_servers):
    """A role that may make databases, and no more."""
    role, admin = f"r{uuid.uuid4().hex[:8]}", await asyncpg.connect(postgres.database_url)
    try:
        await admin.execute(f"create role {role} login createdb password 'secret'")
        parts = urlsplit(postgres.database_url)
        place = f"{role}:secret@{parts.netloc.rpartition('@')[2]}"
        yield site_at(urlunsplit(parts._replace(netloc=place)), bootstrap_servers)
        await admin.execute(f"drop role {role}")
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def metered_world(site, notice=str):
    """The meter of a world without workers."""
    async with site.world("worker", plan(), notice) as world:
        workers = Workers(world.settings, 1)
        async with metered(site, world, workers) as meter:
            yield meter


async def left(site):
    """Databases and topics that only a bench can have made."""
    connection = await asyncpg.connect(site.settings.database_url.get_secret_value())
    client = AIOKafkaAdminClient(bootstrap_servers=site.settings.kafka_bootstrap_servers)
    await client.start()
    try:
        databases = await connection.fetch("select datname from pg_database where datname like 'bench\\_%'")
        return [row["datname"] for row in databases] + [name for name in await client.list_topics() if "bench_" in name]
    finally:
        await client.close()
        await connection.close()


async def assert_nothing_left(site):
    for _ in range(GONE_POLLS_MAX):  # brokers forget a topic a moment after they have said so
        if not (found := await left(site)):
            return
        await asyncio.sleep(0.1)
    assert found == []


async def test_what_ends_the_population_ends_with_one_line_and_leaves_nothing(site, monkeypatch):
    monkeypatch.setitem(worlds.SQL, "customers", "select $1::bigint + $2::bigint / ($3::bigint - $3::bigint)")
    with pytest.raises(SetupError, match=r"PostgreSQL at .* failed"):
        async with site.world("worker", plan(), pytest.fail):
            pytest.fail("there is no population")
    await assert_nothing_left(site)


async def test_an_interruption_of_the_population_leaves_nothing(site, monkeypatch):
    monkeypatch.setitem(worlds.SQL, "customers", "select pg_sleep(60), $1::bigint, $2::bigint, $3::bigint")

    async def use():
        async with site.world("worker", plan(), pytest.fail):
            pytest.fail("there is no population")

    using = asyncio.create_task(use())
    while not any(name.endswith("identifier-updates") for name in await left(site)):
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    await assert_nothing_left(site)


async def test_an_error_of_the_database_within_a_run_is_one_line(site):
    with pytest.raises(SetupError, match=r"PostgreSQL at .* failed"):
        async with site.world("worker", plan(), pytest.fail) as world:
            await world.add_merges([(7, 1), (7, 1)])
    await assert_nothing_left(site)


async def test_a_role_that_may_take_no_checkpoint_is_told_so_and_goes_on(site_of_no_superuser):
    site, told = site_of_no_superuser, []
    async with metered_world(site, told.append) as meter:
        assert (await meter.read()).database["wal_bytes"] > 0
    assert "grant pg_checkpoint" in " ".join(told)
    await assert_nothing_left(site)


async def test_what_the_meter_may_not_do_is_one_line_too(site_of_no_superuser):
    site = site_of_no_superuser
    with pytest.raises(SetupError, match=r"PostgreSQL at .* refuses: permission denied to create extension"):
        async with metered_world(site) as meter:
            await meter.begin_statements()
    await assert_nothing_left(site)


async def test_statements_that_this_server_does_not_count_are_said_to_need_a_setting(site):
    with pytest.raises(SetupError, match=r"--statements: .* shared_preload_libraries"):
        async with metered_world(site) as meter:
            await meter.begin_statements()


async def test_topics_that_it_may_not_delete_are_said_to_be_left(site, monkeypatch):
    class Refusing:
        async def delete_topics(self, names):
            codes = [(name, TopicAuthorizationFailedError.errno if name.endswith("s-changed") else 0) for name in names]
            return DeleteTopicsResponse_v3(throttle_time_ms=0, topic_error_codes=codes)

    @contextlib.asynccontextmanager
    async def refusing(_):
        yield Refusing()

    told = []
    async with site.world("worker", plan(), told.append) as world:
        with monkeypatch.context() as patched:
            patched.setattr(worlds.topics, "admin", refusing)
            await world.delete_topics(told.append)
    (line,) = told
    assert re.search(r"TopicAuthorizationFailedError\); left are: bench_worker_\w+\.identifiers-changed$", line)


async def test_a_world_is_its_own_whatever_the_plan_says_of_its_workers(site):
    own = {variable(name): "mergeline." for name in ("topic_prefix", "group_id")} | {variable("batch_max"): "7"}
    async with site.world("worker", plan(worker_settings=own), pytest.fail) as world:
        assert world.settings.topic_prefix.startswith("bench_worker_")
        assert world.settings.group_id.startswith("bench_worker_")
        assert world.settings.batch_max == 7


async def test_the_benchs_own_commits_are_not_those_of_a_request(site):
    async with metered_world(site) as meter, meter.sampling():
        before = await meter.read()
        connection = await asyncpg.connect(meter._world.database_url)
        for _ in range(20):
            await connection.execute("select 1")
        await connection.close()  # its counts are told by then
        await asyncio.sleep(SAMPLED_S)
        after = await meter.read()
    assert meter.samples >= 5
    # To connect is a commit too.
    assert cost(before, after, 1).commits == pytest.approx(21, abs=1)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the bench needs /proc")
def test_sigterm_ends_the_wait_for_the_services_also_where_sigint_was_ignored():
    # As a shell starts every `command &` of a script.
    bench = subprocess.Popen(
        ["sh", "-c", f"trap '' INT; exec {sys.executable} -m mergeline bench --quick --closed-only"],
        env={name: value for name, value in os.environ.items() if not name.startswith("MERGELINE_")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        while "starting Kafka and PostgreSQL" not in (line := bench.stderr.readline()):
            assert line, bench.wait()
        time.sleep(0.2)
        bench.send_signal(signal.SIGTERM)
        _, rest = bench.communicate(timeout=60)
    finally:
        bench.kill()
        bench.wait()
    assert bench.returncode == 130, rest
    assert not re.search("storing", rest), "it went on when the services were up"
