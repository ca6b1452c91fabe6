"""Skills: registering functions, and loading registries from where the invoker says."""

import asyncio
import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from golden.errors import UsageError
from replay import Context, SkillRegistry
from replay.functions import is_coroutine_function
from replay.skill import SkillImportError, load_skills
from tests.unit.replay.conftest import def_line, here, python, skills

Write = Callable[..., Path]
HEADER = "from replay import SkillRegistry\nregistry = SkillRegistry()\n"


def one_skill(skill_id: str = "s", version: str = "1", name: str = "registry") -> str:
    return (
        f"from replay import SkillRegistry\n{name} = SkillRegistry()\n"
        f'@{name}.skill("{skill_id}", version="{version}")\ndef run(ctx):\n    return 1\n'
    )


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write source files into a working directory; what they change of the import system is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def written(name: str, source: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        importlib.invalidate_caches()
        return path

    yield written
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def versions(registry: SkillRegistry) -> dict[str, str]:
    return {skill.id: skill.version for skill in registry}


def load(*names: str) -> dict[str, str]:
    return versions(load_skills(names, entry_points=False))


# Registering


def test_decorator_leaves_the_function_as_it_is() -> None:
    def function(ctx: Context) -> int:
        return 1

    registry = SkillRegistry()
    assert registry.skill("s", version="3")(function) is function
    found = registry.get("s")
    assert found is not None
    assert (found.id, found.version, found.function, found.is_async) == ("s", "3", function, False)


def test_version_defaults_to_one_and_unknown_skill_is_none() -> None:
    registry = skills(s=lambda _: 1)
    assert versions(registry) == {"s": "1"}
    assert registry.get("t") is None
    assert len(registry) == 1


def test_id_taken_twice_in_one_registry_is_refused() -> None:
    registry = skills(s=lambda _: 1)
    with pytest.raises(UsageError, match="skill s is registered twice"):
        registry.skill("s")(lambda _: 2)


@pytest.mark.parametrize("skill_id, version", [("", "1"), (3, "1"), (None, "1"), ("s", 1), ("s", None)])
def test_id_and_version_must_be_text(skill_id: Any, version: Any) -> None:
    with pytest.raises(UsageError, match="id and version must be text"):
        SkillRegistry().skill(skill_id, version=version)(lambda _: 1)


def test_merging_lets_the_later_registry_win() -> None:
    merged = skills("1", a=lambda _: 1, b=lambda _: 1)
    merged.update(skills("2", b=lambda _: 2, c=lambda _: 2))
    assert versions(merged) == {"a": "1", "b": "2", "c": "2"}


# What a skill is


async def coroutine(ctx: Context) -> int:
    return 1


def plain(ctx: Context) -> int:
    return 1


class Caller:
    def __call__(self, ctx: Context) -> int:
        return 1

    def method(self, ctx: Context) -> int:
        return 1

    async def async_method(self, ctx: Context) -> int:
        return 1


class AsyncCaller:
    async def __call__(self, ctx: Context) -> int:
        return 1


@functools.wraps(plain)
async def async_around_plain(ctx: Context) -> int:
    return plain(ctx)


@functools.wraps(coroutine)
def plain_around_async(ctx: Context) -> Any:
    return coroutine(ctx)


@pytest.mark.parametrize(
    "function, expected",
    [
        (plain, False),
        (coroutine, True),
        (lambda _: 1, False),
        (lambda ctx: coroutine(ctx), False),  # noqa: PLW0108  a lambda is what is tested
        (functools.partial(plain), False),
        (functools.partial(coroutine), True),
        (functools.partial(functools.partial(coroutine)), True),
        (Caller(), False),
        (Caller().method, False),
        (Caller().async_method, True),
        (AsyncCaller(), True),
        (functools.partial(AsyncCaller()), True),
        (async_around_plain, True),
        (plain_around_async, True),
        (Caller, False),
        (len, False),
        (str.upper, False),
        (functools.partial(len), False),
        (Mock(), False),
        (MagicMock(), False),
        (AsyncMock(), True),
        (asyncio.sleep, True),
    ],
)
def test_functions_are_told_from_coroutine_functions_without_a_call(function: Any, expected: bool) -> None:
    assert is_coroutine_function(function) is expected


def test_location_is_the_def_below_decorators() -> None:
    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(ctx: Context) -> Any:
            return function(ctx)

        return wrapper

    @around
    @around
    def decorated(ctx: Context) -> int:
        return 1

    found = skills(s=decorated).get("s")
    assert found is not None
    innermost = decorated.__wrapped__.__wrapped__  # type: ignore[attr-defined]
    assert found.location() == here(innermost.__code__.co_firstlineno + 2, __file__)


def test_location_of_a_method_and_a_lambda_is_where_they_are_written() -> None:
    function = lambda _: 1  # noqa: E731  a lambda is what is tested
    registry = skills(m=Caller().method, f=function)
    assert [skill.location() for skill in registry] == [
        here(Caller.method.__code__.co_firstlineno, __file__),
        here(def_line(function), __file__),
    ]


def test_builtin_function_has_no_location_and_no_code_hash() -> None:
    found = skills(s=cast("Any", len)).get("s")
    assert found is not None
    assert (found.location(), found.code_hash(), found.module) == (None, None, "builtins")


def test_code_hash_is_of_the_whole_source_file_and_module_is_named() -> None:
    found = skills(s=functools.partial(plain)).get("s")
    assert found is not None
    assert found.code_hash() == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert found.module == __name__


# Loading


def test_module_without_attribute_gives_its_registry(write: Write) -> None:
    write("t_one.py", one_skill() + "other = SkillRegistry()\n")
    assert load("t_one") == {"s": "1"}


def test_module_gives_its_only_registry_whatever_it_is_called(write: Write) -> None:
    write("t_only.py", one_skill(name="mine") + "again = mine\n")
    assert load("t_only") == {"s": "1"}


def test_attribute_names_the_registry(write: Write) -> None:
    write("t_two.py", one_skill("a", name="first") + one_skill("b", name="second"))
    assert load("t_two:second") == {"b": "1"}


def test_module_in_a_package_is_found_below_the_working_directory(write: Write) -> None:
    write("t_pkg/__init__.py")
    write("t_pkg/inner.py", one_skill())
    assert load("t_pkg.inner") == {"s": "1"}


def test_file_is_relative_to_the_working_directory_and_may_name_an_attribute(write: Write) -> None:
    write("sub/t_file.py", one_skill(name="mine"))
    assert load("sub/t_file.py") == load("sub/t_file.py:mine") == {"s": "1"}


def test_file_may_be_absolute_and_import_what_lies_beside_it(write: Write) -> None:
    write("sub/t_beside.py", 'VERSION = "4"\n')
    path = write("sub/t_absolute.py", "from t_beside import VERSION\n" + one_skill().replace('"1"', "VERSION"))
    assert load(str(path)) == {"s": "4"}


def test_file_is_run_once_however_often_it_is_named(write: Write) -> None:
    write("t_once.py", "with open('count', 'a') as f:\n    f.write('x')\n" + HEADER)
    load("t_once.py", "t_once.py", "t_once")
    assert Path("count").read_text() == "x"


def test_two_files_of_one_name_are_two_modules(write: Write) -> None:
    write("one/t_same.py", one_skill("a"))
    write("two/t_same.py", one_skill("b"))
    assert load("one/t_same.py", "two/t_same.py") == {"a": "1", "b": "1"}


def test_code_hash_of_two_files_of_one_name_is_of_each_own(write: Write) -> None:
    paths = [write("one/t_same.py", one_skill("a")), write("two/t_same.py", one_skill("b"))]
    registry = load_skills(["one/t_same.py", "two/t_same.py"], entry_points=False)
    assert [skill.code_hash() for skill in registry] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    ]


