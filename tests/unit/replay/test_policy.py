"""Policy: what may not be run is not called, costs nothing and ends the run; decided by what would be executed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET, structs

from golden import Recording
from golden.canonical import canonical_bytes, decode
from golden.errors import UsageError
from golden.event import Data, RunStart
from golden.recorder import open_recorder
from replay import Context, SkillRegistry, Spec, load_spec, replay
from replay.budget import DeniedError
from replay.policy import FORBIDDEN_PATTERNS, FORBIDDEN_SKILLS, MUTATING_METHODS, Policy
from tests.unit.replay.conftest import Lab, ending, flow, only, records, skills, step

PROFILES = ["conservative", "standard", "permissive"]
PLANNED: dict[str, Any] = {"planner_output": {"thought": "none"}}


def check(policy: Policy, inputs: Any = None, /, *, skill: str = "s", **members: Any) -> tuple[str, str] | None:
    """Return the code and words of a denial, or None where the step may run."""
    (found,) = Spec(flow(step("a", skill, **members))).steps
    try:
        policy.check(found, canonical_bytes(inputs if inputs is not None else {}))
    except DeniedError as denied:
        return denied.code, str(denied)
    return None


def code(policy: Policy, inputs: Any = None, /, **members: Any) -> str | None:
    found = check(policy, inputs, **members)
    return found[0] if found else None


# Profiles


def test_profile_is_conservative_unless_told_otherwise() -> None:
    assert (Policy().profile, Policy().note) == ("conservative", None)
    assert [Policy(profile).profile for profile in PROFILES] == PROFILES


@pytest.mark.parametrize("word", ["", "Standard", "permissive ", "none", "conservativ"])
def test_profile_that_there_is_not_means_conservative_and_says_so(word: str) -> None:
    policy = Policy(word)
    assert policy.profile == "conservative"
    assert policy.note == f'there is no policy profile "{word}": conservative is used'


@pytest.mark.parametrize(
    "profile, mutating, url",
    [
        ("conservative", "POLICY_VIOLATION", "SANDBOX_REJECTION"),
        ("standard", "POLICY_VIOLATION", None),
        ("permissive", None, None),
    ],
)
def test_profiles_are_as_the_table_says(profile: str, mutating: str | None, url: str | None) -> None:
    assert code(Policy(profile, mutating=["s"])) == mutating
    assert code(Policy(profile), {"x": "see https://a.example"}, **PLANNED) == url


@pytest.mark.parametrize("profile", PROFILES)
def test_whatever_the_profile_a_plan_is_held_to_skills_and_patterns_and_the_disabled_stay_so(profile: str) -> None:
    policy = Policy(profile, disabled={"off": "broken"})
    assert code(policy, {"x": "../../etc"}, **PLANNED) == "SANDBOX_REJECTION"
    assert code(policy, skill="shell.run", **PLANNED) == "SANDBOX_REJECTION"
    assert code(policy, skill="off") == "POLICY_VIOLATION"


# Disabled skills


def test_disabled_skill_is_denied_with_its_reason_and_others_are_not() -> None:
    policy = Policy(disabled={"mail.send": "sends twice, see ticket 7"})
    assert check(policy, skill="mail.send") == (
        "POLICY_VIOLATION",
        "skill mail.send is disabled: sends twice, see ticket 7",
    )
    assert check(policy, skill="mail.send2") is None
    assert check(policy, skill="mail") is None


# Mutating skills


def test_mutating_skill_needs_an_idempotency_key() -> None:
    policy = Policy(mutating=["s"])
    assert check(policy) == (
        "POLICY_VIOLATION",
        "skill s changes something outside: the step needs an idempotency_key",
    )
    assert check(policy, idempotency_key="order-7") is None


@pytest.mark.parametrize("method", [*sorted(MUTATING_METHODS), "post", " Patch\n"])
def test_input_called_method_that_changes_something_makes_a_step_mutating(method: str) -> None:
    assert code(Policy("standard"), {"method": method}) == "POLICY_VIOLATION"
    assert code(Policy("standard"), {"method": method}, idempotency_key="k") is None
    assert code(Policy("permissive"), {"method": method}) is None


@pytest.mark.parametrize(
    "inputs",
    [
        {"method": "GET"},
        {"method": "HEAD"},
        {"method": None},
        {"method": ["POST"]},
        {"x": "method", "y": "POST"},
        {"Method": "POST"},
        {"nested": {"method": "POST"}},
    ],
)
def test_other_inputs_do_not(inputs: Any) -> None:
    assert code(Policy(), inputs) is None


def test_skill_that_says_it_changes_something_is_held_to_it(lab: Lab) -> None:
    registry = SkillRegistry()
    registry.skill("order", mutating=True)(lambda _: 1)
    registry.adapt("legacy", lambda _: 1, mutating=True)
    for skill_id in ("order", "legacy"):
        assert only(lab.record(flow(step("a", skill_id)), registry)).error_code == "POLICY_VIOLATION"
        assert only(lab.record(flow(step("a", skill_id, idempotency_key="7")), registry)).success
    assert lab.opened[0].start.policy["mutating"] == ["legacy", "order"]


def test_method_that_comes_from_another_step_counts(lab: Lab) -> None:
    document = flow(step("a", "asks"), step("b", "s", inputs={"method": "${a.method}"}))
    registry = skills(asks=lambda _: {"method": "DELETE"}, s=lambda _: pytest.fail("denied"))
    recording = lab.record(document, registry)
    assert records(recording)[1].step.error_code == "POLICY_VIOLATION"
    assert replay(recording, registry).matched


def test_idempotency_key_reaches_the_skill(lab: Lab) -> None:
    recording = lab.record(
        flow(step("a", "s", idempotency_key="order-7"), step("b", "s")), skills(s=lambda ctx: ctx.idempotency_key)
    )
    assert [bytes(record.step.output) for record in records(recording)] == [b'"order-7"', b"null"]


# Plans


@pytest.mark.parametrize("rule", FORBIDDEN_SKILLS)
def test_no_plan_may_call_a_forbidden_skill_and_other_steps_may(rule: str) -> None:
    skill = rule.replace("*", "anything")
    for name in (skill, skill.upper()):
        assert check(Policy("permissive"), skill=name, **PLANNED) == (
            "SANDBOX_REJECTION",
            f"a plan may not call {name}: {rule} is forbidden",
        )
        assert check(Policy("permissive"), skill=name) is None


@pytest.mark.parametrize("skill", ["admin", "shells.run", "my.shell.run", "sql.execute.safe", "file.deleted", "s"])
def test_skill_that_is_only_called_alike_may_be_planned(skill: str) -> None:
    assert check(Policy("permissive"), skill=skill, **PLANNED) is None


def test_further_skills_and_patterns_are_forbidden_beside_the_usual_ones() -> None:
    policy = Policy("permissive", forbidden_skills=["mail.*", "pay"], forbidden_patterns=["(?i)secret"])
    for skill in ("mail.send", "pay", "shell.run"):
        assert code(policy, skill=skill, **PLANNED) == "SANDBOX_REJECTION"
    assert check(policy, {"x": "the SECRET"}, **PLANNED) == (
        "SANDBOX_REJECTION",
        "inputs match the forbidden pattern (?i)secret",
    )
    assert code(policy, {"x": "../"}, **PLANNED) == "SANDBOX_REJECTION"


HOSTILE = [
    "../../config",
    "cat /etc/passwd",
    "/etc/shadow",
    "rm -rf /",
    "rm  -fr x",
    "sudo su",
    "__import__('os')",
    "eval (x)",
    "exec(x)",
    "echo $(id)",
    "echo $(id",
    "<SCRIPT >x",
    "javascript:alert(1)",
    "x'; DROP TABLE t",
    "1 UNION ALL SELECT 2",
    "1 union select 2",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "inputs",
    [
        lambda text: {"x": text},
        lambda text: {"x": f"before\n{text} after"},
        lambda text: {"a": [1, {"b": [None, [text]]}]},
        lambda text: {text: 1},
        lambda text: {"a": {text: {}}},
    ],
)
def test_no_text_in_the_inputs_of_a_plan_may_be_an_attempt_to_break_out(text: str, inputs: Any) -> None:
    assert code(Policy("permissive"), inputs(text), **PLANNED) == "SANDBOX_REJECTION"
    assert code(Policy("permissive"), inputs(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "a/../b".replace("..", "."),
        "/etc/hosts",
        "farm -rate",
        "pseudo code",
        "evaluate (x)",
        "costs $5 (five)",
        "description",
        "drop it; then stop",
        "the union selected",
        "",
    ],
)
def test_harmless_text_may_be_planned(text: str) -> None:
    assert check(Policy(), {"x": text}, **PLANNED) is None


@pytest.mark.parametrize(
    "text",
    ["http://a.example", "see HTTPS://a", "file:///x", "//a.example/x", "git+ssh://x", "www.a.example"],
)
def test_url_in_a_plan_is_refused_under_the_profile_conservative(text: str) -> None:
    assert check(Policy(), {"x": [f"see {text}"]}, **PLANNED) == (
        "SANDBOX_REJECTION",
        "inputs hold a URL, which a plan may not under the profile conservative",
    )
    assert check(Policy("standard"), {"x": text}, **PLANNED) is None
    assert check(Policy(), {"x": text}) is None


@pytest.mark.parametrize("text", ["a: b", "C:/x", "1/2", "and/or", "x // 2".replace(" 2", ""), "wwww", "10:30"])
def test_text_without_a_url_may_be_planned(text: str) -> None:
    assert check(Policy(), {"x": text}, **PLANNED) is None


def test_plan_itself_is_held_to_the_same() -> None:
    policy = Policy()
    plans: list[Any] = ["then rm -rf /", ["x", {"y": "../"}], {"$(id)": 1}, "get https://a.example"]
    for plan in plans:
        found = check(policy, planner_output=plan)
        assert found
        assert (found[0], found[1].split()[0]) == ("SANDBOX_REJECTION", "planner_output")


@pytest.mark.parametrize("plan", ["shell.run", {"next": ["s", {"skill": "Admin.reset"}]}, {"sql.execute": {}}])
def test_plan_may_not_name_a_forbidden_skill_whatever_step_was_made_of_it(plan: Any) -> None:
    found = check(Policy("permissive"), planner_output=plan)
    assert found
    assert found[0] == "SANDBOX_REJECTION"
    assert found[1].endswith(", which no plan may call")


@pytest.mark.parametrize("plan", ["do not use shell.run here", "shell", ["sql", "execute"]])
def test_plan_may_speak_of_skills(plan: Any) -> None:
    assert check(Policy("permissive"), planner_output=plan) is None


def test_step_with_an_empty_plan_is_a_planned_one() -> None:
    plans: list[Any] = [None, "", {}, False]
    for plan in plans:
        assert code(Policy(), {"x": "../"}, planner_output=plan) == "SANDBOX_REJECTION"


def test_text_made_to_wear_out_a_pattern_does_not() -> None:
    # Quadratic in any of them, and this test would not end.
    for piece in ("$(", "a.", "a-", "rm -", "; ", "union ", "eval ", " ", "<scrip", "/", "ww", "x:/"):
        assert code(Policy(), {"x": piece * 300_000}, **PLANNED) in {None, "SANDBOX_REJECTION"}


def test_pattern_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(UsageError, match=r"forbidden pattern '\(': missing \), unterminated subpattern at position 0"):
        Policy(forbidden_patterns=["("])


# Ids that look alike: a skill runs by the very id that a step gives, and is held to the rules by that id

FORBIDDEN = [rule.replace("*", "run") for rule in FORBIDDEN_SKILLS]
ALIKE: dict[str, Callable[[str], str]] = {
    "space-after": lambda skill: f"{skill} ",
    "space-before": lambda skill: f" {skill}",
    "space-within": lambda skill: skill.replace(".", " ."),
    "newline-after": lambda skill: f"{skill}\n",
    "newline-before": lambda skill: f"\n{skill}",
    "tab-after": lambda skill: f"{skill}\t",
    "return-after": lambda skill: f"{skill}\r",
    "no-break-space-after": lambda skill: f"{skill}\u00a0",
    "zero-width-space-after": lambda skill: f"{skill}\u200b",
    "zero-width-space-before": lambda skill: f"\u200b{skill}",
    "zero-width-joiner-within": lambda skill: skill.replace(".", "\u200d."),
    "word-joiner-within": lambda skill: skill.replace(".", ".\u2060"),
    "byte-order-mark-before": lambda skill: f"\ufeff{skill}",
    "soft-hyphen-within": lambda skill: f"{skill[0]}\u00ad{skill[1:]}",
    "right-to-left-mark-after": lambda skill: f"{skill}\u200f",
    "zero-byte-after": lambda skill: f"{skill}\0",
    "full-stop-full-width": lambda skill: skill.replace(".", "\uff0e"),
    "letter-full-width": lambda skill: chr(ord(skill[0]) + 0xFEE0) + skill[1:],
    "capitalised": str.capitalize,
    "upper": str.upper,
    "capitalised-space-before": lambda skill: f" {skill.capitalize()}",
}
alike = pytest.mark.parametrize("other", list(ALIKE.values()), ids=ALIKE)


def never(ctx: Context) -> None:
    pytest.fail("a forbidden skill was run by a plan")


@alike
def test_no_plan_runs_a_forbidden_skill_by_an_id_that_looks_alike(lab: Lab, other: Callable[[str], str]) -> None:
    registry = skills(**dict.fromkeys(FORBIDDEN, never), t=lambda _: 1)
    for name in FORBIDDEN:
        planned = flow(step("first", "t"), step("a", other(name), on_error="continue", **PLANNED))
        assert Spec(planned).steps[1].skill_id == other(name) != name
        with pytest.raises(UsageError) as refused:
            lab.record(planned, registry, policy=Policy("permissive"))
        # No skill is called so: the registry knows as little of white space and case as the rules are made to.
        assert refused.value.problem == f"SKILL_NOT_FOUND: no skill {other(name)} is registered"
    assert not lab.store.directory.exists()


@alike
@pytest.mark.parametrize("width", [1, 2])
def test_a_planned_step_is_rejected_or_runs_the_skill_of_its_very_id(
    lab: Lab, other: Callable[[str], str], width: int
) -> None:
    ids = [other(name) for name in FORBIDDEN]
    own: dict[str, Any] = {skill_id: lambda ctx: ["own", ctx._request.step.skill_id] for skill_id in ids}
    registry = skills(**own, **dict.fromkeys(FORBIDDEN, never), t=lambda _: 1)
    for name in ids:
        planned = flow(step("first", "t"), step("a", name, depends_on=["first"], **PLANNED))
        recording = lab.record(planned, registry, policy=Policy("permissive"), concurrency=width)
        data = records(recording)[1].step
        assert data.skill_id == name
        if data.error:
            assert (data.error_code, data.attempts) == ("SANDBOX_REJECTION", [])
        else:
            assert decode(data.output) == ["own", name]
        assert replay(recording, registry).matched
        # Whoever replays it without that skill runs no other in its place.
        answer = replay(recording, skills(**dict.fromkeys(FORBIDDEN, never), t=lambda _: 1))
        assert (answer.verdict, answer.steps_compared) == ("refused", 0)
        assert answer.problem
        assert answer.problem.startswith(f"SKILL_NOT_FOUND: no skill {name} for step a")


@pytest.mark.parametrize("change", [str.upper, str.capitalize, str.title, str.swapcase])
def test_case_is_no_way_past_a_rule(change: Callable[[str], str]) -> None:
    for name in FORBIDDEN:
        assert code(Policy("permissive"), skill=change(name), **PLANNED) == "SANDBOX_REJECTION"
        assert code(Policy("permissive"), planner_output={"then": change(name)}) == "SANDBOX_REJECTION"


@pytest.mark.parametrize("after", [" ", "\n", "\t", "\u200b", "\u00a0", "\0", ".x", "*"])
def test_whatever_comes_after_it_the_beginning_of_an_id_is_forbidden_where_a_rule_says_so(after: str) -> None:
    for rule in FORBIDDEN_SKILLS:
        name = rule.removesuffix("*") + after
        assert code(Policy("permissive"), skill=name, **PLANNED) == ("SANDBOX_REJECTION" if "*" in rule else None)


@alike
def test_a_disabled_skill_runs_by_no_other_id(lab: Lab, other: Callable[[str], str]) -> None:
    name = "mail.send"
    policy = Policy(disabled={name: "broken"})
    with pytest.raises(UsageError, match="SKILL_NOT_FOUND"):
        lab.record(flow(step("a", other(name))), skills(**{name: never}), policy=policy)
    registry = skills(**{name: never, other(name): lambda _: "own"})
    assert decode(only(lab.record(flow(step("a", other(name))), registry, policy=policy)).output) == "own"
    assert only(lab.record(flow(step("a", name)), registry, policy=policy)).error_code == "POLICY_VIOLATION"


@alike
def test_a_mutating_skill_needs_its_key_by_its_very_id(lab: Lab, other: Callable[[str], str]) -> None:
    name = "order.place"
    registry = SkillRegistry()
    registry.skill(name, mutating=True)(never)
    with pytest.raises(UsageError, match="SKILL_NOT_FOUND"):
        lab.record(flow(step("a", other(name))), registry)
    registry.skill(other(name), mutating=True)(never)
    for skill_id in (name, other(name)):
        assert only(lab.record(flow(step("a", skill_id)), registry)).error_code == "POLICY_VIOLATION"


@alike
@pytest.mark.parametrize("suffix", [".json", ".yaml", ".toml"])
def test_a_spec_file_gives_the_very_id_that_is_written(
    tmp_path: Path, other: Callable[[str], str], suffix: str
) -> None:
    # A text in JSON, as long as it stays within the basic plane, is one in YAML and TOML too.
    text = json.dumps(other("shell.run"))
    if suffix == ".toml":
        document = f'id = "f"\n[[steps]]\nid = "a"\nskill_id = {text}\n'
    else:
        document = f'{{"id": "f", "steps": [{{"id": "a", "skill_id": {text}}}]}}'
    path = tmp_path / f"spec{suffix}"
    path.write_text(document)
    (found,) = load_spec(path).steps
    assert found.skill_id == other("shell.run")


# What is executed


def test_value_that_comes_from_another_step_is_looked_at(lab: Lab) -> None:
    document = flow(
        step("a", "reads"), step("b", "s", inputs={"x": ["${a.text}"]}, on_error="continue", **PLANNED), step("c", "s")
    )
    registry = skills(reads=lambda _: {"text": "rm -rf /"}, s=lambda _: pytest.fail("rejected"))
    recording = lab.record(document, registry)
    data = records(recording)[1].step
    assert data.error
    assert (data.error.code, data.error.type) == ("SANDBOX_REJECTION", "DeniedError")
    assert r"\brm" in data.error.message
    assert recording.statement.status == "sandbox_rejected"
    assert replay(recording, registry).matched


def test_run_input_is_looked_at(lab: Lab) -> None:
    document = flow(step("a", "s", inputs={"say ${inputs.x}": "it is ${inputs.x}"}, **PLANNED))
    recording = lab.record(document, skills(s=lambda _: pytest.fail("rejected")), inputs={"x": "sudo su"})
    assert only(recording).error_code == "SANDBOX_REJECTION"


@pytest.mark.parametrize(
    "members, status, error_code",
    [
        ({"skill_id": "off"}, "policy_violation", "POLICY_VIOLATION"),
        ({"inputs": {"method": "POST"}}, "policy_violation", "POLICY_VIOLATION"),
        ({"skill_id": "shell.run", **PLANNED}, "sandbox_rejected", "SANDBOX_REJECTION"),
        ({"inputs": {"x": "../"}, **PLANNED}, "sandbox_rejected", "SANDBOX_REJECTION"),
    ],
)
@pytest.mark.parametrize("on_error", ["abort", "continue", "retry"])
def test_denied_step_is_never_called_costs_nothing_and_ends_its_run_whatever_its_on_error_says(
    lab: Lab, members: dict[str, Any], status: str, error_code: str, on_error: str
) -> None:
    def never(ctx: Context) -> None:
        pytest.fail("a denied skill is not called")

    registry = SkillRegistry()
    for skill_id in ("s", "off", "shell.run"):
        registry.skill(skill_id)(never)
    denied = {"id": "a", "skill_id": "s", "estimated_cost_cents": 9, "on_error": on_error, **members}
    recording = lab.record(flow(denied, step("b", "s")), registry, policy=Policy(disabled={"off": "broken"}))
    data = only(recording)
    assert (data.error_code, data.attempts, data.cost_cents, data.success) == (error_code, [], 0, False)
    assert data.recovery_hint
    end = ending(recording)
    assert (end.status, end.steps_completed, end.total_cost_cents) == (status, 0, 0)
    assert recording.statement.status == status


def test_skipped_step_is_skipped_before_it_is_denied(lab: Lab) -> None:
    def fails(ctx: Context) -> None:
        raise ValueError

    document = flow(step("a", "fails", on_error="continue"), step("b", "off", depends_on=["a"]))
    recording = lab.record(document, skills(fails=fails, off=fails), policy=Policy(disabled={"off": "broken"}))
    data = records(recording)[1].step
    assert (data.skipped, data.error or None, recording.statement.status) == (True, None, "failed")


# Recorded and restored


STRICT = {
    "disabled": {"z": "late", "off": "broken"},
    "forbidden_skills": ["pay"],
    "forbidden_patterns": ["secret"],
    "mutating": ["t", "s"],
}


def test_restored_policy_decides_as_the_one_that_was_recorded() -> None:
    policy = Policy("standard", **STRICT)  # type: ignore[arg-type]
    found = Policy.restored(policy.snapshot())
    assert found.snapshot() == policy.snapshot()
    assert list(policy.snapshot()["disabled"]) == ["off", "z"]
    assert policy.snapshot()["mutating"] == ["s", "t"]
    for one in (policy, found):
        assert code(one, skill="off") == "POLICY_VIOLATION"
        assert code(one, skill="s") == "POLICY_VIOLATION"
        assert code(one, skill="pay", **PLANNED) == "SANDBOX_REJECTION"
        assert code(one, {"x": "secret"}, skill="x", **PLANNED) == "SANDBOX_REJECTION"
        assert code(one, {"x": "../"}, skill="x", **PLANNED) == "SANDBOX_REJECTION"
        assert code(one, {"x": "http://a"}, skill="x", **PLANNED) is None


def test_rules_of_today_are_not_those_of_a_recording_made_under_others() -> None:
    snapshot = {**Policy("permissive").snapshot(), "forbidden_skills": ["x.*"], "forbidden_patterns": ["y"]}
    policy = Policy.restored(snapshot)
    assert code(policy, {"x": FORBIDDEN_PATTERNS[0], "z": "rm -rf /"}, skill="shell.run", **PLANNED) is None
    assert code(policy, skill="x.a", **PLANNED) == "SANDBOX_REJECTION"
    assert code(policy, {"a": "y"}, **PLANNED) == "SANDBOX_REJECTION"


def test_recording_that_holds_no_policy_was_made_under_no_rules() -> None:
    policy = Policy.restored({})
    assert code(policy, {"x": "rm -rf / https://x", "method": "POST"}, skill="shell.run", **PLANNED) is None


@pytest.mark.parametrize(
    "change",
    [
        {"profile": "paranoid"},
        {"profile": None},
        {"disabled": ["s"]},
        {"mutating": "s"},
        {"forbidden_patterns": ["("]},
        {"later": True},
        {"mutating": UNSET},
    ],
)
def test_recorded_policy_of_another_form_is_refused_and_nothing_runs(lab: Lab, change: dict[str, Any]) -> None:
    snapshot = {key: value for key, value in {**Policy().snapshot(), **change}.items() if value is not UNSET}
    with pytest.raises(UsageError):
        Policy.restored(snapshot)
    recording = under(lab, lab.run(lambda _: 1), snapshot)
    answer = lab.replay(recording, lambda _: pytest.fail("nothing runs"))
    assert answer.verdict == "refused"
    assert answer.problem
    assert "policy" in answer.problem or "pattern" in answer.problem


def under(lab: Lab, recording: Recording, policy: dict[str, Any]) -> Recording:
    """Return the recording as if it had been made under another policy."""

    def changed(data: Data) -> Data:
        return structs.replace(data, policy=policy) if isinstance(data, RunStart) else data

    with open_recorder(lab.store, f"under-{len(lab.opened)}") as recorder:
        for event in recording.events():
            took = event.timing.duration_us if event.timing else None
            recorder.write(changed(event.data), took, at=event.timestamp)
        recorder.seal()
    lab.opened.append(Recording.open(lab.store.file(recorder.run_id).path, lab.keyring))
    return lab.opened[-1]


def test_replay_decides_by_the_recorded_policy(lab: Lab) -> None:
    document = flow(step("a", "s"), step("b", "s", inputs={"x": "https://a.example"}, **PLANNED))
    registry = skills(s=lambda _: 1)
    strict = lab.record(document, registry)
    lax = lab.record(document, registry, policy=Policy("standard"))
    assert (strict.statement.status, lax.statement.status) == ("sandbox_rejected", "completed")
    assert replay(strict, registry).matched
    assert replay(lax, registry).matched
    assert lax.start.policy == Policy("standard").snapshot()
    # A recording that holds no policy, as those of older versions, was made under no rules.
    assert replay(under(lab, lax, {}), registry).matched
    answer = replay(under(lab, strict, {}), registry)
    assert answer.divergence
    assert answer.divergence.cause == "error"


def test_skill_that_is_said_to_be_mutating_only_today_does_not_deny_a_recorded_step(lab: Lab) -> None:
    recording = lab.run(lambda _: 1)
    registry = SkillRegistry()
    registry.skill("s", mutating=True)(lambda _: 1)
    assert replay(recording, registry).matched
