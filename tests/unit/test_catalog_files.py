"""Catalog files: YAML without its surprises, and errors that say where (SPEC section 7)."""

import json

import pytest

from mergeline.cli.catalog_files import as_yaml, read_catalogs

LEAST = "orgId: 1\nsources: {INSTORE: single}\n"


@pytest.fixture
def read(tmp_path):
    def run(*contents):
        paths = []
        for number, content in enumerate(contents):
            paths.append(tmp_path / f"{number}.yaml")
            paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_catalogs(paths)

    return run


def only_problem(found):
    ((problem,),) = [found[1]]
    return problem.path, problem.reason


def test_a_whole_catalog(read):
    text = """
orgId: 100737
defaultRegion: CN
policies: {mergedCustomer: reject}
blockList: [test@test.com, 0000000000, "null"]
sources: {INSTORE: single, WECHAT: multiple}
series: [{id: 163, code: GOLD, active: true, autoCreate: false, maxActiveCardsPerCustomer: 1, expiryDays: 365}]
statusLabels: {BLOCKED: SUSPENDED}
"""
    (catalog,), problems = read(text)
    assert problems == []
    assert catalog.block_list == ["test@test.com", "0000000000", "null"]
    assert catalog.series[0].code == "GOLD"


@pytest.mark.parametrize(
    "written",
    [
        pytest.param({}, id="on one line"),
        pytest.param({"indent": 2}, id="on many"),
        pytest.param({"indent": "\t"}, id="with tabs"),
        pytest.param({"ensure_ascii": False}, id="as it is"),
    ],
)
def test_what_writes_json_writes_a_catalog(read, written):
    document = {
        "orgId": 1,
        "sources": {"A": "single"},
        "statusLabels": {"\U0001f947 Gold": "ACTIVE", "金" * 255: "ACTIVE"},
    }
    (catalog,), problems = read("\n" + json.dumps(document, **written))
    assert not problems
    assert catalog.model_dump(mode="json", by_alias=True, exclude_unset=True) == document


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{orgId: 1, sources: {A: single}, orgId: 2}", "line 1, column 34: a key that stands twice"),
        ('{"orgId": 1, "sources": {"A": "single"}, "orgId": 2}', "line 1, column 42: a key that stands twice"),
        ('{"orgId": 1.0, "sources": {"A": "single"}}', "orgId: not a whole number"),
        ('{"orgId": NaN, "sources": {"A": "single"}}', "orgId: not a whole number"),
        ('{"orgId": 1, "sources": {"A": "single"}', "line 1, column 40: expected"),
    ],
)
def test_braces_take_nothing_that_is_no_catalog(read, text, said):
    _, (problem,) = read(text)
    assert said in str(problem)


def test_braces_are_yaml_too(read):
    (catalog,), _ = read("{orgId: 1, sources: {A: single}}  # by hand")
    assert catalog.org_id == 1


def test_words_that_yaml_takes_for_something_else_are_texts(read):
    names = ["NO", "on", "y", "2024-01-01", "1_000", "007", "0x1F", "1e3", "1.5", "12:30"]
    (catalog,), _ = read("orgId: 1\nsources: {" + ", ".join(f'"{name}": single' for name in names) + "}")
    (plain,), _ = read("orgId: 1\nsources:\n" + "".join(f"  {name}: single\n" for name in names))
    assert list(plain.sources) == names
    assert plain == catalog


def test_what_is_shown_can_be_applied_again(read):
    text = (
        LEAST + "blockList: ['null', 'true', '12', '0', '~', ' x', NO]\nstatusLabels: {'12': ACTIVE, 'on': EXPIRED}\n"
    )
    (catalog,), problems = read(text)
    assert problems == []
    (again,), _ = read(as_yaml(catalog))
    assert again == catalog


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("", "", "not a mapping of fields"),
        ("- 1", "", "not a mapping of fields"),
        ("orgId: 1", "sources", "missing"),
        (LEAST + "blockList: [12345]", "blockList[0]", "not a text; put it in quotes"),
        (LEAST + "blockList: [null]", "blockList[0]", "not a text; put it in quotes"),
        (LEAST + "colour: red", "colour", "no such field"),
        (LEAST + "series: [{id: 1}, {id: 2, activ: true}]", "series[1].activ", "no such field"),
        (LEAST + "series: [{id: 007}]", "series[0].id", "not a whole number"),
        (LEAST + "series: [{id: 1, active: yes}]", "series[0].active", "neither true nor false"),
        (LEAST + "statusLabels: {LOST: GONE}", "statusLabels.LOST", "input should be 'NOT_ISSUED'"),
        (LEAST + "series: [{id: 1}, {id: 1}]", "", "two series share an id or a code"),
        (LEAST + "orgId: 2", "", "line 3, column 1: a key that stands twice"),
        (LEAST + "series: &a []\nblockList: *a", "", "line 4, column 12: aliases are not taken here"),
        (LEAST + '!!timestamp x "y": 1', "", "line 3, column 1: tags are not taken here"),
        (LEAST + "blockList: [!!bool maybe]", "", "line 3, column 13: tags are not taken here"),
        (LEAST + "blockList: [!!int '']", "", "tags are not taken here"),
        (LEAST + "blockList: !!omap []", "", "tags are not taken here"),
        (LEAST + "defaultRegion: ! CN", "", "tags are not taken here"),
        (LEAST + "---\n" + LEAST, "", "line 3, column 1: but found another document"),
        (LEAST + "series: [", "", "line 3, column 10"),
        (b"\xff", "", "not UTF-8 at byte 0"),
        ("orgId: \x07", "", "not YAML"),
        ("? [a]\n: 1", "", "a key that is not a text"),
        ("[" * 5000, "", "not YAML"),
    ],
)
def test_a_bad_file_says_where_and_why(read, text, path, reason):
    found_path, found_reason = only_problem(read(text))
    assert found_path == path
    assert reason in found_reason


def test_every_problem_of_every_file_is_said(read):
    _, problems = read(LEAST, "orgId: 0\nsources: {A: many}\n", LEAST)
    assert [(problem.file[-6:], problem.path) for problem in problems] == [
        ("1.yaml", "orgId"),
        ("1.yaml", "sources.A"),
        ("2.yaml", "orgId"),
    ]
    assert "0.yaml too" in problems[-1].reason


def test_a_file_that_is_not_there(tmp_path):
    _, (problem,) = read_catalogs([tmp_path / "none.yaml"])
    assert str(problem).endswith("none.yaml: cannot be read: No such file or directory")
