"""The merge: everything of the victim moves, and nothing is dropped (SPEC section 4)."""

import pytest
from tests.defaults import default_limits
from tests.unit.world import ORG, World, card, issue, named

from mergeline.domain.messages import Message

X = named("line", "x")


@pytest.fixture
def world() -> World:
    """Customer 1, and customer 2 who holds line x elsewhere: adding it merges 1 into 2."""
    world = World()
    world.customer(1)
    world.entry(2, "line", "x", "ECOMMERCE")
    return world


def asking(world: World, *bodies: dict) -> list[Message]:
    return [world.message({"orgId": ORG, "source": "INSTORE"} | body) for body in bodies]


# ---------------------------------------------------------------- what moves


def test_every_entry_moves_and_keeps_its_scope(world: World) -> None:
    world.entry(1, "line", "own")
    world.entry(1, "email", "a@b.example", "WECHAT", "a")
    said = world.update(1, add=X)
    assert world.entries == {
        2: {
            ("line", "x", "ECOMMERCE", ""),
            ("line", "x", "INSTORE", ""),
            ("line", "own", "INSTORE", ""),
            ("email", "a@b.example", "WECHAT", "a"),
        }
    }
    assert said.merged["movedIdentifiers"] == [
        {"type": "email", "value": "a@b.example", "source": "WECHAT", "accountId": "a"},
        {"type": "line", "value": "own", "source": "INSTORE", "accountId": None},
    ]


def test_entries_of_one_type_in_one_scope_stand_side_by_side(world: World) -> None:
    world.entry(1, "email", "a@b.example")
    world.entry(2, "email", "c@d.example")
    world.update(1, add=X)
    assert {("email", "a@b.example", "INSTORE", ""), ("email", "c@d.example", "INSTORE", "")} < world.entries[2]


def test_every_card_moves_whatever_its_status(world: World) -> None:
    for number, label in {"A": "ACTIVE", "E": "EXPIRED", "S": "Frozen", "D": "DELETED"}.items():
        world.card(number, label, 1)
    world.card("FREE")
    said = world.update(1, add=X)
    assert {number: owner for number, (owner, _, _) in world.cards.items()} == dict.fromkeys("AESD", 2) | {"FREE": None}
    assert [moved["cardNumber"] for moved in said.merged["movedCards"]] == ["A", "D", "E", "S"]
    assert "card-changed" not in said.topics


def test_the_victim_and_its_earlier_victims_point_at_the_survivor(world: World) -> None:
    world.customer(4, 3, merged_into=1)
    world.customer(5, merged_into=2)
    said = world.update(1, add=X)
    assert world.survivors == {1: 2, 3: 2, 4: 2, 5: 2}
    assert said.merged["repointedCustomerIds"] == [3, 4]
    assert world.rows.customers[ORG, 1].merged_at == world.now
    assert world.rows.customers[ORG, 3].merged_at != world.now


def test_what_matched_is_named_with_the_entries_of_the_survivor(world: World) -> None:
    world.entry(2, "line", "x", "WECHAT", "b")
    world.entry(2, "line", "here")
    said = world.update(1, add=[named("line", "new"), named("line", "here"), X])
    assert said.merged["matched"] == [
        {
            "type": "line",
            "value": "here",
            "source": "INSTORE",
            "accountId": None,
            "entries": [{"source": "INSTORE", "accountId": None}],
        },
        {
            "type": "line",
            "value": "x",
            "source": "INSTORE",
            "accountId": None,
            "entries": [{"source": "ECOMMERCE", "accountId": None}, {"source": "WECHAT", "accountId": "b"}],
        },
    ]


def test_own_entries_are_no_match(world: World) -> None:
    world.entry(1, "line", "own", "ECOMMERCE")
    said = world.update(1, add=[named("line", "own"), X])
    assert [match["value"] for match in said.merged["matched"]] == ["x"]


def test_a_request_that_names_a_victim_merges_its_survivor(world: World) -> None:
    world.customer(9, merged_into=1)
    said = world.update(9, add=X)
    assert (said.outcome["appliedTo"], said.outcome["mergedInto"]) == (1, 2)
    assert said.warnings == [("REDIRECTED", "/customerId")]
    assert world.survivors == {9: 2, 1: 2}


# ---------------------------------------------------------------- with removes


def test_what_the_request_removes_does_not_move(world: World) -> None:
    world.entry(1, "line", "old")
    said = world.update(1, add=X, remove=named("line", "old"))
    assert said.merged["movedIdentifiers"] == []
    (changed,) = said.of("identifiers-changed")
    assert (changed["customerId"], changed["added"], changed["removed"]) == (2, [X], [named("line", "old")])
    assert world.entries == {2: {("line", "x", "ECOMMERCE", ""), ("line", "x", "INSTORE", "")}}


