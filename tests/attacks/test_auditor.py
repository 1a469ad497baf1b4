"""The auditor itself: a good run has no defect, and each kind of defect that is planted in one is found."""

import json
import random
from types import SimpleNamespace
from uuid import uuid5

import pytest
from schemas.subscriber import CHANGES, REDIRECTS
from tests.attacks.answers import NAMESPACE
from tests.attacks.auditor import INPUTS, Auditor
from tests.attacks.workload import CATALOG, ORG, Workload
from tests.unit.world import World

from mergeline.domain.catalog import Catalog
from mergeline.store.framing import pack

SEED, MESSAGES, BATCH = 20261122, 600, 40
PARTITIONS = 2
UPDATED, REGISTERED, LETTERS = "update-outcomes", "registration-outcomes", "identifier-updates-dlt"
MERGED = "customer-merged"


class Run:
    """A recorded run: what was sent, what was read of each topic, and the rows of the database."""

    def __init__(self):
        world = World()
        world.catalogs = {ORG: Catalog.model_validate(CATALOG)}
        self.messages, self.records = Workload(SEED).take(MESSAGES), []
        self.acknowledged = []
        for start in range(0, MESSAGES, BATCH):
            part = self.messages[start : start + BATCH]
            asked = [world.message(one.value, one.topic, key=one.key) for one in part]
            for message in asked:
                self.put(message.origin.topic, message.key, message.value, (), message.origin.offset)
            for said in world.batch(asked):
                for record in said.records:
                    self.put(str(record.topic), record.key, record.value, record.headers)
        self.ledger_rows = [
            {
                "org_id": row.org_id, "request_id": row.request_id, "kind": row.kind.value,
                "origin_topic": row.origin.topic, "origin_partition": 0, "origin_offset": row.origin.offset,
                "outgoing": pack(row.outgoing),
            }
            for row in world.rows.ledger
        ]  # fmt: skip
        self.customer_rows = [
            columns(row, "org_id", "customer_id", "survivor_id", "version") for row in world.rows.customers.values()
        ]
        self.entry_rows = [
            {"org_id": org, "customer_id": owner}
            | columns(entry, "type", "value")
            | columns(entry.scope, "source", "account")
            for (org, entry), owner in world.rows.entries.items()
        ]
        self.card_rows = [
            columns(card, "org_id", "customer_id", "number", "status", "label")
            for card in world.rows.cards.values()
            if card.customer_id is not None
        ]

    def put(self, topic, key, value, headers, offset=None):
        record = SimpleNamespace(partition=0, offset=offset, key=key, value=value, headers=list(headers))
        self.records.append((topic, record))

    def of(self, *topics, where=lambda _: True):
        """The positions of the records of some topics."""
        chosen = [n for n, (topic, record) in enumerate(self.records) if topic in topics and where(record)]
        assert chosen, f"the run has none in {topics}: choose another seed"
        return chosen

    def change(self, position, old=None, new=None, **fields):
        """A record, otherwise: `old` is replaced by `new` in its value, or a field is another."""
        topic, record = self.records[position]
        if old is not None:
            assert old in record.value, (old, record.value)
            fields["value"] = record.value.replace(old, new, 1)
        self.records[position] = (topic, SimpleNamespace(**vars(record) | fields))

    async def audit(self):
        auditor, offsets = Auditor(), {}
        for message in self.messages:
            auditor.sending(message)
        for message, offset in self.acknowledged:
            auditor.acknowledged(message.topic, SimpleNamespace(partition=0, offset=offset), message.value)
        for topic, record in self.records:
            offset = record.offset if record.offset is not None else offsets.get(topic, 0)
            offsets[topic] = offset + 1
            auditor.took(topic, SimpleNamespace(**vars(record) | {"offset": offset}))
        await auditor.judge(self)
        return auditor.defects

    def ledger(self):
        return rows(self.ledger_rows)

    def customers(self):
        return rows(self.customer_rows)

    def entries(self):
        return rows(self.entry_rows)

    def cards(self):
        return rows(self.card_rows)


async def rows(found):
    for row in found:
        yield row


def columns(row, *names):
    return {name: getattr(row, name) for name in names}


def data(record):
    return json.loads(record.value)


