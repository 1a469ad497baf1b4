"""Medians and spread of several runs of the bench, as a table of `deploy/PERFORMANCE.md`.

for run in 1 2 3; do mergeline bench --compare --json >run$run.json; done
python -m tests.bench.table run1.json run2.json run3.json
"""

import json
import statistics
import sys
from pathlib import Path

MIB = 1 << 20
# What it is called, where it is, in which unit, with how many decimals.
FIGURES = (
    ("requests/s, closed", ("requests_per_second",), 1, 0),
    ("worker CPU a request, µs", ("closed", "cost", "cpu_us", "worker"), 1, 0),
    ("broker", ("closed", "cost", "cpu_us", "broker"), 1, 0),
    ("PostgreSQL", ("closed", "cost", "cpu_us", "database"), 1, 0),
    ("requests/s that the processors would allow", ("processors_bound_requests_per_second",), 1, 0),
    ("write-ahead log a request, bytes", ("closed", "cost", "wal_bytes"), 1, 0),
    ("topics a request, bytes", ("closed", "cost", "topic_bytes"), 1, 0),
    ("fsyncs for 1,000 requests", ("closed", "cost", "fsyncs"), 1e-3, 1),
    ("requests in a batch of apply", ("closed", "batches", "apply", "messages_mean"), 1, 0),
    ("latency p50, ms (open, at half of the closed rate)", ("latency_ms_p50",), 1, 1),
    ("latency p99, ms", ("latency_ms_p99",), 1, 1),
    ("start to first outcome, ms", ("start_to_first_outcome_ms",), 1, 0),
    ("peak memory of a worker, MiB", ("peak_rss_bytes",), MIB, 0),
    ("per-message baseline, requests/s", ("baseline_requests_per_second",), 1, 0),
    ("its CPU a request, all processes, µs", ("baseline", "cost", "cpu_us"), 1, 0),
    ("worker ÷ baseline, by rate", ("ratio",), 1, 1),
    ("baseline ÷ worker, by the CPU of all processes", ("cpu_ratio",), 1, 1),
    ("SQL floor, requests/s", ("floor_requests_per_second",), 1, 0),
    ("worker ÷ floor", ("floor_share",), 1, 2),
    ("processors taken by everybody else, %", ("others_share",), 1e-2, 0),
)


def figure(document, path):
    """What is there, a sum where there are parts; None where there is nothing."""
    for name in path:
        document = document.get(name) if document else None
    return sum(document.values()) if isinstance(document, dict) else document


def lines(documents):
    """A row for each figure that was measured."""
    yield "| figure | median | least | most |"
    yield "| --- | --- | --- | --- |"
    for name, path, unit, decimals in FIGURES:
        found = [value / unit for one in documents if (value := figure(one, path)) is not None]
        if found:
            shown = (f"{value:,.{decimals}f}" for value in (statistics.median(found), min(found), max(found)))
            yield f"| {name} | {' | '.join(shown)} |"


if __name__ == "__main__":
    runs = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    print(f"`{runs[0]['command']}`, {len(runs)} times:\n")
    print("\n".join(lines(runs)))
