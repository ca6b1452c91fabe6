"""Whatever is declared a secret, wherever it stands: no file holds it in any form, and a replay matches."""

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from golden.canonical import canonical_bytes, decode
from golden.recording import Recording
from golden.redaction import MIN_TEXT, Redaction, forms, labels
from replay import Context, EffectError, SkillRegistry, record, replay
from tests import runs
from tests.property.test_canonical_properties import VALUES

SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=24)
PLANTED = "Ð planted instead"
SPEC = {
    "id": "s",
    "steps": [
        {"id": "a", "skill_id": "says", "inputs": {"all": "${inputs.x}"}},
        {"id": "b", "skill_id": "says", "inputs": {"all": "${a}"}, "on_error": "continue"},
        {"id": "c", "skill_id": "fails", "inputs": {"all": "${inputs.x}"}},
    ],
    "result": "${a.all}",
}
registry = SkillRegistry()


def texts(value: Any) -> Iterator[str]:
    """Give every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(child)


@registry.skill("says")
def says(ctx: Context) -> Any:
    found = list(dict.fromkeys(texts(ctx.inputs)))
    told = [ctx.external("ask", lambda text: {"text": json.dumps([text]), text: 1}, text) for text in found]
    for text in found:
        header = f"Basic {base64.b64encode(f'u:{text}'.encode()).decode()}"
        ctx.external("login", lambda header, **_: [header], header, q=quote(text))
    return {"all": ctx.inputs["all"], "told": len(told), "url": [f"https://h/?q={quote_plus(text)}" for text in found]}


@registry.skill("fails")
def fails(ctx: Context) -> Any:
    found = list(dict.fromkeys(texts(ctx.inputs)))
    try:
        ctx.external("ask", lambda: [][(found and found[0]) or 0])  # type: ignore[index]
    except EffectError as error:
        raise ValueError(f"{error}: {found!r} {found}") from error


@contextmanager
def recorded(document: Any, rule: str) -> Iterator[tuple[Recording, str]]:
    """Give a run about `document` and what its files hold."""
    with tempfile.TemporaryDirectory() as folder:
        store = runs.store_in(Path(folder, "golden"), ledger=True)
        inputs = {"x": document}
        with record(SPEC, registry, store=store, run_id="r-1", inputs=inputs, redact=[rule], guard="off") as recording:
            yield recording, "".join(path.read_text() for path in sorted(Path(folder).rglob("*")) if path.is_file())


@st.composite
def planted(draw: st.DrawFn) -> tuple[Any, Any, str, str]:
    """Return a document, the same with another text in the place of its secret, the secret, and its rule."""
    secret = draw(SECRETS)
    way = draw(st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 3)), max_size=4))
    one: Any = secret
    other: Any = PLANTED
    for key in reversed(way):
        around = draw(st.lists(VALUES, min_size=3, max_size=3))
        if isinstance(key, int):
            one, other = ([*around[:key], found, *around[key:]] for found in (one, other))
        else:
            one, other = ({"around": around, key: found} for found in (one, other))
    parts = [draw(st.sampled_from(["*", str(key).replace("~", "~0").replace("/", "~1")])) for key in way]
    assume("around" not in way)
    return one, other, secret, "/".join(["/inputs/x", *parts])


@given(planted())
@settings(max_examples=60)
def test_no_file_holds_a_declared_secret_in_any_form(found: tuple[Any, Any, str, str]) -> None:
    document, other, secret, rule = found
    with recorded(other, rule) as (_, without):
        # What is there anyway is no secret.
        assume(not any(form in without or json.dumps(form)[1:-1] in without for form in forms(secret)))
        assume(labels(canonical_bytes(document)) == set())
    with recorded(document, rule) as (recording, text):
        plain = json.dumps([decode(line) for line in text.encode().splitlines()], ensure_ascii=False)
        for form in (secret, json.dumps(secret)[1:-1], quote(secret), quote_plus(secret), repr(secret)[1:-1]):
            assert form not in text
            assert form not in plain
            assert json.dumps(form)[1:-1] not in text
        assert base64.b64encode(secret.encode()).decode().rstrip("=")[:-1] not in text
        assert replay(recording, registry).verdict == "refused"
        answer = replay(recording, registry, inputs={"x": document})
        assert (answer.verdict, answer.divergence, answer.notes) == ("matched", None, [])


@given(VALUES, SECRETS)
def test_hiding_twice_is_hiding_once_and_leaves_nothing(value: Any, secret: str) -> None:
    assume(len(secret) >= MIN_TEXT and not any(secret in label for label in ("redacted-1", "'")))
    redaction = Redaction(["/inputs"])
    redaction.admit(("inputs",), canonical_bytes([secret]))
    hidden = redaction.hide(canonical_bytes({"v": value, secret: [secret, f"a{secret}b"]}))
    assert redaction.hide(hidden) == hidden
    assert not [text for text in texts(decode(hidden)) if secret in text]
    assert not [key for key in decode(hidden) if secret in key]
