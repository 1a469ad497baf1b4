"""An org's catalog: what is valid, what is left out, and its look-ups (SPEC section 7)."""

import pytest
from pydantic import ValidationError

from mergeline.domain.catalog import Catalog, Reference, changed_references
from mergeline.domain.vocabulary import CardStatus

LEAST = {"orgId": 7, "sources": {"INSTORE": "single"}}


def catalog(**fields: object) -> Catalog:
    return Catalog.model_validate(LEAST | fields)


# ---------------------------------------------------------------- the document


def test_what_is_left_out() -> None:
    least = catalog()
    assert least.policies.merged_customer == "redirect"
    assert (least.default_region, least.block_list, least.series, least.status_labels) == (None, [], [], {})


def test_what_a_series_leaves_out() -> None:
    (series,) = catalog(series=[{"id": 1}]).series
    assert (series.code, series.active, series.auto_create) == (None, True, False)
    assert (series.max_active_cards_per_customer, series.expiry_days) == (None, None)


@pytest.mark.parametrize("field", ["defaultRegion", "policies", "blockList", "series", "statusLabels"])
def test_null_is_left_out(field: str) -> None:
    assert catalog(**{field: None}) == catalog()


@pytest.mark.parametrize("field", ["code", "maxActiveCardsPerCustomer", "expiryDays"])
def test_null_in_a_series_is_left_out(field: str) -> None:
    assert catalog(series=[{"id": 1, field: None}]) == catalog(series=[{"id": 1}])


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"orgId": 0}, id="org 0"),
        pytest.param({"orgId": "7"}, id="org as text"),
        pytest.param({"defaultRegion": "cn"}, id="region in small letters"),
        pytest.param({"defaultRegion": "ZZ"}, id="no such region"),
        pytest.param({"policies": {"mergedCustomer": "ignore"}}, id="no such policy"),
        pytest.param({"policies": {"merged": "reject"}}, id="unknown policy"),
        pytest.param({"blockList": "null"}, id="block list as text"),
        pytest.param({"blockList": [0]}, id="number in the block list"),
        pytest.param({"blockList": [""]}, id="empty text in the block list"),
        pytest.param({"sources": {}}, id="no source"),
        pytest.param({"sources": None}, id="sources null"),
        pytest.param({"sources": ["INSTORE"]}, id="sources as list"),
        pytest.param({"sources": {"INSTORE": "one"}}, id="no such kind of source"),
        pytest.param({"sources": {"": "single"}}, id="source without a name"),
        pytest.param({"series": [{"code": "G"}]}, id="series without id"),
        pytest.param({"series": [{"id": 1}, {"id": 1}]}, id="two series of one id"),
        pytest.param({"series": [{"id": 1, "code": "G"}, {"id": 2, "code": "G"}]}, id="two series of one code"),
        pytest.param({"series": [{"id": 1, "active": None}]}, id="active neither yes nor no"),
        pytest.param({"series": [{"id": 1, "autoCreate": "yes"}]}, id="autoCreate as text"),
        pytest.param({"series": [{"id": 1, "maxActiveCardsPerCustomer": 0}]}, id="a cap of 0"),
        pytest.param({"series": [{"id": 1, "expiryDays": 0}]}, id="expiry after 0 days"),
        pytest.param({"series": [{"id": 1, "name": "Gold"}]}, id="unknown key of a series"),
        pytest.param({"statusLabels": {"Live": "LIVE"}}, id="no such status"),
        pytest.param({"statusLabels": {"": "ACTIVE"}}, id="label without a name"),
        pytest.param({"statusLabels": {"NOT_ISSUED": "ACTIVE"}}, id="no label left for NOT_ISSUED"),
        pytest.param({"labels": {}}, id="unknown key"),
        pytest.param({"blocklist": None}, id="unknown key without a value"),
        pytest.param({"org_id": 7}, id="another style"),
    ],
)
def test_invalid(fields: dict) -> None:
    with pytest.raises(ValidationError):
        catalog(**fields)


def test_a_catalog_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        catalog().org_id = 8


# ---------------------------------------------------------------- status labels


@pytest.mark.parametrize("status", CardStatus)
def test_every_standard_status_has_a_label_of_its_own_name(status: CardStatus) -> None:
    assert catalog().labels[status.value] is status


