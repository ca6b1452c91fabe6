"""Secrets from the command line: declared, recognised, given again; all files and all talk are searched for them."""

import base64
import json

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.shell import Answer, Shell

pytestmark = pytest.mark.slow

PASSWORD = "correct-Horse-4711"
TOKEN = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
SKILLS = """\
import base64

from replay import Context, SkillRegistry

registry = SkillRegistry()


@registry.skill("login")
def login(ctx: Context) -> dict:
    password = ctx.inputs["password"]
    basic = base64.b64encode(f"user:{password}".encode()).decode()
    said = ctx.external("ask", lambda header: f"welcome, {header}", f"Basic {basic}")
    return {"said": said, "key": f"session-of-{password}"}


@registry.skill("use")
def use(ctx: Context) -> dict:
    if BROKEN:
        raise ValueError(f"no service for {ctx.inputs['key']}")
    return {"length": len(ctx.inputs["key"])}
"""
SPEC = {
    "id": "job",
    "steps": [
        {"id": "login", "skill_id": "login", "inputs": {"password": "${inputs.password}"}},
        {"id": "use", "skill_id": "use", "inputs": {"key": "${login.key}"}},
    ],
}


@pytest.fixture
def job(shell: Shell) -> Shell:
    """A shell with a spec that is given a password, which its configuration declares."""
    shell.give_key()
    shell.write("job.json", SPEC)
    shell.write("skills.py", SKILLS.replace("BROKEN", "False"))
    shell.write("golden.toml", 'skills = ["skills.py"]\nredact = ["/inputs/password"]\n')
    return shell


def holds_no_secret(shell: Shell, *answers: Answer) -> None:
    """Search all files but the checkpoints, and all that was said."""
    texts = [answer.stdout + answer.stderr for answer in answers]
    files = [path for path in shell.store.rglob("*") if path.is_file() and "checkpoints.sqlite" not in path.name]
    texts += [path.read_bytes().decode() for path in files]
    assert len(files) >= 3
    for text in texts:
        assert PASSWORD not in text
        assert TOKEN not in text


def record(shell: Shell, *argv: str) -> Answer:
    return shell.golden(
        "record", "job.json", "--run-id", "r-1", "--seed", "7", "--input", f"password={PASSWORD}", *argv
    )


def test_a_declared_secret_is_nowhere_and_v_says_what_was_redacted(job: Shell) -> None:
    done = record(job, "-v")
    assert done.code == 0
    assert "redacted /inputs/password: 1 value" in done.stdout + done.stderr
    shown = [job.golden(*argv) for argv in (["tail", "r-1"], ["inspect", "r-1"], ["tail", "r-1", "--json"], ["verify"])]
    assert [answer.code for answer in shown] == [0, 0, 0, 0]
    assert "redacted-1" in shown[0].stdout
    holds_no_secret(job, done._replace(argv=()), *(answer._replace(argv=()) for answer in shown))


def test_a_replay_is_given_the_true_value_or_refused(job: Shell, snapshot: SnapshotAssertion) -> None:
    assert record(job).code == 0
    refused = job.golden("replay", "r-1")
    assert refused.code == 4
    assert refused.text == snapshot
    given = job.golden("replay", "r-1", "--inputs", json.dumps({"password": PASSWORD}))
    assert given.code == 0
    other = job.golden("replay", "r-1", "--input", "password=another")
    assert other.code == 1
    assert "expected  30" not in other.stdout
    holds_no_secret(job, refused, given._replace(argv=()), other)


