"""The words of the house: topics, card statuses, codes (SPEC sections 1 to 5).

In: nothing. Out: constants that code, schemas and docs share. Never: logic beyond a look-up.
"""

from enum import StrEnum
from typing import Final


class Topic(StrEnum):
    """Topic names without the prefix (`MERGELINE_TOPIC_PREFIX`)."""

    IDENTIFIER_UPDATES = "identifier-updates"
    CUSTOMER_REGISTRATIONS = "customer-registrations"
    CARD_REGISTRATIONS = "card-registrations"
    COMMANDS_BY_CUSTOMER = "commands-by-customer"
    UPDATE_OUTCOMES = "update-outcomes"
    REGISTRATION_OUTCOMES = "registration-outcomes"
    CUSTOMER_MERGED = "customer-merged"
    CARD_ISSUED = "card-issued"
    CARD_CHANGED = "card-changed"
    IDENTIFIERS_CHANGED = "identifiers-changed"
    CUSTOMER_REDIRECTS = "customer-redirects"


INPUT_TOPICS: Final = (Topic.IDENTIFIER_UPDATES, Topic.CUSTOMER_REGISTRATIONS, Topic.CARD_REGISTRATIONS)
EVENT_TOPICS: Final = (
    Topic.UPDATE_OUTCOMES,
    Topic.REGISTRATION_OUTCOMES,
    Topic.CUSTOMER_MERGED,
    Topic.CARD_ISSUED,
    Topic.CARD_CHANGED,
    Topic.IDENTIFIERS_CHANGED,
    Topic.CUSTOMER_REDIRECTS,
)
OUTCOME_TOPICS: Final = {
    Topic.IDENTIFIER_UPDATES: Topic.UPDATE_OUTCOMES,
    Topic.CUSTOMER_REGISTRATIONS: Topic.REGISTRATION_OUTCOMES,
    Topic.CARD_REGISTRATIONS: Topic.REGISTRATION_OUTCOMES,
}
"""By input topic, where its requests are answered."""
DEAD_LETTER_SUFFIX: Final = "-dlt"
CHANGE_TOPICS: Final = frozenset(
    (Topic.CUSTOMER_MERGED, Topic.IDENTIFIERS_CHANGED, Topic.CARD_ISSUED, Topic.CARD_CHANGED)
)
"""Those of change events, each of which counts its customer's version by one."""


def dead_letter_topic(topic: str) -> str:
    """Where the dead letters of an input topic go; what stands on the internal topic by itself goes to the first's."""
    return f"{topic if topic in INPUT_TOPICS else Topic.IDENTIFIER_UPDATES}{DEAD_LETTER_SUFFIX}"


def is_dead_letter_topic(topic: str) -> bool:
    """Whether it is one of those, by its name with or without prefix."""
    return topic.endswith(DEAD_LETTER_SUFFIX)


class EventType(StrEnum):
    """The `ce_type` of each event."""

    CUSTOMER_MERGED = "mergeline.customer.merged"
    CARD_ISSUED = "mergeline.card.issued"
    CARD_REMOVED = "mergeline.card.removed"
    CARD_STATUS_CHANGED = "mergeline.card.status_changed"
    IDENTIFIERS_CHANGED = "mergeline.identifiers.changed"
    UPDATE_OUTCOME = "mergeline.update.outcome"
    REGISTRATION_OUTCOME = "mergeline.registration.outcome"
    CUSTOMER_REDIRECT = "mergeline.customer.redirect"


class CardStatus(StrEnum):
    """The standard statuses; an org's labels map to these."""

    NOT_ISSUED = "NOT_ISSUED"
    ISSUED = "ISSUED"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    EXPIRED = "EXPIRED"
    DELETED = "DELETED"


COUNTED_STATUSES: Final = frozenset({CardStatus.ISSUED, CardStatus.ACTIVE, CardStatus.SUSPENDED})
"""What `maxActiveCardsPerCustomer` counts, and what needs an owner."""
ISSUABLE_STATUSES: Final = frozenset({CardStatus.ISSUED, CardStatus.ACTIVE})
FINAL_STATUSES: Final = frozenset({CardStatus.EXPIRED, CardStatus.DELETED})
"""A card that stands at one of these changes no more, and cannot leave its customer."""
STATUS_CHANGES: Final[dict[CardStatus, frozenset[CardStatus]]] = {
    CardStatus.NOT_ISSUED: frozenset(),
    CardStatus.ISSUED: FINAL_STATUSES | {CardStatus.ACTIVE, CardStatus.SUSPENDED},
    CardStatus.ACTIVE: FINAL_STATUSES | {CardStatus.SUSPENDED},
    CardStatus.SUSPENDED: FINAL_STATUSES | {CardStatus.ACTIVE},
    CardStatus.EXPIRED: frozenset(),
    CardStatus.DELETED: frozenset(),
}
"""From a status to the others it may change to (SPEC section 4); two labels of one status may always swap."""

