"""The points at which tests stop a worker: at every await of acquiring and publishing.

In: what to do when a point is reached. Out: the functions of production, wrapped from outside. Nothing in `src` knows
of this.
"""

from contextlib import asynccontextmanager
from contextvars import ContextVar

from aiokafka import AIOKafkaProducer

import mergeline.stream.apply
from mergeline.store.ownership import Claim
from mergeline.stream.apply import ApplyStage
from mergeline.stream.producers import Producers
from mergeline.stream.publisher import Publisher

ACQUIRE = ("claimed", "fenced", "initialised", "written", "owned", "acquired")
PUBLISH = ("stored", "begun", "sent", "offsets sent", "committing", "committed")


def install(reached, replace=setattr):
    """Have `reached(point)` awaited at each point; `replace` as pytest's `monkeypatch.setattr` undoes it."""

    def around(owner, name, *, before=None, after=None, when=lambda *_: True):
        original = getattr(owner, name)

        async def wrapped(self, *arguments, **options):
            if before and when(self, *arguments):
                await reached(before)
            found = await original(self, *arguments, **options)
            if after and when(self, *arguments):
                await reached(after)
            return found

        replace(owner, name, wrapped)

    claim, fence = mergeline.stream.apply.claim, Producers.fence
    fencing = ContextVar("fencing", default=False)

    @asynccontextmanager
    async def claimed(*arguments, **options):
        async with claim(*arguments, **options) as found:
            await reached("claimed")
            yield found
        await reached("owned")

    async def fenced(self, transactional_id):
        token = fencing.set(True)
        try:
            await fence(self, transactional_id)
        finally:
            fencing.reset(token)

    def own(self, transactional_id=None):
        return transactional_id is not None and not fencing.get()

    def transactional(publisher, *_):
        return publisher.transactional_id is not None

    process = ApplyStage.process

    async def stored(*arguments):
        async for works in process(*arguments):
            await reached("stored")
            yield works

    replace(ApplyStage, "process", stored)
    replace(mergeline.stream.apply, "claim", claimed)
    replace(Producers, "fence", fenced)
    # Fences and this one begin at once: whoever is held here has fenced the others soon.
    around(Producers, "start", before="fenced", when=own)
    around(Claim, "write", before="initialised", after="written")
    around(ApplyStage, "acquire", after="acquired")
    around(Publisher, "_send", after="sent", when=transactional)
    around(AIOKafkaProducer, "begin_transaction", after="begun")
    around(AIOKafkaProducer, "send_offsets_to_transaction", after="offsets sent")
    around(AIOKafkaProducer, "commit_transaction", before="committing", after="committed")
