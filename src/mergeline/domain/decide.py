"""What a request does: a function of the state and the prepared request (SPEC sections 3, 4 and 7).

In: `State` (read only), `Prepared`, the time, the limits. Out: one `Decision`, which changes nothing by itself.
Never: I/O, or a change of the state (that is `State.fold`). The order of the lists in a request does not matter.
"""

from datetime import datetime

from msgspec.structs import replace

from mergeline.domain.answers import Customer, Decision, Entry, Problem, problem
from mergeline.domain.cards import NO_CARDS, CardStage, decide_cards, registered_card
from mergeline.domain.commands import RegisterCard, RegisterCustomer, UpdateIdentifiers
from mergeline.domain.identifiers import IdentifierStage, decide_identifiers
from mergeline.domain.limits import Limits
from mergeline.domain.prepare import Prepared
from mergeline.domain.state import State
from mergeline.domain.vocabulary import ErrorCode, Status, WarningCode


def decide(state: State, prepared: Prepared, now: datetime, limits: Limits) -> Decision:
    """The decision on one request; every error of the first stage that fails, or everything that changes."""
    if prepared.errors:
        return _rejected(now, prepared.errors)
    command = prepared.request.command
    match command:
        case UpdateIdentifiers():
            return _update(state, prepared, command, now, limits)
        case RegisterCustomer():
            return _register(state, prepared, command, now, limits)
        case RegisterCard():
            if (command.org_id, command.number) in state.cards:
                return Decision(Status.UNCHANGED, now)
            return Decision(Status.APPLIED, now, registered_card=registered_card(prepared, command))


def _rejected(now: datetime, errors: tuple[Problem, ...], version_of: int | None = None) -> Decision:
    """A rejection; `version_of` is the root, where one was looked up."""
    return Decision(Status.REJECTED, now, version_of=version_of, errors=errors)


def _update(state: State, prepared: Prepared, command: UpdateIdentifiers, now: datetime, limits: Limits) -> Decision:
    asked = state.customers.get((command.org_id, command.customer_id))
    root = state.root(command.org_id, command.customer_id)
    if asked is None or root is None:
        text = "No such customer is registered in the org."
        return _rejected(now, (problem(ErrorCode.CUSTOMER_NOT_FOUND, text, "/customerId"),))
    redirected: tuple[Problem, ...] = ()
    if root is not asked:
        others = (root.customer_id,)
        if prepared.catalog is not None and prepared.catalog.policies.merged_customer == "reject":
            text = "The customer was merged; the org does not redirect. customerIds names the survivor."
            error = problem(ErrorCode.CUSTOMER_MERGED, text, "/customerId", customer_ids=others)
            return _rejected(now, (error,), root.customer_id)
        text = "The customer was merged; the request was applied to its survivor."
        redirected = (problem(WarningCode.REDIRECTED, text, "/customerId", customer_ids=others),)

    identifiers = decide_identifiers(state, prepared, root, limits)
    if identifiers.errors:
        return _rejected(now, identifiers.errors, root.customer_id)
    cards = decide_cards(state, prepared, root.customer_id, identifiers.merge, now)
    if cards.errors:
        return _rejected(now, cards.errors, root.customer_id)
    return _applied(state, root, now, identifiers, cards, redirected)


def _register(state: State, prepared: Prepared, command: RegisterCustomer, now: datetime, limits: Limits) -> Decision:
    known = state.root(command.org_id, command.customer_id)
    if known is not None:
        return Decision(Status.UNCHANGED, now, applied_to=known.customer_id, version_of=known.customer_id)
    registered_at = command.registered_at or now
    created = Customer(command.org_id, command.customer_id, None, 0, registered_at)
    identifiers = decide_identifiers(state, prepared, created, limits)
    if identifiers.errors:
        return _rejected(now, identifiers.errors)
    decision = _applied(state, created, now, identifiers, NO_CARDS, ())
    return replace(decision, status=Status.APPLIED, registered=created)


def _applied(
    state: State,
    root: Customer,
    now: datetime,
    identifiers: IdentifierStage,
    cards: CardStage,
    redirected: tuple[Problem, ...],
) -> Decision:
    merge = identifiers.merge
    if merge is not None:
        merge = replace(merge, warnings=cards.merge_warnings)
    merged_into = merge.survivor_id if merge is not None else None
    changed = bool(identifiers.removed or identifiers.added or merge or cards.changes)
    left = _none_left(state, root, identifiers.removed, identifiers.added) if merge is None else ()
    return Decision(
        status=Status.APPLIED if changed else Status.UNCHANGED,
        occurred_at=now,
        applied_to=root.customer_id,
        merged_into=merged_into,
        version_of=merged_into if merged_into is not None else root.customer_id,
        warnings=redirected + identifiers.warnings + cards.warnings + left + cards.merge_warnings,
        removed=identifiers.removed,
        added=identifiers.added,
        merge=merge,
        cards=cards.changes,
    )


def _none_left(
    state: State, root: Customer, removed: tuple[Entry, ...], added: tuple[Entry, ...]
) -> tuple[Problem, ...]:
    if not removed:
        return ()
    before = state.entry_counts[root.org_id, root.customer_id]
    if before - len(removed) + len(added) > 0:
        return ()
    text = "The customer has no identifier left in any source."
    return (problem(WarningCode.NO_IDENTIFIERS_LEFT, text, "/remove"),)
