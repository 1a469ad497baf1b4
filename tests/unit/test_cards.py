"""Loyalty cards: issue, change, remove, and the cap (SPEC section 4). A card has one error, the first in order."""

from datetime import timedelta

import pytest
from tests.unit.world import NOW, OCCURRED_AT, Said, World, card, issue, named

from mergeline.domain.vocabulary import CardStatus

STATUSES = [status.value for status in CardStatus]
ALLOWED = {
    "ISSUED": {"ACTIVE", "SUSPENDED", "EXPIRED", "DELETED"},
    "ACTIVE": {"SUSPENDED", "EXPIRED", "DELETED"},
    "SUSPENDED": {"ACTIVE", "EXPIRED", "DELETED"},
    "EXPIRED": set(),
    "DELETED": set(),
}
"""SPEC section 4, written down once more."""


@pytest.fixture
def world() -> World:
    """Customers 1 and 2, and a free card C of series 163, whose cap is 2."""
    world = World()
    world.customer(1, 2)
    world.card("C")
    return world


def errors(said: Said) -> list[tuple]:
    """Code, upstream code and the other customers of each error."""
    return [(error["code"], error.get("upstreamCode"), error.get("customerIds")) for error in said.outcome["errors"]]


# ---------------------------------------------------------------- issue


@pytest.mark.parametrize("label", ["ISSUED", "ACTIVE", "Handed out", "Live"])
def test_issue(world: World, label: str) -> None:
    said = world.update(1, add=issue("C", label))
    assert (said.status, said.warnings, said.changes) == ("applied", [], ["card-issued"])
    assert world.cards["C"][:2] == (1, label)
    assert world.cards["C"][2] in (CardStatus.ISSUED, CardStatus.ACTIVE)


def test_issue_by_either_spelling(world: World) -> None:
    assert world.update(1, add=issue("C") | {"type": "cardNumber"}).status == "applied"


def test_a_card_belongs_to_a_customer_and_not_to_a_source(world: World) -> None:
    world.update(1, add=issue("C"))
    assert world.update(1, source="WECHAT", accountId="a", remove=card("C")).status == "applied"


@pytest.mark.parametrize(
    ("stored", "item", "expected"),
    [
        pytest.param(None, issue("C"), ("CARD_NOT_FOUND", 3010, None), id="unknown"),
        pytest.param(("NOT_ISSUED", None, 164), issue("C"), ("CARD_NOT_IN_SERIES", None, None), id="another series"),
        pytest.param(("ACTIVE", 2, 163), issue("C"), ("CARD_TAKEN", 3027, [2]), id="another customer's"),
        pytest.param(("EXPIRED", 2, 163), issue("C"), ("CARD_TAKEN", 3027, [2]), id="another customer's, expired"),
        pytest.param(("EXPIRED", None, 163), issue("C"), ("CARD_NOT_ISSUABLE", 3027, None), id="nobody's, expired"),
        pytest.param(("DELETED", None, 163), issue("C"), ("CARD_NOT_ISSUABLE", 3027, None), id="nobody's, deleted"),
        *(
            pytest.param(("NOT_ISSUED", None, 163), issue("C", label), ("LABEL_NOT_ISSUABLE", None, None), id=label)
            for label in ("SUSPENDED", "EXPIRED", "DELETED", "Frozen")
        ),
    ],
)
def test_rejected_issues(world: World, stored: tuple | None, item: dict, expected: tuple) -> None:
    world.rows.cards.clear()
    if stored is not None:
        world.card("C", *stored)
    before = world.cards
    said = world.update(1, add=item)
    assert errors(said) == [expected]
    assert said.outcome["errors"][0]["path"] == "/add"
    assert (said.changes, world.cards) == ([], before)


@pytest.mark.parametrize(
    ("stored", "label", "code"),
    [
        pytest.param(("ACTIVE", 2, 164), "SUSPENDED", "CARD_NOT_IN_SERIES", id="series before owner"),
        pytest.param(("EXPIRED", 2, 163), "SUSPENDED", "CARD_TAKEN", id="owner before status"),
        pytest.param(("EXPIRED", None, 163), "SUSPENDED", "CARD_NOT_ISSUABLE", id="status before label"),
        pytest.param(("ACTIVE", 1, 164), "ISSUED", "CARD_NOT_IN_SERIES", id="series before transition"),
    ],
)
def test_one_error_a_card_the_first_in_order(world: World, stored: tuple, label: str, code: str) -> None:
    world.card("C", *stored)
    assert world.update(1, add=issue("C", label)).errors == [(code, "/add")]


