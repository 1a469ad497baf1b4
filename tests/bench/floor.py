"""The SQL floor: the rows that the worker wrote in its closed run, set-based, straight into PostgreSQL.

In: FLOOR_SOURCE_URL, a database that a worker has worked on; FLOOR_REQUESTS, how many requests its closed run had, the
first that it answered; MERGELINE_DATABASE_URL, another database with the same population.
Out: one JSON object, the requests and the seconds that their rows took. Never: Kafka, a decision, or a read between the
writes.

The ledger's rows say what each request changed, dead letters included. They are read, and made into the arguments of a
few statements for each 500 requests, before the clock starts; one connection then writes batch after batch, each in a
transaction: the ledger's rows, what they changed, and how far each partition got. Every statement's count is held to
its arguments. Left out is what only a worker needs: who owns the partitions, and how many dead letters came in a row.
"""

import asyncio
import contextlib
import os
import time
from datetime import UTC, datetime

import asyncpg
import orjson

from mergeline.store.framing import unpack

BATCH = 500
REQUESTS_MAX = 100_000
RUN = "r0-%"  # the request ids of its merges
LEDGER = (
    "day", "org_id", "request_id", "kind", "status", "detail", "body_sha256", "origin_topic", "origin_partition",
    "origin_offset", "at_topic", "at_partition", "at_offset", "requested_at", "decided_at", "outgoing",
)  # fmt: skip

STATEMENTS = {
    "customers": """
        update customer set version = new.version, survivor_id = new.survivor_id, merged_at = new.merged_at
        from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[])
            as new (org_id, customer_id, version, survivor_id, merged_at)
        where customer.org_id = new.org_id and customer.customer_id = new.customer_id""",
    "gone": """
        delete from identifier using unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
            as old (org_id, type, value, source, account)
        where identifier.org_id = old.org_id and identifier.type = old.type and identifier.value = old.value
            and identifier.source = old.source and identifier.account = old.account""",
    "moved": """
        update identifier set customer_id = new.customer_id
        from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
            as new (org_id, type, value, source, account, customer_id)
        where identifier.org_id = new.org_id and identifier.type = new.type and identifier.value = new.value
            and identifier.source = new.source and identifier.account = new.account""",
    "entries": """
        insert into identifier (org_id, type, value, source, account, customer_id)
        select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])""",
    "cards": """
        insert into card (org_id, number, series_id, customer_id, label, status, issued_at)
        select * from unnest(
            $1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::timestamptz[])""",
    "merges": """
        insert into merge (org_id, victim_id, survivor_id, merge_id, request_id, merged_at, moved)
        select org_id, victim_id, survivor_id, gen_random_uuid(), request_id, merged_at, moved::jsonb
        from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[], $6::text[])
            as new (org_id, victim_id, survivor_id, request_id, merged_at, moved)""",
    "requests": """
        insert into request (org_id, request_id, day, decided_day, decided_topic, decided_partition, decided_offset)
        select * from unnest(
            $1::bigint[], $2::text[], $3::date[], $4::date[], $5::text[], $6::integer[], $7::bigint[])""",
    "repeated": """
        update request set day = new.day from unnest($1::bigint[], $2::text[], $3::date[])
            as new (org_id, request_id, day)
        where request.org_id = new.org_id and request.request_id = new.request_id""",
    "reached": """
        insert into partition_owner as stored (group_id, topic, partition, published_offset, answered_offset)
        select 'floor', * from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[])
        on conflict (group_id, topic, partition) do update
        set published_offset = excluded.published_offset, answered_offset = excluded.answered_offset""",
}


def columns_of(rows):
    return [list(column) for column in zip(*rows, strict=True)]


