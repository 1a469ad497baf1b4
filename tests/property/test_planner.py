"""What holds of the planner whatever is asked of it, in whatever order and in whatever batches."""

import json
from collections import Counter

from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.defaults import default_limits
from tests.property import worlds as random
from tests.property.model import named
from tests.unit.world import ORG, Said, World

from mergeline.domain.answers import Entry, Scope
from mergeline.domain.messages import Message, Outgoing
from mergeline.domain.vocabulary import COUNTED_STATUSES, CardStatus, Topic

CHANGE_TOPICS = {
    Topic.CUSTOMER_MERGED: "survivorId",
    Topic.IDENTIFIERS_CHANGED: "customerId",
    Topic.CARD_ISSUED: "customerId",
    Topic.CARD_CHANGED: "customerId",
}


def outgoing(said: list[Said]) -> list[tuple[Outgoing, ...]]:
    return [each.records for each in said]


def describe(world: World, messages: list[Message]) -> None:
    note(f"entries {world.entries}, cards {world.cards}, survivors {world.survivors}")
    for message in messages:
        note(f"{message.origin.topic} {message.origin.offset}/{message.at.offset}: {message.value!r}")


# ---------------------------------------------------------------- batches


@given(random.worlds(), random.messages(max_size=14), st.sets(st.integers(1, 13)))
def test_a_batch_is_its_messages_one_after_the_other(world: World, messages: list[Message], places: set[int]) -> None:
    """However the messages are cut into batches: the same bytes, the same rows, the same ledger."""
    describe(world, messages)
    runs = []
    for parts in ([messages], [[message] for message in messages], random.cut(messages, places)):
        copy = random.copy_of(world)
        said = [each for part in parts for each in copy.batch(part)]
        runs.append((outgoing(said), copy.rows))
    assert runs[0] == runs[1] == runs[2]


@settings(max_examples=10 * settings.default.max_examples)  # whoever is missing there is found by rare meetings only
@given(
    st.integers(1, 4).flatmap(lambda n: random.worlds(default_limits(merge_max_entries=n))),
    random.messages(max_size=14),
)
def test_what_the_store_reads_is_enough(world: World, messages: list[Message]) -> None:
    """A state that holds what the footprint names decides like one that holds everything, limits and all.

    `World.batch` decides in both and compares; here merges are rejected for their size, so that the cut of what is
    read matters.
    """
    describe(world, messages)
    world.batch(messages)


# ---------------------------------------------------------------- one request


@given(random.worlds(), st.lists(random.REQUESTS, min_size=1, max_size=6))
def test_every_answer_is_that_of_the_reference_model(world: World, requests: list[tuple[Topic, dict]]) -> None:
    model = random.model_of(world)
    describe(world, [])
    for topic, body in requests:
        note(f"{topic}: {body}")
        said = world.send(body, topic)
        decide = {
            Topic.IDENTIFIER_UPDATES: model.update,
            Topic.CUSTOMER_REGISTRATIONS: model.register,
            Topic.CARD_REGISTRATIONS: model.register_card,
        }[topic]
        verdict = decide(body)
        assert said.status == verdict.status
        assert problems(said.outcome["errors"], body) == verdict.errors
        assert problems(said.outcome["warnings"], body) == verdict.warnings
        assert len(said.errors) == len(verdict.errors)
        assert len(said.warnings) == len(verdict.warnings)
        assert said.outcome.get("customerVersion") == verdict.version
        if topic == Topic.IDENTIFIER_UPDATES:
            assert (said.outcome["appliedTo"], said.outcome["mergedInto"]) == (verdict.applied_to, verdict.merged_into)
        expected = random.model_of(world)
        assert model == expected


def problems(said: list[dict], body: dict) -> set[tuple]:
    """The problems of an outcome as the model names them: by what they are about, not by where it stood."""
    found = set()
    for problem in said:
        what: object = problem["path"]
        field, _, index = problem["path"][1:].partition("/")
        if index:
            what = named(body[field][int(index)])
        if problem["code"] == "CONFLICTING_CUSTOMERS":
            what = "all adds"
        if problem["code"] == "CARD_LIMIT_EXCEEDED":
            what = f"series {problem['message'].partition('series ')[2].split()[0]}"
        found.add((problem["code"], what, frozenset(problem.get("customerIds", ()))))
    return found


