"""Recognition: what looks like a secret, by the shape it has or by the name it goes by.

Changes nothing, and never tells the value. What is declared to be a secret is `redaction`'s business.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from golden.canonical import MAX_VALUE_DEPTH, decode, pointer
from golden.errors import FormatError, SecretError
from golden.places import Path, below, is_value, opened, segments

Way = tuple[str | int, ...]

# kind, marks of which one is in everything of that kind (the cheap question), and the shape itself.
_SHAPES: tuple[tuple[str, str, str], ...] = (
    ("an AWS access key", "AKIA,ASIA", r"(?<![A-Za-z0-9+/])A[KS]IA(?!\w{9}EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9+/])"),
    ("a GitHub token", "ghp_,gho_,ghu_,ghs_,ghr_", r"(?<![A-Za-z0-9])gh[opsur]_[A-Za-z0-9]{36,251}"),
    ("a GitHub token", "github_pat_", r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{36,255}"),
    ("a GitLab token", "glpat-", r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,}"),
    (
        "a Slack token",
        "xoxa,xoxb,xoxe,xoxo,xoxp,xoxr,xoxs",
        r"(?<![A-Za-z0-9])xox[abeoprs]-(?=\S{0,99}[0-9])[A-Za-z0-9-]{10,}",
    ),
    ("a Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}"),
    ("a Stripe key", "_live_", r"(?<![A-Za-z0-9])[rs]k_live_[A-Za-z0-9]{16,}"),
    ("an API key", "sk-", r"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]{0,99}[0-9])(?=[a-z0-9_-]{0,99}[A-Z])[A-Za-z0-9_-]{20,}"),
    ("a Google API key", "AIza", r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    ("a Google token", "ya29.", r"(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_-]{20,}"),
    ("a JSON web token", "eyJ", r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ("a private key", "PRIVATE KEY", r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    ("an age key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    ("an npm token", "npm_", r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    ("a PyPI token", "pypi-", r"(?<![A-Za-z0-9])pypi-AgE[A-Za-z0-9_-]{40,}"),
    ("a Hugging Face token", "hf_", r"(?<![A-Za-z0-9])hf_[A-Za-z]{34}(?![A-Za-z0-9])"),
    ("a SendGrid key", "SG.", r"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("an Azure key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    ("a bearer token", "earer ", r"\b[Bb]earer (?=\S{0,99}[0-9])(?=\S{0,99}[A-Za-z])[A-Za-z0-9._~+/-]{20,}=*"),
    (
        "a password in a URL",
        "://",
        r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>${}]{1,64}:(?!\*)[^\s/:@\"'<>${}]{3,128}@",
    ),
)
_MARKS = re.compile(
    b"|".join(re.escape(mark.encode()) for _, marks, _ in _SHAPES for mark in marks.split(",") if mark != "://")
)
# Letters, digits, and what else stands in tokens, as one letter each.
_AS_WORDS = bytes(97 if chr(n).isascii() and (chr(n).isalnum() or chr(n) in "+/=_.~-") else 32 for n in range(256))
_LONG = b"a" * 16
_LOWER = bytes(range(256)).lower()
_NOT_PASSWD = bytes(n for n in range(256) if n not in b"paswdPASWD")
# In which a password fits with its name: pwd=abc123
_SHORTEST = 10
_KINDS = tuple(kind for kind, _, _ in _SHAPES)
_SHAPE = re.compile("|".join(f"({shape})" for _, _, shape in _SHAPES))

# Words in the name of a header, a parameter or a member.
_NAMING = (
    "apikey auth authorization cookie credential credentials key passphrase password pwd secret session sig signature"
    " token"
)
_NAMES = frozenset(_NAMING.split())
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PASSWORDS = frozenset({"passphrase", "password", "passwd", "pwd"})
_SECRETS = frozenset({"apikey", "authorization", "credential", "credentials", "secret", "token"})
_OF_KEYS = "access account api auth encryption master private secret service shared signing"
_KEYS = frozenset(_OF_KEYS.split())
_WEAK = frozenset({"auth", "cookie", "key", "session"})
# What a name is about that ends in these, or holds them, is something else than the secret itself.
_ENDING = (
    "alg algorithm at count date expires expiry file hash hint id ids in kind label length limit name names path policy"
    " prefix ref reference rule scope scopes status type uri url usage version"
)
_ENDINGS = frozenset(_ENDING.split())
_OTHERWISE = frozenset({"continuation", "cursor", "next", "page", "previous", "public", "resume", "sync"})
# A name in lower case, what follows it up to a text: a member, a word of a command line, an assignment.
_NAMED = re.compile(
    rb"(?:passw|passphrase|pwd|secret|token|credential|authorization|cookie|session|auth|key)"
    rb"[a-z0-9_.-]{0,24}(?:\\*\"\s*[:,]\s*\[?\\*\"|=)"
)
_NAME_NEEDLES = (b"pass", b"pwd", b"secret", b"token", b"key", b"auth", b"credential", b"cookie", b"session")
_ASSIGNED = re.compile(r"(?<![A-Za-z0-9_-])(-{0,2}[A-Za-z][A-Za-z0-9_-]{2,40})=([^\s&;\"'<>,]{6,512})")
_PARAMETER = re.compile(r"([?&])([A-Za-z0-9_.-]{1,64})=([^\s&#\"'<>()]+)")
_FLAG = re.compile(r"--?[A-Za-z][A-Za-z0-9-]{2,40}\Z")
_PLACEHOLDER = re.compile(
    r"(?i)\*{3,}|x{4,}|<.*>|\$\{|\A\$[A-Za-z_]+\Z|\{\{|redacted|example|changeme|placeholder|your[-_ ]|dummy"
)
# Of how many characters a password is at least, another secret, one whose name says little; and how varied that is,
# in bits per character.
_PASSWORD, _SECRET, _VARIED, _BITS = 6, 16, 24, 4.0
_MAX_SECRET, _LONGEST_NAME = 4096, 64
_PLAIN = re.compile(r"[A-Za-z0-9+/=_.~-]+\Z")
_HEX = re.compile(r"[0-9a-fA-F]+\Z")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_HASHED = re.compile(r"(?:sha(?:1|256|384|512)|md5)[-:=]|\$(?:2[aby]|argon2|pbkdf2|scrypt)")


class Found(msgspec.Struct, frozen=True):
    """Something that looks like a secret: the way to it, what it looks like, and its text."""

    way: Way
    kind: str
    text: str


class Recognition:
    """Refuses what looks like a secret; what stands at the places `allowed` may be written, there and elsewhere.

    Places are JSON Pointers with `*` for a segment, into `/inputs`, `/spec` or `/steps`; what lies below counts too.

    Raises:
        FormatError: a place that is none.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._places = [_allowed_path(place) for place in allowed]
        self._texts: set[str] = set()

    def check(self, place: Path, raw: bytes) -> None:
        """Raise SecretError where the canonical bytes at `place` hold what looks like a secret."""
        if not is_suspicious(raw):
            return
        for found in recognized(decode(raw)):
            if found.text in self._texts:
                continue
            where = (*place, *map(str, found.way))
            if any(below(path, where[: len(path)]) is not None for path in self._places):
                self._texts.add(found.text)
                continue
            raise SecretError(f"{pointer(where)} holds what looks like {found.kind}", hint=_hint(where))

    def accept(self, raw: bytes, place: Path | None = None) -> None:
        """Take note of canonical bytes that stand in the file already: they are no news, nor what stands at `place`."""
        if not is_suspicious(raw):
            return
        for found in recognized(decode(raw)):
            self._texts.add(found.text)
            if place is not None:
                self._places.append((*place, *map(str, found.way)))

    def masked(self, text: str) -> str:
        """Return a message with the name of its kind in the place of what has the shape of a secret.

        A parameter of a URL needs no shape: its name says enough, and libraries tell the whole URL in their errors.
        """
        if "?" in text:
            text = _PARAMETER.sub(self._parameter, text)
        if not is_suspicious(text.encode("utf-8", "replace")):
            return text

        def shape(found: re.Match[str]) -> str:
            return found[0] if found[0] in self._texts else f"({_kind(found)})"

        def value(found: re.Match[str]) -> str:
            secret = found[2] not in self._texts and _by_name(found[1].lstrip("-"), found[2])
            return f"{found[1]}=({secret})" if secret else found[0]

        return _ASSIGNED.sub(value, _SHAPE.sub(shape, text))

    def _parameter(self, found: re.Match[str]) -> str:
        is_secret = is_secret_name(found[2]) and found[3] not in self._texts
        return f"{found[1]}{found[2]}=redacted" if is_secret else found[0]


