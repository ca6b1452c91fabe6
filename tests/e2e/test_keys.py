"""Keys as a responder meets them: made, added, retired; where their secrets lie; and that no secret is ever seen."""

import stat
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from golden.keyring import HmacKey, kid_of, new_secret
from tests import runs
from tests.e2e.shell import ACTIVE_KID, Answer, Shell

pytestmark = pytest.mark.slow

CANARY = "canary-secret-that-must-be-seen-nowhere-0123456789"
KID = kid_of(CANARY.encode())
ATTRIBUTES = "*.steps.jsonl* -text -merge diff=golden\n"


@pytest.fixture
def home(shell: Shell, tmp_path: Path) -> Path:
    """A home outside the working directory."""
    home = tmp_path / "home"
    home.mkdir()
    shell.environ["HOME"] = str(home)
    return home


def policy(shell: Shell) -> dict[str, tuple[str, str]]:
    """Return kid → (alg, state) of the keyring file."""
    found = tomllib.loads((shell.here / "golden-keyring.toml").read_text())
    return {key["kid"]: (key["alg"], key["state"]) for key in found["key"]}


def sources(home: Path) -> list[tuple[str, str]]:
    found = tomllib.loads((home / ".config/golden/sources.toml").read_text())
    return [(source["kid"], source["from"]) for source in found["source"]]


def good(answer: Answer) -> Answer:
    assert answer.code == 0, answer
    return answer


def added(shell: Shell, *argv: str, **env: str | None) -> dict[str, Any]:
    (row,) = good(shell.golden("keys", "add", *argv, "--json", env=env)).objects
    assert row["schema"] == "golden.keys/1"
    return row


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# init


def test_init_makes_all_that_recording_needs(shell: Shell, home: Path) -> None:
    (shell.here / ".git").mkdir()
    rows = good(shell.golden("init", "--json")).objects
    assert {row["schema"] for row in rows} == {"golden.init/1"}
    assert {row["done"] for row in rows} == {"written"}
    configuration = (shell.here / "golden.toml").read_text()
    assert tomllib.loads(configuration) == {"dir": "goldens", "ledger": False}
    assert "# Git keeps" in configuration
    assert (shell.here / ".gitattributes").read_text() == ATTRIBUTES
    kids = [row["kid"] for row in rows if row["kid"]]
    assert policy(shell) == {kids[0]: ("hmac-sha256", "active"), kids[1]: ("ed25519", "active")}
    assert [kid for kid, _ in sources(home)] == kids
    for kid, place in sources(home):
        path = Path(place.removeprefix("file:"))
        assert path.parent == home / ".config/golden/keys"
        assert (mode(path), mode(path.parent)) == (0o600, 0o700)
        assert kid_of(path.read_bytes().removesuffix(b"\n")) == kid
        assert not [name for name, data in everything(shell.here).items() if path.read_bytes().strip() in data]
    assert mode(home / ".config/golden/sources.toml") == 0o600


def test_what_init_made_records_and_verifies(shop: Shell, home: Path) -> None:
    del shop.environ["GOLDEN_SECRET_FILE"]
    (shop.here / "golden.toml").unlink()
    good(shop.golden("init"))
    good(shop.golden("record", "order.json", "--run-id", "r-1", "--skills", "skills.py", "--inputs", "@prices.json"))
    assert (shop.here / "goldens/r-1.steps.jsonl").exists()
    good(shop.golden("verify"))


def test_init_with_hmac_makes_one_key(shell: Shell, home: Path) -> None:
    good(shell.golden("init", "--hmac"))
    assert list(policy(shell).values()) == [("hmac-sha256", "active")]


def test_init_outside_git_keeps_a_ledger(shell: Shell, home: Path) -> None:
    good(shell.golden("init"))
    assert tomllib.loads((shell.here / "golden.toml").read_text()) == {"dir": "goldens"}


