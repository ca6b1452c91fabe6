"""Redaction: the secrets of one run, found at declared places and replaced by `redacted-n` wherever they occur.

Knows values and text; what is recorded, replayed or resumed is decided elsewhere. What nobody declared is
`recognition`'s business. Normative text: docs/format.md, "Redaction".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from threading import RLock
from typing import Any

import msgspec

from golden.canonical import canonical_bytes, decode, pointer
from golden.errors import SecretError
from golden.places import Path, below, follow, leaves, rule_path
from golden.recognition import Recognition

# Shorter text is replaced only where it is a whole value: inside of other text it would be anywhere.
MIN_TEXT = 4
_MAX_MESSAGE = 4096
_LABEL = re.compile(r"redacted-([1-9][0-9]{0,8})(?![0-9])")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_IN_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_encode = msgspec.json.Encoder().encode
Raw = bytes | msgspec.Raw
# What is looked for in canonical bytes, as text, and the number of its secret.
Needle = tuple[bytes, str, int]


class Redaction:
    """The secrets of one run. Rules are JSON Pointers in which `*` stands for one segment; see `golden.places`.

    A rule that points at a list or an object means every value in it. `null` and the empty text hide nothing, and stay.

    Args:
        rules: where secrets stand.
        recognition: refuses what looks like a secret and is none of these; None lets it pass.
        used: how many numbers are given already.

    Raises:
        FormatError: a rule that is no such pointer.
    """

    def __init__(self, rules: Sequence[str] = (), recognition: Recognition | None = None, *, used: int = 0) -> None:
        self.rules = tuple(rules)
        self._paths = [(rule, rule_path(rule, "redact", "redacted")) for rule in self.rules]
        self._recognition = recognition
        self._used = used
        self._numbers: dict[str, int] = {}
        self._taken: set[int] = set()
        self._leaves: dict[int, Any] = {}
        self._needles: list[Needle] = []
        # By rule the numbers of what it found; it may have found what hides nothing.
        self._matched: dict[str, set[int]] = {}
        self._expected: dict[Path, Any] = {}
        self._passed: dict[str, list[tuple[str, bytes]]] = {}
        self._lock = RLock()

    @property
    def dead(self) -> list[str]:
        """The rules that have matched nothing so far, in order."""
        return [rule for rule in self.rules if rule not in self._matched]

    @property
    def counts(self) -> dict[str, int]:
        """How many distinct values each rule has found, those that matched nothing left out."""
        return {rule: len(self._matched[rule]) for rule in self.rules if rule in self._matched}

    def admit(self, place: Path, raw: bytes) -> bytes:
        """Return the canonical bytes of a value at `place` as they are to be written.

        Raises:
            SecretError: they hold what looks like a secret, or one that has been written by now.
        """
        if self._paths:
            self._learn(place, raw)
            hidden = self.hide(raw)
            if place[0] == "steps" and place[2] != "output" and self._learns_later(place[1]):
                self._passed.setdefault(place[1], []).append((pointer(place), hidden))
        else:
            hidden = raw
        if self._recognition is not None:
            self._recognition.check(place, hidden)
        return hidden

    def hide(self, raw: Raw) -> bytes:
        """Return canonical bytes with every secret known so far replaced."""
        raw = bytes(raw)
        found = self._found_in(raw) if self._needles else None
        if not found:
            return raw
        return canonical_bytes(_hidden(decode(raw), _Cloak(found, self._numbers)))

    def message(self, text: str) -> str:
        """Return a message with every secret replaced, also one that looks like one, and one that was cut off."""
        found = self._found_in(_encode(text)) if self._needles else None
        if found:
            text = _Cloak(found, self._numbers).text(text)
        if self._needles and len(text) >= _MAX_MESSAGE:
            text = self._without_beginnings(text)
        return self._recognition.masked(text) if self._recognition else text

    def expect(self, place: Path, recorded: Raw) -> None:
        """Say what a recording has at `place`: what comes to stand there is known by the same numbers."""
        if not self._paths:
            return
        self._expected[place] = decode(recorded)
        self.note(place, recorded)

    def note(self, place: Path, recorded: Raw) -> None:
        """Take note of which rules match what a recording has at `place`."""
        value = decode(recorded) if self._paths else None
        for rule, path in self._paths:
            rest = below(path, place)
            for _, leaf in leaves(value, rest) if rest is not None else ():
                self._matched.setdefault(rule, set()).update(labels(canonical_bytes(leaf)))

    def bind(self, recorded: Raw, raw: Raw) -> bool:
        """Learn from a value what the labels stand for in the form in which it was recorded; whether it is that one."""
        if not self._paths:
            return bytes(recorded) == bytes(raw)
        with self._lock:
            for text, number in _told(decode(recorded), decode(raw)):
                if text not in self._numbers and number not in self._taken:
                    self._needles = [*self._needles, *self._add(text, number)]
        return self.hide(raw) == bytes(recorded)

    def accept(self, recorded: Raw, place: Path | None = None) -> None:
        """Take note of canonical bytes that stand in the file already; at `place`, if given, others may come to."""
        if self._recognition is not None:
            self._recognition.accept(bytes(recorded), place)

    def revealed(self, recorded: Raw, raw: Raw) -> bytes:
        """Return the recorded value with the secrets of `raw` in the place of their labels."""
        if not self._needles:
            return bytes(recorded)
        return canonical_bytes(self._revealed(decode(recorded), decode(raw)))

    def reveal(self, raw: Raw) -> Any:
        """Return the value of canonical bytes with the secrets that are known in the place of their labels."""
        value = decode(raw)
        return _with(value, self._leaves) if self._leaves and labels(raw) else value

    def refuse_in(self, raw: bytes, what: str) -> None:
        """Raise SecretError where canonical bytes that must stay as they are hold a secret of the run."""
        found = next((n for needle, form, n in self._needles if len(form) >= MIN_TEXT and needle in raw), None)
        if found is not None:
            rule = next((rule for rule, numbers in self._matched.items() if found in numbers), "a declared place")
            raise SecretError(
                f"the value at {rule} stands in {what} too, where it cannot be redacted",
                hint="refer to it there: ${inputs.NAME}",
            )

    def _learns_later(self, step_id: str) -> bool:
        return any(below(path, ("steps", step_id)) is not None for _, path in self._paths)

    def _learn(self, place: Path, raw: bytes) -> None:
        expected = self._expected.pop(place, None)
        value = None
        fresh: list[Needle] = []
        with self._lock:
            for rule, path in self._paths:
                rest = below(path, place)
                if rest is None:
                    continue
                value = decode(raw) if value is None else value
                for way, leaf in leaves(value, rest):
                    matched = self._matched.setdefault(rule, set())
                    fresh += self._learn_one(matched, leaf, follow(expected, way))
            # Others look at the list meanwhile.
            self._needles = [*self._needles, *fresh]
        passed = self._passed.get(place[1], ()) if fresh and place[0] == "steps" else ()
        if len(place) > 2 and place[2] == "output":  # noqa: PLR2004  /steps/<id>/output
            self._passed.pop(place[1], None)
        for where, written in passed:
            if any(needle in written for needle, form, _ in fresh if len(form) >= MIN_TEXT):
                raise SecretError(
                    f"what is declared a secret in {pointer(place)} was written before that, at {where}",
                    hint=f"the file holds it; declare it there too, or where it comes from: {_sooner(where)}",
                )

    def _learn_one(self, matched: set[int], leaf: Any, recorded: Any) -> list[Needle]:
        text = text_of(leaf)
        # What a recording answered is its label.
        if text is None or text == recorded:
            return []
        if text in self._numbers:
            matched.add(self._numbers[text])
            return []
        label = _LABEL.fullmatch(recorded) if isinstance(recorded, str) else None
        number = int(label[1]) if label else 0
        if not number or number in self._taken:
            number = self._used + 1
        matched.add(number)
        self._leaves[number] = leaf
        return self._add(text, number)

    def _add(self, text: str, number: int) -> list[Needle]:
        self._numbers[text] = number
        self._taken.add(number)
        self._used = max(self._used, number)
        return [(_encode(form)[1:-1], form, number) for form in forms(text)]

    def _found_in(self, raw: bytes) -> dict[str, int]:
        return {form: number for needle, form, number in self._needles if needle in raw}

    def _without_beginnings(self, text: str) -> str:
        """Return a message that was cut off without the beginning of a secret at its end."""
        for _, form, _ in self._needles:
            for size in range(min(len(form) - 1, len(text)), MIN_TEXT - 1, -1):
                if text.endswith(form[:size]):
                    return text[:-size]
        return text

    def _revealed(self, recorded: Any, value: Any) -> Any:
        if canonical_bytes(recorded) == self.hide(canonical_bytes(value)):
            return value
        if isinstance(recorded, dict) and isinstance(value, dict):
            return {key: self._revealed(one, value[key]) if key in value else one for key, one in recorded.items()}
        if isinstance(recorded, list) and isinstance(value, list) and len(recorded) == len(value):
            return [self._revealed(one, other) for one, other in zip(recorded, value, strict=True)]
        return recorded


class _Cloak:
    """Some secrets, and how text is rid of them."""

    def __init__(self, found: Mapping[str, int], numbers: Mapping[str, int]) -> None:
        self._numbers = numbers
        self._found = found
        self._pattern = _pattern(tuple(sorted((form for form in found if len(form) >= MIN_TEXT), key=_longest)))

    def whole(self, value: Any) -> str | None:
        text = text_of(value)
        number = None if text is None else self._numbers.get(text)
        return None if number is None else label(number)

    def text(self, text: str) -> str:
        return self._pattern.sub(lambda found: label(self._found[found[0]]), text) if self._pattern else text


def label(number: int) -> str:
    """Return what stands in the file for the secret of that number, from 1."""
    return f"redacted-{number}"


def labels(raw: Raw) -> set[int]:
    """Return the numbers of the secrets that canonical bytes name."""
    return {int(found) for found in _LABEL.findall(bytes(raw).decode())} if b"redacted-" in bytes(raw) else set()


def text_of(value: Any) -> str | None:
    """Return a value that is no list and no object as text; None where it hides nothing."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else _encode(value).decode()


