"""The kit as a command; see README.md."""

import argparse
import asyncio
import sys
from pathlib import Path

import yaml
from tests.conformance.kafka import Runner
from tests.conformance.scenario import load


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Hold a worker to the contract.")
    parser.add_argument("--first-org", type=int, required=True, help="orgs from here on are used; none may exist yet")
    parser.add_argument("--only", metavar="NAME", action="append", help="only this scenario (repeat for more)")
    commands = parser.add_subparsers(dest="command", required=True)
    catalogs = commands.add_parser("catalogs", help="write the catalog file of each scenario's org; apply them first")
    catalogs.add_argument("folder", type=Path)
    run = commands.add_parser("run", help="send, read and compare")
    run.add_argument("--bootstrap-servers", required=True)
    run.add_argument("--topic-prefix", default="mergeline.")
    run.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="for each step; default 120")
    arguments = parser.parse_args()
    scenarios = [one for one in load(arguments.first_org) if not arguments.only or one.name in arguments.only]
    if arguments.command == "catalogs":
        print(*write_catalogs(scenarios, arguments.folder), sep="\n")
        return 0
    return asyncio.run(compare(scenarios, arguments))


def write_catalogs(scenarios, folder):
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for scenario in scenarios:
        if scenario.catalog is not None:
            paths.append(folder / f"{scenario.name}.yaml")
            paths[-1].write_text(yaml.safe_dump(scenario.catalog, sort_keys=False))
    return paths


async def compare(scenarios, arguments):
    runner = Runner(arguments.bootstrap_servers, arguments.topic_prefix, scenarios, timeout_s=arguments.timeout)
    found = await runner.run()
    for scenario in scenarios:
        lines = found.get(scenario.name, [])
        print(f"{'ok  ' if not lines else 'FAIL'} {scenario.name}: {scenario.title}")
        for line in lines:
            print(f"     {line}")
    print(f"{len(scenarios) - len(found)} of {len(scenarios)} scenarios hold")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
