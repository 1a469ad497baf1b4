"""What is stored, as `mergeline show` says it: the documents of schemas/show, checked by them."""

import json
from pathlib import Path

import jsonschema
import pytest
from tests.integration.desk import AT, CATALOG, ORG, UPDATES, issue, line
from tests.integration.test_merges import meets

from mergeline.domain.catalog import Catalog
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.showing import show_card, show_customer, show_identifier, show_request

SCHEMAS = Path(__file__).parents[2] / "schemas" / "show"


@pytest.fixture
async def told(desk):
    """One customer merged into another, with a card on the way."""
    await desk.register(1, 2)
    await desk.apply(desk.log.card("c-1", cardExternalId="ext"), desk.log.card("c-2"))
    await desk.apply(
        desk.log.update(1, source="WECHAT", accountId="a", add=[line("x"), issue("c-1", "Live")]),
        meets(desk, 1, 2, requestId="r-merge", requestedAt="2026-11-21T11:00:00+01:00"),
    )
    return desk


def checked(name: str, document: dict) -> dict:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema, format_checker=jsonschema.FormatChecker())
    return document


async def test_a_customer(sql, told):
    survivor = checked("customer", await show_customer(sql, ORG, 2))
    assert (survivor["status"], survivor["survivorId"], survivor["victims"]) == ("living", None, [1])
    assert [(entry["value"], entry["source"], entry["accountId"]) for entry in survivor["identifiers"]] == [
        ("of-1", "ECOMMERCE", None),
        ("of-2", "ECOMMERCE", None),
        ("of-2", "INSTORE", None),
        ("x", "WECHAT", "a"),
    ]
    (card,) = survivor["cards"]
    assert (card["cardNumber"], card["statusLabel"], card["status"]) == ("c-1", "Live", "ACTIVE")
    victim = checked("customer", await show_customer(sql, ORG, 1))
    assert (victim["status"], victim["survivorId"], victim["identifiers"]) == ("merged", 2, [])
    assert survivor["merges"] == victim["merges"]
    assert survivor["merges"][0]["requestId"] == "r-merge"
    assert await show_customer(sql, ORG, 3) is None
    assert await show_customer(sql, ORG + 1, 1) is None


async def test_a_mobile_that_is_given_as_it_is_stored_is_found_though_it_would_be_another_one(sql, told):
    """6565218000 is a number of Singapore as it is stored, and one of Florida without its country code."""
    await apply_catalogs(sql, [Catalog.model_validate(CATALOG | {"defaultRegion": "US"})])
    await told.apply(told.log.update(2, add={"type": "mobile", "value": "+65 6521 8000"}))
    found = {"entries": [{"customerId": 2, "source": "INSTORE", "accountId": None}]}
    assert await show_identifier(sql, ORG, "mobile", "+6565218000") == found
    assert await show_identifier(sql, ORG, "mobile", "6565218000") == found
    await told.apply(told.log.update(1, source="WECHAT", accountId="a", add={"type": "mobile", "value": "6565218000"}))
    (entry,) = (await show_identifier(sql, ORG, "mobile", "6565218000"))["entries"]
    assert entry["source"] == "WECHAT"  # as in a request: normalised, if that is there


async def test_an_identifier_by_its_normalised_value(sql, told):
    await told.apply(told.log.update(2, add={"type": "email", "value": "Ann@Example.com"}))
    found = checked("identifier", await show_identifier(sql, ORG, "email", " ANN@example.COM "))
    assert found == {"entries": [{"customerId": 2, "source": "INSTORE", "accountId": None}]}
    assert len(checked("identifier", await show_identifier(sql, ORG, "line", "of-2"))["entries"]) == 2
    assert await show_identifier(sql, ORG, "email", "no address") is None
    assert await show_identifier(sql, ORG, "line", "OF-2") is None


async def test_a_card(sql, told):
    card = checked("card", await show_card(sql, ORG, "c-1"))
    assert (card["customerId"], card["cardExternalId"]) == (2, "ext")
    assert checked("card", await show_card(sql, ORG, "c-2"))["customerId"] is None
    assert await show_card(sql, ORG, "c-3") is None


async def test_a_request_with_what_was_published_and_its_repeats(sql, told):
    request = checked("request", await show_request(sql, ORG, "r-merge"))
    assert (request["kind"], request["status"]) == ("identifier-update", "applied")
    assert request["requestedAt"] == "2026-11-21T10:00:00.000000Z"
    assert [event["topic"] for event in request["events"]] == [
        "customer-merged",
        "identifiers-changed",
        "customer-redirects",
        "update-outcomes",
    ]
    assert request["events"][-1]["data"]["mergedInto"] == 2
    assert request["repeats"] == []

    reused = told.log.update(2, add=line("other"), requestId="r-merge")
    await told.apply(reused, told.log.sent_again(reused))
    request = checked("request", await show_request(sql, ORG, "r-merge"))
    assert [repeat["kind"] for repeat in request["repeats"]] == ["reused", "reused"]
    assert await show_request(sql, ORG, "never") is None


async def test_a_dead_letter(sql, desk):
    message = desk.log.put(UPDATES, b"[]", headers=(("traceparent", b"\xff"),))
    await desk.apply(message)
    request = checked("request", await show_request(sql, 0, message.origin.request_id))
    assert (request["status"], request["events"], request["repeats"]) == ("INVALID_REQUEST", [], [])
    taken = desk.log.customer(1, requestId=message.origin.request_id, orgId=ORG)
    await desk.apply(taken)
    assert (await show_request(sql, ORG, message.origin.request_id))["kind"] == "customer-registration"


async def test_a_dead_letter_that_nobody_routed(sql, desk):
    """It stood on the internal topic by itself."""
    await desk.apply(desk.log.put(AT[0], b"{"))
    document = checked("request", await show_request(sql, 0, "commands-by-customer-0-0"))
    assert (document["kind"], document["origin"]["topic"]) == ("identifier-update", "commands-by-customer")


async def test_headers_that_are_no_text_are_shown_as_far_as_they_are(sql, desk):
    message = desk.log.put(
        UPDATES, desk.log.update(1, requestId="r", add=line("x")).value, headers=(("traceparent", b"\xff"),)
    )
    await desk.apply(message)
    request = checked("request", await show_request(sql, ORG, "r"))
    assert request["events"][0]["headers"]["traceparent"] == "�"
