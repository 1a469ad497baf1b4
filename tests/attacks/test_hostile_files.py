"""Hostile files: each ends with a clear line or with what it asks for, in time, and never with a traceback."""

import asyncio
import io
import random
import time

import pytest
from click.testing import CliRunner
from tests.attacks import hostile_files
from tests.services import databases
from tests.worker.harness import World

from mergeline.cli import main
from mergeline.cli.catalog_files import read_catalogs
from mergeline.cli.files import BadLine, Registration, format_of, read_lines, read_registrations
from mergeline.errors import SetupError

CATALOGS, FILES = 200, 60
CPU_S_MAX = 3.0


@pytest.fixture
async def world(postgres, bootstrap_servers, template_database, topic_prefix, tmp_path):
    name = databases.new_name("files")
    await databases.create(postgres.database_url, name, template_database)
    world = World(bootstrap_servers, databases.url_of(postgres.database_url, name), topic_prefix, tmp_path)
    try:
        await world.prepare()
        yield world
    finally:
        await world.close()
        await databases.drop(postgres.database_url, name)


def taking_time(function, *arguments):
    """What it returns; it may not take long."""
    before = time.process_time()
    try:
        return function(*arguments)
    finally:
        took_s = time.process_time() - before
        assert took_s < CPU_S_MAX, (took_s, arguments)


def test_a_catalog_is_read_or_said_to_be_wrong(seed, tmp_path):
    dice, path, read = random.Random(seed), tmp_path / "brand.yaml", 0
    for _ in range(CATALOGS):
        content = hostile_files.catalog(dice)
        path.write_bytes(content)
        catalogs, problems = taking_time(read_catalogs, [path])
        assert bool(catalogs) != bool(problems), content[:500]
        for problem in problems:
            assert str(problem).encode(), content[:500]
            assert len(problem.reason) < 300, (problem, content[:500])
        read += len(catalogs)
    assert 0 < read < CATALOGS


@pytest.mark.parametrize("kind", ["customers", "cards"])
def test_each_line_of_a_file_is_a_registration_or_a_bad_line(seed, kind):
    dice = random.Random(seed)
    for _ in range(FILES):
        name, content = hostile_files.line_file(dice, kind)
        taking_time(judged, name, kind, content)


def judged(name, kind, content):
    lines = list(read_lines(io.BytesIO(content)))
    try:
        found = list(read_registrations(iter(lines), kind, format_of(name)))
    except SetupError:
        assert name.endswith(".csv")  # of which nothing can be read
        return
    numbers = [line.number for one in found for line in one.lines]
    header = name.endswith(".csv")
    assert sorted(numbers) == [line.number for line in lines[header:]]
    for one in found:
        assert isinstance(one, Registration | BadLine)
        if isinstance(one, BadLine):
            assert one.reason.encode()


@pytest.mark.timeout(300)
async def test_commands_take_hostile_files(world, seed, tmp_path):
    """As users run them, on a running worker: no traceback, every line answered for."""
    dice = random.Random(seed)
    world.worker(MERGELINE_DEAD_LETTER_LIMIT="0")
    for number in range(4):
        kind = ("customers", "cards")[number % 2]
        name, content = hostile_files.line_file(dice, kind)
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(content)
        await ended(world, "import", kind, str(path))
        path.write_bytes(hostile_files.lines(dice, 50))
        await ended(world, "send", "--wait", str(path))
        await ended(world, "send", "--wait", "--json", "--topic", "card-registrations", str(path))
        path.write_bytes(hostile_files.catalog(dice))
        await ended(world, "catalog", "apply", "--dry-run", str(path))
    letters = str(len(world.records["identifier-updates-dlt"]))
    for form in ((), ("--json",)):
        await ended(world, "watch", "--from-beginning", "--topic", "identifier-updates-dlt", "--limit", letters, *form)


async def ended(world, *arguments):
    """Ran to its end with one of the exit statuses that are promised, and without an exception."""
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=world.settings | {"COLUMNS": "100"})
    assert result.exit_code in (0, 1, 2), (arguments, result.exit_code, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
