"""Anchors kept at real places by real programs, found there again, and picked out of what a responder gives."""

import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from golden import anchors
from golden.anchors import Found, Kept, given, keep, known
from golden.clock import timestamp
from golden.directory import Directory
from golden.errors import TamperedError, UsageError
from golden.keyring import Keyring
from golden.ledger import Anchor, Open, draft
from golden.memory import Memory
from golden.repository import REF, Repository
from golden.store import Store
from tests import runs
from tests.unit.golden.test_repository import committed, git

OF_ANOTHER = [Anchor(f"{n:032x}", n, f"{n:064x}") for n in range(1, 4)]
ANCHOR = OF_ANOTHER[0]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
MAKERS: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to(path.parent / "elsewhere"),
    "dangling link": lambda path: path.symlink_to(path.parent / "nowhere"),
    "fifo": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "no folder": lambda path: path.parent.rmdir(),
}


class Site:
    """A golden directory whose ledger can be lengthened, and what anchors it had."""

    def __init__(self, top: Path, memory: Memory | None = None) -> None:
        self.folder = top / "goldens"
        self.memory = memory
        self.anchors: list[Anchor] = []
        self.grow()

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    def grow(self, lines: int = 1) -> Anchor:
        """Append lines to the ledger, the first of them where there is none, and return its anchor."""
        store = Store(self.folder, runs.keyring(), durability="never", memory=self.memory)
        directory = store.prepare()
        for n in range(lines):
            with directory.writing():
                run_id = f"r-{directory.fold.lines}-{n}"
                directory.append(draft(Open, run_id=run_id, file_id=runs.FILE_ID), durable=False)
        self.anchors.append(directory.fold.anchor)
        return directory.fold.anchor

    def seen(self) -> Directory:
        return Directory(str(self.folder), runs.keyring(), memory=self.memory)

    def known(self, *places: str) -> Found:
        return known(self.seen(), places)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file for anchors that is not there yet."""
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere/anchors"


def program(tmp_path: Path, body: str) -> str:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return f'exec:["{path}","one","two words"]'


def extends(found: Found) -> dict[Anchor, str | None]:
    return {one.anchor: one.extends for one in found.kept}


# A file


def test_a_file_gets_one_line_with_the_time_and_is_the_users_alone(place: Path) -> None:
    assert keep(ANCHOR, [f"file:{place}"], "/") == []
    assert re.fullmatch(rf"{re.escape(str(ANCHOR))}  {TIME}\n", place.read_text())
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_the_newest_anchor_is_not_written_twice(place: Path) -> None:
    for anchor in (OF_ANOTHER[0], OF_ANOTHER[0], OF_ANOTHER[1], OF_ANOTHER[1], OF_ANOTHER[0]):
        assert keep(anchor, [f"file:{place}"], "/") == []
    assert Anchor.find(place.read_text()) == OF_ANOTHER[:2]
    assert len(place.read_text().splitlines()) == 3


@pytest.mark.parametrize("cut", [1, 10, 40, 100, 130])
def test_half_a_line_is_not_glued_to_the_next(place: Path, cut: int) -> None:
    keep(OF_ANOTHER[0], [f"file:{place}"], "/")
    whole = place.read_bytes()
    place.write_bytes(whole + whole[:-cut].replace(b" 1 ", b" 7 "))
    keep(OF_ANOTHER[1], [f"file:{place}"], "/")
    first, half, last = place.read_text().splitlines()
    assert (Anchor.find(first), Anchor.find(last)) == ([OF_ANOTHER[0]], [OF_ANOTHER[1]])
    assert half.encode() == whole[:-cut].replace(b" 1 ", b" 7 ")


def test_a_torn_line_of_the_same_anchor_does_not_count_as_kept(place: Path) -> None:
    place.write_text(f"{ANCHOR}  2026-01-01T")
    keep(ANCHOR, [f"file:{place}"], "/")
    assert len(place.read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_no_file_is_left_alone_and_the_next_place_served(place: Path, tmp_path: Path, kind: str) -> None:
    (place.parent / "elsewhere").touch() if kind != "no folder" else None
    MAKERS[kind](place)
    other = tmp_path / "other"
    began = time.monotonic()
    (note,) = keep(ANCHOR, [f"file:{place}", f"file:{other}"], "/")
    assert note.startswith(f"the anchor is not kept in file:{place}: ")
    assert Anchor.find(other.read_text()) == [ANCHOR]
    assert time.monotonic() - began < 5
    assert kind != "link" or not (place.parent / "elsewhere").read_bytes()
    assert not (place.parent / "nowhere").exists()


def test_recorders_at_the_same_time_lose_no_line(place: Path) -> None:
    many = [Anchor(f"{n:032x}", n, f"{n:064x}") for n in range(1, 60)]
    with ThreadPoolExecutor(8) as pool:
        notes = list(pool.map(lambda anchor: keep(anchor, [f"file:{place}"], "/"), many))
    assert not any(notes)
    lines = place.read_text().splitlines()
    assert {found for line in lines for found in Anchor.find(line)} == set(many)
    assert all(re.fullmatch(rf"golden-anchor/v1 \w+ \d+ \w+  {TIME}", line) for line in lines)


def test_a_file_that_somebody_holds_is_not_waited_for_for_ever(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchors, "LOCK_SECONDS", 0.1)
    with place.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (note,) = keep(ANCHOR, [f"file:{place}"], "/")
    assert note.endswith("somebody holds it")


def test_a_full_disk_is_a_note() -> None:
    # Not a regular file; what counts is that nothing is raised.
    (note,) = keep(ANCHOR, ["file:/dev/full"], "/")
    assert "file:/dev/full" in note


@pytest.mark.parametrize("text", ["", "nonsense", "env:NAME", "keyring:name", "exec:[]", "exec:rm -rf", "file:"])
def test_a_place_that_is_none_is_a_note(text: str) -> None:
    assert len(keep(ANCHOR, [text], "/")) == 1


# A program


def test_a_program_is_given_the_line_and_nothing_secret(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    body = f'cat > {tmp_path}/given; env > {tmp_path}/env; pwd > {tmp_path}/pwd; echo "$@" > {tmp_path}/argv; echo loud'
    place = program(tmp_path, f"{body}; echo louder >&2")
    env = {"PATH": os.environ["PATH"], "GOLDEN_SECRET": "canary", "VAULT_ADDR": "https://vault"}
    assert keep(ANCHOR, [place], "/", env) == []
    assert (tmp_path / "given").read_text() == f"{ANCHOR}\n"
    assert (tmp_path / "pwd").read_text() == "/\n"
    assert (tmp_path / "argv").read_text() == "one two words\n"
    assert "VAULT_ADDR=https://vault" in (tmp_path / "env").read_text()
    assert "canary" not in (tmp_path / "env").read_text()
    assert capfd.readouterr() == ("", "")


def test_a_program_sees_nothing_of_this_process_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "canary")
    assert keep(ANCHOR, [program(tmp_path, f"env > {tmp_path}/env")], "/") == []
    assert "canary" not in (tmp_path / "env").read_text()


def test_a_program_that_does_not_listen_is_no_failure(tmp_path: Path) -> None:
    assert keep(ANCHOR, [program(tmp_path, "exec 0<&-; exit 0")], "/") == []


@pytest.mark.parametrize("body,why", [("exit 3", "exit code 3"), ("kill -9 $$", "signal 9")])
def test_a_program_that_fails_is_a_note_without_its_words(tmp_path: Path, body: str, why: str) -> None:
    (note,) = keep(ANCHOR, [program(tmp_path, f"echo canary >&2; echo canary; {body}")], "/")
    assert note == f"the anchor is not kept in exec:{tmp_path}/program: it ended with {why}"


def test_a_program_that_is_not_there_is_a_note() -> None:
    (note,) = keep(ANCHOR, ['exec:["/no/such/program"]'], "/")
    assert "cannot be started" in note


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golden.program.SECONDS", 0.5)
    place = program(tmp_path, f"sleep 60 & echo $! $$ > {tmp_path}/pids; wait")
    began = time.monotonic()
    (note,) = keep(ANCHOR, [place], "/")
    assert "takes longer than 0.5 seconds" in note
    assert time.monotonic() - began < 10
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        state = Path(f"/proc/{pid}/stat")
        for _ in range(100):
            # Nobody may be there to bury a child whose parent is gone.
            if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.02)
        else:
            pytest.fail(f"{pid} is alive")


def test_a_program_that_says_a_lot_is_not_read(tmp_path: Path) -> None:
    assert keep(ANCHOR, [program(tmp_path, "head -c 30000000 /dev/zero; head -c 30000000 /dev/zero >&2")], "/") == []


# Git


def test_git_keeps_it_in_the_repository_of_the_directory(site: Site) -> None:
    git(site.folder.parent, "init", "-q")
    assert keep(site.anchors[0], ["git"], str(site.folder)) == []
    assert git(site.folder, "log", "--format=%s", REF) == str(site.anchors[0])


def test_no_repository_and_no_git_are_notes(site: Site, tmp_path: Path) -> None:
    (note,) = keep(ANCHOR, ["git"], str(site.folder))
    assert note.startswith("the anchor is not kept in git: ")
    (note,) = keep(ANCHOR, ["git"], str(site.folder), {"PATH": str(tmp_path)})
    assert "git cannot be started" in note


# What a responder gives


def test_a_line_is_found_in_any_text(site: Site) -> None:
    first = site.anchors[0]
    site.grow()
    assert given([f'  verify said: "{first}", at 3 am'], site.seen()) == first


def test_one_anchor_is_taken_as_it_is_so_that_a_forged_ledger_is_found_out(site: Site, place: Path) -> None:
    place.write_text(f"{ANCHOR}  {timestamp()}\n{ANCHOR}\n")
    for text in (str(ANCHOR), f"@{place}"):
        anchor = given([text], site.seen())
        assert anchor == ANCHOR
        finding = Directory(str(site.folder), runs.keyring(), anchors=[anchor]).finding
        assert finding is not None
        assert finding.verdict == "rolled-back"


def test_each_directory_is_given_its_own(site: Site, tmp_path: Path, place: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Site(tmp_path / "second")
    place.write_text("\n".join(map(str, [*OF_ANOTHER, second.anchors[0], site.anchors[0]])))
    for one in (site, second):
        assert given([f"@{place}"], one.seen()) == one.anchors[0]
        assert given([str(site.anchors[0]), str(second.anchors[0])], one.seen()) == one.anchors[0]


def test_several_of_one_directory_are_refused_with_their_number(site: Site, place: Path) -> None:
    site.grow()
    site.grow()
    place.write_text("\n".join(map(str, [*OF_ANOTHER, *site.anchors])))
    with pytest.raises(UsageError, match=r"^3 anchors of ") as caught:
        given([f"@{place}"], site.seen())
    assert "golden anchors" in caught.value.hint


def test_memory_is_believed_before_the_ledger_whose_directory_it_is(site: Site, tmp_path: Path, place: Path) -> None:
    site.memory = Memory(str(tmp_path / "state"))
    site.seen().remember()
    true = site.anchors[0]
    (tmp_path / "forged").mkdir()
    forged = Site(tmp_path / "forged")
    shutil.copy(forged.ledger, site.ledger)
    place.write_text(f"{true}\n{forged.anchors[0]}\n")
    assert given([f"@{place}"], site.seen()) == true


def test_without_a_ledger_one_anchor_is_one_and_two_are_refused(tmp_path: Path) -> None:
    nothing = Directory(str(tmp_path), runs.keyring())
    assert given([str(ANCHOR)], nothing) == ANCHOR
    with pytest.raises(UsageError, match="which is its own"):
        given([str(anchor) for anchor in OF_ANOTHER], nothing)


@pytest.mark.parametrize(
    "text,why",
    [
        ("", "is no anchor"),
        ("golden-anchor/v1 0 1 2", "is no anchor"),
        (str(ANCHOR)[:-1], "is no anchor"),
        ("@/no/such/file", "cannot be read"),
        ("@/dev/null", "holds no anchor"),
        ("@", "cannot be read"),
        ("backup:last", "not supported yet"),
        ("git:HEAD", "no git repository"),
    ],
)
def test_what_gives_no_anchor_is_refused(site: Site, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        given([text], site.seen())


def test_none_of_this_directory_is_refused(site: Site) -> None:
    with pytest.raises(UsageError, match="no anchor that is given is of"):
        given([str(anchor) for anchor in OF_ANOTHER], site.seen())


def test_one_anchor_for_several_directories_is_that_of_one(site: Site) -> None:
    assert given([str(ANCHOR)], site.seen()) == ANCHOR
    assert given([str(site.anchors[0])], site.seen(), alone=False) == site.anchors[0]
    with pytest.raises(UsageError, match=f"of {site.folder}"):
        given([str(ANCHOR)], site.seen(), alone=False)


def test_a_moment_before_its_line_is_passed_over_where_another_is_possible(site: Site, place: Path) -> None:
    late = "2101-01-01T00:00:00.000000Z"
    for times, expected in (
        (["2000-01-01T00:00:00.000000Z"], ("2000-01-01T00:00:00.000000Z", False)),
        (["2000-01-01T00:00:00.000000Z", late], (late, True)),
    ):
        place.write_text("".join(f"{site.anchors[0]}  {time}\n" for time in times))
        (one,) = site.known(f"file:{place}").kept
        assert (one.stored, one.possible) == expected


def test_a_revision_gives_the_anchor_that_its_ledger_had(site: Site) -> None:
    top = site.folder.parent
    rev = committed(top, {})
    site.grow(3)
    committed(top, {})
    assert given([f"git:{rev}"], site.seen()) == site.anchors[0]
    assert given(["git:HEAD~1"], site.seen()) == site.anchors[0]
    assert given(["git:HEAD"], site.seen()) == site.anchors[1]


def test_the_key_of_a_ledger_at_a_revision_need_not_be_known(site: Site) -> None:
    rev = committed(site.folder.parent, {})
    stranger = Directory(str(site.folder), Keyring())
    assert given([f"git:{rev}"], stranger) == site.anchors[0]


def test_a_revision_without_a_ledger_or_with_a_damaged_one_gives_none(site: Site) -> None:
    top = site.folder.parent
    site.grow(2)
    good = site.ledger.read_bytes()
    site.ledger.unlink()
    committed(top, {"else": b""})
    committed(top, {"goldens/ledger.jsonl": good.replace(b'"open"', b'"opun"', 1)})
    committed(top, {"goldens/ledger.jsonl": good.splitlines()[0]})
    committed(top, {"goldens/ledger.jsonl": good})
    for rev in ("HEAD~3", "HEAD~1"):
        with pytest.raises(UsageError, match=r"git has no ledger\.jsonl"):
            given([f"git:{rev}"], site.seen())
    with pytest.raises(TamperedError, match="git:HEAD~2: line 2 of the ledger"):
        given(["git:HEAD~2"], site.seen())


# What can be found


def test_all_that_was_kept_is_found_newest_first_with_what_it_stood_for(
    site: Site, place: Path, tmp_path: Path
) -> None:
    top = site.folder.parent
    git(top, "init", "-q")
    site.memory = Memory(str(tmp_path / "state"))
    places = [f"file:{place}", "git", 'exec:["/bin/true"]']
    first = site.anchors[0]
    keep(first, places[:1], str(site.folder))
    time.sleep(1.1)
    second = site.grow()
    rev = committed(top, {})
    keep(second, places, str(site.folder))
    site.grow()
    site.seen().remember()
    third = site.anchors[-1]
    found = site.known(*places)
    assert found.lines == third.lines == 4
    by = {one.anchor: one for one in found.kept}
    assert by.keys() == {first, second, third}
    assert by[first].where == (f"file:{place}",)
    assert set(by[second].where) == {f"file:{place}", f"git {REF}", f"git:{rev[:12]}"}
    assert by[third].where == ("this host's memory",)
    lines = [msgspec.json.decode(line) for line in site.ledger.read_bytes().splitlines()]
    for anchor, one in by.items():
        line = lines[anchor.lines - 1]
        assert (one.extends, one.timestamp, one.kid, one.runs) == (
            "yes",
            line["timestamp"],
            line["kid"],
            anchor.lines - 1,
        )
    stored = by[first].stored or "", by[second].stored or ""
    assert stored[0] < stored[1]
    assert [one.anchor for one in found.kept if one.stored] == [second, first]
    assert by[third].stored is None
    assert found.notes == ("exec:/bin/true cannot be asked for what it was given: look there yourself",)


def test_a_ledger_that_was_cut_does_not_extend_what_is_longer(site: Site, place: Path) -> None:
    for _ in range(3):
        keep(site.grow(), [f"file:{place}"], "/")
    site.ledger.write_bytes(b"".join(site.ledger.read_bytes().splitlines(keepends=True)[:4]))
    assert extends(site.known(f"file:{place}")) == {
        site.anchors[1]: "yes",
        site.anchors[2]: "yes",
        site.anchors[3]: "no",
    }


def test_a_ledger_that_was_cut_and_went_on_is_a_fork(site: Site, place: Path) -> None:
    keep(site.grow(2), [f"file:{place}"], "/")
    site.ledger.write_bytes(b"".join(site.ledger.read_bytes().splitlines(keepends=True)[:2]))
    site.grow(3)
    (one,) = site.known(f"file:{place}").kept
    assert one == Kept(site.anchors[1], (f"file:{place}",), one.stored, extends="no")


def test_a_forged_ledger_of_a_new_directory_is_found_out_by_memory_and_by_git(site: Site, tmp_path: Path) -> None:
    committed(site.folder.parent, {})
    site.memory = Memory(str(tmp_path / "state"))
    site.seen().remember()
    (tmp_path / "forged").mkdir()
    shutil.copy(Site(tmp_path / "forged").ledger, site.ledger)
    assert extends(site.known()) == {site.anchors[0]: "other directory"}


def test_a_ledger_that_is_gone_extends_nothing(site: Site, place: Path, tmp_path: Path) -> None:
    keep(site.anchors[0], [f"file:{place}"], "/")
    committed(site.folder.parent, {})
    shutil.rmtree(site.folder)
    assert extends(site.known(f"file:{place}")) == {site.anchors[0]: "no"}


def test_without_ledger_memory_and_history_nobody_knows_whose_an_anchor_is(tmp_path: Path, place: Path) -> None:
    keep(ANCHOR, [f"file:{place}"], "/")
    found = known(Directory(str(tmp_path), runs.keyring()), [f"file:{place}"])
    assert extends(found) == {ANCHOR: None}


def test_anchors_of_other_directories_are_passed_over_and_counted(site: Site, place: Path) -> None:
    for anchor in (*OF_ANOTHER, site.anchors[0]):
        keep(anchor, [f"file:{place}"], "/")
    found = site.known(f"file:{place}")
    assert extends(found) == {site.anchors[0]: "yes"}
    assert found.notes == ("anchors of other directories were passed over: 3",)


def test_a_damaged_ledger_is_read_as_far_as_it_goes(site: Site, place: Path) -> None:
    for _ in range(3):
        keep(site.grow(), [f"file:{place}"], "/")
    lines = site.ledger.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"open", b"opun")
    site.ledger.write_bytes(b"".join(lines))
    found = site.known(f"file:{place}")
    assert extends(found) == {site.anchors[1]: "yes", site.anchors[2]: "no", site.anchors[3]: "no"}
    assert found.lines == 3
    assert "as far as line 3" in found.notes[0]


def test_what_stands_in_a_file_of_anchors_is_believed_to_be_anything(site: Site, place: Path) -> None:
    anchor = site.anchors[0]
    place.write_bytes(
        b"\xff\xfe\0 rubbish\n"
        + f"{anchor}\n{anchor}  yesterday\n{anchor}  9999-99-99T99:99\n".encode()
        + f"{anchor}  2026-01-01T00:00:00.000000Z\x1b[2J\n".encode()
    )
    (one,) = site.known(f"file:{place}").kept
    assert (one.stored, one.extends) == (None, "yes")


def test_places_that_fail_are_notes(site: Site, place: Path) -> None:
    place.mkdir()
    found = site.known(f"file:{place}", "git", "nonsense")
    assert found.kept == ()
    assert len(found.notes) == 3


def test_crafted_commits_do_no_harm(site: Site) -> None:
    top = site.folder.parent
    committed(top, {})
    for text in ("no anchor at all", f"{site.anchors[0]} and {OF_ANOTHER[0]}", "x" * 100_000):
        Repository.required(str(site.folder)).keep(text)
    committed(top, {"goldens/ledger.jsonl": b"rubbish\n"})
    committed(top, {"goldens/ledger.jsonl": b""})
    site.ledger.write_bytes(b"")
    assert site.anchors[0] in extends(site.known("git"))
