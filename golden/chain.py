"""Chain: one MAC per line, each over the line and the MAC before it, for writing and for walking.

Does no I/O: bytes in, bytes or an event out. Normative text: docs/format.md, "Events".
"""

from __future__ import annotations

import hmac

from golden.canonical import is_canonical
from golden.errors import FormatError, KeyringError, LimitError, TamperedError
from golden.event import MAC_LENGTH, MAC_SUFFIX, Event, RunResume, Signing, parse_event
from golden.keyring import HmacKey, Keyring, b64, unb64

NO_MAC = bytes(32)
_MAC_MEMBER = b',"mac":"'
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class Chain:
    """The running MAC of one file under one event key (32 bytes), starting after the MAC `previous`."""

    def __init__(self, event_key: bytes, previous: bytes = NO_MAC) -> None:
        # Slow to import and not needed to verify a sealed file.
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.hmac import HMAC

        self.previous = previous
        self._hmac = HMAC(event_key, SHA256())
        self._hmac.update(b"golden/v1 5 event 32 ")

    def mac(self, body: bytes) -> bytes:
        """Return the MAC of the next line, whose bytes before `,"mac"` are `body`, and move on."""
        state = self._hmac.copy()
        state.update(b"%b %d " % (self.previous, len(body)))
        state.update(body)
        self.previous = state.finalize()
        return self.previous

    def sign(self, encoded: bytes) -> bytes:
        """Return the next line, LF included, for an encoded event that has no `mac` yet."""
        body = encoded[:-1]
        return b'%b,"mac":"%b"}\n' % (body, b64(self.mac(body)))


def split_line(line: bytes) -> tuple[bytes, bytes]:
    """Return (bytes before `,"mac"`, the 43 characters) of a line without LF; raises FormatError."""
    body, suffix = line[:-MAC_SUFFIX], line[-MAC_SUFFIX:]
    mac = suffix[len(_MAC_MEMBER) : -2]
    framed = suffix.startswith(_MAC_MEMBER) and suffix.endswith(b'"}')
    if not framed or len(mac) != MAC_LENGTH or mac.translate(None, _ALPHABET) or not body:
        raise FormatError("line does not end in its MAC", hint="compare the line with a backup")
    return body, mac


class Walk:
    """A forward pass over the lines of one golden file: each is checked for form, place and MAC.

    Attributes: `seq` and `offset` of the next line; `ended` after `run_end`; `signing` as now in force.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._chain: Chain | None = None
        self._run_id = ""
        self.signing: Signing | None = None
        self.seq = 0
        self.offset = 0
        self.ended = False

    @classmethod
    def after(cls, keyring: Keyring, signing: Signing, run_id: str, line: bytes, offset: int) -> Walk:
        """Return a walk through run `run_id` that goes on after `line`, which stands before `offset`.

        The line's own MAC is not checked; the next line's vouches for it.

        Raises:
            FormatError: `line` is no event.
            KeyringError: the key is not at hand.
        """
        event = parse_event(line)
        walk = cls(keyring)
        walk._run_id, walk.signing = run_id, signing
        walk.seq, walk.offset, walk.ended = event.seq + 1, offset, event.event_type == "run_end"
        walk._chain = walk._enter(signing, unb64(split_line(line)[1]) or NO_MAC)
        return walk

    @property
    def mac(self) -> bytes:
        """The MAC of the line checked last (32 bytes)."""
        return self._chain.previous if self._chain else NO_MAC

    def feed(self, line: bytes) -> Event:
        """Check the next line (without LF) and return its event.

        Raises:
            KeyringError: the key that a `golden` member names is not at hand.
            LimitError: the line nests deeper than the format allows.
            TamperedError: anything wrong with the line; `seq` and `offset` say which it is.
        """
        try:
            body, mac = split_line(line)
            if not is_canonical(body + b"}"):
                raise FormatError("line is not in canonical form", hint="compare the line with a backup")
            event = parse_event(line)
            self._check_place(event)
        except LimitError:
            raise
        except FormatError as error:
            raise TamperedError(
                f"line {self.seq + 1}: {error.problem}",
                hint="restore the file from backup; do not re-sign it",
            ) from None
        chain = self._chain if event.golden is None else self._enter(event.golden, self.mac)
        if chain is None or not hmac.compare_digest(b64(chain.mac(body)), mac):
            raise TamperedError(
                f"line {self.seq + 1}: MAC does not match",
                hint="restore the file from backup; do not re-sign it",
            )
        self._chain = chain
        self.signing = event.golden or self.signing
        self.seq += 1
        self.offset += len(line) + 1
        self.ended = event.event_type == "run_end"
        return event

    def _check_place(self, event: Event) -> None:
        hint = "compare the line with a backup"
        if event.seq != self.seq:
            raise FormatError(f"seq is {event.seq}, expected {self.seq}", hint=hint)
        if (event.event_type == "run_start") is (self.seq > 0):
            raise FormatError(f"{event.event_type} cannot stand here", hint=hint)
        if self.ended:
            raise FormatError("event after run_end", hint=hint)
        if self.seq == 0:
            self._run_id = event.run_id
        elif event.run_id != self._run_id:
            raise FormatError(f'run_id is "{event.run_id}", expected "{self._run_id}"', hint=hint)
        if event.golden and (event.golden.v != 1 or event.golden.alg != "hmac-sha256"):
            raise FormatError("member golden is not of this version", hint=hint)
        if isinstance(event.data, RunResume) and self.signing and event.golden:
            if event.golden.file_id != self.signing.file_id:
                raise FormatError("file_id changes within the file", hint=hint)
            if event.data.prefix.bytes != self.offset:
                raise FormatError("prefix of the resume is not what stands before it", hint=hint)

    def _enter(self, signing: Signing, previous: bytes) -> Chain:
        key = self._keyring.get(signing.kid)
        if not isinstance(key, HmacKey):
            raise KeyringError(
                f"key {signing.kid} is not at hand",
                hint="set GOLDEN_SECRET_FILE (or GOLDEN_SECRET_PREVIOUS) to the secret that recorded it",
                verdict="unknown-key",
            )
        return Chain(key.event_key(self._run_id, signing.file_id), previous)
