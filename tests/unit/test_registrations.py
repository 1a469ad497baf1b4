"""Registrations of customers and cards (SPEC section 7)."""

from datetime import UTC, datetime

import pytest
from tests.defaults import default_limits
from tests.unit.world import NOW, ORG, World, issue, named

from mergeline.domain.answers import Card
from mergeline.domain.vocabulary import CardStatus, Topic

X, Y = named("line", "x"), named("line", "y")


@pytest.fixture
def world() -> World:
    return World()


# ---------------------------------------------------------------- customers


def test_a_customer_without_identifiers(world: World) -> None:
    said = world.register(1)
    assert (said.status, said.topics) == ("applied", ["registration-outcomes"])
    assert said.outcome["customerVersion"] == 0
    created = world.rows.customers[ORG, 1]
    assert (created.survivor_id, created.version, created.registered_at) == (None, 0, NOW)


def test_a_customer_with_identifiers(world: World) -> None:
    said = world.register(1, X, named("email", "A@b.example"), source="WECHAT", accountId="a")
    assert said.topics == ["identifiers-changed", "registration-outcomes"]
    assert (said.outcome["customerVersion"], world.version(1)) == (1, 1)
    assert world.entries == {1: {("line", "x", "WECHAT", "a"), ("email", "a@b.example", "WECHAT", "a")}}


def test_registered_at_is_kept(world: World) -> None:
    world.register(1, registeredAt="2020-02-29T12:00:00+01:00")
    assert world.rows.customers[ORG, 1].registered_at == datetime(2020, 2, 29, 11, tzinfo=UTC)


def test_the_outcome_has_the_shape_of_a_registration(world: World) -> None:
    outcome = world.register(1, X, requestId="r").outcome
    assert list(outcome.items()) == [
        ("requestId", "r"),
        ("orgId", ORG),
        ("occurredAt", "2026-11-21T10:00:00.123456Z"),
        ("status", "applied"),
        ("customerVersion", 1),
        ("customerId", 1),
        ("errors", []),
        ("warnings", []),
    ]


def test_a_known_customer_is_left_alone(world: World) -> None:
    world.customer(1, version=3)
    world.entry(2, "line", "x")
    said = world.register(1, X, Y)
    assert (said.status, said.topics, said.warnings) == ("unchanged", ["registration-outcomes"], [])
    assert said.outcome["customerVersion"] == 3
    assert world.entries == {2: {("line", "x", "INSTORE", "")}}


def test_a_customer_that_was_merged_is_known(world: World) -> None:
    world.customer(2, version=5)
    world.customer(1, version=1, merged_into=2)
    said = world.register(1, X)
    assert (said.status, said.outcome["customerId"], said.outcome["customerVersion"]) == ("unchanged", 1, 5)


def test_a_known_customer_is_unchanged_only_once_the_catalog_stage_has_passed(world: World) -> None:
    world.customer(1)
    assert world.register(1, named("email", "nobody")).errors == [("INVALID_VALUE", "/identifiers/0")]
    assert world.register(1, source="NOWHERE").errors == [("UNKNOWN_SOURCE", "/source")]
    assert world.register(1, orgId=8).errors == [("UNKNOWN_ORG", "/orgId")]


def test_a_registration_can_merge(world: World) -> None:
    world.customer(2, version=4)
    world.entry(2, "line", "x", "ECOMMERCE")
    said = world.register(1, Y, X)
    assert said.topics == ["customer-merged", "identifiers-changed", "customer-redirects", "registration-outcomes"]
    assert (said.status, said.outcome["customerId"], said.outcome["customerVersion"]) == ("applied", 1, 6)
    merged = said.merged
    assert (merged["victimId"], merged["survivorId"], merged["customerVersion"]) == (1, 2, 5)
    assert (merged["movedIdentifiers"], merged["movedCards"], merged["repointedCustomerIds"]) == ([], [], [])
    (redirect,) = said.of("customer-redirects")
    assert (redirect["victimId"], redirect["survivorId"], redirect["customerVersion"]) == (1, 2, 0)
    (changed,) = said.of("identifiers-changed")
    assert (changed["customerId"], changed["added"]) == (2, [X, Y])
    assert world.survivors == {1: 2}
    assert set(world.entries) == {2}


