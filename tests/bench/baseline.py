"""The baseline: the worker that a careful engineer writes in a day.

In: `MERGELINE_*` as the worker takes them. Out: outcomes, events and dead letters on the worker's topics, with the
worker's decisions for what the bench sends. Never: a lost message or a wrong merge (so that the comparison is one of
like with like). It gives less than the worker: a crash may publish twice.

FastStream takes one message at a time from each partition, 8 at once; a message is one transaction on asyncpg, under
the same advisory locks; its events are published together and awaited; then its offset is committed.
"""

import asyncio
import hashlib
import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Literal

import asyncpg
import orjson
import phonenumbers
import uvloop
from email_validator import EmailNotValidError, validate_email
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

WORKERS = 8
DEADLOCKS_MAX = 5
PREFIX = os.environ["MERGELINE_TOPIC_PREFIX"]
UPDATES = "identifier-updates"
STRICT = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)
POSITIVE = Field(gt=0, lt=1 << 63)


class Item(BaseModel):
    model_config = STRICT
    type: str = Field(min_length=1, max_length=255)
    value: str = Field(min_length=1, max_length=255)
    series_id: int | None = None
    status_label: str | None = None


class Update(BaseModel):
    model_config = STRICT
    request_id: str = Field(min_length=1, max_length=128)
    org_id: int = POSITIVE
    customer_id: int = POSITIVE
    source: str
    account_id: str | None = None
    add: list[Item] = []
    remove: list[Item] = []


class Rejected(Exception):
    def __init__(self, code, path, customers=()):
        super().__init__(code)
        self.problem = {"code": code, "message": code.replace("_", " ").lower(), "path": path}
        if customers:
            self.problem["customerIds"] = sorted(customers)


class Decision:
    """What one request does; written in one transaction, then published."""

    def __init__(self, update, now):
        self.update, self.now = update, now
        self.status, self.errors, self.warnings = "unchanged", [], []
        self.applied_to = self.merged_into = self.version = None
        self.events = []

    def event(self, topic, kind, key, **data):
        self.status = "applied"
        body = {
            "requestId": self.update.request_id,
            "orgId": self.update.org_id,
            "occurredAt": self.now.isoformat(),
            **data,
        }
        self.events.append((topic, key, orjson.dumps(body), kind))

    def outcome(self):
        update = self.update
        body = {
            "requestId": update.request_id, "orgId": update.org_id, "occurredAt": self.now.isoformat(),
            "status": self.status, "customerId": update.customer_id, "appliedTo": self.applied_to,
            "mergedInto": self.merged_into, "errors": self.errors, "warnings": self.warnings,
            "customerVersion": self.version,
        }  # fmt: skip
        return (
            "update-outcomes",
            f"{update.org_id}:{update.customer_id}",
            orjson.dumps(body),
            "mergeline.update.outcome",
        )


def lock_key(*parts):
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def normalised(item, region, path):
    value = item.value.strip()
    try:
        if item.type == "email":
            return validate_email(value, check_deliverability=False).normalized.lower()
        if item.type == "mobile":
            for text, country in ((value, region), (f"+{value}", None)):
                try:
                    number = phonenumbers.parse(text, country)
                except phonenumbers.NumberParseException:
                    continue
                if phonenumbers.is_valid_number(number):
                    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
            raise Rejected("INVALID_VALUE", path)
    except EmailNotValidError:
        raise Rejected("INVALID_VALUE", path) from None
    return value


