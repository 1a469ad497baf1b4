"""Removes and adds: rules 1 to 5 of SPEC section 4, the customer stage, and the warnings."""

import pytest
from tests.unit.world import ORG, Said, World, named

X, Y, Z = named("line", "x"), named("line", "y"), named("line", "z")
ALREADY_PRESENT, NOT_PRESENT = "ALREADY_PRESENT", "NOT_PRESENT"


@pytest.fixture
def world() -> World:
    """Customer 1, who holds nothing."""
    world = World()
    world.customer(1)
    return world


def errors(said: Said) -> list[tuple]:
    """Code, path, upstream code and the other customers of each error."""
    return [
        (error["code"], error["path"], error.get("upstreamCode"), error.get("customerIds"))
        for error in said.outcome["errors"]
    ]


def assert_nothing_happened(world: World, said: Said, before: tuple) -> None:
    assert said.changes == []
    assert (dict(world.rows.customers), dict(world.rows.entries), dict(world.rows.cards)) == before


def snapshot(world: World) -> tuple:
    return (dict(world.rows.customers), dict(world.rows.entries), dict(world.rows.cards))


# ---------------------------------------------------------------- the customer stage


def test_an_unknown_customer(world: World) -> None:
    said = world.update(404, add=X)
    assert errors(said) == [("CUSTOMER_NOT_FOUND", "/customerId", 8009, None)]
    assert said.outcome["customerVersion"] is None


def test_a_request_that_names_a_victim_is_applied_to_its_survivor(world: World) -> None:
    world.customer(2, merged_into=1)
    said = world.update(2, add=X)
    assert (said.status, said.warnings) == ("applied", [("REDIRECTED", "/customerId")])
    assert said.outcome["warnings"][0]["customerIds"] == [1]
    assert (said.outcome["customerId"], said.outcome["appliedTo"], said.outcome["mergedInto"]) == (2, 1, None)
    assert world.entries == {1: {("line", "x", "INSTORE", "")}}


def test_redirected_goes_with_unchanged_too(world: World) -> None:
    world.customer(2, merged_into=1)
    said = world.update(2, remove=X)
    assert (said.status, said.warnings) == ("unchanged", [("REDIRECTED", "/customerId"), (NOT_PRESENT, "/remove")])


def test_an_org_may_reject_requests_that_name_a_victim() -> None:
    world = World(policies={"mergedCustomer": "reject"})
    world.customer(1, version=3)
    world.customer(2, merged_into=1)
    said = world.update(2, add=X)
    assert errors(said) == [("CUSTOMER_MERGED", "/customerId", 8069, [1])]
    assert said.outcome["customerVersion"] == 3
    assert world.update(1, add=X).status == "applied"


# ---------------------------------------------------------------- remove


@pytest.mark.parametrize(
    ("owner", "source", "account", "removed"),
    [
        pytest.param(1, "WECHAT", "a", True, id="in the scope of the request"),
        pytest.param(1, "WECHAT", "b", False, id="in another account"),
        pytest.param(1, "INSTORE", "", False, id="in another source"),
        pytest.param(2, "WECHAT", "a", False, id="of another customer"),
    ],
)
def test_remove(world: World, owner: int, source: str, account: str, removed: bool) -> None:
    world.entry(1, "line", "other")
    world.entry(owner, "line", "x", source, account)
    said = world.update(1, source="WECHAT", accountId="a", remove=X)
    assert said.status == ("applied" if removed else "unchanged")
    assert said.warnings == ([] if removed else [(NOT_PRESENT, "/remove")])
    assert (("line", "x", source, account) in world.entries.get(owner, ())) is not removed


def test_not_present_has_an_upstream_code(world: World) -> None:
    (warning,) = world.update(1, remove=X).outcome["warnings"]
    assert warning["upstreamCode"] == 8070


def test_remove_compares_normalised_values(world: World) -> None:
    world.entry(1, "email", "a@b.example")
    assert world.update(1, remove=named("email", "A@B.example")).status == "applied"
    assert world.entries == {}


