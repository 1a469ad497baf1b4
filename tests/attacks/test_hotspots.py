"""Sixty-four writers on ten identifiers: no deadlock, one owner each, no card issued twice, the lock table bounded."""

import pytest
from tests.attacks.hotspots import Hotspots
from tests.attacks.locktable import LockTable, SmallPostgres
from tests.services import databases

from mergeline.store.migrations import migrate

OPERATIONS = 5_000


@pytest.mark.timeout(400)
async def test_many_writers_on_few_identifiers(database_url, seed):
    attack = Hotspots(database_url, writers=64, identifiers=10, operations=OPERATIONS, seed=seed)
    defects = await attack.run()
    assert defects.lines() == [], attack.figures()
    figures = attack.figures()
    assert sum(figures["answers"].values()) == OPERATIONS
    # It did meet what it is about.
    assert {"applied", "unchanged", "rejected", "repeat", "answered"} == figures["answers"].keys()
    assert {"customer-merged", "card-issued", "card-changed", "customer-redirects"} <= figures["events"].keys()


@pytest.mark.timeout(300)
async def test_a_full_lock_table_is_survived_by_halving(notice):
    with SmallPostgres(notice=notice) as server:
        name = databases.new_name("locks")
        await databases.create(server.database_url, name)
        url = databases.url_of(server.database_url, name)
        await migrate(url)
        attack = LockTable(url, writers=4, batch=240)
        assert (await attack.run()).lines() == [], attack.figures()
