"""The planner, without a database, against the reference model: thousands of batches in seconds."""

from hypothesis.stateful import run_state_machine_as_test
from tests.simulation import kinds
from tests.simulation.machine import Simulation
from tests.simulation.pure_system import PureSystem
from tests.simulation.sizes import simulated

ROUNDS_MAX = 5  # in one of a dozen rounds what is rarest does not come


class PlannerSimulation(Simulation):
    system = PureSystem()


def test_planner_and_model_say_and_hold_the_same():
    for _ in range(ROUNDS_MAX):
        run_state_machine_as_test(PlannerSimulation, settings=simulated("planner"))
        if set(PlannerSimulation.seen) >= kinds.ALL:
            break
    print(f"\n{kinds.table(PlannerSimulation.seen)}")
    assert kinds.ALL - set(PlannerSimulation.seen) == set(), "the workload is too tame to reach these"