def test_init_twice_changes_nothing(shell: Shell, home: Path) -> None:
    good(shell.golden("init"))
    before = everything(shell.here), everything(home)
    rows = good(shell.golden("init", "--json")).objects
    assert [(row["path"], row["done"]) for row in rows] == [
        ("golden.toml", "left"),
        (".gitattributes", "left"),
        ("golden-keyring.toml", "left"),
    ]
    assert all(row["why"] for row in rows)
    assert (everything(shell.here), everything(home)) == before


def test_init_leaves_what_exists_and_says_what_to_do(shell: Shell, home: Path) -> None:
    shell.write("golden.toml", 'dir = "mine"\n')
    shell.write(".gitattributes", "*.png binary\n")
    shell.write("golden-keyring.toml", "# empty\n")
    before = everything(shell.here)
    done = good(shell.golden("init"))
    assert everything(shell.here) == before
    assert everything(home) == {}
    assert "golden git install" in done.stdout
    assert done.stdout.count("left") == 3


def test_init_leaves_the_table_of_a_pyproject_in_charge(shell: Shell, home: Path) -> None:
    shell.write("pyproject.toml", "[tool.golden]\ndir = 'mine'\n")
    good(shell.golden("init"))
    assert not (shell.here / "golden.toml").exists()


def test_init_leaves_a_secret_of_the_environment_in_charge(shell: Shell, home: Path) -> None:
    done = good(shell.golden("init", env={"GOLDEN_SECRET": CANARY}))
    assert "GOLDEN_SECRET is in charge" in done.stdout
    assert not (shell.here / "golden-keyring.toml").exists()
    assert everything(home) == {}


# add


def test_a_generated_key_takes_over_and_the_one_before_verifies_on(shop: Shell, home: Path) -> None:
    shop.record("r-1", "--inputs", "@prices.json")
    row = added(shop, "--generate", "--active")
    assert policy(shop) == {ACTIVE_KID: ("hmac-sha256", "retired"), row["kid"]: ("hmac-sha256", "active")}
    good(shop.golden("verify"))
    shop.record("r-2", "--inputs", "@prices.json")
    verdicts = {row["run_id"]: row["kid"] for row in good(shop.golden("verify", "r-1", "r-2", "--json")).objects[:2]}
    assert verdicts == {"r-1": ACTIVE_KID, "r-2": row["kid"]}
    # The old secret is not needed to go on.
    del shop.environ["GOLDEN_SECRET_FILE"]
    shop.record("r-3", "--inputs", "@prices.json")


def test_the_first_key_of_a_keyring_retires_those_of_the_environment(shell: Shell, home: Path) -> None:
    shell.give_key()
    shell.environ["GOLDEN_SECRET_PREVIOUS"] = runs.RETIRED.decode()
    row = added(shell, "--generate")
    assert policy(shell) == {
        ACTIVE_KID: ("hmac-sha256", "retired"),
        HmacKey(runs.RETIRED).kid: ("hmac-sha256", "retired"),
        row["kid"]: ("hmac-sha256", "active"),
    }
    assert added(shell, "--generate")["state"] == "retired"


def test_a_key_that_signs_no_events_leaves_that_of_the_environment_in_charge(shell: Shell, home: Path) -> None:
    shell.give_key()
    row = added(shell, "--generate", "--alg", "ed25519")
    assert policy(shell) == {ACTIVE_KID: ("hmac-sha256", "active"), row["kid"]: ("ed25519", "retired")}


def test_a_key_is_shown_as_the_directory_knows_it(shop: Shell, home: Path) -> None:
    shop.record("r-1", "--inputs", "@prices.json")
    good(shop.golden("keys", "add", "--generate", "--active"))
    good(shop.golden("rotate", "--reason", "scheduled", "--yes"))
    good(shop.golden("keys", "revoke", ACTIVE_KID, "--yes"))
    shop.edit("golden-keyring.toml", '"revoked"', '"retired"')
    state = Path(shop.environ["GOLDEN_STATE_DIR"])
    for _ in range(2):
        for argv in (("list",), ("show",)):
            done = good(shop.golden("keys", *argv, "--json"))
            assert {row["kid"]: row["state"] for row in done.objects}[ACTIVE_KID] == "revoked"
            assert f"key {ACTIVE_KID} is revoked, though the keyring says retired" in done.stderr
        # The ledger alone is enough.
        state.rename(f"{state}.gone") if state.exists() else None


