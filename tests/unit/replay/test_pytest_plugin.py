"""What a project's tests see of the plugin: real sessions of pytest over small projects, in this process."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from golden.recording import Recording
from golden.store import Store
from golden.verdict import verify
from replay.runner import record
from replay.skill import SkillRegistry
from tests import runs

FOLDER = "goldens/pytest"
TWO = """
    def test_one(golden):
        golden.check({"rows": [1, 2]})
        golden.check("two")

    def test_other(golden):
        golden.check([1.5], "named")
"""


class Project:
    """A project in a folder of its own, with a key, whose tests are run."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.here = pytester.path
        self.goldens = self.here / FOLDER
        self.store = Store(self.goldens, runs.keyring(), ledger=False)

    def write(self, **modules: str) -> None:
        for name, text in modules.items():
            path = self.here / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"import pytest\n{dedent(text)}", "utf-8")

    def run(self, *args: str, **outcomes: int) -> pytest.RunResult:
        result = self.pytester.runpytest_inprocess("-p", "replay.pytest_plugin", "--import-mode=importlib", *args)
        if outcomes:
            result.assert_outcomes(**outcomes)
        return result

    def names(self, run_id: str) -> list[str]:
        with Recording.open(self.store.file(run_id), self.store.read()) as recording:
            return [record.step.step_id for record in recording.records() if hasattr(record, "step")]

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.goldens.glob("*")}


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project whose key is in the environment."""
    for name in [name for name in os.environ if name.startswith(("GOLDEN_", "XDG_", "PYTEST_ADDOPTS", "PYTEST_XDIST"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("HOME", str(pytester.path))
    monkeypatch.setenv("GOLDEN_SECRET", runs.ACTIVE.decode())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (pytester.path / "golden.toml").write_text('dir = "goldens"\ndurability = "never"\nledger = false\n')
    return Project(pytester)


def test_a_value_without_a_golden_fails_until_it_is_kept(project: Project) -> None:
    project.write(test_a=TWO)
    result = project.run(failed=2)
    result.stdout.fnmatch_lines(
        [
            '>       golden.check({"rows": [[]1, 2]})',
            "E       AssertionError: no golden value is kept for test_one of test_a.py",
            'E         actual    {"rows":[[]1,2]}',
            "E       hint: `pytest --golden-update` keeps this one; look at it before you commit it",
        ]
    )  # fmt: skip
    result.stdout.no_fnmatch_line("*replay/checks.py*")
    assert not project.goldens.exists()
    project.run("--golden-update", passed=2).stdout.fnmatch_lines(["test_a.py: 3 new"])
    assert project.names("test_a") == ["test_one", "test_one#2", "test_other#named"]
    assert verify(project.goldens / "test_a.steps.jsonl", runs.keyring()).verdict == "intact"
    project.run(passed=2).stdout.no_fnmatch_line("*golden values*")


def test_a_value_that_differs_fails_with_every_place(project: Project) -> None:
    project.write(
        test_a="""
    VALUE = {"rows": [{"n": 1}, {"n": 2}], "gone": None, "text": "one\\ntwo"}
    def test_a(golden):
        golden.check(VALUE)
    """
    )
    project.run("--golden-update", passed=1)
    text = (project.here / "test_a.py").read_text()
    (project.here / "test_a.py").write_text(
        text.replace('{"n": 2}', '{"n": 2.0}').replace('"gone": None', '"\\x1b[2J": 1').replace("ntwo", "nthree")
    )
    result = project.run(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E       AssertionError: test_a is not the golden value at *",
            "E         expected * *",
            "E         actual * *",
            "E         golden    goldens/pytest/test_a.steps.jsonl",
            "E       hint: if it is meant, `pytest --golden-update` keeps the new value",
        ]
    )
    for place in ("/gone", "/rows/1/n", "/text", "\\x1b"):
        assert place in result.stdout.str()
    assert "\x1b" not in result.stdout.str()


def test_only_what_changed_is_written_and_without_change_nothing(project: Project) -> None:
    project.write(test_a=TWO, test_b=TWO)
    project.run("--golden-update", passed=4)
    before = project.files()
    project.run("--golden-update", passed=4).stdout.no_fnmatch_line("*golden values*")
    assert project.files() == before
    project.write(test_b=TWO.replace("two", "three"))
    project.run("--golden-update", passed=4).stdout.fnmatch_lines(["test_b.py: 1 changed"])
    assert {name for name, data in project.files().items() if before[name] != data} == {
        "test_b.steps.jsonl",
        "test_b.steps.jsonl.sig",
    }


def test_tests_of_one_name_in_two_files_do_not_meet(project: Project) -> None:
    project.write(one__test_a=TWO, two__test_a=TWO.replace("two", "2"))
    project.run("--golden-update", passed=4)
    project.run(passed=4)
    assert sorted(project.files()) == [
        f"{run_id}.steps.jsonl{end}" for run_id in ("one.test_a", "two.test_a") for end in ("", ".sig")
    ]


def test_parameters_and_classes_tell_values_apart(project: Project) -> None:
    project.write(
        test_a="""
    @pytest.mark.parametrize("n", [1, "a/b", "a#2", "é", "two::parts", "x*"])
    def test_p(golden, n):
        golden.check(n)
        golden.check([n])
    class TestC:
        class TestD:
            def test_p(self, golden):
                golden.check("D")
        def test_p(self, golden):
            golden.check("C")
    """
    )
    project.run("--golden-update", passed=8)
    project.run(passed=8)
    assert len(set(project.names("test_a"))) == 14


@pytest.mark.parametrize(
    "expression, said",
    [
        ('{"a": [float("nan")]}', 'number at "/a/0" is nan, which JSON cannot carry'),
        ('{"a": {"b": object()}}', 'value at "/a/b" is a object'),
        ('{"a": {(1, 2): 2}}', 'object key at "/a" is a tuple, not text'),
        ('{"a": {1: 2, "1": 3}}', 'object key at "/a" is a int, not text: a dict has two keys that are one in JSON'),
        ('"\\ud800"', 'text at "" holds a lone surrogate'),
    ],
)  # fmt: skip
def test_a_value_that_is_no_json_fails_and_names_the_path(project: Project, expression: str, said: str) -> None:
    project.write(test_a=f"def test_a(golden):\n    golden.check({expression})\n")
    for args in ((), ("--golden-update",)):
        result = project.run(*args, failed=1)
        assert f"AssertionError: {said}" in result.stdout.str()
        result.stdout.no_fnmatch_line("*replay/*")


def test_objects_are_compared_by_what_they_hold(project: Project) -> None:
    project.write(
        test_a="""
    import dataclasses
    import attrs
    import msgspec
    import pydantic

    @dataclasses.dataclass
    class D:
        x: int
    @attrs.define
    class A:
        x: int
    class M(msgspec.Struct):
        x: int
    class P(pydantic.BaseModel):
        x: int
    @pytest.mark.parametrize("kind", [D, A, M, P, dict])
    def test_a(golden, kind):
        golden.check([kind(x=1)])
    """
    )
    project.run("--golden-update", passed=5)
    leaf = {bytes(step) for step in re.findall(rb'"output":(\[.*?\])', project.files()["test_a.steps.jsonl"])}
    assert leaf == {b'[{"x":1}]'}


MARKED = """
    import time
    pytestmark = pytest.mark.golden(volatile=["/at"])
    @pytest.mark.golden(volatile="/rows/*/id")
    def test_a(golden):
        golden.check({"at": time.perf_counter_ns(), "rows": [{"id": time.perf_counter_ns(), "n": 1}]})
        golden.check({"at": 1, "rows": [{"id": 1}], "mine": time.perf_counter_ns()}, volatile="/mine")
