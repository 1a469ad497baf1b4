"""`python -m tests.attacks.jumping worker`: a worker whose clock is wrong.

In: MERGELINE_TEST_CLOCK names a file that says by how many seconds, now. Out: a worker that sees that time wherever it
or a library asks for it, and whose records carry it. (A monotonic clock does not jump.)
"""

import os
import time
from pathlib import Path

from aiokafka.producer.message_accumulator import BatchBuilder

from mergeline.cli import main

clock, right_time, append = Path(os.environ.get("MERGELINE_TEST_CLOCK", os.devnull)), time.time, BatchBuilder.append


def wrong_time():
    return right_time() + float(clock.read_text())


def stamped(self, *, timestamp, **fields):
    return append(self, timestamp=int(wrong_time() * 1000) if timestamp is None else timestamp, **fields)


if __name__ == "__main__":
    time.time = wrong_time
    BatchBuilder.append = stamped  # which is compiled, and asks the system itself
    main(prog_name="mergeline")