def test_a_run_that_failed_is_resumed_with_the_true_value_and_with_what_its_checkpoint_holds(job: Shell) -> None:
    job.write("skills.py", SKILLS.replace("BROKEN", "True"))
    failed = record(job)
    assert failed.code == 1
    assert "no service for session-of-redacted-1" in failed.stderr
    job.write("skills.py", SKILLS.replace("BROKEN", "False"))
    change = ["resume", "r-1", "--accept-change", "code"]
    refused = job.golden(*change)
    assert "golden: what was redacted in the run inputs is not in the file: password" in refused.refused()
    assert "hint: give it: --input password=VALUE" in refused.stderr
    unknown = job.golden(*change, "--input", f"password={PASSWORD}", "--from-file")
    assert "golden: the output of step login of run r-1 was redacted, and no checkpoint holds it" in unknown.refused(4)
    resumed = job.golden(*change, "--input", f"password={PASSWORD}")
    assert resumed.code == 0, resumed
    replayed = job.golden("replay", "r-1.r1", "--input", f"password={PASSWORD}")
    assert replayed.code == 0, replayed
    forked = job.golden("fork", "r-1.r1", "--at", "use", "--run-id", "r-2", "--input", f"password={PASSWORD}")
    assert forked.code == 0, forked
    holds_no_secret(job, failed, refused, unknown, resumed, replayed, forked)


@pytest.mark.parametrize("as_json", [True, False])
def test_an_undeclared_secret_is_refused_and_not_repeated(job: Shell, *, as_json: bool) -> None:
    job.write("golden.toml", 'skills = ["skills.py"]\n')
    done = record(job, *(["--json"] if as_json else []))
    assert done.refused() == (
        "golden: /inputs/password holds what looks like a password\n"
        'hint: keep it out of the file: redact = ["/inputs/password"];'
        ' or, where it is no secret: allow_secrets = ["/inputs/password"]\n'
    )
    assert not list(job.store.glob("*.jsonl"))


def test_a_secret_that_a_step_returns_fails_it_and_is_not_written(job: Shell) -> None:
    token = "ghp_" + "a1B2" * 9
    leaking = SKILLS.replace('len(ctx.inputs["key"])', f'"ghp_" + "{token[4:]}"')
    job.write("skills.py", leaking.replace("BROKEN", "False"))
    done = record(job)
    assert done.code == 1
    assert "SecretError: output: /steps/use/output/length holds what looks like a GitHub token" in done.stderr
    assert token not in done.stdout + done.stderr + (job.store / "r-1.steps.jsonl").read_text()


def test_a_published_token_is_recorded_where_that_is_said(job: Shell) -> None:
    job.write("golden.toml", 'skills = ["skills.py"]\nallow_secrets = ["/inputs/password"]\n')
    assert record(job).code == 0
    assert PASSWORD in (job.store / "r-1.steps.jsonl").read_text()


def test_a_command_is_given_the_secret_and_its_recording_is_not(job: Shell) -> None:
    command = ["sh", "-c", 'echo "I am $0"; echo "$0" >&2', "${inputs.password}"]
    done = job.golden("record", "--run-id", "r-1", "--input", f"password={PASSWORD}", "--", *command)
    assert done.code == 0, done
    assert "I am redacted-1" in done.stderr
    refused = job.golden("replay", "r-1", "--input", f"password={PASSWORD}")
    assert "I am $0" in refused.stdout
    replayed = job.golden("replay", "r-1", "--input", f"password={PASSWORD}", "--allow-exec")
    assert replayed.code == 0, replayed
    holds_no_secret(job, done, refused, replayed)


def test_a_command_with_a_secret_among_its_words_is_refused(job: Shell) -> None:
    done = job.golden("record", "--", "mysql", "--password", "hunter2!")
    assert "/spec/steps/0/inputs/argv/2 holds what looks like a password" in done.refused()
    assert "hunter2" not in done.stderr


def test_a_rule_that_matched_nothing_is_told(job: Shell) -> None:
    job.write("golden.toml", 'skills = ["skills.py"]\nredact = ["/inputs/password", "/steps/login/output/tokn"]\n')
    done = record(job)
    assert "note: redact paths that matched nothing: /steps/login/output/tokn" in done.stderr
    assert "note: redact paths" in job.golden("replay", "r-1", "--input", f"password={PASSWORD}").stdout


def test_an_input_without_a_name_is_not_repeated(job: Shell) -> None:
    done = job.golden("record", "job.json", "--input", PASSWORD)
    assert PASSWORD not in done.refused()
