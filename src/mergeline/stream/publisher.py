"""Producers of ours: a batch is published whole and acknowledged, or the producer is dead and the batch is not.

In: `Outgoing` records, and the input offsets that go with them. Out: nothing, once every broker acknowledged.
Never: a retry. Any failure leaves the outcome unknown and is fatal for the producer (`PublishFailed`); its owner
kills it, starts another (which settles an open transaction one way or the other), reads the committed offsets and
publishes what is missing.

Rests on internals of aiokafka 0.14.0 (pinned), which would retry EndTxn by itself: a late first one then commits
the next transaction while that is still open.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TypeAlias
from zlib import crc32

import aiokafka.producer.sender
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import IllegalOperation, InvalidTransactionTimeout, InvalidTxnState, KafkaError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import EndTxnHandler, Sender
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import OffsetAndMetadata

from mergeline.domain.messages import Header, Outgoing
from mergeline.errors import SetupError
from mergeline.settings import Settings, variable
from mergeline.stream.clients import DENIALS, denied
from mergeline.stream.retrying import Retriable, all_ended
from mergeline.stream.unpacking import raw_name

BATCH_MAX_BYTES: Final = 512 * 1024
LARGE_BYTES: Final = 64 * 1024
"""A larger value is no request; it travels as a dead letter, alone in its broker batch."""
PARTITIONS_CACHED_MAX: Final = 1 << 16
"""Keys whose partition is remembered: the hash is computed in Python, and a customer's key comes three times a
request."""
Ends: TypeAlias = Mapping[TopicPartition, int] | Mapping[TopicPartition, OffsetAndMetadata]
"""Of partitions, the offset to go on with."""
KEY_MAX_BYTES: Final = 1024
"""A longer key is none of ours: it is neither worth a second of computing nor a place in a cache."""
GZIP: Final = 1
RETRY_BACKOFF_MS: Final = 5
KILL_WAIT_S: Final = 1.0
END_TXN_BACKOFF_MAX_S: Final = 0.02
FATAL: Final = (KafkaError, IllegalOperation, OSError, TimeoutError, AssertionError, RuntimeError)
"""What a producer may end with. AssertionError and RuntimeError are aiokafka's own of a client being closed;
IllegalOperation, which is no KafkaError, is what a send says once another request has ended the transaction."""

# aiokafka waits 0.1 s where a transaction still completes; at 3 ms p99 of back-to-back transactions fell from
# 125 to 12 ms. It is a module constant there, not a setting.
aiokafka.producer.sender.BACKOFF_OVERRIDE = 0.003


@lru_cache(PARTITIONS_CACHED_MAX)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's Java clients put a key into."""
    hashed: int = murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions


class PublishFailed(Retriable):
    """A publish did not end well; whether it took effect is unknown. The producer is not to be used again."""


class _StrictEndTxn(EndTxnHandler):
    """Ends a transaction once: a transport error or a time-out is never followed by a second try."""

    async def do(self, node_id: int) -> bool:
        response = await self._sender.client.send(node_id, self.create_request(), group=self.group)
        backoff = self.handle_response(response)
        if backoff is None:
            return True
        await asyncio.sleep(min(backoff, END_TXN_BACKOFF_MAX_S))
        return False


class _StrictSender(Sender):
    async def _do_txn_commit(self, commit_result: Any) -> None:
        await self._message_accumulator.flush_for_commit()
        manager = self._txn_manager
        if manager.is_empty_transaction():
            manager.complete_transaction()
            return
        node_id = await self._find_coordinator(CoordinationType.TRANSACTION, manager.transactional_id)
        await _StrictEndTxn(self, commit_result).do(node_id)


class _RawName(str):
    """A header's name that encodes to what its producer sent."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return raw_name(self)


class OddBatch(BatchBuilder):
    """For header names that are no UTF-8: aiokafka's quick builder encodes names by itself, its other one asks them."""

    def __init__(self, codec: int, *, is_transactional: bool) -> None:
        super().__init__(BATCH_MAX_BYTES, codec, is_transactional=is_transactional)
        self._builder = _DefaultRecordBatchBuilderPy(2, codec, is_transactional, -1, -1, 0, BATCH_MAX_BYTES)

    def append(self, *, headers: Sequence[Header], **fields: Any) -> Any:
        """As aiokafka's."""
        return super().append(headers=[(_RawName(name), text) for name, text in headers], **fields)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, producer_epoch, base_sequence)


