"""Latencies of a run, by percentile.

In: seconds, one a message. Out: milliseconds at the percentiles that are reported. Never: a mean, which hides the few
that waited long, or a figure where there was no message.
"""

from collections.abc import Iterable
from typing import Final

from hdrh.histogram import HdrHistogram

PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}
HIGHEST_US: Final = 3_600_000_000
SIGNIFICANT_DIGITS: Final = 3


def percentiles_ms(latencies_s: Iterable[float]) -> dict[str, float | None]:
    """Milliseconds by the names of `PERCENTILES`; a message that came before its time counts as 1 µs.

    None each, where there are no latencies.
    """
    histogram = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)
    for latency_s in latencies_s:
        histogram.record_value(min(max(1, int(latency_s * 1e6)), HIGHEST_US))
    if not histogram.get_total_count():
        return dict.fromkeys(PERCENTILES)
    return {name: histogram.get_value_at_percentile(at) / 1000 for name, at in PERCENTILES.items()}
