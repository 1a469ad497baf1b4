"""The real store on a real PostgreSQL against the reference model: after every batch both say and hold the same."""

import pytest
from hypothesis.stateful import run_state_machine_as_test
from tests.simulation.machine import Simulation
from tests.simulation.sizes import simulated
from tests.simulation.store_system import StoreSystem


@pytest.fixture
def system(database_url):
    system = StoreSystem(database_url)
    yield system
    system.close()


@pytest.mark.timeout(0)  # bounded by its number of steps; the release profile takes hours
def test_store_and_model_say_and_hold_the_same(system):
    class StoreSimulation(Simulation):
        pass

    StoreSimulation.system = system
    run_state_machine_as_test(StoreSimulation, settings=simulated("store"))
    assert system.offences() == []