def test_every_card_that_is_rejected_is_said(world: World) -> None:
    world.card("T", "ACTIVE", 2)
    world.card("E", "EXPIRED", 1)
    said = world.update(1, add=[issue("NONE"), issue("C"), issue("T"), issue("E")], remove=[card("GONE")])
    assert sorted(said.errors) == [
        ("CARD_NOT_FOUND", "/add/0"),
        ("CARD_NOT_FOUND", "/remove/0"),
        ("CARD_TAKEN", "/add/2"),
        ("CARD_TRANSITION_NOT_ALLOWED", "/add/3"),
    ]
    assert world.cards["C"][0] is None


def test_a_rejected_card_undoes_the_identifiers(world: World) -> None:
    said = world.update(1, add=[named("line", "x"), issue("NONE")])
    assert (said.errors, said.changes, world.entries) == ([("CARD_NOT_FOUND", "/add/1")], [], {})


def test_rejected_identifiers_are_said_without_the_cards(world: World) -> None:
    world.entry(2, "line", "x")
    assert world.update(1, add=[named("line", "x"), issue("NONE")]).errors == [("IDENTIFIER_TAKEN", "/add/0")]


# ---------------------------------------------------------------- expiry and autoCreate


def test_auto_create_makes_an_unknown_card_on_the_spot(world: World) -> None:
    said = world.update(1, add=issue("NEW", "ACTIVE", 164))
    assert (said.status, said.changes) == ("applied", ["card-issued"])
    assert world.cards["NEW"] == (1, "ACTIVE", CardStatus.ACTIVE)


def test_auto_create_keeps_to_issuable_labels(world: World) -> None:
    assert world.update(1, add=issue("NEW", "Frozen", 164)).errors == [("LABEL_NOT_ISSUABLE", "/add")]


def test_auto_create_takes_no_card_of_another_series(world: World) -> None:
    assert world.update(1, add=issue("C", "ACTIVE", 164)).errors == [("CARD_NOT_IN_SERIES", "/add")]


def test_auto_create_makes_none_to_remove(world: World) -> None:
    assert world.update(1, remove=card("NEW", series=164)).errors == [("CARD_NOT_FOUND", "/remove")]


def test_a_card_expires_after_as_many_times_24_hours(world: World) -> None:
    (issued,) = world.update(1, add=issue("NEW", "ACTIVE", 164)).of("card-issued")
    assert (issued["issuedAt"], issued["expiresAt"]) == (OCCURRED_AT, "2027-11-21T10:00:00.123456Z")
    stored = world.rows.cards[7, "NEW"]
    assert (stored.issued_at, stored.expires_at) == (NOW, NOW + timedelta(days=365))


def test_a_series_without_expiry(world: World) -> None:
    (issued,) = world.update(1, add=issue("C")).of("card-issued")
    assert (issued["issuedAt"], issued["expiresAt"]) == (OCCURRED_AT, None)


def test_nothing_happens_by_itself_on_the_day_of_expiry(world: World) -> None:
    world.update(1, add=issue("NEW", "ACTIVE", 164))
    world.now += timedelta(days=400)
    assert world.update(1, add=issue("NEW", "Frozen", 164)).status == "applied"


# ---------------------------------------------------------------- change


@pytest.mark.parametrize("before", [status for status in STATUSES if status != "NOT_ISSUED"])
@pytest.mark.parametrize("after", [status for status in STATUSES if status != "NOT_ISSUED"])
def test_status_changes(world: World, before: str, after: str) -> None:
    world.card("C", before, 1)
    said = world.update(1, add=issue("C", after))
    if before == after:
        assert (said.status, said.warnings) == ("unchanged", [("ALREADY_PRESENT", "/add")])
        assert said.outcome["warnings"][0]["upstreamCode"] == 8073
    elif after in ALLOWED[before]:
        assert (said.status, said.changes) == ("applied", ["card-changed"])
        assert world.cards["C"] == (1, after, CardStatus(after))
    else:
        assert errors(said) == [("CARD_TRANSITION_NOT_ALLOWED", 3038, None)]


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "NOT_ISSUED"])
def test_labels_of_one_status_can_be_swapped(status: str) -> None:
    world = World(statusLabels={"one": status, "other": status})
    world.customer(1)
    world.card("C", "one", 1)
    said = world.update(1, add=issue("C", "other"))
    (changed,) = said.of("card-changed")
    assert (changed["previousStatusLabel"], changed["statusLabel"], changed["status"]) == ("one", "other", status)


