"""How a thief could have a new key vouch for what an old one signed, and why that does not work.

In each story somebody honest uses the new key before the leak is known, or follows a hint.
"""

from pathlib import Path

import msgspec
import pytest

from golden.canonical import sha256_hex
from golden.ledger import KeyState, Open, Recover, Sealed, Span, draft
from tests import runs
from tests.stories.world import Leak, Thief, World, commit, events, fold, of

GOOD = of("intact", "a", "b", "c")
RESEALED = of("resealed", "a", "b", "c")


@pytest.mark.parametrize("writer", ["record", "rotate", "recover"])
def test_a_run_that_the_thief_began_and_sealed_is_ended_by_no_new_key(leak: Leak, writer: str) -> None:
    statement = leak.thief.forge("f")
    leak.thief.append(draft(Open, run_id="f", file_id=statement.file_id))
    leak.new = leak.world.new_key()
    if writer == "record":
        leak.world.record("later")
    elif writer == "rotate":
        assert leak.world.rotate("--reason", "scheduled").code == 0, "nobody knows yet"
        leak.world.record("later")
    else:
        assert leak.world.golden("recover", "--yes").code == 0
    assert fold(leak.world).runs["f"].op == "open"
    done = leak.world.rotate(*leak.reason)
    assert (done.by["f"], done.code) == ("unproven", 4)
    later = {} if writer == "recover" else of("intact", "later")
    assert leak.clear("f").said == (GOOD | later, "intact", 0)


def test_in_git_a_rotation_between_leak_and_discovery_proves_nothing(git: World) -> None:
    revision = commit(git)
    thief = Thief(git, git.secret())
    thief.forge("f")
    thief.forge("b", file_id=git.seal("b").statement.file_id)
    new = git.new_key()
    assert git.rotate("--reason", "scheduled").by == RESEALED | {"f": "resealed"}, "nobody knows yet"
    git.record("later")
    done = git.rotate("--reason", "compromised", "--anchor", f"git:{revision}")
    assert done.by == of("already", "a", "c") | of("unproven", "b", "f") | of("already", "later")
    assert (done.code, git.states()[git.old], git.states()[new]) == (4, "revoked", "active")


def test_in_git_a_file_whose_events_only_claim_the_new_key_is_not_proven(git: World) -> None:
    revision = commit(git)
    new = git.new_key()
    thief = Thief(git, git.secret())
    path = git.goldens / "f.steps.jsonl"
    statement = thief.forge("f")
    data = path.read_bytes().replace(git.old.encode(), new.encode())
    path.write_bytes(data)
    thief.sign(msgspec.structs.replace(statement, sha256=sha256_hex(data), bytes=len(data)))
    assert git.rotate("--reason", "scheduled").by["f"] == "resealed", "nobody knows yet"
    assert git.rotate("--reason", "compromised", "--anchor", f"git:{revision}").by["f"] == "unproven"


def test_the_weaker_key_takes_the_stronger_one_out_for_nobody(pair: World) -> None:
    strong = next(kid for kid in pair.states() if kid != pair.old)
    lines = fold(pair).lines
    thief = Thief(pair, pair.secret())
    thief.append(draft(KeyState, alg="ed25519", key=strong, state="revoked", believed=lines, reason=None))
    thief.record_by_hand("f")
    for host in (pair, pair.elsewhere("other")):
        assert host.verify().said == (GOOD | {"f": "unknown-key"}, "unknown-key", 4)


def test_what_only_the_weaker_key_vouches_for_is_not_signed_with_the_stronger_one(pair: World) -> None:
    thief = Thief(pair, pair.secret())
    statement = thief.forge("f")
    thief.append(draft(Open, run_id="f", file_id=statement.file_id), thief.sealed(statement))
    rewritten = thief.forge("b", file_id=pair.seal("b").statement.file_id)
    thief.append(draft(Sealed, run_id="b", file_id=rewritten.file_id, seal=rewritten))
    pair.record("d")
    for _ in range(2):
        done = pair.rotate("--reason", "scheduled")
        assert (done.by, done.code) == (of("already", "a", "c", "d") | of("unproven", "b", "f"), 4)
    assert pair.verify().by == of("intact", "a", "c", "d") | of("unknown-key", "b", "f")


@pytest.mark.parametrize("later", [{}, of("already", "d")])
def test_what_was_there_when_the_stronger_key_came_is_signed_with_it(leak: Leak, later: dict[str, str]) -> None:
    world = leak.world
    world.new_key("--alg", "ed25519")
    assert world.verify().code == 4
    world.record(*later)
    assert world.rotate("--reason", "scheduled").said == (RESEALED | later, None, 0)
    assert world.verify().said == (GOOD | of("intact", *later), "intact", 0)


@pytest.mark.parametrize("when", ["2099-01-01T00:00:00.000000Z", "2001-01-01T00:00:00.000000Z", None])
def test_no_clock_keeps_a_leaked_key_alive(leak: Leak, when: str | None) -> None:
    world = leak.world
    leak.thief.record("f")
    text = world.policy.read_text()
    created = text.partition('created = "')[2].partition('"')[0]
    world.policy.write_text(text.replace(f'created = "{created}"', f'created = "{when}"' if when else ""))
    assert leak.respond().by == RESEALED | {"f": "unproven"}
    assert world.states() == {world.old: "revoked", leak.new: "active"}


def test_a_key_that_was_in_use_at_the_anchor_is_no_new_key(leak: Leak) -> None:
    world = leak.world
    leak.new = world.new_key()
    world.record("d")
    leak.anchor = world.anchor()
    done = leak.refused()
    assert (done.code, f"key {leak.new} was in use at the anchor" in done.stderr) == (2, True)
    assert "golden keys add --generate --active" in done.stderr
    leak.new = world.new_key()
    assert world.rotate(*leak.reason).code == 0