@pytest.mark.parametrize(
    ("held", "request_fields", "warned"),
    [
        pytest.param([X], {"remove": X}, True, id="the last one"),
        pytest.param([X, Y], {"remove": [X, Y]}, True, id="the last two"),
        pytest.param([X, Y], {"remove": X}, False, id="one is left"),
        pytest.param([X], {"remove": X, "add": Y}, False, id="one is added"),
        pytest.param([], {"remove": X}, False, id="none was removed"),
    ],
)
def test_no_identifiers_left(world: World, held: list, request_fields: dict, warned: bool) -> None:
    for item in held:
        world.entry(1, item["type"], item["value"])
    said = world.update(1, **request_fields)
    assert (("NO_IDENTIFIERS_LEFT", "/remove") in said.warnings) is warned


def test_identifiers_in_any_scope_count_as_left(world: World) -> None:
    world.entry(1, "line", "x")
    world.entry(1, "line", "x", "WECHAT", "a")
    assert world.update(1, remove=X).warnings == []


def test_cards_do_not_count_as_identifiers_left(world: World) -> None:
    world.entry(1, "line", "x")
    world.card("C", "ACTIVE", 1)
    assert world.update(1, remove=X).warnings == [("NO_IDENTIFIERS_LEFT", "/remove")]


def test_what_is_left_is_counted_through_a_batch(world: World) -> None:
    for item in (X, Y, Z):
        world.entry(1, item["type"], item["value"])
    world.customer(2, merged_into=1)
    body = {"orgId": ORG, "customerId": 2, "source": "INSTORE"}
    said = world.batch([world.message(body | {"remove": item}) for item in (X, Y, Z)])
    assert [("NO_IDENTIFIERS_LEFT", "/remove") in each.warnings for each in said] == [False, False, True]


# ---------------------------------------------------------------- add: rules 1 to 5


def test_rule_1_nobody_holds_it(world: World) -> None:
    said = world.update(1, add=X)
    assert (said.status, said.warnings, said.changes) == ("applied", [], ["identifiers-changed"])
    assert world.entries == {1: {("line", "x", "INSTORE", "")}}


def test_rule_1_the_customer_holds_it_in_another_scope(world: World) -> None:
    world.entry(1, "line", "x", "WECHAT", "a")
    said = world.update(1, source="WECHAT", accountId="b", add=X)
    assert (said.status, said.changes) == ("applied", ["identifiers-changed"])
    assert world.entries == {1: {("line", "x", "WECHAT", "a"), ("line", "x", "WECHAT", "b")}}


def test_rule_1_several_values_of_one_type_in_one_scope(world: World) -> None:
    world.entry(1, "line", "x")
    assert world.update(1, add=Y).status == "applied"
    assert world.entries == {1: {("line", "x", "INSTORE", ""), ("line", "y", "INSTORE", "")}}


@pytest.mark.parametrize(
    ("kind", "value", "upstream"),
    [("mobile", "8613800138000", 8071), ("email", "a@b.example", 8072), ("externalId", "E", 8073), ("line", "x", 8073)],
)
def test_rule_2_the_customer_holds_it_in_this_scope(world: World, kind: str, value: str, upstream: int) -> None:
    world.entry(1, kind, value)
    said = world.update(1, add=[named(kind, value)])
    assert (said.status, said.warnings, said.changes) == ("unchanged", [(ALREADY_PRESENT, "/add/0")], [])
    assert said.outcome["warnings"][0]["upstreamCode"] == upstream


def test_rule_3_another_customer_in_this_scope(world: World) -> None:
    world.entry(2, "line", "x")
    before = snapshot(world)
    said = world.update(1, add=X)
    assert errors(said) == [("IDENTIFIER_TAKEN", "/add", 8008, [2])]
    assert_nothing_happened(world, said, before)


def test_rule_3_beside_other_scopes_of_that_customer(world: World) -> None:
    world.entry(2, "line", "x")
    world.entry(2, "line", "x", "WECHAT", "a")
    assert errors(world.update(1, add=X)) == [("IDENTIFIER_TAKEN", "/add", 8008, [2])]


