"""`mergeline worker`: the process that answers requests.

In: the settings. Out: whatever the worker says of itself. Never: anything but a start; what runs is in `app`.
"""

import os

import click

from mergeline.app import run_worker
from mergeline.settings import Settings


@click.command()
def worker() -> None:
    """Answer requests until SIGTERM or Ctrl-C.

    Needs Kafka, a migrated PostgreSQL and the topics; waits for them for MERGELINE_START_TIMEOUT_MS. Logs go to
    stderr, one JSON record a line (text on a terminal).

    \b
    Example:
      mergeline worker
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    raise SystemExit(run_worker(Settings.load(os.environ)))