def test_a_file_may_map_a_standard_name_to_another_status() -> None:
    labels = catalog(statusLabels={"ACTIVE": "SUSPENDED", "Live": "ACTIVE"}).labels
    assert labels["ACTIVE"] is CardStatus.SUSPENDED
    assert labels["Live"] is CardStatus.ACTIVE
    assert labels["SUSPENDED"] is CardStatus.SUSPENDED


def test_labels_are_compared_exactly() -> None:
    labels = catalog(statusLabels={"Live": "ACTIVE"}).labels
    assert "live" not in labels
    assert " Live" not in labels


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        pytest.param({}, "NOT_ISSUED", id="of its own name"),
        pytest.param({"Back": "NOT_ISSUED"}, "NOT_ISSUED", id="of its own name, beside others"),
        pytest.param(
            {"NOT_ISSUED": "DELETED", "Live": "ACTIVE", "Back": "NOT_ISSUED", "Home": "NOT_ISSUED"},
            "Back",
            id="the first of the file, where that name means another",
        ),
    ],
)
def test_the_label_of_a_removed_card(labels: dict, label: str) -> None:
    assert catalog(statusLabels=labels).removal_label == label


# ---------------------------------------------------------------- look-ups


@pytest.mark.parametrize(
    ("series_id", "code", "found"),
    [(1, None, 1), (2, None, 2), (3, None, None), (None, "G", 1), (None, "g", None), (None, None, None)],
)
def test_series_are_found_by_id_or_by_code(series_id: int | None, code: str | None, found: int | None) -> None:
    series = catalog(series=[{"id": 1, "code": "G"}, {"id": 2}]).find_series(series_id, code)
    assert (series and series.id) == found


@pytest.mark.parametrize(
    ("written", "normalised", "blocked"),
    [
        pytest.param("null", "null", True, id="as it is"),
        pytest.param("NuLL", "NuLL", True, id="case ignored"),
        pytest.param("STRASSE 1", "STRASSE 1", True, id="case ignored beyond ASCII"),
        pytest.param("nulls", "nulls", False, id="compared whole"),
        pytest.param("x", "NULL", True, id="as normalised"),
        pytest.param("null", None, True, id="no normalised form, as written"),
        pytest.param("x", None, False, id="no normalised form"),
        pytest.param("trimmed", "trimmed", True, id="entries are trimmed"),
    ],
)
def test_the_block_list(written: str, normalised: str | None, blocked: bool) -> None:
    assert catalog(blockList=["null", "Straße 1", " trimmed "]).blocks(written, normalised) is blocked


# ---------------------------------------------------------------- what a change may orphan


@pytest.mark.parametrize(
    ("old", "new", "references"),
    [
        pytest.param({}, {"sources": {"INSTORE": "single", "WEB": "single"}}, [], id="a source more"),
        pytest.param(
            {"sources": {"A": "single", "B": "single"}},
            {"sources": {"B": "single"}},
            [("source", "A")],
            id="a source less",
        ),
        pytest.param({}, {"sources": {"INSTORE": "multiple"}}, [("source", "INSTORE")], id="a source of another kind"),
        pytest.param({"series": [{"id": 1}]}, {"series": [{"id": 2}]}, [("series", "1")], id="a series less"),
        pytest.param(
            {"series": [{"id": 1}]}, {"series": [{"id": 1, "code": "G", "active": False}]}, [], id="a series changed"
        ),
        pytest.param({"statusLabels": {"Live": "ACTIVE"}}, {}, [("label", "Live")], id="a label less"),
        pytest.param(
            {"statusLabels": {"Live": "ACTIVE"}},
            {"statusLabels": {"Live": "ISSUED"}},
            [("label", "Live")],
            id="a label of another status",
        ),
        pytest.param({}, {"statusLabels": {"ACTIVE": "ISSUED"}}, [("label", "ACTIVE")], id="a standard name remapped"),
        pytest.param(
            {},
            {"blockList": ["x"], "defaultRegion": "CN", "policies": {"mergedCustomer": "reject"}},
            [],
            id="nothing that data rests on",
        ),
    ],
)
def test_what_stored_data_may_rest_on(old: dict, new: dict, references: list[tuple[str, str]]) -> None:
    expected = [Reference(kind=kind, name=name) for kind, name in references]
    assert list(changed_references(catalog(**old), catalog(**new))) == expected