def test_rule_3_every_taken_add_is_said(world: World) -> None:
    world.entry(2, "line", "x")
    world.entry(2, "line", "y")
    said = world.update(1, add=[Z, X, Y])
    assert errors(said) == [("IDENTIFIER_TAKEN", "/add/1", 8008, [2]), ("IDENTIFIER_TAKEN", "/add/2", 8008, [2])]


def test_rule_3_unless_rule_4_makes_that_customer_the_survivor(world: World) -> None:
    world.entry(2, "line", "x")
    world.entry(2, "line", "y", "ECOMMERCE")
    said = world.update(1, add=[X, Y])
    assert (said.status, said.warnings) == ("applied", [(ALREADY_PRESENT, "/add/0")])
    assert said.outcome["mergedInto"] == 2
    assert ("line", "y", "INSTORE", "") in world.entries[2]


@pytest.mark.parametrize(
    ("source", "account"),
    [
        pytest.param("ECOMMERCE", "", id="another single-account source"),
        pytest.param("WECHAT", "a", id="a multiple-account source"),
    ],
)
def test_rule_4_one_other_customer_in_other_scopes_only(world: World, source: str, account: str) -> None:
    world.entry(2, "line", "x", source, account)
    said = world.update(1, add=X)
    assert said.status == "applied"
    assert (said.outcome["appliedTo"], said.outcome["mergedInto"]) == (1, 2)
    assert world.survivors == {1: 2}
    assert world.entries == {2: {("line", "x", source, account), ("line", "x", "INSTORE", "")}}


def test_rule_4_two_accounts_of_one_source_are_two_scopes(world: World) -> None:
    world.entry(2, "line", "x", "WECHAT", "a")
    assert world.update(1, source="WECHAT", accountId="b", add=X).outcome["mergedInto"] == 2