class Publisher:
    """One producer for its whole life: started once, killed once.

    With a `transactional_id` each `publish` is one transaction that holds the records and the offsets; without,
    the records are idempotent and the offsets are the caller's to commit.
    """

    def __init__(
        self, settings: Settings, client_options: Mapping[str, Any], transactional_id: str | None = None
    ) -> None:
        self.transactional_id = transactional_id
        self._settings = settings
        self._prefix = settings.topic_prefix
        self._publish_timeout_s = settings.publish_timeout_ms / 1000
        self._start_timeout_s = settings.start_timeout_ms / 1000
        self._partitions: dict[str, int] = {}
        options: dict[str, Any] = {"enable_idempotence": True}
        if transactional_id is not None:
            options = {
                "transactional_id": transactional_id,
                "transaction_timeout_ms": settings.transaction_timeout_ms,
            }
        self._producer = AIOKafkaProducer(
            **client_options,
            **options,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_MAX_BYTES,
            request_timeout_ms=settings.kafka_request_timeout_ms,
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )
        self._producer._sender.__class__ = _StrictSender  # noqa: SLF001 (aiokafka has no way to pass one)

    async def start(self) -> None:
        """Connect; a transactional producer fences every other of its id and settles its open transaction.

        Raises:
            PublishFailed: if that did not work within `start_timeout_ms`; the producer is killed.
            SetupError: if the brokers do not let us; killed as well.
        """
        try:
            await asyncio.wait_for(self._producer.start(), self._start_timeout_s)
        except FATAL as error:
            await self.kill()
            raise self._failed(error) from error
        except BaseException:
            await self.kill()
            raise

    async def publish(self, records: Sequence[Outgoing], offsets: Ends) -> None:
        """Publish all records, in order by partition; with a transaction the offsets too.

        Raises:
            PublishFailed: the outcome is unknown; kill this producer.
            SetupError: the same, and another one would not be let either.
        """
        try:
            # Below aiokafka's request time-out, so that it never comes to a retry of its own.
            await asyncio.wait_for(self._publish(records, offsets), self._publish_timeout_s)
        except FATAL as error:
            raise self._failed(self._cause(error)) from error

    def _failed(self, error: BaseException) -> PublishFailed | SetupError:
        if isinstance(error, DENIALS):
            return SetupError(denied(self._settings, _said(error)))
        if isinstance(error, InvalidTransactionTimeout):
            return SetupError(
                f"Brokers allow no {variable('transaction_timeout_ms')} of {self._settings.transaction_timeout_ms}: "
                "lower it, or raise their transaction.max.timeout.ms."
            )
        return PublishFailed(_said(error))

    def _cause(self, error: BaseException) -> BaseException:
        """What ended the transaction, where a record or a commit found no more than that it has ended."""
        if isinstance(error, IllegalOperation | InvalidTxnState) and self.transactional_id is not None:
            ended: asyncio.Future[None] = self._producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001
            if ended.done() and not ended.cancelled():
                return ended.exception() or error
        return error

    async def _publish(self, records: Sequence[Outgoing], offsets: Ends) -> None:
        producer = self._producer
        if self.transactional_id is None:
            await self._send(records)
            return
        await producer.begin_transaction()
        await self._send(records)
        # Not both at once: a broker asks the coordinator about each, and drops the first question for the second.
        await producer.send_offsets_to_transaction(dict(offsets), self._settings.group_id)
        await producer.commit_transaction()

    async def _send(self, records: Sequence[Outgoing]) -> None:
        """One broker batch a partition at a time, each awaited before the next.

        With more than one under way a failed batch could be overtaken by the one behind it.
        """
        waves = await self._batches(records)
        while waves:
            sent = []
            for (topic, partition), batches in waves.items():
                acknowledged = await self._producer.send_batch(batches.pop(0), topic, partition=partition)
                acknowledged.add_done_callback(_read)  # nobody awaits it where the next one cannot be sent
                sent.append(acknowledged)
            await all_ended(sent)
            waves = {place: batches for place, batches in waves.items() if batches}

    async def _batches(self, records: Sequence[Outgoing]) -> dict[tuple[str, int], list[Any]]:
        filled: dict[tuple[str, int], list[Any]] = {}
        for record in records:
            topic, key, value, headers = record.topic, record.key, record.value, record.headers
            count = self._partitions.get(topic) or await self._count(topic)
            if key is not None and len(key) <= KEY_MAX_BYTES:
                place = topic, partition_of(key, count)
            else:
                place = topic, crc32(key or value or b"") % count
            batches = filled.get(place)
            if batches is None:
                batches = filled[place] = [self._producer.create_batch()]
            if value is not None and len(value) > LARGE_BYTES:
                batches += [self._large_batch(key, value, headers), self._producer.create_batch()]
                continue
            try:
                added = batches[-1].append(timestamp=None, key=key, value=value, headers=list(headers))
                if added is None:
                    batches.append(self._producer.create_batch())  # which, empty, takes any record
                    added = batches[-1].append(timestamp=None, key=key, value=value, headers=list(headers))
            except UnicodeEncodeError:
                batches.append(OddBatch(0, is_transactional=self.transactional_id is not None))
                added = batches[-1].append(timestamp=None, key=key, value=value, headers=list(headers))
            if added.size > BATCH_MAX_BYTES:
                batches[-1:] = [self._large_batch(key, value, headers), self._producer.create_batch()]
        sendable: dict[tuple[str, int], list[Any]] = {}
        for (topic, partition), batches in filled.items():
            sendable[self._prefix + topic, partition] = [batch for batch in batches if batch.record_count()]
            for batch in batches:
                batch.close()
        return sendable

    def _large_batch(self, key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> BatchBuilder:
        """One large record, compressed: its producer may have needed that to get it past the broker's limit."""
        batch = BatchBuilder(BATCH_MAX_BYTES, GZIP, is_transactional=self.transactional_id is not None)
        try:
            batch.append(timestamp=None, key=key, value=value, headers=list(headers))
        except UnicodeEncodeError:
            batch = OddBatch(GZIP, is_transactional=self.transactional_id is not None)
            batch.append(timestamp=None, key=key, value=value, headers=list(headers))
        return batch

    async def _count(self, topic: str) -> int:
        """How many partitions a topic (without prefix) has."""
        count = self._partitions[topic] = len(await self._producer.partitions_for(self._prefix + topic))
        return count

    async def kill(self) -> None:
        """End the producer without flushing what it holds (`stop` would flush); never raises a Kafka error."""
        producer, sender = self._producer, self._producer._sender  # noqa: SLF001
        producer._closed = True  # noqa: SLF001
        left: list[asyncio.Future[Any] | None] = []
        if self.transactional_id is not None:
            # Now, since the closing empties the list.
            left += [sent for _, _, sent in producer._txn_manager._pending_txn_offsets]  # noqa: SLF001
        _abort(producer.client)
        with suppress(*FATAL):
            await producer.client.close()
        task = sender.sender_task
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=KILL_WAIT_S)
        unsent = sender._message_accumulator._batches.values()  # noqa: SLF001
        left += [task, *(batch._drain_waiter for batches in unsent for batch in batches)]  # noqa: SLF001
        if self.transactional_id is not None:
            left.append(producer._txn_manager.wait_for_transaction_end())  # noqa: SLF001
        for future in left:
            if future is not None and future.done():
                _read(future)


def _abort(client: AIOKafkaClient) -> None:
    """Break its connections. Each that is closed first sends what it holds: minutes, where the other host is gone.

    One that the client has closed itself, after a time-out, is waited for in the same way: it is taken from its list.
    """
    for place, connection in list(client._conns.items()):  # noqa: SLF001
        if connection._writer is not None:  # noqa: SLF001
            connection._writer.transport.abort()  # noqa: SLF001
        else:
            del client._conns[place]  # noqa: SLF001


def _read(future: "asyncio.Future[Any]") -> None:
    """Take note of how a future ended, so that its error is not reported as never retrieved."""
    if not future.cancelled():
        future.exception()


def _said(error: BaseException) -> str:
    """The kind of error only: Kafka's texts may carry keys."""
    return type(error).__name__