def is_secret_name(name: str) -> bool:
    """Whether a header or parameter of that name (`X-Api-Key`, `accessToken`, `sig`) holds a secret."""
    return not _NAMES.isdisjoint(_words(name))


def is_suspicious(raw: bytes) -> bool:
    """Whether canonical bytes are worth a second look; False for most, in a microsecond or two."""
    if len(raw) < _SHORTEST:
        return False
    # Nearly everything that is recognised has one long word in it, which most data has not.
    if _LONG in raw.translate(_AS_WORDS):
        if _MARKS.search(raw):
            return True
        lowered = raw.lower()
        if any(needle in lowered for needle in _NAME_NEEDLES) and _NAMED.search(lowered):
            return True
    elif (b"pass" in (few := raw.translate(_LOWER, _NOT_PASSWD)) or b"pwd" in few) and _NAMED.search(raw.lower()):
        return True
    return b"@" in raw and b"://" in raw


def recognized(value: Any, way: Way = (), name: str | None = None) -> Iterator[Found]:
    """Give whatever looks like a secret in a JSON value; `name` is that of the member it is."""
    if isinstance(value, str):
        yield from _in_text(value, way, name)
    elif isinstance(value, dict):
        for key, child in value.items():
            for found in _SHAPE.finditer(key):
                yield Found(way, f"{_kind(found)}, as the name of a member", found[0])
            yield from recognized(child, (*way, key), key)
    elif isinstance(value, list):
        before: Any = None
        for n, child in enumerate(value):
            flag = isinstance(before, str) and isinstance(child, str) and _FLAG.match(before)
            # A list stands for its member; a word of a command line goes by the flag before it.
            yield from recognized(child, (*way, n), before.lstrip("-") if flag else name if len(value) == 1 else None)
            before = child


