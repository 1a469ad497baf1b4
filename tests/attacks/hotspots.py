"""Hot spots: many writers at once on few identifiers, customers and cards, straight at the real store.

In: a database, writers, identifiers, operations, a seed. Out: defects, and figures. The seed decides each throw of the
dice; which writer comes first, and so what they meet, is the machine's. Each writer is a store with a connection of its
own, as processes have. What it sends: registrations and adds that meet (so that customers merge), removes, cards issued
and taken back, repeats of others' requests, and messages that another writer has in its hands (a zombie).

Judged by what was answered: each message once, the same bytes to whoever asks, events without a gap, copies kept from
the events equal to the tables, nothing that `verify` finds, and no deadlock that the server has counted.
"""

import asyncio
import json
import random
import time
from collections import Counter, deque

import asyncpg
from tests.attacks.copies import Copies
from tests.attacks.defects import Defects
from tests.defaults import applied, default_options, open_pool

from mergeline.domain.catalog import Catalog
from mergeline.domain.messages import Coordinate, Message
from mergeline.store.apply import Store
from mergeline.store.catalogs import apply_catalogs
from mergeline.store.failures import Kind, describe, kind_of
from mergeline.store.invariants import Offence, verify

ORG = 100737
CATALOG = {
    "orgId": ORG,
    "sources": {"INSTORE": "single", "WEBSHOP": "single", "WECHAT": "multiple"},
    "series": [{"id": 163, "autoCreate": True, "maxActiveCardsPerCustomer": 3}],
}
SCOPES = (("INSTORE", None), ("WEBSHOP", None), ("WECHAT", "a"), ("WECHAT", "b"))
UPDATES, CUSTOMERS, COMMANDS = "identifier-updates", "customer-registrations", "commands-by-customer"
BATCHES = (1, 1, 2, 4, 8, 16, 32)
HOT_FOR = 2_500
"""Then others are hot, so that no customer takes everything."""
RECENT_CUSTOMERS = 30
HOT_FROM_THE_START = 0.3
REMEMBERED = 200
STARTS_MAX = 20
"""How often a writer begins anew with a batch that was given up, as one that is restarted does."""
KINDS = (
    ("register", 12),
    ("add", 25),
    ("meet", 15),
    ("remove", 22),
    ("issue", 12),
    ("give_back", 8),
    ("repeat", 3),
    ("zombie", 3),
)


class CountingStore(Store):
    """A store that counts its failures by what they are, before they are retried."""

    def __init__(self, pool, options, failures):
        super().__init__(pool, options)
        self._failures = failures

    async def apply(self, messages, **arguments):
        try:
            return await super().apply(messages, **arguments)
        except Exception as error:
            self._failures[describe(error)] += 1
            raise