def first(record):
    return "mergeline-duplicate" not in dict(record.headers) and b"REQUEST_ID_REUSED" not in record.value


def repeat(record):
    return "mergeline-duplicate" in dict(record.headers)


def reuse(record):
    return b"REQUEST_ID_REUSED" in record.value


def applied(record):
    return first(record) and data(record)["status"] == "applied"


def merging(record):
    return applied(record) and data(record)["mergedInto"]


def removing(record):
    return data(record)["removed"] != []


def drop(*topics, where=lambda _: True):
    def plant(run, dice):
        del run.records[dice.choice(run.of(*topics, where=where))]

    return plant


def twice(*topics, where=lambda _: True):
    def plant(run, dice):
        run.records.append(run.records[dice.choice(run.of(*topics, where=where))])

    return plant


def other(topic, old, new, where=lambda _: True):
    def plant(run, dice):
        run.change(dice.choice(run.of(topic, where=where)), old, new)

    return plant


def row_gone(kind, where=lambda _: True):
    def plant(run, dice):
        table = getattr(run, f"{kind}_rows")
        table.remove(dice.choice([row for row in table if where(row)]))

    return plant


def row_other(kind, column, value, where=lambda _: True):
    def plant(run, dice):
        row = dice.choice([row for row in getattr(run, f"{kind}_rows") if where(row)])
        row[column] = value(row[column])

    return plant


def answered_out_of_order(run, dice):
    """Two answers to one customer change places."""
    places = {}
    for position in run.of(UPDATED, where=first):
        places.setdefault(run.records[position][1].key, []).append(position)
    one, another = dice.choice([found for found in places.values() if len(found) > 1])[:2]
    run.records[one], run.records[another] = run.records[another], run.records[one]


def repeat_not_flagged(run, dice):
    position = dice.choice(run.of(UPDATED, where=repeat))
    headers = [header for header in run.records[position][1].headers if header[0] != "mergeline-duplicate"]
    run.change(position, headers=headers)


def version_skipped(run, dice):
    """An event of the middle is gone, here and in the ledger: only the numbers tell."""
    position = dice.choice(run.of("identifiers-changed", where=lambda record: data(record)["customerVersion"] == 1))
    run.change(position, b'"customerVersion":1', b'"customerVersion":999')


def victim_changes(run, dice):
    """A customer that was merged away gets one more event, with the next version."""
    redirect = run.records[dice.choice(run.of(REDIRECTS))][1]
    added = {"source": "WEBSHOP", "accountId": None, "added": [{"type": "line", "value": "late"}], "removed": []}
    late_event(run, "identifiers-changed", redirect.key, data(redirect)["customerVersion"] + 1, added)


def card_issued_again(run, dice):
    """A customer gets a card that it has."""
    card = dice.choice(run.card_rows)
    (customer,) = [row for row in run.customer_rows if row["customer_id"] == card["customer_id"]]
    key = f"{ORG}:{card['customer_id']}".encode()
    said = {"cardNumber": card["number"], "status": card["status"], "statusLabel": card["label"]}
    late_event(run, "card-issued", key, customer["version"] + 1, said)


def late_event(run, topic, key, version, said):
    event = {"requestId": "late", "orgId": ORG, "customerId": int(key.split(b":")[1]), "customerVersion": version}
    event_id = str(uuid5(NAMESPACE, f"{ORG}:late:{topic}:0"))
    headers = [("ce_time", b""), ("ce_type", f"mergeline.{topic.replace('-', '.')}".encode())]
    headers += [("ce_id", event_id.encode()), ("ce_subject", key)]
    run.put(topic, key, json.dumps(event | said).encode(), headers)


def acknowledged_and_lost(run, dice):
    run.acknowledged.append((dice.choice(run.messages), 1_000_000))


def acknowledged_otherwise(run, dice):
    message = dice.choice([message for message in run.messages if message.topic == INPUTS[0]])
    offset = next(record.offset for topic, record in run.records if topic == message.topic)
    run.acknowledged.append((message, offset))


