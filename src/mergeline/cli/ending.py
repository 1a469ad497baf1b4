"""How a command that starts servers of its own is ended: by Ctrl-C or SIGTERM, from wherever it was started.

In: nothing. Out: both signals interrupt it, so that it ends what it started, in order. Never: a signal that stays
ignored because it was so where the command was started, as a shell has it for every `command &` of a script.
"""

import signal
import tempfile


def end_in_order() -> None:
    """Have SIGINT and SIGTERM raise KeyboardInterrupt from now on (a running event loop: cancel its main task)."""
    tempfile.gettempdir()  # asked first, it tries folders with a file, which an interruption would leave behind
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
