"""Catalogs: all or none, a new version only where something differs, refused where data would be orphaned."""

import asyncio
import json

import asyncpg
import pytest
from tests.integration.desk import CATALOG, ORG, Desk, Gate, issue, kinds, line

from mergeline.domain.catalog import Catalog
from mergeline.store import statements
from mergeline.store.catalogs import Applied, apply_catalogs, newest_catalog
from mergeline.store.failures import CatalogRefused


def catalog(**changes) -> Catalog:
    return Catalog.model_validate(CATALOG | changes)


async def test_a_new_version_only_where_something_differs(sql):
    assert await apply_catalogs(sql, [catalog()]) == [Applied(ORG, 1, changed=False)]
    assert await apply_catalogs(sql, [catalog(blockList=["x"])]) == [Applied(ORG, 2, changed=True)]
    assert await apply_catalogs(sql, [catalog(blockList=["x"])]) == [Applied(ORG, 2, changed=False)]
    newest = await newest_catalog(sql, ORG)
    assert (newest.version, newest.catalog.block_list) == (2, ["x"])
    assert await newest_catalog(sql, ORG + 1) is None


async def test_the_order_of_labels_is_part_of_a_catalog(sql):
    """A removed card gets the first label of NOT_ISSUED."""
    labels = {"Back": "NOT_ISSUED", "Gone": "NOT_ISSUED", "NOT_ISSUED": "ACTIVE"}
    await apply_catalogs(sql, [catalog(statusLabels=labels)])
    turned = catalog(statusLabels=dict(reversed(labels.items())))
    assert (await apply_catalogs(sql, [turned]))[0].changed
    assert (await newest_catalog(sql, ORG)).catalog.removal_label == "Gone"


@pytest.fixture
async def used(desk):
    """Entries in two sources, a card with a label in one series."""
    await desk.register(1)
    answers = await desk.apply(
        desk.log.card("c-1"),
        desk.log.update(1, source="WECHAT", accountId="a", add=line("x")),
        desk.log.update(1, add=issue("c-1", "Live")),
    )
    assert set(kinds(answers)) == {"applied"}


@pytest.mark.parametrize(
    ("changes", "uses"),
    [
        ({"sources": {"INSTORE": "single", "WECHAT": "multiple"}}, ["entries use source ECOMMERCE"]),
        ({"sources": CATALOG["sources"] | {"WECHAT": "single"}}, ["entries use source WECHAT"]),
        ({"series": [{"id": 164}]}, ["cards use series 163"]),
        ({"statusLabels": {}}, ["cards use label Live"]),
        ({"statusLabels": {"Live": "ISSUED"}}, ["cards use label Live"]),
        (
            {"sources": {"NEW": "single"}, "series": [], "statusLabels": {}},
            [
                "entries use source ECOMMERCE",
                "entries use source WECHAT",
                "cards use series 163",
                "cards use label Live",
            ],
        ),
    ],
)
async def test_what_orphans_data_is_refused_with_every_use(sql, used, changes, uses):
    with pytest.raises(CatalogRefused) as refused:
        await apply_catalogs(sql, [catalog(**changes)])
    assert list(refused.value.uses) == [f"org {ORG}: {use}, which is dropped or changed" for use in uses]
    assert (await newest_catalog(sql, ORG)).version == 1


async def test_what_nothing_uses_may_go(sql, used):
    sources = {"ECOMMERCE": "single", "WECHAT": "multiple"}
    (applied,) = await apply_catalogs(sql, [catalog(sources=sources, series=[{"id": 163, "active": False}])])
    assert applied.changed


async def test_all_or_none(sql, used):
    other = Catalog.model_validate(CATALOG | {"orgId": ORG + 1})
    with pytest.raises(CatalogRefused):
        await apply_catalogs(sql, [other, catalog(series=[])])
    assert await newest_catalog(sql, ORG + 1) is None


async def test_two_at_once_make_two_versions(sql, shared_database_url):
    connections = [await asyncpg.connect(shared_database_url) for _ in range(4)]
    applied = await asyncio.gather(
        *(apply_catalogs(one, [catalog(blockList=[str(number)])]) for number, one in enumerate(connections))
    )
    assert sorted(one.version for (one,) in applied) == [2, 3, 4, 5]
    await asyncio.gather(*(one.close() for one in connections))


async def test_a_command_that_sleeps_does_not_keep_its_org_locked(sql, shared_database_url, new_store, monkeypatch):
    monkeypatch.setattr(statements, "OPERATOR_IDLE_MS_MAX", 200)
    gate = Gate("catalogs_newest")
    other = await asyncpg.connect(shared_database_url)
    sleeping = asyncio.create_task(apply_catalogs(other, [catalog(blockList=["x"])], gate))
    await gate.reached.wait()
    desk = Desk(await new_store())
    assert kinds(await desk.apply(desk.log.customer(1))) == ["applied"]  # within the 5 s that it waits for a lock
    gate.open()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await sleeping
    await other.close()


async def test_a_stored_catalog_that_is_not_valid_any_more_is_replaced_by_its_file(sql):
    stored = {"orgId": 8, "defaultRegion": "gone", "sources": {"A": "single"}, "series": [{"id": 1, "old": True}]}
    await sql.execute("insert into catalog (org_id, version, document) values (8, 1, $1)", json.dumps(stored))
    again = Catalog.model_validate({"orgId": 8, "sources": {"A": "single"}, "series": [{"id": 1}]})
    assert await apply_catalogs(sql, [again]) == [Applied(8, 2, changed=True)]
    assert (await newest_catalog(sql, 8)).catalog == again
