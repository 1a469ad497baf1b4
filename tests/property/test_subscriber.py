"""The contract's example of a subscriber: however the events reach it, its copy ends as the database is."""

import json
import pickle
import random
from collections import defaultdict
from zlib import crc32

import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from schemas.subscriber import EARLY_MAX, REDIRECTS, TOPICS, CircleError, Copy, MissingError
from tests.simulation import workload
from tests.unit.world import World

from mergeline.domain.catalog import Catalog
from mergeline.domain.events import again

PREFIX = "mergeline."
BATCHES = (1, 2, 5)
RUNS = (1, 1, 2, 5, 1_000)
"""So many events of a partition come, one behind the other."""


def history(dice, requests):
    """Rows, and the events that told of them, in the order in which they were decided."""
    world, records = World(), []
    world.catalogs = {org: Catalog.model_validate(workload.catalog(dice, org)) for org in workload.ORGS}
    bodies = workload.first_customers(dice) + workload.first_cards()
    for _ in range(requests):
        _, earlier = dice.choice(bodies)
        back = workload.taken_back(dice, earlier) if dice.random() < 0.4 else None
        exchange = back and (workload.UPDATES, back | {"add": [workload.identifier(dice)]})
        bodies.append(exchange or workload.request(dice))
    while bodies:
        count = dice.choice(BATCHES)
        batch, bodies = bodies[:count], bodies[count:]
        for said in world.batch([world.message(body, topic) for topic, body in batch]):
            records += [record for record in said.records if record.topic in TOPICS]
    return world.rows, records


def deliveries(dice, records):
    """Partition by partition, in any interleaving: some overtaken, compacted, read again, or replayed meanwhile."""
    partitions, count = defaultdict(list), dice.choice((1, 2, 5))
    for record in records:
        partitions[record.topic, crc32(record.key) % count].append(record)
    for (topic, _), log in partitions.items():
        for place in range(1, len(log)):  # another worker was quicker
            if dice.random() < 0.2:
                log[place - 1], log[place] = log[place], log[place - 1]
        if topic == REDIRECTS and dice.random() < 0.5:
            log[:] = {record.key: record for record in log}.values()
    read = dict.fromkeys(partitions, 0)
    while unread := [partition for partition, log in partitions.items() if read[partition] < len(log)]:
        partition = dice.choice(unread)
        start, end = read[partition], read[partition] + dice.choice(RUNS)
        yield from partitions[partition][start:end]
        read[partition] = max(start + 1, end - dice.choice((0, 0, 0, 3)))
        if dice.random() < 0.1:
            yield from map(again, dice.choices(records, k=3))


def told(copy, record):
    copy.take(f"{PREFIX}{record.topic}", record.key, record.headers, record.value)


@given(st.integers(0, 1 << 40), st.integers(1, 150), st.integers(0, 1 << 40))
def test_the_copy_ends_as_the_database_is_however_the_events_come(seed, requests, delivery):
    rows, records = history(random.Random(seed), requests)
    copy, dice = Copy(PREFIX), random.Random(delivery)
    for record in deliveries(dice, records):
        note(f"{record.topic} {record.value.decode()}")
        told(copy, record)
        if dice.random() < 0.01:  # the subscriber starts anew from what it saved
            copy = pickle.loads(pickle.dumps(copy))
    assert copy.early == 0
    assert versions(copy) == {f"{org}:{id_}": row.version for (org, id_), row in rows.customers.items()}
    survivors = {f"{org}:{id_}": f"{org}:{row.survivor_id or id_}" for (org, id_), row in rows.customers.items()}
    assert {name: copy.survivor(name) for name in copy.customers} == survivors
    assert copy.living().keys() == set(survivors.values())
    assert entries(copy) == {
        (f"{org}:{owner}", one.type, one.value, one.scope.source, one.scope.account or None)
        for (org, one), owner in rows.entries.items()
    }
    assert cards(copy) == {
        (f"{one.org_id}:{one.customer_id}", one.number, one.status, one.label)
        for one in rows.cards.values()
        if one.customer_id is not None
    }


def versions(copy):
    return {name: customer.version for name, customer in copy.customers.items()}


def entries(copy):
    return {(name, *entry) for name, customer in copy.customers.items() for entry in customer.entries}


def cards(copy):
    return {(name, number, *at) for name, one in copy.customers.items() for number, at in one.cards.items()}


def test_the_histories_have_all_that_a_subscriber_can_meet():
    """Or what is shown above would say little: merges that move cards, that repoint, that take what a removal left."""
    met = set()
    for seed in range(20):
        _, records = history(random.Random(seed), 100)
        data = [(record.topic, json.loads(record.value)) for record in records]
        merging = {one["requestId"] for topic, one in data if topic == "customer-merged"}
        for topic, one in data:
            met |= {topic, *(field for field in ("movedCards", "repointedCustomerIds") if one.get(field))}
            if one.get("removed") and one["requestId"] in merging:
                met.add("removed by a merging request")
    assert met == {*TOPICS, "movedCards", "repointedCustomerIds", "removed by a merging request"}


def event(kind, key, **data):
    return kind, key.encode(), [("ce_type", f"mergeline.{kind.replace('-', '.')}".encode())], json.dumps(data).encode()


def test_an_event_that_does_not_come_is_missed_at_a_bound():
    copy = Copy(prefix="", early_max=2)
    for version in (2, 3):
        copy.take(*event("card-issued", "1:2", orgId=1, customerVersion=version))
    with pytest.raises(MissingError, match="3 events wait, those of 1:2 behind 0"):
        copy.take(*event("card-issued", "1:2", orgId=1, customerVersion=4))
    assert EARLY_MAX > 2


def test_a_type_of_change_that_is_not_known_counts_and_changes_nothing():
    copy = Copy(prefix="")
    copy.take(*event("card-changed", "1:2", orgId=1, customerVersion=1))
    assert (copy.customers["1:2"].version, copy.customers["1:2"].cards, copy.early) == (1, {}, 0)


def test_redirects_in_a_circle_are_said():
    copy = Copy(prefix="")
    for victim, survivor in ((2, 3), (3, 2)):
        copy.take(*event(REDIRECTS, f"1:{victim}", orgId=1, survivorId=survivor, customerVersion=0))
    with pytest.raises(CircleError, match="1:2"):
        copy.survivor("1:2")


def test_merges_in_a_circle_end():
    """Each waits for the other's last event, and both come late."""
    copy = Copy(prefix="")
    for survivor, victim in ((2, 3), (3, 2)):
        copy.take(*event("customer-merged", f"1:{survivor}", orgId=1, victimId=victim, customerVersion=1))
        copy.take(*event(REDIRECTS, f"1:{victim}", orgId=1, survivorId=survivor, customerVersion=1))
    assert copy.early == 2