def test_a_change_keeps_the_time_of_issue_and_expiry(world: World) -> None:
    world.update(1, add=issue("NEW", "ACTIVE", 164))
    world.now += timedelta(days=1)
    world.update(1, add=issue("NEW", "Frozen", 164))
    stored = world.rows.cards[7, "NEW"]
    assert (stored.issued_at, stored.expires_at) == (NOW, NOW + timedelta(days=365))


# ---------------------------------------------------------------- remove


@pytest.mark.parametrize(
    ("status", "removable"),
    [("ISSUED", True), ("ACTIVE", True), ("SUSPENDED", True), ("EXPIRED", False), ("DELETED", False)],
)
def test_remove(world: World, status: str, removable: bool) -> None:
    world.card("C", status, 1)
    said = world.update(1, remove=card("C"))
    if removable:
        assert (said.status, said.changes) == ("applied", ["card-changed"])
        assert world.cards["C"] == (None, "NOT_ISSUED", CardStatus.NOT_ISSUED)
    else:
        assert errors(said) == [("CARD_NOT_REMOVABLE", 3031, None)]


@pytest.mark.parametrize(
    ("item", "result"),
    [
        pytest.param(card("NONE"), [("CARD_NOT_FOUND", "/remove")], id="unknown in the org"),
        pytest.param(card("C", series=166), [("CARD_NOT_IN_SERIES", "/remove")], id="another series"),
        pytest.param(card("C", series=163), "applied", id="its series"),
        pytest.param(card("C", "Back"), "applied", id="with a label of its own"),
        pytest.param(card("THEIRS"), [("NOT_PRESENT", "/remove")], id="another customer's"),
        pytest.param(card("THEIRS", series=166), [("CARD_NOT_IN_SERIES", "/remove")], id="series before owner"),
        pytest.param(card("FREE"), [("NOT_PRESENT", "/remove")], id="nobody's"),
        pytest.param(card("OVER"), [("NOT_PRESENT", "/remove")], id="another customer's, expired"),
    ],
)
def test_removals(world: World, item: dict, result: object) -> None:
    for number, label, owner in (("C", "ACTIVE", 1), ("THEIRS", "ACTIVE", 2), ("FREE", "NOT_ISSUED", None)):
        world.card(number, label, owner)
    world.card("OVER", "EXPIRED", 2)
    said = world.update(1, remove=item)
    assert (said.status if said.status == "applied" else said.errors + said.warnings) == result


def test_not_present_of_a_card_has_an_upstream_code(world: World) -> None:
    (warning,) = world.update(1, remove=card("C")).outcome["warnings"]
    assert warning["upstreamCode"] == 8070


def test_a_removed_card_carries_the_given_label(world: World) -> None:
    world.card("C", "Live", 1)
    (removed,) = world.update(1, remove=card("C", "Back")).of("card-changed")
    assert (removed["statusLabel"], removed["status"]) == ("Back", "NOT_ISSUED")
    assert (removed["previousStatusLabel"], removed["customerId"]) == ("Live", 1)
    assert world.cards["C"][:2] == (None, "Back")


def test_a_removed_card_carries_the_first_label_of_not_issued_where_its_name_means_another() -> None:
    world = World(statusLabels={"NOT_ISSUED": "DELETED", "Back": "NOT_ISSUED"})
    world.customer(1)
    world.card("C", "ACTIVE", 1)
    world.update(1, remove=card("C"))
    assert world.cards["C"] == (None, "Back", CardStatus.NOT_ISSUED)


def test_a_removed_card_loses_its_times_and_can_be_issued_again(world: World) -> None:
    world.update(1, add=issue("NEW", "ACTIVE", 164))
    world.update(1, remove=card("NEW"))
    stored = world.rows.cards[7, "NEW"]
    assert (stored.issued_at, stored.expires_at) == (None, None)
    assert world.update(2, add=issue("NEW", "ACTIVE", 164)).status == "applied"


def test_a_registered_external_id_stays_with_the_card(world: World) -> None:
    world.register_card("R", cardExternalId="E1")
    world.update(1, add=issue("R"))
    world.update(1, add=issue("R", "Frozen"))
    world.update(1, remove=card("R"))
    assert world.rows.cards[7, "R"].external_id == "E1"


# ---------------------------------------------------------------- the cap