def test_the_first_key_that_signs_needs_no_word_for_it(shell: Shell, home: Path) -> None:
    assert added(shell, "--generate", "--alg", "ed25519")["state"] == "retired"
    assert added(shell, "--generate")["state"] == "active"
    assert added(shell, "--generate")["state"] == "retired"


def test_each_algorithm_has_its_own_active_key(shell: Shell, home: Path) -> None:
    first = added(shell, "--generate")
    pair = added(shell, "--generate", "--alg", "ed25519", "--active")
    assert policy(shell) == {first["kid"]: ("hmac-sha256", "active"), pair["kid"]: ("ed25519", "active")}
    assert pair["public"]


@pytest.mark.parametrize("scheme", ["file", "env", "exec"])
def test_a_secret_that_lies_somewhere_is_added_by_its_place(shell: Shell, home: Path, scheme: str) -> None:
    path = shell.write("vault", CANARY + "\n")
    path.chmod(0o600)
    place = {"file": "file:vault", "env": "env:MINE", "exec": f'exec:["/bin/cat","{path}"]'}[scheme]
    row = added(shell, "--source", place, MINE=CANARY)
    assert (row["kid"], row["at_hand"]) == (KID, True)
    assert sources(home) == [(KID, place.replace("file:vault", f"file:{path}"))]
    (listed,) = good(shell.golden("keys", "list", "--json", env={"MINE": CANARY})).objects
    assert listed["at_hand"] is (None if scheme == "exec" else True)
    (shown,) = good(shell.golden("keys", "show", KID, "--json", env={"MINE": CANARY})).objects
    assert shown["at_hand"] is True


def test_an_openssl_key_is_an_ed25519_key(shell: Shell, home: Path) -> None:
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", "k.pem"], cwd=shell.here, check=True)
    (shell.here / "k.pem").chmod(0o600)
    assert added(shell, "--source", "file:k.pem")["alg"] == "ed25519"
    assert (
        "a key of ed25519, not hmac-sha256"
        in shell.golden("keys", "add", "--source", "file:k.pem", "--alg", "hmac-sha256").refused()
    )


def test_a_key_that_the_keyring_has_only_gets_a_source(shell: Shell, home: Path) -> None:
    row = added(shell, "--generate")
    path = shell.write("copy", next((home / ".config/golden/keys").iterdir()).read_bytes())
    path.chmod(0o600)
    before = (shell.here / "golden-keyring.toml").read_bytes()
    for argv in ((), ("--active",), ()):
        assert added(shell, "--source", "file:copy", *argv)["state"] == "active"
    assert (shell.here / "golden-keyring.toml").read_bytes() == before
    assert [kid for kid, _ in sources(home)] == [row["kid"]] * 2


@pytest.mark.parametrize("state", ["retired", "revoked"])
def test_a_key_that_was_put_aside_never_comes_back(shell: Shell, home: Path, state: str) -> None:
    row = added(shell, "--generate")
    added(shell, "--generate", "--active")
    text = (shell.here / "golden-keyring.toml").read_text().replace('"retired"', f'"{state}"')
    shell.write("golden-keyring.toml", text)
    before = everything(home)
    place = dict(sources(home))[row["kid"]]
    assert f"already, and {state}" in shell.golden("keys", "add", "--source", place, "--active").refused()
    assert (shell.here / "golden-keyring.toml").read_text() == text
    assert everything(home) == before


def test_the_keyring_is_written_where_the_configuration_is(shell: Shell, home: Path) -> None:
    shell.write("golden.toml", "")
    below = shell.here / "a" / "b"
    below.mkdir(parents=True)
    good(shell.golden("keys", "add", "--generate", cwd=below))
    assert (shell.here / "golden-keyring.toml").exists()
    assert list(below.iterdir()) == []


