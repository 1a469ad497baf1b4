"""What the worker is compared with: programs of `tests/bench`, which a checkout has and an installed package has not.

In: the worlds of the comparison. Out: commands, and what the floor reports. Never: a baseline that this package knows
more of than its command.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

import orjson

from mergeline.bench.world import World
from mergeline.errors import SetupError
from mergeline.settings import PREFIX, variable

ROOT: Final = Path(__file__).parents[3]
FLOOR_TIMEOUT_S: Final = 600.0


def checkout() -> Path:
    """The folder that has `tests/bench`.

    Raises:
        SetupError: if there is none.
    """
    if not (ROOT / "tests" / "bench" / "baseline.py").is_file():
        raise SetupError("The baselines are in tests/bench: --compare needs a checkout (pip install -e '.[dev]').")
    return ROOT


def baseline_command() -> tuple[str, ...]:
    """The per-message worker."""
    return (sys.executable, "-m", "tests.bench.baseline")


async def run_floor(root: Path, source: World, target: World) -> dict[str, Any]:
    """Write what the worker has written in its closed run into another database; how many requests, how long.

    Raises:
        SetupError: if that fails.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.floor"),
        cwd=root,
        env=own | {variable("database_url"): target.database_url, "FLOOR_SOURCE_URL": source.database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), FLOOR_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        raise SetupError(f"The floor took more than {FLOOR_TIMEOUT_S:.0f} s.") from None
    if process.returncode:
        raise SetupError(f"The floor failed: {err.decode(errors='replace').strip().splitlines()[-1:]}")
    document: dict[str, Any] = orjson.loads(out)
    return document
