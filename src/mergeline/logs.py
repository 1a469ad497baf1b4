"""Log lines: JSON, one record a line, for machines; readable text for a terminal. Always on stderr.

In: `configure(settings)`, once a process. Out: structlog and the standard `logging` (Faust, aiokafka, asyncpg) end in
one handler. Never: personal data. A text of a database error, of a validation error or of any error that is not known
to be clean is dropped, and its type and its place in the source stand for it; libraries are never heard below INFO,
where they would print what they send.
"""

import logging
import sys
import time
import traceback
from pathlib import Path, PurePath
from typing import Any, Final, TextIO

import orjson
import structlog
from aiokafka.errors import KafkaError
from asyncpg import PostgresError
from structlog.typing import EventDict, WrappedLogger

from mergeline.errors import MergelineError
from mergeline.settings import Settings
from mergeline.store.failures import describe

OURS: Final = "mergeline"
LIBRARY_LINES_PER_SECOND_MAX: Final = 10
"""For each library; a Kafka outage made 3,300 lines a second when it was measured."""
FRAMES_MAX: Final = 20
"""Places of an error's way that are told, the innermost."""


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Set up logging for a process that works; later calls replace earlier ones."""
    stream = stream if stream is not None else sys.stderr
    as_text = settings.log_format == "text" or (settings.log_format is None and stream.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _clean_errors,
    ]
    handler = logging.StreamHandler(stream)
    handler.addFilter(LibraryFilter())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=["left_out"]), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(colors=stream.isatty()) if as_text else _as_json,
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    logging.getLogger(OURS).setLevel(level)
    for library in ("faust", "mode", "aiokafka", "asyncpg", "aiohttp"):
        logging.getLogger(library).setLevel(logging.INFO if level <= logging.DEBUG else max(level, logging.WARNING))


def silence() -> None:
    """Keep the libraries quiet in a command whose answer is its output."""
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())


class LibraryFilter(logging.Filter):
    """What comes from libraries: not too much of it, and no text of an error in it."""

    def __init__(self) -> None:
        super().__init__()
        self._second: dict[str, int] = {}
        self._count: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass; the first of a second says how many of the one before did not."""
        if isinstance(record.args, tuple):
            # Ours too: services of Faust that we extend log under our names.
            record.args = tuple(_named(arg) if isinstance(arg, BaseException) else arg for arg in record.args)
        library = record.name.partition(".")[0]
        if library == OURS:
            return True
        if isinstance(record.msg, str) and not record.args:
            # asyncio puts the text of an error that nobody asked for into the lines that follow.
            record.msg = record.msg.partition("\n")[0]
        second = int(time.monotonic())
        if self._second.get(library) != second:
            left_out = self._count.get(library, 0) - LIBRARY_LINES_PER_SECOND_MAX
            self._second[library], self._count[library] = second, 0
            if left_out > 0:
                record.left_out = left_out
        self._count[library] += 1
        return self._count[library] <= LIBRARY_LINES_PER_SECOND_MAX


def error_fields(error: BaseException) -> dict[str, Any]:
    """An error as fields that hold no personal data."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    said: dict[str, Any] = {"type": f"{type(error).__module__}.{type(error).__qualname__}"}
    if isinstance(error, PostgresError):
        said["text"] = describe(error)
    elif isinstance(error, MergelineError | KafkaError | OSError):
        said["text"] = str(error)
    if frames:
        said["at"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__ or error.__context__
    if cause is not None and not error.__suppress_context__:
        said["cause"] = f"{type(cause).__module__}.{type(cause).__qualname__}"
    return said


def _named(error: BaseException) -> str:
    return type(error).__qualname__


def _clean_errors(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Errors among the fields become what `error_fields` says of them."""
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given if isinstance(given, BaseException) else None
    if error is None and given is True:
        error = sys.exc_info()[1]
    record = event.get("_record")
    if record is not None:
        # Else the formatter would print the error itself below the line.
        error = error or (record.exc_info[1] if record.exc_info else None)
        record.exc_info = record.exc_text = None
    if error is not None:
        event["error"] = error_fields(error)
    for name, value in event.items():
        if isinstance(value, BaseException):
            event[name] = error_fields(value)
    return event


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return orjson.dumps(event, default=_unknown, option=orjson.OPT_NON_STR_KEYS).decode()


def _unknown(value: object) -> str:
    # No repr of anything else: it could hold anything.
    return str(value) if isinstance(value, PurePath) else type(value).__qualname__