def test_later_names_win(write: Write) -> None:
    write("t_a.py", one_skill(version="a"))
    write("t_b.py", one_skill(version="b"))
    assert (load("t_a", "t_b"), load("t_b", "t_a")) == ({"s": "b"}, {"s": "a"})


def distribution(write: Write, name: str, entry: str) -> None:
    write(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    write(f"{name}-1.dist-info/entry_points.txt", f"[golden.skills]\n{entry}\n")


def test_entry_points_are_loaded_first_in_order_of_their_names(write: Write) -> None:
    write("t_x.py", one_skill("a", "x") + '@registry.skill("b", version="x")\ndef other(ctx):\n    return 1\n')
    write("t_y.py", one_skill("b", "y", name="mine"))
    write("t_z.py", one_skill("a", "z"))
    distribution(write, "t_dist_one", "2-second = t_y:mine\n")
    distribution(write, "t_dist_two", "1-first = t_x\n")
    sys.path.insert(0, str(Path.cwd()))
    assert versions(load_skills([])) == {"a": "x", "b": "y"}
    assert versions(load_skills(["t_z"])) == {"a": "z", "b": "y"}


def test_entry_point_to_nothing_is_named(write: Write) -> None:
    distribution(write, "t_dist", "broken = t_nowhere\n")
    sys.path.insert(0, str(Path.cwd()))
    with pytest.raises(UsageError, match="there is no module t_nowhere"):
        load_skills([])


def test_nothing_named_gives_no_skills() -> None:
    assert load() == {}


@pytest.mark.parametrize("name", ["t_absent", "t_absent.inner", "t_absent:registry"])
def test_absent_module_is_named(write: Write, name: str) -> None:
    with pytest.raises(UsageError, match=f"there is no module {name.partition(':')[0]}"):
        load(name)


@pytest.mark.parametrize("name", ["t_absent.py", "sub/t_absent.py:registry"])
def test_absent_file_is_named(write: Write, name: str) -> None:
    with pytest.raises(UsageError, match=f"there is no file {name.partition(':')[0]}"):
        load(name)


@pytest.mark.parametrize("name", ["t_none", "t_none.py"])
def test_module_without_a_registry_is_refused(write: Write, name: str) -> None:
    write("t_none.py", "registry = {}\n")
    with pytest.raises(UsageError, match=f"{name} has no SkillRegistry"):
        load(name)


def test_two_registries_without_a_name_are_refused(write: Write) -> None:
    write("t_two.py", one_skill("a", name="first") + one_skill("b", name="second"))
    with pytest.raises(UsageError, match="t_two has 2 registries") as caught:
        load("t_two")
    assert "MODULE:ATTR" in caught.value.hint


@pytest.mark.parametrize("attribute", ["nothing", "run", "SkillRegistry"])
def test_attribute_that_is_no_registry_is_refused(write: Write, attribute: str) -> None:
    write("t_attr.py", one_skill())
    with pytest.raises(UsageError, match=f"t_attr:{attribute} is no SkillRegistry"):
        load(f"t_attr:{attribute}")


BROKEN = [
    ("raise ValueError('no')\n", "ValueError", "no", 1),
    ("import sys\nsys.exit(3)\n", "SystemExit", "3", 2),
    ("def f():\n    1 / 0\n\nf()\n", "ZeroDivisionError", "division by zero", 2),
    ("import t_not_there\n", "ModuleNotFoundError", "No module named 't_not_there'", 1),
    ("x = (\n", "SyntaxError", "'(' was never closed (t_broken.py, line 1)", 1),
    (HEADER + "registry.skill('')(print)\n", "UsageError", "", 3),
]


@pytest.mark.parametrize("name", ["t_broken", "t_broken.py"])
@pytest.mark.parametrize("source, kind, message, line", BROKEN, ids=[row[1] for row in BROKEN])
def test_module_that_raises_is_told_with_the_users_own_frames(
    write: Write, name: str, source: str, kind: str, message: str, line: int
) -> None:
    write("t_broken.py", source)
    if kind == "UsageError":
        with pytest.raises(UsageError, match="id and version must be text"):
            load(name)
        return
    with pytest.raises(SkillImportError, match=f"skill module {name} cannot be imported") as caught:
        load(name)
    failure = caught.value.failure
    assert (failure.type, failure.message) == (kind, message)
    assert failure.location == f"t_broken.py:{line}"
    assert all(place.startswith("t_broken.py:") for place, _ in failure.frames)


def test_file_that_raised_is_not_left_behind_half_imported(write: Write) -> None:
    write("t_half.py", "raise ValueError\n")
    with pytest.raises(SkillImportError):
        load("t_half.py")
    assert "t_half" not in sys.modules
    Path("t_half.py").write_text(one_skill())
    assert load("t_half.py") == {"s": "1"}


def test_control_c_while_a_module_is_imported_is_no_import_error(write: Write) -> None:
    write("t_slow.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("t_slow")


@pytest.mark.parametrize("name", ["t_stale", "t_stale.py"])
def test_edit_that_keeps_size_and_second_is_run_not_its_stale_bytecode(tmp_path: Path, name: str) -> None:
    source = tmp_path / "t_stale.py"
    script = f"""
        import os
        from replay.skill import load_skills
        os.chdir({str(tmp_path)!r})
        print(load_skills([{name!r}], entry_points=False).get("s").function(None))
    """
    answers = []
    for value in "12":
        source.write_text(one_skill().replace("return 1", f"return {value}"))
        os.utime(source, (1_700_000_000, 1_700_000_000))
        child = python(script, env={"PYTHONDONTWRITEBYTECODE": ""})
        answers.append(child.communicate()[0].strip())
        for cached in tmp_path.glob("__pycache__/*.pyc"):
            os.utime(cached, (1_700_000_000, 1_700_000_000))
    assert answers == ["1", "2"]