"""


def test_volatile_places_may_differ_and_nothing_else(project: Project) -> None:
    project.write(test_a=MARKED)
    project.run("--golden-update", passed=1)
    project.run(passed=1)
    project.write(test_a=MARKED.replace('"n": 1', '"n": 2'))
    result = project.run(failed=1)
    result.stdout.fnmatch_lines(["*test_a is not the golden value at /rows/0/n"])


def test_a_volatile_path_that_matches_nothing_fails(project: Project) -> None:
    project.write(
        test_a="""
    @pytest.mark.golden(volatile=["/gone"])
    def test_marked(golden):
        golden.check({"a": 1})
    def test_named(golden):
        golden.check({"a": 1}, volatile=["/gone"])
    """
    )
    result = project.run("--golden-update", passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*volatile paths that matched nothing in this test: /gone"])
    result.stdout.fnmatch_lines(["*volatile path /gone matches nothing in the value"])
    assert not project.goldens.exists()


def test_a_volatile_path_that_is_added_counts_at_once(project: Project) -> None:
    text = "def test_a(golden):\n    golden.check({'n': 1, 'm': 1})\n"
    project.write(test_a=text)
    project.run("--golden-update", passed=1)
    project.write(test_a=text.replace("})", "}, volatile=['/n'])").replace("'n': 1", "'n': 2"))
    project.run(passed=1)
    project.write(test_a=text.replace("})", "}, volatile=['/n'])").replace("'m': 1", "'m': 2"))
    project.run(failed=1)


def test_another_name_keeps_the_values_of_a_test_that_is_renamed(project: Project) -> None:
    text = """
    @pytest.mark.golden(name="prices")
    @pytest.mark.parametrize("n", [1, 2])
    def test_a(golden, n):
        golden.check(n)
    """
    project.write(test_a=text)
    project.run("--golden-update", passed=2)
    assert project.names("test_a") == ["prices[1]", "prices[2]"]
    project.write(test_a=text.replace("test_a", "test_b"))
    project.run(passed=2)
    project.write(test_a=text + text.replace("test_a", "test_b"))
    result = project.run(errors=4)
    result.stdout.fnmatch_lines(
        ["*two tests keep golden values as prices?1?: test_a.py::test_a?1?, test_a.py::test_b?1?"]
    )


@pytest.mark.parametrize(
    "said, answer",
    [
        ('"prices"', "golden: the marker golden takes name and volatile, not 'prices'"),
        ('nam="prices"', "golden: the marker golden takes name and volatile, not nam"),
        ('name="test_a#2"', "golden: 'test_a#2' names no golden value"),
        ("name=5", "golden: 5 names no golden value"),
    ],
)
def test_a_marker_that_would_have_no_effect_is_an_error(project: Project, said: str, answer: str) -> None:
    project.write(test_a=f"@pytest.mark.golden({said})\ndef test_a(golden):\n    golden.check(1)\n")
    project.run("--golden-update", errors=1).stdout.fnmatch_lines([answer, "hint: *"])
    assert not project.goldens.exists()


def test_two_values_of_one_name_in_a_test_fail(project: Project) -> None:
    project.write(test_a="def test_a(golden):\n    golden.check(1, 'x')\n    golden.check(2, 'x')\n")
    project.run("--golden-update", failed=1).stdout.fnmatch_lines(["*two golden values of one test are called x"])
    project.write(test_a="def test_a(golden):\n    golden.check(1, '2')\n")
    project.run("--golden-update", failed=1).stdout.fnmatch_lines(["*'2' names no golden value"])


def tamper(project: Project) -> None:
    path = project.goldens / "test_a.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"2wo"'))


def unseal(project: Project) -> None:
    (project.goldens / "test_a.steps.jsonl.sig").unlink()


def delete(project: Project) -> None:
    (project.goldens / "test_a.steps.jsonl").unlink()


def swap(project: Project) -> None:
    for end in ("", ".sig"):
        (project.goldens / f"test_b.steps.jsonl{end}").replace(project.goldens / f"test_a.steps.jsonl{end}")


@pytest.mark.parametrize(
    "harm, said",
    [(tamper, "is tampered"), (unseal, "is unsealed"), (delete, "is missing"), (swap, "is wrong-run")],
    ids=lambda value: value.__name__ if callable(value) else "",
)
@pytest.mark.parametrize("args", [[], ["--golden-update"]], ids=["", "updating"])
def test_values_that_do_not_verify_are_an_error_and_are_never_signed(
    project: Project, harm: Callable[[Project], None], said: str, args: list[str]
) -> None:
    project.write(test_a=TWO, test_b=TWO)
    project.run("--golden-update", passed=4)
    harm(project)
    before = project.files()
    result = project.run("test_a.py", *args, errors=2)
    result.stdout.fnmatch_lines([f"golden: test_a {said}: *", "hint: *"])
    assert "During handling" not in result.stdout.str()
    assert project.files() == before


FOREIGN = {"id": "pytest", "steps": [{"id": "a", "skill_id": "say", "inputs": {"test": 5, "volatile": 7}}]}


def test_a_recording_among_them_is_left_alone_and_never_taken_for_values(project: Project) -> None:
    project.write(test_a=TWO)
    project.run("--golden-update", passed=2)
    registry = SkillRegistry()
    registry.skill("say")(lambda _: "hello")
    for run_id in ("foreign", "test_b"):
        record(FOREIGN, registry, store=project.store, run_id=run_id).close()
    before = project.files()
    project.run("--golden-strict", passed=2)
    project.write(test_b=TWO)
    for args in ((), ("--golden-update",)):
        result = project.run("test_b.py", *args, errors=2)
        result.stdout.fnmatch_lines(["golden: test_b is the recording of a workflow, and holds no golden values"])
    assert project.files() == before


def test_an_unknown_key_is_an_error_that_says_what_to_set(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(test_a=TWO)
    project.run("--golden-update", passed=2)
    monkeypatch.delenv("GOLDEN_SECRET")
    project.run(errors=2).stdout.fnmatch_lines(["golden: test_a is unknown-key: *", "hint: set GOLDEN_SECRET_FILE *"])
    project.run("--golden-update", errors=2).stdout.fnmatch_lines(["golden: no key to sign with", "hint: *"])


def test_public_keys_alone_are_enough_to_check(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = runs.pem("checks")
    secrets = {"hmac": runs.ACTIVE, "ed25519": pem}
    keyring = runs.policy((runs.ACTIVE, "active"), (pem, "active"))
    lines, sources = [], []
    for entry, (name, secret) in zip(keyring, secrets.items(), strict=True):
        public = f'public = "{entry.public}"\n' if entry.public else ""
        lines.append(f'[[key]]\nkid = "{entry.kid}"\nalg = "{entry.alg}"\nstate = "active"\n{public}')
        path = project.here / name
        path.touch(0o600)
        path.write_bytes(secret)
        sources.append(f'[[source]]\nkid = "{entry.kid}"\nfrom = "file:{path}"\n')
    (project.here / "golden-keyring.toml").write_text("\n".join(lines))
    place = project.here / "sources.toml"
    place.touch(0o600)
    place.write_text("\n".join(sources))
    monkeypatch.delenv("GOLDEN_SECRET")
    monkeypatch.setenv("GOLDEN_SOURCES", str(place))
    project.write(test_a=TWO)
    project.run("--golden-update", passed=2)
    monkeypatch.delenv("GOLDEN_SOURCES")
    project.run(passed=2)
    project.run("--golden-update", errors=2).stdout.fnmatch_lines(
        ["golden: the secret of the active key * is not at *"]
    )


@pytest.mark.parametrize("ci", ["true", "1", "github"])
def test_an_automatic_build_writes_nothing(project: Project, monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    project.write(test_a=TWO)
    monkeypatch.setenv("CI", ci)
    result = project.run("--golden-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --golden-update: an automatic build (CI) keeps no golden values", "hint: *"])
    assert not project.goldens.exists()


UNUSED = (
    TWO
    + """
    @pytest.mark.skip
    def test_skipped(golden):
        golden.check(1)

    def test_failing(golden):
        golden.check(2)
