"""What commands print: text for people by rich, JSON for programs.

In: texts and values. Out: stdout, in the terminal's width (80 columns where there is none). Never: a colour or a
cursor movement where stdout is no terminal, or a value that is read as markup.
"""

import sys
from typing import Any

import click
import orjson
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


def console(*, stderr: bool = False) -> Console:
    """Where people read."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def lay_out(out: Console, renderable: RenderableType) -> None:
    """Print something that rich lays out; in a pipe or a file, without the blanks it fills lines up with."""
    if out.is_terminal:
        out.print(renderable)
        return
    with out.capture() as captured:
        out.print(renderable)
    out.file.write("\n".join(line.rstrip() for line in captured.get().split("\n")))
    out.file.flush()


def print_json(value: Any) -> None:
    """One JSON text on one line, for a program."""
    click.echo(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z).decode())


def note(text: str) -> None:
    """A line beside the answer, on stderr."""
    click.echo(f"mergeline: {text}", err=True)


def table(*columns: str, title: str | None = None) -> Table:
    """A table without a box, which reads well in logs and at 80 columns."""
    made = Table(title=title, box=None, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, header_style="bold", overflow="fold")
    return made


def progress() -> Progress:
    """A bar on stderr, on a terminal only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