def test_removes_look_at_the_customer_before_the_merge(world: World) -> None:
    world.entry(2, "line", "theirs")
    said = world.update(1, add=X, remove=named("line", "theirs"))
    assert said.warnings == [("NOT_PRESENT", "/remove")]
    assert ("line", "theirs", "INSTORE", "") in world.entries[2]


def test_a_merge_never_leaves_a_customer_without_identifiers(world: World) -> None:
    world.entry(1, "line", "old")
    assert world.update(1, add=X, remove=named("line", "old")).warnings == []


# ---------------------------------------------------------------- with cards


def test_cards_of_the_request_go_to_the_survivor(world: World) -> None:
    world.card("C")
    said = world.update(1, add=[X, issue("C")])
    assert world.cards["C"][0] == 2
    (issued,) = said.of("card-issued")
    assert issued["customerId"] == 2


def test_a_card_of_the_victim_is_changed_after_it_moved(world: World) -> None:
    world.card("C", "ACTIVE", 1)
    said = world.update(1, add=[X, issue("C", "Frozen")])
    assert said.merged["movedCards"] == [{"cardNumber": "C", "seriesId": 163}]
    (changed,) = said.of("card-changed")
    assert (changed["customerId"], changed["customerVersion"]) == (2, 3)
    assert world.cards["C"][:2] == (2, "Frozen")


def test_a_card_of_the_victim_that_is_removed_leaves_the_survivor(world: World) -> None:
    world.card("C", "ACTIVE", 1)
    said = world.update(1, add=X, remove=card("C"))
    assert said.merged["movedCards"] == [{"cardNumber": "C", "seriesId": 163}]
    (removed,) = said.of("card-changed")
    assert removed["customerId"] == 2
    assert said.record("card-changed").key == b"7:2"
    assert world.cards["C"][:2] == (None, "NOT_ISSUED")


def test_a_card_of_the_survivor_is_within_reach(world: World) -> None:
    world.card("C", "ACTIVE", 2)
    assert world.update(1, add=[X, issue("C", "Frozen")]).status == "applied"
    assert world.cards["C"][:2] == (2, "Frozen")


def test_a_card_of_the_survivor_can_be_removed_too(world: World) -> None:
    world.card("C", "ACTIVE", 2)
    said = world.update(1, add=X, remove=card("C"))
    assert (said.status, said.outcome["warnings"]) == ("applied", [])
    assert world.cards["C"][:2] == (None, "NOT_ISSUED")


def test_a_failing_card_undoes_the_merge_with_everything_else(world: World) -> None:
    world.entry(1, "line", "old")
    entries = world.entries
    said = world.update(1, add=[X, issue("NONE")], remove=named("line", "old"))
    assert said.errors == [("CARD_NOT_FOUND", "/add/1")]
    assert (said.changes, said.outcome["mergedInto"], said.outcome["customerVersion"]) == ([], None, 0)
    assert (world.entries, world.survivors) == (entries, {})


# ---------------------------------------------------------------- caps


@pytest.mark.parametrize(
    ("of_victim", "of_survivor", "warned"),
    [
        pytest.param(1, 1, False, id="at the cap"),
        pytest.param(1, 2, True, id="over the cap"),
        pytest.param(3, 0, True, id="the victim's alone"),
        pytest.param(0, 3, False, id="exceeded before, and the merge brings none"),
    ],
)
def test_a_cap_that_the_merge_exceeds_is_a_warning(
    world: World, of_victim: int, of_survivor: int, warned: bool
) -> None:
    for owner, count in ((1, of_victim), (2, of_survivor)):
        for number in range(count):
            world.card(f"{owner}-{number}", "ACTIVE", owner)
    said = world.update(1, add=X)
    warnings = [("CARD_LIMIT_EXCEEDED", "/add")] if warned else []
    assert (said.status, said.warnings) == ("applied", warnings)
    assert [warning["code"] for warning in said.merged["warnings"]] == [code for code, _ in warnings]


def test_the_cap_counts_issued_active_and_suspended(world: World) -> None:
    for number, label in {"A": "ISSUED", "B": "Frozen"}.items():
        world.card(number, label, 2)
    for number, label in {"C": "EXPIRED", "D": "DELETED"}.items():
        world.card(number, label, 1)
    assert world.update(1, add=X).warnings == []


