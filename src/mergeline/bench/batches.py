"""Batch sizes and times from the workers' own metrics.

In: two readings of `/metrics`. Out: `Batches` by stage. Never: a metric's name anywhere else in the bench.
"""

from collections.abc import Mapping

from mergeline.bench.results import Batches

Samples = Mapping[tuple[str, ...], float]


def batches_between(before: Samples, after: Samples) -> dict[str, Batches]:
    """What lay between two readings, by stage; empty where the workers have no such metrics."""

    def grown(*sample: str) -> float:
        return after.get(sample, 0.0) - before.get(sample, 0.0)

    def mean_ms(stage: str, step: str) -> float:
        count = grown("mergeline_step_seconds_count", stage, step)
        return 1000 * grown("mergeline_step_seconds_sum", stage, step) / count if count else 0.0

    stages = [sample[1] for sample in after if sample[0] == "mergeline_batch_messages_count"]
    found = {}
    for stage in stages:
        count = grown("mergeline_batch_messages_count", stage)
        messages = grown("mergeline_batch_messages_sum", stage)
        if count:
            found[stage] = Batches(int(count), messages / count, mean_ms(stage, "process"), mean_ms(stage, "publish"))
    return found