def test_a_keyring_can_be_named(shell: Shell, home: Path) -> None:
    row = added(shell, "--generate", "--keyring", "k.toml")
    assert not (shell.here / "golden-keyring.toml").exists()
    (listed,) = good(shell.golden("keys", "list", "--json", env={"GOLDEN_KEYRING": "k.toml"})).objects
    assert listed["kid"] == row["kid"]
    assert "absent cannot be opened" in shell.golden("verify", "--keyring", "absent").refused()


def test_what_other_hosts_must_be_given_is_said(shell: Shell, home: Path) -> None:
    done = good(shell.golden("keys", "add", "--generate"))
    assert "other hosts need golden-keyring.toml and the secret" in done.stdout
    done = good(shell.golden("keys", "add", "--generate", "--alg", "ed25519", "--active"))
    assert "other hosts verify with golden-keyring.toml alone" in done.stdout


def test_a_secret_too_weak_for_golden_goes_into_no_keyring(shell: Shell, home: Path) -> None:
    done = good(shell.golden("keys", "add", "--generate", env={"GOLDEN_SECRET": "short-canary"}))
    assert f"--key {kid_of(b'short-canary')}" in done.stderr
    assert [state for _, state in policy(shell).values()] == ["active"]


def test_nothing_is_generated_over_a_secret_that_is_there(shell: Shell, home: Path) -> None:
    path = shell.write("mine", CANARY)
    path.chmod(0o600)
    assert "mine exists" in shell.golden("keys", "add", "--generate", "--source", "file:mine").refused()
    assert path.read_text() == CANARY
    assert not (shell.here / "golden-keyring.toml").exists()


@pytest.mark.parametrize(
    "argv, why",
    [
        ((), "no secret to add"),
        (("--source", "env:ABSENT"), "ABSENT is not set"),
        (("--source", "file:absent"), "absent cannot be opened"),
        (("--source", "file:open"), "mode 0644"),
        (("--source", 'exec:["/bin/false"]'), "exec:/bin/false ended with exit code 1"),
        (("--source", 'exec:["false"]'), "begins with an absolute path"),
        (("--source", "env:MINE", "--generate"), "nothing can be put into env:"),
        (("--source", 'exec:["/bin/true"]', "--generate"), "nothing can be put into exec:"),
        (("--source", "env:SHORT"), "has 5 bytes, 32 are needed"),
        (("--generate", "--alg", "rsa"), "--alg"),
    ],
)
def test_what_cannot_be_added_is_refused_and_leaves_nothing(
    shell: Shell, home: Path, argv: tuple[str, ...], why: str
) -> None:
    shell.write("open", CANARY).chmod(0o644)
    done = shell.golden("keys", "add", *argv, env={"MINE": CANARY, "SHORT": "short"})
    assert why in done.refused()
    assert everything(home) == {}
    assert not (shell.here / "golden-keyring.toml").exists()


# list, show, retire


def test_keys_of_the_environment_are_listed_without_a_keyring(shell: Shell, home: Path) -> None:
    shell.give_key()
    (row,) = good(shell.golden("keys", "list", "--json")).objects
    assert list(row) == ["schema", "kid", "alg", "state", "created", "public", "source", "at_hand"]
    assert (row["kid"], row["state"], row["source"], row["at_hand"]) == (
        ACTIVE_KID,
        "active",
        "GOLDEN_SECRET_FILE",
        True,
    )


def test_no_key_is_an_answer(shell: Shell, home: Path) -> None:
    done = good(shell.golden("keys", "list"))
    assert "no key" in done.stdout
    assert "golden init" in done.stderr


def test_a_source_that_gives_another_key_is_reported_with_both_kids(shop: Shell, home: Path) -> None:
    row = added(shop, "--source", "env:MINE", "--active", MINE=CANARY)
    env: dict[str, str | None] = {"MINE": CANARY[::-1]}
    other = kid_of(CANARY[::-1].encode())
    done = good(shop.golden("keys", "list", env=env))
    assert "not at hand" in done.stdout
    for argv in (("keys", "list"), ("keys", "show"), ("record", "order.json", "--inputs", "@prices.json")):
        done = shop.golden(*argv, env=env)
        assert f"is to give key {row['kid']}, and gives key {other}" in done.stderr
    assert done.code == 2


