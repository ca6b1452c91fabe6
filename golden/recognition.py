"""Recognition: what looks like a secret, by the shape it has or by the name it goes by.

Changes nothing, and never tells the value. What is declared to be a secret is `redaction`'s business.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
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
    (
        "a GitLab token",
        "glpat-,gldt-,glrt-,glptt-,glcbt-,glft-,glsoat-,glagent-",
        r"(?<![A-Za-z0-9])gl(?:pat|dt|rt|ptt|cbt|ft|soat|agent)-(?=\S{0,99}[0-9])[A-Za-z0-9_-]{20,}",
    ),
    (
        "a Slack token",
        "xoxa,xoxb,xoxe,xoxo,xoxp,xoxr,xoxs",
        r"(?<![A-Za-z0-9])xox[abeoprs]-(?=\S{0,99}[0-9])[A-Za-z0-9-]{10,}",
    ),
    ("a Slack token", "xapp-", r"(?<![A-Za-z0-9])xapp-[0-9]-[A-Z0-9]{8,}-[0-9]{8,}-[0-9a-f]{32,}"),
    ("a Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}"),
    ("a Stripe key", "_live_", r"(?<![A-Za-z0-9])[rs]k_live_[A-Za-z0-9]{16,}"),
    ("a Stripe key", "whsec_", r"(?<![A-Za-z0-9])whsec_[A-Za-z0-9+/]{24,}"),
    # However it goes on, random letters and digits without a word's end among them.
    (
        "an API key",
        "sk-",
        r"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]{0,99}[0-9])(?=[A-Za-z0-9_-]{0,60}?[A-Za-z0-9]{20})[A-Za-z0-9_-]{20,}",
    ),
    ("an API key", "gsk_", r"(?<![A-Za-z0-9])gsk_[A-Za-z0-9]{40,}"),
    ("an API key", "xai-", r"(?<![A-Za-z0-9])xai-[A-Za-z0-9]{60,}"),
    ("an API key", "pplx-", r"(?<![A-Za-z0-9])pplx-[A-Za-z0-9]{40,}"),
    ("an API key", "r8_", r"(?<![A-Za-z0-9])r8_[A-Za-z0-9]{37}(?![A-Za-z0-9])"),
    ("a Notion token", "ntn_", r"(?<![A-Za-z0-9])ntn_[A-Za-z0-9]{40,}"),
    ("a Linear key", "lin_api_", r"(?<![A-Za-z0-9])lin_api_[A-Za-z0-9]{32,}"),
    ("a Figma token", "figd_", r"(?<![A-Za-z0-9])figd_[A-Za-z0-9_-]{40}"),
    ("a Grafana token", "glsa_", r"(?<![A-Za-z0-9])glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    ("a Postman key", "PMAK-", r"(?<![A-Za-z0-9])PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    ("a New Relic key", "NRAK-", r"(?<![A-Za-z0-9])NRAK-[A-Z0-9]{27}"),
    ("a Databricks token", "dapi", r"(?<![A-Za-z0-9])dapi[0-9a-f]{32}(?![A-Za-z0-9])"),
    ("a Docker token", "dckr_", r"(?<![A-Za-z0-9])dckr_[po]at_[A-Za-z0-9_-]{20,}"),
    ("a Shopify token", "shpat_,shpca_,shppa_,shpss_", r"(?<![A-Za-z0-9])shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    ("a DigitalOcean token", "dop_v1_,doo_v1_,dor_v1_", r"(?<![A-Za-z0-9])do[opr]_v1_[0-9a-f]{64}"),
    ("a Vault token", "hvs.,hvb.,hvr.", r"(?<![A-Za-z0-9])hv[sbr]\.(?=\S{0,99}[0-9])[A-Za-z0-9_-]{24,}"),
    ("a Terraform token", ".atlasv1.", r"(?<![A-Za-z0-9])[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    ("an Atlassian token", "ATATT3", r"(?<![A-Za-z0-9])ATATT3[A-Za-z0-9_=-]{100,}"),
    ("a Telegram token", ":AA", r"(?<![A-Za-z0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    ("a Google API key", "AIza", r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    ("a Google secret", "GOCSPX-", r"(?<![A-Za-z0-9])GOCSPX-[A-Za-z0-9_-]{28}"),
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
        r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>${}]{0,64}:(?!\*|(?:passw(?:or)?d|pass|pwd|pw)@)[^\s/:@\"'<>${}]{3,128}@",
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
# Each for itself: a text has hardly ever more than one mark, and is searched for the shapes of that one alone.
_SHAPED = tuple((kind, tuple(marks.split(",")), re.compile(shape)) for kind, marks, shape in _SHAPES)

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
_KEYS_THEMSELVES = frozenset({"api", "encryption", "private", "secret"})
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
# A name or a call, as code has them: what it comes to does not stand there.
_EXPRESSION = re.compile(r"(?=.*[][(){}])\{?[A-Za-z_][A-Za-z0-9_.]*(?:[(\[].*)?[])},:;]*\Z")
_PARAMETER = re.compile(r"([?&])([A-Za-z0-9_.-]{1,64})=([^\s&#\"'<>()]+)")
_FLAG = re.compile(r"--?[A-Za-z][A-Za-z0-9-]{2,40}\Z")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{2,63}\Z")
_PAIR = 2
_PLACEHOLDER = re.compile(
    r"(?i)\*{3,}|x{4,}|<.*>|\$\{|\A\$[A-Za-z_]+\Z|\{\{|redacted|example|changeme|placeholder|your[-_ ]|dummy"
)
# Of how many characters a password is at least, another secret, one whose name says little; and how varied that is,
# in bits per character.
_PASSWORD, _SECRET, _VARIED, _BITS = 6, 16, 24, 4.0
_MAX_SECRET, _LONGEST_NAME = 4096, 64
# How often at least neighbours are of another kind (small, capital, digit) in a text that is random, per character.
_CHANGES = 0.4
# What names are made of: words and numbers, four and more.
_NAME_PARTS = re.compile(
    r"(?:(?:[A-Z]?[a-z]+|[A-Z]+)[0-9]{0,4}|[0-9]+)(?:[-_./]+(?:(?:[A-Z]?[a-z]+|[A-Z]+)[0-9]{0,4}|[0-9]+)){3,}\Z"
)
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

        def value(found: re.Match[str]) -> str:
            secret = found[2] not in self._texts and _by_name(found[1].lstrip("-"), found[2])
            return f"{found[1]}=({secret})" if secret else found[0]

        parts, done = [], 0
        for kind, start, end in _shaped(text):
            shown = text[start:end]
            parts += [text[done:start], shown if shown in self._texts else f"({kind})"]
            done = end
        return _ASSIGNED.sub(value, "".join([*parts, text[done:]]))

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
            for kind, start, end in _shaped(key):
                yield Found(way, f"{kind}, as the name of a member", key[start:end])
            # A header, a parameter, a variable may be an object as well: its name and its value.
            goes_by = value.get("name", value.get("key")) if key == "value" else key
            yield from recognized(child, (*way, key), goes_by if isinstance(goes_by, str) else key)
    elif isinstance(value, list):
        before: Any = None
        for n, child in enumerate(value):
            named = isinstance(before, str) and isinstance(child, str)
            # A list stands for its member; a word of a command line goes by the flag before it, the second of two
            # by the first, as headers are listed.
            by = named and (_FLAG.match(before) or (len(value) == _PAIR and _NAME.match(before)))
            yield from recognized(child, (*way, n), before.lstrip("-") if by else name if len(value) == 1 else None)
            before = child


def _in_text(text: str, way: Way, name: str | None) -> Iterator[Found]:
    # JSON in JSON in JSON, and so on, is looked into as far as values may nest.
    inside = opened(text) if len(way) < MAX_VALUE_DEPTH else text
    if inside is not text:
        yield from recognized(inside, way)
        return
    shaped = [Found(way, kind, text[start:end]) for kind, start, end in _shaped(text)]
    yield from shaped
    kind = _by_name(name, text) if name and not shaped else None
    if kind:
        yield Found(way, kind, text)
    for found in _ASSIGNED.finditer(text) if "=" in text and not (shaped or kind) else ():
        assigned = _by_name(found[1].lstrip("-"), found[2])
        if assigned and not _EXPRESSION.match(found[2]):
            yield Found(way, assigned, found[2])


def _shaped(text: str) -> list[tuple[str, int, int]]:
    """Return what has a shape, from left to right, with its beginning and end; what overlaps is one."""
    spans = sorted(
        (match.start(), match.end(), kind)
        for kind, marks, shape in _SHAPED
        if any(mark in text for mark in marks)
        for match in shape.finditer(text)
    )
    found: list[tuple[str, int, int]] = []
    for start, end, kind in spans:
        if found and start < found[-1][2]:
            first, begun, ended = found[-1]
            found[-1] = first, begun, max(ended, end)
        else:
            found.append((kind, start, end))
    return found


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
    # `access_token` says more than `token` or `access_key`, which may name a secret that lies elsewhere.
    says_much = len(words) > 1 and not ("key" in kinds and kinds.isdisjoint(_KEYS_THEMSELVES))
    good = good and _PLAIN.match(text) is not None and (says_much or not _NAME_PARTS.match(text))
    return f"a secret ({name})" if good and not _is_other(text) else None


def _is_other(text: str) -> bool:
    """Whether a text stands for a secret, is made of one, or says where it is."""
    if (
        len(text) > _MAX_SECRET
        or "://" in text
        or text[:1] in "/."
        or text[1:3] == ":\\"
        or any(map(str.isspace, text))
    ):
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
    kinds = [(char.isdigit(), char.isupper()) for char in text if char.isalnum()]
    if sum(one != other for one, other in pairwise(kinds)) < _CHANGES * total:
        return False
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