"""
)


@pytest.fixture
def used(project: Project) -> Project:
    """A project with values of four tests, of which one is skipped and one fails before its check from now on."""
    project.write(test_a=UNUSED.replace("@pytest.mark.skip\n", "\n"), test_b=TWO)
    project.run("--golden-update", passed=6)
    project.write(test_a=UNUSED.replace("        golden.check(2)", "        assert False\n        golden.check(2)"))
    return project


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("-k", "test_one"),
        ("-k", "not test_one"),
        ("--deselect", "test_a.py::test_one"),
        ("test_a.py",),
        ("test_a.py::test_one",),
        ("test_b.py",),
        ("-x",),
        ("--ignore=test_b.py",),
        ("--collect-only",),
        ("--setup-only",),
        ("-m", "nothing"),
    ],
    ids=" ".join,
)
def test_what_was_not_run_is_not_unused(used: Project, args: tuple[str, ...]) -> None:
    before = used.files()
    used.run("--golden-strict", *args).stdout.no_fnmatch_line("*nothing uses*")
    used.run("--golden-update", *args)
    assert used.files() == before


def test_what_nothing_uses_is_said_fails_if_asked_to_and_is_removed(used: Project) -> None:
    text = UNUSED.replace('        golden.check("two")\n', "").replace("def test_other", "def test_another")
    used.write(test_a=text)
    (used.here / "test_b.py").unlink()
    unused = [
        "5 golden values kept that nothing uses:",
        "  test_a.py: test_one#2",
        "  test_a.py: test_other#named",
        "  test_b.py: test_one",
        "  test_b.py: test_one#2",
        "  test_b.py: test_other#named",
        "hint: `pytest --golden-update` removes them",
    ]
    result = used.run("--deselect", "test_a.py::test_another")
    result.stdout.fnmatch_lines(unused)
    assert result.ret == 0
    result = used.run("--deselect", "test_a.py::test_another", "--golden-strict")
    result.stdout.fnmatch_lines(unused)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    # Of a module that is gone nothing is known where nobody looked for it.
    used.run("test_a.py", "--deselect", "test_a.py::test_another").stdout.fnmatch_lines(["2 golden values kept that *"])
    used.run("--golden-update").stdout.fnmatch_lines(["test_a.py: 1 new, 2 removed", "test_b.py: 3 removed"])
    assert used.names("test_a") == ["test_another#named", "test_failing", "test_one", "test_skipped"]
    assert sorted(used.files()) == ["test_a.steps.jsonl", "test_a.steps.jsonl.sig"]


def test_what_others_leave_out_without_a_word_is_not_unused(used: Project) -> None:
    used.write(conftest="def pytest_collection_modifyitems(items):\n    items[:] = items[:1]\n")
    before = used.files()
    used.run("--golden-strict", passed=1).stdout.no_fnmatch_line("*nothing uses*")
    used.run("--golden-update", passed=1)
    assert used.files() == before


SUBTESTS = """
    import unittest
    class TestU(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def _fixture(self, golden):
            self.golden = golden
        def test_u(self):
            for n in range(3):
                with self.subTest(n=n):
                    assert n != BAD
                    self.golden.check(n)
    def test_s(subtests, golden):
        for n in range(3):
            with subtests.test(n=n):
                assert n != BAD
                golden.check(n, f"n{n}")
"""


def test_a_subtest_that_fails_loses_no_value_of_its_test(project: Project) -> None:
    project.write(test_a=SUBTESTS.replace("BAD", "9"))
    project.run("--golden-update").stdout.fnmatch_lines(["test_a.py: 6 new"])
    before = project.files()
    project.write(test_a=SUBTESTS.replace("BAD", "1"))
    result = project.run("--golden-update")
    result.stdout.fnmatch_lines(["*assert 1 != 1"])
    assert project.files() == before
    project.run().stdout.no_fnmatch_line("*nothing uses*")


DOCTESTS = '''
    """
    >>> getfixture("golden").check("of the module")
    """
    def double(n):
        """
        >>> getfixture("golden").check(double(2))
        """
        return 2 * n
    def test_a(golden):
        golden.check(double(3))
'''


def test_doctests_have_values_too_and_keep_them_where_they_are_not_run(project: Project) -> None:
    (project.here / "test_a.py").write_text(dedent(DOCTESTS).lstrip())
    project.run("--doctest-modules", "--golden-update", passed=3).stdout.fnmatch_lines(["test_a.py: 3 new"])
    names = ["doctest:test_a", "doctest:test_a.double", "test_a"]
    assert project.names("test_a") == names
    project.run("--golden-update", passed=1)
    project.run("--doctest-modules", "-p", "no:python", "--golden-update", passed=2)
    assert project.names("test_a") == names
    (project.here / "test_a.py").write_text("def test_b():\n    pass\n")
    project.run("--golden-update", passed=1).stdout.fnmatch_lines(["test_a.py: 1 removed"])
    project.run("--doctest-modules", "--golden-update", passed=1).stdout.fnmatch_lines(["test_a.py: 2 removed"])


def test_values_of_a_test_that_does_not_pass_are_not_kept(project: Project) -> None:
    project.write(
        test_a="""
    def test_fails(golden):
        golden.check(1)
        assert False
    @pytest.mark.xfail
    def test_xfails(golden):
        golden.check(1)
        assert False
    @pytest.fixture
    def broken():
        yield
        raise ValueError
    def test_broken(golden, broken):
        golden.check(1)
    def test_good(golden):
        golden.check(1)
    """
    )
    result = project.run("--golden-update")
    result.stdout.fnmatch_lines(["test_a.py: 1 new", "3 values of tests that did not pass not kept"])
    assert project.names("test_a") == ["test_good"]


def test_an_interrupted_session_keeps_what_passed_and_removes_nothing(project: Project) -> None:
    project.write(test_a=TWO + "    def test_zz(golden):\n        golden.check(1)\n")
    project.run("--golden-update", passed=3)
    stop = "    def test_two(golden):\n        golden.check(1)\n    def test_stop():\n        raise KeyboardInterrupt\n"
    project.write(test_a=stop)
    result = project.pytester.runpytest_subprocess("-p", "replay.pytest_plugin", "--golden-update")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert project.names("test_a") == ["test_one", "test_one#2", "test_other#named", "test_two", "test_zz"]


def test_a_directory_that_cannot_be_written_fails_in_words(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(test_a=TWO)
    (project.here / "goldens").write_text("in the way")
    result = project.run("--golden-update")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert "hint:" in result.stdout.str()


def test_what_cannot_be_written_is_said_and_what_was_there_is_there_still(project: Project) -> None:
    project.write(test_a=TWO, test_b=TWO)
    project.run("--golden-update", passed=4)
    (project.goldens / "test_a.replacing").write_text("in the way")
    before = project.files()
    project.write(test_a=TWO.replace("two", "three"))
    result = project.run("--golden-update", passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["test_a.py: not written: golden: *", "hint: *"])
    assert project.files() == before


def test_the_fixture_has_another_name_where_the_project_says_so(project: Project) -> None:
    project.pytester.makeini("[pytest]\ngolden_name = signed\ngolden_dir = here\n")
    project.write(test_a=TWO.replace("golden", "signed"))
    project.run("--golden-update", passed=2)
    project.run(passed=2)
    assert (project.here / "here/test_a.steps.jsonl").exists()


def test_each_rootdir_below_a_project_has_its_own_values(project: Project) -> None:
    for name in ("one", "two"):
        project.write(**{f"{name}__test_a": TWO.replace("two", name)})
        (project.here / name / "pytest.ini").write_text("[pytest]\n")
    for name in ("one", "two"):
        project.run("--golden-update", name, passed=2)
    for name in ("one", "two"):
        project.run(name, passed=2)


def test_random_order_and_a_changed_working_directory_change_nothing(project: Project, tmp_path: Path) -> None:
    project.write(
        test_a=f"""
    def test_a(golden, monkeypatch):
        monkeypatch.chdir({str(tmp_path)!r})
        golden.check(1)
    def test_b(golden):
        import os
        os.chdir({str(tmp_path)!r})
        golden.check(2)
    """
    )
    project.run("--golden-update", "test_a.py::test_b", "test_a.py::test_a", passed=2)
    os.chdir(project.here)
    project.run("test_a.py::test_a", "test_a.py::test_b", passed=2)


SKILLS = """\
from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("say")
def say(ctx):
    return {}
"""
AGENT = """
    from replay import external, step

    WORD = "hello"

    @external
    def ask(what):
        return what.upper()

    @step
    def say(what):
        return WORD + ask(what)

    def agent(name):
        return say(name)
"""


def test_a_recording_is_made_and_replayed_and_the_first_divergence_fails(project: Project) -> None:
    project.write(
        agent=AGENT,
        test_a="""
    import sys
    from pathlib import Path
    sys.path.insert(0, str(Path(__file__).parent))
    import agent

    def test_same(golden):
        recording = golden.record(agent.agent, inputs={"name": "you"})
        assert recording.statement.status == "completed"
        assert golden.replay(recording, function=agent.agent).steps_compared == 2

    def test_changed(golden, monkeypatch):
        recording = golden.record(agent.agent, inputs={"name": "you"})
        monkeypatch.setattr(agent, "WORD", "bye")
        golden.replay(recording, function=agent.agent)

    def test_missing(golden):
        golden.replay("no-such-run", function=agent.agent)
    """,
    )
    result = project.run(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "E       AssertionError: *: agent/say: output differs",
            'E         expected  "helloYOU"',
            'E         actual    "byeYOU"',
            "E         at        *agent.py:*",
            "E       hint: look at its skill; if it is meant, update the recording, else undo it",
        ]
    )
    result.stdout.fnmatch_lines(["E       AssertionError: no recording no-such-run in *"])
    result.stdout.no_fnmatch_line("*replay/*.py*")
    assert not project.goldens.exists()


@pytest.fixture
def recorded(project: Project) -> Project:
    """A project with the recording r-1, and a test that replays it."""
    (project.here / "golden.toml").write_text('dir = "goldens"\nskills = ["skills.py"]\nledger = false\n')
    (project.here / "skills.py").write_text(SKILLS.format(1))
    code = f"""
import sys; sys.path[:0] = [{str(Path(__file__).parents[3])!r}]
from golden import Keyring, Store
from replay.skill import load_skills
from replay import record
spec = {{"id": "s", "steps": [{{"id": "a", "skill_id": "say"}}]}}
store = Store("goldens", Keyring({runs.ACTIVE!r}), ledger=False)
record(spec, load_skills(["skills.py"]), store=store, run_id="r-1").close()
"""
    subprocess.run([sys.executable, "-c", code], cwd=project.here, check=True)
    project.write(
        test_a="""
    def test_a(golden):
        golden.replay("r-1")
        golden.replay("goldens/r-1.steps.jsonl", skills="skills.py")
    """
    )
    return project


def test_a_recording_of_the_project_is_replayed_by_its_id_and_by_its_path(recorded: Project) -> None:
    recorded.run(passed=1)
    (recorded.here / "skills.py").write_text(SKILLS.format(2))
    recorded.run(failed=1).stdout.fnmatch_lines(["*r-1: a: output differs", "*expected  1", "*actual    2"])


def test_a_recording_of_the_project_is_compared_with_the_spec_as_it_is_now(recorded: Project) -> None:
    (recorded.here / "specs").mkdir()
    (recorded.here / "specs/s.json").write_text('{"id": "s", "steps": [{"id": "a", "skill_id": "say"}]}')
    with (recorded.here / "golden.toml").open("a") as configuration:
        configuration.write('specs = "specs"\n')
    recorded.run(passed=1)
    (recorded.here / "specs/s.json").write_text('{"id": "s", "steps": [{"id": "b", "skill_id": "say"}]}')
    result = recorded.run(failed=1)
    result.stdout.fnmatch_lines(["*r-1: b: spec differs at /steps/0/id", "*spec      current specs/s.json"])
    (recorded.here / "specs/s.json").unlink()
    recorded.run(failed=1).stdout.fnmatch_lines(["*no spec under `specs` has the id s"])


def test_reports_hold_what_tests_found(project: Project) -> None:
    project.write(test_a=TWO, test_b=TWO, test_c=TWO)
    project.run("--golden-update", passed=6)
    project.write(test_a=TWO.replace("two", "three"))
    path = project.goldens / "test_b.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"2wo"'))
    project.run("--golden-report", "report.xml", failed=1, errors=2, passed=3)
    cases = ET.parse(project.here / "report.xml").getroot().iter("testcase")  # noqa: S314  our own
    found: dict[str, Any] = {case.attrib["name"]: [child.tag for child in case] for case in cases}
    assert found == {"test_a": ["failure"], "test_b": ["error"], "test_c": ["system-out"]}
    project.run("--golden-report", "report.html")
    assert "test_one#2: output differs" in (project.here / "report.html").read_text()
    result = project.run("--golden-report", "report.txt")
    result.stderr.fnmatch_lines(["ERROR: --golden-report: report.txt is no kind of report", "hint: *"])


@pytest.mark.parametrize("args", [(), ("--golden-strict",), ("--golden-update",), ("--golden-report", "r.xml")])
def test_a_configuration_that_cannot_be_used_is_said_and_is_in_the_report(
    project: Project, args: tuple[str, ...]
) -> None:
    (project.here / "golden.toml").write_text("dir = 5\n")
    project.write(test_a=TWO)
    result = project.run(*args, errors=2)
    result.stdout.fnmatch_lines(["*= golden values =*", "golden: golden.toml: dir must be text", "hint: correct it"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    if "r.xml" in args:
        assert "golden.toml: dir must be text" in (project.here / "r.xml").read_text()


def test_a_report_that_cannot_be_written_fails_and_says_what_to_do(project: Project) -> None:
    project.write(test_a="def test_a(golden):\n    pass\n")
    result = project.run("--golden-report", "nowhere/r.xml", passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["golden: the report nowhere/r.xml cannot be written: *", "hint: *"])


def test_help_and_markers_speak_of_it(project: Project) -> None:
    project.run("--help").stdout.fnmatch_lines(["golden values:", "*--golden-update*", "*golden_dir*"])
    project.run("--markers").stdout.fnmatch_lines(["@pytest.mark.golden(*"])


@pytest.mark.slow
def test_workers_write_nothing_and_the_values_of_all_of_them_are_kept(project: Project) -> None:
    text = """
    import os
    @pytest.mark.xdist_group("one@two")
    @pytest.mark.parametrize("n", range(20))
    def test_p(golden, n):
        golden.check({"n": n})
    """
    project.write(test_a=text, test_b=text)
    plugins = ("-p", "replay.pytest_plugin", "-p", "xdist.plugin", "-n", "2", "--dist=loadgroup")

    def run(*more: str) -> pytest.RunResult:
        return project.pytester.runpytest_subprocess(*plugins, *more)

    run("--golden-update").assert_outcomes(passed=40)
    assert len(project.names("test_a")) == len(project.names("test_b")) == 20
    project.write(test_b=text.replace("range(20)", "range(19)"))
    result = run("--golden-update")
    result.stdout.fnmatch_lines(["test_b.py: 1 removed"])
    project.write(test_b=text.replace("range(20)", "range(19)").replace('{"n": n}', '{"n": n // 18}'))
    result = run()
    assert "is not the golden value at /n" in result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_session_that_uses_none_imports_the_plugin_alone(project: Project) -> None:
    project.write(
        test_a="def test_a():\n    pass\n",
        conftest="""
    import sys
    def pytest_unconfigure():
        ours = {"golden", "replay", "cli", "msgspec", "cryptography", "jinja2", "deepdiff", "syrupy"}
        print(sorted(name for name in sys.modules if name.partition(".")[0] in ours))
    """,
    )
    result = project.pytester.runpytest_subprocess("-p", "replay.pytest_plugin", "-s", "-p", "no:terminal")
    result.stdout.fnmatch_lines(["[[]'replay', 'replay.pytest_plugin'[]]"])