class Hotspots:
    """One run; `run`, then `figures`."""

    def __init__(self, database_url, *, writers, identifiers, operations, seed):
        self._url, self._writers, self._identifiers, self._left = database_url, writers, identifiers, operations
        self._seed = seed
        self._customers = 0
        self._sent, self._in_hand = deque(maxlen=REMEMBERED), {}
        self._held, self._issued = deque(maxlen=REMEMBERED), deque(maxlen=REMEMBERED)
        self._ends = Counter()
        self.defects = Defects()
        self._copies = Copies(self.defects)
        self._said = {}
        self._taken = set()
        self.kinds, self.events, self.failures, self.given_up = Counter(), Counter(), Counter(), Counter()
        self._batches, self._slowest_s, self._duration_s, self._deadlocks = 0, 0.0, 0.0, 0

    async def run(self):
        """All operations, then the judgement."""
        looking = await asyncpg.connect(self._url)
        await apply_catalogs(looking, [Catalog.model_validate(CATALOG)])
        before = await looking.fetchval(DEADLOCKS)
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(self._writers):
                group.create_task(self._write(number))
        self._duration_s = time.monotonic() - started
        # Each session that has ended has told what it counted.
        self._deadlocks = await looking.fetchval(DEADLOCKS) - before
        if self._deadlocks:
            self.defects.add("deadlocks", self._deadlocks)
        await self._judge(looking)
        await looking.close()
        return self.defects

    def figures(self):
        return {
            "operations_per_second": round(sum(self.kinds.values()) / self._duration_s),
            "batches": self._batches, "slowest_batch_s": round(self._slowest_s, 2), "deadlocks": self._deadlocks,
            "answers": dict(self.kinds), "events": dict(self.events), "failures_retried": dict(self.failures),
            "given_up_and_begun_again": dict(self.given_up),
        }  # fmt: skip

    # ------------------------------------------------------------ writing

    async def _write(self, number):
        dice = random.Random(f"{self._seed}-{number}")
        async with await open_pool(self._url, 1) as pool:
            store = CountingStore(pool, default_options(), self.failures)
            while self._left > 0:
                batch = [self._message(dice, number) for _ in range(min(dice.choice(BATCHES), self._left))]
                self._left -= len(batch)
                self._in_hand[number] = batch
                begun = time.monotonic()
                answers = await self._applied(store, batch)
                self._slowest_s = max(self._slowest_s, time.monotonic() - begun)
                self._batches += 1
                if answers and [answer.message.at for answer in answers] != [message.at for message in batch]:
                    self.defects.add("answers are not those of the batch", number)
                for answer in answers:
                    self._took(answer)

    async def _applied(self, store, batch):
        """As a worker: when it has tried for long enough it ends, and the next one begins with the same batch."""
        for _ in range(STARTS_MAX):
            try:
                return await applied(store, batch)
            except Exception as error:
                if kind_of(error) is not Kind.TRANSIENT:
                    raise
                self.given_up[describe(error)] += 1
        self.defects.add("a batch that never went through", batch[0].at)
        return []

    def _message(self, dice, number):
        (kind,) = dice.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])
        message = getattr(self, f"_{kind}")(dice, number) if self._customers else self._register(dice, number)
        self._sent.append(message)
        return message

    def _register(self, dice, number):
        self._customers += 1
        identifiers = [{"type": "line", "value": f"of-{self._customers}"}]
        if dice.random() < HOT_FROM_THE_START:
            identifiers.append(self._hot(dice))
        return self._put(CUSTOMERS, number, self._customers, dice, identifiers=identifiers)

    def _add(self, dice, number):
        return self._put(UPDATES, number, self._customer(dice), dice, add=self._hot(dice))

    def _meet(self, dice, number):
        """Adds what another customer was registered with: they merge, if that one has it in another scope."""
        other = {"type": "line", "value": f"of-{self._customer(dice)}"}
        return self._put(
            UPDATES, number, self._customer(dice), dice, add=[other, self._hot(dice)][: dice.choice((1, 2))]
        )

    def _remove(self, dice, number):
        """Takes away what an event said that a customer has; it can be merged by now, or have lost it."""
        if not self._held:
            return self._put(UPDATES, number, self._customer(dice), dice, remove=self._hot(dice))
        customer, scope, identifier = dice.choice(self._held)
        return self._put(UPDATES, number, customer, dice, scope, remove=identifier)

    def _issue(self, dice, number):
        card = self._card(dice) | {"seriesId": 163, "statusLabel": "ACTIVE"}
        return self._put(UPDATES, number, self._customer(dice), dice, add=card)

    def _give_back(self, dice, number):
        customer, card = dice.choice(self._issued) if self._issued else (self._customer(dice), self._card(dice))
        return self._put(UPDATES, number, customer, dice, remove=card)

    def _repeat(self, dice, number):
        """What somebody sent before, sent again: at another place, under the same id."""
        before = dice.choice(self._sent)
        return self._at(before.origin.topic, number, before.value)

    def _zombie(self, dice, number):
        """What another writer has in its hands, or just had."""
        others = [batch for writer, batch in self._in_hand.items() if writer != number]
        return dice.choice(dice.choice(others)) if others else self._add(dice, number)

    def _put(self, topic, number, customer, dice, scope=None, **fields):
        source, account = scope or dice.choice(SCOPES)
        body = {"orgId": ORG, "customerId": customer, "source": source, **fields}
        if account is not None:
            body["accountId"] = account
        body["requestId"] = f"{topic}-{number}-{self._ends[topic, number]}"
        return self._at(topic, number, json.dumps(body).encode())

    def _at(self, topic, number, value):
        places = []
        for log in (topic, COMMANDS):
            places.append(Coordinate(log, number, self._ends[log, number]))
            self._ends[log, number] += 1
        return Message(*places, 1_700_000_000_000, b"k", value)

    def _customer(self, dice):
        return self._customers - dice.randrange(min(self._customers, RECENT_CUSTOMERS))

    def _hot(self, dice):
        return {"type": "line", "value": f"hot-{self._left // HOT_FOR}-{dice.randrange(self._identifiers)}"}

    def _card(self, dice):
        return {"type": "cardnumber", "value": f"C{self._left // HOT_FOR}-{dice.randrange(self._identifiers)}"}

    # ------------------------------------------------------------ what was answered

    def _took(self, answer):
        """The answer to a message: the same bytes whoever asks, its events taken once."""
        self.kinds[answer.kind] += 1
        if answer.kind == "dropped":
            self.defects.add("dropped, though no router repeated itself", answer.message.at)
        at, told = answer.message.at, hash(answer.outgoing)
        if self._said.setdefault(at, told) != told:
            self.defects.add("two answers to one message", at)
        if answer.kind not in ("answered", "applied", "unchanged", "rejected", "repeat"):
            self.defects.add("an answer that nothing calls for", f"{at} {answer.kind}")
        if at in self._taken:
            return
        self._taken.add(at)
        for record in answer.outgoing:
            self.events[str(record.topic)] += 1
            self._copies.take(str(record.topic), record.key, record.headers, record.value)
            self._hint(record.topic, json.loads(record.value))

    def _hint(self, topic, data):
        """What a later remove can name."""
        if topic == "identifiers-changed":
            self._held += [(data["customerId"], (data["source"], data["accountId"]), one) for one in data["added"]]
        if topic == "card-issued":
            self._issued.append((data["customerId"], {"type": "cardnumber", "value": data["cardNumber"]}))

    # ------------------------------------------------------------ the judgement

    async def _judge(self, looking):
        self._copies.judge()
        async for found in verify(looking):
            if isinstance(found, Offence):
                self.defects.add(f"verify: {found.rule}", found.offender)
        decided = await looking.fetchval("select count(*) from ledger")
        if decided != len(self._taken):
            self.defects.add("messages and rows", f"{len(self._taken)} messages, {decided} rows")
        entries = await looking.fetch("select type, value, source, nullif(account, ''), customer_id from identifier")
        self._compare("entries", {tuple(row)[:4]: (row["customer_id"], None) for row in entries})
        cards = await looking.fetch("select number, customer_id, status, label from card where customer_id is not null")
        self._compare("cards", {row["number"]: (row["customer_id"], tuple(row)[2:]) for row in cards})

    def _compare(self, kind, stored):
        told = {name: found for (_, name), found in self._copies.held(kind).items()}
        for name, owner in stored.items() ^ told.items():
            self.defects.add(f"{kind}: the tables and the events disagree", f"{name} {owner}")


DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
