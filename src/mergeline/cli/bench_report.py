"""What a bench found, for people and for programs.

In: `Results`. Out: tables; one document. Never: a figure that was not measured.
"""

import dataclasses
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from mergeline.bench.results import Closed, Results
from mergeline.cli.output import lay_out, table

MIB: Final = 1 << 20


def status(results: Results) -> int:
    """The exit status: 1 where an answer was missing, double or wrong."""
    return int(bool(results.closed.judgement.faults))


def as_document(results: Results, command: str) -> dict[str, Any]:
    """For a program: the figures that are compared most, then everything."""
    closed = results.closed
    return {
        "command": command,
        "requests_per_second": round(closed.cost.requests_per_second, 1),
        "worker_cpu_us_per_request": round(closed.cost.cpu_us.get("worker", 0.0), 1),
        "start_to_first_outcome_ms": round(closed.start_to_first_outcome_ms),
        "peak_rss_bytes": closed.peak_rss_bytes,
        **dataclasses.asdict(results),
    }


def show(out: Console, results: Results, command: str) -> None:
    """For people."""
    _show_closed(out, "Closed run", results.closed)
    out.print(f"\nAgain: {command}", style="dim", soft_wrap=True)


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
    rows.add_row("a batch of PostgreSQL", f"{1 / cost.fsyncs if cost.fsyncs else 0:,.0f} requests a fsync, "
                 f"{1 / cost.commits if cost.commits else 0:,.0f} a commit")  # fmt: skip
    for stage, batches in closed.batches.items():
        said = f"{batches.messages_mean:,.0f} messages, {batches.process_ms_mean:.1f} ms to process, "
        rows.add_row(f"batches of {stage}", f"{batches.count:,} of {said}{batches.publish_ms_mean:.1f} ms to publish")
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
