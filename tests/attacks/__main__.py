"""`python -m tests.attacks NAME`: an attack at any size, on servers of its own that keep their data through kills.

In: the sizes, a seed (another one each time, if none is given). Out: one JSON line, one row for the table of figures;
exit status 1 if there is a defect, then with the folder of all logs and data kept.
"""

import argparse
import asyncio
import itertools
import logging
import math
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import structlog
from tests.attacks import hostile_run
from tests.attacks.attacked import attacked_world
from tests.attacks.auditor import Defects
from tests.attacks.bugs import runner as seeded
from tests.attacks.hostile import Hostile
from tests.attacks.hotspots import Hotspots
from tests.attacks.kills import Kills
from tests.attacks.locktable import LockTable, SmallPostgres
from tests.attacks.network import Network
from tests.attacks.report import tell
from tests.attacks.site import Site
from tests.services import databases

from mergeline.embedded import Services
from mergeline.embedded.postgres import Postgres
from mergeline.store.migrations import migrate

PARTITIONS = 4
LOCK_TABLE_WRITERS, LOCK_TABLE_BATCH = 4, 240


def parsed():
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    attacks = parser.add_subparsers(dest="attack", required=True)
    kills = attacks.add_parser("kills", help="workers, broker and database killed with -9 under load")
    kills.add_argument("--requests", type=int, default=10_000)
    kills.add_argument("--kills", type=int, default=20)
    kills.add_argument("--workers", type=int, default=2)
    kills.add_argument("--minutes", type=float, default=math.inf, help="no kill after so long; the load goes on")
    network = attacks.add_parser("network", help="delays, cuts, resets, ... between workers and servers under load")
    network.add_argument("--rounds", type=int, default=1, help="each is every kind of fault once")
    network.add_argument("--minutes", type=float, default=math.inf, help="no further round after so long")
    hotspots = attacks.add_parser("hotspots", help="many writers on few identifiers; a lock table that is too small")
    hotspots.add_argument("--writers", type=int, default=64)
    hotspots.add_argument("--identifiers", type=int, default=10)
    hotspots.add_argument("--operations", type=int, default=100_000)
    hostile = attacks.add_parser("hostile", help="messages that no sender in its right mind would send")
    hostile.add_argument("--messages", type=int, default=20_000)
    hostile.add_argument("--minutes", type=float, default=math.inf, help="no message after so long")
    for attack in (kills, network, hotspots, hostile):
        attack.add_argument("--seed", type=int, default=random.randrange(1 << 32))
        attack.add_argument(
            "--data", type=Path, default=Path(tempfile.gettempdir()), help="where data is put meanwhile"
        )
        attack.add_argument("--keep", action="store_true", help="keep data and logs of a good run too")
    bugs = attacks.add_parser("bugs", help="seeded bugs, each put into a copy: the tests must notice")
    bugs.add_argument("--only", action="append", default=[], metavar="NAME", help="may be given again")
    bugs.add_argument("--jobs", type=int, default=1, help="at the same time, each with servers of its own")
    bugs.add_argument("--seconds", type=float, default=seeded.BUG_SECONDS_MAX, help="for the tests of one bug")
    return parser.parse_args()


def run_kills(arguments, folder):
    """Out: the command that repeats it, trials, defects, figures."""
    with Services(folder, notice=print) as services:
        defects, figures = asyncio.run(killed(arguments, services, folder))
    sizes = f"--requests {arguments.requests} --kills {arguments.kills} --workers {arguments.workers}"
    return sizes, sum(figures["kills"].values()), defects, figures


def run_network(arguments, folder):
    """The same."""
    defects, figures = asyncio.run(networked(arguments, folder))
    return f"--rounds {arguments.rounds}", sum(figures["faults"].values()), defects, figures


def run_hotspots(arguments, folder):
    """The same."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # retries are counted
    writers, identifiers, operations = arguments.writers, arguments.identifiers, arguments.operations
    with Postgres(data_dir=folder / "postgres", notice=print) as server:
        asyncio.run(migrate(server.database_url))
        hotspots = Hotspots(
            server.database_url, writers=writers, identifiers=identifiers, operations=operations, seed=arguments.seed
        )
        defects = asyncio.run(hotspots.run())
    with SmallPostgres(notice=print) as server:
        asyncio.run(migrate(server.database_url))
        lock_table = LockTable(server.database_url, writers=LOCK_TABLE_WRITERS, batch=LOCK_TABLE_BATCH)
        defects.take(asyncio.run(lock_table.run()))
    sizes = f"--writers {writers} --identifiers {identifiers} --operations {operations}"
    return sizes, operations, defects, hotspots.figures() | lock_table.figures()


async def networked(arguments, folder):
    async with Site(random.Random(arguments.seed)).running() as site:
        url = await site.database()
        async with attacked_world(site.kafka.bootstrap_servers, url, "attack.", folder, PARTITIONS) as world:
            network = Network(
                site, world, rounds=arguments.rounds, seed=arguments.seed, seconds_max=60 * arguments.minutes,
                verbose=True,
            )  # fmt: skip
            return await network.run(), network.figures()


def run_hostile(arguments, folder):
    """The same."""
    with Services(folder, notice=print) as services:
        defects, figures = asyncio.run(hostile_messages(arguments, services, folder))
    sent = figures.get("messages", 0)
    return f"--messages {sent or arguments.messages}", sent, defects, figures


async def hostile_messages(arguments, services, folder):
    defects, figures = Defects(), {}
    name = databases.new_name("attack")
    await databases.create(services.database_url, name)
    database_url = databases.url_of(services.database_url, name)
    await migrate(database_url)
    world = hostile_run.HostileWorld(services.bootstrap_servers, database_url, "attack.", folder)
    try:
        await world.prepare(PARTITIONS)
        figures = await hostile_run.run(
            world, itertools.islice(Hostile(arguments.seed), arguments.messages), arguments.seed,
            minutes=arguments.minutes, say=lambda text: print(text, flush=True),
        )  # fmt: skip
        print(figures)
        await world.command("verify")
    except AssertionError as error:
        defects.add("hostile", error)
    finally:
        await world.close()
    return defects, vars(figures) if figures else {}


async def killed(arguments, services, folder):
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
    if arguments.attack == "bugs":
        return seeded.main(arguments.only, arguments.jobs, arguments.seconds)
    print(f"python -m tests.attacks {arguments.attack} --seed {arguments.seed}", flush=True)
    arguments.data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="mergeline-attack-", dir=arguments.data))
    folder.chmod(0o755)  # PostgreSQL's own user goes through it
    os.environ.pop("MERGELINE_LOG_FORMAT", None)
    started = time.monotonic()
    runs = {"kills": run_kills, "network": run_network, "hotspots": run_hotspots, "hostile": run_hostile}
    run = runs[arguments.attack]
    sizes, trials, defects, figures = run(arguments, folder)
    command = f"python -m tests.attacks {arguments.attack} {sizes} --seed {arguments.seed}"
    status = tell(arguments.attack.capitalize(), command, trials, defects, figures, time.monotonic() - started)
    if status or arguments.keep:
        print(f"data and logs: {folder}")
    else:
        shutil.rmtree(folder)
    return status


if __name__ == "__main__":
    sys.exit(main())
