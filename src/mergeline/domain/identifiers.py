"""The identifier stage: removes, then adds, and whom they merge (SPEC section 4, rules 1 to 5).

In: the state, a prepared request, the customer it is applied to. Out: what is removed and added, a merge, or the
errors. Never: cards, beyond the list of those that a merge moves.
"""

from msgspec import Struct

from mergeline.domain.answers import Customer, Entry, Match, Merge, Problem, problem
from mergeline.domain.commands import NamedIdentifier, RegisterCustomer
from mergeline.domain.events import merge_bytes
from mergeline.domain.limits import Limits
from mergeline.domain.prepare import Prepared
from mergeline.domain.requests import IDENTIFIERS_MAX
from mergeline.domain.state import Held, State
from mergeline.domain.vocabulary import ErrorCode, WarningCode

ROW_BYTES_MAX = 6_000
"""The most that one row can take in a merge event: five texts of 255 characters of four bytes, and names."""
WARNING_BYTES_MAX = 300
"""The most that one warning can take: the merge event has one for each exceeded cap (at most one a series, found by
the later card stage), the outcome those and one for each identifier."""


class IdentifierStage(Struct, frozen=True, gc=False):
    """What the stage found; with `errors` the rest is empty."""

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    removed: tuple[Entry, ...] = ()
    added: tuple[Entry, ...] = ()
    merge: Merge | None = None


def decide_identifiers(state: State, prepared: Prepared, root: Customer, limits: Limits) -> IdentifierStage:
    """Removes and adds of `root` in the request's scope.

    An add goes by who holds that type and value in the org (SPEC section 4, which numbers the rules):

    1. nobody, or `root` in other scopes only: a new entry in this scope;
    2. `root` in this scope: it is already present;
    3. another customer in this scope: it is taken, unless rule 4 makes that one the survivor of this request: then it
       is already present there;
    4. exactly one other customer, in other scopes only: `root` is merged into that one, who gets the new entry too;
    5. over all adds, two or more other customers, in whatever scope: they conflict, and nothing changes.

    So a request without errors has at most one other customer in its adds, who then becomes the survivor.
    """
    org_id, scope = root.org_id, prepared.scope
    adds_path = "/identifiers" if type(prepared.request.command) is RegisterCustomer else "/add"
    removed, warnings = _removes(state, prepared, root)
    added: list[Entry] = []
    matches: list[Match] = []
    taken: list[tuple[NamedIdentifier, int]] = []
    others: set[int] = set()
    survivors: set[int] = set()
    for item in prepared.adds:
        entry = Entry(item.type, item.value, scope)
        holders = state.holders(org_id, item.type, item.value)
        if not holders:
            added.append(entry)
            continue
        elsewhere = {holder for place, holder in holders.items() if place != scope} - {root.customer_id}
        here = holders.get(scope)
        others |= elsewhere
        if here is not None and here != root.customer_id:
            others.add(here)
            taken.append((item, here))
            warnings.append(_already_present(item))
        elif here is not None:
            warnings.append(_already_present(item))
        else:
            survivors |= elsewhere
            added.append(entry)
        places = tuple(sorted(place for place, holder in holders.items() if holder != root.customer_id))
        if places:
            matches.append(Match(entry, places))
    if len(others) > 1 or (taken and not survivors):
        return IdentifierStage(errors=_rejection(taken, others, adds_path))
    merge = None
    if survivors:
        (survivor_id,) = survivors
        merge = _merge(state, root, survivor_id, removed, matches)
        if _too_large(state, merge, limits, root):
            text = "The victim holds more than one merge may move: most likely a value that many people share."
            error = problem(ErrorCode.MERGE_TOO_LARGE, text, adds_path, customer_ids=(survivor_id,))
            return IdentifierStage(errors=(error,))
    return IdentifierStage(
        warnings=tuple(warnings),
        removed=tuple(sorted(removed)),
        added=tuple(sorted(added)),
        merge=merge,
    )


def _removes(state: State, prepared: Prepared, root: Customer) -> tuple[list[Entry], list[Problem]]:
    """The entries that go, and a warning for each that is not the customer's in this scope."""
    removed: list[Entry] = []
    warnings: list[Problem] = []
    for item in prepared.removes:
        holder = state.holders(root.org_id, item.type, item.value).get(prepared.scope)
        if holder == root.customer_id:
            removed.append(Entry(item.type, item.value, prepared.scope))
        else:
            text = f"The customer has no such {item.type} in this scope."
            warnings.append(problem(WarningCode.NOT_PRESENT, text, item.path))
    return removed, warnings


def _already_present(item: NamedIdentifier) -> Problem:
    text = f"The customer has this {item.type} in this scope already."
    return problem(WarningCode.ALREADY_PRESENT, text, item.path, identifier_type=item.type)


def _rejection(taken: list[tuple[NamedIdentifier, int]], others: set[int], adds_path: str) -> tuple[Problem, ...]:
    """One error for each taken add; one more that lists all holders where there are two or more."""
    errors = [
        problem(
            ErrorCode.IDENTIFIER_TAKEN,
            f"Another customer has this {item.type} in this scope.",
            item.path,
            customer_ids=(holder,),
        )
        for item, holder in taken
    ]
    if len(others) > 1:
        text = "The added identifiers belong to several other customers."
        holders = tuple(sorted(others))
        errors.append(problem(ErrorCode.CONFLICTING_CUSTOMERS, text, adds_path, customer_ids=holders))
    return tuple(errors)


def _merge(state: State, root: Customer, survivor_id: int, removed: list[Entry], matches: list[Match]) -> Merge:
    key = (root.org_id, root.customer_id)
    # A customer that this very request creates is in no table yet and holds nothing.
    held = state.held[key] if key in state.customers else Held()
    cards = sorted((number, state.cards[root.org_id, number].series_id) for number in held.cards)
    return Merge(
        victim_id=root.customer_id,
        survivor_id=survivor_id,
        matched=tuple(sorted(matches, key=lambda match: match.added)),
        moved_entries=tuple(sorted(held.entries - set(removed))),
        moved_cards=tuple(cards),
        repointed_ids=tuple(sorted(held.victims)),
    )


def _too_large(state: State, merge: Merge, limits: Limits, root: Customer) -> bool:
    """Whether the merge moves or repoints more than the limit, or its event would be larger than one record."""
    held = state.held.get((root.org_id, root.customer_id))
    moved, repointed = len(merge.moved_entries) + len(merge.moved_cards), len(merge.repointed_ids)
    if (held is not None and held.overflow) or max(moved, repointed) > limits.merge_max_entries:
        return True
    rows = moved + repointed + sum(len(match.entries) for match in merge.matched)
    if rows * (ROW_BYTES_MAX + WARNING_BYTES_MAX) <= limits.event_max_bytes:
        return False
    warnings = len({series_id for _, series_id in merge.moved_cards}) + IDENTIFIERS_MAX
    return merge_bytes(merge) + warnings * WARNING_BYTES_MAX > limits.event_max_bytes
