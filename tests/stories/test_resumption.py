"""A run that was killed and goes on: what the keys of its lines still prove when one of them has leaked.

Whoever resumes a run has its lines from the disk. With a leaked key they may be anybody's, and no later key mends that.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from golden.canonical import sha256_hex
from golden.errors import KeyringError, TamperedError
from golden.event import ResumedFrom, RunStart
from golden.ledger import Open, draft
from golden.recorder import Recorder, open_recorder
from golden.unfinished import open_unfinished
from tests import runs
from tests.stories.world import Host, Leak, Thief, World, events, fold, of

GOOD = of("intact", "a", "b", "c")
RESEALED = of("resealed", "a", "b", "c")
ALREADY = of("already", "a", "b", "c")
ASIDE = "lines set aside"
SCHEDULED = ("--reason", "scheduled")


def killed(world: Host, run_id: str = "v", lines: int = 2) -> str:
    """Begin a run and leave it, as a recorder does that is killed; return its file id."""
    runs.record(world.store(), run_id, events(run_id, "honest")[:lines], sealed=False)
    file_id = fold(world).runs[run_id].file_id
    assert file_id is not None
    return file_id


def forged(thief: Thief, file_id: str, run_id: str = "v", *, ended: bool = False) -> None:
    """Put a file of the thief's in the place of the run, with good MACs and without a seal."""
    thief.forge(run_id, file_id=file_id)
    path = thief.world.goldens / f"{run_id}.steps.jsonl"
    path.with_name(f"{path.name}.sig").unlink()
    if not ended:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:2]))


@contextmanager
def resuming(world: Host, run_id: str = "v") -> Iterator[Recorder]:
    """Go on with a run, to its end; its seal is left to the story."""
    with open_unfinished(world.store(), run_id) as past:
        recorder = past.recorder([], past.count - 1)
        if past.ended is None:
            for data in events(run_id, "honest")[past.count :]:
                recorder.write(data, runs.duration(data))
        yield recorder


def resume(world: Host, run_id: str = "v") -> None:
    """Go on with a run and seal it."""
    with resuming(world, run_id) as recorder:
        recorder.seal()


def test_an_honest_run_goes_on_across_a_rotation_and_the_old_key_can_be_revoked_then(world: World) -> None:
    killed(world)
    new = world.new_key()
    assert world.rotate(*SCHEDULED).said == (RESEALED | {"v": "live"}, None, 4)
    assert "golden resume v" in world.golden("keys", "revoke", world.old, "--yes").refused(2)
    resume(world)
    assert world.signers("v") == {new}
    assert world.golden("keys", "revoke", world.old, "--yes").code == 0
    assert world.verify().said == (GOOD | {"v": "intact"}, "intact", 0)
    assert world.rotate(*SCHEDULED).by == ALREADY | {"v": "already"}


def test_a_key_in_the_middle_of_a_run_that_goes_on_cannot_be_revoked(world: World) -> None:
    killed(world, lines=1)
    middle = world.new_key()
    with open_unfinished(world.store(), "v") as past:
        past.recorder([], 0)
    world.new_key()
    assert world.rotate(*SCHEDULED).code == 4
    assert f"run v needs key {middle}" in world.golden("keys", "revoke", middle, "--yes").refused(2)
    resume(world)
    assert world.golden("keys", "revoke", middle, "--yes").code == 0
    assert world.verify().said == (GOOD | {"v": "intact"}, "intact", 0)


@pytest.mark.parametrize("rotated", ["before it goes on", "while it goes on"])
def test_a_run_that_went_on_after_lines_of_the_thief_is_never_proven(leak: Leak, rotated: str) -> None:
    world = leak.world
    forged(leak.thief, killed(world))
    if rotated == "before it goes on":
        leak.new = world.new_key()
        resume(world)
    else:
        with resuming(world) as recorder:
            leak.new = world.new_key()
            recorder.seal()
    assert world.signers("v") == {leak.new}
    assert world.verify().said == (GOOD | {"v": "intact"}, "intact", 0), "nobody can tell yet"
    done = world.rotate(*leak.reason)
    assert done.said == (RESEALED | {"v": "unproven"}, None, 4)
    assert "goes on from lines under" in done.answer.stdout
    assert world.verify().said == (GOOD | {"v": "revoked-key"}, ASIDE, 3)
    # Nor by the next key, on whatever schedule.
    world.new_key()
    assert world.rotate(*SCHEDULED).said == (RESEALED | {"v": "unproven"}, None, 4)
    assert leak.clear("v").said == (GOOD, "intact", 0)


