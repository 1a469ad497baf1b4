"""What a bench found, for people and for programs.

In: `Results`. Out: tables; one document. Never: a figure that was not measured.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import click
import plotille
from rich.console import Console
from rich.text import Text

from mergeline.bench.latency import PERCENTILES
from mergeline.bench.processes import PROCESSORS
from mergeline.bench.results import Closed, Floor, Open, Results
from mergeline.cli.output import lay_out, table

MIB: Final = 1 << 20
PLOT_COLUMNS: Final = 60
PLOT_LINES: Final = 20
PLOTTED: Final = ("p50", "p99")
NOT_MEASURED: Final = "-"


def status(results: Results) -> int:
    """The exit status: 1 where an answer was missing, double or wrong."""
    judgements = [results.closed.judgement, *(run.judgement for run in results.opened)]
    if results.baseline is not None:
        judgements.append(results.baseline.judgement)
    return int(any(judgement.faults for judgement in judgements))


def as_document(results: Results, command: str) -> dict[str, Any]:
    """For a program: the figures that are compared most, then everything."""
    closed, baseline, floor = results.closed, results.baseline, results.floor
    rate = closed.cost.requests_per_second
    document: dict[str, Any] = {
        "command": command,
        "requests_per_second": round(rate, 1),
        "worker_cpu_us_per_request": round(closed.cost.cpu_us.get("worker", 0.0), 1),
        "start_to_first_outcome_ms": round(closed.start_to_first_outcome_ms),
        "peak_rss_bytes": closed.peak_rss_bytes,
        "others_share": round(closed.cost.others_share, 3),
        "processors_bound_requests_per_second": round(closed.cost.processors_bound, 1),
    }
    if results.opened:
        document |= {f"latency_ms_{name}": value for name, value in results.opened[0].latency_ms.items()}
    if baseline is not None:
        document["baseline_requests_per_second"] = round(baseline.cost.requests_per_second, 1)
        document["ratio"] = round(rate / baseline.cost.requests_per_second, 2)
        document["cpu_ratio"] = round(_cpu_us(baseline) / _cpu_us(closed), 2)
    if floor is not None:
        document["floor_requests_per_second"] = round(floor.requests_per_second, 1)
        document["floor_share"] = round(rate / floor.requests_per_second, 3)
    return document | dataclasses.asdict(results)


def _cpu_us(run: Closed) -> float:
    """Of all processes together, a request: what a busy machine changes least."""
    return sum(run.cost.cpu_us.values())


def show(out: Console, results: Results, command: str) -> None:
    """For people."""
    sizes = results.sizes
    stored = f"{sizes['customers']:,} customers, {sizes['entries']:,} entries, {sizes['bytes'] / MIB:,.0f} MiB"
    out.print(f"Before the first request: {stored}", style="dim")
    _show_closed(out, "Closed run", results.closed)
    if results.opened:
        _show_opened(out, results.opened)
    if results.baseline is not None:
        _show_closed(out, "The baseline: one transaction a message", results.baseline)
    if results.baseline is not None and results.floor is not None:
        _show_comparison(out, results.closed, results.baseline, results.floor)
    out.print(f"\nAgain: {command}", style="dim", soft_wrap=True)


def plot(results: Results) -> None:
    """Latency against load, in the terminal."""
    figure = plotille.Figure()
    figure.width, figure.height = PLOT_COLUMNS, PLOT_LINES
    figure.x_label, figure.y_label = "requests/s", "ms"
    figure.set_x_limits(min_=0)
    figure.set_y_limits(min_=0)
    for name in PLOTTED:
        found = [(run.rate, value) for run in results.opened if (value := run.latency_ms[name]) is not None]
        figure.plot([rate for rate, _ in found], [value for _, value in found], label=name)
    click.echo(figure.show(legend=True))


def _show_opened(out: Console, runs: Sequence[Open]) -> None:
    out.print(
        Text("\nOpen runs: requests/s, and ms from when one should have been sent to its outcome\n", "bold underline")
    )
    rows = table("rate", *PERCENTILES, "worker µs", "batch", "faults")
    for run in runs:
        batch = run.batches["apply"].messages_mean if "apply" in run.batches else 0.0
        latencies = (run.latency_ms[name] for name in PERCENTILES)
        figures = (NOT_MEASURED if value is None else f"{value:,.1f}" for value in latencies)
        worker_us = run.cost.cpu_us.get("worker", 0.0)
        rows.add_row(f"{run.rate:,}", *figures, f"{worker_us:.0f}", f"{batch:.0f}", str(run.judgement.faults))
    lay_out(out, rows)
    for run in runs:
        for line in run.judgement.wrong:
            out.print(f"at {run.rate:,}: {line}", style="red")


def _show_comparison(out: Console, closed: Closed, baseline: Closed, floor: Floor) -> None:
    rate = closed.cost.requests_per_second
    out.print(Text("\nCompared\n", "bold underline"))
    rows = table("", "requests/s", "worker ÷ it", "µs in all", "it ÷ worker")
    rows.add_row("worker", f"{rate:,.0f}", "", f"{_cpu_us(closed):,.0f}")
    other, other_us = baseline.cost.requests_per_second, _cpu_us(baseline)
    shown = f"{rate / other:.2f}", f"{other_us:,.0f}", f"{other_us / _cpu_us(closed):.2f}"
    rows.add_row("per-message baseline", f"{other:,.0f}", *shown)
    rows.add_row("SQL floor", f"{floor.requests_per_second:,.0f}", f"{rate / floor.requests_per_second:.2f}")
    lay_out(out, rows)


def _show_closed(out: Console, title: str, closed: Closed) -> None:
    cost = closed.cost
    out.print(Text(f"\n{title}\n", "bold underline"))
    rows = table("", "")
    rows.show_header = False
    rows.add_row("requests", f"{closed.requests:,}; the last {cost.requests:,} in {cost.seconds:.2f} s")
    rows.add_row("rate", f"{cost.requests_per_second:,.0f} requests/s")
    cpu = ", ".join(f"{name} {used:.0f}" for name, used in cost.cpu_us.items())
    rows.add_row("CPU a request", f"{cpu} µs, in all {sum(cost.cpu_us.values()):.0f}")
    topics = f", {cost.topic_bytes:,.0f} bytes in topics" if cost.topic_bytes is not None else ""
    rows.add_row("disk a request", f"{cost.wal_bytes:,.0f} bytes of write-ahead log{topics}")
    syncs, commits = _requests_each(cost.fsyncs), _requests_each(cost.commits)
    rows.add_row("a batch of PostgreSQL", f"{syncs} requests a fsync, {commits} a commit")
    for stage, batches in closed.batches.items():
        said = f"{batches.messages_mean:,.0f} messages, {batches.process_ms_mean:.1f} ms to process, "
        rows.add_row(f"batches of {stage}", f"{batches.count:,} of {said}{batches.publish_ms_mean:.1f} ms to publish")
    rows.add_row("everybody else", f"{cost.others_share:.0%} of {PROCESSORS} processors")
    rows.add_row("with all processors", f"at most {cost.processors_bound:,.0f} requests/s, by the CPU a request took")
    waits = ", ".join(f"{name} {sessions:.2f}" for name, sessions in closed.waits.items()) or "none"
    rows.add_row("waiting sessions", waits)
    rows.add_row("deadlocks, rollbacks", f"{cost.deadlocks}, {cost.rollbacks}")
    rows.add_row("start to first outcome", f"{closed.start_to_first_outcome_ms:,.0f} ms")
    rows.add_row("peak memory of a worker", f"{closed.peak_rss_bytes / MIB:,.0f} MiB")
    judgement = closed.judgement
    rows.add_row("answers", f"{judgement.answered:,} of {closed.requests:,}, {judgement.faults} faults")
    for line in judgement.wrong:
        rows.add_row("", line)
    lay_out(out, rows)
    if closed.statements:
        _show_statements(out, closed)


def _requests_each(a_request: float) -> str:
    """For one of what a request takes so many of; where there was none, no figure either."""
    return f"{1 / a_request:,.0f}" if a_request else NOT_MEASURED


def _show_statements(out: Console, closed: Closed) -> None:
    rows = table("calls", "ms", "µs a request", "rows", "statement", title="\nBy statement")
    for one in closed.statements:
        each_us = 1000 * one.total_ms / closed.requests
        rows.add_row(f"{one.calls:,}", f"{one.total_ms:,.0f}", f"{each_us:.1f}", f"{one.rows:,}", one.query)
    lay_out(out, rows)
