"""What a failure of the store means, decided in one place.

In: an exception. Out: its `Kind`, and a description that may be logged (`logs` asks for it too) and published. Never:
the text of a database error (its DETAIL carries values of the request), or a second place that reads an SQLSTATE.

    MergelineError
    └── StoreError
        ├── Forgotten       the database has lost what was stored: go on with nothing
        ├── BatchTooLarge   a batch names or holds more than one transaction may lock or read: halve it
        ├── CatalogRefused  a catalog drops what stored data rests on: an operator changes the file
        ├── Unsettled       owners kept changing while they were locked, or a commit is no promise: try again
        ├── WrongEncoding   the database is not in UTF-8: somebody makes another (`store.migrations`)
        └── Overtaken       rows changed in spite of the locks: try again (a lock is missing somewhere)
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

import asyncpg

from mergeline.errors import MergelineError


class StoreError(MergelineError):
    """Base of the store's own failures."""


class BatchTooLarge(StoreError):
    """One transaction would lock, or read, more than its bound: locks, rows, or bytes."""

    def __init__(self, number: int, number_max: int) -> None:
        super().__init__(f"{number} locks, rows or bytes in one transaction; at most {number_max}")


class CatalogRefused(StoreError):
    """A catalog drops what stored data rests on."""

    def __init__(self, uses: Sequence[str]) -> None:
        super().__init__("; ".join(uses))
        self.uses = tuple(uses)


class Unsettled(StoreError):
    """In every round the owners that were found under the locks were others than those that were locked; or the server
    commits, and does not promise to keep it.
    """


class Overtaken(StoreError):
    """A write found another row than the one that was read under the locks."""


class Forgotten(StoreError):
    """The database no longer has rows that this process committed: most likely a standby took over without the last
    commits.
    """

    def __init__(self) -> None:
        super().__init__(
            "the database has lost answers that this worker had stored, or takes no more from it (did a standby take "
            "over without the last commits? was a topic reset meanwhile?); started again, a worker says what to do"
        )


class Kind(Enum):
    """What is to be done."""

    TRANSIENT = "transient"
    """Try again: the connection, the server, a deadlock, a time-out."""
    TOO_LARGE = "too_large"
    """Halve the batch."""
    POISON = "poison"
    """Something in one of the messages: find it."""
    FATAL = "fatal"
    """Nothing that trying again or leaving a message out would mend."""


_BY_STATE: Final = {
    "25006": Kind.TRANSIENT,  # read-only: a server that was demoted
    "25P03": Kind.TRANSIENT,  # idle in transaction for too long: this process was paused
    "25P04": Kind.TRANSIENT,  # transaction_timeout
    "53100": Kind.TRANSIENT,  # disk full
    "53200": Kind.TOO_LARGE,  # out of shared memory: the lock table is full
    "53300": Kind.TRANSIENT,  # too many connections
    "53400": Kind.TRANSIENT,
    "55006": Kind.TRANSIENT,  # object in use
    "55P03": Kind.TRANSIENT,  # lock not available
    "57014": Kind.TOO_LARGE,  # cancelled, by statement_timeout as a rule: half of it may be through in time
    "57P01": Kind.TRANSIENT,  # the server shuts down,
    "57P02": Kind.TRANSIENT,  # crashed,
    "57P03": Kind.TRANSIENT,  # or starts
    "57P05": Kind.TRANSIENT,  # idle session
}
_BY_CLASS: Final = {
    "08": Kind.TRANSIENT,  # connection
    "21": Kind.POISON,  # cardinality
    "22": Kind.POISON,  # data
    "23": Kind.POISON,  # integrity
    "40": Kind.TRANSIENT,  # deadlock, serialisation, unknown completion
    "44": Kind.POISON,  # WITH CHECK OPTION
    "54": Kind.POISON,  # a program limit: a row or an index entry too long
    "P0": Kind.POISON,  # raised by a trigger
}
_CLOSED: Final = "the handler is closed"
"""uvloop's words, in a RuntimeError, for a connection that was reset before its reader heard of it."""


def kind_of(error: BaseException) -> Kind:
    """What is to be done about the error."""
    match error:
        case BatchTooLarge():
            return Kind.TOO_LARGE
        case Unsettled() | Overtaken():
            return Kind.TRANSIENT
        case MergelineError() | MemoryError() | asyncpg.ClientConfigurationError():
            return Kind.FATAL
        case asyncpg.InvalidCachedStatementError() | asyncpg.OutdatedSchemaCacheError():
            # The schema was migrated under a prepared statement; the next attempt prepares it anew.
            return Kind.TRANSIENT
        case asyncpg.PostgresError():
            state = error.sqlstate or ""
            return _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or Kind.FATAL
        case asyncpg.InterfaceError() if isinstance(error, ValueError):
            return Kind.POISON  # a value that its column's type cannot take
        case asyncpg.InterfaceError() | asyncpg.InternalClientError() | OSError():
            return Kind.TRANSIENT  # TimeoutError is an OSError
        case RuntimeError() if _CLOSED in str(error):
            return Kind.TRANSIENT
        case Exception():
            return Kind.POISON
        case _:
            return Kind.FATAL


def describe(error: BaseException) -> str:
    """The class of a failure, and its SQLSTATE, constraint or column where it has one: never a value."""
    name = type(error).__name__
    if isinstance(error, asyncpg.PostgresError):
        place = error.constraint_name or error.column_name
        return " ".join(part for part in (name, error.sqlstate, place) if part)
    return name