def test_a_retired_key_verifies_and_does_not_sign(shop: Shell, home: Path) -> None:
    first = added(shop, "--generate", "--active")
    pair = added(shop, "--generate", "--alg", "ed25519", "--active")
    for _ in range(2):
        (row,) = good(shop.golden("keys", "retire", pair["kid"], "--json")).objects
        assert row["state"] == "retired"
    done = shop.golden("keys", "retire", first["kid"])
    assert "is the last active hmac-sha256 key" in done.refused()
    assert "add another first" in done.stderr
    second = added(shop, "--generate", "--active")
    assert policy(shop)[first["kid"]] == ("hmac-sha256", "retired")
    assert policy(shop)[second["kid"]] == ("hmac-sha256", "active")


WAITING = """
import os
import time

from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("wait")
def wait(ctx):
    home = os.getcwd()
    os.chdir(ctx.inputs["where"])
    open(f"{home}/waiting", "w").close()
    while not os.path.exists(f"{home}/go"):
        time.sleep(0.01)
    return 1
"""


@pytest.mark.parametrize("where", [".", "/"])
def test_a_run_that_takes_long_is_sealed_though_the_ledger_is_under_a_new_key_by_then(
    shell: Shell, home: Path, where: str
) -> None:
    good(shell.golden("init", "--hmac"))
    shell.write("wait.py", WAITING)
    shell.write("wait.json", {"id": "wait", "steps": [{"id": "a", "skill_id": "wait", "inputs": {"where": where}}]})
    running = shell.start("record", "wait.json", "--skills", "wait.py", "--run-id", "r-1")
    try:
        until = time.monotonic() + 30
        while not (shell.here / "waiting").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        kid = added(shell, "--generate", "--active")["kid"]
        assert shell.golden("rotate", "--reason", "scheduled", "--yes").code == 4, "the run is live"
    finally:
        (shell.here / "go").touch()
        said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    (row, _) = good(shell.golden("verify", "--json")).objects
    assert (row["verdict"], row["kid"]) == ("intact", kid)


def test_two_active_keys_of_one_algorithm_are_refused_everywhere(shop: Shell, home: Path) -> None:
    added(shop, "--generate", "--active")
    text = (shop.here / "golden-keyring.toml").read_text()
    shop.write("golden-keyring.toml", text.replace('"retired"', '"active"'))
    for argv in (("keys", "list"), ("verify",), ("record", "order.json"), ("keys", "add", "--generate")):
        assert "are both active for hmac-sha256" in shop.golden(*argv).refused()


@pytest.mark.parametrize(
    "argv", [("retire",), ("retire", "a", "b"), ("show", "a" * 16), ("retire", "a" * 16), ("frob",)]
)
def test_misuse_is_refused(shell: Shell, home: Path, argv: tuple[str, ...]) -> None:
    shell.golden("keys", *argv).refused()


@pytest.mark.parametrize("name", ["list", "show", "add", "retire", "revoke"])
def test_each_command_of_the_family_has_a_help_page_with_examples(shell: Shell, name: str) -> None:
    done = good(shell.golden("keys", name, "--help"))
    examples = done.stdout.partition("\nExamples:\n")[2].splitlines()
    assert examples
    assert all(line.startswith(f"  golden keys {name}") for line in examples)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert f"  {name} " in good(shell.golden("keys", "--help")).stdout


# git install