class Batch:
    """The rows of up to 500 requests, net: what one of them adds and another removes is no row."""

    def __init__(self, ledger):
        self.ledger = [tuple(row[name] for name in LEDGER) for row in ledger]
        self.customers, self.entries, self.gone, self.moved = {}, {}, {}, {}
        self.cards, self.merges, self.requests, self.repeated, self.reached = [], [], [], {}, {}
        for row in ledger:
            key = row["org_id"], row["request_id"]
            place = row["at_topic"], row["at_partition"]
            self.reached[place] = (*place, row["at_offset"], row["at_offset"] + 1)
            if row["kind"] == "repeat":
                self.repeated[key] = (*key, row["day"])
            elif row["kind"] == "dead_letter":
                self.requests.append((*key, row["day"], None, None, None, None))
            else:
                self.requests.append((*key, row["day"], row["day"], *place, row["at_offset"]))
                for record in unpack(row["outgoing"]):
                    self._take(record.topic, orjson.loads(record.value), key, row["decided_at"])

    def _take(self, topic, data, key, at):
        org_id, request_id = key
        if topic == "identifiers-changed":
            customer_id = data["customerId"]
            scope = data["source"], data["accountId"] or ""
            for item in data["removed"]:
                entry = org_id, item["type"], item["value"], *scope
                if self.entries.pop(entry, None) is None:
                    self.gone[entry] = entry
            for item in data["added"]:
                entry = org_id, item["type"], item["value"], *scope
                self.entries[entry] = (*entry, customer_id)
        elif topic == "customer-merged":
            customer_id, victim_id = data["survivorId"], data["victimId"]
            for item in data["movedIdentifiers"]:
                entry = org_id, item["type"], item["value"], item["source"], item["accountId"] or ""
                (self.entries if entry in self.entries else self.moved)[entry] = (*entry, customer_id)
            self.customers[victim_id] = (org_id, victim_id, 0, customer_id, at)
            self.merges.append((org_id, victim_id, customer_id, request_id, at, orjson.dumps(data).decode()))
        elif topic == "card-issued":
            customer_id = data["customerId"]
            issued = datetime.fromisoformat(data["issuedAt"]).astimezone(UTC)
            number, series, label, status = (data[name] for name in ("cardNumber", "seriesId", "statusLabel", "status"))
            self.cards.append((org_id, number, series, customer_id, label, status, issued))
        else:
            return
        version = max(data["customerVersion"], self.customers.get(customer_id, (0, 0, 0))[2])
        self.customers[customer_id] = (org_id, customer_id, version, None, None)

    def arguments(self):
        """Columns by statement, in the order in which the worker writes."""
        rows = {name: getattr(self, name) for name in STATEMENTS}
        lists = {name: list(found.values() if isinstance(found, dict) else found) for name, found in rows.items()}
        return {name: (len(found), columns_of(found)) for name, found in lists.items() if found}


async def prepared(source, target):
    """The batches; the customers and entries that the worker's runs began with are stored."""
    victims = await source.fetch("""
        select distinct org_id, victim_id from merge where request_id like $1""", RUN)  # fmt: skip
    met = await source.fetch("""
        select org_id, type, value, source, account, customer_id from identifier
        where value like 'm%' and type = 'externalId' and source = 'INSTORE'""")
    columns = [row["org_id"] for row in victims], [row["victim_id"] for row in victims]
    await target.execute("""
        insert into customer (org_id, customer_id, version, registered_at)
        select org_id, customer_id, 0, now() from unnest($1::bigint[], $2::bigint[]) as new (org_id, customer_id)
        """, *columns)  # fmt: skip
    await target.execute("""
        insert into identifier (org_id, type, value, source, account, customer_id)
        select org_id, 'externalId', 'v' || customer_id, 'WEBSHOP', '', customer_id
        from unnest($1::bigint[], $2::bigint[]) as new (org_id, customer_id)""", *columns)  # fmt: skip
    if met:
        await target.execute(STATEMENTS["entries"], *columns_of([tuple(row) for row in met]))
    # One row each, whatever its id is: that of a dead letter is its place.
    count = min(int(os.environ["FLOOR_REQUESTS"]), REQUESTS_MAX)
    ledger = await source.fetch("select * from ledger order by decided_at, at_partition, at_offset limit $1", count)
    assert len(ledger) == count, (len(ledger), count)
    with contextlib.suppress(asyncpg.InsufficientPrivilegeError):  # the bench has said so
        await target.execute("checkpoint")
    return [Batch(ledger[start : start + BATCH]) for start in range(0, len(ledger), BATCH)]


async def main():
    source = await asyncpg.connect(os.environ["FLOOR_SOURCE_URL"])
    target = await asyncpg.connect(os.environ["MERGELINE_DATABASE_URL"])
    batches = await prepared(source, target)
    await source.close()
    work = [(batch.arguments(), batch.ledger) for batch in batches]
    began = time.perf_counter()
    for arguments, ledger in work:
        async with target.transaction():
            for name, (count, columns) in arguments.items():
                tag = await target.execute(STATEMENTS[name], *columns)
                assert int(tag.split()[-1]) == count, (name, tag, count)
            await target.copy_records_to_table("ledger", columns=LEDGER, records=ledger)
    seconds = time.perf_counter() - began
    await target.close()
    print(orjson.dumps({"requests": sum(len(ledger) for _, ledger in work), "seconds": seconds}).decode())


if __name__ == "__main__":
    asyncio.run(main())
