"""One bug after another, each in a copy of the checkout, until a test fails.

In: bugs. Out: for each the test that noticed it, or that none did. Never: a change of this checkout, or a catch that is
none: the test that failed with the bug must pass without it, and must have been collected (a module that cannot be
imported any more is no plausible bug).

The tests that are expected to notice run first; the rest only where they do not, cheapest first.
"""

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.attacks.bugs.bug import Bug, bugs, put
from tests.attacks.report import commit, machine

ROOT = Path(__file__).parents[3]
PASSED, FAILED, NOTHING_TO_RUN = 0, 1, 5  # pytest's exit statuses
LANES = (
    ("tests/unit",),
    ("tests/property", "tests/contract", "tests/conformance", "tests/simulation/test_model_pure.py"),
    ("tests/integration",),
    ("tests/simulation",),
    ("tests/worker",),
    ("tests/attacks", "--ignore=tests/attacks/bugs"),
)
"""All that may notice a bug, cheapest first; but for the tests of these bugs, which would notice whatever it does."""
MISSED_MAX = 2  # of all
BUG_SECONDS_MAX = 360
CONFIRMING_SECONDS_MAX = 1_800
ENDING_SECONDS_MAX = 30
SAID_MAX = 4_000
BROKEN_TESTS_MAX = 3
"""Tests that fail without the bug too, which are then left out."""
FAILURE = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What became of a bug; `caught_by` is None for a miss, and `said` what pytest said last."""

    bug: Bug
    caught_by: str | None
    seconds: float
    said: str = ""


class Copy:
    """A copy of the checkout, in which one bug at a time is put."""

    def __init__(self, folder):
        self.root = folder / "checkout"
        shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        paths = os.pathsep.join([str(self.root / "src"), str(self.root)])
        own = {name: value for name, value in os.environ.items() if not name.startswith(("MERGELINE_LOG", "PYTEST_"))}
        self._environment = own | {"PYTHONPATH": paths}
        self.broken = ()
        where = [sys.executable, "-c", "import mergeline; print(mergeline.__file__)"]
        _, imported = self._run(where, ENDING_SECONDS_MAX)
        if not imported.startswith(str(self.root)):
            raise RuntimeError(f"the copy is not what is imported: {imported}")

    def judge(self, bug, lanes=LANES, seconds_max=BUG_SECONDS_MAX):
        """Run the tests of a bug, then `lanes`, until one notices."""
        started = time.monotonic()
        said = ""
        for paths in (tuple(f"tests/{file}" for file in bug.caught_by), *lanes):
            left_s = seconds_max - (time.monotonic() - started)
            status, said = self._with_bug(bug, paths, left_s) if left_s > 0 else (None, said)
            if status == FAILED:
                return Verdict(bug, FAILURE.findall(said)[0], time.monotonic() - started, said)
            if status is None:
                break
            if status not in (PASSED, NOTHING_TO_RUN):
                raise RuntimeError(f"{bug.name}: pytest ended with {status}\n{said[-SAID_MAX:]}")
        return Verdict(bug, None, time.monotonic() - started, said)

    def broken_among(self, tests):
        """Those of the tests that fail without any bug."""
        status, said = self._pytest(tests, CONFIRMING_SECONDS_MAX)
        if status not in (PASSED, FAILED):
            raise RuntimeError(f"pytest ended with {status}\n{said[-SAID_MAX:]}")
        return set(FAILURE.findall(said))

    def _with_bug(self, bug, paths, seconds_max):
        before = put(bug.changed(self.root))
        try:
            return self._pytest(paths, seconds_max, "-x")
        finally:
            put(before)

    def _pytest(self, paths, seconds_max, *flags):
        left_out = [f"--deselect={test}" for test in self.broken]
        flags = ["-q", "-p", "no:cacheprovider", "--tb=short", "--no-header", *flags]
        return self._run([sys.executable, "-m", "pytest", *flags, *left_out, *paths], seconds_max)

    def _run(self, command, seconds_max):
        """Its exit status, None where it did not end in time, and what it said."""
        process = subprocess.Popen(
            command, cwd=self.root, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=seconds_max)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it stops its servers
            try:
                said, _ = process.communicate(timeout=ENDING_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                said, _ = process.communicate()
            return None, said
        return process.returncode, said


def row(verdict):
    """A line of the table."""
    return f"| {verdict.bug.name} | {verdict.caught_by or 'MISSED'} | {verdict.seconds:.0f} |"


def hunt(found, folder, jobs=1, say=print, **bounds):
    """Judge the bugs, `jobs` at a time in as many copies below `folder`; the verdicts in order."""
    copies = queue.SimpleQueue()
    for number in range(jobs):
        copies.put(Copy(folder / str(number)))

    def judged(bug):
        copy = copies.get()
        copy.broken = broken
        try:
            verdict = copy.judge(bug, **bounds)
        finally:
            copies.put(copy)
        say(row(verdict))
        return verdict

    verdicts, broken, left = {}, set(), list(found)
    with ThreadPoolExecutor(jobs) as threads:
        while left:
            verdicts |= {verdict.bug.name: verdict for verdict in threads.map(judged, left)}
            copy = copies.get()
            copies.put(copy)
            caught = {verdict.caught_by for verdict in verdicts.values() if verdict.caught_by}
            broken |= copy.broken_among(sorted(caught)) if caught else set()
            if len(broken) > BROKEN_TESTS_MAX:
                raise RuntimeError(f"tests fail without any bug: {sorted(broken)}")
            left = [verdict.bug for verdict in verdicts.values() if verdict.caught_by in broken]
    return [verdicts[bug.name] for bug in found]


def main(only=(), jobs=1, seconds_max=BUG_SECONDS_MAX):
    """All bugs, or some; the exit status."""
    found = [bug for bug in bugs() if not only or bug.name in only]
    if unknown := set(only) - {bug.name for bug in found}:
        print(f"no such bug: {', '.join(sorted(unknown))}")
        return 2
    print("| bug | caught by | seconds |\n| --- | --- | --- |", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mergeline-bugs-") as folder:
        verdicts = hunt(found, Path(folder), jobs, partial(print, flush=True), seconds_max=seconds_max)
    missed = [verdict for verdict in verdicts if verdict.caught_by is None]
    for verdict in missed:
        print(f"\nMISSED {verdict.bug.name}, though all this ran:\n{verdict.said[-SAID_MAX:]}")
    minutes = (time.monotonic() - started) / 60
    print(f"{len(verdicts) - len(missed)} of {len(verdicts)} caught, {minutes:.0f} min, {commit()}, {machine()}")
    return 1 if len(missed) > (0 if only else MISSED_MAX) else 0
