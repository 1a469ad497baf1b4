"""What a batch knows of the database: first without locks, then again under them.

In: a footprint. Out: owners to lock; then `State`, `Ledger` and the catalogs' versions as one batch needs them, in a
fixed number of statements. Never: one statement a request; a read before the locks that is used after them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mergeline.domain.answers import Entry, Scope
from mergeline.domain.batch import DeadLetter
from mergeline.domain.footprint import Footprint, counted, merge_candidates
from mergeline.domain.ledger import Ledger
from mergeline.domain.limits import Limits
from mergeline.domain.messages import Coordinate, Place
from mergeline.domain.prepare import Prepared
from mergeline.domain.state import CustomerKey, Held, State
from mergeline.store.failures import BatchTooLarge
from mergeline.store.rows import JsonRow, card_of, customer_of, ledger_row_of
from mergeline.store.statements import Statements, columns_of

RequestKey = tuple[int, str]
"""org_id, request_id."""
_CARD_CUSTOMER: Final = 4
_VICTIM_SURVIVOR: Final = 2
"""Where a row has the customer by whom it was found, who cannot be null there."""


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


@dataclass(slots=True)
class Named:
    """What the database has of everything that a batch names."""

    state: State
    uncovered: set[CustomerKey]
    """Roots and owners that turned up without being locked."""
    versions: dict[int, int]
    """The newest catalog version of each org that has one."""
    requests: list[JsonRow]
    """Of the request ids that the ledger has rows of: org_id, request_id, and day, topic, partition and offset of the
    decided row (or nulls)."""
    runs: dict[Place, int]
    """Dead letters in a row of the partitions that the messages come from."""


def _identity(item: Prepared | DeadLetter) -> tuple[RequestKey, Coordinate]:
    if type(item) is DeadLetter:
        return (item.reason.org_id, item.request_id), item.message.origin
    request = item.request
    return (request.command.org_id, request.request_id), request.message.origin


async def read_named(
    db: Statements, items: Sequence[Prepared | DeadLetter], touched: Footprint, group_id: str
) -> Named:
    """The named rows, as they are under the locks."""
    origins = {origin[:2] for _, origin in map(_identity, items)}
    customers, entries, cards, versions, requests, runs = await db.fetch_lists(
        "read",
        *columns_of(list(touched.customers), 2),
        *columns_of(list(touched.identifiers), 3),
        *columns_of(list(touched.cards), 2),
        list(touched.orgs),
        *columns_of(list(touched.requests), 2),
        group_id,
        *columns_of(list(origins), 2),
    )
    state = State()
    owners: set[CustomerKey] = set()
    for customer in map(customer_of, customers):
        state.customers[customer.org_id, customer.customer_id] = customer
        if customer.survivor_id is not None:
            owners.add((customer.org_id, customer.survivor_id))
    for org_id, kind, value, source, account, customer_id in entries:
        state.entries.setdefault((org_id, kind, value), {})[Scope(source, account)] = customer_id
        owners.add((org_id, customer_id))
    for card in map(card_of, cards):
        state.cards[card.org_id, card.number] = card
        if card.customer_id is not None:
            owners.add((card.org_id, card.customer_id))
    return Named(
        state=state,
        uncovered=owners - touched.customers,
        versions=dict(versions),
        requests=requests,
        runs={Place(topic, partition): run for topic, partition, run in runs},
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has of the requests of a batch. `ids`: those with a row in `request`."""

    ledger: Ledger
    ids: frozenset[RequestKey]


async def read_ledger(db: Statements, items: Sequence[Prepared | DeadLetter], requests: Sequence[JsonRow]) -> Known:
    """The decided rows of the request ids that are known, and the other rows of these very messages."""
    if not requests:
        return Known(Ledger(), frozenset())
    ids = frozenset((row[0], row[1]) for row in requests)
    decided = [row for row in requests if row[2] is not None]
    own = dict.fromkeys((*key, *origin) for key, origin in map(_identity, items) if key in ids)
    rows = await db.fetch("ledger_read", *columns_of(decided, 6), *columns_of(list(own), 5))
    return Known(Ledger(map(ledger_row_of, rows)), ids)


async def read_holdings(
    db: Statements,
    items: Sequence[Prepared | DeadLetter],
    touched: Footprint,
    state: State,
    limits: Limits,
    rows_max: int,
) -> None:
    """Into `state`: everything of those who may be merged away, and the counts of those who lose or get something.

    Raises:
        BatchTooLarge: if the possible victims of more than one message hold more than `rows_max` rows of a kind.
    """
    candidates = merge_candidates(items, state)
    counting, movable = counted(touched, candidates, state), candidates.victims
    if not counting:
        return
    each_max = limits.merge_max_entries + touched.removals + 1
    # One message alone has to be answered, whatever its victim holds.
    all_max = rows_max if len(items) > 1 else each_max * len(movable)
    uncounted = list(counting - movable) if touched.removals else []
    entries, cards, victims, counts, active = await db.fetch_lists(
        "holdings",
        *columns_of(list(movable), 2),
        each_max,
        all_max + 1,
        *columns_of(uncounted, 2),
        touched.removals + 1,
        *columns_of(list(counting), 2),
    )
    for rows in (entries, cards, victims):
        if len(rows) > all_max:
            raise BatchTooLarge(len(rows), all_max)
    _put_held(state, movable, entries, cards, victims, each_max)
    for org_id, customer_id, number in counts:
        state.entry_counts[org_id, customer_id] = number
    for org_id, customer_id, series_id, number in active:
        state.active_cards.setdefault((org_id, customer_id), Counter())[series_id] = number


def _put_held(
    state: State,
    movable: set[CustomerKey],
    entries: list[JsonRow],
    cards: list[JsonRow],
    victims: list[JsonRow],
    each_max: int,
) -> None:
    """What each possible victim holds, cut where it is too much for a victim."""
    held = {key: Held() for key in movable}
    for org_id, kind, value, source, account, customer_id in entries:
        scope = Scope(source, account)
        state.entries.setdefault((org_id, kind, value), {})[scope] = customer_id
        held[org_id, customer_id].entries.add(Entry(kind, value, scope))
    for row in cards:
        card = card_of(row)
        state.cards[card.org_id, card.number] = card
        held[card.org_id, row[_CARD_CUSTOMER]].cards.add(card.number)
    for row in victims:
        victim = customer_of(row)
        state.customers[victim.org_id, victim.customer_id] = victim
        held[victim.org_id, row[_VICTIM_SURVIVOR]].victims.add(victim.customer_id)
    for key, everything in held.items():
        sizes = (len(everything.entries), len(everything.cards), len(everything.victims))
        everything.overflow = max(sizes) >= each_max
        state.entry_counts[key] = sizes[0]
    state.held = held
