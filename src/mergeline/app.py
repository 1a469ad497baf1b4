"""The composition root: everything the worker is made of is constructed here, nothing at import.

In: settings. Out: a worker that runs until it is told to stop (exit status 0) or cannot go on. Never: a decision.

A worker that cannot go on ends hard, without finishing anything: whatever it had not published is published by the
next one from the ledger. Where an operator must act the status is 2 and the last line says what to do.
"""

import asyncio
import gc
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import faust
import structlog
import uvloop

from mergeline.database import NO_ANSWER, database_errors, keep_days, not_ready, open_store, unreachable
from mergeline.domain.vocabulary import Topic
from mergeline.errors import MergelineError, SetupError
from mergeline.health import HealthServer
from mergeline.logs import configure
from mergeline.settings import Settings, unknown_variables, variable
from mergeline.store.apply import Store
from mergeline.store.incarnations import published_offsets
from mergeline.stream import clients
from mergeline.stream.clients import client_options
from mergeline.stream.drained import check_drained
from mergeline.stream.incarnations import MadeAnew, check_recorded, topics_read
from mergeline.stream.protocol import TopicIds, topic_ids
from mergeline.stream.rights import check_rights
from mergeline.stream.topics import admin, check_topics, full_name
from mergeline.stream.worker import Worker

YOUNG_OBJECTS_MAX: Final = 20_000
"""Objects between two looks for garbage cycles: about those of a batch. With Python's 700 there are a hundred looks a
batch at what is in use anyway; reference counts free almost all of it."""
EXIT_SETUP: Final = 2
EXIT_FAILED: Final = 70
START_RETRY_S: Final = 0.5
ATTEMPT_S_MIN: Final = 5.0
"""For an attempt to start, however near the deadline it begins."""
TASKS_END_WITHIN_S: Final = 1.0
_T = TypeVar("_T")
log = structlog.get_logger(__name__)


class StopTookTooLong(MergelineError):
    """A stop did not end within `shutdown_timeout_ms`: a server does not answer, and would be waited for."""


