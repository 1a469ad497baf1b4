"""What a message means, given what the ledger has: the table of `domain/ledger.py`, row by row, through the store."""

from datetime import date, timedelta

import pytest
from tests.integration.desk import AT, ORG, Desk, codes, header, kinds, line, outcome

from mergeline.domain.messages import Message


@pytest.fixture
async def first(desk: Desk) -> Message:
    """A request that was decided."""
    await desk.register(1)
    message = desk.log.update(1, add=line("x"), requestId="r-1")
    assert kinds(await desk.apply(message)) == ["applied"]
    return message


async def rows(sql, request_id="r-1"):
    found = await sql.fetch("select kind from ledger where request_id = $1 order by decided_at, at_offset", request_id)
    return [row["kind"] for row in found]


async def test_a_request_that_the_ledger_does_not_know_is_decided_and_stored(desk, first, sql):
    assert await rows(sql) == ["decided"]
    stored = await sql.fetchrow("select * from ledger where request_id = 'r-1'")
    assert (stored["origin_topic"], stored["origin_offset"]) == (first.origin.topic, first.origin.offset)
    assert (stored["at_topic"], stored["at_offset"]) == (first.at.topic, first.at.offset)
    assert stored["day"] == stored["decided_at"].date()


async def test_the_same_message_read_again_is_answered_with_the_stored_bytes(desk, sql):
    await desk.register(1)
    message = desk.log.update(1, add=line("x"))
    (decided,) = await desk.apply(message)
    (again,) = await desk.apply(message)
    assert again.kind == "answered"
    assert again.outgoing == decided.outgoing
    assert await sql.fetchval("select count(*) from identifier where value = 'x'") == 1


@pytest.mark.parametrize(
    ("configured", "of_a_batch"), [("off", "on"), ("local", "local"), ("on", "on"), ("remote_apply", "remote_apply")]
)
async def test_what_is_committed_is_on_disk_before_anybody_hears_of_it(store, configured, of_a_batch):
    """And on a standby, where the server's administrator wants that. Its events go out behind the commit."""
    async with store.statements() as db:
        await db._connection.execute(f"set synchronous_commit = {configured}")  # as a role or a database may have it
        async with db.transaction(store.bounds):
            assert await db._connection.fetchval("show synchronous_commit") == of_a_batch


async def test_a_repeat_of_the_router_is_dropped(desk, first, sql):
    (answer,) = await desk.apply(desk.log.routed_again(first))
    assert answer.kind == "dropped"
    assert answer.outgoing == ()
    assert await rows(sql) == ["decided"]


async def test_a_repeat_of_the_producer_gets_the_stored_outcome_flagged_and_a_row_of_its_own(desk, first, sql):
    repeat = desk.log.sent_again(first)
    (answer,) = await desk.apply(repeat)
    (record,) = answer.outgoing
    assert header(record, "mergeline-duplicate") == b"true"
    assert outcome(answer)["status"] == "applied"
    assert await rows(sql) == ["decided", "repeat"]

    # ... which then follows the table itself.
    (again,) = await desk.apply(repeat)
    assert (again.kind, again.outgoing) == ("answered", answer.outgoing)
    assert kinds(await desk.apply(desk.log.routed_again(repeat))) == ["dropped"]
    assert await rows(sql) == ["decided", "repeat"]


async def test_a_request_id_with_another_body_is_rejected_each_time_and_changes_nothing(desk, first, sql):
    other = desk.log.update(1, add=line("y"), requestId="r-1")
    (answer,) = await desk.apply(other)
    assert codes(answer) == ["REQUEST_ID_REUSED"]
    assert await rows(sql) == ["decided", "reused"]
    assert await sql.fetchval("select count(*) from identifier where value = 'y'") == 0
    assert kinds(await desk.apply(other, desk.log.routed_again(other))) == ["answered", "dropped"]
    assert kinds(await desk.apply(desk.log.sent_again(other))) == ["reused"]


async def test_all_of_it_inside_one_batch(desk, sql):
    await desk.register(1)
    message = desk.log.update(1, add=line("x"), requestId="r-1")
    other = desk.log.update(1, add=line("y"), requestId="r-1")
    batch = [message, other, desk.log.routed_again(message), desk.log.sent_again(message)]
    assert kinds(await desk.apply(*batch)) == ["applied", "reused", "dropped", "repeat"]
    assert kinds(await desk.apply(*batch)) == ["answered", "answered", "dropped", "answered"]
    assert await rows(sql) == ["decided", "reused", "repeat"]


