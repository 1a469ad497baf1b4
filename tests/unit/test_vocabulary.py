"""The words of the house, written down from SPEC once more: topics, types of events, upstream codes, transitions."""

import pytest

from mergeline.domain.vocabulary import (
    INPUT_TOPICS,
    OUTCOME_TOPICS,
    STATUS_CHANGES,
    CardStatus,
    ErrorCode,
    EventType,
    Topic,
    WarningCode,
    dead_letter_topic,
    is_dead_letter_topic,
    upstream_code,
)

UPSTREAM = {
    "UNKNOWN_SOURCE": 8011,
    "ACCOUNT_REQUIRED": 8045,
    "ACCOUNT_NOT_ALLOWED": 8127,
    "UNKNOWN_SERIES": 3004,
    "SERIES_INACTIVE": 3008,
    "UNKNOWN_STATUS_LABEL": 8086,
    "LABEL_NOT_REMOVAL": 3018,
    "CUSTOMER_NOT_FOUND": 8009,
    "CUSTOMER_MERGED": 8069,
    "IDENTIFIER_TAKEN": 8008,
    "CONFLICTING_CUSTOMERS": 8053,
    "CARD_NOT_FOUND": 3010,
    "CARD_TAKEN": 3027,
    "CARD_NOT_ISSUABLE": 3027,
    "CARD_LIMIT_REACHED": 3036,
    "CARD_TRANSITION_NOT_ALLOWED": 3038,
    "CARD_NOT_REMOVABLE": 3031,
    "NOT_PRESENT": 8070,
}
WITHOUT = {
    "REQUEST_ID_REUSED",
    "UNKNOWN_ORG",
    "BLOCKED_VALUE",
    "LABEL_NOT_ISSUABLE",
    "MERGE_TOO_LARGE",
    "CARD_NOT_IN_SERIES",
    "REDIRECTED",
    "NO_IDENTIFIERS_LEFT",
    "CARD_LIMIT_EXCEEDED",
}
BY_TYPE = {"INVALID_VALUE": (1001, 1002, 1003), "ALREADY_PRESENT": (8071, 8072, 8073)}


@pytest.mark.parametrize("code", [*ErrorCode, *WarningCode])
def test_upstream_codes(code: ErrorCode | WarningCode) -> None:
    by_type = BY_TYPE.get(code.value)
    for kind, position in (("mobile", 0), ("email", 1), ("wechat", 2), ("cardnumber", 2)):
        assert upstream_code(code, kind) == (by_type[position] if by_type else UPSTREAM.get(code.value))
        assert (upstream_code(code, kind) is None) == (code.value in WITHOUT)


def test_every_code_is_in_the_tables() -> None:
    assert {code.value for code in (*ErrorCode, *WarningCode)} == {*UPSTREAM, *WITHOUT, *BY_TYPE}


def test_topics() -> None:
    assert {topic.value for topic in Topic} == {
        "identifier-updates",
        "customer-registrations",
        "card-registrations",
        "commands-by-customer",
        "update-outcomes",
        "registration-outcomes",
        "customer-merged",
        "card-issued",
        "card-changed",
        "identifiers-changed",
        "customer-redirects",
    }
    assert dead_letter_topic("identifier-updates") == "identifier-updates-dlt"


def test_event_types() -> None:
    assert {kind.value.removeprefix("mergeline.") for kind in EventType} == {
        "customer.merged",
        "card.issued",
        "card.removed",
        "card.status_changed",
        "identifiers.changed",
        "update.outcome",
        "registration.outcome",
        "customer.redirect",
    }


def test_nothing_changes_to_or_from_not_issued_and_ends_are_final() -> None:
    assert all(CardStatus.NOT_ISSUED not in reachable for reachable in STATUS_CHANGES.values())
    for status in (CardStatus.NOT_ISSUED, CardStatus.EXPIRED, CardStatus.DELETED):
        assert not STATUS_CHANGES[status]


def test_every_input_topic_has_a_topic_of_answers_and_one_of_dead_letters() -> None:
    assert {topic: (OUTCOME_TOPICS[topic], dead_letter_topic(topic)) for topic in INPUT_TOPICS} == {
        "identifier-updates": ("update-outcomes", "identifier-updates-dlt"),
        "customer-registrations": ("registration-outcomes", "customer-registrations-dlt"),
        "card-registrations": ("registration-outcomes", "card-registrations-dlt"),
    }
    names = [*Topic, *map(dead_letter_topic, INPUT_TOPICS)]
    assert {name for name in names if is_dead_letter_topic(f"prefix.{name}")} == set(
        map(dead_letter_topic, INPUT_TOPICS)
    )