def test_rule_4_the_same_customer_by_two_adds_is_one(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    world.entry(2, "line", "y", "WECHAT", "a")
    assert world.update(1, add=[X, Y, Z]).outcome["mergedInto"] == 2


def test_rule_4_the_same_value_of_another_type_is_another_identifier(world: World) -> None:
    world.entry(2, "externalId", "x", "ECOMMERCE")
    assert world.update(1, add=X).outcome["mergedInto"] is None


def test_rule_5_two_other_customers(world: World) -> None:
    world.entry(3, "line", "x", "ECOMMERCE")
    world.entry(2, "line", "y", "ECOMMERCE")
    before = snapshot(world)
    said = world.update(1, add=[X, Y])
    assert errors(said) == [("CONFLICTING_CUSTOMERS", "/add", 8053, [2, 3])]
    assert_nothing_happened(world, said, before)


def test_rule_5_others_are_named_in_ascending_order(world: World) -> None:
    world.entry(16, "line", "x", "ECOMMERCE")
    world.entry(9, "line", "y", "ECOMMERCE")
    assert errors(world.update(1, add=[X, Y])) == [("CONFLICTING_CUSTOMERS", "/add", 8053, [9, 16])]


@pytest.mark.parametrize("account", ["brand-a", "Brand-a", "Brand-A "])
def test_accounts_are_one_where_they_are_the_same_to_the_letter(world: World, account: str) -> None:
    world.entry(2, "line", "x", "WECHAT", "Brand-A")
    assert world.update(1, source="WECHAT", accountId=account, add=X).outcome["mergedInto"] == 2
    assert {("line", "x", "WECHAT", "Brand-A"), ("line", "x", "WECHAT", account)} == world.entries[2]


def test_values_are_one_where_they_are_the_same_to_the_letter(world: World) -> None:
    world.entry(2, "line", "e\u0301", "ECOMMERCE")
    assert world.update(1, add=named("line", "\u00e9")).outcome["mergedInto"] is None
    assert world.update(1, add=named("line", "e\u0301")).outcome["mergedInto"] == 2


def test_rule_5_taken_and_conflicting_are_both_said(world: World) -> None:
    world.entry(2, "line", "x")
    world.entry(3, "line", "y", "ECOMMERCE")
    said = world.update(1, add=[X, Y])
    assert errors(said) == [
        ("IDENTIFIER_TAKEN", "/add/0", 8008, [2]),
        ("CONFLICTING_CUSTOMERS", "/add", 8053, [2, 3]),
    ]


def test_rule_5_two_adds_taken_here_by_two_customers_conflict_too(world: World) -> None:
    world.entry(2, "line", "x")
    world.entry(3, "line", "y")
    said = world.update(1, add=[X, Y])
    assert errors(said) == [
        ("IDENTIFIER_TAKEN", "/add/0", 8008, [2]),
        ("IDENTIFIER_TAKEN", "/add/1", 8008, [3]),
        ("CONFLICTING_CUSTOMERS", "/add", 8053, [2, 3]),
    ]


def test_rule_5_a_taken_add_of_the_would_be_survivor_is_said_where_others_conflict(world: World) -> None:
    world.entry(2, "line", "x")
    world.entry(2, "line", "y", "ECOMMERCE")
    world.entry(3, "line", "z", "ECOMMERCE")
    assert errors(world.update(1, add=[X, Y, Z])) == [
        ("IDENTIFIER_TAKEN", "/add/0", 8008, [2]),
        ("CONFLICTING_CUSTOMERS", "/add", 8053, [2, 3]),
    ]


def test_the_customer_itself_is_no_other_customer(world: World) -> None:
    world.entry(1, "line", "x", "ECOMMERCE")
    world.entry(2, "line", "y", "ECOMMERCE")
    assert world.update(1, add=[X, Y]).outcome["mergedInto"] == 2


def test_the_survivor_a_victim_was_redirected_to_is_no_other_customer(world: World) -> None:
    world.customer(2, merged_into=1)
    world.entry(1, "line", "x", "ECOMMERCE")
    said = world.update(2, add=X)
    assert (said.outcome["appliedTo"], said.outcome["mergedInto"]) == (1, None)


# ---------------------------------------------------------------- both lists


def test_removes_and_adds_of_one_request(world: World) -> None:
    world.entry(1, "line", "x")
    said = world.update(1, remove=X, add=[Y, Z])
    assert (said.status, said.warnings) == ("applied", [])
    (data,) = said.of("identifiers-changed")
    assert (data["removed"], data["added"]) == ([X], [Y, Z])
    assert world.entries == {1: {("line", "y", "INSTORE", ""), ("line", "z", "INSTORE", "")}}


def test_a_request_is_all_or_nothing(world: World) -> None:
    world.entry(1, "line", "x")
    world.entry(2, "line", "y")
    before = snapshot(world)
    said = world.update(1, remove=X, add=[Y, Z])
    assert [code for code, _ in said.errors] == ["IDENTIFIER_TAKEN"]
    assert said.warnings == []
    assert_nothing_happened(world, said, before)


def test_a_rejection_carries_the_version_of_the_root(world: World) -> None:
    world.customer(1, version=4)
    world.customer(3, version=9, merged_into=1)
    world.entry(2, "line", "x")
    outcome = world.update(3, add=X).outcome
    assert (outcome["customerVersion"], outcome["appliedTo"], outcome["mergedInto"]) == (4, None, None)


def test_what_is_freed_can_be_taken_in_the_same_batch(world: World) -> None:
    world.entry(2, "line", "x")
    bodies = ({"customerId": 2, "remove": X}, {"customerId": 1, "add": X})
    messages = [world.message({"orgId": ORG, "source": "INSTORE"} | body) for body in bodies]
    assert [said.status for said in world.batch(messages)] == ["applied", "applied"]
    assert world.entries == {1: {("line", "x", "INSTORE", "")}}


def test_an_entry_added_and_removed_in_one_batch_is_no_change(world: World) -> None:
    bodies = ({"add": X}, {"remove": X})
    messages = [world.message({"orgId": ORG, "customerId": 1, "source": "INSTORE"} | body) for body in bodies]
    assert [said.outcome["customerVersion"] for said in world.batch(messages)] == [1, 2]
    assert world.entries == {}
    assert world.version(1) == 2
