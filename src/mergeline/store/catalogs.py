"""Catalogs into the database, and out of it.

In: valid catalogs. Out: new versions, all or none; or everything that stored data still rests on. Never: a change that
a batch in flight could miss. It holds `catalog:org` shared while it decides, this takes it alone; and since every
batch compares versions under that lock, nobody has to be notified.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from mergeline.domain.catalog import Catalog, Reference, changed_references
from mergeline.store.catalog_cache import NO_CATALOG, Versioned, parse, parse_references
from mergeline.store.failures import CatalogRefused
from mergeline.store.locks import catalog_lock, lock
from mergeline.store.statements import Connection, OnStatement, Statements, columns_of, operator_bounds

CATALOGS_MAX: Final = 1_000
"""Catalogs of one call: each is a lock."""
LOCK_WAIT_MS_MAX: Final = 30_000


@dataclass(frozen=True, slots=True)
class Applied:
    """The newest version of an org's catalog, and whether it is new."""

    org_id: int
    version: int
    changed: bool


async def apply_catalogs(
    connection: Connection, catalogs: Sequence[Catalog], on_statement: OnStatement | None = None
) -> list[Applied]:
    """Store each catalog as a new version, if it differs from the last.

    Raises:
        CatalogRefused: if one of them drops what data rests on; it lists all of that. Nothing is stored then.
        BatchTooLarge: if they are more than `CATALOGS_MAX`.
    """
    db = Statements(connection, on_statement)
    async with db.transaction(operator_bounds(LOCK_WAIT_MS_MAX)):
        await lock(db, (catalog_lock(catalog.org_id) for catalog in catalogs), (), CATALOGS_MAX)
        stored = await _newest(db, [catalog.org_id for catalog in catalogs])
        uses = [use for catalog in catalogs for use in await _uses(db, stored[catalog.org_id].catalog, catalog)]
        if uses:
            raise CatalogRefused(uses)
        applied = [_applied(stored[catalog.org_id], catalog) for catalog in catalogs]
        new = [
            (one.org_id, one.version, _document(catalog))
            for one, catalog in zip(applied, catalogs, strict=True)
            if one.changed
        ]
        await db.execute("catalogs_insert", *columns_of(new, 3))
    return applied


async def newest_catalog(connection: Connection, org_id: int) -> Versioned | None:
    """The org's catalog as it is now, if it has one."""
    for row in await Statements(connection).fetch("catalogs_newest", [org_id]):
        return Versioned(row["version"], parse(row["document"], org_id))
    return None


async def _newest(db: Statements, org_ids: Sequence[int]) -> dict[int, Versioned]:
    """What is stored, as far as it says what data may rest on: it is replaced also where it is not valid any more."""
    rows = await db.fetch("catalogs_newest", list(org_ids))
    found = {row["org_id"]: Versioned(row["version"], parse_references(row["document"], row["org_id"])) for row in rows}
    return dict.fromkeys(org_ids, NO_CATALOG) | found


async def _uses(db: Statements, old: Catalog | None, new: Catalog) -> list[str]:
    """What the new catalog would leave without a meaning, a line each."""
    if old is None:
        return []
    references = list(changed_references(old, new))
    used = {("source", row["name"]) for row in await db.fetch("sources_used", new.org_id, _names(references, "source"))}
    series = [int(name) for name in _names(references, "series")]
    used |= {("series", str(row["id"])) for row in await db.fetch("series_used", new.org_id, series)}
    used |= {("label", row["name"]) for row in await db.fetch("labels_used", new.org_id, _names(references, "label"))}
    users = {"source": "entries", "series": "cards", "label": "cards"}
    return [
        f"org {new.org_id}: {users[reference.kind]} use {reference.kind} {reference.name}, which is dropped or changed"
        for reference in references
        if (reference.kind, reference.name) in used
    ]


def _names(references: Iterable[Reference], kind: str) -> list[str]:
    return [reference.name for reference in references if reference.kind == kind]


def _applied(stored: Versioned, catalog: Catalog) -> Applied:
    changed = stored.catalog is None or _document(stored.catalog) != _document(catalog)
    return Applied(catalog.org_id, stored.version + changed, changed)


def _document(catalog: Catalog) -> str:
    """The catalog as it is stored: the order of its labels counts, so it is part of the comparison."""
    return orjson.dumps(catalog.model_dump(mode="json", by_alias=True, exclude_none=True)).decode()