def forms(text: str) -> list[str]:
    """Return a secret and the forms in which it is looked for.

    These are: escaped, in URLs, in markup, in Base64 at any offset, and all of that without white space around it.
    """
    if len(text) < MIN_TEXT:
        return [text]
    # Only where something is to be redacted.
    import json

    escaped = _encode(text).decode()[1:-1]
    in_ascii = json.dumps(text)[1:-1]
    in_markup = text.translate(_IN_MARKUP)
    quoted_there = in_markup.replace('"', "&quot;").replace("'", "&#x27;")
    quoted = _percent(text)
    found = [
        text,
        escaped,
        _encode(escaped).decode()[1:-1],
        in_ascii,
        json.dumps(in_ascii)[1:-1],
        in_markup,
        quoted_there,
        quoted_there.replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        repr(text)[1:-1],
        quoted,
        quoted.replace("%2F", "/"),
        quoted.replace("%20", "+"),
    ]
    found += [re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in found[-3:]]
    data = text.encode()
    for offset in range(3):
        # What its neighbours have no part in.
        whole = base64.b64encode(bytes(offset) + data).decode()
        middle = whole[(0, 2, 3)[offset] : (offset + len(data)) * 8 // 6]
        found += [middle, middle.replace("+", "-").replace("/", "_")]
    bare = text.strip()
    if bare != text:
        # As what was read from a file is used.
        found += forms(bare)
    return list(dict.fromkeys(found))


def _percent(text: str) -> str:
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def _longest(form: str) -> tuple[int, str]:
    return -len(form), form


@lru_cache(maxsize=64)
def _pattern(found: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, found))) if found else None


