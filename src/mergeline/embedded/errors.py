"""The one error of the embedded services.

In: a sentence for the person who started them. Out: ``EmbeddedError``. Never: an error of the worker.
"""

from __future__ import annotations

from mergeline.errors import MergelineError


class EmbeddedError(MergelineError):
    """A server could not be fetched, started or stopped; the message says which, and what its log said last."""
