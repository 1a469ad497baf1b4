"""The composition root: everything the worker is made of is constructed here, nothing at import.

In: settings. Out: a worker that runs until it is told to stop (exit status 0) or cannot go on. Never: a decision.

A worker that cannot go on ends hard, without finishing anything: whatever it had not published is published by its
next incarnation from the ledger. Where an operator must act the status is 2 and the last line says what to do.
"""

import asyncio
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Final

import faust
import structlog
import uvloop

from mergeline.domain.limits import Limits
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store import Store
from mergeline.stream.clients import client_options
from mergeline.stream.worker import Worker

EXIT_FAILED: Final = 70
EXIT_SETUP: Final = 2
log = structlog.get_logger(__name__)


def run_worker(settings: Settings) -> int:
    """Run a worker in this process until SIGTERM or SIGINT; the exit status."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return 0


def end_process(error: BaseException) -> None:
    """End this process now, saying why on stderr; never returns.

    The text of an unexpected error may hold values of a request, so only its kind and place are said.
    """
    if isinstance(error, SetupError):
        sys.stderr.write(f"mergeline: {error}\n")
        status = EXIT_SETUP
    else:
        where = traceback.extract_tb(error.__traceback__)[-1:] or [None]
        place = f"{Path(where[0].filename).name}:{where[0].lineno}" if where[0] is not None else "unknown"
        log.critical("worker.failed", error=type(error).__name__, place=place)
        status = EXIT_FAILED
    sys.stderr.flush()
    os._exit(status)