class Decider:
    """One request in one transaction."""

    def __init__(self, pool, catalogs):
        self.pool, self.catalogs = pool, catalogs

    async def decide(self, update, body, place):
        """The records to publish, and whether it was a repeat."""
        rejected = None
        for attempt in range(DEADLOCKS_MAX):
            try:
                async with self.pool.acquire() as db, db.transaction():
                    return await self._decide(db, update, hashlib.sha256(body).digest(), place, rejected)
            except Rejected as error:
                rejected = error  # all of it is undone; the answer is stored by a transaction of its own
            except asyncpg.DeadlockDetectedError:
                if attempt + 1 == DEADLOCKS_MAX:
                    raise
        raise AssertionError

    async def _decide(self, db, update, sha256, place, rejected):
        org = update.org_id
        names = [("request", org, update.request_id), ("customer", org, update.customer_id)]
        names += [("identifier", org, item.type, item.value) for item in (*update.add, *update.remove)]
        await db.execute(
            "select pg_advisory_xact_lock(key) from (select unnest($1::bigint[]) as key order by 1 offset 0) as sorted",
            sorted({lock_key(*name) for name in names}),
        )
        known = await db.fetchrow(
            """select outgoing, body_sha256 from request join ledger on ledger.org_id = request.org_id
               and ledger.request_id = request.request_id and ledger.day = request.decided_day
               and ledger.at_topic = request.decided_topic and ledger.at_partition = request.decided_partition
               and ledger.at_offset = request.decided_offset
               where request.org_id = $1 and request.request_id = $2""",
            org, update.request_id,
        )  # fmt: skip
        decision = Decision(update, datetime.now(UTC))
        if known is not None:
            assert known["body_sha256"] == sha256
            await self._store(db, decision, sha256, place, "repeat", b"")
            return [(*decision.outcome()[:2], known["outgoing"], "mergeline.update.outcome")], True
        if rejected is None:
            await self._apply(db, decision)
        else:
            decision.status, decision.errors = "rejected", [rejected.problem]
        outcome = decision.outcome()
        await self._store(db, decision, sha256, place, "decided", outcome[2])
        return [*decision.events, outcome], False

    def _named(self, update, region):
        """The identifiers of both lists, normalised."""
        return (
            [(one.type, normalised(one, region, f"/{name}/{index}")) for index, one in enumerate(items)]
            for name, items in (
                ("add", [item for item in update.add if item.type != "cardnumber"]),
                ("remove", [item for item in update.remove if item.type != "cardnumber"]),
            )
        )

    def _scope(self, update, catalog):
        kind = catalog["sources"].get(update.source)
        if kind is None:
            raise Rejected("UNKNOWN_SOURCE", "/source")
        if (kind == "multiple") != (update.account_id is not None):
            raise Rejected("ACCOUNT_REQUIRED" if kind == "multiple" else "ACCOUNT_NOT_ALLOWED", "/accountId")
        return update.source, update.account_id or ""

    async def _apply(self, db, decision):
        update = decision.update
        org, catalog = update.org_id, self.catalogs.get(update.org_id)
        if catalog is None:
            raise Rejected("UNKNOWN_ORG", "/orgId")
        scope = self._scope(update, catalog)
        adds, removes = self._named(update, catalog.get("defaultRegion"))
        root, version = await self._root(db, org, update.customer_id)
        if root != update.customer_id:
            decision.warnings.append({"code": "REDIRECTED", "message": "redirected", "path": "/customerId"})
        types, values = [name for name, _ in (*adds, *removes)], [value for _, value in (*adds, *removes)]
        rows = await db.fetch(
            """select type, value, source, account, customer_id from identifier
               join unnest($2::text[], $3::text[]) as named (type, value) using (type, value) where org_id = $1""",
            org, types, values,
        ) if types else []  # fmt: skip
        held = {(row["type"], row["value"], row["source"], row["account"]): row["customer_id"] for row in rows}
        others = {row["customer_id"] for row in rows if (row["type"], row["value"]) in adds} - {root}
        for index, add in enumerate(adds):
            if held.get((*add, *scope), root) != root:
                raise Rejected("IDENTIFIER_TAKEN", f"/add/{index}", others)
        if len(others) > 1:
            raise Rejected("CONFLICTING_CUSTOMERS", "/add", others)
        target = root
        if others:
            (target,) = others
            version = await self._merge(db, decision, root, target, adds, rows)
        removed = [item for item in removes if held.get((*item, *scope)) == root]
        added = [item for item in adds if (*item, *scope) not in held]
        if removed:
            await db.execute(
                """delete from identifier using unnest($4::text[], $5::text[]) as old (type, value)
                   where org_id = $1 and source = $2 and account = $3
                   and identifier.type = old.type and identifier.value = old.value""",
                org, *scope, [name for name, _ in removed], [value for _, value in removed],
            )  # fmt: skip
        if added:
            await db.execute(
                """insert into identifier (org_id, type, value, source, account, customer_id)
                   select $1, type, value, $2, $3, $6 from unnest($4::text[], $5::text[]) as new (type, value)""",
                org, *scope, [name for name, _ in added], [value for _, value in added], target,
            )  # fmt: skip
        if added or removed:
            version += 1
            lists = {"added": added, "removed": removed}
            shown = {name: [{"type": one, "value": value} for one, value in items] for name, items in lists.items()}
            decision.event(
                "identifiers-changed", "mergeline.identifiers.changed", f"{org}:{target}", customerId=target,
                source=update.source, accountId=update.account_id, customerVersion=version, **shown,
            )  # fmt: skip
        for index, card in enumerate(item for item in update.add if item.type == "cardnumber"):
            version += await self._card(db, decision, card, target, version + 1, f"/add/{index}")
        await db.execute(
            "update customer set version = $3 where org_id = $1 and customer_id = $2", org, target, version
        )
        decision.applied_to, decision.version = root, version

    async def _root(self, db, org, customer):
        row = await self._locked(db, org, customer)
        if row is None:
            raise Rejected("CUSTOMER_NOT_FOUND", "/customerId")
        if row["survivor_id"] is None:
            return customer, row["version"]
        return await self._root(db, org, row["survivor_id"])

    async def _locked(self, db, org, customer):
        return await db.fetchrow(
            "select survivor_id, version from customer where org_id = $1 and customer_id = $2 for update", org, customer
        )

    async def _merge(self, db, decision, victim, survivor, adds, rows):
        """Everything of the victim becomes the survivor's; the survivor's version after it."""
        org, request_id, now = decision.update.org_id, decision.update.request_id, decision.now
        version = (await self._locked(db, org, survivor))["version"] + 1
        moved = await db.fetch(
            """update identifier set customer_id = $3 where org_id = $1 and customer_id = $2
               returning type, value, source, nullif(account, '') as "accountId" """, org, victim, survivor,
        )  # fmt: skip
        moved_cards = await db.fetch(
            """update card set customer_id = $3 where org_id = $1 and customer_id = $2
               returning number as "cardNumber", series_id as "seriesId" """, org, victim, survivor,
        )  # fmt: skip
        repointed = await db.fetch(
            """update customer set survivor_id = $3 where org_id = $1 and survivor_id = $2 returning customer_id""",
            org, victim, survivor,
        )  # fmt: skip
        await db.execute(
            "update customer set survivor_id = $3, merged_at = $4 where org_id = $1 and customer_id = $2",
            org, victim, survivor, now,
        )  # fmt: skip
        matched = [
            {"type": name, "value": value, "source": decision.update.source, "accountId": decision.update.account_id,
             "entries": [{"source": row["source"], "accountId": row["account"] or None} for row in rows
                         if (row["type"], row["value"]) == (name, value)]}
            for name, value in adds
        ]  # fmt: skip
        data = {
            "victimId": victim, "survivorId": survivor, "matched": matched,
            "movedIdentifiers": [dict(row) for row in moved], "movedCards": [dict(row) for row in moved_cards],
            "repointedCustomerIds": [row["customer_id"] for row in repointed], "warnings": [],
        }  # fmt: skip
        merge_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{org}:{request_id}")
        await db.execute(
            """insert into merge (org_id, victim_id, survivor_id, merge_id, request_id, merged_at, moved)
               values ($1, $2, $3, $4, $5, $6, $7)""",
            org, victim, survivor, merge_id, request_id, now, orjson.dumps(data).decode(),
        )  # fmt: skip
        decision.event(
            "customer-merged", "mergeline.customer.merged", f"{org}:{survivor}", customerVersion=version, **data
        )
        for gone in (victim, *data["repointedCustomerIds"]):
            decision.event("customer-redirects", "mergeline.customer.redirect", f"{org}:{gone}", survivorId=survivor)
        decision.merged_into = survivor
        return version

    async def _card(self, db, decision, card, customer, version, path):
        """Issue a card that nobody has; how many versions that makes."""
        org, now = decision.update.org_id, decision.now
        series = next((one for one in self.catalogs[org]["series"] if one["id"] == card.series_id), None)
        status: Literal["ISSUED", "ACTIVE"] | None = (
            card.status_label if card.status_label in ("ISSUED", "ACTIVE") else None
        )
        if series is None or status is None:
            raise Rejected("UNKNOWN_SERIES" if series is None else "LABEL_NOT_ISSUABLE", path)
        row = await db.fetchrow("select * from card where org_id = $1 and number = $2 for update", org, card.value)
        if row is not None and row["customer_id"] == customer:
            return 0
        if row is not None and row["status"] != "NOT_ISSUED":
            raise Rejected("CARD_TAKEN", path)
        expires_at = now + timedelta(days=series["expiryDays"]) if series.get("expiryDays") else None
        await db.execute(
            """insert into card (org_id, number, series_id, customer_id, label, status, issued_at, expires_at)
               values ($1, $2, $3, $4, $5, $5, $6, $7) on conflict (org_id, number) do update
               set customer_id = $4, label = $5, status = $5, issued_at = $6, expires_at = $7""",
            org, card.value, card.series_id, customer, status, now, expires_at,
        )  # fmt: skip
        decision.event(
            "card-issued", "mergeline.card.issued", f"{org}:{customer}", customerId=customer, cardNumber=card.value,
            seriesId=card.series_id, statusLabel=status, status=status, issuedAt=now, expiresAt=expires_at,
            customerVersion=version,
        )  # fmt: skip
        return 1

    async def _store(self, db, decision, sha256, place, kind, outgoing):
        update, day = decision.update, decision.now.date()
        if kind == "decided":
            await db.execute(
                """insert into request (org_id, request_id, day, decided_day, decided_topic, decided_partition,
                   decided_offset) values ($1, $2, $3, $3, $4, $5, $6)""",
                update.org_id, update.request_id, day, *place,
            )  # fmt: skip
        await db.execute(
            """insert into ledger (day, org_id, request_id, kind, status, body_sha256, origin_topic, origin_partition,
               origin_offset, at_topic, at_partition, at_offset, decided_at, outgoing)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $7, $8, $9, $10, $11)""",
            day, update.org_id, update.request_id, kind, decision.status, sha256, *place, decision.now, outgoing,
        )  # fmt: skip


