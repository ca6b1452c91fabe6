"""Specs on the command line: each defect is refused with its place, before anything runs, in two lines and with 2."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.shell import Shell

pytestmark = pytest.mark.slow

Document = dict[str, Any]


def _set(**members: Any) -> Callable[[Document], Any]:
    return lambda document: {**document, **members}


def _step(at: int, **members: Any) -> Callable[[Document], Any]:
    def change(document: Document) -> Document:
        steps = list(document["steps"])
        steps[at] = {**steps[at], **members}
        return {**document, "steps": steps}

    return change


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


DEFECTS: dict[str, Callable[[Document], Any]] = {
    "list": lambda document: [document],
    "null": lambda _: None,
    "no id": lambda document: {k: v for k, v in document.items() if k != "id"},
    "no steps": lambda document: {k: v for k, v in document.items() if k != "steps"},
    "steps empty": _set(steps=[]),
    "steps no list": _set(steps={}),
    "id with slash": _set(id="a/b"),
    "id too long": _set(id="x" * 65),
    "id with newline": _set(id="order\n"),
    "version a number": _set(version=1),
    "unknown member": _set(stages=[]),
    "negative budget": _set(budget_ceiling_cents=-1),
    "budget with a fraction": _set(budget_ceiling_cents=1.5),
    "volatile no path": _set(volatile=["steps"]),
    "volatile elsewhere": _set(volatile=["/steps/basket/inputs"]),
    "result no reference": _set(result="receipt"),
    "result of no step": _set(result="${receit}"),
    "result two references": _set(result="${basket}${receipt}"),
    "step no object": lambda document: {**document, "steps": ["basket"]},
    "step without id": lambda document: {**document, "steps": [{"skill_id": "shop.basket"}]},
    "step without skill": lambda document: {**document, "steps": [{"id": "basket"}]},
    "step id with dot": _step(0, id="a.b"),
    "step id inputs": _step(0, id="inputs"),
    "step id twice": _step(2, id="basket"),
    "step unknown member": _step(1, timeout=3),
    "skill id empty": _step(0, skill_id=""),
    "inputs a list": _step(0, inputs=[1]),
    "negative cost": _step(0, estimated_cost_cents=-1),
    "unknown dependency": _step(1, depends_on=["baskt"]),
    "unknown reference": _step(1, inputs={"cents": "${baskt.cents}"}),
    "broken reference": _step(1, inputs={"cents": "${basket"}),
    "empty reference": _step(1, inputs={"cents": ["a", {"b": "${}"}]}),
    "cycle": _step(0, depends_on=["receipt"]),
    "depends on itself": _step(0, depends_on=["basket"]),
    "on_error unknown": _step(0, on_error="ignore"),
    "300 nested arrays": _step(0, inputs={"prices": _deep(300)}),
    "redact of what is given": _set(redact=["/steps/basket/inputs"]),
    "allow_secrets nowhere": _set(allow_secrets=["basket"]),
    "no time": _set(timeout_seconds=0),
    "retry is no boolean": _step(0, retry={}),
    "retries that nothing asks for": _step(0, max_retries=1),
    "too many retries": _step(0, retry=True, max_retries=13),
    "key with a reference": _step(0, idempotency_key="${inputs.day}"),
    "unknown on_error": _step(0, on_error="ignore"),
}
TEXTS = {
    "empty.json": b"",
    "torn.json": b'{"id": "order", "steps": [',
    "twice.json": b'{"id": "a", "id": "b", "steps": []}',
    "nan.json": b'{"id": "a", "steps": [{"id": "s", "skill_id": "x", "inputs": {"a": NaN}}]}',
    "surrogate.json": b'{"id": "a", "steps": [{"id": "s", "skill_id": "x", "inputs": {"a": "\\ud800"}}]}',
    "bom.json": b'\xef\xbb\xbf{"id": "a", "steps": []}',
    "latin.json": b'{"id": "\xe9"}',
    "infinite.json": b'{"id": "a", "steps": [{"id": "s", "skill_id": "x", "inputs": {"a": 1e400}}]}',
    "torn.toml": b'id = "a',
    "date.toml": b'id = "a"\n[[steps]]\nid = "s"\nskill_id = "x"\ninputs = { day = 2026-01-01 }\n',
    "torn.yaml": b"id: [a",
    "twice.yaml": b"id: a\nid: b\n",
    "tag.yaml": b"id: !!python/object:os.system ls\n",
    "spec.txt": b"{}",
    "spec": b"{}",
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defective_spec_is_refused_with_the_place(shop: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    document = json.loads((shop.here / "order.json").read_text())
    shop.write("order.json", json.dumps(DEFECTS[name](document)))
    done = shop.golden("record", "order.json", "--inputs", "@prices.json")
    assert done.refused() == snapshot
    assert "not supported yet" in done.stderr or not name.startswith("later: ")
    assert not shop.store.exists()


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_that_is_no_spec_is_refused(shop: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    shop.write(name, TEXTS[name])
    done = shop.golden("record", name)
    assert done.refused() == snapshot
    assert not shop.store.exists()


def test_a_spec_nested_too_deep_is_refused(shop: Shell) -> None:
    # Worded by whoever gives up first: the parser of this interpreter, or the canonical form.
    shop.write("deep.json", b"[" * 2000 + b"]" * 2000)
    assert "deep.json" in shop.golden("record", "deep.json").refused()


@pytest.mark.parametrize("name", ["absent.json", "folder.json"])
def test_a_spec_that_cannot_be_read_is_refused(shop: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    (shop.here / "folder.json").mkdir()
    assert shop.golden("record", name).refused() == snapshot


def test_the_same_spec_in_toml_and_yaml_has_the_same_hash(shop: Shell) -> None:
    shop.write(
        "one.toml",
        'id = "one"\n[[steps]]\nid = "a"\nskill_id = "shop.basket"\n[steps.inputs]\nprices = [1, 2.5]\n',
    )
    shop.write("one.yaml", "id: one\nsteps:\n- id: a\n  skill_id: shop.basket\n  inputs: {prices: [1, 2.5]}\n")
    shop.write("one.json", '{"id":"one","steps":[{"id":"a","skill_id":"shop.basket","inputs":{"prices":[1,2.5]}}]}')
    answers = [shop.golden("record", f"one.{kind}", "--json") for kind in ("json", "toml", "yaml")]
    hashes = {answer.objects[0]["spec_hash"] for answer in answers}
    assert len(hashes) == 1


def test_steps_run_in_the_order_of_their_references(shop: Shell) -> None:
    document = json.loads((shop.here / "order.json").read_text())
    shop.write("order.json", {**document, "steps": document["steps"][::-1]})
    done = shop.golden("record", "order.json", "--inputs", "@prices.json")
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["voucher", "basket", "price", "receipt"]
