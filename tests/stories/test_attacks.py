"""What a thief can do to a golden directory, with a leaked key and without one; what is seen; and the way back.

One test a story. Each says what `golden verify` finds, what a rotation makes of it (never a signature by a new key over
bytes that the honest history did not have), and how quarantine, restore and recover lead back to exit 0.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

from golden.canonical import sha256_hex
from golden.errors import GoldenError, TamperedError, UsageError
from golden.event import Extent
from golden.keyring import HmacKey, Keyring, new_secret, unb64
from golden.ledger import (
    LEDGER,
    Accept,
    Archive,
    Delete,
    Draft,
    KeyState,
    Open,
    Operation,
    Quarantine,
    Recover,
    Restore,
    Sealed,
    Span,
    draft,
)
from golden.seal import Accepted, statement_line
from golden.store import Store
from tests import runs
from tests.stories.world import Leak, Thief, World, commit, fold, of, run_git

GOOD = of("intact", "a", "b", "c")
RESEALED = of("resealed", "a", "b", "c")
ASIDE = "lines set aside"


# With a leaked key: runs.


def test_a_run_forged_after_the_anchor_is_never_signed(leak: Leak) -> None:
    leak.thief.record("f")
    assert leak.world.verify().said == (GOOD | {"f": "intact"}, "intact", 0), "nobody can tell yet"
    assert leak.respond().said == (RESEALED | {"f": "unproven"}, None, 4)
    assert leak.world.verify().said == (GOOD | {"f": "revoked-key"}, ASIDE, 3)
    assert leak.respond().said == (of("already", "a", "b", "c") | {"f": "unproven"}, None, 4)
    assert leak.clear("f").said == (GOOD, "intact", 0)


def test_a_run_forged_without_a_line_is_unlisted_and_never_signed(leak: Leak) -> None:
    leak.thief.forge("f")
    assert leak.world.verify().said == (GOOD | {"f": "unlisted"}, "intact", 3)
    assert leak.world.rotate("--reason", "scheduled").by == of("already", "a", "b", "c") | {"f": "unproven"}
    assert leak.respond().said == (RESEALED | {"f": "unproven"}, None, 4)
    assert leak.world.verify().said == (GOOD | {"f": "revoked-key"}, ASIDE, 3), "aside: the line of the first rotation"
    assert leak.clear("f").said == (GOOD, "intact", 0)


def test_a_rewritten_run_is_unlisted_then_tampered(leak: Leak) -> None:
    leak.thief.forge("a", file_id=leak.world.seal("a").statement.file_id)
    assert leak.world.verify().said == (GOOD | {"a": "unlisted"}, "intact", 3)
    assert leak.world.rotate("--reason", "scheduled").said == (of("already", "b", "c") | {"a": "tampered"}, None, 3)
    assert leak.respond().said == (RESEALED | {"a": "tampered"}, None, 3)
    assert leak.world.verify().said == (GOOD | {"a": "revoked-key"}, ASIDE, 3), "aside: the line of the first rotation"
    leak.world.restore_run("a")
    assert leak.respond().said == (of("already", "b", "c") | {"a": "resealed"}, None, 0)
    assert leak.clear().said == (GOOD, "intact", 0)


@pytest.mark.parametrize("op", ["seal", "accept"])
def test_a_rewritten_run_that_the_ledger_vouches_for_is_tampered(leak: Leak, op: str) -> None:
    statement = leak.thief.forge("a", file_id=leak.world.seal("a").statement.file_id)
    reason = {} if op == "seal" else {"reason": "reviewed"}
    form = Sealed if op == "seal" else Accept
    leak.thief.append(draft(form, run_id="a", file_id=statement.file_id, seal=statement, **reason))
    assert leak.world.verify().said == (GOOD, "intact", 0), "nobody can tell yet"
    assert leak.respond().said == (RESEALED | {"a": "tampered"}, None, 3)
    assert leak.world.verify().said == (GOOD | {"a": "revoked-key"}, ASIDE, 3)
    leak.world.restore_run("a")
    assert leak.respond().by == of("already", "b", "c") | {"a": "resealed"}
    assert leak.clear().said == (GOOD, "intact", 0)


def test_a_rewritten_run_can_be_set_apart_where_there_is_no_backup(leak: Leak) -> None:
    leak.thief.forge("a")
    assert leak.respond().code == 3
    assert leak.clear("a").said == (of("intact", "b", "c"), "intact", 0)


def test_a_run_recorded_anew_by_the_thief_under_an_honest_id_is_tampered(leak: Leak) -> None:
    thief, place = leak.thief, leak.world.goldens
    for name in ("a.steps.jsonl", "a.steps.jsonl.sig"):
        (place / name).unlink()
    statement = thief.forge("a", file_id="f" * 32)
    thief.append(draft(Open, run_id="a", file_id="f" * 32), thief.sealed(statement))
    assert leak.world.verify().said == (GOOD, "intact", 0), "nobody can tell yet"
    assert leak.respond().said == (RESEALED | {"a": "tampered"}, None, 3)
    leak.world.restore_run("a")
    assert leak.respond().by == of("already", "b", "c") | {"a": "resealed"}
    assert leak.clear().said == (GOOD, "intact", 0)


@pytest.fixture
def two_versions(world: World) -> tuple[Leak, dict[str, bytes]]:
    """A leak where the run a was accepted anew before the anchor; and the files of its earlier version."""
    before = {name: data for name, data in world.backup.items() if name.startswith("a.")}
    sha256 = world.seal("a").statement.sha256
    for name in before:
        (world.goldens / name).unlink()
    world.golden("quarantine", "a", "--yes")
    world.record("a", value="later")
    assert world.seal("a").statement.sha256 != sha256
    world.save()
    return Leak(world), before


@pytest.mark.parametrize("lined", [False, True])
def test_an_older_sealed_version_is_rolled_back(two_versions: tuple[Leak, dict[str, bytes]], lined: bool) -> None:
    leak, before = two_versions
    for name, data in before.items():
        (leak.world.goldens / name).write_bytes(data)
    if lined:
        leak.thief.append(leak.thief.sealed(leak.world.seal("a").statement))
        assert leak.world.verify().said == (GOOD, "intact", 0), "nobody can tell yet"
    else:
        assert leak.world.verify().said == (GOOD | {"a": "rolled-back"}, "intact", 3)
    assert leak.respond().said == (RESEALED | {"a": "rolled-back"}, None, 3)
    assert leak.world.verify().by["a"] == "revoked-key"
    leak.world.restore_run("a")
    assert leak.respond().by == of("already", "b", "c") | {"a": "resealed"}
    assert leak.clear().said == (GOOD, "intact", 0)


@pytest.mark.parametrize("lined", [False, True])
def test_a_statement_edited_while_the_lines_stay_is_written_anew_from_the_ledger(leak: Leak, lined: bool) -> None:
    honest = leak.world.seal("a").line
    who = Accepted(actor="boss@hq", at=runs.NOW, commit=None, reason="reviewed")
    statement = leak.thief.state("a", status="failed", gen=7, accepted=who)
    if lined:
        leak.thief.append(leak.thief.sealed(statement))
    assert leak.world.verify().said == (GOOD | ({} if lined else {"a": "unlisted"}), "intact", 0 if lined else 3)
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.world.seal("a").line == honest
    assert leak.world.verify().said == (GOOD, ASIDE if lined else "intact", 3 if lined else 0)
    assert leak.clear().said == (GOOD, "intact", 0)


def test_a_live_run_that_the_thief_went_on_with_is_not_signed(leak: Leak) -> None:
    runs.record(leak.world.store(), "open", [runs.start(), runs.step(0, "honest")], sealed=False)
    leak.anchor = leak.world.verify().answer.objects[-1]["anchor"]
    file_id = fold(leak.world).runs["open"].file_id
    assert file_id
    statement = leak.thief.forge("open", file_id=file_id)
    leak.thief.append(leak.thief.sealed(statement))
    assert leak.world.verify().said == (GOOD | {"open": "intact"}, "intact", 0), "nobody can tell yet"
    assert leak.respond().said == (RESEALED | {"open": "unproven"}, None, 4)
    assert leak.clear("open").said == (GOOD, "intact", 0)


# With a leaked key: lines.


def test_a_forged_seal_line_for_a_run_that_never_was_has_no_effect(leak: Leak) -> None:
    statement = leak.thief.forge("f")
    leak.thief.append(leak.thief.sealed(statement))
    for suffix in ("", ".sig"):
        (leak.world.goldens / f"f.steps.jsonl{suffix}").unlink()
    assert leak.world.verify().said == (GOOD | {"f": "missing"}, "intact", 3)
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.world.verify().said == (GOOD, ASIDE, 3)
    assert leak.clear().said == (GOOD, "intact", 0)


def gone(op: str, file_id: str) -> Draft:
    """Return the line that says that the run a need not lie here any more."""
    if op == "archive":
        return draft(Archive, run_id="a", file_id=file_id, archive="s3://somewhere")
    return draft(Delete if op == "delete" else Quarantine, run_id="a", file_id=file_id, reason="tidied up")


@pytest.mark.parametrize("op", ["delete", "quarantine", "archive"])
def test_a_forged_line_that_a_run_is_gone_has_no_effect(leak: Leak, op: str) -> None:
    file_id = leak.world.seal("a").statement.file_id
    leak.thief.append(gone(op, file_id))
    assert leak.world.verify().said == (GOOD | {"a": "unlisted"}, "intact", 3)
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.world.verify().said == (GOOD, ASIDE, 3)
    assert leak.clear().said == (GOOD, "intact", 0)


@pytest.mark.parametrize("op", ["delete", "quarantine", "archive"])
def test_a_run_deleted_behind_a_forged_line_is_missing(leak: Leak, op: str) -> None:
    file_id = leak.world.seal("a").statement.file_id
    leak.thief.append(gone(op, file_id))
    for suffix in ("", ".sig"):
        (leak.world.goldens / f"a.steps.jsonl{suffix}").unlink()
    assert leak.world.verify().said == (of("intact", "b", "c"), "intact", 0), "nobody can tell yet"
    told = leak.world.verify("--anchor", leak.anchor).answer.objects[-1]["since"]
    assert [(line["op"], line["run_id"]) for line in told if op != "archive"] in ([], [(op, "a")])
    assert leak.respond().said == (RESEALED | {"a": "missing"}, None, 3)
    assert leak.world.verify().said == (GOOD | {"a": "missing"}, ASIDE, 3)
    leak.world.restore_run("a")
    assert leak.respond().by == of("already", "b", "c") | {"a": "resealed"}
    assert leak.clear().said == (GOOD, "intact", 0)


def test_a_forged_restore_line_of_a_run_that_was_set_apart_has_no_effect(world: World) -> None:
    world.golden("quarantine", "c", "--yes")
    leak = Leak(world)
    before = {name: data for name, data in world.backup.items() if name.startswith("c.")}
    file_id = file_id_in(before)
    for name, data in before.items():
        (world.goldens / name).write_bytes(data)
    assert world.verify().by["c"] == "unlisted"
    leak.thief.append(draft(Restore, run_id="c", file_id=file_id, archive="s3://somewhere"))
    assert world.verify().said == (GOOD, "intact", 0), "nobody can tell yet"
    assert leak.respond().by == of("resealed", "a", "b") | {"c": "unproven"}
    assert leak.clear("c").said == (of("intact", "a", "b"), "intact", 0)


def file_id_in(files: dict[str, bytes]) -> str:
    statement = next(data for name, data in files.items() if name.endswith(".sig")).partition(b"\n")[0]
    file_id: str = msgspec.json.decode(statement)["file_id"]
    return file_id


def test_a_forged_recover_line_takes_no_honest_line_away(leak: Leak) -> None:
    leak.thief.append(draft(Recover, reason="all of it", lines=[Span(1, 6)]))
    assert leak.world.verify().said == (GOOD, "intact", 0), "naming a line takes nothing from it"
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.world.verify().said == (GOOD, ASIDE, 3)
    assert leak.clear().said == (GOOD, "intact", 0)


def test_a_forged_recover_line_that_says_bytes_were_dropped_is_set_aside(leak: Leak) -> None:
    leak.thief.append(draft(Recover, reason="torn", dropped=Extent(bytes=5, sha256="0" * 64)))
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.clear().said == (GOOD, "intact", 0)


def test_a_forged_key_line_does_not_revive_a_revoked_key(leak: Leak) -> None:
    assert leak.respond().code == 0
    kid = leak.thief.key.kid
    leak.thief.append(draft(KeyState, alg="hmac-sha256", key=kid, reason=None, state="active"))
    leak.thief.record_by_hand("f")
    assert leak.world.verify().said == (GOOD | {"f": "revoked-key"}, ASIDE, 3)
    assert leak.respond().by == of("already", "a", "b", "c") | {"f": "unproven"}
    assert leak.clear("f").said == (GOOD, "intact", 0)


def test_a_forged_line_that_limits_the_old_key_to_nothing_does_not_take_the_honest_lines_away(leak: Leak) -> None:
    """The thief revokes its own key at line 0, so that no honest line would count."""
    other = Thief(leak.world, runs.STRANGER)
    kid = leak.thief.key.kid
    leak.thief.append(draft(KeyState, alg="hmac-sha256", key=kid, reason=None, state="revoked", believed=0))
    assert leak.world.verify().by == GOOD
    assert leak.respond().said == (RESEALED, None, 0)
    assert other.key.kid not in leak.world.states()
    assert leak.clear().said == (GOOD, "intact", 0)


# With a leaked key: the thief revokes the new key.


def revoking(kid: str, believed: int = 0) -> Draft:
    return draft(KeyState, alg="hmac-sha256", key=kid, reason="leaked", state="revoked", believed=believed)


def hand_made_key(world: World) -> tuple[str, Path]:
    """Return a new key whose kid others know before it is added, and where its secret lies."""
    path = world.home / "new.secret"
    path.write_bytes(new_secret("hmac-sha256"))
    path.chmod(0o600)
    return HmacKey(path.read_bytes().removesuffix(b"\n")).kid, path


@pytest.mark.parametrize("looked", [False, True])
def test_the_thief_cannot_revoke_the_new_key_before_it_is_added(leak: Leak, looked: bool) -> None:
    world = leak.world
    leak.new, path = hand_made_key(world)
    leak.thief.append(revoking(leak.new))
    if looked:
        world.verify()
    assert world.new_key_from(path) == leak.new
    if looked:
        world.verify()
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.clear().said == (GOOD, "intact", 0)
    world.record("d")
    assert world.verify().said == (GOOD | {"d": "intact"}, "intact", 0)


@pytest.mark.parametrize("looked", [False, True])
def test_the_thief_cannot_revoke_the_new_key_before_the_rotation(leak: Leak, looked: bool) -> None:
    world = leak.world
    leak.new = world.new_key()
    leak.thief.append(revoking(leak.new))
    if looked:
        world.verify()
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.clear().said == (GOOD, "intact", 0)
    world.record("d")
    assert world.verify().said == (GOOD | {"d": "intact"}, "intact", 0)


@pytest.mark.parametrize("looked", [False, True])
def test_the_thief_cannot_revoke_the_new_key_after_the_rotation(leak: Leak, looked: bool) -> None:
    world = leak.world
    assert leak.respond().code == 0
    leak.thief.append(revoking(leak.new))
    if looked:
        assert world.verify().said == (GOOD, ASIDE, 3)
    assert leak.respond().said == (of("already", "a", "b", "c"), None, 0)
    assert leak.clear().said == (GOOD, "intact", 0)
    world.record("d")
    assert world.verify().said == (GOOD | {"d": "intact"}, "intact", 0)
    assert world.elsewhere("other").verify().said == (GOOD | {"d": "intact"}, "intact", 0)


# With a leaked key: the whole directory.


def forge_everything(leak: Leak, dir_id: str | None = None) -> None:
    """Write every run and the whole ledger anew."""
    statements = {run_id: leak.thief.forge(run_id, file_id="f" * 32) for run_id in ("a", "b", "c")}

    def change(lines: list[Operation]) -> Iterable[Operation]:
        for line in lines:
            if isinstance(line, Sealed):
                statement = statements[line.run_id]
                yield msgspec.structs.replace(line, file_id=statement.file_id, seal=statement)
            else:
                yield msgspec.structs.replace(line, file_id="f" * 32) if isinstance(line, Open) else line

    leak.thief.rewrite(change, dir_id=dir_id)


@pytest.mark.parametrize("dir_id", [None, "0" * 32])
def test_a_directory_forged_as_a_whole_is_rolled_back_to_whoever_saw_it(leak: Leak, dir_id: str | None) -> None:
    world, other = leak.world, leak.world.elsewhere("other")
    forge_everything(leak, dir_id)
    assert other.verify().said == (GOOD, "intact", 0), "a host that never saw it cannot tell"
    assert other.verify("--anchor", leak.anchor).said == (GOOD, "rolled-back", 3)
    assert world.verify().said == (GOOD, "rolled-back", 3)
    assert world.golden("verify", "a").code == 3
    with pytest.raises(TamperedError):
        world.record("d")
    assert leak.refused().refused(3)
    world.restore()
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.clear().said == (GOOD, "intact", 0)


def test_a_forged_directory_is_never_signed_on_a_host_that_never_saw_it(leak: Leak) -> None:
    other = leak.world.elsewhere("other")
    forge_everything(leak)
    before = leak.world.files()
    leak.new = other.new_key()
    assert other.golden("rotate", *leak.reason, "--yes").refused(3)
    assert leak.world.files() == before


def cut(leak: Leak) -> None:
    """Take the last two lines away, and the run that they speak of."""
    lines = (leak.world.goldens / LEDGER).read_bytes().splitlines(keepends=True)
    (leak.world.goldens / LEDGER).write_bytes(b"".join(lines[:-2]))
    for suffix in ("", ".sig"):
        (leak.world.goldens / f"c.steps.jsonl{suffix}").unlink()


def test_a_cut_ledger_is_not_appended_to_by_who_saw_it_longer(leak: Leak) -> None:
    cut(leak)
    before = leak.world.files()
    with pytest.raises(TamperedError):
        leak.world.record("d")
    assert leak.world.files() == before
    assert leak.world.verify().said == (of("intact", "a", "b"), "rolled-back", 3)
    assert leak.refused().refused(3)
    leak.world.restore()
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.clear().said == (GOOD, "intact", 0)


def test_a_cut_ledger_that_an_honest_host_went_on_with_is_caught_by_the_anchor(leak: Leak) -> None:
    world, other = leak.world, leak.world.elsewhere("other")
    cut(leak)
    other.record("d")
    found = of("intact", "a", "b", "d")
    assert other.verify().said == (found, "intact", 0), "a host that never saw it cannot tell"
    assert other.verify("--anchor", leak.anchor).said == (found, "rolled-back", 3)
    assert world.verify().said == (found, "rolled-back", 3)
    assert leak.refused().refused(3)
    world.restore()
    assert leak.respond().said == (RESEALED, None, 0)
    assert leak.clear().said == (GOOD, "intact", 0)


def test_a_cut_ledger_can_be_recovered_where_there_is_no_backup(leak: Leak) -> None:
    cut(leak)
    assert leak.world.golden("recover", "--yes").code == 0
    assert leak.world.verify().said == (of("intact", "a", "b"), "intact", 0)
    assert leak.world.verify("--anchor", leak.anchor).said == (of("intact", "a", "b"), "rolled-back", 3), (
        "an anchor stays"
    )


def test_a_ledger_that_is_gone_is_missing_and_no_writer_makes_another(leak: Leak) -> None:
    world, other = leak.world, leak.world.elsewhere("other")
    leak.thief.forge("f")
    (world.goldens / LEDGER).unlink()
    before = world.files()
    assert world.verify().said == (GOOD | {"f": "intact"}, "missing", 3)
    assert other.verify().said == (GOOD | {"f": "intact"}, "missing", 3)
    with pytest.raises(TamperedError):
        world.record("d")
    with pytest.raises(UsageError):
        other.record("d")
    assert leak.refused().refused(3)
    assert other.golden("rotate", *leak.reason, "--yes").refused(2)
    assert world.files() == before
    world.restore(LEDGER)
    assert leak.respond().said == (RESEALED | {"f": "unproven"}, None, 4)
    assert leak.clear("f").said == (GOOD, "intact", 0)


def test_a_ledger_cannot_be_begun_where_this_host_remembers_one(leak: Leak) -> None:
    (leak.world.goldens / LEDGER).unlink()
    assert leak.world.golden("ledger", "init").refused(3)
    assert not (leak.world.goldens / LEDGER).exists()


@pytest.mark.parametrize("change", ["removed", "emptied", "first line"])
def test_a_ledger_lost_after_a_leak_is_begun_anew_without_what_the_leaked_key_signed(leak: Leak, change: str) -> None:
    """There is no copy of the ledger; of the runs there is one, and a list of their hashes is made from it."""
    world = leak.world
    leak.thief.record("f")
    leak.thief.forge("a", file_id=world.seal("a").statement.file_id)
    data = (world.goldens / LEDGER).read_bytes()
    if change == "removed":
        (world.goldens / LEDGER).unlink()
    else:
        (world.goldens / LEDGER).write_bytes(b"" if change == "emptied" else b"x" + data)
    leak.new = world.new_key()
    done = world.golden("recover", "--yes")
    assert done.code == 0, done
    for run_id in "abcf":
        assert f"run {run_id} is not listed: signed by {world.old}, which is not active" in done.stdout
    assert "golden rotate --accept-unproven @FILE" in done.stderr
    assert world.verify().said == (of("unlisted", "a", "b", "c", "f"), "intact", 3)
    plan = world.rotate("--reason", "scheduled", "--dry-run")
    assert plan.by == of("unproven", "a", "b", "c", "f")
    for run_id in "abc":
        (world.goldens / f"{run_id}.steps.jsonl").write_bytes(world.backup[f"{run_id}.steps.jsonl"])
    hashes = ((sha256_hex(world.backup[f"{run_id}.steps.jsonl"]), run_id) for run_id in "abc")
    (world.here / "honest.txt").write_text("".join(f"{sha256}  {run_id}\n" for sha256, run_id in hashes))
    rotated = world.rotate("--reason", "scheduled", "--accept-unproven", "@honest.txt")
    assert rotated.said == (RESEALED | {"f": "unproven"}, None, 4)
    world.only_honest(leak.new, restated=True)
    assert world.golden("quarantine", "f", "--yes").code == 0
    assert world.golden("keys", "revoke", world.old, "--yes").code == 0
    assert world.verify().said == (GOOD, "intact", 0)


@pytest.mark.parametrize("kid", ["old", "stranger"])
def test_a_revocation_of_the_new_key_by_nobody_is_cut_off_by_recover(leak: Leak, kid: str) -> None:
    """Without a key: a line in the name of another one says that the new key is revoked from the beginning."""
    leak.respond()
    thief = Thief(leak.world, runs.STRANGER)
    if kid == "old":
        thief.key.kid = leak.world.old
    line = draft(KeyState, alg="hmac-sha256", key=leak.new, state="revoked", believed=0, reason=None)
    thief.append(line)
    assert leak.clear().said == (GOOD, "intact", 0)
    leak.world.record("d")
    assert leak.world.verify().said == (GOOD | {"d": "intact"}, "intact", 0)


# With a leaked key: what the responder may do, and may not.


def test_without_an_anchor_a_rotation_after_a_leak_is_refused(leak: Leak) -> None:
    leak.thief.record("f")
    leak.world.new_key()
    before = leak.world.files()
    assert "--anchor" in leak.world.golden("rotate", "--reason", "compromised", "--yes").refused(2)
    assert (leak.world.files(), leak.world.states()[leak.world.old]) == (before, "retired")


def test_an_anchor_of_another_directory_is_refused(leak: Leak) -> None:
    mark, dir_id, lines, sha256 = leak.anchor.split()
    before = leak.world.files()
    leak.world.new_key()
    for text in (
        f"{mark} {'0' * 32} {lines} {sha256}",
        f"{mark} {dir_id} {lines} {'0' * 64}",
        f"{mark} {dir_id} 99 {sha256}",
    ):
        assert leak.world.golden("rotate", "--reason", "compromised", "--anchor", text, "--yes").refused(3)
        assert leak.world.golden("verify", "--anchor", text).code == 3
    assert leak.world.files() == before


def test_a_rotation_on_schedule_signs_no_run_that_is_not_what_was_recorded(leak: Leak) -> None:
    leak.thief.forge("a", file_id=leak.world.seal("a").statement.file_id)
    leak.thief.forge("f")
    leak.thief.state("b", gen=3)
    new = leak.world.new_key()
    assert leak.world.rotate("--reason", "scheduled").said == (
        {"a": "tampered", "b": "resealed", "c": "resealed", "f": "unproven"},
        None,
        3,
    )
    leak.world.only_honest(new)
    for run_id, code in (("a", 3), ("f", 4), ("b", 0)):
        assert leak.world.golden("resign", run_id).code == code
    leak.world.only_honest(new)


def test_an_honest_run_after_the_anchor_is_unproven_until_its_bytes_are_accepted(leak: Leak) -> None:
    world = leak.world
    world.record("late")
    leak.thief.record("f")
    sha256 = world.seal("late").statement.sha256
    assert leak.respond().said == (RESEALED | of("unproven", "late", "f"), None, 4)
    accepted = world.here / "accepted"
    accepted.write_text(f"{'0' * 64}  late\n{sha256}  f\n")
    assert leak.respond("--accept-unproven", f"@{accepted}").code == 4, "these are other bytes"
    accepted.write_text(f"{sha256}  late\n")
    done = world.rotate(*leak.reason, "--accept-unproven", f"@{accepted}")
    assert done.said == (of("already", "a", "b", "c") | {"late": "resealed", "f": "unproven"}, None, 4)
    assert world.signers("f") == {world.old}
    statement = world.seal("late").statement
    assert (statement.sha256, statement.gen) == (sha256, 1)
    assert statement.accepted is not UNSET
    world.statements.add(world.seal("late").line)
    world.only_honest(leak.new)
    assert leak.clear("f").said == (GOOD | {"late": "intact"}, "intact", 0)


def test_a_run_under_the_new_key_counts_though_forged_lines_stand_before_it(leak: Leak) -> None:
    world = leak.world
    leak.thief.record("f")
    leak.new = world.new_key()
    world.record("d")
    leak.thief.record_by_hand("g")
    assert leak.respond().said == (RESEALED | {"d": "already"} | of("unproven", "f", "g"), None, 4)
    assert leak.clear("f", "g").said == (GOOD | {"d": "intact"}, "intact", 0)


def test_a_thief_with_the_ledger_of_a_revoked_key_stops_no_honest_writer(leak: Leak) -> None:
    leak.respond()
    leak.thief.record_by_hand("f")
    leak.world.record("d")
    leak.thief.record_by_hand("g")
    leak.world.record("e")
    found = GOOD | of("intact", "d", "e") | of("revoked-key", "f", "g")
    assert leak.world.verify().said == (found, ASIDE, 3)
    assert leak.clear("f", "g").said == (GOOD | of("intact", "d", "e"), "intact", 0)


@pytest.mark.parametrize("kid", ["new", "stranger"])
def test_lines_in_the_name_of_another_key_are_refused_and_recovered(leak: Leak, kid: str) -> None:
    """After the rotation, the thief signs with the old key, or any other, and writes the kid of the new one."""
    leak.respond()
    thief = Thief(leak.world, runs.STRANGER)
    if kid == "new":
        thief.key.kid = leak.new
    thief.append(draft(Delete, run_id="a", file_id=None, reason="tidied up"))
    found = {"new": ("tampered", 3), "stranger": ("unknown-key", 4)}[kid]
    assert leak.world.verify().said == (GOOD, *found)
    with pytest.raises(GoldenError):
        leak.world.record("d")
    assert leak.clear().said == (GOOD, "intact", 0)
    leak.world.record("d")
    assert leak.world.verify().said == (GOOD | {"d": "intact"}, "intact", 0)


# Without a key: files.


def test_a_deleted_run_is_missing(world: World) -> None:
    for suffix in ("", ".sig"):
        (world.goldens / f"a.steps.jsonl{suffix}").unlink()
    assert world.verify().said == (GOOD | {"a": "missing"}, "intact", 3)
    world.new_key()
    assert world.rotate("--reason", "scheduled").said == (RESEALED | {"a": "missing"}, None, 3)
    with pytest.raises(UsageError):
        world.record("a")
    assert world.golden("quarantine", "a", "--yes").code == 0
    assert world.verify().said == (of("intact", "b", "c"), "intact", 0)


def test_a_seal_without_its_file_is_missing(world: World) -> None:
    (world.goldens / "a.steps.jsonl").unlink()
    assert world.verify().said == (GOOD | {"a": "missing"}, "intact", 3)
    world.new_key()
    assert world.rotate("--reason", "scheduled").said == (RESEALED | {"a": "missing"}, None, 3)
    world.restore("a.steps.jsonl")
    assert world.rotate("--reason", "scheduled").code == 0
    assert world.verify().said == (GOOD, "intact", 0)


def test_a_file_added_under_a_key_of_the_thief_is_never_signed(world: World) -> None:
    Thief(world, runs.STRANGER).forge("f")
    new = world.new_key()
    assert world.verify().said == (GOOD | {"f": "unknown-key"}, "intact", 4)
    assert world.rotate("--reason", "scheduled").said == (RESEALED | {"f": "unproven"}, None, 4)
    world.only_honest(new)
    assert world.golden("quarantine", "f", "--yes").code == 0
    assert world.verify().said == (GOOD, "intact", 0)


def test_a_copy_under_another_name_is_of_another_run(world: World) -> None:
    for suffix in ("", ".sig"):
        (world.goldens / f"f.steps.jsonl{suffix}").write_bytes(world.backup[f"a.steps.jsonl{suffix}"])
    new = world.new_key()
    assert world.verify().said == (GOOD | {"f": "wrong-run"}, "intact", 3)
    done = world.rotate("--reason", "scheduled")
    assert done.by["f"] not in {"resealed", "already"}
    assert new not in world.signers("f")
    assert world.golden("quarantine", "f", "--yes").code == 0
    assert world.verify().said == (GOOD, "intact", 0)


def test_runs_swapped_with_their_seals_are_of_another_run(world: World) -> None:
    for here, there in (("a", "b"), ("b", "a")):
        for suffix in ("", ".sig"):
            (world.goldens / f"{here}.steps.jsonl{suffix}").write_bytes(world.backup[f"{there}.steps.jsonl{suffix}"])
    new = world.new_key()
    assert world.verify().said == (of("wrong-run", "a", "b") | {"c": "intact"}, "intact", 3)
    assert world.rotate("--reason", "scheduled").said == (of("tampered", "a", "b") | {"c": "resealed"}, None, 3)
    world.only_honest(new)
    world.restore_run("a")
    world.restore_run("b")
    assert world.rotate("--reason", "scheduled").said == (of("resealed", "a", "b") | {"c": "already"}, None, 0)
    assert world.verify().said == (GOOD, "intact", 0)


@pytest.mark.parametrize("damage", ["byte", "cut", "longer"])
def test_changed_bytes_are_never_signed(world: World, damage: str) -> None:
    data = world.backup["a.steps.jsonl"]
    changed = {"byte": data.replace(b"honest", b"honesT"), "cut": data[:-9], "longer": data + data[-60:]}[damage]
    (world.goldens / "a.steps.jsonl").write_bytes(changed)
    new = world.new_key()
    word = {"byte": "tampered", "cut": "truncated", "longer": "tampered"}[damage]
    assert world.verify().said == (GOOD | {"a": word}, "intact", 3)
    assert world.rotate("--reason", "scheduled").said == (RESEALED | {"a": "tampered"}, None, 3)
    assert world.golden("resign", "a").code == 3
    world.only_honest(new)
    world.restore_run("a")
    assert world.golden("resign", "a").code == 0
    assert world.verify().said == (GOOD, "intact", 0)


# Without a key: seals.


def test_a_seal_that_is_gone_is_made_again_from_the_ledger(world: World) -> None:
    (world.goldens / "a.steps.jsonl.sig").unlink()
    assert world.verify().said == (GOOD | {"a": "unsealed"}, "intact", 3)
    world.new_key()
    assert world.rotate("--reason", "scheduled").said == (RESEALED, None, 0)
    assert world.seal("a").line == world.backup["a.steps.jsonl.sig"].splitlines()[0]
    assert world.verify().said == (GOOD, "intact", 0)


def test_a_lost_seal_is_not_made_again_for_other_bytes(world: World) -> None:
    (world.goldens / "a.steps.jsonl.sig").unlink()
    path = world.goldens / "a.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"honest", b"forged"))
    assert world.verify().said == (GOOD | {"a": "unsealed"}, "intact", 3)
    world.new_key()
    assert world.rotate("--reason", "scheduled").said == (RESEALED | {"a": "tampered"}, None, 3)
    assert not (world.goldens / "a.steps.jsonl.sig").exists()


def test_a_seal_of_another_run_is_replaced_from_the_ledger(world: World) -> None:
    (world.goldens / "a.steps.jsonl.sig").write_bytes(world.backup["b.steps.jsonl.sig"])
    assert world.verify().said == (GOOD | {"a": "wrong-run"}, "intact", 3)
    new = world.new_key()
    assert world.rotate("--reason", "scheduled").said == (RESEALED, None, 0)
    world.only_honest(new)
    assert world.verify().said == (GOOD, "intact", 0)


SEALS = {
    "empty": b"",
    "noise": b"\x00\xff\n",
    "half": None,
    "statement alone": None,
    "signed twice": None,
    "too large": b"x" * (65 << 10),
    "of the AOS form": b"0" * 64 + b"\n",
}


@pytest.mark.parametrize("name", SEALS)
def test_a_malformed_seal_is_tampered_and_replaced_from_the_ledger(world: World, name: str) -> None:
    good = world.backup["a.steps.jsonl.sig"]
    line, signature = good.splitlines(keepends=True)
    made = {"half": good[:-5], "statement alone": line, "signed twice": good + signature}
    (world.goldens / "a.steps.jsonl.sig").write_bytes(SEALS[name] or made.get(name, b""))
    assert world.verify().said == (GOOD | {"a": "tampered"}, "intact", 3)
    new = world.new_key()
    assert world.rotate("--reason", "scheduled").said == (RESEALED, None, 0)
    world.only_honest(new)
    assert world.verify().said == (GOOD, "intact", 0)


@pytest.mark.parametrize("what", ["alg", "kid", "sig"])
def test_a_seal_downgraded_by_a_word_is_not_accepted(world: World, what: str) -> None:
    line, signature = world.backup["a.steps.jsonl.sig"].splitlines()
    said = msgspec.json.decode(signature)
    said[what] = {"alg": "none", "kid": "0" * 16, "sig": "A" * 43}[what]
    forged = line + b"\n" + msgspec.json.encode(said, order="sorted") + b"\n"
    (world.goldens / "a.steps.jsonl.sig").write_bytes(forged)
    word, code = {"alg": ("tampered", 3), "kid": ("unknown-key", 4), "sig": ("tampered", 3)}[what]
    assert world.verify().said == (GOOD | {"a": word}, "intact", code)
    new = world.new_key()
    done = world.rotate("--reason", "scheduled")
    assert done.said == (RESEALED, None, 0), "the ledger vouches for the bytes"
    world.only_honest(new)
    assert new in world.signers("a")


def test_a_seal_without_its_ed25519_line_is_not_accepted(pair: World) -> None:
    line, ed25519, hmac = pair.backup["a.steps.jsonl.sig"].splitlines(keepends=True)
    assert b"ed25519" in ed25519
    (pair.goldens / "a.steps.jsonl.sig").write_bytes(line + hmac)
    assert pair.verify().said == (GOOD | {"a": "unknown-key"}, "intact", 4)
    assert pair.rotate("--reason", "scheduled").said == (of("already", "b", "c") | {"a": "resealed"}, None, 0)
    assert pair.verify().said == (GOOD, "intact", 0)
    assert (pair.goldens / "a.steps.jsonl.sig").read_bytes() == pair.backup["a.steps.jsonl.sig"]


def test_an_hmac_line_called_ed25519_is_tampered(pair: World) -> None:
    line, ed25519, hmac = pair.backup["a.steps.jsonl.sig"].splitlines(keepends=True)
    forged = msgspec.json.decode(ed25519) | {"kid": msgspec.json.decode(hmac)["kid"]}
    (pair.goldens / "a.steps.jsonl.sig").write_bytes(line + msgspec.json.encode(forged, order="sorted") + b"\n")
    assert pair.verify().said == (GOOD | {"a": "tampered"}, "intact", 3)


def test_a_thief_with_the_hmac_secret_alone_makes_no_seal_where_an_ed25519_key_is_active(pair: World) -> None:
    leak = Leak(pair)
    thief = Thief(pair, pair.secret())
    statement = thief.forge("f")
    thief.forge("a", file_id=pair.seal("a").statement.file_id)
    assert pair.verify().said == (GOOD | of("unknown-key", "a", "f"), "intact", 4)
    thief.append(thief.sealed(statement))
    assert pair.verify().said == (GOOD | of("unknown-key", "a", "f"), "unknown-key", 4)
    safe = next(kid for kid in pair.states() if kid != pair.old)
    assert leak.respond("--safe", safe).by == RESEALED | {"a": "tampered", "f": "unproven"}
    assert not {safe, leak.new} & (pair.signers("a") | pair.signers("f"))
    pair.restore_run("a")
    assert leak.respond("--safe", safe).by == of("already", "b", "c") | {"a": "resealed", "f": "unproven"}
    assert leak.clear("f").said == (GOOD, "intact", 0)


def test_a_thief_with_the_hmac_secret_alone_takes_no_run_away_unseen(pair: World) -> None:
    leak = Leak(pair)
    Thief(pair, pair.secret()).append(draft(Delete, run_id="a", file_id=None, reason="tidied up"))
    for suffix in ("", ".sig"):
        (pair.goldens / f"a.steps.jsonl{suffix}").unlink()
    assert pair.verify().said == (of("intact", "b", "c"), "unknown-key", 4)
    safe = next(kid for kid in pair.states() if kid != pair.old)
    assert leak.respond("--safe", safe).by == RESEALED | {"a": "missing"}
    pair.restore_run("a")
    assert leak.respond("--safe", safe).by == of("already", "b", "c") | {"a": "resealed"}
    assert leak.clear().said == (GOOD, "intact", 0)


def test_a_key_called_safe_goes_on_vouching_for_what_it_signed_after_the_anchor(pair: World) -> None:
    leak = Leak(pair)
    safe = next(kid for kid in pair.states() if kid != pair.old)
    pair.record("late")
    Thief(pair, pair.secret()).forge("f")
    assert leak.respond("--safe", safe).by == RESEALED | {"late": "resealed", "f": "unproven"}
    assert pair.signers("late") == {safe, leak.new}
    assert leak.clear("f").said == (GOOD | {"late": "intact"}, "intact", 0)


def test_without_safe_an_ed25519_key_is_revoked_with_the_others(pair: World) -> None:
    leak = Leak(pair)
    pair.record("late")
    thief = Thief(pair, pair.secret(), *(pair.secret(kid) for kid in pair.states() if kid != pair.old))
    thief.record_by_hand("f")
    assert pair.verify().said == (GOOD | of("intact", "late", "f"), "intact", 0), "nobody can tell yet"
    assert leak.respond().by == RESEALED | of("unproven", "late", "f")
    assert set(pair.states().values()) == {"active", "revoked"}
    assert pair.signers("a") == {leak.new}
    assert leak.clear("f", "late").said == (GOOD, "intact", 0)


def test_with_the_public_key_alone_everything_is_verified_and_nothing_is_signed(pair: World) -> None:
    other = pair.elsewhere("other")
    (other.home / ".config/golden/sources.toml").unlink()
    assert other.verify().said == (GOOD, "intact", 0)
    before = pair.files()
    for argv in (("rotate", "--reason", "scheduled", "--yes"), ("resign", "a"), ("quarantine", "a", "--yes")):
        assert other.golden(*argv).code in {2, 4}, argv
    with pytest.raises(GoldenError):
        runs.record(Store(other.goldens, Keyring.of(other.policies(), lambda _: None)), "d", [])
    assert pair.files() == before


@pytest.mark.parametrize("called", ["ed25519", "hmac-sha256"])
def test_the_public_key_taken_for_a_secret_forges_nothing(pair: World, called: str) -> None:
    """The classic confusion of algorithms: an HMAC made with the bytes of the public key, in its name."""
    (public,) = (entry for entry in pair.policies() if entry.alg == "ed25519")
    thief = Thief(pair, unb64(str(public.public).encode()) or b"")
    statement = thief.forge("f")
    signature = msgspec.structs.replace(pair.seal("f").signatures[0], alg=called, kid=public.kid)
    if called == "ed25519":
        signature = msgspec.structs.replace(signature, sig=signature.sig + signature.sig)
    data = [statement_line(statement), msgspec.json.encode(signature, order="sorted"), b""]
    (pair.goldens / "f.steps.jsonl.sig").write_bytes(b"\n".join(data))
    assert pair.verify().said == (GOOD | {"f": "tampered"}, "intact", 3)
    assert pair.rotate("--reason", "scheduled").by["f"] in {"tampered", "unproven"}
    thief.key.kid = public.kid
    thief.append(thief.sealed(statement))
    assert pair.verify().said == (GOOD | {"f": "tampered"}, "tampered", 3)


# Without a key: the keyring.


KEYRINGS = {
    "the old key retired": ("retired", "active"),
    "the old key active": ("active", "retired"),
    "both keys retired": ("retired", "retired"),
    "states swapped": ("active", "revoked"),
    "the old key forgotten": (None, "active"),
    "the new key forgotten": ("active", None),
    "everything forgotten": (None, None),
}


@pytest.mark.parametrize("who", ["who saw the revocation", "who never saw it"])
@pytest.mark.parametrize("name", KEYRINGS)
def test_an_edited_keyring_brings_no_revoked_key_back(leak: Leak, name: str, who: str) -> None:
    leak.thief.record("f")
    leak.respond()
    host = leak.world if who == "who saw the revocation" else leak.world.elsewhere("other")
    before = leak.world.policy.read_text()
    head, *tables = before.split("[[key]]")
    kept: list[str] = []
    for table, state in zip(tables, KEYRINGS[name], strict=True):
        if state is not None:
            was = "revoked" if not kept and table is tables[0] else "active"
            assert f'state = "{was}"' in table
            kept.append(table.replace(f'state = "{was}"', f'state = "{state}"'))
    leak.world.policy.write_text("[[key]]".join([head, *kept]))
    done = host.verify()
    assert done.code in {3, 4}
    fooled = name in {"states swapped", "the new key forgotten"} and who == "who never saw it"
    if fooled:
        # Who can write the keyring that a verifier uses decides what it believes: a limit, and said to be one.
        assert done.by["f"] == "intact"
    else:
        assert done.by["f"] == ("unknown-key" if KEYRINGS[name][0] is None else "revoked-key")
    if KEYRINGS[name][1] != "active" and (name, who) != ("states swapped", "who never saw it"):
        with pytest.raises(GoldenError):
            runs.record(host.store(), "d", [runs.start(), runs.end()])
    leak.world.policy.write_text(before)
    assert leak.clear("f").said == (GOOD, "intact", 0)


def test_a_thief_who_writes_keyring_and_ledger_is_stopped_by_what_this_host_remembers(leak: Leak) -> None:
    """Who can write the keyring decides what its readers believe; who saw the revocation goes on knowing it."""
    leak.respond()
    leak.thief.append(revoking(leak.new))
    leak.thief.record_by_hand("f")
    text = leak.world.policy.read_text()
    swapped = text.replace('"revoked"', '"?"').replace('"active"', '"revoked"').replace('"?"', '"active"')
    leak.world.policy.write_text(swapped)
    done = leak.world.verify()
    assert (done.by["f"], done.code) == ("revoked-key", 3)
    leak.world.policy.write_text(text)
    assert leak.world.verify().by == GOOD | {"f": "revoked-key"}
    assert leak.clear("f").said == (GOOD, "intact", 0)


# Without a key: files of the AOS system.


@pytest.mark.parametrize("sealed", [True, False])
def test_a_planted_aos_file_is_unlisted_and_never_signed(world: World, sealed: bool) -> None:
    found = next(path for path in sorted((runs.FIXTURES / "recordings/aos").rglob("good-1*.jsonl")))
    (world.goldens / "f.steps.jsonl").write_bytes(found.read_bytes())
    if sealed:
        (world.goldens / "f.steps.jsonl.sig").write_bytes(found.with_name(found.name + ".sig").read_bytes())
    new = world.new_key()
    assert world.verify().said == (GOOD | {"f": "unlisted"}, "intact", 3)
    done = world.rotate("--reason", "scheduled")
    assert done.by == RESEALED | {"f": done.by["f"]}
    assert done.by["f"] == "unproven"
    assert (world.goldens / "f.steps.jsonl.sig").exists() is sealed
    if sealed:
        assert new.encode() not in (world.goldens / "f.steps.jsonl.sig").read_bytes()
    assert world.golden("quarantine", "f", "--yes").code == 0
    assert world.verify().said == (GOOD, "intact", 0)


# Without a key: what is not a file.


@pytest.mark.parametrize("what", ["link", "fifo", "folder"])
@pytest.mark.parametrize("suffix", ["", ".sig"])
def test_what_is_no_regular_file_is_unreadable_and_never_signed(world: World, what: str, suffix: str) -> None:
    path = world.goldens / f"a.steps.jsonl{suffix}"
    path.unlink()
    if what == "link":
        aside = world.base / "aside"
        aside.write_bytes(world.backup[path.name])
        path.symlink_to(aside)
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    new = world.new_key()
    assert world.verify().said == (GOOD | {"a": "unreadable"}, "intact", 4)
    done = world.rotate("--reason", "scheduled")
    assert (done.by, done.code) == (RESEALED | {"a": "failed"}, 4)
    assert world.golden("quarantine", "a", "--yes").code == 0
    world.only_honest(new)
    assert world.verify().said == (of("intact", "b", "c"), "intact", 0)


# A store in git, which has no ledger.


@pytest.fixture
def revision(git: World) -> str:
    """What was committed before the leak."""
    return run_git(git.here, "rev-parse", "HEAD").strip()


def test_in_git_a_revision_from_before_the_leak_is_the_anchor(git: World, revision: str) -> None:
    thief = Thief(git, git.secret())
    thief.forge("f")
    thief.forge("a", file_id=git.seal("a").statement.file_id)
    commit(git)
    assert git.verify().said == (GOOD | {"f": "intact"}, "off", 0), "nobody can tell yet"
    new = git.new_key()
    reason = ("--reason", "compromised", "--anchor", f"git:{revision}")
    plan = git.rotate(*reason, "--dry-run")
    done = git.rotate(*reason)
    assert (done.by, done.by) == (plan.by, of("resealed", "b", "c") | of("unproven", "a", "f"))
    assert done.code == 4
    assert [run_id for run_id in ("a", "b", "c", "f") if new in git.signers(run_id)] == ["b", "c"]
    assert git.verify().said == (of("intact", "b", "c") | of("revoked-key", "a", "f"), "off", 3)
    git.only_honest(new, restated=True)
    git.restore_run("a")
    assert git.rotate(*reason).by == of("already", "b", "c") | {"a": "resealed", "f": "unproven"}
    assert git.golden("quarantine", "f", "--yes").code == 0
    assert git.verify().said == (GOOD, "off", 0)


def test_in_git_no_anchor_but_a_revision_counts(git: World, leak_anchor: str) -> None:
    git.new_key()
    before = git.files()
    for argv in ((), ("--anchor", leak_anchor), ("--anchor", "git:nothing")):
        assert git.golden("rotate", "--reason", "compromised", *argv, "--yes").refused(2), argv
    assert (git.files(), git.states()[git.old]) == (before, "retired")


@pytest.fixture
def leak_anchor() -> str:
    """An anchor of some ledger."""
    return f"golden-anchor/v1 {'0' * 32} 1 {'0' * 64}"


def test_in_git_a_revision_that_the_thief_has_written_is_believed_and_shown(git: World) -> None:
    """Whoever names a revision from after the leak believes the thief: a limit, and said to be one."""
    Thief(git, git.secret()).forge("f")
    later = commit(git)
    git.new_key()
    assert git.rotate("--reason", "compromised", "--anchor", f"git:{later}").by == RESEALED | {"f": "resealed"}


def test_in_git_the_revocation_is_remembered_where_the_keyring_is_put_back(git: World, revision: str) -> None:
    text = git.policy.read_text()
    git.new_key()
    git.rotate("--reason", "compromised", "--anchor", f"git:{revision}")
    Thief(git, git.secret()).forge("f")
    git.policy.write_text(text)
    assert git.verify().by["f"] == "revoked-key"