CARD: Final = "cardnumber"
CARD_SPELLINGS: Final = frozenset({"cardnumber", "cardNumber"})


class Status(StrEnum):
    """How a request ended."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"


class DeadLetterCode(StrEnum):
    """Why a message became a dead letter."""

    MALFORMED_JSON = "MALFORMED_JSON"
    TOO_LARGE = "TOO_LARGE"
    INVALID_REQUEST = "INVALID_REQUEST"
    PROCESSING_FAILED = "PROCESSING_FAILED"


class ErrorCode(StrEnum):
    """Why a request was rejected, in order of precedence (SPEC section 3)."""

    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    UNKNOWN_ORG = "UNKNOWN_ORG"
    UNKNOWN_SOURCE = "UNKNOWN_SOURCE"
    ACCOUNT_REQUIRED = "ACCOUNT_REQUIRED"
    ACCOUNT_NOT_ALLOWED = "ACCOUNT_NOT_ALLOWED"
    INVALID_VALUE = "INVALID_VALUE"
    BLOCKED_VALUE = "BLOCKED_VALUE"
    UNKNOWN_SERIES = "UNKNOWN_SERIES"
    SERIES_INACTIVE = "SERIES_INACTIVE"
    UNKNOWN_STATUS_LABEL = "UNKNOWN_STATUS_LABEL"
    LABEL_NOT_ISSUABLE = "LABEL_NOT_ISSUABLE"
    LABEL_NOT_REMOVAL = "LABEL_NOT_REMOVAL"
    CUSTOMER_NOT_FOUND = "CUSTOMER_NOT_FOUND"
    CUSTOMER_MERGED = "CUSTOMER_MERGED"
    IDENTIFIER_TAKEN = "IDENTIFIER_TAKEN"
    CONFLICTING_CUSTOMERS = "CONFLICTING_CUSTOMERS"
    MERGE_TOO_LARGE = "MERGE_TOO_LARGE"
    CARD_NOT_FOUND = "CARD_NOT_FOUND"
    CARD_NOT_IN_SERIES = "CARD_NOT_IN_SERIES"
    CARD_TAKEN = "CARD_TAKEN"
    CARD_NOT_ISSUABLE = "CARD_NOT_ISSUABLE"
    CARD_LIMIT_REACHED = "CARD_LIMIT_REACHED"
    CARD_TRANSITION_NOT_ALLOWED = "CARD_TRANSITION_NOT_ALLOWED"
    CARD_NOT_REMOVABLE = "CARD_NOT_REMOVABLE"


class WarningCode(StrEnum):
    """What an applied or unchanged request should know."""

    REDIRECTED = "REDIRECTED"
    NOT_PRESENT = "NOT_PRESENT"
    ALREADY_PRESENT = "ALREADY_PRESENT"
    NO_IDENTIFIERS_LEFT = "NO_IDENTIFIERS_LEFT"
    CARD_LIMIT_EXCEEDED = "CARD_LIMIT_EXCEEDED"


_UPSTREAM: Final[dict[str, int]] = {
    ErrorCode.UNKNOWN_SOURCE: 8011,
    ErrorCode.ACCOUNT_REQUIRED: 8045,
    ErrorCode.ACCOUNT_NOT_ALLOWED: 8127,
    ErrorCode.UNKNOWN_SERIES: 3004,
    ErrorCode.SERIES_INACTIVE: 3008,
    ErrorCode.UNKNOWN_STATUS_LABEL: 8086,
    ErrorCode.LABEL_NOT_REMOVAL: 3018,
    ErrorCode.CUSTOMER_NOT_FOUND: 8009,
    ErrorCode.CUSTOMER_MERGED: 8069,
    ErrorCode.IDENTIFIER_TAKEN: 8008,
    ErrorCode.CONFLICTING_CUSTOMERS: 8053,
    ErrorCode.CARD_NOT_FOUND: 3010,
    ErrorCode.CARD_TAKEN: 3027,
    ErrorCode.CARD_NOT_ISSUABLE: 3027,
    ErrorCode.CARD_LIMIT_REACHED: 3036,
    ErrorCode.CARD_TRANSITION_NOT_ALLOWED: 3038,
    ErrorCode.CARD_NOT_REMOVABLE: 3031,
    WarningCode.NOT_PRESENT: 8070,
}
_UPSTREAM_BY_TYPE: Final[dict[str, tuple[int, int, int]]] = {
    ErrorCode.INVALID_VALUE: (1001, 1002, 1003),
    WarningCode.ALREADY_PRESENT: (8071, 8072, 8073),
}


def upstream_code(code: ErrorCode | WarningCode, identifier_type: str | None = None) -> int | None:
    """The number the original HTTP API uses for `code` (by type: mobile, email, other), or None."""
    by_type = _UPSTREAM_BY_TYPE.get(code)
    if by_type is None:
        return _UPSTREAM.get(code)
    return by_type[{"mobile": 0, "email": 1}.get(identifier_type or "", 2)]
