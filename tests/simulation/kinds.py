"""Every kind of answer that a simulation should have seen: the codes of the contract, and the types of events."""

ANSWERS = {"decided", "duplicate", "reused", "dropped", "MALFORMED_JSON", "INVALID_REQUEST"}
ERRORS = {
    "REQUEST_ID_REUSED", "UNKNOWN_ORG", "UNKNOWN_SOURCE", "ACCOUNT_REQUIRED", "ACCOUNT_NOT_ALLOWED", "INVALID_VALUE",
    "BLOCKED_VALUE", "UNKNOWN_SERIES", "SERIES_INACTIVE", "UNKNOWN_STATUS_LABEL", "LABEL_NOT_ISSUABLE",
    "LABEL_NOT_REMOVAL", "CUSTOMER_NOT_FOUND", "CUSTOMER_MERGED", "IDENTIFIER_TAKEN", "CONFLICTING_CUSTOMERS",
    "MERGE_TOO_LARGE", "CARD_NOT_FOUND", "CARD_NOT_IN_SERIES", "CARD_TAKEN", "CARD_NOT_ISSUABLE", "CARD_LIMIT_REACHED",
    "CARD_TRANSITION_NOT_ALLOWED", "CARD_NOT_REMOVABLE",
}  # fmt: skip
WARNINGS = {"REDIRECTED", "NOT_PRESENT", "ALREADY_PRESENT", "NO_IDENTIFIERS_LEFT", "CARD_LIMIT_EXCEEDED"}
EVENTS = {
    "mergeline.customer.merged", "mergeline.customer.redirect", "mergeline.identifiers.changed",
    "mergeline.card.issued", "mergeline.card.removed", "mergeline.card.status_changed",
}  # fmt: skip
ALL = ANSWERS | ERRORS | WARNINGS | EVENTS


def table(seen):
    """How often each was seen."""
    return "\n".join(f"{count:8} {kind}" for kind, count in sorted(seen.items()))
