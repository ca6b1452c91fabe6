"""A recording chooses no code: no command of one is run unless whoever replays it, or goes on with it, says so."""

import os
from pathlib import Path
from typing import Any

import pytest

from golden import Recording
from golden.canonical import canonical_bytes, decode
from golden.errors import GoldenError
from golden.keyring import Keyring
from replay import Host, Spec, Terms, fork, replay, resume
from replay.permission import CommandRefusedError, Permit, refuse_commands
from tests.runs import STRANGER
from tests.unit.replay.conftest import Lab, ending, flow, only, records, skills, step

PWNED = {"argv": ["touch", "PWNED"]}
ENVIRON = {"PATH": os.environ["PATH"]}
ALL = Permit(commands=True, environ=ENVIRON)
NAMED = Permit(named=True, environ=ENVIRON)
FIXED = flow(step("a", "exec.run", inputs=PWNED))
GIVEN = flow(step("a", "exec.run", inputs={"argv": "${inputs.argv}"}))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


def pwned(lab: Lab, document: dict[str, Any] | None = None, **options: Any) -> Recording:
    """Record a run that touches PWNED, and take that away again."""
    recording = lab.record(document or FIXED, skills(fails=fails, fine=lambda _: 1), environ=ENVIRON, **options)
    Path("PWNED").unlink(missing_ok=True)
    return recording


def fails(_: object) -> None:
    raise ValueError("no")


def refused(document: dict[str, Any], permit: Permit, *, inputs: Any = None, answered: bool = True) -> str | None:
    try:
        refuse_commands(Spec(document), canonical_bytes(inputs or {}), permit, answered=answered)
    except CommandRefusedError as error:
        return error.problem
    return None


def host(lab: Lab, **given: Any) -> Host:
    return Host(skills(fails=fails, fine=lambda _: 1), lab.store, environ=ENVIRON, **given)


# What is covered


def test_without_a_permit_commands_are_refused_and_shown() -> None:
    assert refused(FIXED, Permit()) == "the recording chooses what is executed: step a would run: touch PWNED"


def test_words_are_shown_as_a_shell_would_need_them() -> None:
    quoted = flow(step("a", "exec.run", inputs={"argv": ["sh", "-c", "a; b"]}))
    assert (refused(quoted, Permit()) or "").endswith("sh -c 'a; b'")


def test_what_the_inputs_of_the_run_put_into_it_is_shown() -> None:
    assert "touch PWNED" in (refused(GIVEN, Permit(), inputs=PWNED) or "")


def test_what_an_earlier_step_puts_into_it_is_shown_as_such() -> None:
    document = flow(step("a", "fine"), step("b", "exec.run", inputs={"argv": ["touch", "${a}"]}))
    assert "touch '${a}'" in (refused(document, Permit()) or "")


def test_every_command_is_shown() -> None:
    document = flow(step("a", "exec.run", inputs={"argv": ["ls"]}), step("b", "exec.run", inputs=PWNED))
    said = refused(document, Permit()) or ""
    assert "step a would run: ls; step b would run: touch PWNED" in said


def test_a_permit_covers_every_command() -> None:
    assert refused(FIXED, ALL) is None
    assert refused(GIVEN, ALL, inputs=PWNED) is None


def test_a_spec_that_the_invoker_named_covers_what_stands_in_it() -> None:
    assert refused(FIXED, NAMED) is None


@pytest.mark.parametrize(
    "inputs",
    [
        {"argv": "${inputs.argv}"},
        {"argv": ["sh"], "stdin": "${inputs.text}"},
        {"argv": ["sh", "-c", "echo ${inputs.x}"]},
    ],
)
def test_what_the_recording_puts_into_a_named_spec_is_not_covered(inputs: dict[str, Any]) -> None:
    assert refused(flow(step("a", "exec.run", inputs=inputs)), NAMED, inputs={"argv": ["x"], "text": "x", "x": "x"})


def test_a_step_that_is_answered_runs_nothing() -> None:
    document = flow(step("a", "exec.run", inputs=PWNED, external=True))
    assert refused(document, Permit()) is None
    # Whoever goes on with the run asks the world anew.
    assert refused(document, Permit(), answered=False)


def test_other_skills_need_no_permit() -> None:
    assert refused(flow(step("a", "fine", inputs=PWNED)), Permit()) is None


# What happens