def test_exceeded_caps_are_said_once_a_series(world: World) -> None:
    for number in range(3):
        world.card(f"g{number}", "ACTIVE", 1, 163)
        world.card(f"h{number}", "ACTIVE", 1, 166)
    assert world.update(1, add=X).warnings == [("CARD_LIMIT_EXCEEDED", "/add")] * 2


def test_a_card_that_the_request_removes_exceeds_no_cap(world: World) -> None:
    for number, owner in {"A": 1, "B": 2, "C": 2}.items():
        world.card(number, "ACTIVE", owner)
    assert world.update(1, add=X, remove=card("A")).warnings == []


def test_a_card_that_left_the_victim_earlier_in_the_batch_exceeds_no_cap(world: World) -> None:
    for number, owner in {"A": 1, "B": 2, "C": 2, "D": 2}.items():
        world.card(number, "ACTIVE", owner)
    messages = asking(world, {"customerId": 1, "remove": card("A")}, {"customerId": 1, "add": X})
    assert world.batch(messages)[1].warnings == []


def test_a_card_issued_over_the_cap_of_both_is_an_error(world: World) -> None:
    for number, owner in {"A": 1, "B": 2}.items():
        world.card(number, "ACTIVE", owner)
    world.card("C")
    assert world.update(1, add=[X, issue("C")]).errors == [("CARD_LIMIT_REACHED", "/add/1")]


# ---------------------------------------------------------------- how much one merge may move


@pytest.mark.parametrize(
    ("entries", "cards", "victims", "too_large"),
    [
        pytest.param(3, 0, 0, False, id="entries at the limit"),
        pytest.param(4, 0, 0, True, id="entries over it"),
        pytest.param(0, 4, 0, True, id="cards over it"),
        pytest.param(2, 1, 0, False, id="both at the limit"),
        pytest.param(2, 2, 0, True, id="both over it"),
        pytest.param(3, 0, 3, False, id="repointed victims do not count as entries"),
        pytest.param(0, 0, 4, True, id="repointed victims over the limit"),
    ],
)
def test_merge_too_large(entries: int, cards: int, victims: int, too_large: bool) -> None:
    world = World(limits=default_limits(merge_max_entries=3))
    world.customer(1, version=2)
    world.entry(2, "line", "x", "ECOMMERCE")
    for number in range(entries):
        world.entry(1, "line", f"own {number}")
    for number in range(cards):
        world.card(f"own {number}", "EXPIRED", 1)
    world.customer(*range(100, 100 + victims), merged_into=1)
    said = world.update(1, add=X)
    if too_large:
        assert said.errors == [("MERGE_TOO_LARGE", "/add")]
        assert said.outcome["errors"][0]["customerIds"] == [2]
        assert "upstreamCode" not in said.outcome["errors"][0]
        assert said.outcome["customerVersion"] == 2
    assert (said.status == "rejected") is too_large


def test_only_the_victim_is_limited(world: World) -> None:
    world.limits = default_limits(merge_max_entries=3)
    for number in range(9):
        world.entry(2, "line", f"own {number}")
    assert world.update(1, add=X).outcome["mergedInto"] == 2


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_what_is_removed_before_does_not_count_in_one_batch_or_in_two(removed: int) -> None:
    for batches in (1, 2):
        world = World(limits=default_limits(merge_max_entries=3))
        world.entry(2, "line", "x", "ECOMMERCE")
        for number in range(5):
            world.entry(1, "line", f"own {number}")
        removals = [named("line", f"own {number}") for number in range(removed)]
        messages = asking(world, {"customerId": 1, "remove": removals}, {"customerId": 1, "add": X})
        parts = [messages] if batches == 1 else [[message] for message in messages]
        said = [said for part in parts for said in world.batch(part)]
        assert said[1].status == ("rejected" if removed == 1 else "applied"), batches


@pytest.mark.parametrize(
    ("where", "over"),
    [
        pytest.param("moved", True, id="what moves"),
        pytest.param("matched", True, id="what matched: one value in many accounts"),
        pytest.param("neither", False, id="small"),
    ],
)
def test_a_merge_event_stays_below_its_size(where: str, over: bool) -> None:
    world = World(limits=default_limits(event_max_bytes=100_000))
    world.customer(1)
    world.entry(2, "line", "x", "ECOMMERCE")
    for number in range(100 if where != "neither" else 0):
        wide = "\U0001f600" * 250 + f"{number:05}"
        if where == "moved":
            world.entry(1, "line", wide)
        else:
            world.entry(2, "line", "x", "WECHAT", wide)
    said = world.update(1, add=X)
    assert said.errors == ([("MERGE_TOO_LARGE", "/add")] if over else [])
    assert all(len(record.value) <= 100_000 for record in said.records)


