"""Runs of any shape: what was recorded replays as matched, and one change is found where it is first used."""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from golden import Recording
from golden.event import RunEnd
from replay import Context, SkillRegistry, Spec, record, replay
from replay.reference import Reference, Template
from tests import runs
from tests.property.test_canonical_properties import VALUES

FEW = settings(max_examples=30)
SOME = settings(max_examples=50)
SKILLS = ("adds", "draws", "asks", "awaits", "fails")


def registry(**constants: int) -> SkillRegistry:
    """Return the skills, each with a constant of its own that may be changed."""
    made = SkillRegistry()
    one = dict.fromkeys(SKILLS, 1) | constants

    @made.skill("adds")
    def adds(ctx: Context) -> Any:
        return {"n": one["adds"], "seen": [ctx.inputs, sorted(ctx.outputs)]}

    @made.skill("draws")
    def draws(ctx: Context) -> Any:
        return {"n": ctx.random.randrange(1 << 30) + one["draws"], "at": str(ctx.uuid4()) + str(ctx.now())}

    @made.skill("asks")
    def asks(ctx: Context) -> Any:
        return {"n": ctx.external("get", object.__hash__, 1) if one["asks"] == 1 else 0}

    @made.skill("awaits")
    async def awaits(ctx: Context) -> Any:
        got = await asyncio.gather(*(ctx.external("get", later, n) for n in range(3)))
        ctx.spend(one["awaits"])
        return {"n": got}

    @made.skill("fails")
    def fails(ctx: Context) -> Any:
        raise (ValueError if one["fails"] == 1 else KeyError)(ctx.seed)

    return made


async def later(n: int) -> int:
    await asyncio.sleep(0)
    return n


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Spec documents of a few steps in any order, each needing any of those that can come before it."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 7)))]
    steps = []
    for n, name in enumerate(names):
        before = names[:n]
        needs = draw(st.lists(st.sampled_from(before), unique=True, max_size=2)) if before else []
        refers = draw(st.lists(st.sampled_from(before), unique=True, max_size=2)) if before else []
        # A failing skill would end most runs at once.
        skill = draw(st.sampled_from(SKILLS if n == len(names) - 1 else SKILLS[:-1]))
        inputs = {"fixed": draw(VALUES.map(_literal)), **{f"of-{other}": f"${{{other}.n}}" for other in refers}}
        inputs |= {"run": "${inputs.given}"} if draw(st.booleans()) else {}
        steps.append({"id": name, "skill_id": skill, "inputs": inputs, "depends_on": needs})
    return {"id": "flow", "steps": draw(st.permutations(steps))}


def _literal(value: Any) -> Any:
    """Return a value with nothing in it that could be taken for a reference."""
    return None if "$" in repr(value) else value


@contextmanager
def recorded(document: dict[str, Any], skills: SkillRegistry) -> Iterator[Recording]:
    with tempfile.TemporaryDirectory() as folder:
        store = runs.store_in(Path(folder))
        with record(document, skills, store=store, run_id="r", seed=7, inputs={"given": [1, None]}) as recording:
            yield recording


@FEW
@given(documents())
def test_any_run_replays_as_matched(document: dict[str, Any]) -> None:
    with recorded(document, registry()) as recording:
        answer = replay(recording, registry(), document)
        assert (answer.verdict, answer.divergence, answer.problem) == ("matched", None, None)
        end = recording.end
        assert end is not None
        assert answer.steps_compared == answer.steps_recorded == end.steps_completed + (end.status == "failed")


@FEW
@given(documents(), st.sampled_from(SKILLS))
def test_one_changed_skill_diverges_at_the_first_step_that_runs_it(document: dict[str, Any], skill: str) -> None:
    spec = Spec(document)
    uses = [n for n in spec.order if spec.steps[n].skill_id == skill]
    assume(uses)
    with recorded(document, registry()) as recording:
        ran = [found.step.step_id for found in recording.records() if not isinstance(found, RunEnd)]
        first = next((n for n in uses if spec.steps[n].id in ran), None)
        answer = replay(recording, registry(**{skill: 2}))
        if first is None:
            assert answer.matched
            return
        found = answer.divergence
        assert found is not None
        assert (found.step_id, found.index) == (spec.steps[first].id, first)
        causes = {"adds": "output", "draws": "output", "asks": "effect", "awaits": "budget", "fails": "error"}
        assert found.cause == causes[skill]
        assert answer.steps_compared == ran.index(spec.steps[first].id)


@SOME
@given(documents())
def test_order_is_topological_stable_and_the_documents_own_where_it_can_be(document: dict[str, Any]) -> None:
    spec = Spec(document)
    assert sorted(spec.order) == list(range(len(spec.steps)))
    done: set[str] = set()
    waiting = set(spec.order)
    for n in spec.order:
        assert spec.dependencies[n] <= done
        # Of the steps that may run now, the first in the document.
        assert n == min(m for m in waiting if spec.dependencies[m] <= done)
        waiting.remove(n)
        done.add(spec.steps[n].id)
    assert Spec(document).order == spec.order


@SOME
@given(documents(), st.randoms(use_true_random=False))
def test_dependencies_are_found_whatever_the_order_of_members(document: dict[str, Any], random: Any) -> None:
    def shuffled(value: dict[str, Any]) -> dict[str, Any]:
        return dict(random.sample(list(value.items()), len(value)))

    other = {"id": "flow", "steps": [shuffled({**s, "inputs": shuffled(s["inputs"])}) for s in document["steps"]]}
    one, two = Spec(document), Spec(other)
    assert (one.order, one.dependencies, one.hash) == (two.order, two.dependencies, two.hash)


NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,5}", fullmatch=True)
TREES = st.recursive(
    st.integers() | st.text() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(NAMES, inner, min_size=1, max_size=4),
    max_leaves=12,
)


@SOME
@given(TREES, st.data())
def test_reference_resolves_as_python_would_index(value: Any, data: st.DataObject) -> None:
    path: list[str] = []
    expected = value
    while isinstance(expected, list | dict) and data.draw(st.booleans()):
        if isinstance(expected, list):
            n = data.draw(st.integers(0, len(expected) - 1))
            path, expected = [*path, str(n)], expected[n]
        else:
            key = data.draw(st.sampled_from(sorted(expected)))
            path, expected = [*path, key], expected[key]
    text = ".".join(["step", *path])
    assert Reference(text).resolve(value) is expected
    assert Template({"in": [f"${{{text}}}"]}).resolve({"step": value}.__getitem__)["in"][0] is expected


@SOME
@given(TREES, st.lists(NAMES | st.integers(0, 5).map(str), min_size=1, max_size=4))
def test_reference_to_what_is_not_there_is_a_lookup_error_and_never_another_value(value: Any, path: list[str]) -> None:
    expected: Any = value
    present = True
    for part in path:
        if isinstance(expected, dict) and part in expected:
            expected = expected[part]
        elif isinstance(expected, list) and re.fullmatch("[0-9]+", part) and int(part) < len(expected):
            expected = expected[int(part)]
        else:
            present = False
            break
    try:
        found = Reference(".".join(["step", *path])).resolve(value)
    except LookupError as error:
        assert not present
        assert ".".join(path) in str(error)  # noqa: PT017  either outcome is judged
    else:
        assert present
        assert found is expected