def test_nor_is_one_whose_beginning_the_thief_told_the_ledger_of(leak: Leak) -> None:
    world = leak.world
    forged(leak.thief, runs.FILE_ID)
    leak.thief.append(draft(Open, run_id="v", file_id=runs.FILE_ID))
    leak.new = world.new_key()
    resume(world)
    assert world.verify().said == (GOOD | {"v": "intact"}, "intact", 0), "nobody can tell yet"
    assert world.rotate(*leak.reason).said == (RESEALED | {"v": "unproven"}, None, 4)
    assert leak.clear("v").said == (GOOD, "intact", 0)


def test_nor_is_one_that_was_killed_before_the_ledger_knew_of_its_seal(leak: Leak) -> None:
    world = leak.world
    forged(leak.thief, killed(world))
    leak.new = world.new_key()
    before = (world.goldens / "ledger.jsonl").read_bytes()
    resume(world)
    (world.goldens / "ledger.jsonl").write_bytes(before)
    (world.state / next(path.name for path in world.state.glob("*.json"))).unlink()
    assert world.rotate(*leak.reason).said == (RESEALED | {"v": "unproven"}, None, 4)
    assert leak.clear("v").said == (GOOD, "intact", 0)


@pytest.mark.parametrize("rotated", [False, True], ids=["found at once", "found after a rotation"])
def test_nor_is_one_that_carries_over_what_the_thief_recorded(leak: Leak, rotated: bool) -> None:
    world = leak.world
    leak.thief.record("f")
    leak.new = world.new_key()
    if rotated:
        world.rotate(*SCHEDULED)
    came_from = ResumedFrom(file_id=runs.FILE_ID, kids=[world.old], run_id="f", sha256="0" * 64)
    start, *rest = events("f.r1", "honest")
    assert isinstance(start, RunStart)
    runs.record(world.store(), "f.r1", [replace(start, resumed_from=came_from), *rest])
    assert world.verify().by["f.r1"] == "intact", "nobody can tell yet"
    found = world.rotate(*leak.reason)
    assert (found.by["f"], found.by["f.r1"], found.code) == ("unproven", "unproven", 4)
    assert world.verify().by["f.r1"] == "revoked-key"
    assert leak.clear("f", "f.r1").said == (GOOD, "intact", 0)


def test_one_that_was_sealed_before_the_leak_stays_proven(world: World) -> None:
    killed(world)
    world.new_key()
    resume(world)
    leak = Leak(world)
    leak.new = world.new_key()
    assert world.rotate(*leak.reason).said == (RESEALED | {"v": "resealed"}, None, 0)
    assert leak.clear().said == (GOOD | {"v": "intact"}, "intact", 0)


def test_one_whose_recorder_never_died_stays_proven_whenever_it_was_begun(leak: Leak) -> None:
    """What it seals it has in memory: with the old key alone nobody could have changed it."""
    world = leak.world
    with open_recorder(world.store(), "v") as recorder:
        for data in events("v", "honest"):
            recorder.write(data, runs.duration(data))
        leak.new = world.new_key()
        recorder.seal()
    assert world.signers("v") == {leak.new}
    assert world.rotate(*leak.reason).said == (RESEALED | {"v": "already"}, None, 0)
    assert leak.clear().said == (GOOD | {"v": "intact"}, "intact", 0)


def test_one_whose_bytes_somebody_vouches_for_is_intact_again(leak: Leak) -> None:
    world = leak.world
    killed(world)
    leak.new = world.new_key()
    resume(world)
    assert world.rotate(*leak.reason).by["v"] == "unproven"
    sha256 = sha256_hex((world.goldens / "v.steps.jsonl").read_bytes())
    (world.here / "accepted").write_text(f"{sha256}  v\n")
    assert world.rotate(*leak.reason, "--accept-unproven", "@accepted").by == ALREADY | {"v": "resealed"}
    assert leak.clear().said == (GOOD | {"v": "intact"}, "intact", 0)


def test_a_run_that_ended_under_a_replaced_key_is_sealed_by_no_later_one(leak: Leak) -> None:
    world = leak.world
    forged(leak.thief, killed(world), ended=True)
    leak.new = world.new_key()
    with pytest.raises(KeyringError, match="which has been replaced since"):
        resume(world)
    assert world.verify().said == (GOOD | {"v": "unsealed"}, "intact", 3)
    # An honest one is taken by its hash, which somebody must be able to vouch for.
    sha256 = sha256_hex((world.goldens / "v.steps.jsonl").read_bytes())
    (world.here / "accepted").write_text(f"{sha256}  v\n")
    assert world.rotate(*SCHEDULED, "--accept-unproven", "@accepted").by == RESEALED | {"v": "resealed"}
    assert world.verify().said == (GOOD | {"v": "intact"}, "intact", 0)


