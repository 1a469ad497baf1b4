"""Log lines: one record one line of JSON, from us and from the libraries, and no personal data in any."""

import asyncio
import gc
import io
import json
import logging
from pathlib import Path

import asyncpg
import pytest
import structlog
from pydantic import BaseModel

from mergeline import logs
from mergeline.errors import SetupError
from mergeline.settings import Settings

CANARY = "canary@example.com"


@pytest.fixture
def output():
    """What is logged; logging is as it was afterwards."""
    root = logging.getLogger()
    handlers, level, structured = root.handlers[:], root.level, structlog.get_config()
    stream = io.StringIO()
    logs.configure(Settings.load({"MERGELINE_LOG_FORMAT": "json"}), stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.configure(**structured)


def records(output):
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_one_record_is_one_line_of_json(output):
    structlog.get_logger("mergeline.x").info("batch.done", text="two\nlines", count=7, path=Path("/x"))
    (record,) = records(output)
    assert (record["event"], record["level"], record["logger"]) == ("batch.done", "info", "mergeline.x")
    assert (record["text"], record["count"], record["path"]) == ("two\nlines", 7, "/x")
    assert record["timestamp"].endswith("Z")


class Model(BaseModel):
    number: int


def postgres_error():
    raise asyncpg.UniqueViolationError(f"duplicate key\nDETAIL:  Key (value)=({CANARY}) already exists.")


def validation_error():
    Model.model_validate({"number": CANARY})


def any_error():
    raise KeyError(CANARY)


def caused_error():
    try:
        any_error()
    except KeyError as error:
        raise RuntimeError(CANARY) from error


@pytest.mark.parametrize("failing", [postgres_error, validation_error, any_error, caused_error])
@pytest.mark.parametrize("name", ["mergeline.x", "faust.x", "asyncio"])
def test_the_text_of_an_error_is_never_logged(output, failing, name):
    try:
        failing()
    except Exception as error:
        logging.getLogger(name).exception("Crashed reason=%r", error)  # noqa: TRY401 - as mode does
        logging.getLogger(name).error("Crashed", exc_info=error)  # noqa: TRY400 - as asyncio does
        structlog.get_logger(name).exception("failed")
        structlog.get_logger(name).error("failed", cause=error)
        kind = type(error).__qualname__
    assert len(records(output)) == 4
    assert CANARY not in output.getvalue()
    assert all(kind in json.dumps(record) for record in records(output))
    assert "test_logs.py" in output.getvalue()


def test_a_database_error_keeps_its_code(output):
    try:
        postgres_error()
    except asyncpg.PostgresError:
        structlog.get_logger("mergeline.x").exception("failed")
    assert records(output)[0]["error"]["text"] == "UniqueViolationError 23505"


def test_our_own_errors_keep_their_text(output):
    structlog.get_logger("mergeline.x").error("failed", exc_info=SetupError("Kafka at host:9092 cannot be reached."))
    assert records(output)[0]["error"]["text"] == "Kafka at host:9092 cannot be reached."


def test_a_lost_task_is_said_without_what_it_lost(output):
    async def lose():
        async def fail():
            any_error()

        task = asyncio.create_task(fail())
        await asyncio.sleep(0.01)
        del task
        gc.collect()

    asyncio.run(lose())
    assert "Task exception was never retrieved" in output.getvalue()
    assert CANARY not in output.getvalue()


def test_unknown_things_are_named_by_their_type(output):
    structlog.get_logger("mergeline.x").info("x", thing=b"canary", model=Model(number=1), items=[{1: object()}])
    (record,) = records(output)
    assert (record["thing"], record["model"], record["items"]) == ("bytes", "Model", [{"1": "object"}])


def test_a_library_gets_so_many_lines_a_second_and_ours_all(output, monkeypatch):
    now = 0.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    for _ in range(1000):
        logging.getLogger("aiokafka.client").warning("broker gone")
        logging.getLogger("mergeline.x").warning("ours")
    now = 1.0
    logging.getLogger("aiokafka.conn").warning("broker gone")
    said = records(output)
    assert sum(record["logger"].startswith("aiokafka") for record in said) == logs.LIBRARY_LINES_PER_SECOND_MAX + 1
    assert sum(record["logger"] == "mergeline.x" for record in said) == 1000
    assert said[-1]["left_out"] == 1000 - logs.LIBRARY_LINES_PER_SECOND_MAX


@pytest.mark.parametrize(("level", "heard"), [("INFO", ["theirs", "ours"]), ("ERROR", [])])
def test_a_level_is_the_least_of_libraries_too(level, heard):
    root, structured = logging.getLogger(), structlog.get_config()
    handlers, before = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        logs.configure(Settings.load({"MERGELINE_LOG_FORMAT": "json", "MERGELINE_LOG_LEVEL": level}), stream)
        logging.getLogger("aiokafka.conn").info("a library's news are none")
        logging.getLogger("aiokafka.conn").warning("theirs")
        structlog.get_logger("mergeline.x").warning("ours")
    finally:
        root.handlers[:], root.level = handlers, before
        structlog.configure(**structured)
    assert [record["event"] for record in records(stream)] == heard


def test_libraries_are_not_heard_below_info_where_they_print_what_they_send():
    root, structured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        logs.configure(Settings.load({"MERGELINE_LOG_FORMAT": "json", "MERGELINE_LOG_LEVEL": "DEBUG"}), stream)
        logging.getLogger("aiokafka.conn").debug("sent %s", CANARY)
        logging.getLogger("somebody.else").debug("sent %s", CANARY)
        structlog.get_logger("mergeline.x").debug("ours")
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.configure(**structured)
    assert [record["event"] for record in records(stream)] == ["ours"]