def _in_text(text: str, way: Way, name: str | None) -> Iterator[Found]:
    # JSON in JSON in JSON, and so on, is looked into as far as values may nest.
    inside = opened(text) if len(way) < MAX_VALUE_DEPTH else text
    if inside is not text:
        yield from recognized(inside, way)
        return
    shaped = [Found(way, _kind(found), found[0]) for found in _SHAPE.finditer(text)]
    yield from shaped
    kind = _by_name(name, text) if name and not shaped else None
    if kind:
        yield Found(way, kind, text)
    for found in _ASSIGNED.finditer(text) if "=" in text and not (shaped or kind) else ():
        assigned = _by_name(found[1].lstrip("-"), found[2])
        if assigned:
            yield Found(way, assigned, found[2])


def _kind(found: re.Match[str]) -> str:
    return _KINDS[(found.lastindex or 1) - 1]


@lru_cache(maxsize=4096)
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORDS.findall(name))


def _by_name(name: str, text: str) -> str | None:
    """Return what a text under that name looks like, None where it is nothing to hide."""
    words = _words(name) if len(name) <= _LONGEST_NAME else ()
    kinds = frozenset(words)
    if not words or words[-1] in _ENDINGS or not kinds.isdisjoint(_OTHERWISE):
        return None
    scheme, _, rest = text.partition(" ")
    if scheme.lower() in {"basic", "bearer", "token"} and rest:
        text = rest
    if not kinds.isdisjoint(_PASSWORDS):
        return "a password" if len(text) >= _PASSWORD and _is_mixed(text) and not _is_other(text) else None
    if not kinds.isdisjoint(_SECRETS) or ("key" in kinds and not kinds.isdisjoint(_KEYS)):
        good = len(text) >= _SECRET and _has_digit_and_letter(text)
    elif not kinds.isdisjoint(_WEAK):
        good = len(text) >= _VARIED and _is_varied(text)
    else:
        return None
    return f"a secret ({name})" if good and _PLAIN.match(text) and not _is_other(text) else None


def _is_other(text: str) -> bool:
    """Whether a text stands for a secret, is made of one, or says where it is."""
    if len(text) > _MAX_SECRET or "://" in text or text[:1] in "/." or any(map(str.isspace, text)):
        return True
    return bool(_PLACEHOLDER.search(text) or _HASHED.match(text))


def _is_mixed(text: str) -> bool:
    others = any(not char.isalnum() and char not in "_-." for char in text)
    cases = any(map(str.islower, text)) and any(map(str.isupper, text[1:]))
    return _has_digit_and_letter(text) or cases or (others and any(map(str.isalpha, text)))


def _has_digit_and_letter(text: str) -> bool:
    return any(map(str.isdigit, text)) and any(map(str.isalpha, text))


def _is_varied(text: str) -> bool:
    """Whether a text is as varied as random ones are: no hash, no id, no path, no sentence."""
    if _HEX.match(text) or _UUID.match(text):
        return False
    if not (any(map(str.islower, text)) and any(map(str.isupper, text)) and any(map(str.isdigit, text))):
        return False
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values()) >= _BITS


def _allowed_path(place: str) -> Path:
    match segments(place):
        case ("", "inputs" | "spec" | "steps", *_) as path:
            return tuple(path[1:])
    raise FormatError(
        f'allow_secrets: "{place}" is no place',
        hint="write it as the refusal does: /steps/<id>/output/…, /inputs/…, /spec/…",
    )


def _hint(where: Path) -> str:
    here = pointer(where)
    otherwise = f'or, where it is no secret: allow_secrets = ["{here}"]'
    if is_value(where):
        return f'keep it out of the file: redact = ["{here}"]; {otherwise}'
    return f"hand it over as a run input that is declared under redact; {otherwise}"
