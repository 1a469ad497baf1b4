"""What all commands share: settings from the environment, and one clear line where they cannot work.

In: the command line and the environment. Out: exit status 0 (done), 1 (done, and the answer is no), 2 (could not be
done), 130 (interrupted). Never: a traceback for what an operator can set right.
"""

import functools
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import IO, Any, Concatenate, Final, ParamSpec, TypeVar

import click

from mergeline import __version__, logs
from mergeline.domain.requests import ID_MAX
from mergeline.errors import MergelineError
from mergeline.settings import Settings, unknown_variables

CANNOT: Final = 2
INTERRUPTED: Final = 128 + signal.SIGINT
FIRST_PROCESS: Final = 1

P = ParamSpec("P")
R = TypeVar("R")


class CannotError(click.ClickException):
    """One line on stderr, exit status 2."""

    exit_code = CANNOT

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"mergeline: {self.message}", file=file, err=True)


class Commands(click.Group):
    """Commands that are imported when they are wanted, in the order they are listed."""

    def __init__(self, name: str, places: dict[str, str], callback: Callable[[], None]) -> None:
        """`places` says where each command is, as `module:attribute`."""
        # click makes help and parameters of a callback in its decorator only.
        made = click.command()(callback)
        super().__init__(name=name, callback=callback, help=made.help, params=made.params)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """As they were listed."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command, imported now."""
        if cmd_name not in self._places:
            return None
        module, _, attribute = self._places[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)  # noqa: S101 - the table above is ours
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; errors of ours become their line."""
        _hear_the_end()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a name in another alphabet than the terminal's
        try:
            return super().invoke(ctx)
        except MergelineError as error:
            raise CannotError(str(error)) from None
        except KeyboardInterrupt:
            click.echo("mergeline: interrupted", err=True)
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            raise  # click's: whoever read us has enough
        except OSError as error:
            name = f": {error.filename}" if error.filename else ""
            raise CannotError(f"{error.strerror or error}{name}") from None


def _hear_the_end() -> None:
    """The first process of a container gets no signal that it does not ask for: end as any other would."""
    if os.getpid() == FIRST_PROCESS:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


version_option = click.version_option(__version__, prog_name="mergeline", message="%(prog)s %(version)s")


def with_settings(command: Callable[Concatenate[Settings, P], R]) -> Callable[P, R]:
    """Give a command the settings of its environment; libraries are quiet, their errors are said once."""

    @functools.wraps(command)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        logs.silence()
        settings = Settings.load(os.environ)
        for line in unknown_variables(os.environ):
            click.echo(f"mergeline: {line}", err=True)
        return command(settings, *args, **kwargs)

    return inner


class TextType(click.ParamType):
    """A text that can be stored: what the shell gives as bytes that are no UTF-8 cannot."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, or a usage error."""
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail("no UTF-8", param, ctx)
        return str(value)


text_type = TextType()
id_type = click.IntRange(1, ID_MAX)
org_id_type = id_type
ledger_org_type = click.IntRange(0, ID_MAX)
"""0: of a dead letter that names no org."""
timeout_option = functools.partial(
    click.option, "--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, show_default=True
)
"""How long a command waits for an answer before it gives up, with a `help` of its own."""
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for a program.")
yes_option = click.option("--yes", is_flag=True, help="Do it. Without this, it is only said what would be done.")
