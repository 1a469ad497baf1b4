"""The worker as a Faust app: agents, hooks and boot order.

In: settings and an open `Store`. Out: a Faust app that runs until it is stopped or fails. Never: anything at
import, a topic created, an offset that Faust commits, or a web server of Faust's.

The hooks that correctness rests on (faust-streaming 0.15.3): `on_rebalance_complete` is awaited outside the
JoinGroup callback, directly before the flow resumes; `on_partitions_revoked` before JoinGroup goes out;
`on_before_shutdown` before the group is left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import faust
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from faust.app.base import BootStrategy
from faust.tables import TableManager

from mergeline.settings import Settings
from mergeline.store.apply import Store
from mergeline.stream.apply import ApplyStage
from mergeline.stream.assignment import Assignment, Reader
from mergeline.stream.clients import denied
from mergeline.stream.consumer import BatchSchema, batch_consumer
from mergeline.stream.handover import hand_over
from mergeline.stream.incarnations import Incarnations, topics_applied, topics_read
from mergeline.stream.offsets import Offsets
from mergeline.stream.producers import Producers
from mergeline.stream.route import RouteStage
from mergeline.stream.topics import answers
from mergeline.stream.watchdog import Watchdog

Step = Callable[[], Awaitable[None]]
HEARTBEATS_A_SESSION: Final = 3
REBALANCE_TIMEOUT_S: Final = 9.0
REQUEST_TIMEOUT_S: Final = 11.0
"""Above the former, for which a JoinGroup may wait. A connection that fell silent is given up after it; the consumer
has two, and may find them out one behind the other."""
NO_POLL_LIMIT_S: Final = 600_000.0
"""Faust's own 1000 s throw an idle or a blocked worker out for good (faust-streaming #138); the watchdog judges."""
STREAM_BUFFER: Final = 32


class NoTables(TableManager):
    """There are none to wait for: Faust's own sleeps for a second first, in every start."""

    mundane_level = "debug"

    async def on_start(self) -> None:
        """What Faust does behind that second."""
        await self._update_channels()
        await self.recovery.start()


class Worker:
    """Everything of one process that the stream needs, constructed once."""

    def __init__(
        self,
        settings: Settings,
        client_options: Mapping[str, Any],
        store: Store,
        *,
        folder: Path,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.settings = settings
        self.app = _faust_app(settings, folder)
        producers, offsets = Producers(settings, client_options), Offsets(self.app)
        self._fail, self._incarnations = fail, Incarnations(store, offsets, settings.topic_prefix)
        readers = _readers(settings, store, producers, offsets, self._incarnations)
        self.assignment = Assignment(self.app, readers, settings, fail)
        self.app.transport.Consumer = batch_consumer(
            dict(client_options), self.assignment, fail, partial(denied, settings)
        )
        for reader in readers:
            self._agent(reader.stage.name, sorted(reader.topics))
        self._hooks()

        async def lags() -> Mapping[TopicPartition, tuple[int, int]]:
            partitions = self.assignment.partitions
            if not partitions and not await offsets.is_answered():
                raise KafkaConnectionError("no broker answers")  # of no partition, nobody would be asked
            await offsets.keep(partitions)
            ends = await offsets.ends(partitions)
            done = await self.assignment.progress(offsets.reached)
            return {tp: (done[tp], max(end, done[tp])) for tp, end in ends.items() if tp in done}

        async def moved() -> bool:
            return not await offsets.is_answered() and await answers(settings)

        self._watchdog = Watchdog(
            lags,
            fail,
            settings.progress_timeout_ms,
            offsets.refusal,
            moved,
            moves=self.assignment.moves,
            denied=partial(denied, settings),
            acquiring=lambda: None if self.assignment.is_open else self.app.consumer_generation_id,
            acquire_timeout_ms=settings.start_timeout_ms * len(readers),
        )

    def not_ready(self) -> str | None:
        """What keeps this worker from being ready, or None."""
        return None if self.assignment.is_open else "no partitions are open (not yet assigned, or being acquired)"

    async def watch(self) -> None:
        """The watchdog and the look at the topics, for ever."""
        await asyncio.gather(self._watchdog.run(), self._incarnations.watch(self._fail))

    def boot(self, starts: Sequence[Step], tasks: Sequence[Step], stops: Sequence[Step]) -> None:
        """What else runs in this process: `starts` before the consumer starts, `stops` after it stopped."""

        class Surroundings(faust.Service):
            mundane_level = "debug"

            async def on_start(self) -> None:
                for start in starts:
                    await start()
                for task in tasks:
                    self.add_future(task())

            async def on_stop(self) -> None:
                for stop in stops:
                    await stop()

        class Boot(BootStrategy):
            # Faust's own, which nothing needs and which would have to know our credentials.
            enable_kafka_producer = False

            def server(self) -> Any:
                return [Surroundings(loop=self.app.loop, beacon=self.app.beacon), *super().server()]

        self.app.boot_strategy = Boot(self.app)

    def _agent(self, name: str, topics: list[str]) -> None:
        # acks=False: Faust acknowledges in a `finally`, also what failed; our offsets are not Faust's to commit.
        topic = self.app.topic(*topics, schema=BatchSchema(), acks=False)

        async def take(stream: Any) -> None:
            async for event in stream.events():
                try:
                    self.assignment.put(event.message)
                except Exception as error:  # noqa: BLE001 (Faust would start the agent again, behind this message)
                    self._fail(error)

        self.app.agent(topic, name=name)(take)

    def _hooks(self) -> None:
        async def ready(app: Any, **_: Any) -> None:
            await self.assignment.open()

        async def revoked(app: Any, revoked: Any = None, **_: Any) -> None:
            await self.assignment.close()

        async def leaving(app: Any, **_: Any) -> None:
            await self.assignment.close(self.settings.shutdown_timeout_ms / 2000)

        # Faust keeps weak references to receivers, and these are local.
        self._receivers = (ready, revoked, leaving)
        self.app.on_rebalance_complete.connect(ready, weak=False)
        self.app.on_partitions_revoked.connect(revoked, weak=False)
        self.app.on_before_shutdown.connect(leaving, weak=False)


def _readers(
    settings: Settings, store: Store, producers: Producers, offsets: Offsets, incarnations: Incarnations
) -> list[Reader]:
    """With keyed requests `apply` reads the public topics, and there is no router."""
    prefix = settings.topic_prefix
    applied = frozenset(prefix + topic for topic in topics_applied(settings))
    apply = Reader(ApplyStage(settings, store, producers, offsets, incarnations), applied, settings.apply_lanes)
    routed = frozenset(prefix + topic for topic in topics_read(settings)) - applied
    if not routed:
        return [apply]
    router = RouteStage(producers, offsets, incarnations, partial(hand_over, settings, store, producers, offsets))
    return [Reader(router, routed), apply]


def _faust_app(settings: Settings, folder: Path) -> faust.App:
    session_s = settings.session_timeout_ms / 1000
    return faust.App(
        settings.group_id,
        broker=[f"kafka://{server}" for server in settings.kafka_bootstrap_servers.split(",")],
        datadir=str(folder),
        store="memory://",
        TableManager=NoTables,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
        stream_buffer_maxsize=STREAM_BUFFER,
        stream_recovery_delay=0.0,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / HEARTBEATS_A_SESSION,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        broker_request_timeout=max(REQUEST_TIMEOUT_S, session_s),
        broker_max_poll_interval=NO_POLL_LIMIT_S,
        broker_max_poll_records=settings.batch_max,
    )
