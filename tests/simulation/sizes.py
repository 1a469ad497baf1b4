"""How much the random tests do, and how one that failed is run again.

`ci` is for every run; MERGELINE_HYPOTHESIS_PROFILE=release chooses the other, which is a tenth of a release: ten seeds
(`--hypothesis-seed=1` to `10`) are one, side by side or one after the other. A failure prints the steps that lead to
it, its seed and a blob (`@reproduce_failure`); each of the three replays it.
"""

import os

from hypothesis import HealthCheck, Phase, settings
from tests.simulation.machine import CROWD

PROFILE = os.environ.get("MERGELINE_HYPOTHESIS_PROFILE", "ci")
RUNS_AND_STEPS = {
    "planner": {"ci": (60, 50), "release": (1_000, 100)},
    "store": {"ci": (20, 50), "release": (20, 100)},
    "crowd": {"ci": (300 // CROWD, 50), "release": (1_000 // CROWD, 100)},
}
TRIPLES = {"ci": 200, "release": 5_000}[PROFILE]  # random schedules of three operations


def simulated(what):
    """Settings for one of the simulations."""
    runs, steps = RUNS_AND_STEPS[what][PROFILE]
    return settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