def test_a_registration_that_merges_can_warn(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    world.entry(2, "line", "y")
    assert world.register(1, X, Y).warnings == [("ALREADY_PRESENT", "/identifiers/1")]


@pytest.mark.parametrize(
    ("holders", "errors"),
    [
        pytest.param([(2, "x", "INSTORE")], [("IDENTIFIER_TAKEN", "/identifiers/0")], id="taken"),
        pytest.param(
            [(2, "x", "ECOMMERCE"), (3, "y", "ECOMMERCE")],
            [("CONFLICTING_CUSTOMERS", "/identifiers")],
            id="conflicting",
        ),
        pytest.param(
            [(2, "x", "INSTORE"), (3, "y", "ECOMMERCE")],
            [("IDENTIFIER_TAKEN", "/identifiers/0"), ("CONFLICTING_CUSTOMERS", "/identifiers")],
            id="both",
        ),
    ],
)
def test_where_identifiers_are_rejected_the_customer_is_not_created(world: World, holders: list, errors: list) -> None:
    for owner, value, source in holders:
        world.entry(owner, "line", value, source)
    said = world.register(1, X, Y)
    assert (said.errors, said.changes) == (errors, [])
    assert said.outcome["customerVersion"] is None
    assert (ORG, 1) not in world.rows.customers
    assert world.update(1, add=Y).errors == [("CUSTOMER_NOT_FOUND", "/customerId")]


def test_a_merge_of_a_new_customer_can_be_too_large() -> None:
    world = World(limits=default_limits(event_max_bytes=100_000))
    for number in range(100):
        world.entry(2, "line", "x", "WECHAT", "\U0001f600" * 250 + f"{number:05}")
    assert world.register(1, X).errors == [("MERGE_TOO_LARGE", "/identifiers")]


def test_a_customer_is_registered_and_updated_in_one_batch(world: World) -> None:
    world.card("C")
    update = {"orgId": ORG, "customerId": 1, "source": "INSTORE"}
    said = world.batch(
        [
            world.message(update | {"add": Y}),
            world.message({"orgId": ORG, "customerId": 1, "source": "INSTORE"}, Topic.CUSTOMER_REGISTRATIONS),
            world.message(update | {"add": [Y, issue("C")]}),
            world.message(update | {"remove": Y}),
        ]
    )
    assert [each.status for each in said] == ["rejected", "applied", "applied", "applied"]
    assert said[3].warnings == [("NO_IDENTIFIERS_LEFT", "/remove")]
    assert world.version(1) == 3


def test_a_customer_is_registered_and_merged_in_one_batch(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    world.card("C")
    update = {"orgId": ORG, "customerId": 1, "source": "INSTORE"}
    register = {"orgId": ORG, "customerId": 1, "source": "INSTORE", "identifiers": [Y]}
    said = world.batch(
        [
            world.message(register, Topic.CUSTOMER_REGISTRATIONS),
            world.message(update | {"add": issue("C")}),
            world.message(update | {"add": X}),
        ]
    )
    assert said[2].merged["movedIdentifiers"] == [{**Y, "source": "INSTORE", "accountId": None}]
    assert said[2].merged["movedCards"] == [{"cardNumber": "C", "seriesId": 163}]
    (redirect,) = said[2].of("customer-redirects")
    assert redirect["customerVersion"] == 2
    assert world.survivors == {1: 2}


def test_two_registrations_of_one_value_in_two_scopes_merge(world: World) -> None:
    said = world.batch(
        [
            world.message(
                {"orgId": ORG, "customerId": id_, "source": source, "identifiers": [X]}, Topic.CUSTOMER_REGISTRATIONS
            )
            for id_, source in ((1, "INSTORE"), (2, "ECOMMERCE"))
        ]
    )
    assert said[1].merged["survivorId"] == 1
    assert world.survivors == {2: 1}


# ---------------------------------------------------------------- cards


def test_a_card(world: World) -> None:
    said = world.register_card("C", cardExternalId="E1")
    assert (said.status, said.topics) == ("applied", ["registration-outcomes"])
    assert said.record("registration-outcomes").key == b"7:card:C"
    assert world.rows.cards[ORG, "C"] == Card(ORG, "C", 163, "E1", None, "NOT_ISSUED", CardStatus.NOT_ISSUED)


def test_the_outcome_of_a_card_has_no_version(world: World) -> None:
    assert list(world.register_card("C", requestId="r").outcome.items()) == [
        ("requestId", "r"),
        ("orgId", ORG),
        ("occurredAt", "2026-11-21T10:00:00.123456Z"),
        ("status", "applied"),
        ("cardNumber", "C"),
        ("seriesId", 163),
        ("errors", []),
        ("warnings", []),
    ]


@pytest.mark.parametrize(
    ("label", "rejected"),
    [
        (None, False),
        ("NOT_ISSUED", False),
        ("Back", False),
        ("EXPIRED", False),
        ("DELETED", False),
        ("ISSUED", True),
        ("Live", True),
        ("SUSPENDED", True),
    ],
)
def test_a_label_that_needs_an_owner_is_rejected(world: World, label: str | None, rejected: bool) -> None:
    said = world.register_card("C", statusLabel=label)
    assert said.errors == ([("LABEL_NOT_ISSUABLE", "/statusLabel")] if rejected else [])
    assert world.cards.get("C", (None, None))[1] == (None if rejected else label or "NOT_ISSUED")


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        pytest.param({"seriesId": 999}, [("UNKNOWN_SERIES", "/seriesId", 3004)], id="no such series"),
        pytest.param({"seriesCode": "NONE"}, [("UNKNOWN_SERIES", "/seriesCode", 3004)], id="no such code"),
        pytest.param({"statusLabel": "Gone"}, [("UNKNOWN_STATUS_LABEL", "/statusLabel", 8086)], id="no such label"),
        pytest.param(
            {"seriesId": 999, "statusLabel": "Live"},
            [("UNKNOWN_SERIES", "/seriesId", 3004), ("LABEL_NOT_ISSUABLE", "/statusLabel", None)],
            id="every error of the stage",
        ),
        pytest.param({"orgId": 8, "seriesId": 999}, [("UNKNOWN_ORG", "/orgId", None)], id="no such org"),
        pytest.param({"seriesId": 165}, [], id="an inactive series may be filled"),
    ],
)
def test_the_catalog_stage_of_cards(world: World, fields: dict, errors: list) -> None:
    outcome = world.register_card("C", **fields).outcome
    assert [(error["code"], error["path"], error.get("upstreamCode")) for error in outcome["errors"]] == errors


