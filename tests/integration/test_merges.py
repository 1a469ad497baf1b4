"""Merges through the database: what moves, chains, repointing, in one batch and over several, and what is recorded."""

import json
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.defaults import default_limits, default_options, open_pool
from tests.integration.desk import CATALOG, ORG, Desk, codes, issue, kinds, line, outcome

from mergeline.domain.catalog import Catalog
from mergeline.store.apply import Store
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.invariants import Summary, verify
from mergeline.store.showing import show_customer


async def customers(sql):
    rows = await sql.fetch("select customer_id, survivor_id, version from customer order by customer_id")
    return {row["customer_id"]: (row["survivor_id"], row["version"]) for row in rows}


async def owners(sql):
    return {
        (row["value"], row["source"]): row["customer_id"]
        for row in await sql.fetch("select value, source, customer_id from identifier")
    }


async def sound(sql) -> bool:
    """Nothing that `verify` finds."""
    return [type(found) for found in [found async for found in verify(sql)]] == [Summary]


def meets(desk: Desk, customer_id: int, other: int, **fields):
    """The update that merges a customer into another: it adds what the other holds elsewhere."""
    return desk.log.update(customer_id, add=line(f"of-{other}"), **fields)


async def test_everything_of_the_victim_becomes_the_survivors(desk, sql):
    await desk.register(1, 2)
    await desk.apply(desk.log.card("c-1"))
    await desk.apply(desk.log.update(1, add=[line("more"), issue("c-1")]))
    (answer,) = await desk.apply(meets(desk, 1, 2, requestId="r-merge"))
    assert outcome(answer)["mergedInto"] == 2
    assert await owners(sql) == {
        ("of-1", "ECOMMERCE"): 2,
        ("of-2", "ECOMMERCE"): 2,
        ("more", "INSTORE"): 2,
        ("of-2", "INSTORE"): 2,
    }
    assert await sql.fetchval("select customer_id from card where number = 'c-1'") == 2
    assert (await customers(sql))[1][0] == 2
    merge = await sql.fetchrow("select * from merge")
    assert (merge["victim_id"], merge["survivor_id"], merge["request_id"]) == (1, 2, "r-merge")
    moved = json.loads(merge["moved"])
    assert [entry["value"] for entry in moved["movedIdentifiers"]] == ["more", "of-1"]
    assert moved["movedCards"] == [{"cardNumber": "c-1", "seriesId": 163}]
    event = next(record for record in answer.outgoing if record.topic == "customer-merged")
    assert str(merge["merge_id"]).encode() == dict(event.headers)["ce_id"]
    assert await sound(sql)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Shanghai"])
@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
async def test_the_time_zone_of_a_database_is_nobodys_trouble(database_url, zone, at):
    """Its own would bring the first day of the first year back as one before Christ, which Python does not have."""
    operator = await asyncpg.connect(database_url)
    await operator.execute(f"alter database \"{urlsplit(database_url).path[1:]}\" set timezone = '{zone}'")
    await apply_catalogs(operator, [Catalog.model_validate(CATALOG)])
    pool = await open_pool(database_url)
    desk = Desk(Store(pool, default_options()))
    assert kinds(await desk.apply(desk.log.customer(1, "x", registeredAt=at))) == ["applied"]
    assert kinds(await desk.persist(desk.log.update(1, add=line("y")))) == ["applied"]
    assert (await show_customer(operator, ORG, 1))["registeredAt"][:19] == at[:19]
    await pool.close()
    await operator.close()


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in a batch each"])
async def test_a_chain_ends_at_one_survivor_and_earlier_victims_are_repointed(desk, sql, together):
    await desk.register(1, 2, 3, 4)
    chain = [meets(desk, 1, 2), meets(desk, 2, 3), meets(desk, 3, 4)]
    for batch in [chain] if together else [[message] for message in chain]:
        assert set(kinds(await desk.apply(*batch))) == {"applied"}
    survivors = {customer: survivor for customer, (survivor, _) in (await customers(sql)).items()}
    assert survivors == {1: 4, 2: 4, 3: 4, 4: None}
    assert set((await owners(sql)).values()) == {4}
    repointed = await sql.fetchval("select moved -> 'repointedCustomerIds' from merge where victim_id = 3")
    assert json.loads(repointed) == [1, 2]
    assert await sound(sql)


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in a batch each"])
async def test_what_names_a_victim_is_applied_to_its_survivor(desk, sql, together):
    await desk.register(1, 2)
    await desk.apply(desk.log.card("c-1"), desk.log.card("c-2"), desk.log.card("c-3"))
    messages = [
        meets(desk, 1, 2),
        desk.log.update(1, add=[line("late"), issue("c-1"), issue("c-2")]),
        desk.log.update(2, add=issue("c-3")),  # the cap of the series is 2, counted at the survivor
        desk.log.update(1, remove=line("of-2")),
        desk.log.update(1, source="ECOMMERCE", remove=[line("of-1"), line("of-2")]),
        desk.log.update(1, remove=line("late")),  # the last one, counted at the survivor
    ]
    answers = []
    for batch in [messages] if together else [[message] for message in messages]:
        answers += await desk.apply(*batch)
    assert kinds(answers) == ["applied", "applied", "rejected", "applied", "applied", "applied"]
    assert codes(answers[2]) == ["CARD_LIMIT_REACHED"]
    assert [warning["code"] for warning in outcome(answers[5])["warnings"]] == ["REDIRECTED", "NO_IDENTIFIERS_LEFT"]
    assert await owners(sql) == {}
    assert await sound(sql)