def test_a_run_that_ended_under_the_active_key_is_sealed_though_its_beginning_is_old(world: World) -> None:
    killed(world)
    new = world.new_key()
    with resuming(world):
        pass
    assert world.verify().by["v"] == "unsealed"
    resume(world)
    assert world.signers("v") == {new}
    assert world.verify().said == (GOOD | {"v": "intact"}, "intact", 0)


def test_a_key_replaced_just_before_the_seal_of_a_run_found_with_its_end_does_not_seal_it(world: World) -> None:
    killed(world, lines=4)
    with resuming(world) as recorder:
        world.new_key()
        with pytest.raises(KeyringError, match="which has been replaced since"):
            recorder.seal()
    assert not (world.goldens / "v.steps.jsonl.sig").exists()


def test_a_key_revoked_while_the_run_goes_on_is_not_vouched_for(leak: Leak) -> None:
    world = leak.world
    killed(world)
    leak.new = world.new_key()
    with resuming(world) as recorder:
        world.rotate(*leak.reason)
        with pytest.raises(KeyringError, match=f"key {world.old} was revoked while run v was recorded"):
            recorder.seal()
    assert not (world.goldens / "v.steps.jsonl.sig").exists()


def test_a_run_under_a_revoked_key_does_not_go_on(leak: Leak) -> None:
    world = leak.world
    killed(world)
    assert leak.respond().by["v"] == "live"
    with pytest.raises(TamperedError, match="revoked") as refusal:
        resume(world)
    assert refusal.value.verdict == "revoked-key"


@pytest.mark.parametrize("lines", [1, 2])
def test_a_file_put_there_with_a_replaced_key_and_no_line_does_not_go_on(leak: Leak, lines: int) -> None:
    world = leak.world
    forged(leak.thief, runs.FILE_ID)
    path = world.goldens / "v.steps.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    world.new_key()
    with pytest.raises(TamperedError, match="the ledger does not know run v") as refusal:
        resume(world)
    assert refusal.value.verdict == "unlisted"


def test_of_a_file_that_the_ledger_does_not_know_more_than_the_first_line_is_believed_by_nobody(leak: Leak) -> None:
    forged(leak.thief, runs.FILE_ID)
    with pytest.raises(TamperedError, match="the ledger does not know run v"):
        resume(leak.world)


def test_a_run_that_the_new_key_began_does_not_go_on_after_lines_of_the_old_one(leak: Leak) -> None:
    world = leak.world
    leak.new = world.new_key()
    forged(leak.thief, killed(world))
    with pytest.raises(TamperedError, match=f"it began under {leak.new}, and this is under {world.old}"):
        resume(world)


def test_nobody_with_the_weaker_key_alone_makes_up_a_run_to_be_gone_on_with(pair: World) -> None:
    thief = Thief(pair, pair.secret())
    forged(thief, runs.FILE_ID)
    thief.append(draft(Open, run_id="v", file_id=runs.FILE_ID))
    pair.record("d")
    with pytest.raises(KeyringError, match="no ed25519 key has signed that run v began") as refusal:
        resume(pair)
    assert refusal.value.verdict == "unknown-key"


def test_a_stronger_key_on_the_seal_does_not_vouch_for_what_a_leaked_weaker_one_signed(pair: World) -> None:
    leak = Leak(pair)
    strong = next(kid for kid in pair.states() if kid != pair.old)
    forged(Thief(pair, pair.secret()), killed(pair))
    leak.new = pair.new_key()
    resume(pair)
    assert pair.verify().said == (GOOD | {"v": "intact"}, "intact", 0), "nobody can tell yet"
    done = pair.rotate(*leak.reason, "--safe", strong)
    assert done.said == (RESEALED | {"v": "unproven"}, None, 4)
    assert pair.verify().by["v"] == "revoked-key"
    assert leak.clear("v").said == (GOOD, "intact", 0)


def test_without_a_ledger_no_run_goes_on_under_another_key(git: World) -> None:
    forged_by = Thief(git, git.secret())
    runs.record(git.store(), "v", events("v", "honest")[:2], sealed=False)
    forged(forged_by, runs.FILE_ID)
    git.new_key()
    # Nothing but the key that was replaced says that it is honest.
    with pytest.raises(KeyringError, match="which has been replaced"):
        resume(git)
    assert not (git.goldens / "v.steps.jsonl.sig").exists()
