"""What a batch knows of the database: first without locks, then again under them.

In: a footprint. Out: owners to lock; then `State`, `Ledger` and the catalogs' versions as one batch needs them, in a
fixed number of statements. Never: one statement a request; a read before the locks that is used after them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from mergeline.domain.answers import Entry
from mergeline.domain.batch import Refused
from mergeline.domain.footprint import Footprint, counted, merge_candidates
from mergeline.domain.ledger import Ledger
from mergeline.domain.limits import Limits
from mergeline.domain.messages import Coordinate
from mergeline.domain.prepare import Prepared
from mergeline.domain.state import CustomerKey, Held, State
from mergeline.store.failures import BatchTooLarge
from mergeline.store.rows import card_of, customer_of, entry_of, ledger_row_of
from mergeline.store.statements import Statements, columns_of

RequestKey = tuple[int, str]
"""org_id, request_id."""


async def discover(db: Statements, touched: Footprint) -> set[CustomerKey]:
    """The roots and owners that the names lead to now; to be read again under their locks."""
    if not (touched.customers or touched.identifiers or touched.cards):
        return set()
    rows = await db.fetch(
        "discover",
        *columns_of(list(touched.customers), 2),
        *columns_of(list(touched.identifiers), 3),
        *columns_of(list(touched.cards), 2),
    )
    return {(row["org_id"], row["customer_id"]) for row in rows}


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has of the requests of a batch. `ids`: those with a row in `request`."""

    ledger: Ledger
    ids: frozenset[RequestKey]


def _identity(item: Prepared | Refused) -> tuple[RequestKey, Coordinate]:
    if type(item) is Refused:
        return (item.reason.org_id, item.request_id), item.message.origin
    return (item.request.org_id, item.request.request_id), item.request.message.origin


async def read_ledger(db: Statements, items: Sequence[Prepared | Refused]) -> Known:
    """The decided rows of the request ids, and the other rows of these very messages."""
    origins: dict[RequestKey, list[Coordinate]] = {}
    for key, origin in map(_identity, items):
        origins.setdefault(key, []).append(origin)
    found = await db.fetch("requests_read", *columns_of(list(origins), 2))
    if not found:
        return Known(Ledger(), frozenset())
    ids = frozenset((row["org_id"], row["request_id"]) for row in found)
    decided = [tuple(row) for row in found if row["decided_day"] is not None]
    own = [
        (*key, origin.topic, origin.partition, origin.offset) for key in ids for origin in dict.fromkeys(origins[key])
    ]
    rows = await db.fetch("ledger_read", *columns_of(decided, 6), *columns_of(own, 5))
    return Known(Ledger(map(ledger_row_of, rows)), ids)


async def read_named(db: Statements, touched: Footprint) -> tuple[State, set[CustomerKey]]:
    """The named rows, and the customers that turned up as roots or owners without being locked."""
    state = State()
    owners: set[CustomerKey] = set()
    if touched.customers:
        for row in await db.fetch("customers_read", *columns_of(list(touched.customers), 2)):
            customer = customer_of(row)
            state.customers[customer.org_id, customer.customer_id] = customer
            if customer.survivor_id is not None:
                owners.add((customer.org_id, customer.survivor_id))
    if touched.identifiers:
        for row in await db.fetch("entries_read", *columns_of(list(touched.identifiers), 3)):
            _put_entry(state, row["org_id"], entry_of(row), row["customer_id"])
            owners.add((row["org_id"], row["customer_id"]))
    if touched.cards:
        for row in await db.fetch("cards_read", *columns_of(list(touched.cards), 2)):
            card = card_of(row)
            state.cards[card.org_id, card.number] = card
            if card.customer_id is not None:
                owners.add((card.org_id, card.customer_id))
    return state, owners - touched.customers


async def read_versions(db: Statements, org_ids: Iterable[int]) -> dict[int, int]:
    """The newest catalog version of each org that has one."""
    rows = await db.fetch("catalog_versions", list(org_ids))
    return {row["org_id"]: row["version"] for row in rows}


async def read_holdings(
    db: Statements,
    items: Sequence[Prepared | Refused],
    touched: Footprint,
    state: State,
    limits: Limits,
    rows_max: int,
) -> None:
    """Into `state`: everything that merge candidates hold, and the counts of those who lose or get something.

    Raises:
        BatchTooLarge: if the candidates of more than one message hold more than `rows_max` rows of a kind.
    """
    candidates = merge_candidates(items, state)
    counting = counted(touched, candidates, state)
    if candidates:
        each_max = limits.merge_max_entries + touched.removals + 1
        # One message alone has to be answered, whatever its few candidates hold.
        await _read_held(db, candidates, state, each_max, rows_max if len(items) > 1 else each_max * len(candidates))
    uncounted = list(counting - candidates)
    if uncounted and touched.removals:
        rows = await db.fetch("entry_counts", *columns_of(uncounted, 2), touched.removals + 1)
        for row in rows:
            state.entry_counts[row["org_id"], row["customer_id"]] = row["entries"]
    if counting:
        for row in await db.fetch("active_cards", *columns_of(list(counting), 2)):
            series = state.active_cards.setdefault((row["org_id"], row["customer_id"]), Counter())
            series[row["series_id"]] = row["cards"]


async def _read_held(db: Statements, candidates: set[CustomerKey], state: State, each_max: int, rows_max: int) -> None:
    """Entries, cards and victims of each candidate, each cut where the candidate is too large to be a victim."""
    keys = columns_of(list(candidates), 2)
    held = {key: Held() for key in candidates}
    for row in await _bounded(db, "held_entries", keys, each_max, rows_max):
        entry, customer_id = entry_of(row), row["customer_id"]
        _put_entry(state, row["org_id"], entry, customer_id)
        held[row["org_id"], customer_id].entries.add(entry)
    for row in await _bounded(db, "held_cards", keys, each_max, rows_max):
        card = card_of(row)
        state.cards[card.org_id, card.number] = card
        held[card.org_id, row["customer_id"]].cards.add(card.number)
    for row in await _bounded(db, "held_victims", keys, each_max, rows_max):
        victim = customer_of(row)
        state.customers[victim.org_id, victim.customer_id] = victim
        held[victim.org_id, row["survivor_id"]].victims.add(victim.customer_id)
    for key, everything in held.items():
        sizes = (len(everything.entries), len(everything.cards), len(everything.victims))
        everything.overflow = max(sizes) >= each_max
        state.entry_counts[key] = sizes[0]
    state.held = held


async def _bounded(
    db: Statements, name: str, keys: list[list[int]], each_max: int, rows_max: int
) -> list[asyncpg.Record]:
    rows = await db.fetch(name, *keys, each_max, rows_max + 1)
    if len(rows) > rows_max:
        raise BatchTooLarge(len(rows), rows_max)
    return rows


def _put_entry(state: State, org_id: int, entry: Entry, customer_id: int) -> None:
    state.entries.setdefault((org_id, entry.type, entry.value), {})[entry.scope] = customer_id