def test_replay_refuses_before_any_step(lab: Lab) -> None:
    called: list[int] = []
    document = flow(step("first", "fine"), step("a", "exec.run", inputs=PWNED))
    answer = replay(pwned(lab, document), skills(fine=lambda _: called.append(1)))
    assert (answer.verdict, answer.steps_compared, called) == ("refused", 0, [])
    assert "touch PWNED" in (answer.problem or "")
    assert "--allow-exec" in (answer.hint or "")
    assert not Path("PWNED").exists()


def test_replay_with_a_permit_runs_it_elsewhere(lab: Lab) -> None:
    assert replay(pwned(lab), skills(), permit=ALL).matched
    assert not Path("PWNED").exists()


def test_a_named_spec_that_is_another_runs_nothing(lab: Lab, tmp_path: Path) -> None:
    other = flow(step("a", "exec.run", inputs={"argv": ["touch", str(tmp_path / "ran")]}))
    answer = replay(pwned(lab), skills(), other, permit=NAMED)
    assert answer.divergence is not None
    assert answer.divergence.cause == "spec"
    assert not (tmp_path / "ran").exists()


def test_a_skill_that_calls_itself_exec_run_needs_a_permit_too(lab: Lab) -> None:
    answer = replay(pwned(lab), skills(**{"exec.run": lambda _: "mine"}))
    assert answer.verdict == "refused"


def failed(lab: Lab) -> Recording:
    """Record a run whose second step fails, before one that runs a command."""
    last = step("c", "exec.run", inputs=PWNED, depends_on=["b"])
    return pwned(lab, flow(step("a", "fine"), step("b", "fails", depends_on=["a"]), last))


def test_resume_refuses_and_leaves_everything_as_it_was(lab: Lab) -> None:
    failed(lab)
    before = sorted(path.name for path in Path(lab.store.directory).iterdir())
    with pytest.raises(CommandRefusedError, match="touch PWNED"):
        resume("r-1", Host(skills(fails=lambda _: 2, fine=lambda _: 1), lab.store))
    assert sorted(path.name for path in Path(lab.store.directory).iterdir()) == before
    assert not Path("PWNED").exists()


def test_resume_with_a_permit_goes_on_where_it_is(lab: Lab) -> None:
    failed(lab)
    registry = skills(fails=lambda _: 2, fine=lambda _: 1)
    with resume("r-1", Host(registry, lab.store), Terms(permit=ALL, accepted=("code",))) as resumed:
        assert ending(resumed).status == "completed"
    assert Path("PWNED").exists()


def test_fork_refuses_and_begins_nothing(lab: Lab) -> None:
    pwned(lab)
    with pytest.raises(CommandRefusedError, match="touch PWNED"):
        fork("r-1", "a", "r-9", host(lab))
    assert not Path("PWNED").exists()
    assert not lab.store.file("r-9").path.exists()


def test_fork_refuses_a_command_that_a_replay_would_only_answer(lab: Lab) -> None:
    document = flow(step("a", "exec.run", inputs=PWNED, external=True), step("b", "fine"))
    assert replay(pwned(lab, document), skills(fine=lambda _: 1)).matched
    with pytest.raises(CommandRefusedError):
        fork("r-1", "a", "r-9", host(lab))


def test_fork_with_a_permit_runs_it(lab: Lab) -> None:
    pwned(lab)
    with fork("r-1", "a", "r-9", host(lab), Terms(permit=ALL)) as forked:
        assert ending(forked).status == "completed"
    assert Path("PWNED").exists()


def test_commands_of_a_run_that_goes_on_see_what_both_name(lab: Lab) -> None:
    document = flow(step("a", "exec.run", inputs={"argv": ["/usr/bin/env"], "env": ["A", "B"]}))
    lab.record(document, skills(), environ={"A": "1", "B": "2"})
    permit = Permit(commands=True, environ={"B": "2", "C": "3"})
    with fork(
        "r-1", "a", "r-9", Host(skills(), lab.store, environ={"A": "1", "B": "2"}), Terms(permit=permit)
    ) as forked:
        assert decode(only(forked).output)["stdout"] == "B=2\n"


@pytest.mark.parametrize("permit", [Permit(), ALL, NAMED])
def test_nothing_is_run_of_a_file_by_an_unknown_key(lab: Lab, permit: Permit) -> None:
    path = pwned(lab).run_id
    with pytest.raises(GoldenError), Recording.open(lab.store.file(path).path, Keyring(STRANGER)) as recording:
        replay(recording, skills(), permit=permit)
    assert not Path("PWNED").exists()


def test_a_completed_run_needs_no_permit_to_be_left_as_it_is(lab: Lab) -> None:
    pwned(lab)
    with resume("r-1", host(lab)) as same:
        assert len(records(same)) == 1