def application():
    broker = KafkaBroker(
        os.environ["MERGELINE_KAFKA_BOOTSTRAP_SERVERS"],
        acks="all",
        enable_idempotence=True,
        apply_types=False,
        logger=None,
    )
    app = FastStream(broker, logger=None)
    state = {}

    @app.on_startup
    async def open_database():
        async def nothing_to_reset(_):  # locks and settings end with the transaction: saves a round trip a message
            pass

        url = os.environ["MERGELINE_DATABASE_URL"]
        pool = await asyncpg.create_pool(url, min_size=WORKERS, max_size=WORKERS, reset=nothing_to_reset)
        rows = await pool.fetch(
            "select distinct on (org_id) org_id, document from catalog order by org_id, version desc"
        )
        state["decider"] = Decider(pool, {row["org_id"]: orjson.loads(row["document"]) for row in rows})

    async def as_it_came(message):
        return message

    @broker.subscriber(
        PREFIX + UPDATES, group_id=os.environ["MERGELINE_GROUP_ID"], max_workers=WORKERS, auto_offset_reset="earliest",
        ack_policy=AckPolicy.NACK_ON_ERROR, decoder=as_it_came,
    )  # fmt: skip
    async def answer(message):
        record = message.raw_message
        try:
            update = Update.model_validate(orjson.loads(record.value))
        except (orjson.JSONDecodeError, ValidationError) as error:
            code = "INVALID_REQUEST" if isinstance(error, ValidationError) else "MALFORMED_JSON"
            headers = {
                "kafka_dlt-original-topic": record.topic, "kafka_dlt-original-partition": str(record.partition),
                "kafka_dlt-original-offset": str(record.offset), "kafka_dlt-exception-message": f"{code}: no request",
            }  # fmt: skip
            await broker.publish(record.value, f"{PREFIX}{UPDATES}-dlt", key=record.key, headers=headers)
            return
        place = UPDATES, record.partition, record.offset
        records, is_repeat = await state["decider"].decide(update, record.value, place)
        own = {"mergeline-duplicate": "true"} if is_repeat else {}
        await asyncio.gather(
            *(
                broker.publish(value, PREFIX + topic, key=key.encode(), headers={"ce_type": kind, **own})
                for topic, key, value, kind in records
            )
        )

    return app


if __name__ == "__main__":
    uvloop.run(application().run())
