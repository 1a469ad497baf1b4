"""`python -m tests.worker.breaking_off topics reset ...`: a reset that is killed behind one of its steps.

In: MERGELINE_TEST_STOP_AT names the step. Out: the functions of production, wrapped from outside.
"""

import os
import signal

import mergeline.store.incarnations
import mergeline.stream.resetting
from mergeline.cli import main
from mergeline.store.incarnations import Turn
from mergeline.stream.publisher import Publisher

STEPS = {
    "locked out": (mergeline.stream.resetting, "_lock_out"),
    "begun": (mergeline.stream.resetting, "_begin"),
    "a page published": (Publisher, "publish"),
    "published": (mergeline.stream.resetting, "_publish"),
    "written": (Turn, "write"),
}


def killed_behind(step):
    owner, name = STEPS[step]
    original = getattr(owner, name)

    async def wrapped(*arguments, **options):
        await original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    mergeline.store.incarnations.UNPUBLISHED_PAGE = 6
    killed_behind(os.environ["MERGELINE_TEST_STOP_AT"])
    main(prog_name="mergeline")
