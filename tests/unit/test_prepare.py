"""The catalog stage: one row a rule; every error of the stage is said (SPEC section 3)."""

import pytest
from tests.unit.world import ORG, Said, World, card, issue, named

from mergeline.domain.vocabulary import Topic

EMAIL = named("email", "a@b.example")
BAD_EMAIL = named("email", "nobody")


@pytest.fixture
def world() -> World:
    """Customer 1, a free card of series 163, and one that customer 1 holds."""
    world = World()
    world.customer(1)
    world.card("FREE")
    world.card("OWN", "ACTIVE", 1)
    return world


def codes(said: Said) -> list[tuple[str, str, int | None]]:
    return [(error["code"], error["path"], error.get("upstreamCode")) for error in said.outcome["errors"]]


# ---------------------------------------------------------------- org and scope


def test_unknown_org_is_all_that_is_said(world: World) -> None:
    said = world.send({"orgId": 8, "customerId": 1, "source": "NOWHERE", "add": BAD_EMAIL})
    assert codes(said) == [("UNKNOWN_ORG", "/orgId", None)]


@pytest.mark.parametrize(
    ("source", "account", "errors"),
    [
        pytest.param("INSTORE", None, [], id="single without account"),
        pytest.param("WECHAT", "brand-a", [], id="multiple with account"),
        pytest.param("NOWHERE", None, [("UNKNOWN_SOURCE", "/source", 8011)], id="unknown"),
        pytest.param("instore", None, [("UNKNOWN_SOURCE", "/source", 8011)], id="in another case"),
        pytest.param(" INSTORE", None, [("UNKNOWN_SOURCE", "/source", 8011)], id="with white space around it"),
        pytest.param("NOWHERE", "brand-a", [("UNKNOWN_SOURCE", "/source", 8011)], id="unknown with account"),
        pytest.param("WECHAT", None, [("ACCOUNT_REQUIRED", "/accountId", 8045)], id="multiple without account"),
        pytest.param("INSTORE", "brand-a", [("ACCOUNT_NOT_ALLOWED", "/accountId", 8127)], id="single with account"),
    ],
)
def test_scope(world: World, source: str, account: str | None, errors: list) -> None:
    assert codes(world.update(1, source=source, accountId=account, add=EMAIL)) == errors
    assert codes(world.register(2, source=source, accountId=account)) == errors


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("item", "upstream"),
    [
        pytest.param(named("mobile", "12"), 1001, id="mobile"),
        pytest.param(named("email", "nobody"), 1002, id="email"),
    ],
)
def test_invalid_value(world: World, item: dict, upstream: int) -> None:
    assert codes(world.update(1, add=item)) == [("INVALID_VALUE", "/add", upstream)]
    assert codes(world.update(1, add=[EMAIL, item])) == [("INVALID_VALUE", "/add/1", upstream)]
    assert codes(world.update(1, remove=[item])) == [("INVALID_VALUE", "/remove/0", upstream)]
    assert codes(world.register(2, item)) == [("INVALID_VALUE", "/identifiers/0", upstream)]


@pytest.mark.parametrize(
    ("region", "value", "valid"),
    [(None, "13800138000", False), ("CN", "13800138000", True), ("CN", "+447911123456", True)],
)
def test_mobile_numbers_are_read_in_the_default_region(region: str | None, value: str, valid: bool) -> None:
    world = World(defaultRegion=region)
    world.customer(1)
    assert (codes(world.update(1, add=named("mobile", value))) == []) is valid


@pytest.mark.parametrize(
    ("add", "remove", "path", "upstream"),
    [
        pytest.param(named("email", "A@b.example"), named("email", "a@b.example"), "/add", 1002, id="email"),
        pytest.param(named("mobile", "+86 13800138000"), named("mobile", "8613800138000"), "/add", 1001, id="mobile"),
        pytest.param([named("line", "x"), named("email", "A@b.example")], [EMAIL], "/add/1", 1002, id="in a list"),
    ],
)
def test_what_only_normalising_makes_equal_in_both_lists(
    world: World, add: object, remove: object, path: str, upstream: int
) -> None:
    assert codes(world.update(1, add=add, remove=remove)) == [("INVALID_VALUE", path, upstream)]


