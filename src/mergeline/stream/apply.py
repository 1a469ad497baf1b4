"""The apply stage: one PostgreSQL transaction and one Kafka transaction a batch.

In: records of the internal topic (or of the public ones, with `MERGELINE_REQUESTS_KEYED`). Out: stored bytes,
published with the offsets of their records. Never: a publish by a worker that another one has fenced.

Acquiring is `mergeline.store.ownership`'s claim around Kafka's init_transactions, in this order: lock the
partitions' rows; fence every transactional id found there; initialise our own new one; write it; commit; then read
the committed offsets. Our id is initialised before anybody can read it: a worker that slept between the two would
otherwise wake, initialise, and be fenced by nobody.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import structlog
from aiokafka import TopicPartition

from mergeline.domain.messages import Outgoing
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store import Store
from mergeline.stream.offsets import Offsets
from mergeline.stream.origin import Place, Record, message_of
from mergeline.stream.pipeline import Work
from mergeline.stream.producers import Producers
from mergeline.stream.publisher import Publisher, PublishFailed

log = structlog.get_logger(__name__)
