"""Both services in the foreground, for a terminal next to this one.

In: ``--data-dir`` to keep the data. Out: two lines to evaluate in another shell, then nothing until Ctrl-C or SIGTERM;
exit status 2, with a line that says why, where they cannot be had. Never: servers in the background.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

import click

from mergeline.embedded.errors import EmbeddedError
from mergeline.embedded.services import Services

CANNOT: Final = 2


@click.command()
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep the data in this folder.")
def main(data_dir: Path | None) -> None:
    """Start Kafka and PostgreSQL and wait for Ctrl-C."""
    stop_signals = {signal.SIGINT, signal.SIGTERM}
    try:
        with Services(data_dir, notice=lambda line: click.echo(line, err=True)) as services:
            signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
            click.echo(f"export MERGELINE_DATABASE_URL={services.database_url}")
            click.echo(f"export MERGELINE_KAFKA_BOOTSTRAP_SERVERS={services.bootstrap_servers}")
            signal.sigwait(stop_signals)
    except EmbeddedError as error:
        click.echo(f"mergeline: {error}", err=True)
        raise SystemExit(CANNOT) from None


if __name__ == "__main__":
    main()