def test_what_normalising_makes_equal_in_one_list_counts_once_at_the_first(world: World) -> None:
    said = world.update(1, add=[named("email", "A@b.example"), EMAIL])
    assert said.of(Topic.IDENTIFIERS_CHANGED)[0]["added"] == [EMAIL]
    world.rows.entries.clear()
    said = world.update(1, remove=[named("email", "A@b.example"), EMAIL])
    assert said.warnings == [("NOT_PRESENT", "/remove/0")]


# ---------------------------------------------------------------- the block list


@pytest.mark.parametrize(
    ("item", "blocked"),
    [
        pytest.param(named("email", "test@test.com"), True, id="as written"),
        pytest.param(named("email", "Test@TEST.com"), True, id="case ignored"),
        pytest.param(named("email", " test@test.com "), True, id="trimmed"),
        pytest.param(named("mobile", "0000000000"), True, id="no valid mobile either"),
        pytest.param(named("email", "null"), True, id="no valid email either"),
        pytest.param(named("wechat", "NULL"), True, id="any type"),
        pytest.param(named("wechat", "nullable"), False, id="compared whole"),
        pytest.param(named("mobile", "+86 138 0013 8000"), True, id="as normalised"),
        pytest.param(named("mobile", "+86 138 0013 8001"), False, id="another number"),
    ],
)
def test_blocked_value(item: dict, blocked: bool) -> None:
    world = World(blockList=["test@test.com", "0000000000", "null", "8613800138000"])
    world.customer(1)
    errors = [("BLOCKED_VALUE", "/add/0", None)] if blocked else []
    assert codes(world.update(1, add=[item])) == errors
    assert (codes(world.register(2, item))[:1] == [("BLOCKED_VALUE", "/identifiers/0", None)]) is blocked


def test_a_blocked_value_can_be_removed(world: World) -> None:
    world.entry(1, "email", "test@test.com")
    assert world.update(1, remove=named("email", "test@test.com")).status == "applied"


def test_card_numbers_are_not_blocked(world: World) -> None:
    world.card("null")
    assert world.update(1, add=issue("null")).status == "applied"


# ---------------------------------------------------------------- cards


@pytest.mark.parametrize(
    ("item", "errors"),
    [
        pytest.param(issue("FREE", series=999), [("UNKNOWN_SERIES", 3004)], id="no such series"),
        pytest.param(issue("FREE", series=165), [("SERIES_INACTIVE", 3008)], id="inactive series"),
        pytest.param(issue("FREE", "Gone"), [("UNKNOWN_STATUS_LABEL", 8086)], id="no such label"),
        pytest.param(issue("FREE", "active"), [("UNKNOWN_STATUS_LABEL", 8086)], id="label in another case"),
        pytest.param(issue("FREE", "NOT_ISSUED"), [("LABEL_NOT_ISSUABLE", None)], id="label of NOT_ISSUED"),
        pytest.param(issue("FREE", "Back"), [("LABEL_NOT_ISSUABLE", None)], id="own label of NOT_ISSUED"),
        pytest.param(
            issue("FREE", "Gone", 999), [("UNKNOWN_SERIES", 3004), ("UNKNOWN_STATUS_LABEL", 8086)], id="both unknown"
        ),
        pytest.param(
            issue("FREE", "Back", 165), [("SERIES_INACTIVE", 3008), ("LABEL_NOT_ISSUABLE", None)], id="both rejected"
        ),
        pytest.param(issue("OWN", "Frozen", 165), [("SERIES_INACTIVE", 3008)], id="a status change is an add too"),
    ],
)
def test_cards_to_add(world: World, item: dict, errors: list) -> None:
    assert codes(world.update(1, add=item)) == [(code, "/add", upstream) for code, upstream in errors]
    assert codes(world.update(1, add=[item])) == [(code, "/add/0", upstream) for code, upstream in errors]


