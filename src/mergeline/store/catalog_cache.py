"""The newest catalogs that this process knows.

In: org ids. Out: each org's catalog with its version. Never: a promise that it is the newest; every batch compares
the versions under the shared lock `catalog:org`, which `catalog apply` takes alone, so nobody has to listen for
changes.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from pydantic import ValidationError

from mergeline.domain.catalog import Catalog
from mergeline.errors import SetupError
from mergeline.store.statements import Statements


@dataclass(frozen=True, slots=True)
class Versioned:
    """A catalog and its version; None and 0 for an org that has none."""

    version: int
    catalog: Catalog | None


NO_CATALOG: Final = Versioned(0, None)


class CatalogCache:
    """At most `catalogs_max` orgs, those used last."""

    def __init__(self, catalogs_max: int) -> None:
        self._catalogs_max = catalogs_max
        self._by_org: OrderedDict[int, Versioned] = OrderedDict()

    async def get(self, db: Statements, org_ids: Iterable[int]) -> dict[int, Versioned]:
        """The catalogs of the orgs; those that are not known are read."""
        wanted = sorted(set(org_ids))
        known = {org_id: self._by_org[org_id] for org_id in wanted if org_id in self._by_org}
        unknown = [org_id for org_id in wanted if org_id not in known]
        if unknown:
            known |= dict.fromkeys(unknown, NO_CATALOG)
            for row in await db.fetch("catalogs_newest", unknown):
                known[row["org_id"]] = Versioned(row["version"], parse(row["document"], row["org_id"]))
        for org_id, versioned in known.items():
            self._by_org[org_id] = versioned
            self._by_org.move_to_end(org_id)
        while len(self._by_org) > self._catalogs_max:
            self._by_org.popitem(last=False)
        return known

    def forget(self, org_ids: Iterable[int]) -> None:
        """Read these again when they are next asked for."""
        for org_id in org_ids:
            self._by_org.pop(org_id, None)


def outdated(used: Mapping[int, Versioned], versions: Mapping[int, int]) -> set[int]:
    """The orgs whose newest version is another than the one used."""
    return {org_id for org_id, versioned in used.items() if versions.get(org_id, 0) != versioned.version}


def parse(document: str, org_id: int) -> Catalog:
    """A stored document.

    Raises:
        SetupError: if it was valid once and is not any more.
    """
    try:
        return Catalog.model_validate_json(document)
    except ValidationError:
        text = f"The stored catalog of org {org_id} is not valid for this version. Apply its file again: "
        raise SetupError(text + "mergeline catalog apply FILE") from None


def parse_references(document: str, org_id: int) -> Catalog:
    """A stored document; where it is not valid any more, its sources, series and labels, which data may rest on.

    Raises:
        SetupError: if not even these are valid any more.
    """
    try:
        return Catalog.model_validate_json(document)
    except ValidationError:
        stored = orjson.loads(document)
        kept = {field: stored.get(field) for field in ("orgId", "sources", "statusLabels")}
        kept["series"] = [{"id": series["id"]} for series in stored.get("series") or ()]
        # So that a file that says no more than this still differs, and is stored.
        kept["blockList"] = ["not valid any more"]
        return parse(orjson.dumps(kept).decode(), org_id)
