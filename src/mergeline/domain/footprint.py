"""What a batch may touch: the names to lock, the rows to read.

In: the prepared messages of a batch. Out: a `Footprint`, which grows with the roots and owners found in the
database; the customers of whom everything must be read because a merge may move it. Never: SQL or lock numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mergeline.domain.batch import DeadLetter
from mergeline.domain.commands import RegisterCard
from mergeline.domain.prepare import Prepared
from mergeline.domain.state import CardKey, CustomerKey, IdentifierKey, State


@dataclass(slots=True)
class Footprint:
    """Named things, each once. `customers` are those named and, once known, their roots and all owners."""

    orgs: set[int] = field(default_factory=set)
    requests: set[tuple[int, str]] = field(default_factory=set)
    customers: set[CustomerKey] = field(default_factory=set)
    identifiers: set[IdentifierKey] = field(default_factory=set)
    cards: set[CardKey] = field(default_factory=set)
    counted: set[CustomerKey] = field(default_factory=set)
    """Customers of whom an entry is removed, or to whom a card is added; see `counted`."""
    removals: int = 0
    """The most entries and cards that the batch takes from one customer: counts of what a customer holds need
    not be exact beyond the limit that they are compared with and this."""

    def names(self) -> Sequence[str]:
        """The lock names, namespaced; catalogs apart, since those are shared."""
        return (
            *[f"request:{org}:{request}" for org, request in self.requests],
            *[f"customer:{org}:{customer}" for org, customer in self.customers],
            *[f"identifier:{org}:{kind}:{value}" for org, kind, value in self.identifiers],
            *[f"card:{org}:{number}" for org, number in self.cards],
        )


def footprint(items: Sequence[Prepared | DeadLetter]) -> Footprint:
    """What the messages name. A request that the catalog stage rejected names its request id only."""
    touched = Footprint()
    for item in items:
        if type(item) is DeadLetter:
            touched.requests.add((item.reason.org_id, item.request_id))
            continue
        command = item.request.command
        org_id = command.org_id
        touched.orgs.add(org_id)
        touched.requests.add((org_id, item.request.request_id))
        if item.errors:
            continue
        if type(command) is RegisterCard:
            touched.cards.add((org_id, command.number))
            continue
        customer = (org_id, command.customer_id)
        touched.customers.add(customer)
        for named in item.adds:
            touched.identifiers.add((org_id, named.type, named.value))
        for named in item.removes:
            touched.identifiers.add((org_id, named.type, named.value))
        for card in item.card_adds + item.card_removes:
            touched.cards.add((org_id, card.number))
        touched.removals += len(item.removes) + len(item.card_removes)
        if item.removes or item.card_adds:
            touched.counted.add(customer)
    return touched


@dataclass(frozen=True, slots=True)
class Candidates:
    """The living customers that merges in a batch may move from or to, and those of them that may be moved from."""

    everyone: set[CustomerKey]
    victims: set[CustomerKey]


def merge_candidates(items: Sequence[Prepared | DeadLetter], state: State) -> Candidates:
    """Whom the merges of this batch may concern.

    An added identifier that requests of two roots in this batch add, or that the database gives to another customer
    than the request's root, may merge the root: roots and holders are candidates. That is closed under the batch's own
    merges: whoever becomes a survivor or a root in its course was a holder or a root before.

    A victim is the root of such a request. It is another customer than the root that was read only where the latter
    was merged before, by another such request: among customers who are linked by these identifiers, some root then
    has two of them, and anybody there may be a victim. `state` holds the customers and the entries of the named
    identifiers.
    """
    adds = list(_adds(items, state))
    involved: dict[IdentifierKey, set[int]] = {}
    for key, root_id, _ in adds:
        involved.setdefault(key, set()).add(root_id)
    for key, ids in involved.items():
        ids.update(state.holders(*key).values())
    links: dict[CustomerKey, CustomerKey] = {}
    for (org_id, *_), ids in involved.items():
        if len(ids) > 1:
            one = (org_id, next(iter(ids)))
            for other_id in ids:
                links[_end(links, (org_id, other_id))] = _end(links, one)
    merging: dict[CustomerKey, set[str]] = {}
    for key, root_id, request_id in adds:
        if len(involved[key]) > 1:
            merging.setdefault((key[0], root_id), set()).add(request_id)
    chains = {_end(links, root) for root, request_ids in merging.items() if len(request_ids) > 1}
    everyone = {key for key in links if key in state.customers}
    return Candidates(everyone, {key for key in everyone if key in merging or _end(links, key) in chains})


def _adds(items: Sequence[Prepared | DeadLetter], state: State) -> Iterator[tuple[IdentifierKey, int, str]]:
    """Each identifier that is to be added, the root that it is added to as things stand, and the request's id."""
    for item in items:
        if type(item) is DeadLetter or item.errors or type(item.request.command) is RegisterCard:
            continue
        org_id, customer_id = item.request.command.org_id, item.request.command.customer_id
        root = state.root(org_id, customer_id)
        root_id = root.customer_id if root is not None else customer_id
        for named in item.adds:
            yield (org_id, named.type, named.value), root_id, item.request.request_id


def _end(links: dict[CustomerKey, CustomerKey], key: CustomerKey) -> CustomerKey:
    """Who stands for all that a customer is linked with; the way there is made shorter."""
    above = links.setdefault(key, key)
    while above != key:
        links[key] = links[above]
        key, above = above, links[above]
    return key


def counted(touched: Footprint, candidates: Candidates, state: State) -> set[CustomerKey]:
    """The living customers whose entries and active cards are counted.

    Those who may lose an entry or get a card: the roots of those named so, and every merge candidate, since the
    batch may make it their root, and a merge adds up the cards of both.
    """
    roots = (state.root(*key) for key in touched.counted)
    return {(root.org_id, root.customer_id) for root in roots if root is not None} | candidates.everyone