class _BoundedStop(faust.Worker):
    """Ends hard what crashed, or cannot be ended in time, which loses nothing either."""

    stop_timeout_s: float

    async def start(self) -> None:
        try:
            await super().start()
        except Exception as error:  # noqa: BLE001 (whatever it is; Faust would print a traceback)
            end_process(error)

    def _crash(self, reason: BaseException) -> None:
        end_process(reason)

    def _gather_all(self) -> None:
        """The tasks that are left when all is stopped have no more to do: Faust would give them two seconds."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()

    async def _sentinel_task(self) -> None:
        if ending := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(ending, timeout=TASKS_END_WITHIN_S)

    def _schedule_shutdown(self, signal: Any) -> None:
        # A thread, since the loop may be what does not turn.
        timer = threading.Timer(self.stop_timeout_s, end_process, [StopTookTooLong("a server did not answer")])
        timer.daemon = True
        timer.start()
        super()._schedule_shutdown(signal)


def run_worker(settings: Settings) -> int:
    """Run a worker in this process until SIGTERM or SIGINT; the exit status.

    Raises:
        SetupError: if the surroundings were not as they must be within `start_timeout_ms`.
    """
    # Until Faust has its own: the first process of a container gets no signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    configure(settings)
    for line in unknown_variables(os.environ):
        log.warning("settings.unknown", problem=line)
    try:
        return _run(settings)
    except SetupError as error:
        log.critical("worker.refused", problem=str(error))
        raise
    except Exception as error:  # noqa: BLE001 (a server that dies while this starts, most likely)
        end_process(error)


def _run(settings: Settings) -> int:
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    folder = _folder()
    store = loop.run_until_complete(_prepared(settings))
    worker = Worker(settings, client_options(settings), store, folder=folder, fail=end_process)

    async def reason() -> str | None:
        return worker.not_ready() or await not_ready(store)

    health = HealthServer(settings.http_host, settings.http_port, reason)

    async def listen() -> None:
        try:
            await health.start()
        except OSError as error:
            # Ended here: Faust would log the kind of the error alone, and exit with a status that asks for a restart.
            end_process(_cannot_listen(settings, error))

    worker.boot([listen], [worker.watch, lambda: keep_days(store)], [health.stop, store.pool.close])
    faust_worker = _BoundedStop(
        worker.app, loop=loop, loglevel=settings.log_level, override_logging=False, redirect_stdouts=False, quiet=True
    )
    faust_worker.stop_timeout_s = settings.shutdown_timeout_ms / 1000
    faust_worker.spinner = None  # it writes to the terminal what belongs in no log
    # What was imported stays for good: it is not to be looked at again whenever garbage is searched for.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)
    try:
        faust_worker.execute_from_commandline()
    except SystemExit as leaving:
        log.info("worker.stopped")
        return int(leaving.code or 0)
    return 0


def _folder() -> Path:
    """For Faust, which wants one and keeps nothing there."""
    try:
        return Path(tempfile.gettempdir()) / "mergeline"
    except FileNotFoundError:
        raise SetupError("No folder for temporary files can be written to. Mount one at /tmp, or set TMPDIR.") from None


def _cannot_listen(settings: Settings, error: OSError) -> SetupError:
    names = f"{variable('http_port')} ({settings.http_port}) of {variable('http_host')} ({settings.http_host})"
    return SetupError(f"{names} cannot be opened: {error.strerror or error}. Choose another port, or 0 for none.")


async def _prepared(settings: Settings) -> Store:
    """An open store, once brokers and database answer and are as they must be."""
    deadline = time.monotonic() + settings.start_timeout_ms / 1000

    async def topics() -> TopicIds:
        async with admin(settings) as client:
            warnings = await check_topics(client, settings)
            await check_rights(client, settings)
            names = [full_name(settings, topic) for topic in topics_read(settings)]
            ids = await topic_ids(client._send_request, names)  # noqa: SLF001 (there is no other way)
        for line in warnings:
            log.warning("topics.check", problem=line)
        return ids

    async def recorded() -> MadeAnew | None:
        with database_errors(settings):
            try:
                await check_recorded(store, settings, ids)
            except MadeAnew as error:
                return error  # no waiting mends it
        return None

    async def published() -> dict[int, int]:
        with database_errors(settings):
            async with store.statements() as db:
                return await published_offsets(db, settings.group_id, Topic.COMMANDS_BY_CUSTOMER)

    no_kafka, no_database = clients.unreachable(settings, NO_ANSWER), unreachable(settings, NO_ANSWER)
    ids = await _patiently(topics, deadline, no_kafka)
    store = await _patiently(lambda: open_store(settings), deadline, no_database)
    if (anew := await _patiently(recorded, deadline, no_database)) is not None:
        raise anew
    if settings.requests_keyed:
        offsets = await _patiently(published, deadline, no_database)
        await _patiently(lambda: check_drained(settings, offsets), deadline, no_kafka)
    return store


async def _patiently(attempt: Callable[[], Coroutine[Any, Any, _T]], deadline: float, silence: str) -> _T:
    """Try until it works or the deadline passed; the last complaint is then the right one.

    Args:
        attempt: what is tried.
        deadline: by the monotonic clock.
        silence: the complaint about one that does not end.
    """
    said = ""
    while True:
        try:
            return await _in_time(attempt, deadline, silence)
        except SetupError as error:
            if time.monotonic() > deadline:
                raise
            if str(error) != said:  # once, not twice a second
                said = str(error)
                log.warning("worker.waiting", problem=said)
        await asyncio.sleep(START_RETRY_S)


async def _in_time(attempt: Callable[[], Coroutine[Any, Any, _T]], deadline: float, silence: str) -> _T:
    """One attempt, which ends with the deadline, or after `ATTEMPT_S_MIN` where it begins near that."""
    trying = asyncio.create_task(attempt())
    await asyncio.wait({trying}, timeout=max(deadline - time.monotonic(), ATTEMPT_S_MIN))
    if trying.done():
        return trying.result()
    trying.cancel()  # what it does to end is waited for too, for as long as is good
    ended, _ = await asyncio.wait({trying}, timeout=TASKS_END_WITHIN_S)
    for one in ended:
        _ = one.cancelled() or one.exception()  # heard, so that nobody logs it
    raise SetupError(silence)


def end_process(error: BaseException) -> NoReturn:
    """End this process now, saying why on stderr; never returns.

    The text of an error that is not ours may hold values of a request, so only its kind and place are said.
    """
    if isinstance(error, SetupError):
        log.critical("worker.refused", problem=str(error))
        sys.stderr.write(f"mergeline: {error}\n")
        status = EXIT_SETUP
    else:
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
        problem = {"problem": str(error)} if isinstance(error, MergelineError) else {}
        log.critical("worker.failed", error=type(error).__name__, places=places, **problem)
        status = EXIT_FAILED
    sys.stderr.flush()
    os._exit(status)