@given(random.worlds(), random.UPDATES, st.randoms(use_true_random=False))
def test_the_order_of_the_lists_does_not_matter(world: World, body: dict, chance: object) -> None:
    shuffled = body | {
        field: chance.sample(body[field], len(body[field])) for field in ("add", "remove") if field in body
    }
    describe(world, [])
    note(f"{body} {shuffled}")
    other = random.copy_of(world)
    one, two = world.send(body), other.send(shuffled)
    assert one.records[:-1] == two.records[:-1]
    outcomes = []
    for said, sent in ((one, body), (two, shuffled)):
        outcome = said.outcome
        outcomes.append({name: outcome[name] for name in outcome if name not in ("errors", "warnings")})
        outcomes[-1] |= {name: problems(outcome[name], sent) for name in ("errors", "warnings")}
    assert outcomes[0] == outcomes[1]
    rows = [(w.rows.customers, w.rows.entries, w.rows.cards) for w in (world, other)]
    assert rows[0] == rows[1]


# ---------------------------------------------------------------- sequences


@given(random.worlds(), random.messages())
def test_the_invariants_hold_after_every_message(world: World, messages: list[Message]) -> None:
    describe(world, messages)
    for message in messages:
        world.batch([message])
        check_invariants(world)


def check_invariants(world: World) -> None:
    customers = {id_: row for (_, id_), row in world.rows.customers.items()}
    for id_, survivor_id in world.survivors.items():
        assert survivor_id != id_, "a cycle"
        assert customers[survivor_id].survivor_id is None, "a chain longer than one"
    owners: dict[tuple[str, str], set[int]] = {}
    for (_, entry), owner_id in world.rows.entries.items():
        owners.setdefault((entry.type, entry.value), set()).add(owner_id)
        assert customers[owner_id].survivor_id is None, "an entry of a victim"
    assert all(len(each) == 1 for each in owners.values()), "an identifier of two customers"
    for card in world.rows.cards.values():
        assert card.customer_id is None or customers[card.customer_id].survivor_id is None, "a card of a victim"
        assert card.customer_id is not None or card.status not in COUNTED_STATUSES, "an active card of nobody"
        assert card.customer_id is None or card.status is not CardStatus.NOT_ISSUED, (
            "a card that is not issued has an owner"
        )


@given(random.worlds(), random.messages())
def test_nothing_is_lost_that_no_event_names(world: World, messages: list[Message]) -> None:
    """Entries, cards, survivors and versions are those before, changed as the events say."""
    describe(world, messages)
    for message in messages:
        copy = random.copy_of(world)
        (said,) = world.batch([message])
        if said.answer.row is None or "mergeline-duplicate" in str(said.records):
            assert world.rows.entries == copy.rows.entries
            continue
        replay_events(copy, said)
        assert world.rows.entries == copy.rows.entries
        assert {number: owner for number, (owner, _, _) in world.cards.items()} == card_owners(copy, world, said)
        assert world.survivors == copy.survivors


def replay_events(world: World, said: Said) -> None:
    """Change entries and survivors as a subscriber would who knows the events alone."""
    for merged in said.of(Topic.CUSTOMER_MERGED):
        victim, survivor = merged["victimId"], merged["survivorId"]
        if (ORG, victim) not in world.rows.customers:
            world.customer(victim)  # registered by this very request
        for moved in merged["movedIdentifiers"]:
            entry = Entry(moved["type"], moved["value"], Scope(moved["source"], moved["accountId"] or ""))
            assert world.rows.entries[ORG, entry] == victim
            world.rows.entries[ORG, entry] = survivor
        for redirect in said.of(Topic.CUSTOMER_REDIRECTS):
            assert redirect["survivorId"] == survivor
            world.customer(redirect["victimId"], merged_into=survivor)
        assert {r["victimId"] for r in said.of(Topic.CUSTOMER_REDIRECTS)} == {victim, *merged["repointedCustomerIds"]}
    for changed in said.of(Topic.IDENTIFIERS_CHANGED):
        scope = Scope(changed["source"], changed["accountId"] or "")
        for item in changed["removed"]:
            del world.rows.entries[ORG, Entry(item["type"], item["value"], scope)]
        for item in changed["added"]:
            entry = Entry(item["type"], item["value"], scope)
            assert (ORG, entry) not in world.rows.entries
            world.rows.entries[ORG, entry] = changed["customerId"]


