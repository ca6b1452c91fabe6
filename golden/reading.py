"""Reading: one pass over a file that no seal vouches for: its chain walked, its bytes hashed, what was under way kept.

Judges nothing: what such a file is worth is `verdict`'s business, and what is gone on with is `unfinished`'s.
"""

from __future__ import annotations

import hashlib
from typing import Any

from golden.chain import Walk
from golden.event import EffectData, Event, RunEnd, StepData
from golden.keyring import Keyring
from golden.lines import BLOCK, Splitter, read_full


class Reading:
    """A pass from a file's first byte to its last, by the chain alone; nothing is read twice.

    Attributes, as far as it got: `walk`, by the keys of `keyring`; `first`, the first event; `kids`, the keys that its
    `golden` members name, one for the start and one for each resumption; `pending`, by step index and by (attempt,
    call), the effects of steps without a step event after them; `end`, how the run ended. At its end: `states`, of
    SHA-256 before each MiB and at the end of the last whole line; `rest`, the bytes after that.
    """

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.walk = Walk(keyring)
        self.first: Event | None = None
        self.kids: list[str] = []
        self.pending: dict[int, dict[tuple[int, int], EffectData]] = {}
        self.end: RunEnd | None = None
        self.states: list[Any] = []
        self.rest = b""

    def through(self, fd: int) -> None:
        """Read the file to its end.

        Raises:
            KeyringError, LimitError, TamperedError: as `Walk.feed`; `walk` says how far it got.
            OSError: it cannot be read.
        """
        splitter, running = Splitter(), hashlib.sha256()
        view = memoryview(bytearray(BLOCK))
        states, full, whole = [running.copy()], 0, b""
        position = 0
        while filled := read_full(fd, view, position):
            block = bytes(view[:filled])
            for line in splitter.feed(block):
                self._take(self.walk.feed(line))
            end = block.rfind(b"\n") + 1
            if end:
                full, whole = len(states) - 1, block[:end]
            running.update(block)
            states.append(running.copy())
            position += filled
        # The last whole line may end many blocks before the file does.
        last = states[full].copy()
        last.update(whole)
        self.states = [*states[: full + 1], last]
        self.rest = splitter.rest

    def _take(self, event: Event) -> None:
        data = event.data
        if event.golden is not None:
            self.first = self.first or event
            self.kids.append(event.golden.kid)
        elif isinstance(data, EffectData):
            self.pending.setdefault(data.index, {})[data.attempt, data.call] = data
        elif isinstance(data, StepData):
            self.pending.pop(data.index, None)
        elif isinstance(data, RunEnd):
            self.end = data
