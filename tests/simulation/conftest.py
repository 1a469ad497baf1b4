"""Failures of the helpers show what was compared, as those of tests do."""

import pytest

pytest.register_assert_rewrite("tests.simulation.compare", "tests.simulation.machine", "tests.simulation.run")
