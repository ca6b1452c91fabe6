"""Compat: the four calls of the AOS runbook, kept by name, on top of the real thing.

Signs nothing that does not verify, and loads nothing unverified.
"""

from __future__ import annotations

import os
from itertools import zip_longest
from typing import Any

import msgspec

from golden.aos import aos_mac, same_mac
from golden.canonical import decode
from golden.chain import split_line
from golden.difference import diff
from golden.errors import StoreError, UsageError
from golden.event import MAX_HEADER
from golden.files import StrPath, open_regular
from golden.keyring import Keyring
from golden.lines import blocks
from golden.recording import Recording, refusal
from golden.seal import MAX_SEAL, parse_seal
from golden.store import GoldenFile
from golden.values import value_differences
from golden.verdict import Verdict, verify


class GoldenRecorder:
    """The runbook's calls over a directory of golden files, of this format or of the AOS system.

    Args:
        directory: where relative paths begin.
        secret: the secret's text; at least 32 bytes for files of golden/v1.
    """

    def __init__(self, directory: StrPath, *, secret: str) -> None:
        self.folder = os.fspath(directory)
        self._keyring = Keyring(secret.encode().removesuffix(b"\n"))

    def verify_golden(self, path: StrPath) -> bool:
        """Whether the file is intact; `golden.verify` says why not."""
        return self._verdict(path).verdict == "intact"

    def sign_golden(self, path: StrPath) -> str:
        """Return the signature of a file that verifies: runs are sealed when they end, nothing is left to sign.

        Raises:
            TamperedError, KeyringError, StoreError: the file is not intact. It is never signed then.
        """
        verdict = self._verdict(path)
        if verdict.verdict != "intact":
            raise refusal(verdict)
        sealed = self._file(path).read_seal(MAX_SEAL) or b""
        if verdict.kid is None:
            return sealed.decode()
        return next(line.sig for line in parse_seal(sealed).signatures if line.kid == verdict.kid)

    def load_golden(self, path: StrPath) -> list[dict[str, Any]]:
        """Return the events of a file that verifies, as dicts with `event_type run_id timestamp data`.

        Raises:
            TamperedError, KeyringError, StoreError: the file is not intact.
        """
        verdict = self._verdict(path)
        if verdict.verdict == "intact" and verdict.kid is None:
            return self._load_aos(path, verdict)
        with Recording.open(self._file(path), self._keyring) as recording:
            return [decode(split_line(line)[0] + b"}") for batch in recording.lines() for line in batch]

    def compare_golden(self, actual: StrPath, expected: StrPath, *, ignore_timestamps: bool = True) -> dict[str, Any]:
        """Compare two files that verify: `{"match": bool, "diffs": [{"type", "path", "actual", "expected", …}]}`.

        `type` is `event_count_mismatch` or `event_mismatch`. Run ids never count, timestamps unless
        `ignore_timestamps` is False; two files of the AOS system are compared event by event.
        """
        events = [self.load_golden(path) for path in (expected, actual)]
        kinds = {"golden" in found[0] for found in events if found}
        if len(kinds) > 1:
            raise UsageError("files of two formats cannot be compared", hint="compare two of one format")
        diffs = self._aos_diffs(*events) if kinds == {False} else self._diffs(actual, expected)
        if len(events[0]) != len(events[1]):
            counts = {"actual": len(events[1]), "expected": len(events[0])}
            diffs.insert(0, {"type": "event_count_mismatch", "path": "", **counts})
        if not ignore_timestamps:
            for n, (one, other) in enumerate(zip(*events, strict=False)):
                if one["timestamp"] != other["timestamp"]:
                    times = {"actual": other["timestamp"], "expected": one["timestamp"]}
                    diffs.append({"type": "event_mismatch", "index": n, "path": "/timestamp", **times})
        return {"match": not diffs, "diffs": diffs}

    def _diffs(self, actual: StrPath, expected: StrPath) -> list[dict[str, Any]]:
        with (
            Recording.open(self._file(expected), self._keyring) as one,
            Recording.open(self._file(actual), self._keyring) as other,
        ):
            return [{"type": "event_mismatch", **msgspec.structs.asdict(found)} for found in diff(one, other)]

    def _aos_diffs(self, expected: list[dict[str, Any]], actual: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = []
        for n, (one, other) in enumerate(zip_longest(expected, actual)):
            sides = [side and _comparable(side) for side in (one, other)]
            for kind, path, left, right in value_differences(*sides):
                place = {"index": n, "kind": kind, "path": path}
                found.append({"type": "event_mismatch", **place, "actual": right, "expected": left})
        return found

    def _load_aos(self, path: StrPath, verdict: Verdict) -> list[dict[str, Any]]:
        file = self._file(path)
        fd = open_regular(file.place)
        if fd is None:
            raise StoreError(f"{file.name} is gone", hint="restore it from backup")
        try:
            data = b"".join(blocks(fd, end=MAX_HEADER))
        finally:
            os.close(fd)
        # Verified once more over the very bytes that are parsed.
        mac, _ = aos_mac(self._keyring.aos_secret or b"", [data])
        if not same_mac(mac, file.read_seal(MAX_SEAL) or b""):
            raise refusal(msgspec.structs.replace(verdict, verdict="tampered", problem="it changed while it was read"))
        return [decode(line) for line in data.splitlines()]

    def _file(self, path: StrPath) -> GoldenFile:
        return GoldenFile.at(os.path.join(self.folder, path))

    def _verdict(self, path: StrPath) -> Verdict:
        return verify(os.path.join(self.folder, path), self._keyring)


def _comparable(event: dict[str, Any]) -> dict[str, Any]:
    """Return an AOS event without what differs between two good runs: whose it is, when, and how long it took."""
    data = dict(event["data"]) if isinstance(event.get("data"), dict) else event.get("data")
    if isinstance(data, dict) and isinstance(data.get("output"), dict):
        data["output"] = {name: value for name, value in data["output"].items() if name != "duration_ms"}
        error = data["output"].get("error")
        if isinstance(error, dict):
            data["output"]["error"] = {name: value for name, value in error.items() if name != "run_id"}
    return {**{name: value for name, value in event.items() if name not in {"run_id", "timestamp"}}, "data": data}