@pytest.mark.parametrize(
    ("fields", "series_id"),
    [
        pytest.param({"seriesId": 163}, 163, id="as named"),
        pytest.param({"seriesCode": "GOLD"}, 163, id="a code is translated"),
        pytest.param({"seriesCode": "GOLD", "statusLabel": "Gone"}, 163, id="a code is translated on a rejection"),
        pytest.param({"seriesCode": "NONE"}, None, id="an unknown code"),
        pytest.param({"seriesId": 999}, 999, id="an unknown series"),
        pytest.param({"orgId": 8, "seriesCode": "GOLD"}, None, id="rejected before it was looked up"),
    ],
)
def test_the_series_of_the_outcome(world: World, fields: dict, series_id: int | None) -> None:
    assert world.register_card("C", **fields).outcome["seriesId"] == series_id


def test_a_known_card_is_left_alone(world: World) -> None:
    world.customer(1)
    world.card("C", "ACTIVE", 1)
    before = world.cards
    said = world.register_card("C", seriesCode="PAST", statusLabel="DELETED", cardExternalId="E")
    assert (said.status, said.changes, world.cards) == ("unchanged", [], before)
    assert said.outcome["seriesId"] == 165
    assert world.register_card("C", statusLabel="Live").status == "rejected"


def test_the_default_label_is_judged_like_one_that_is_named() -> None:
    world = World(statusLabels={"NOT_ISSUED": "ACTIVE", "Back": "NOT_ISSUED"})
    assert world.register_card("C").errors == [("LABEL_NOT_ISSUABLE", "/statusLabel")]
    assert world.register_card("C", statusLabel="Back").status == "applied"


def test_a_card_is_registered_and_issued_in_one_batch(world: World) -> None:
    world.customer(1)
    issuing = {"orgId": ORG, "customerId": 1, "source": "INSTORE", "add": issue("C")}
    registering = {"orgId": ORG, "seriesId": 163, "cardNumber": "C"}
    said = world.batch(
        [world.message(issuing), world.message(registering, Topic.CARD_REGISTRATIONS), world.message(issuing)]
    )
    assert [each.status for each in said] == ["rejected", "applied", "applied"]


def test_a_registered_card_at_expired_cannot_be_issued(world: World) -> None:
    world.customer(1)
    world.register_card("C", statusLabel="EXPIRED")
    assert world.update(1, add=issue("C")).errors == [("CARD_NOT_ISSUABLE", "/add")]
