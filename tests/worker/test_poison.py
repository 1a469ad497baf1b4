"""One request that alone makes its batch fail, and what may change while a worker runs."""

import contextlib

from tests.worker.harness import CATALOG, ORG, OUTCOMES, UPDATES, adding, headers, update

POISON = """
create or replace function poison() returns trigger language plpgsql as $$
begin
    if new.customer_id = CUSTOMER then raise exception 'secret of %', new.value; end if;
    return new;
end $$;
create trigger poison before insert on identifier for each row execute function poison();
"""


@contextlib.asynccontextmanager
async def poisoned(world, customer):
    """The database refuses every identifier of a customer."""
    async with world.connection() as connection:
        await connection.execute(POISON.replace("CUSTOMER", str(customer)))
        try:
            yield
        finally:
            await connection.execute("drop trigger poison on identifier")


async def test_a_request_that_the_database_refuses_is_a_dead_letter_and_nobody_else_suffers(served):
    await served.register([41, 42, 43])
    requests = [adding(41 + n % 3, f"poison-{n}") for n in range(30)]
    async with poisoned(served, 42):
        await served.produce(UPDATES, requests, key=b"one partition")
        letters = await served.letters(10, where=lambda record: b"poison-" in (record.value or b""))
        await served.drained()

    refused = [request["requestId"] for request in requests if request["customerId"] == 42]
    assert [served.answers()[name] for name in refused] == [0] * 10
    assert [headers(record)["kafka_dlt-exception-message"].split(b":")[0] for record in letters] == [
        b"PROCESSING_FAILED"
    ] * 10
    assert not [record for record in letters if b"secret" in headers(record)["kafka_dlt-exception-message"]]
    for customer in (41, 43):
        answered = [v for v in served.values(OUTCOMES) if (v["orgId"], v["customerId"]) == (ORG, customer)]
        assert [v["status"] for v in answered] == ["applied"] * 10
        own = [request["requestId"] for request in requests if request["customerId"] == customer]
        assert [v["requestId"] for v in answered] == own, "in order"


async def test_a_catalog_that_changes_is_picked_up_by_a_running_worker(served):
    org = 200
    catalog = CATALOG | {"orgId": org}
    await served.apply_catalog(catalog)
    await served.register([1], org=org)
    (before,) = await served.outcomes_of([adding(1, "before", org=org)])
    await served.apply_catalog(catalog | {"sources": {**catalog["sources"], "APP": "single"}})
    item = {"type": "email", "value": "app@example.com"}
    (after,) = await served.outcomes_of([update(1, "after", "APP", org=org, add=item)])
    assert (before["status"], after["status"]) == ("applied", "applied")


async def test_no_personal_data_is_logged(served):
    """At the lowest level, of a request that applies, of ones that are rejected, and of ones that are none."""
    await served.register([44])
    canary = "canary"
    items = [{"type": "externalId", "value": f"{canary}-1"}, {"type": "email", "value": f"{canary}@example.com"}]
    await served.outcomes_of(
        [
            update(44, "seen-1", add=items),
            update(44, "seen-2", add={"type": "email", "value": f"{canary} is no address"}),
            update(44, "seen-3", "ELSEWHERE", add=items),
            update(45, "seen-4", add=items),
        ]
    )
    async with poisoned(served, 44):
        await served.produce(UPDATES, [update(44, "seen-5", "WEBSHOP", add={"type": "vip_uname", "value": canary})])
        await served.letters(1, where=lambda record: b"seen-5" in (record.value or b""))
    malformed = [b'{"canary', {"canary": "canary"}, b'{"orgId": "canary", "customerId": 1}']
    await served.produce(UPDATES, malformed, key=b"canary")
    await served.letters(3, where=lambda record: record.key == b"canary")
    assert [worker for worker in served.workers if canary in worker.text] == []
