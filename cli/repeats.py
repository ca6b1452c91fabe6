"""Repeats: the same gate again, in processes of their own with another hash seed, which tells flaky from changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from cli.render import counted
from golden.errors import GoldenError, StoreError, UsageError
from golden.store import GoldenFile
from replay.judgement import DIFFERS, UNDECIDED, Judgement, worst

_SECONDS = 10
# A run that stops early, or believes an earlier one, says nothing about chance.
_NEVER = frozenset(
    [
        "repeat",
        "places",
        "run_option",
        "json",
        "quiet",
        "verbose",
        "junit",
        "html",
        "sarif",
        "github",
        "fail_fast",
        "no_cache",
    ]
)


class _Said(msgspec.Struct, frozen=True):
    """What one run of the gate says of one recording: its verdict, and where it diverged."""

    verdict: str
    code: int
    place: tuple[str, ...] = ()


class Repeats:
    """What repeated runs of the gate said of each recording, by its path."""

    def __init__(self, times: int, files: Sequence[GoldenFile], environ: Mapping[str, str]) -> None:
        self._times = times
        self._said: dict[str, list[tuple[_Said, str]]] = {}
        for _ in range(times - 1):
            # As an attacker of hash tables would have it: any number will do, and is told.
            seed = str(int.from_bytes(os.urandom(4), "big"))
            said = _once(files, {**environ, "PYTHONHASHSEED": seed})
            for file in files:
                # What it does not speak of is gone meanwhile, or was never found.
                found = said.get(_key(file.place), _Said("not judged", UNDECIDED))
                self._said.setdefault(file.place, []).append((found, seed))

    def settled(self, judgement: Judgement) -> Judgement:
        """Return the judgement on a recording after all runs: `flaky` where they do not agree."""
        if self._times == 1:
            return judgement
        here = _said(msgspec.to_builtins(judgement))
        others = self._said[judgement.path]
        unlike = [(said, seed) for said, seed in others if said != here]
        if not unlike:
            return judgement
        by = Counter(said.verdict for said in (here, *(said for said, _ in others)))
        counts = ", ".join(f"{word} {counted(count, 'time')}" for word, count in sorted(by.items()))
        if len(by) == 1:
            counts += ", each time in another way"
        seed = next((seed for said, seed in others if said.verdict != "matched"), unlike[0][1])
        return replace(
            judgement,
            verdict="flaky",
            code=worst([DIFFERS, judgement.code, *(said.code for said, _ in others)]),
            problem=f"judged {counted(len(others) + 1, 'time')}: {counts}",
            hint=f"PYTHONHASHSEED={seed} golden replay {judgement.run_id} may show it: look for what chance orders, or"
            " another run leaves behind",
        )


def _once(files: Sequence[GoldenFile], environ: Mapping[str, str]) -> dict[str, _Said]:
    """Return what one more run says of each file, by `_key`; raises GoldenError where it came to no end."""
    # By chance, so that what one run leaves behind for the next does not stay hidden.
    shuffled = sorted(files, key=lambda _: os.urandom(8))
    with tempfile.TemporaryDirectory() as folder:
        listed = os.path.join(folder, "files")
        with open(listed, "w", encoding="utf-8", errors="surrogateescape") as file:
            # From the root: no name begins with what means something else in a list.
            file.writelines(f"{os.path.abspath(each.place)}\n" for each in shuffled)
        # Never a package `golden` or `cli` of the checkout (-P).
        again = [sys.executable, "-P", "-m", "golden", "gate", "--json", "--no-cache"]
        with subprocess.Popen(  # noqa: S603  ourselves, with the options that we were given
            [*again, *_same_options(), "--", f"@{listed}"],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as running:
            try:
                written, _ = running.communicate()
            except BaseException:
                # It ends what it has started before it ends itself.
                running.terminate()
                with suppress(subprocess.TimeoutExpired):
                    running.wait(_SECONDS)
                running.kill()
                raise
    found: dict[str, _Said] = {}
    ended = False
    for line in written.splitlines():
        with suppress(msgspec.DecodeError):
            members = msgspec.json.decode(line)
            ended = members.get("schema") == "golden.summary/1"
            if members.get("schema") == "golden.gate/1" and "run_id" in members:
                found[_key(members["path"])] = _said(members)
    if not ended:
        raise _broken_off(running.returncode, environ["PYTHONHASHSEED"])
    return found


def _key(path: str) -> str:
    """Return a path as both sides know it, though a name that is not UTF-8 has no JSON."""
    return os.path.abspath(path).encode("utf-8", "backslashreplace").decode()


def _broken_off(code: int, seed: str) -> GoldenError:
    how = f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
    error = UsageError if code == 2 else StoreError  # noqa: PLR2004  misuse stays misuse
    return error(
        f"a repetition {how} before it had judged everything",
        hint=f"see what it said; PYTHONHASHSEED={seed} golden gate does the same once more",
    )


def _said(members: dict[str, Any]) -> _Said:
    found = members.get("divergence") or {}
    place = tuple(str(found.get(name)) for name in ("cause", "step_id", "path", "actual"))
    return _Said(members["verdict"], members["code"], place)


def _same_options() -> list[str]:
    """Return the options that this command was given, as they would be typed."""
    context = click.get_current_context()
    found: list[str] = []
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if not isinstance(option, click.Option) or option.name in _NEVER or value in (None, False, ()):
            continue
        if option.is_flag:
            found.append(option.opts[0])
        else:
            for one in value if option.multiple else (value,):
                found += [option.opts[0], str(one)]
    return found
