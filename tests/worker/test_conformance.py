"""The conformance kit, run as its README says, against a real worker."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIRST_ORG = 900_000_000


async def kit(*arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.conformance", "--first-org", str(FIRST_ORG), *arguments,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode, out.decode()


@pytest.mark.timeout(300)
async def test_a_worker_holds_to_every_scenario(served, tmp_path):
    status, files = await kit("catalogs", str(tmp_path))
    assert status == 0
    await served.command("catalog", "apply", *files.split())
    where = ("--bootstrap-servers", served.bootstrap_servers, "--topic-prefix", served.prefix)
    status, out = await kit("run", *where)
    assert status == 0, out
