"""Repeats: the same gate again, in processes of their own with another hash seed, which tells flaky from changed."""

from __future__ import annotations

import os
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
from golden.store import GoldenFile
from replay.judgement import DIFFERS, Judgement

# What one run of the gate says of one recording: its verdict, and where it diverged.
_Said = tuple[str, str, str, str]
_SECONDS = 10
_NEVER = frozenset({"repeat", "places", "run_option", "json", "quiet", "verbose", "junit", "html", "sarif", "github"})


class Repeats:
    """What repeated runs of the gate said of each recording, by its path."""

    def __init__(self, times: int, files: Sequence[GoldenFile], environ: Mapping[str, str]) -> None:
        self._times = times
        self._said: dict[str, list[tuple[_Said, str]]] = {}
        for _ in range(times - 1):
            # As an attacker of hash tables would have it: any number will do, and is told.
            seed = str(int.from_bytes(os.urandom(4), "big"))
            for path, said in _once(files, {**environ, "PYTHONHASHSEED": seed}):
                self._said.setdefault(path, []).append((said, seed))

    def settled(self, judgement: Judgement) -> Judgement:
        """Return the judgement on a recording after all runs: `flaky` where they do not agree."""
        if self._times == 1:
            return judgement
        here = _said(msgspec.to_builtins(judgement))
        others = self._said.get(judgement.path, [])
        unlike = [(said, seed) for said, seed in others if said != here]
        if not unlike:
            return judgement
        by = Counter(said[0] for said in (here, *(said for said, _ in others)))
        counts = ", ".join(f"{word} {counted(count, 'time')}" for word, count in sorted(by.items()))
        if len(by) == 1:
            counts += ", each time in another way"
        seed = next((seed for said, seed in others if said[0] != "matched"), unlike[0][1])
        return replace(
            judgement,
            verdict="flaky",
            code=max(judgement.code, DIFFERS),
            problem=f"judged {counted(len(others) + 1, 'time')}: {counts}",
            hint=f"PYTHONHASHSEED={seed} golden replay {judgement.run_id} may show it: look for what chance orders, or"
            " another run leaves behind",
        )


def _once(files: Sequence[GoldenFile], environ: Mapping[str, str]) -> list[tuple[str, _Said]]:
    # By chance, so that what one run leaves behind for the next does not stay hidden.
    shuffled = sorted(files, key=lambda _: os.urandom(8))
    with tempfile.TemporaryDirectory() as folder:
        listed = os.path.join(folder, "files")
        with open(listed, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{each.place}\n" for each in shuffled)
        # Never a package `golden` or `cli` of the checkout (-P).
        argv = [sys.executable, "-P", "-m", "golden", "gate", "--json", *_same_options(), "--", f"@{listed}"]
        with subprocess.Popen(  # noqa: S603  ourselves, with the options that we were given
            argv, env=dict(environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as again:
            try:
                written, _ = again.communicate()
            except BaseException:
                # It ends what it has started before it ends itself.
                again.terminate()
                with suppress(subprocess.TimeoutExpired):
                    again.wait(_SECONDS)
                again.kill()
                raise
    found = []
    for line in written.splitlines():
        with suppress(msgspec.DecodeError):
            members = msgspec.json.decode(line)
            if members.get("schema") == "golden.gate/1" and "run_id" in members:
                found.append((members["path"], _said(members)))
    return found


def _said(members: dict[str, Any]) -> _Said:
    found = members.get("divergence") or {}
    place = [str(found.get(name)) for name in ("cause", "step_id", "path", "actual")]
    return members["verdict"], f"{place[0]} of {place[1]}", place[2], place[3]


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