async def test_a_rejection_is_remembered_like_any_other_answer(desk):
    message = desk.log.update(404, add=line("x"), requestId="r-1")
    (rejected,) = await desk.apply(message)
    await desk.register(404)
    (repeat,) = await desk.apply(desk.log.sent_again(message))
    assert codes(rejected) == codes(repeat) == ["CUSTOMER_NOT_FOUND"]


async def test_one_id_in_two_orgs_is_two_requests(desk):
    await desk.register(1)
    body = {"orgId": ORG + 1, "requestId": "r-1"}
    answers = await desk.apply(
        desk.log.update(1, add=line("x"), requestId="r-1"), desk.log.update(1, add=line("x"), **body)
    )
    assert kinds(answers) == ["applied", "rejected"]


@pytest.mark.parametrize("days", [1, 13])
async def test_days_make_no_difference(desk, first, sql, days):
    await age(sql, days)
    assert kinds(await desk.apply(first)) == ["answered"]
    assert kinds(await desk.apply(desk.log.routed_again(first), desk.log.sent_again(first))) == ["dropped", "repeat"]
    assert await sql.fetchval("select count(distinct day) from ledger where request_id = 'r-1'") == 2


async def test_what_was_answered_is_not_decoded_again(desk, sql, monkeypatch):
    """A deploy with a stricter decoder between commit and publish must not change an answer."""
    await desk.register(1)
    message = desk.log.update(1, add=line("x"))
    (decided,) = await desk.apply(message)

    def stricter(messages):
        assert not messages, "not to be decoded"
        return []

    monkeypatch.setattr("mergeline.store.apply.decode_all", stricter)
    (again,) = await desk.apply(message, horizons={AT: message.at.offset})
    assert again.outgoing == decided.outgoing


async def test_below_the_horizon_too_what_has_no_answer_is_decided(desk, first):
    fresh = desk.log.update(1, add=line("y"))
    horizons = {AT: fresh.at.offset}
    assert kinds(await desk.apply(first, desk.log.routed_again(first), fresh, horizons=horizons)) == [
        "answered",
        "dropped",
        "applied",
    ]


async def test_another_message_at_an_answered_place_was_not_answered(desk, first):
    """A topic that was made anew counts from 0 again."""
    anew = Message(first.origin, first.at, 0, b"k", desk.log.update(1, add=line("y")).value)
    assert kinds(await desk.apply(anew, horizons={AT: first.at.offset})) == ["applied"]


async def test_a_dead_letter_is_stored_once_and_made_again_from_its_message(desk, sql):
    message = desk.log.put("identifier-updates", b"{", headers=(("mine", b"1"), ("none", None)))
    (letter,) = await desk.apply(message)
    (record,) = letter.outgoing
    assert (record.topic, record.key, record.value) == ("identifier-updates-dlt", b"k", b"{")
    assert record.headers[:2] == (("mine", b"1"), ("none", None))
    assert header(record, "kafka_dlt-exception-message").startswith(b"MALFORMED_JSON")
    for horizons in ({}, {AT: message.at.offset}):
        (again,) = await desk.apply(message, horizons=horizons)
        assert (again.kind, again.outgoing) == ("answered", letter.outgoing)
    assert kinds(await desk.apply(desk.log.routed_again(message))) == ["dropped"]
    row = await sql.fetchrow("select * from ledger")
    assert (row["org_id"], row["kind"], row["status"]) == (0, "dead_letter", "MALFORMED_JSON")
    assert row["request_id"] == message.origin.request_id


async def test_a_dead_letter_decides_nothing(desk, sql):
    """Its request id may still be used; the message that does so is decided."""
    letter = desk.log.put("identifier-updates", b'{"orgId": 7}')
    await desk.register(1)
    taken = desk.log.update(1, add=line("x"), requestId=letter.origin.request_id)
    assert kinds(await desk.apply(letter)) == ["dead_letter"]
    assert kinds(await desk.apply(taken)) == ["applied"]
    assert kinds(await desk.apply(desk.log.sent_again(taken))) == ["repeat"]
    assert kinds(await desk.apply(letter)) == ["answered"]
    assert await rows(sql, letter.origin.request_id) == ["dead_letter", "decided", "repeat"]


async def age(sql, days: int) -> None:
    """Make everything that the ledger has older."""
    today: date = await sql.fetchval("select current_date")
    await sql.execute("select ledger_add_day($1)", today - timedelta(days=days))
    await sql.execute(
        "update ledger set day = day - $1::integer, decided_at = decided_at - $1 * interval '1 day'", days
    )
    await sql.execute("update request set day = day - $1::integer, decided_day = decided_day - $1::integer", days)