@pytest.mark.parametrize(
    ("item", "errors"),
    [
        pytest.param(card("OWN"), [], id="neither series nor label"),
        pytest.param(card("OWN", "Back"), [], id="own label of NOT_ISSUED"),
        pytest.param(card("OWN", series=165), [("CARD_NOT_IN_SERIES", None)], id="an inactive series is looked up"),
        pytest.param(card("OWN", series=999), [("UNKNOWN_SERIES", 3004)], id="no such series"),
        pytest.param(card("OWN", "Gone"), [("UNKNOWN_STATUS_LABEL", 8086)], id="no such label"),
        pytest.param(card("OWN", " Back"), [("UNKNOWN_STATUS_LABEL", 8086)], id="label with white space around it"),
        pytest.param(card("OWN", "Live"), [("LABEL_NOT_REMOVAL", 3018)], id="label of ACTIVE"),
        pytest.param(card("OWN", "DELETED"), [("LABEL_NOT_REMOVAL", 3018)], id="label of DELETED"),
    ],
)
def test_cards_to_remove(world: World, item: dict, errors: list) -> None:
    assert codes(world.update(1, remove=item)) == [(code, "/remove", upstream) for code, upstream in errors]


def test_series_by_code(world: World) -> None:
    by_code = {"type": "cardnumber", "value": "FREE", "seriesCode": "GOLD", "statusLabel": "ACTIVE"}
    for other in ("gold", " GOLD"):
        assert world.update(1, add=by_code | {"seriesCode": other}).errors == [("UNKNOWN_SERIES", "/add")]
    assert world.update(1, add=by_code).status == "applied"


def test_what_only_normalising_makes_equal_is_blocked_once() -> None:
    world = World(blockList=["test@test.com", "8613800138000", "null"])
    world.customer(1)
    same = [named("email", "Test@test.com"), named("email", "test@test.com"), named("mobile", "+86 138 0013 8000")]
    said = world.update(
        1, add=[*same, named("mobile", "8613800138000"), named("email", "null"), named("email", "NULL")]
    )
    assert [path for _, path, _ in codes(said)] == ["/add/0", "/add/2", "/add/4", "/add/5"]  # what is none is no equal


# ---------------------------------------------------------------- the stage


def test_every_error_of_the_stage_is_said_and_none_of_a_later_one(world: World) -> None:
    said = world.update(
        404,
        source="NOWHERE",
        add=[BAD_EMAIL, named("line", "null"), issue("NONE", "Gone"), issue("OTHER", series=165)],
        remove=[named("mobile", "12"), card("OWN", "Live")],
    )
    assert sorted(said.errors) == [
        ("BLOCKED_VALUE", "/add/1"),
        ("INVALID_VALUE", "/add/0"),
        ("INVALID_VALUE", "/remove/0"),
        ("LABEL_NOT_REMOVAL", "/remove/1"),
        ("SERIES_INACTIVE", "/add/3"),
        ("UNKNOWN_SOURCE", "/source"),
        ("UNKNOWN_STATUS_LABEL", "/add/2"),
    ]


def test_a_rejection_of_the_stage_has_no_version_and_no_customer(world: World) -> None:
    world.customer(1, version=5)
    outcome = world.update(1, add=BAD_EMAIL).outcome
    assert (outcome["customerVersion"], outcome["appliedTo"], outcome["mergedInto"]) == (None, None, None)
    assert outcome["customerId"] == 1
    assert outcome["warnings"] == []


def test_nothing_crosses_orgs(world: World) -> None:
    world.entry(9, "line", "x", org=8)
    said = world.update(1, source="ECOMMERCE", add=named("line", "x"))
    assert (said.status, said.changes) == ("applied", ["identifiers-changed"])
    assert world.update(9, add=EMAIL).errors == [("CUSTOMER_NOT_FOUND", "/customerId")]
    assert said.outcome["orgId"] == ORG
