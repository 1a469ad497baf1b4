"""`mergeline catalog`: what an org has, from files into the database, and back.

In: YAML files; an org id. Out: new versions, all or none; a file that can be applied again. Never: a catalog that is
only partly valid, or one that leaves stored data without a meaning.
"""

import asyncio
from pathlib import Path

import click

from mergeline.cli.catalog_files import as_yaml, read_catalogs
from mergeline.cli.group import json_option, org_id_type, with_settings
from mergeline.cli.output import note, print_json
from mergeline.database import connected
from mergeline.domain.catalog import Catalog
from mergeline.errors import SetupError
from mergeline.settings import Settings
from mergeline.store.catalog_cache import Versioned
from mergeline.store.catalogs import CATALOGS_MAX, Applied, apply_catalogs, newest_catalog
from mergeline.store.connecting import LONG_STATEMENT_MS_MAX
from mergeline.store.failures import CatalogRefused


@click.group(no_args_is_help=True, short_help="The catalogs of orgs: sources, series, labels, policies.")
def catalog() -> None:
    """The catalogs of orgs: sources, card series, status labels, policies."""


@catalog.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what is wrong with the files; needs no database.")
@json_option
@with_settings
def apply(settings: Settings, files: tuple[Path, ...], *, dry_run: bool, as_json: bool) -> None:
    """Apply catalog files (YAML or JSON, one org a file): all of them, or none.

    A change that would leave stored data without a meaning is refused: a source, a series or a label that is
    dropped or changed while it is used. Running workers take a new catalog at once. Exit status 1 if a file is
    wrong or refused.

    \b
    Example:
      mergeline catalog apply brands/*.yaml
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    if len(files) > CATALOGS_MAX:
        raise SetupError(
            f"{len(files)} files, but at most {CATALOGS_MAX} can be applied together, all or none. Apply them in parts."
        )
    catalogs, problems = read_catalogs(files)
    for problem in problems:
        note(str(problem))
    if problems:
        note("nothing was applied")
        raise SystemExit(1)
    applied = [] if dry_run else asyncio.run(_apply(settings, catalogs))
    if as_json:
        print_json([{"orgId": one.org_id, "version": one.version, "changed": one.changed} for one in applied])
        return
    if dry_run:
        click.echo(f"{len(catalogs)} valid, nothing applied (--dry-run)")
    for one in applied:
        click.echo(f"org {one.org_id}: version {one.version}" + ("" if one.changed else ", unchanged"))


async def _apply(settings: Settings, catalogs: list[Catalog]) -> list[Applied]:
    async with connected(settings, LONG_STATEMENT_MS_MAX) as connection:
        try:
            return await apply_catalogs(connection, catalogs)
        except CatalogRefused as refused:
            for line in refused.uses:
                note(line)
            note("nothing was applied")
            raise SystemExit(1) from None


@catalog.command()
@click.argument("org", type=org_id_type)
@json_option
@with_settings
def show(settings: Settings, org: int, *, as_json: bool) -> None:
    """Print the catalog of ORG as a file that can be applied again. Exit status 1 if it has none.

    \b
    Example:
      mergeline catalog show 100737 > brand.yaml
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    found = asyncio.run(_newest(settings, org))
    if found is None or found.catalog is None:
        note(f"org {org} has no catalog")
        raise SystemExit(1)
    if as_json:
        print_json(found.catalog.model_dump(mode="json", by_alias=True, exclude_unset=True))
    else:
        click.echo(f"# version {found.version}\n{as_yaml(found.catalog)}", nl=False)


async def _newest(settings: Settings, org_id: int) -> Versioned | None:
    async with connected(settings) as connection:
        return await newest_catalog(connection, org_id)
