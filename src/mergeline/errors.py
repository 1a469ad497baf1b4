"""What can go wrong around the work itself, as exceptions whose text is one line for the person who reads it.

In: a sentence. Out: an exception. Never: a secret, personal data, or a way of a request to end (those are answers,
not exceptions).

    MergelineError
    ├── SetupError      a setting, an address, a missing topic or migration: somebody must act; exit status 2
    ├── StoreError      of the store (`store.failures`)
    ├── EmbeddedError   of the servers of demo, bench and tests (`embedded.errors`)
    └── what ends a worker by itself, beside what it is about: `stream.watchdog`, `stream.pipeline`, `app`
"""


class MergelineError(Exception):
    """Base of our errors whose text may be shown and logged: one line, without a value of a request.

    What is caught where it is known, and never shown, is none of them (`Lost`, `Retriable`, `Torn`).
    """


class SetupError(MergelineError):
    """The surroundings are not as they must be. The text names the setting or the part, and what to do."""
