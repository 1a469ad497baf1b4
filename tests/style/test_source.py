"""The house numbers of src: small modules, small functions, docstrings that draw the line, SQL in one place."""

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Module

MODULE_LINES_MAX = 350
FUNCTION_LINES_MAX = 60
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PHRASES = ("In:", "Out:", "Never:")
SQL = re.compile(r"\b(?:SELECT\s+\S+|INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|(?:CREATE|ALTER|DROP)\s+TABLE)\b")


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def text_of(node: ast.AST) -> str:
    """All string constants under a node, as one text."""
    constants = (leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant))
    return " ".join(value for value in constants if isinstance(value, str))


def builds_text(node: ast.AST) -> bool:
    """Whether a text is put together here: an f-string, `%`, `+` or `.format`."""
    match node:
        case ast.JoinedStr():
            return any(isinstance(part, ast.FormattedValue) for part in node.values)
        case ast.BinOp(op=ast.Mod() | ast.Add()):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="format")):
            return True
    return False


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


def test_only_the_command_line_prints(modules: "list[Module]") -> None:
    printing = [
        f"{module.name}:{node.lineno}"
        for module in modules
        if not module.name.startswith("src/mergeline/cli/")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_no_sql_is_put_together_from_strings(modules: "list[Module]") -> None:
    built = [
        f"{module.name}:{node.lineno}"
        for module in modules
        for node in ast.walk(module.tree)
        if builds_text(node) and SQL.search(text_of(node))
    ]
    assert built == []


def test_the_search_for_built_sql_finds_it() -> None:
    for line in ('f"SELECT {x} FROM t"', '"DELETE FROM %s" % t', '"SELECT a FROM " + t', '"DROP TABLE {}".format(t)'):
        assert any(builds_text(node) and SQL.search(text_of(node)) for node in ast.walk(ast.parse(line))), line