# ---------------------------------------------------------------- chains in one batch


def test_a_chain_of_merges_in_one_batch_ends_at_one_survivor(world: World) -> None:
    world.entry(3, "line", "y", "ECOMMERCE")
    world.entry(1, "line", "own")
    messages = asking(
        world,
        {"customerId": 1, "add": X},
        {"customerId": 1, "add": named("line", "y")},
        {"customerId": 2, "remove": named("line", "own")},
    )
    first, second, third = world.batch(messages)
    assert first.outcome["mergedInto"] == 2
    assert (second.outcome["appliedTo"], second.outcome["mergedInto"]) == (2, 3)
    assert second.merged["repointedCustomerIds"] == [1]
    assert (third.outcome["appliedTo"], third.warnings) == (3, [("REDIRECTED", "/customerId")])
    assert world.survivors == {1: 3, 2: 3}
    assert set(world.entries) == {3}


def test_a_chain_of_merges_in_one_batch_takes_earlier_victims_along(world: World) -> None:
    world.customer(9, merged_into=1)
    world.entry(3, "line", "y", "ECOMMERCE")
    messages = asking(world, {"customerId": 1, "add": X}, {"customerId": 2, "add": named("line", "y")})
    assert world.batch(messages)[1].merged["repointedCustomerIds"] == [1, 9]
    assert world.survivors == {9: 3, 1: 3, 2: 3}


def test_what_came_and_went_earlier_in_the_batch_is_known_to_the_merge(world: World) -> None:
    world.entry(1, "line", "old")
    world.card("OLD", "ACTIVE", 1)
    world.card("NEW")
    messages = asking(
        world,
        {"customerId": 1, "remove": [named("line", "old"), card("OLD")], "add": [named("line", "new"), issue("NEW")]},
        {"customerId": 1, "add": X},
    )
    merged = world.batch(messages)[1].merged
    assert [moved["value"] for moved in merged["movedIdentifiers"]] == ["new"]
    assert [moved["cardNumber"] for moved in merged["movedCards"]] == ["NEW"]


def test_two_customers_who_would_merge_into_each_other_are_one(world: World) -> None:
    world.entry(1, "line", "own", "ECOMMERCE")
    messages = asking(world, {"customerId": 1, "add": X}, {"customerId": 2, "add": named("line", "own")})
    first, second = world.batch(messages)
    assert first.outcome["mergedInto"] == 2
    assert (second.outcome["appliedTo"], second.outcome["mergedInto"]) == (2, None)
    assert world.survivors == {1: 2}


def test_a_value_that_two_customers_add_in_two_scopes_merges_them(world: World) -> None:
    shared = named("line", "shared")
    world.customer(3)
    messages = asking(world, {"customerId": 3, "add": shared}, {"customerId": 1, "add": shared, "source": "ECOMMERCE"})
    _, second = world.batch(messages)
    assert second.outcome["mergedInto"] == 3


def test_cards_are_counted_through_the_merges_of_a_batch(world: World) -> None:
    for number, owner in {"A": 1, "B": 2}.items():
        world.card(number, "ACTIVE", owner)
    world.card("C")
    messages = asking(world, {"customerId": 1, "add": X}, {"customerId": 1, "add": issue("C")})
    assert world.batch(messages)[1].errors == [("CARD_LIMIT_REACHED", "/add")]


def test_identifiers_left_are_counted_through_the_merges_of_a_batch(world: World) -> None:
    world.entry(1, "line", "own")
    everything = [X, named("line", "own")]
    messages = asking(
        world,
        {"customerId": 1, "add": X},
        {"customerId": 1, "remove": everything},
        {"customerId": 1, "remove": X, "source": "ECOMMERCE"},
    )
    _, second, third = world.batch(messages)
    assert ("NO_IDENTIFIERS_LEFT", "/remove") not in second.warnings
    assert ("NO_IDENTIFIERS_LEFT", "/remove") in third.warnings


def test_who_asked_for_a_value_in_vain_may_be_merged_by_it_later_in_the_batch(world: World) -> None:
    taken = named("line", "taken")
    world.customer(3)
    messages = asking(
        world,
        {"customerId": 1, "add": [taken, issue("NONE")]},
        {"customerId": 3, "add": taken},
        {"customerId": 1, "add": taken, "source": "ECOMMERCE"},
    )
    first, _, third = world.batch(messages)
    assert (first.status, third.outcome["mergedInto"]) == ("rejected", 3)
