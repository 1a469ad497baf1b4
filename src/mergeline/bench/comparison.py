"""What the worker is compared with: programs of `tests/bench`, which a checkout has and an installed package has not.

In: the worlds of the comparison. Out: commands, and what the floor reports. Never: a baseline that this package knows
more of than its command, or a process that outlives the bench.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import orjson

from mergeline.bench.workers import last_words
from mergeline.bench.world import World
from mergeline.embedded.guarded import Guarded
from mergeline.errors import SetupError
from mergeline.settings import PREFIX, variable

ROOT: Final = Path(__file__).parents[3]
FLOOR: Final = (sys.executable, "-m", "tests.bench.floor")
FLOOR_POLL_S: Final = 0.1
FLOOR_POLLS_MAX: Final = 6_000


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


async def run_floor(root: Path, source: World, target: World, requests: int) -> dict[str, Any]:
    """Write what the worker has written in its closed run into another database; how many requests, how long.

    Args:
        root: of the checkout.
        source: where the worker has worked.
        target: another world, as it was before.
        requests: of the closed run.

    Raises:
        SetupError: if that fails, with its last words.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environ = own | {
        variable("database_url"): target.database_url,
        "FLOOR_SOURCE_URL": source.database_url,
        "FLOOR_REQUESTS": str(requests),
    }
    process = Guarded(last_signal=signal.SIGTERM, prefix="mergeline-bench-")
    try:
        log = process.folder / "floor.log"
        process.launch([FLOOR], log=log, cwd=root, env=environ)
        for _ in range(FLOOR_POLLS_MAX):
            if (code := process.exit_code) is not None:
                break
            await asyncio.sleep(FLOOR_POLL_S)
        else:
            raise SetupError(f"The floor took more than {FLOOR_POLLS_MAX * FLOOR_POLL_S:.0f} s.")
        said = last_words(log)
    finally:
        process.close()
    if code:
        raise SetupError(f"The floor failed with {code}; its last words:\n{said}")
    document: dict[str, Any] = orjson.loads(said.rpartition("\n")[2])
    return document
