"""Every metric, in one place (Prometheus; base units; no org, customer or request as a label).

In: what the stream counts. Out: the registry that `/metrics` shows. Never: personal data, or a label whose values
nobody bounds.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # the time beside each counter: nobody reads it
REGISTRY: Final = CollectorRegistry()

MESSAGES: Final = Counter(
    "mergeline_messages_total",
    "Messages that apply answered, by the topic they came from and the answer: applied, unchanged, rejected, "
    "repeat, reused, answered (before a crash), dropped (sent twice by the router), dead_letter.",
    ["topic", "answer"],
    registry=REGISTRY,
)
BATCH_MESSAGES: Final = Histogram(
    "mergeline_batch_messages",
    "Messages in a batch.",
    ["stage"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000),
    registry=REGISTRY,
)
STEP_SECONDS: Final = Histogram(
    "mergeline_step_seconds",
    "Time that a batch spends in a step: process (for apply: the database transaction) or publish.",
    ["stage", "step"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    registry=REGISTRY,
)
PUBLISH_FAILURES: Final = Counter(
    "mergeline_publish_failures_total",
    "Publishes whose outcome was unknown, each followed by a new acquisition.",
    ["stage"],
    registry=REGISTRY,
)
ASSIGNED_PARTITIONS: Final = Gauge(
    "mergeline_assigned_partitions", "Partitions whose pipelines are open.", registry=REGISTRY
)
LAG_MESSAGES: Final = Gauge(
    "mergeline_lag_messages",
    "Offsets between what was published and the last stable offset (end markers of transactions included).",
    ["topic", "partition"],
    registry=REGISTRY,
)
OLDEST_SECONDS: Final = Gauge(
    "mergeline_oldest_seconds",
    "Age of the oldest message in the last batch that was answered, since its producer wrote it; 0 once none is left.",
    registry=REGISTRY,
)
