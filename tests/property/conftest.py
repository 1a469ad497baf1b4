"""Random tests: how many, and how one that failed is run again.

A failure prints its seed (`--hypothesis-seed`) and a blob (`@reproduce_failure`); either replays it. Two profiles:
`ci`, for every run, and `release`, chosen by MERGELINE_HYPOTHESIS_PROFILE=release.
"""

import os

from hypothesis import HealthCheck, Verbosity, settings

COMMON = settings(
    deadline=None,
    database=None,
    derandomize=False,
    print_blob=True,
    report_multiple_bugs=False,
    verbosity=Verbosity.normal,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile("ci", COMMON, max_examples=120)
settings.register_profile("release", COMMON, max_examples=20_000)
settings.load_profile(os.environ.get("MERGELINE_HYPOTHESIS_PROFILE", "ci"))
