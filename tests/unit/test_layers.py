"""Who may import whom, and how large things may be: read from the sources themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAY_IMPORT = {
    "feeders": set(),
    "dms": {"feeders"},
    "hems": set(),
    "anoca": {"feeders", "dms", "hems", "scenarios"},
}
"""Beside itself, among the packages of the project."""

LONGEST_FUNCTION, LONGEST_FILE = 60, 500

FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef
OURS = {*MAY_IMPORT, "scenarios", "tests"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(tree: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, wherever it stands; relative ones are completed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, f"{package}.{node.module or ''}" if node.level else str(node.module)


def public_functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """(qualified name, function) of public functions and of public methods of public classes."""

    def below(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Function]]:
        for node in body:
            if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
                continue
            if isinstance(node, ast.ClassDef):
                yield from below(node.body, f"{prefix}{node.name}.")
            else:
                yield f"{prefix}{node.name}", node

    yield from below(tree.body, "")


def test_all_four_packages_are_read() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(MAY_IMPORT)
    assert len(FILES) > 60


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_point_downwards_only(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = MAY_IMPORT[package] | {package}
    wrong = [
        f"line {line}: {module}"
        for line, module in imported(_tree(path), package)
        if module.partition(".")[0] in OURS - allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(_tree(path))
        if isinstance(node, Function)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_public_functions_are_documented_and_say_what_they_return(path: Path) -> None:
    missing = []
    for name, node in public_functions(_tree(path)):
        if not ast.get_docstring(node) and not _is_setter(node):
            missing.append(f"{name}: no docstring")
        if node.returns is None:
            missing.append(f"{name}: no return annotation")
    assert missing == []


def _is_setter(node: Function) -> bool:
    """The docstring of a property stands on its getter."""
    return any(isinstance(d, ast.Attribute) and d.attr == "setter" for d in node.decorator_list)


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_modules_and_public_classes_are_documented(path: Path) -> None:
    tree = _tree(path)
    missing = [] if ast.get_docstring(tree) or not tree.body else ["module"]
    missing += [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert missing == []


def test_importing_the_electrical_packages_does_not_pull_in_the_slow_ones() -> None:
    """Ipopt, Pyomo and plotting are imported where they are used, not when `dms` is."""
    lazy = {"cyipopt", "pyomo", "matplotlib", "dss"}
    for path in FILES:
        if path.relative_to(ROOT).parts[0] not in ("dms", "feeders"):
            continue
        tree = _tree(path)
        at_import = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
        found = {module.partition(".")[0] for _, module in imported(at_import, "")}
        assert not found & lazy, _name(path)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("import anoca.cli as c\n", [(1, "anoca.cli")]),
        ("def f():\n    from hems import Home\n", [(2, "hems")]),
        ("from . import x\nfrom .y import z\n", [(1, "dms."), (2, "dms.y")]),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dms\n",
            [(1, "typing"), (3, "dms")],
        ),
    ],
)
def test_no_import_is_overlooked(source: str, wanted: list[tuple[int, str]]) -> None:
    assert sorted(imported(ast.parse(source), "dms")) == wanted
