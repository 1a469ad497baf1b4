"""What a batch may touch: lock names, rows to read, merge candidates. Whoever is missing here is a race."""

import pytest
from tests.unit.world import ORG, World, card, issue, named

from mergeline.domain.footprint import Candidates, Footprint, counted, footprint, merge_candidates
from mergeline.domain.messages import Message
from mergeline.domain.vocabulary import Topic

X, Y = named("line", "x"), named("line", "y")
NOBODY = set(), set()


@pytest.fixture
def world() -> World:
    world = World()
    world.customer(1, 2, 3, 4)
    return world


def update(world: World, customer_id: int = 1, source: str = "INSTORE", **fields: object) -> Message:
    return world.message({"orgId": ORG, "customerId": customer_id, "source": source, **fields})


def touched(world: World, *messages: Message) -> Footprint:
    return footprint([world.item(message) for message in messages])


def candidates(world: World, *messages: Message) -> tuple[set[int], set[int]]:
    """Whom merges may concern, and those of them who may be merged away."""
    items = [world.item(message) for message in messages]
    found = merge_candidates(items, world.rows.everything())
    return {id_ for _, id_ in found.everyone}, {id_ for _, id_ in found.victims}


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        pytest.param({"add": X}, {"identifier:7:line:x"}, id="an add"),
        pytest.param({"remove": X}, {"identifier:7:line:x"}, id="a remove"),
        pytest.param({"add": named("email", "A@b.example")}, {"identifier:7:email:a@b.example"}, id="normalised"),
        pytest.param({"add": issue("C")}, {"card:7:C"}, id="a card to add"),
        pytest.param({"remove": card("C")}, {"card:7:C"}, id="a card to remove"),
        pytest.param(
            {"add": [X, issue("C")], "remove": Y},
            {"identifier:7:line:x", "identifier:7:line:y", "card:7:C"},
            id="everything",
        ),
    ],
)
def test_lock_names_of_an_update(world: World, fields: dict, names: set[str]) -> None:
    found = touched(world, update(world, requestId="r", **fields))
    assert set(found.names()) == names | {"request:7:r", "customer:7:1"}
    assert found.orgs == {7}


def test_lock_names_of_registrations(world: World) -> None:
    customer = {"orgId": ORG, "customerId": 9, "source": "INSTORE", "identifiers": [X], "requestId": "a"}
    card_ = {"orgId": ORG, "seriesId": 163, "cardNumber": "C", "requestId": "b"}
    found = touched(
        world, world.message(customer, Topic.CUSTOMER_REGISTRATIONS), world.message(card_, Topic.CARD_REGISTRATIONS)
    )
    assert set(found.names()) == {"request:7:a", "customer:7:9", "identifier:7:line:x", "request:7:b", "card:7:C"}


def test_a_derived_request_id_is_locked_like_any(world: World) -> None:
    assert "request:7:identifier-updates-0-0" in set(touched(world, update(world, add=X)).names())


def test_a_dead_letter_names_its_request_id_alone(world: World) -> None:
    found = touched(world, world.message(b"["), world.message(b'{"orgId": 7}'))
    assert set(found.names()) == {"request:0:identifier-updates-0-0", "request:7:identifier-updates-0-1"}
    assert found.orgs == set()


def test_a_request_that_the_catalog_stage_rejects_names_its_request_id_alone(world: World) -> None:
    found = touched(world, update(world, source="NOWHERE", requestId="r", add=[X, issue("C")]))
    assert (set(found.names()), found.orgs) == ({"request:7:r"}, {7})


def test_each_name_once(world: World) -> None:
    names = list(touched(world, *(update(world, requestId="r", add=X) for _ in range(3))).names())
    assert len(names) == len(set(names)) == 3


def test_removals_count_identifiers_and_cards(world: World) -> None:
    found = touched(world, update(world, remove=[X, card("C")]), update(world, 2, remove=Y))
    assert found.removals == 3


# ---------------------------------------------------------------- merge candidates


