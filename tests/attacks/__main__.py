"""`python -m tests.attacks NAME`: an attack at any size, on servers of its own that keep their data through kills.

In: the sizes, a seed (another one each time, if none is given). Out: one JSON line, one row for the table of figures;
exit status 1 if there is a defect, then with the folder of all logs and data kept.
"""

import argparse
import asyncio
import math
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.attacks.attacked import attacked_world
from tests.attacks.kills import Kills
from tests.attacks.report import tell
from tests.services import databases

from mergeline.embedded import Services
from mergeline.store.migrations import migrate

PARTITIONS = 4


def parsed():
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    attacks = parser.add_subparsers(dest="attack", required=True)
    kills = attacks.add_parser("kills", help="workers, broker and database killed with -9 under load")
    kills.add_argument("--requests", type=int, default=10_000)
    kills.add_argument("--kills", type=int, default=20)
    kills.add_argument("--workers", type=int, default=2)
    kills.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    kills.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()), help="where the data is put meanwhile")
    kills.add_argument("--minutes", type=float, default=math.inf, help="no kill after so long; the load goes on")
    kills.add_argument("--keep", action="store_true", help="keep data and logs of a good run too")
    return parser.parse_args()


async def run_kills(arguments, services, folder):
    name = databases.new_name("attack")
    await databases.create(services.database_url, name)
    database_url = databases.url_of(services.database_url, name)
    await migrate(database_url)
    async with attacked_world(services.bootstrap_servers, database_url, "attack.", folder, PARTITIONS) as world:
        kills = Kills(
            world, {"broker": services.kafka, "database": services.postgres},
            requests=arguments.requests, kills=arguments.kills, seed=arguments.seed, workers=arguments.workers,
            seconds_max=60 * arguments.minutes, verbose=True,
        )  # fmt: skip
        defects = await kills.run()
    return defects, kills.figures()


def main():
    arguments = parsed()
    command = (
        f"python -m tests.attacks kills --requests {arguments.requests} --kills {arguments.kills} "
        f"--workers {arguments.workers} --seed {arguments.seed}"
    )
    print(command, flush=True)
    arguments.data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="mergeline-attack-", dir=arguments.data))
    folder.chmod(0o755)  # PostgreSQL's own user goes through it
    os.environ.pop("MERGELINE_LOG_FORMAT", None)
    started = time.monotonic()
    with Services(folder, notice=print) as services:
        defects, figures = asyncio.run(run_kills(arguments, services, folder))
    status = tell("Kills", command, sum(figures["kills"].values()), defects, figures, time.monotonic() - started)
    if status or arguments.keep:
        print(f"data and logs: {folder}")
    else:
        shutil.rmtree(folder)
    return status


if __name__ == "__main__":
    sys.exit(main())