def _hidden(value: Any, cloak: _Cloak) -> Any:
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, child in value.items():
            name = cloak.whole(key) or cloak.text(key)
            while name in found or (name != key and name in value):
                # Two names that differ only in what is hidden stay two.
                name += "'"
            found[name] = _hidden(child, cloak)
        return found
    if isinstance(value, list):
        return [_hidden(child, cloak) for child in value]
    return cloak.whole(value) or (cloak.text(value) if isinstance(value, str) else value)


def _with(value: Any, leaves: Mapping[int, Any]) -> Any:
    """Return a value with what `leaves` has in the place of labels."""
    if isinstance(value, dict):
        return {_text_with(key, leaves): _with(child, leaves) for key, child in value.items()}
    if isinstance(value, list):
        return [_with(child, leaves) for child in value]
    if not isinstance(value, str):
        return value
    whole = _LABEL.fullmatch(value)
    return leaves.get(int(whole[1]), value) if whole else _text_with(value, leaves)


def _text_with(text: str, leaves: Mapping[int, Any]) -> str:
    return _LABEL.sub(lambda found: text_of(leaves.get(int(found[1]))) or found[0], text)


def _told(recorded: Any, value: Any) -> Iterator[tuple[str, int]]:
    """Give what the labels in a recorded value stand for, going by what the value is."""
    if isinstance(recorded, dict) and isinstance(value, dict):
        for key in recorded.keys() & value.keys():
            yield from _told(recorded[key], value[key])
    elif isinstance(recorded, list) and isinstance(value, list):
        for one, other in zip(recorded, value, strict=False):
            yield from _told(one, other)
    elif isinstance(recorded, str) and recorded != value and (text := text_of(value)):
        parts = _LABEL.split(recorded)
        pattern = "(.+)".join(map(re.escape, parts[::2]))
        found = re.fullmatch(pattern, text, re.DOTALL) if len(parts) > 1 else None
        if found:
            yield from zip(found.groups(), map(int, parts[1::2]), strict=True)


def _sooner(where: str) -> str:
    return f'redact = ["{where}"]' if where.endswith("/result") else "an input that is declared under redact"


def names_of(inputs: Mapping[str, Any], given: Iterable[str]) -> list[str]:
    """Return the names of recorded run inputs in which something is redacted, those `given` left out."""
    known = set(given)
    return sorted(name for name, value in inputs.items() if name not in known and labels(canonical_bytes(value)))
