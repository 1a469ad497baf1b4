"""The house numbers of src: small modules, small functions, docstrings that draw the line, maps that are whole."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Module

MODULE_LINES_MAX = 350
FUNCTION_LINES_MAX = 60
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PHRASES = ("In:", "Out:", "Never:")


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_modules_are_short(modules: "list[Module]") -> None:
    assert [f"{module.name}: {module.lines} lines" for module in modules if module.lines > MODULE_LINES_MAX] == []


def test_functions_are_short(modules: "list[Module]") -> None:
    long = [
        f"{module.name}:{function.lineno} {function.name}: {lines} lines"
        for module in modules
        for function in functions(module.tree)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_every_module_says_what_comes_in_what_goes_out_and_what_it_never_does(modules: "list[Module]") -> None:
    silent = []
    for module in modules:
        docstring = ast.get_docstring(module.tree) or ""
        # A module that defines nothing (a package's front, `python -m`) only has to have a docstring.
        defines = any(isinstance(node, DEFINITIONS) for node in module.tree.body)
        missing = [phrase for phrase in PHRASES if phrase not in docstring] if defines else []
        if missing or not docstring:
            silent.append(f"{module.name}: {' '.join(missing) or 'no docstring'}")
    assert silent == []


@pytest.mark.parametrize("package", ["domain", "store", "stream"])
def test_the_map_of_a_package_names_each_of_its_modules(modules: "list[Module]", package: str) -> None:
    folder = f"src/mergeline/{package}"
    (front,) = (module for module in modules if module.name == f"{folder}/__init__.py")
    named = set(re.findall(r"\w+", ast.get_docstring(front.tree) or ""))
    inside = {PurePath(module.name).stem for module in modules if module.name.startswith(f"{folder}/")}
    assert inside - {"__init__"} - named == set()


def test_the_map_in_the_readme_names_what_lies_beside_the_packages(modules: "list[Module]", root: Path) -> None:
    named = set(re.findall(r"[\w/.]+", (root / "README.md").read_text(encoding="utf-8")))
    beside = {PurePath(module.name).name for module in modules if PurePath(module.name).parent.name == "mergeline"}
    packages = {f"{PurePath(module.name).parent.name}/" for module in modules} - {"mergeline/"}
    assert (beside - {"__init__.py", "__main__.py"} | packages) - named == set()


SPEAKERS = {
    "src/mergeline/app.py": "the last line of a worker that ends",
    "src/mergeline/embedded/__main__.py": "where Kafka and PostgreSQL are, once they run",
}
"""Beside the command line; each is in the README's line about it."""
OUTPUTS = {"print", "click.echo", "click.secho", "sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}


def prints(node: ast.AST) -> bool:
    """Whether something is printed here: a call of `print` or `echo`, or of a method of a standard stream."""
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called in OUTPUTS or called.rpartition(".")[0].removesuffix(".buffer") in OUTPUTS


def test_only_the_command_line_prints(modules: "list[Module]") -> None:
    printing = {
        module.name
        for module in modules
        if not module.name.startswith("src/mergeline/cli/") and any(map(prints, ast.walk(module.tree)))
    }
    assert printing == SPEAKERS.keys()


@pytest.mark.parametrize(
    "line", ["print(1)", "click.echo(1)", "sys.stdout.write('')", "sys.stderr.buffer.write(b'')", "sys.stderr.flush()"]
)
def test_the_search_for_prints_finds_one(line: str) -> None:
    assert any(map(prints, ast.walk(ast.parse(line))))


STATEMENTS = {"src/mergeline/store/statements.py", "src/mergeline/store/migrations.py"}
ASKS = {"execute", "executemany", "fetch", "fetchmany", "fetchrow", "fetchval", "cursor", "prepare", "transaction"}


def test_the_store_speaks_to_the_database_by_its_named_statements(modules: "list[Module]") -> None:
    asking = {
        module.name
        for module in modules
        if module.name.startswith("src/mergeline/store/")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in ASKS and ast.unparse(node.value).endswith("connection")
    }
    assert asking == STATEMENTS
