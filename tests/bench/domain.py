"""Microseconds of CPU a request by step of the pure core and of the store's Python side.

    python tests/bench/domain.py [--requests 200] [--repeats 100]

The plain mix: updates of known customers that add one or two identifiers nobody has. A database that answers from
memory stands in for PostgreSQL, so what asyncpg and the network cost is not in it. Each step takes all requests at
once, as a batch does; the least of the repeats counts, since whatever else runs on the machine only adds. Values are
normalised anew in each repeat, as new ones are; keep the mobile numbers apart, whose reading costs more than the rest.
"""

import argparse
import asyncio
import gc
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from tests.defaults import default_limits

from mergeline.domain import values
from mergeline.domain.batch import answer_batch, judge_batch
from mergeline.domain.catalog import Catalog
from mergeline.domain.decode import decode_all
from mergeline.domain.footprint import footprint
from mergeline.domain.messages import Coordinate, Message
from mergeline.domain.prepare import prepare
from mergeline.domain.routing import routing_key
from mergeline.store.locks import catalog_lock, lock
from mergeline.store.read import discover, read_holdings, read_ledger, read_named
from mergeline.store.write import write

ORG = 100737
NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
CATALOG = Catalog.model_validate(
    {"orgId": ORG, "defaultRegion": "CN", "sources": {"INSTORE": "single", "WECHAT": "multiple"}}
)


YARDSTICK = "(orjson.loads)"
"""Nothing of ours: how fast the machine is just now, to compare runs by."""


class Database:
    """Every customer is there, nothing else is."""

    async def fetch(self, name: str, *columns: Any) -> list[dict[str, Any]]:
        if name == "write":
            first = {"customers_update": 0, "entries_insert": 7, "requests_insert": 13, "progress_write": 21}
            return [{part: len(columns[number]) for part, number in first.items()}]
        return [{"now": NOW}] if name == "lock" else []

    async def fetch_lists(self, name: str, *columns: Any) -> list[list[Any]]:
        assert name == "read"
        keys = zip(columns[0], columns[1], strict=True)
        customers = [[org_id, customer_id, None, 3, NOW.isoformat(), None] for org_id, customer_id in keys]
        return [customers, [], [], [], [], []]

    async def execute(self, name: str, *columns: Any) -> int:
        assert name == "ledger_insert"
        return len(columns[0])


def message(number: int, mobile: bool) -> Message:
    """One identifier or, every other time, two."""
    names = [
        {"type": "mobile", "value": f"138{number:08}"} if mobile else {"type": "wechat", "value": f"oX{number:026}"},
        {"type": "email", "value": f"shopper.{number}@example.com"},
    ]
    body = {
        "requestId": f"7d943c51-e4ff-4e57-9558-{number:012x}",
        "orgId": ORG,
        "customerId": 500_000_000 + number,
        "source": "WECHAT",
        "accountId": "brand-a",
        "add": names[: 1 + number % 2],
    }
    if number % 4 == 0:
        body["requestedAt"] = "2026-11-21T10:00:00Z"
    return Message(
        Coordinate("identifier-updates", number % 8, number),
        Coordinate("commands-by-customer", number % 8, number),
        1_795_255_200_000,
        b"%d:%d" % (ORG, 500_000_000 + number),
        orjson.dumps(body),
    )


class Watch:
    """The least CPU that each step took."""

    def __init__(self, requests: int) -> None:
        self.requests = requests
        self.least_us: dict[str, float] = {}

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        before = time.process_time()
        result = work()
        taken_us = (time.process_time() - before) / self.requests * 1e6
        self.least_us[name] = min(taken_us, self.least_us.get(name, taken_us))
        return result


def run(watch: Watch, messages: list[Message]) -> None:
    """A batch from the bytes read to the rows and bytes written."""
    database: Any = Database()
    limits = default_limits()
    loop = asyncio.get_event_loop()

    def wait(step: Any) -> Any:
        return loop.run_until_complete(step)

    values._email.cache_clear()
    values._mobile.cache_clear()
    watch.step(YARDSTICK, lambda: [orjson.loads(message.value) for message in messages])
    watch.step("route", lambda: [routing_key(m.origin.topic, m.origin.partition, m.value) for m in messages])
    requests = watch.step("decode", lambda: decode_all(messages))
    prepared = watch.step("prepare", lambda: [prepare(request, CATALOG) for request in requests])
    touched = watch.step("footprint", lambda: footprint(prepared))
    watch.step("discover", lambda: wait(discover(database, touched)))
    watch.step("lock", lambda: wait(lock(database, touched.names(), map(catalog_lock, touched.orgs), 100_000)))
    found = watch.step("read named", lambda: wait(read_named(database, prepared, touched, "mergeline")))
    state = found.state
    known = watch.step("read ledger", lambda: wait(read_ledger(database, prepared, found.requests)))
    watch.step("read holdings", lambda: wait(read_holdings(database, prepared, touched, state, limits, 100_000)))
    verdicts = watch.step("judge", lambda: judge_batch(state, known.ledger, prepared, NOW, limits))
    answers = watch.step("answer", lambda: answer_batch(verdicts, NOW, "mergeline."))
    changes = watch.step("changes", state.changes)
    watch.step(
        "write", lambda: wait(write(database, changes, verdicts, NOW, known.ids, "mergeline", {}, lambda: answers))
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    asyncio.set_event_loop(asyncio.new_event_loop())
    watches = {}
    for mobile in (False, True):
        watches[mobile] = Watch(options.requests)
        messages = [message(number, mobile) for number in range(options.requests)]
        gc.collect()
        gc.freeze()
        for _ in range(options.repeats):
            run(watches[mobile], messages)
    print(f"{'us a request':15}{'plain':>8}{'mobile':>8}")
    for name, least_us in watches[False].least_us.items():
        print(f"{name:15}{least_us:8.1f}{watches[True].least_us[name]:8.1f}")
    totals = [sum(watch.least_us.values()) - watch.least_us[YARDSTICK] for watch in watches.values()]
    print(f"{'all of ours':15}{totals[0]:8.1f}{totals[1]:8.1f}")


if __name__ == "__main__":
    main()