DEFECTS = {
    "lost": drop(UPDATED, where=first),
    "lost, a registration": drop(REGISTERED, where=first),
    "answered twice": twice(UPDATED, where=first),
    "answered without a message": drop(*INPUTS),
    "wrong number of repeats, or of reused ids, one too few": drop(UPDATED, where=repeat),
    "wrong number of repeats, or of reused ids, one too many": twice(UPDATED, where=repeat),
    "wrong number of repeats, or of reused ids, not said": drop(UPDATED, REGISTERED, where=reuse),
    "a repeat in other bytes": other(UPDATED, b'"status":"', b'"status": "', where=repeat),
    "answered twice, since not flagged": repeat_not_flagged,
    "answered in another order than sent": answered_out_of_order,
    "dead letter lost": drop(LETTERS),
    "dead letter twice": twice(LETTERS),
    "dead letter in other bytes": other(LETTERS, b"e", b"E", where=lambda record: b"e" in record.value),
    "published, but not stored": other(UPDATED, b'"status":"', b'"status": "', where=first),
    "stored, but not published": drop(*CHANGES),
    "stored, but not published, a redirect": drop(REDIRECTS),
    "an event id twice": twice(*CHANGES),
    "an event id that is not derived": other(UPDATED, b'"requestId":"r', b'"requestId":"q', where=first),
    "a version twice": twice("identifiers-changed"),
    "a gap in the versions": version_skipped,
    "outcome and events disagree": other(UPDATED, b'"customerVersion":', b'"customerVersion":9', where=applied),
    "a change by a request that was not applied": other(UPDATED, b'"applied"', b'"unchanged"', where=applied),
    "applied without a change event": drop("identifiers-changed"),
    "outcome and merge event disagree": other(UPDATED, b'"mergedInto":', b'"mergedInto":9', where=merging),
    "a merged customer changed": victim_changes,
    "redirects are not those of the merges": other(REDIRECTS, b'"survivorId":', b'"survivorId":9'),
    "a merge moved other": other(
        MERGED, b'"movedIdentifiers":[{"type":"', b'"movedIdentifiers":[{"type":"not ',
        where=lambda record: data(record)["movedIdentifiers"],
    ),
    "removed what the customer has not": other(
        "identifiers-changed", b'"removed":[{"type":"', b'"removed":[{"type":"not ', where=removing
    ),
    "entries: the database and the events disagree": row_gone("entry"),
    "entries: the database and the events disagree, an owner": row_other("entry", "customer_id", lambda old: old + 1),
    "cards: the database and the events disagree": row_other("card", "customer_id", lambda old: old + 1),
    "cards: the database and the events disagree, a status": row_other("card", "status", lambda _: "EXPIRED"),
    "cards: the database and the events disagree, a label": row_other("card", "label", lambda old: f"other {old}"),
    "a registered customer is missing": row_gone("customer"),
    "the database and the events disagree about a version": row_other("customer", "version", lambda old: old + 1),
    "the database and the events disagree about a survivor": row_other(
        "customer", "survivor_id", lambda old: old + 1, where=lambda row: row["survivor_id"] is not None
    ),
    "messages and rows": row_gone("ledger"),
    "two rows of one message": lambda run, dice: run.ledger_rows.append(dice.choice(run.ledger_rows)),
    "a row says wrongly whether there is a dead letter": row_other("ledger", "kind", lambda _: "dead_letter"),
    "a card issued twice": card_issued_again,
    "key and subject disagree": lambda run, dice: run.change(dice.choice(run.of(*CHANGES)), key=b"100737:1"),
    "acknowledged, but not in the log": acknowledged_and_lost,
    "the log has another message than was acknowledged": acknowledged_otherwise,
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded():
    """Recorded once; each test gets a copy of the lists."""
    return Run()


@pytest.fixture
def run(recorded):
    run = Run.__new__(Run)
    for name, found in vars(recorded).items():
        vars(run)[name] = [dict(row) if isinstance(row, dict) else row for row in found]
    return run


async def test_a_good_run_has_no_defect(run):
    assert (await run.audit()).lines() == []


@pytest.mark.parametrize("kind", DEFECTS)
async def test_a_planted_defect_is_found(run, kind):
    DEFECTS[kind](run, random.Random(1))
    found = (await run.audit()).lines()
    assert [line for line in found if line.startswith(kind.split(",")[0])], (kind, found)


def test_the_workload_is_the_same_again_for_the_same_seed():
    assert Workload(7).take(500) == Workload(7).take(500) != Workload(8).take(500)