def test_nobody_else_holds_it(world: World) -> None:
    world.entry(1, "line", "x", "ECOMMERCE")
    assert candidates(world, update(world, add=[X, Y])) == NOBODY


def test_root_and_holder(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    assert candidates(world, update(world, add=X)) == ({1, 2}, {1})


def test_the_root_of_a_victim(world: World) -> None:
    world.customer(9, merged_into=1)
    world.entry(2, "line", "x", "ECOMMERCE")
    assert candidates(world, update(world, 9, add=X)) == ({1, 2}, {1})


def test_a_removal_merges_nobody(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    assert candidates(world, update(world, remove=X)) == NOBODY


def test_two_roots_of_the_batch_add_one_value(world: World) -> None:
    assert candidates(world, update(world, 1, add=X), update(world, 2, "ECOMMERCE", add=X)) == ({1, 2}, {1, 2})


def test_two_names_of_one_root_are_one(world: World) -> None:
    world.customer(9, merged_into=1)
    assert candidates(world, update(world, 1, add=X), update(world, 9, "ECOMMERCE", add=X)) == NOBODY


def test_a_customer_that_is_not_registered_yet_holds_nothing_to_read(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    register = {"orgId": ORG, "customerId": 99, "source": "INSTORE", "identifiers": [X]}
    assert candidates(world, world.message(register, Topic.CUSTOMER_REGISTRATIONS)) == ({2}, set())


def test_the_links_of_a_chain(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    world.entry(3, "line", "y", "ECOMMERCE")
    assert candidates(world, update(world, add=X), update(world, add=Y)) == ({1, 2, 3}, {1, 2, 3})


def test_anybody_may_be_a_victim_who_is_linked_with_a_chain(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    world.entry(3, "line", "y", "ECOMMERCE")
    twice = update(world, add=X), update(world, add=named("line", "z"))
    assert candidates(world, *twice, update(world, 4, add=X)) == ({1, 2, 4}, {1, 4})
    chain = update(world, add=X), update(world, add=Y)
    assert candidates(world, *chain, update(world, 4, add=X)) == ({1, 2, 3, 4}, {1, 2, 3, 4})


def test_a_chain_elsewhere_makes_no_victims(world: World) -> None:
    world.customer(5, 6)
    world.entry(2, "line", "x", "ECOMMERCE")
    world.entry(6, "line", "y", "ECOMMERCE")
    others = update(world, 5, add=Y), update(world, 5, "INSTORE", add=[Y, named("line", "z")])
    assert candidates(world, update(world, add=X), *others) == ({1, 2, 5, 6}, {1, 5, 6})


def test_of_a_request_and_its_repeat_one_is_decided(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE")
    once = update(world, requestId="r", add=X)
    assert candidates(world, once, update(world, requestId="r", add=X)) == ({1, 2}, {1})


def test_the_same_value_in_two_orgs(world: World) -> None:
    world.entry(2, "line", "x", "ECOMMERCE", org=8)
    assert candidates(world, update(world, add=X)) == NOBODY


# ---------------------------------------------------------------- counted


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        pytest.param({"remove": Y}, {1}, id="who may lose an entry"),
        pytest.param({"add": issue("C")}, {1}, id="who may get a card"),
        pytest.param({"remove": card("C")}, set(), id="not who loses a card"),
        pytest.param({"add": Y}, set(), id="not who gets an entry"),
        pytest.param({"add": X}, {1, 2}, id="who may be merged"),
    ],
)
def test_counted(world: World, fields: dict, ids: set[int]) -> None:
    world.customer(9, merged_into=1)
    world.entry(2, "line", "x", "ECOMMERCE")
    items = [world.item(update(world, 9, **fields))]
    state = world.rows.everything()
    assert {id_ for _, id_ in counted(footprint(items), merge_candidates(items, state), state)} == ids


def test_an_unknown_customer_is_not_counted(world: World) -> None:
    items = [world.item(update(world, 404, remove=X))]
    assert counted(footprint(items), Candidates(set(), set()), world.rows.everything()) == set()