def test_a_key_that_the_files_alone_speak_of_is_no_new_key_either(pair: World) -> None:
    leak = Leak(pair)
    strong = next(kid for kid in pair.states() if kid != pair.old)
    leak.new = pair.new_key()
    pair.record("d")
    leak.anchor = pair.anchor()
    done = leak.refused("--safe", strong)
    assert (done.code, f"key {leak.new} was in use at the anchor" in done.stderr) == (2, True)


def _killed(world: World, run_id: str) -> str:
    """Begin a run and leave it, as a recorder does that is killed; return its file id."""
    runs.record(world.store(), run_id, events(run_id, "honest")[:1], sealed=False)
    file_id = fold(world).runs[run_id].file_id
    assert file_id is not None
    return file_id


@pytest.mark.parametrize("command", [("rotate", "--reason", "scheduled", "--yes"), ("resign", "v")])
def test_a_run_begun_with_the_new_key_is_not_sealed_with_the_old_one(leak: Leak, command: tuple[str, ...]) -> None:
    world = leak.world
    leak.new = world.new_key()
    leak.thief.forge("v", file_id=_killed(world, "v"))
    assert world.golden(*command).code == 4
    assert leak.new not in world.signers("v")
    assert world.rotate(*leak.reason).by == (RESEALED if command[0] == "resign" else of("already", "a", "b", "c")) | {
        "v": "unproven"
    }


def test_that_a_stronger_key_signed_the_beginning_vouches_for_no_bytes(pair: World) -> None:
    Thief(pair, pair.secret()).forge("v", file_id=_killed(pair, "v"))
    assert pair.rotate("--reason", "scheduled").said == (of("already", "a", "b", "c") | {"v": "unproven"}, None, 4)


def test_nor_does_it_where_that_key_has_been_replaced_since(world: World) -> None:
    world.new_key("--alg", "ed25519")
    Thief(world, world.secret()).forge("v", file_id=_killed(world, "v"))
    world.new_key("--alg", "ed25519")
    assert world.rotate("--reason", "scheduled").said == (RESEALED | {"v": "unproven"}, None, 4)


def test_no_line_is_taken_out_by_naming_it(pair: World) -> None:
    thief = Thief(pair, pair.secret())
    count = fold(pair).lines
    thief.append(draft(Recover, reason="all of it", lines=[Span(0, count - 1)]))
    thief.record_by_hand("f")
    pair.record("d")
    assert pair.rotate("--reason", "scheduled").said == (
        of("already", "a", "b", "c", "d") | {"f": "unproven"},
        None,
        4,
    )


def test_what_a_stronger_key_set_apart_no_weaker_one_brings_back(pair: World) -> None:
    statement = pair.seal("b").statement
    assert pair.golden("quarantine", "b", "--yes").code == 0
    pair.restore_run("b")
    Thief(pair, pair.secret()).append(draft(Sealed, run_id="b", file_id=statement.file_id, seal=statement))
    pair.record("d")
    assert pair.verify().said == (of("intact", "a", "c", "d") | {"b": "unlisted"}, "intact", 3)
    assert pair.rotate("--reason", "scheduled").by["b"] == "unproven"


def test_a_lost_ledger_is_not_begun_anew_with_what_a_new_key_signed_on_a_schedule(leak: Leak) -> None:
    world = leak.world
    leak.thief.record("f")
    world.new_key()
    assert world.rotate("--reason", "scheduled").code == 0, "nobody knows yet"
    world.record("d")
    world.verify()
    (world.goldens / "ledger.jsonl").unlink()
    assert world.golden("recover", "--yes").code == 0
    assert world.verify().by == of("unlisted", "a", "b", "c", "f") | {"d": "intact"}


def test_in_git_it_is_said_that_another_key_has_signed_meanwhile(git: World) -> None:
    revision = commit(git)
    Thief(git, git.secret()).forge("f")
    new = git.new_key()
    git.rotate("--reason", "scheduled")
    done = git.rotate("--reason", "compromised", "--anchor", f"git:{revision}")
    (said,) = (row["problem"] for row in done.answer.objects if row.get("run_id") == "f")
    assert f"{new} signed them since" in said
    git.new_key()
    assert git.rotate("--reason", "compromised", "--anchor", f"git:{revision}").by == RESEALED | {"f": "unproven"}
    assert git.verify().by["f"] == "revoked-key"


def test_a_run_with_the_name_of_a_lock_is_named_and_not_waited_for(world: World) -> None:
    Thief(world, world.secret()).record_by_hand("rotate")
    world.new_key()
    assert world.rotate("--reason", "scheduled").by == RESEALED | {"rotate": "unproven"}


def test_nothing_is_imported_by_a_revoked_key(leak: Leak, tmp_path: Path) -> None:
    world = leak.world
    leak.respond()
    (tmp_path / "old").mkdir()
    done = world.golden("import", str(tmp_path / "old"), "--format", "aos", "--key", world.old)
    assert (done.code, f"key {world.old} is revoked" in done.stderr) == (2, True)


def test_an_empty_ledger_that_nobody_remembers_is_said_to_be_empty(world: World) -> None:
    (world.goldens / "ledger.jsonl").write_bytes(b"")
    other = world.elsewhere("other")
    done = other.golden("recover", "--yes")
    assert (done.code, "the ledger is empty" in done.stderr, "golden ledger init" in done.stderr) == (2, True, True)
    assert other.golden("ledger", "init").code == 0
    assert other.verify().said == (GOOD, "intact", 0)
