"""`verify` names each offender: every rule is broken once, behind the back of the store, and undone."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from tests.integration.desk import AT, ORG, issue, line
from tests.integration.test_ledger import age
from tests.integration.test_merges import meets

from mergeline.store.framing import pack, unpack
from mergeline.store.invariants import RULES, VERSIONS_RULE, Offence, Summary, verify


@pytest.fixture
async def world(desk):
    """Customers 1 to 3, 1 merged into 2; a card of 2, one of nobody; everything in order."""
    await desk.register(1, 2, 3)
    await desk.apply(desk.log.card("c-1"), desk.log.card("c-2"))
    await desk.apply(desk.log.update(2, add=[line("x"), issue("c-1")], requestId="r-1"), meets(desk, 1, 2))


async def found(sql) -> list[Offence | Summary]:
    return [found async for found in verify(sql)]


async def broken(sql, *statements: str) -> list[tuple[str, str]]:
    """What is found once the statements have run; then they are undone."""
    transaction = sql.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        for statement in statements:
            await sql.execute(statement)
        *offences, summary = await found(sql)
    finally:
        await transaction.rollback()
    assert isinstance(summary, Summary)
    return [(offence.rule, offence.offender) for offence in offences]


async def test_what_the_store_did_is_in_order_and_is_counted(sql, world):
    (summary,) = await found(sql)
    assert summary.counts == {
        "living_customers": 2,
        "merged_customers": 1,
        "merges": 1,
        "entries": 5,
        "cards": 2,
        "requests": 7,
        "ledger_rows": 7,
    }
    assert summary.rules == (*RULES, VERSIONS_RULE)


COPY_ROW = (
    "insert into ledger select {day}, org_id, {request}, {kind}, status, detail, body_sha256, origin_topic,"
    " origin_partition, origin_offset, at_topic, at_partition, {offset}, requested_at, decided_at, '\\x0290'"
    " from ledger where request_id = 'r-1'"
)

TODAY = datetime.now(UTC).date()
TOMORROW = TODAY + timedelta(days=1)
BROKEN = {
    "an entry twice": (
        [
            "alter table identifier drop constraint identifier_pkey",
            "insert into identifier select * from identifier where value = 'x'",
        ],
        [("entry-once", "org 7: an entry of type line in source INSTORE is there 2 times")],
    ),
    "an entry of a victim": (
        ["update identifier set customer_id = 1 where value = 'x'"],
        [("entry-owner-living", "org 7: an entry of type line in source INSTORE belongs to customer 1, who is merged")],
    ),
    "an entry of nobody": (
        ["update identifier set customer_id = 99 where value = 'x'"],
        [
            (
                "entry-owner-living",
                "org 7: an entry of type line in source INSTORE belongs to customer 99, who is not registered",
            )
        ],
    ),
    "a card of a victim": (
        ["update card set customer_id = 1 where number = 'c-1'"],
        [("card-owner-living", "org 7: card c-1 belongs to customer 1, who is merged")],
    ),
    "a card of nobody who is": (
        ["update card set customer_id = 99 where number = 'c-1'"],
        [("card-owner-living", "org 7: card c-1 belongs to customer 99, who is not registered")],
    ),
    "one value, two owners": (
        ["insert into identifier values (7, 'line', 'x', 'ECOMMERCE', '', 3)"],
        [("identifier-one-owner", "org 7: one value of type line belongs to customers 2 and 3")],
    ),
    "a chain": (
        [
            "insert into customer values (7, 4, 1, 0, now(), now())",
            "insert into merge values (7, 4, 1, gen_random_uuid(), 'r', now(), '{}')",
        ],
        [
            ("survivor-living", "org 7: customer 4 was merged into 1, who is merged"),
            ("merge-recorded", "org 7: customer 4 points elsewhere than its recorded merge leads"),
        ],
    ),
    "a cycle": (
        [
            "delete from identifier; delete from card",
            "update customer set survivor_id = 1, merged_at = now() where customer_id = 2",
            "insert into merge values (7, 2, 1, gen_random_uuid(), 'r', now(), '{}')",
        ],
        [
            ("survivor-living", "org 7: customer 1 was merged into 2, who is merged"),
            ("survivor-living", "org 7: customer 2 was merged into 1, who is merged"),
            ("merge-recorded", "org 7: customer 1 points elsewhere than its recorded merge leads"),
            ("merge-recorded", "org 7: customer 2 points elsewhere than its recorded merge leads"),
        ],
    ),
    "a survivor that is nobody": (
        ["update customer set survivor_id = 99 where customer_id = 1"],
        [
            ("survivor-living", "org 7: customer 1 was merged into 99, who is not registered"),
            ("merge-recorded", "org 7: customer 1 points elsewhere than its recorded merge leads"),
        ],
    ),
    "merged into itself": (
        [
            "alter table customer drop constraint customer_check; alter table customer drop constraint customer_check1",
            "update customer set survivor_id = 1 where customer_id = 1",
        ],
        [
            ("survivor-living", "org 7: customer 1 was merged into 1, who is itself"),
            ("merge-recorded", "org 7: customer 1 points elsewhere than its recorded merge leads"),
        ],
    ),
    "a merge that nobody recorded": (
        ["delete from merge"],
        [
            ("merge-recorded", "org 7: customer 1 is merged, but no merge is recorded"),
            ("living-and-merged-are-registered", "3 customers are registered, but 2 live and 0 were merged away"),
        ],
    ),
    "a merge of someone who lives": (
        ["insert into merge values (7, 3, 2, gen_random_uuid(), 'r', now(), '{}')"],
        [
            ("merge-recorded", "org 7: customer 3 lives, but its merge is recorded"),
            ("living-and-merged-are-registered", "3 customers are registered, but 2 live and 2 were merged away"),
        ],
    ),
    "an issued card without an owner": (
        [
            "alter table card drop constraint card_check",
            "update card set customer_id = null where number = 'c-1'",
        ],
        [("card-owner-by-status", "org 7: card c-1 stands at ACTIVE and has no owner")],
    ),
    "a card with an owner that was not issued": (
        [
            "alter table card drop constraint card_check",
            "update card set customer_id = 2 where number = 'c-2'",
        ],
        [("card-owner-by-status", "org 7: card c-2 stands at NOT_ISSUED and has an owner")],
    ),
    "a request decided twice, on two days": (
        [
            COPY_ROW.format(day="day + 1", request="request_id", kind="kind", offset="9999"),
        ],
        [
            (
                "request-decided-once",
                f"org 7: request r-1 was decided on {TOMORROW}, but its id leads to another decision",
            ),
        ],
    ),
    "a decided request that its id does not lead to": (
        ["delete from request where request_id = 'r-1'"],
        [("request-decided-once", f"org 7: request r-1 was decided on {TODAY}, but its id is not known as decided")],
    ),
    "a decided request that the ledger has lost": (
        ["insert into request values (7, 'lost', current_date, current_date, 'commands-by-customer', 0, 77)"],
        [("request-found-by-id", "org 7: request lost is known as decided, but the ledger has no such row")],
    ),
    "one place, two messages": (
        [
            COPY_ROW.format(day="day", request="'other'", kind="'repeat'", offset="at_offset"),
        ],
        [("place-answered-once", "2 messages were answered at commands-by-customer-0-5")],
    ),
    "a version that no event has": (
        ["update customer set version = version + 1 where customer_id = 3"],
        [("versions-without-gap", "org 7: customer 3 is at version 2, but its last change is of version 1")],
    ),
    "a gap in the versions": (
        ["update ledger set outgoing = '\\x0290' where request_id = 'r-1'"],
        [("versions-without-gap", "org 7: customer 2 has a gap among the versions of its changes")],
    ),
    "events that nobody can read": (
        ["update ledger set outgoing = '\\x02' where request_id = 'r-1'"],
        [
            ("versions-without-gap", "org 7: request r-1 has unreadable events"),
            ("versions-without-gap", "org 7: customer 2 has a gap among the versions of its changes"),
        ],
    ),
    "changes of someone who is not registered": (
        ["delete from identifier where customer_id = 3", "delete from customer where customer_id = 3"],
        [("versions-without-gap", "org 7: customer 3 has changes, but is not registered")],
    ),
}


@pytest.mark.parametrize(("statements", "offences"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_rule_is_found_with_its_offender(sql, world, statements, offences):
    # Which of two comes first is the choice of a plan.
    assert sorted(await broken(sql, *statements)) == sorted(offences)


def test_every_rule_is_broken_once():
    assert {rule for _, offences in BROKEN.values() for rule, _ in offences} == {*RULES, VERSIONS_RULE}


async def test_a_version_that_two_events_have_is_found(sql, world):
    outgoing = await sql.fetchval("select outgoing from ledger where request_id = 'r-1'")
    twice = pack(unpack(outgoing)[:1] * 2)
    async with sql.transaction():
        await sql.execute("update ledger set outgoing = $1 where request_id = 'r-1'", twice)
    *offences, _ = await found(sql)
    assert "is there twice" in offences[0].offender


@pytest.mark.parametrize("version", [b"-1", b'"2"', b"null", b"9223372036854775808", b"2.5", b"0"])
async def test_a_version_that_no_event_can_have_is_found(sql, world, version):
    outgoing = unpack(await sql.fetchval("select outgoing from ledger where request_id = 'r-1'"))
    broken = [replace(outgoing[0], value=b'{"customerVersion":%b}' % version), *outgoing[1:]]
    await sql.execute("update ledger set outgoing = $1 where request_id = 'r-1'", pack(broken))
    first, *_ = await found(sql)
    assert first.offender in (
        "org 7: request r-1 has unreadable events",
        "org 7: customer 2 has a change of version 0 that cannot be, or is there twice",
    )


@pytest.mark.parametrize("field", ["key", "value"])
async def test_a_change_without_a_key_or_a_value_is_found(sql, world, field):
    outgoing = unpack(await sql.fetchval("select outgoing from ledger where request_id = 'r-1'"))
    broken = [replace(outgoing[0], **{field: None}), *outgoing[1:]]
    await sql.execute("update ledger set outgoing = $1 where request_id = 'r-1'", pack(broken))
    first, *_ = await found(sql)
    assert first.offender == "org 7: request r-1 has unreadable events"


async def test_a_gap_is_found_whatever_comes_behind_it(sql, desk, world):
    await desk.apply(desk.log.update(2, add=line("behind")), desk.log.update(2, add=line("further-behind")))
    statements, offences = BROKEN["a gap in the versions"]
    assert await broken(sql, *statements) == offences


async def test_days_that_were_dropped_are_no_gap(sql, desk, world):
    await age(sql, 20)
    await desk.apply(desk.log.update(2, add=line("late")), desk.log.update(3, add=line("later")))
    day = await sql.fetchval("select min(day) from ledger")
    await sql.execute("delete from request where day = $1", day)
    await sql.execute("select ledger_drop_day($1)", day)
    assert [type(one) for one in await found(sql)] == [Summary]


async def test_more_changes_than_are_kept_in_memory_are_sorted_on_disk(sql, world, monkeypatch):
    monkeypatch.setattr("mergeline.store.sorting.ROWS_IN_MEMORY_MAX", 2)
    monkeypatch.setattr("mergeline.store.sorting.BUFFER_BYTES", 30)
    monkeypatch.setattr("mergeline.store.versions.CUSTOMERS_PAGE", 1)
    assert [type(one) for one in await found(sql)] == [Summary]
    offences = await broken(sql, "update customer set version = version + 1")
    assert len(offences) == 3


async def test_a_day_that_is_being_pruned_is_no_offence_and_every_other_is(sql, desk, world):
    """Request ids go first, so a prune that was killed has left rows that no id leads to."""
    await age(sql, 20)
    await sql.execute("delete from request where request_id = 'r-1'")
    assert len([one async for one in verify(sql, TODAY - timedelta(days=20))]) == 2
    assert len([one async for one in verify(sql, TODAY - timedelta(days=19))]) == 1


async def test_no_value_of_an_identifier_is_said(sql, world):
    offences = [offender for statements, _ in BROKEN.values() for _, offender in await broken(sql, *statements)]
    assert not [offender for offender in offences if "of-" in offender or " x" in offender]


assert (AT, ORG) == (("commands-by-customer", 0), 7)  # the texts above name them
