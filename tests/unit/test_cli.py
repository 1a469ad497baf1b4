"""Every command: help with an example, and one clear line with exit status 2 where it cannot work."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mergeline.cli import COMMANDS, main, replaying
from mergeline.cli.importing import Rejects
from mergeline.cli.kafka import telling_how_far
from mergeline.cli.spool import spool
from mergeline.errors import SetupError

NOWHERE = {
    "MERGELINE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "MERGELINE_DATABASE_URL": "postgresql://somebody:canary-secret@127.0.0.1:1/mergeline",
}
SPEC_COMMANDS = {
    *("worker", "demo", "migrate", "topics", "catalog", "import"),
    *("send", "watch", "show", "redrive", "replay", "verify", "offsets", "prune", "bench", "settings"),
}


def run(*arguments, **environ):
    return CliRunner(env=environ).invoke(main, arguments)


@pytest.fixture(autouse=True)
def no_settings_of_whoever_runs_this(monkeypatch):
    for name in list(os.environ):
        if name.startswith("MERGELINE_"):
            monkeypatch.delenv(name)


def leaves(command=main, path=()):
    """Every command that does something, with the words that lead to it; some do it alone, and lead to others too."""
    if not isinstance(command, click.Group):
        return [(path, command)]
    alone = [(path, command)] if command.invoke_without_command else []
    context = click.Context(command)
    children = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    return alone + [leaf for name, child in children for leaf in leaves(child, (*path, name))]


LEAVES = [path for path, _ in leaves()]


def one_line(result):
    """The one line on stderr of a command that could not work."""
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("mergeline: watching")]
    assert line.startswith("mergeline: ")
    assert "canary-secret" not in line
    return line


def test_ctrl_c_while_the_packages_are_imported_is_an_exit_status_and_no_traceback(tmp_path):
    (tmp_path / "structlog.py").write_text("raise KeyboardInterrupt")
    ended = subprocess.run(
        [sys.executable, "-m", "mergeline", "settings"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_all_commands_are_there():
    assert set(COMMANDS) == SPEC_COMMANDS
    assert {path[0] for path in LEAVES} == SPEC_COMMANDS


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_help_with_an_example(path):
    result = run(*path, "--help")
    assert result.exit_code == 0
    example = result.stdout.partition("Example:\n")[2].splitlines()
    assert example, "no example"
    assert any(line.strip().startswith(f"mergeline {' '.join(path)}") for line in example)
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_examples_use_options_that_exist(path):
    example, _, options = run(*path, "--help").stdout.partition("Example:\n")[2].partition("Options:")
    assert set(re.findall(r"--[a-z-]+", example)) <= set(re.findall(r"--[a-z-]+", options))


def test_groups_alone_show_their_commands():
    assert "create" in run("topics").output
    assert "apply" in run("catalog").output


def test_an_option_of_a_command_that_leads_to_another_is_not_lost_on_the_way():
    assert "--json goes behind rewind" in run("offsets", "--json", "rewind", **NOWHERE).stderr


def test_an_unknown_command_is_a_usage_error():
    assert run("mrege").exit_code == 2


def test_a_bad_setting_is_one_line():
    line = one_line(run("watch", MERGELINE_BATCH_MAX="many"))
    assert "MERGELINE_BATCH_MAX" in line


def test_an_unknown_setting_is_named():
    result = run("settings", MERGELINE_BATCHMAX="7")
    assert result.exit_code == 0
    assert "MERGELINE_BATCHMAX is not a setting and has no effect; is MERGELINE_BATCH_MAX meant?" in result.stderr


@pytest.fixture
def files(tmp_path):
    (tmp_path / "brand.yaml").write_text("orgId: 1\nsources: {A: single}\n")
    (tmp_path / "lines").write_text('{"orgId":1,"customerId":1,"source":"A"}\n')
    return tmp_path


KAFKA_COMMANDS = [
    ["topics", "create"],
    ["send", "FILE"],
    ["send", "--wait", "FILE"],
    ["watch"],
    ["import", "customers", "FILE"],
    ["import", "customers", "--no-wait", "FILE"],
    ["offsets"],
    ["offsets", "rewind"],
]
DATABASE_COMMANDS = [
    ["migrate"],
    ["catalog", "apply", "CATALOG"],
    ["catalog", "show", "1"],
    ["show", "customer", "1", "2"],
    ["show", "identifier", "1", "email", "a@example.com"],
    ["show", "card", "1", "C"],
    ["show", "request", "1", "r"],
    ["verify"],
    ["redrive"],
    ["replay", "--since", "1h"],
]


def arguments(words, files):
    return [{"FILE": str(files / "lines"), "CATALOG": str(files / "brand.yaml")}.get(word, word) for word in words]


@pytest.mark.parametrize("words", KAFKA_COMMANDS, ids=" ".join)
def test_unreachable_brokers_are_one_line_that_names_the_setting(words, files):
    line = one_line(run(*arguments(words, files), **NOWHERE))
    assert "Kafka at 127.0.0.1:1 (PLAINTEXT) cannot be reached" in line
    assert "MERGELINE_KAFKA_BOOTSTRAP_SERVERS" in line


@pytest.mark.parametrize("words", DATABASE_COMMANDS, ids=" ".join)
def test_an_unreachable_database_is_one_line_that_names_the_setting(words, files):
    line = one_line(run(*arguments(words, files), **NOWHERE))
    assert "cannot be reached" in line
    assert "MERGELINE_DATABASE_URL" in line


def test_settings_are_shown_with_secrets_masked():
    result = run("settings", **NOWHERE)
    assert result.exit_code == 0
    assert "MERGELINE_BATCH_MAX=500" in result.stdout
    assert "canary-secret" not in result.output
    assert "canary-secret" not in run("settings", "--json", **NOWHERE).output


def test_settings_are_shown_with_what_holds_without_them():
    lines = run("settings", MERGELINE_BATCH_MAX="7", MERGELINE_KAFKA_SASL_MECHANISM="PLAIN").stdout.splitlines()
    assert "MERGELINE_BATCH_MAX=7  (default 500)" in lines
    assert "MERGELINE_LEDGER_DAYS=14" in lines
    document = json.loads(run("settings", "--json", MERGELINE_BATCH_MAX="7").stdout)
    assert document["MERGELINE_BATCH_MAX"].keys() == {"value", "default", "meaning"}
    assert (document["MERGELINE_BATCH_MAX"]["value"], document["MERGELINE_BATCH_MAX"]["default"]) == ("7", "500")


CHILD = "from mergeline.cli import main; main(prog_name='mergeline')"


def child(*arguments, stdout=subprocess.PIPE, **environ):
    """A command in a process of its own."""
    command = [sys.executable, "-c", CHILD, *arguments]
    return subprocess.run(command, check=False, stdout=stdout, stderr=subprocess.PIPE, env=os.environ | environ)


def test_an_answer_that_cannot_be_written_is_one_line():
    with open("/dev/full", "w") as full:  # noqa: PTH123 - not a file
        result = child("settings", stdout=full)
    assert result.returncode == 2
    assert result.stderr.decode().splitlines() == ["mergeline: No space left on device"]


def test_a_name_that_the_terminal_has_no_letters_for_is_shown_all_the_same():
    result = child("settings", PYTHONIOENCODING="latin-1", MERGELINE_DATABASE_URL="postgresql://品牌@h/d")
    assert (result.returncode, result.stderr) == (0, b"")
    assert rb"postgresql://\u54c1\u724c@h/d" in result.stdout


def test_the_first_process_of_a_container_hears_that_it_is_to_end():
    """The kernel keeps signals from it that it has not asked for."""
    first = "import os, signal; from mergeline.cli import group; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    told = "group.FIRST_PROCESS = os.getpid(); group._hear_the_end(); os.kill(os.getpid(), signal.SIGTERM)"
    assert subprocess.run([sys.executable, "-c", first + told], check=False).returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("place", ["", "/dev/null/no-folder"], ids=["a folder", "no folder"])
def test_rejects_that_cannot_be_written_are_one_line(tmp_path, place):
    with (
        pytest.raises(SetupError, match=r"cannot be written: .* --rejects"),
        Rejects(Path(place or tmp_path)) as rejects,
    ):
        rejects.add(1, "bad", [b"x"], None)


def test_a_bad_catalog_is_said_before_the_database_is_asked(tmp_path):
    file = tmp_path / "brand.yaml"
    file.write_text("orgId: 1\nsources: {A: many}\n")
    result = run("catalog", "apply", str(file), **NOWHERE)
    assert result.exit_code == 1
    assert "brand.yaml: sources.A: " in result.stderr


def test_prune_refuses_less_than_is_promised_before_it_asks_anybody():
    line = one_line(run("prune", "--keep-days", "13"))
    assert "--keep-days 13 is less than MERGELINE_LEDGER_DAYS (14)" in line


def test_more_catalogs_than_one_transaction_takes_are_refused_in_words(tmp_path):
    path = tmp_path / "brand.yaml"
    path.write_text("orgId: 1\nsources: {A: single}\n")
    line = one_line(run("catalog", "apply", "--dry-run", *[str(path)] * 1_001))
    assert "1001 files, but at most 1000 can be applied together" in line


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        pytest.param(["replay"], "one of --since and --request is needed", id="all that there is"),
        pytest.param(["replay", "--request", "r"], "need --org", id="a request of nobody knows whom"),
        pytest.param(["replay", "--since", "1h", "--customer", "1"], "need --org", id="a customer likewise"),
        pytest.param(["replay", "--since", "10:00"], "not a time like 2026-11-21T10:00:00Z", id="a time without a day"),
        pytest.param(
            ["redrive", "--since", "2026-11-21T10:00:00"], "not a time like", id="a time of nobody knows where"
        ),
        pytest.param(["redrive", "--until", "999999d"], "not a time like", id="before there was time"),
    ],
)
def test_what_is_not_said_well_enough_is_a_usage_error(words, complaint):
    result = run(*words, **NOWHERE)
    assert result.exit_code == 2
    assert complaint in result.stderr


@pytest.mark.parametrize(
    "topic", ["identifier-updates", "identifier-updates-dlt", "commands-by-customer", "card-issued"]
)
def test_replay_refuses_to_put_events_where_they_do_not_belong(topic):
    line = one_line(run("replay", "--since", "1h", "--to", f"mergeline.{topic}", **NOWHERE))
    assert f"--to mergeline.{topic} is a topic that workers read or write" in line


def test_an_interrupted_command_says_how_far_it_got_and_is_no_answer(monkeypatch):
    """Status 1 would say that there was nothing to send."""

    def interrupted(*_, **__):
        with telling_how_far(lambda: "3 events were published."):
            raise KeyboardInterrupt

    monkeypatch.setattr(replaying.replay, "callback", interrupted)
    result = run("replay", "--since", "1h")
    assert result.exit_code == 130
    assert result.stderr.splitlines() == ["mergeline: 3 events were published.", "mergeline: interrupted"]


def test_no_room_for_temporary_files_is_one_line(monkeypatch):
    with pytest.raises(SetupError, match="Mount one with room for them at /tmp, or set TMPDIR"), spool():
        raise sqlite3.OperationalError("disk I/O error")
