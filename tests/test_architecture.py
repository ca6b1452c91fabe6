"""The order of the house, read from the source: who may import whom, and which power lives where."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("golden", "replay", "cli")  # each may import itself and what stands before it
# Felt at every start when imported at the top; nothing else may be imported inside a function.
SLOW_NAMES = (
    "asyncio concurrent cryptography ctypes deepdiff difflib importlib inspect json keyring locale logging"
    " multiprocessing pathlib pdb platform platformdirs random rich secrets signal ssl stamina subprocess sysconfig"
    " tempfile tomlkit tomllib traceback yaml"
)
SLOW = set(SLOW_NAMES.split())
HOMES = {  # what a module can do: the only modules that may
    "click": r"cli(\.|$)",
    "click.echo": r"cli\.",
    "cryptography": r"golden\.(chain|keyring|seal)$",
    "deepdiff": r"golden\.values$",
    "jinja2": r"replay\.report\.html$",
    "keyring": r"golden\.sources$",
    "markupsafe": r"replay\.report\.html$",
    "os.environ": r"cli\.settings$|replay\.(patches|pytest_session|syrupy_extension)$",  # watched by the first
    "print": r"cli\.",
    "pytest": r"replay\.(pytest_items|pytest_plugin|pytest_session|syrupy_extension)$",
    "psycopg": r"replay\.checkpoints\.server$",
    "psycopg_pool": r"replay\.checkpoints\.server$",
    "random": r"replay\.(retry|context|patches)$",
    "rich": r"cli\.",
    "sqlite3": r"replay\.checkpoints\.sqlite$",
    "stamina": r"replay\.checkpoints\.server$",
    "tomlkit": r"golden\.keyfile$",
    "syrupy": r"replay\.syrupy_extension$",
    "xml": r"replay\.report\.junit$",
}
PATHS = [path.relative_to(ROOT) for package in ORDER for path in sorted((ROOT / package).rglob("*.py"))]
TREES = {
    ".".join(path.with_suffix("").parts).removesuffix(".__init__"): ast.parse((ROOT / path).read_bytes())
    for path in PATHS
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
each_module = pytest.mark.parametrize("name", TREES)


def imports(tree: ast.AST) -> Iterator[str]:
    """Name what is imported below a node: the module, or where it is ours the innermost one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in TREES else str(node.module) for name in inner)


def powers(tree: ast.AST) -> Iterator[str]:
    """Name what a module can do that may have a home: libraries, their members, and functions called."""
    yield from (name.partition(".")[0] for name in imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def test_the_house_has_its_three_packages() -> None:
    assert set(ORDER) <= set(TREES)


@each_module
def test_module_says_its_one_job(name: str) -> None:
    assert ast.get_docstring(TREES[name])


@each_module
def test_imports_point_down_the_house(name: str) -> None:
    above = ORDER[ORDER.index(name.partition(".")[0]) + 1 :]
    reached = {to.partition(".")[0] for to in imports(TREES[name])} & set(above)
    assert reached <= ({"cli"} if name == "golden.__main__" else set())


@each_module
def test_no_import_is_relative(name: str) -> None:
    assert not [node for node in ast.walk(TREES[name]) if isinstance(node, ast.ImportFrom) and node.level]


@each_module
def test_only_slow_libraries_are_imported_inside_a_function(name: str) -> None:
    inside = {to for node in ast.walk(TREES[name]) if isinstance(node, Function) for to in imports(node)}
    entry = {"cli"} if name in {"golden.__main__", "cli.main"} else set()  # a command is loaded when called
    assert {to.partition(".")[0] for to in inside} <= SLOW | entry


def test_modules_form_no_cycle() -> None:
    graph = {name: set(imports(tree)) & set(TREES) - {name} for name, tree in TREES.items()}
    graph["golden"] = graph["replay"] = set()  # lazy tables: they import nothing until asked
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@each_module
def test_every_power_stays_at_home(name: str) -> None:
    held = {re.sub(r"^os\.(environb|(get|put|unset)env)$", "os.environ", power) for power in powers(TREES[name])}
    assert not {power for power, home in HOMES.items() if power in held and not re.match(home, name)}


@pytest.mark.parametrize("package", ["golden", "replay"])
def test_no_public_name_hides_a_module(package: str) -> None:
    inside = {name: tree for name, tree in TREES.items() if name.startswith(f"{package}.")}
    defined = {node.name for tree in inside.values() for node in tree.body if isinstance(node, Function)}
    assert not defined & {name.split(".")[1] for name in inside}


@pytest.mark.parametrize("package", ["golden", "replay"])
def test_package_publishes_its_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
