"""What keeps the house habitable: small modules, short functions, types where decisions are made."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import airflow_provider_archival

ROOT = Path(airflow_provider_archival.__file__).parent
MODULES = {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.rglob("*.py"))}
OF_DECISIONS = sorted(name for name in MODULES if name.startswith(("plans/", "engine/")))

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 40

BAGS = {"dict", "Dict", "Mapping", "MutableMapping", "defaultdict", "OrderedDict"}
ALLOWED_BAGS = {
    "plans/*.py *.result": "goes to XCom",
    "plans/jira_spans.py Span.to_dict": "goes to XCom, as a part of the result",
    "plans/toloka_project.py ArchiveProject._archived": "goes to XCom, as a part of the result",
    "engine/driver.py Driver.finish": "goes to XCom",
    "engine/state.py write": "is kept",
    "engine/state.py _smaller": "is kept",
    "engine/state.py _bare": "is kept",
    "engine/state.py _packed": "is kept",
    "engine/state.py _job": "was kept",
    "engine/state.py _run": "was kept",
    "plans/older.py Notes": "was kept by version 1",
    "plans/older.py values_of": "was kept by version 1",
    "plans/older.py job_of": "was kept by version 1",
    "plans/older.py state_of": "was kept by version 1",
}
"""Where a ``dict[str, Any]`` may stand in spite of all, and why: a pattern of module and name."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of(function: Function) -> int:
    """Count a function's lines without its docstring and its decorators."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    assert docstring.end_lineno is not None
    return lines - (docstring.end_lineno - docstring.lineno + 1)


def bags_in(node: ast.AST, name: str = "") -> Iterator[str]:
    """Yield the name of whatever a dictionary of anything stands in: a function, a field, a constant."""
    for child in ast.iter_child_nodes(node):
        inner = name
        if isinstance(child, (ast.ClassDef, Function)):
            inner = f"{name}.{child.name}".lstrip(".")
        elif not isinstance(node, Function) and isinstance(child, (ast.Assign, ast.AnnAssign)):
            target = child.targets[0] if isinstance(child, ast.Assign) else child.target
            inner = f"{name}.{ast.unparse(target)}".lstrip(".")
        if isinstance(child, ast.Subscript) and is_bag(child):
            yield inner
        yield from bags_in(child, inner)


def is_bag(node: ast.Subscript) -> bool:
    if not isinstance(node.slice, ast.Tuple):
        return False
    kind, value = ast.unparse(node.value), ast.unparse(node.slice.elts[-1])
    return kind.rpartition(".")[2] in BAGS and value.rpartition(".")[2] in ("Any", "object")


def bags() -> set[str]:
    return {f"{module} {name}" for module in OF_DECISIONS for name in bags_in(ast.parse(MODULES[module]))}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_small(module: str) -> None:
    assert len(MODULES[module].splitlines()) <= MOST_LINES


@pytest.mark.parametrize("module", MODULES)
def test_a_function_is_short(module: str) -> None:
    functions = [node for node in ast.walk(ast.parse(MODULES[module])) if isinstance(node, Function)]
    long = {one.name: lines_of(one) for one in functions if lines_of(one) > MOST_LINES_OF_A_FUNCTION}
    assert long == {}


def test_plans_and_the_engine_hold_values_with_types() -> None:
    assert {bag for bag in bags() if not any(fnmatch(bag, allowed) for allowed in ALLOWED_BAGS)} == set()


@pytest.mark.parametrize("allowed", ALLOWED_BAGS)
def test_what_is_allowed_is_still_needed(allowed: str) -> None:
    assert any(fnmatch(bag, allowed) for bag in bags()), f"no longer needed: {allowed}"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("class A:\n    notes: dict[str, Any]", ["A.notes"]),
        ("class A:\n    notes: tuple[typing.Mapping[str, object], ...] = ()", ["A.notes"]),
        ("class A:\n    def f(self, said: Mapping[str, Any] | None) -> None: ...", ["A.f"]),
        ("def f() -> None:\n    found: list[dict[str, Any]] = []", ["f"]),
        ("Notes = Mapping[str, Any]", ["Notes"]),
        ("class A:\n    reasons: dict[str, str]", []),
        ("readers: dict[type, Callable[[str], Any]] = {}", []),
    ],
)
def test_a_dictionary_of_anything_is_found(text: str, names: list[str]) -> None:
    assert list(bags_in(ast.parse(text))) == names
