"""The real store on a real PostgreSQL against the reference model: after every batch both say and hold the same."""

import pytest
from hypothesis.stateful import run_state_machine_as_test
from tests.simulation import kinds
from tests.simulation.machine import Crowd, Simulation
from tests.simulation.sizes import simulated
from tests.simulation.store_system import StoreSystem


@pytest.fixture
def system(database_url):
    system = StoreSystem(database_url)
    yield system
    system.close()


@pytest.mark.timeout(0)  # bounded by its number of steps; the release profile takes long
@pytest.mark.parametrize(("machine", "size"), [(Simulation, "store"), (Crowd, "crowd")])
def test_store_and_model_say_and_hold_the_same(system, machine, size):
    driven = type(f"Store{machine.__name__}", (machine,), {"system": system})
    run_state_machine_as_test(driven, settings=simulated(size))
    assert system.offences() == []
    if machine is Crowd:
        print(f"\n{kinds.table(driven.seen)}")
        assert kinds.ALL - set(driven.seen) == set(), "the workload is too tame to reach these"