def test_git_install_adds_its_line_once(shell: Shell) -> None:
    subprocess.run(["git", "init", "-q"], cwd=shell.here, check=True)
    shell.write(".gitattributes", "*.png binary")
    below = shell.here / "below"
    below.mkdir()
    for done in ("written", "left"):
        row, *_ = good(shell.golden("git", "install", "--json", cwd=below)).objects
        assert (row["schema"], row["done"]) == ("golden.git/1", done)
    assert (shell.here / ".gitattributes").read_text() == f"*.png binary\n{ATTRIBUTES}"
    shell.write("x.steps.jsonl", b"{}\r\n")
    shown = subprocess.run(
        ["git", "check-attr", "text", "x.steps.jsonl", "x.steps.jsonl.sig"],
        cwd=shell.here,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.count("text: unset") == 2


def test_git_install_needs_a_repository(shell: Shell) -> None:
    assert "no git repository" in shell.golden("git", "install").refused()


# No secret is seen


@pytest.mark.parametrize(
    "argv",
    [
        ("add", CANARY),
        ("add", "--source", CANARY),
        ("add", "--source", f"vault:{CANARY}"),
        ("add", "--generate", CANARY),
        ("add", f"--secret={CANARY}"),
        ("show", CANARY),
        ("retire", CANARY),
        ("list", "--keyring", "k.toml", "--json", "--debug"),
        (CANARY,),
    ],
    ids=lambda argv: " ".join(argv).replace(CANARY, "SECRET"),
)
def test_a_secret_given_as_an_argument_is_refused_and_not_repeated(
    shell: Shell, home: Path, argv: tuple[str, ...]
) -> None:
    done = shell.golden("keys", *argv)
    assert done.code == 2
    assert "canary" not in done.stdout + done.stderr


def test_no_secret_reaches_output_arguments_or_the_environment_of_children(shop: Shell, home: Path) -> None:
    pem = new_secret("ed25519").decode()
    inner = pem.splitlines()[1]
    script = f"#!/bin/sh\nexec 3> {shop.here}/seen\nenv >&3\ncat /proc/$PPID/cmdline >&3\ncat {shop.here}/vault\n"
    probe = shop.write("probe", script)
    probe.chmod(0o700)
    shop.write("vault", CANARY).chmod(0o600)
    env: dict[str, str | None] = {"PEM": pem, "GOLDEN_SECRET": runs.RETIRED.decode(), "GOLDEN_SECRET_FILE": None}
    said = ""
    shop.edit(
        "skills.py",
        "return cents // 10",
        "import os, subprocess; subprocess.run(['/usr/bin/env']); print(dict(os.environ)); return cents // 10",
    )
    for argv in (
        ("keys", "add", "--source", f'exec:["{probe}"]', "--active"),
        ("keys", "add", "--source", "env:PEM", "--active"),
        ("keys", "list"),
        ("keys", "show", "--debug", "-v"),
        ("config",),
        ("record", "order.json", "--run-id", "r-1", "--inputs", "@prices.json"),
        ("verify",),
        ("replay", "r-1"),
    ):
        for flags in ((), ("--json",)):
            if argv[0] == "record" and flags:
                continue
            done = good(shop.golden(*argv, *flags, env=env))
            said += done.stdout + done.stderr
    assert "PATH=" in said
    seen = (shop.here / "seen").read_text()
    assert "PATH=" in seen
    assert "golden" in seen
    lying = {name: data for name, data in everything(shop.here).items() if name not in {"vault", "secret"}}
    for text in (CANARY, inner, runs.RETIRED.decode()):
        assert text not in said
        assert text not in seen
        assert not [name for name, data in (lying | everything(home)).items() if text.encode() in data]


def test_a_key_made_here_is_seen_in_its_file_alone(shell: Shell, home: Path) -> None:
    said = "".join(
        good(shell.golden(*argv)).text
        for argv in (("init",), ("keys", "add", "--generate", "--active"), ("keys", "show"))
    )
    made = [path.read_text() for path in (home / ".config/golden/keys").iterdir()]
    assert len(made) == 3
    for secret in made:
        middle = secret.splitlines()[len(secret.splitlines()) // 2]
        assert middle not in said
        held = {**everything(shell.here), **everything(home / ".config/golden")}
        assert sum(middle.encode() in data for data in held.values()) == 1
