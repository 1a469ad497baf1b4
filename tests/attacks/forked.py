"""Workers that start in no time: forked from a process that has imported everything, otherwise as in production.

In: settings as environment, a log file. Out: a process with the face of `tests.worker.process.WorkerProcess`. Two
things differ from `mergeline worker`: Python need not start, which would be most of what hundreds of kills cost; and
the session may be shorter than production's least, which is the least of Kafka's defaults.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from types import SimpleNamespace

from tests.worker.process import ROOT, WorkerProcess

PRELOADED = ("mergeline.app", "mergeline.cli", "mergeline.cli.worker")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(list(PRELOADED))
if str(ROOT) not in sys.path:  # what is forked looks for this module where we would
    sys.path.append(str(ROOT))


class ForkedWorker(WorkerProcess):
    """One worker of a short session; `kill` is safe to call at any time."""

    def __init__(self, log, settings, session_ms):
        self.log = log
        self._events, self._parsed = [], 0
        log.touch()
        self._forked = CONTEXT.Process(target=work, args=(str(log), settings, session_ms), daemon=True)
        self._forked.start()
        self.process = SimpleNamespace(
            pid=self._forked.pid, poll=lambda: self._forked.exitcode, kill=self._forked.kill, wait=self._forked.join,
            send_signal=self._signal,
        )  # fmt: skip

    @property
    def status(self):
        """How it ended; None while it runs."""
        return self._forked.exitcode

    def _signal(self, number):
        if self.running:
            os.kill(self._forked.pid, number)


def work(log, settings, session_ms):
    """What runs in the forked process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    with open(log, "ab") as file:  # noqa: PTH123 - a plain descriptor is wanted
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name in [name for name in os.environ if name.startswith("MERGELINE_")]:
        del os.environ[name]
    os.environ |= {"COLUMNS": "100"} | settings
    threading.Thread(target=end_with_parent, daemon=True).start()
    shorten_sessions(session_ms)
    sys.argv = ["mergeline", "worker"]
    from mergeline.cli import main  # noqa: PLC0415 - imported before, in the process that forks

    main(prog_name="mergeline")


def end_with_parent():
    """However the process ends that asked for this one."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def shorten_sessions(session_ms):
    import mergeline.stream.worker as module  # noqa: PLC0415 - the same

    faust_app = module._faust_app
    module._faust_app = lambda settings, folder: faust_app(
        settings.model_copy(update={"session_timeout_ms": session_ms}), folder
    )