def cards(world: World, *numbers: str, owner: int | None = None, label: str = "ACTIVE", series: int = 163) -> None:
    for number in numbers:
        world.card(number, label if owner is not None else "NOT_ISSUED", owner, series)


def test_issues_up_to_the_cap(world: World) -> None:
    cards(world, "A", "B")
    assert world.update(1, add=[issue("A"), issue("B")]).status == "applied"


def test_issues_over_the_cap_are_rejected_at_the_last_issued_card_by_number(world: World) -> None:
    cards(world, "A", "B", "C")
    said = world.update(1, add=[issue("C"), issue("A"), issue("B")])
    assert said.errors == [("CARD_LIMIT_REACHED", "/add/0")]
    assert errors(said) == [("CARD_LIMIT_REACHED", 3036, None)]


def test_the_cap_is_said_once_a_series(world: World) -> None:
    cards(world, "A", "B", "C")
    cards(world, "X", "Y", series=166)
    said = world.update(1, add=[issue("C"), issue("Y", series=166), issue("A"), issue("B"), issue("X", series=166)])
    assert said.errors == [("CARD_LIMIT_REACHED", "/add/0"), ("CARD_LIMIT_REACHED", "/add/1")]


@pytest.mark.parametrize(
    ("label", "counts"),
    [("ISSUED", True), ("ACTIVE", True), ("SUSPENDED", True), ("EXPIRED", False), ("DELETED", False)],
)
def test_what_the_cap_counts(world: World, label: str, counts: bool) -> None:
    cards(world, "A", "B", owner=1, label=label)
    assert (world.update(1, add=issue("C")).status == "rejected") is counts


def test_the_cap_is_of_the_series(world: World) -> None:
    cards(world, "A", "B", owner=1)
    assert world.update(1, add=issue("NEW", "ACTIVE", 164)).status == "applied"


def test_the_cap_is_of_the_customer(world: World) -> None:
    cards(world, "A", "B", owner=2)
    assert world.update(1, add=issue("C")).status == "applied"


def test_a_swap_at_the_cap_is_fine(world: World) -> None:
    cards(world, "A", "B", owner=1)
    assert world.update(1, add=issue("C"), remove=card("A")).status == "applied"


def test_a_swap_by_a_status_change_is_fine(world: World) -> None:
    cards(world, "A", "B", owner=1)
    assert world.update(1, add=[issue("C"), issue("A", "DELETED")]).status == "applied"


def test_a_swap_over_the_cap_is_rejected(world: World) -> None:
    cards(world, "A", "B", "D", owner=1)
    assert world.update(1, add=issue("C"), remove=card("A")).errors == [("CARD_LIMIT_REACHED", "/add")]


def test_the_cap_is_not_judged_where_nothing_is_issued(world: World) -> None:
    cards(world, "A", "B", "D", owner=1)
    assert world.update(1, add=issue("A", "Frozen"), remove=card("B")).status == "applied"


def test_the_cap_is_said_beside_the_errors_of_other_cards(world: World) -> None:
    cards(world, "A", "B", owner=1)
    said = world.update(1, add=[issue("C"), issue("NONE")])
    assert sorted(said.errors) == [("CARD_LIMIT_REACHED", "/add/0"), ("CARD_NOT_FOUND", "/add/1")]


def test_the_cap_counts_through_a_batch(world: World) -> None:
    cards(world, "A", "B", "C")
    bodies = [{"orgId": 7, "customerId": 1, "source": "INSTORE", "add": issue(number)} for number in "ABC"]
    said = world.batch([world.message(body) for body in bodies])
    assert [each.status for each in said] == ["applied", "applied", "rejected"]


def test_the_cap_counts_what_was_freed_in_the_batch(world: World) -> None:
    cards(world, "A", "B", owner=1)
    bodies = [{"add": issue("A", "DELETED")}, {"add": issue("C")}, {"remove": card("B")}]
    messages = [world.message({"orgId": 7, "customerId": 1, "source": "INSTORE"} | body) for body in bodies]
    assert [each.status for each in world.batch(messages)] == ["applied", "applied", "applied"]


def test_one_card_is_issued_once_in_a_batch(world: World) -> None:
    bodies = [{"orgId": 7, "customerId": id_, "source": "INSTORE", "add": issue("C")} for id_ in (1, 2)]
    first, second = world.batch([world.message(body) for body in bodies])
    assert (first.status, errors(second)) == ("applied", [("CARD_TAKEN", 3027, [1])])