async def test_a_registration_merges_too(desk, sql):
    await desk.register(1)
    (answer,) = await desk.apply(desk.log.customer(2, "of-1", source="INSTORE"))
    assert outcome(answer)["status"] == "applied"
    assert {customer: survivor for customer, (survivor, _) in (await customers(sql)).items()} == {1: None, 2: 1}
    assert await sound(sql)


async def test_a_merge_may_go_over_a_cap_with_a_warning(desk):
    await desk.register(1, 2)
    await desk.apply(*(desk.log.card(f"c-{number}") for number in range(4)))
    await desk.apply(desk.log.update(1, add=[issue("c-0"), issue("c-1")]), desk.log.update(2, add=issue("c-2")))
    (answer,) = await desk.apply(meets(desk, 1, 2))
    assert [warning["code"] for warning in outcome(answer)["warnings"]] == ["CARD_LIMIT_EXCEEDED"]
    (answer,) = await desk.apply(desk.log.update(2, add=issue("c-3")))
    assert codes(answer) == ["CARD_LIMIT_REACHED"]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in a batch each"])
async def test_a_victim_may_be_too_large_and_may_be_made_smaller(new_store, sql, together):
    desk = Desk(await new_store(limits=default_limits(merge_max_entries=3)))
    await desk.register(1, 2)
    await desk.apply(desk.log.update(1, add=[line(value) for value in "abc"]))  # with of-1 they are four
    messages = [meets(desk, 1, 2), desk.log.update(1, remove=line("a")), meets(desk, 1, 2)]
    answers = []
    for batch in [messages] if together else [[message] for message in messages]:
        answers += await desk.apply(*batch)
    assert codes(answers[0]) == ["MERGE_TOO_LARGE"]
    assert kinds(answers[1:]) == ["applied", "applied"]
    assert await sound(sql)


async def test_a_survivor_may_be_of_any_size(new_store, sql):
    desk = Desk(await new_store(limits=default_limits(merge_max_entries=3)))
    await desk.register(1, 2)
    await desk.apply(desk.log.update(2, add=[line(f"of-2-{number}") for number in range(20)]))
    assert kinds(await desk.apply(meets(desk, 1, 2))) == ["applied"]
    removes = [line("of-2")] + [line(f"of-2-{number}") for number in range(20)]
    (answer,) = await desk.apply(desk.log.update(2, remove=removes))
    assert [warning["code"] for warning in outcome(answer)["warnings"]] == []
    assert await sound(sql)


async def test_orgs_never_meet(desk, sql):
    """The same customer ids and values in another org are others."""
    await sql.execute(
        "insert into catalog select org_id + 1, 1, replace(document::text, '7,', '8,')::json from catalog"
    )
    there = {"orgId": ORG + 1}
    await desk.register(1, 2)
    await desk.apply(desk.log.customer(1, **there), desk.log.customer(3, "of-2", **there))
    (answer,) = await desk.apply(desk.log.update(1, add=line("of-2"), **there))
    assert outcome(answer)["mergedInto"] == 3
    assert await sql.fetch("select customer_id from customer where org_id = 7 and survivor_id is not null") == []
    assert await sound(sql)
