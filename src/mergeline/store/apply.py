"""The way of a batch through the database, on one screen: `Store.apply`.

In: messages in order; how far their partitions got; how far the ledger's answers reach. Out: one answer a message, in
order, committed together with everything they change. Never: a statement a message, a decision on what was read
without its lock, or half a batch.

    answered -> decode -> [ catalogs -> prepare -> footprint -> discover -> lock -> read -> judge -> write -> commit ]
                              ^                                              |                  (and answer,
                              +---- what was found is more than was locked --+                   meanwhile)
                                          at most LOCK_ROUNDS_MAX times
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import asyncpg

from mergeline.domain.batch import Answer, DeadLetter, answer_batch, judge_batch
from mergeline.domain.commands import Request
from mergeline.domain.decode import decode_all
from mergeline.domain.footprint import Footprint, footprint
from mergeline.domain.messages import Coordinate, DeadLetterReason, Message, Place
from mergeline.domain.prepare import Prepared, prepare
from mergeline.domain.state import CustomerKey
from mergeline.domain.vocabulary import DeadLetterCode
from mergeline.store.answered import at_or_below, read_answered
from mergeline.store.catalog_cache import CatalogCache, Versioned, outdated
from mergeline.store.dead_letter_runs import CheckRuns, count_runs
from mergeline.store.failures import Unsettled
from mergeline.store.locks import catalog_lock, lock
from mergeline.store.options import Options
from mergeline.store.pool import ACQUIRE_TIMEOUT_S
from mergeline.store.progress import Progress, write_progress
from mergeline.store.read import discover, read_holdings, read_ledger, read_named
from mergeline.store.statements import OnStatement, Statements, bounds, statements_of
from mergeline.store.write import write

LOCK_ROUNDS_MAX: Final = 5
EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})


class _Uncovered(Exception):
    """Under the locks more was found than they cover: other owners, another catalog."""

    def __init__(self, customers: set[CustomerKey], org_ids: set[int]) -> None:
        super().__init__()
        self.customers, self.org_ids = customers, org_ids


class Store:
    """The database as the worker uses it. Batches may run at the same time, in any number of processes."""

    def __init__(self, pool: asyncpg.Pool, options: Options, on_statement: OnStatement | None = None) -> None:
        self.pool, self.options = pool, options
        self.bounds = bounds(options.lock_wait_ms_max, options.statement_ms_max, options.idle_ms_max)
        """What each transaction is begun with."""
        self._on_statement = on_statement
        self._catalogs = CatalogCache(options.catalogs_cached_max)

    async def apply(
        self,
        messages: Sequence[Message],
        *,
        progress: Mapping[Place, Progress] = EMPTY,
        horizons: Mapping[Place, int] = EMPTY,
        forced: Mapping[Coordinate, str] = EMPTY,
        check_runs: CheckRuns | None = None,
    ) -> list[Answer]:
        """Answer the messages, in order, in one transaction.

        Args:
            messages: what was read, in order within each partition.
            progress: how far partitions got before; raised together with the batch.
            horizons: the highest offset of each partition that the ledger has an answer for (`Claim.horizons`).
            forced: messages, by where they were read, that become dead letters `PROCESSING_FAILED` with this text.
            check_runs: told how many dead letters in a row each origin partition has now; may raise to undo it all.

        Raises:
            Exception: as it came; `failures.kind_of` says what to do. Nothing was changed then, unless the answer to
                the commit was lost: the ledger knows, so applying the batch again is right either way.
        """
        async with self.statements() as db:
            answers = await self._answered(db, messages, horizons)
            left = [message for message in messages if message.at not in answers] if answers else messages
            decided = await self._in_rounds(db, _decoded(left, forced), progress, check_runs)
        if not answers:
            return decided
        answers |= {answer.message.at: answer for answer in decided}
        return [answers[message.at] for message in messages]

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[Statements]:
        """A connection of the pool."""
        async with (
            self.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection,
            statements_of(connection, self._on_statement) as db,
        ):
            yield db

    async def _answered(
        self, db: Statements, messages: Sequence[Message], horizons: Mapping[Place, int]
    ) -> dict[Coordinate, Answer]:
        again = at_or_below(messages, horizons)
        if not again:
            return {}
        async with db.transaction(self.bounds):
            await db.fetch("barrier")
            return await read_answered(db, again, self.options.topic_prefix)

    async def _in_rounds(
        self,
        db: Statements,
        items: Sequence[Request | DeadLetter],
        progress: Mapping[Place, Progress],
        check_runs: CheckRuns | None,
    ) -> list[Answer]:
        """Each round locks what the one before has found, and starts from what is committed then."""
        found: set[CustomerKey] = set()
        for _ in range(LOCK_ROUNDS_MAX):
            org_ids = {item.command.org_id for item in items if type(item) is Request}
            catalogs = await self._catalogs.get(db, org_ids)
            prepared = [
                item if type(item) is DeadLetter else prepare(item, catalogs[item.command.org_id].catalog)
                for item in items
            ]
            touched = footprint(prepared)
            touched.customers |= found
            try:
                async with db.transaction(self.bounds):
                    if not prepared:
                        await write_progress(db, self.options.group_id, progress)
                        return []
                    return await self._decide(db, prepared, touched, catalogs, progress, check_runs)
            except _Uncovered as uncovered:
                found |= uncovered.customers
                self._catalogs.forget(uncovered.org_ids)
        raise Unsettled(f"owners or catalogs changed in each of {LOCK_ROUNDS_MAX} rounds")

    async def _decide(
        self,
        db: Statements,
        prepared: Sequence[Prepared | DeadLetter],
        touched: Footprint,
        catalogs: Mapping[int, Versioned],
        progress: Mapping[Place, Progress],
        check_runs: CheckRuns | None,
    ) -> list[Answer]:
        options = self.options
        touched.customers |= await discover(db, touched)
        now = await lock(db, touched.names(), map(catalog_lock, touched.orgs), options.lock_keys_max)
        found = await read_named(db, prepared, touched, options.group_id)
        changed = outdated(catalogs, found.versions)
        if found.uncovered or changed:
            raise _Uncovered(found.uncovered, changed)
        state, known = found.state, await read_ledger(db, prepared, found.requests)
        await read_holdings(db, prepared, touched, state, options.limits, options.held_rows_max)
        verdicts = judge_batch(state, known.ledger, prepared, now, options.limits)
        await count_runs(db, options.group_id, verdicts, found.runs, progress, check_runs)
        answer = partial(answer_batch, verdicts, now, options.topic_prefix)
        answers = await write(db, state.changes(), verdicts, now, known.ids, options.group_id, progress, answer)
        if any(answer.row is None for answer in answers):
            await db.fetch("barrier")
        return answers


def _decoded(messages: Sequence[Message], forced: Mapping[Coordinate, str]) -> list[Request | DeadLetter]:
    """The request of each message; or what is to be said where there is none, or it must not be tried again."""
    decoded = iter(decode_all([message for message in messages if message.at not in forced]))
    return [
        _forced(message, forced[message.at]) if message.at in forced else _or_dead_letter(message, next(decoded))
        for message in messages
    ]


def _or_dead_letter(message: Message, request: Request | DeadLetterReason) -> Request | DeadLetter:
    return DeadLetter(message, request, message.origin.request_id) if type(request) is DeadLetterReason else request


def _forced(message: Message, text: str) -> DeadLetter:
    try:
        item = _or_dead_letter(message, *decode_all([message]))
    except Exception:  # noqa: BLE001 (`decode_all` never raises; if it should, the message was isolated, and ends here)
        item = _or_dead_letter(message, DeadLetterReason(DeadLetterCode.PROCESSING_FAILED, text))
    if type(item) is DeadLetter:
        return item
    return DeadLetter(message, DeadLetterReason(DeadLetterCode.PROCESSING_FAILED, text, item.org_id), item.request_id)
