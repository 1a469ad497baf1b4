"""`python -m tests.worker.stopping worker`: a worker that stops itself at one point of acquiring or publishing.

In: MERGELINE_TEST_STOP_AT names the point, MERGELINE_TEST_STOP_BY the signal it sends itself there (SIGSTOP or
SIGKILL), MERGELINE_TEST_STOP_NTH at which passage.
"""

import os
import signal
from collections import Counter
from dataclasses import replace

from tests.worker import points

import mergeline.app
import mergeline.database
from mergeline.cli import main

IDLE_MS_MAX = 2_000
"""How long rows stay locked behind a worker that sleeps; the program's own are long for a test."""
passed = Counter()


async def reached(point):
    passed[point] += 1
    if point == os.environ["MERGELINE_TEST_STOP_AT"] and passed[point] == int(os.environ["MERGELINE_TEST_STOP_NTH"]):
        os.kill(os.getpid(), signal.Signals[os.environ["MERGELINE_TEST_STOP_BY"]])


if __name__ == "__main__":
    options = mergeline.database.options
    mergeline.database.options = lambda settings: replace(options(settings), idle_ms_max=IDLE_MS_MAX)
    points.install(reached)
    main(prog_name="mergeline")