def card_owners(before: World, after: World, said: Said) -> dict[str, int | None]:
    owners = {number: owner for number, (owner, _, _) in before.cards.items()}
    if said.topics == [Topic.REGISTRATION_OUTCOMES] and "cardNumber" in said.outcome and said.status == "applied":
        owners[said.outcome["cardNumber"]] = None
    for merged in said.of(Topic.CUSTOMER_MERGED):
        for card in merged["movedCards"]:
            assert owners[card["cardNumber"]] == merged["victimId"]
            owners[card["cardNumber"]] = merged["survivorId"]
    for issued in said.of(Topic.CARD_ISSUED):
        assert owners.get(issued["cardNumber"]) is None
        owners[issued["cardNumber"]] = issued["customerId"]
    for changed in said.of(Topic.CARD_CHANGED):
        assert owners[changed["cardNumber"]] == changed["customerId"]
        stays = changed["status"] != CardStatus.NOT_ISSUED
        owners[changed["cardNumber"]] = changed["customerId"] if stays else None
    assert set(owners) == set(after.cards)
    return owners


@given(random.worlds(), random.messages(max_size=12))
def test_versions_have_no_gap(world: World, messages: list[Message]) -> None:
    describe(world, messages)
    versions = Counter({id_: row.version for (_, id_), row in world.rows.customers.items()})
    for said in world.batch(messages):
        if said.answer.row is None:
            continue
        for record in said.records:
            data = json.loads(record.value) if record.topic in CHANGE_TOPICS else None
            if data is not None:
                customer_id = data[CHANGE_TOPICS[record.topic]]
                versions[customer_id] += 1
                assert data["customerVersion"] == versions[customer_id]
                assert record.key == f"{ORG}:{customer_id}".encode()
    assert {id_: row.version for (_, id_), row in world.rows.customers.items()} == {
        id_: versions[id_] for _, id_ in world.rows.customers
    }


@given(random.worlds(), random.messages(), st.lists(st.integers(0, 7), min_size=1, max_size=6))
def test_any_message_again_changes_nothing_and_says_the_same(
    world: World, messages: list[Message], indexes: list[int]
) -> None:
    describe(world, messages)
    said = world.batch(messages)
    rows = random.copy_of(world).rows
    for index in (index % len(messages) for index in indexes):
        (again,) = world.batch([messages[index]])
        if said[index].answer.row is not None:
            assert again.records == said[index].records
        assert again.answer.row is None
        assert world.rows == rows


@given(random.worlds(), random.messages(max_size=12))
def test_every_message_is_answered_as_the_contract_counts(world: World, messages: list[Message]) -> None:
    """One outcome or one dead letter; none for what the router sent twice; and ids are given once."""
    describe(world, messages)
    seen: dict[str, Outgoing] = {}
    for message, said in zip(messages, world.batch(messages), strict=True):
        answers = [topic for topic in said.topics if topic.endswith(("-outcomes", "-dlt"))]
        dropped = said.answer.row is None and not said.records
        assert len(answers) == (0 if dropped else 1)
        assert said.topics[-1:] == answers
        if dropped:
            assert any(other.origin == message.origin for other in messages)
        for record in said.records:
            headers = dict(record.headers)
            if "ce_id" in headers and "mergeline-duplicate" not in headers:
                assert seen.setdefault(headers["ce_id"], record) == record
