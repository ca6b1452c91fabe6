"""Spec: the document that says which steps a run has, read, checked whole, and put in order.

Refuses before anything runs; executes nothing.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from golden.canonical import canonical_bytes, sha256_hex
from golden.errors import FormatError, UsageError
from golden.event import MAX_LINE
from golden.recognition import Recognition
from golden.redaction import Redaction
from golden.volatile import Volatile
from replay.reference import RUN_INPUTS, Template, parse_single

Cents = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
# The wait before a further attempt doubles: the twelfth lasts more than an hour.
MAX_RETRIES = 12
MAX_SPEC = 64 << 20
# Inputs, output and the rest of a step event share one line.
MAX_INPUTS = MAX_LINE - (1 << 20)
MAX_YAML_NODES = 1_000_000
_YAML_MERGE = "tag:yaml.org,2002:merge"


class NoSpecError(UsageError):
    """No spec, of all there are, has the id that a recording names."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step as the document says it; ceilings and costs in integer cents, `timeout_seconds` for an attempt."""

    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
    skill_id: Annotated[str, Meta(min_length=1)]
    inputs: dict[str, Any] = {}
    depends_on: list[str] = []
    estimated_cost_cents: Cents = 0
    max_cost_cents: Cents | None = None
    timeout_seconds: Seconds | None = None
    retry: bool = False
    max_retries: Annotated[int, Meta(ge=0, le=MAX_RETRIES)] | None = None
    idempotency_key: Annotated[str, Meta(min_length=1)] | None = None
    on_error: Literal["abort", "continue", "retry"] = "abort"
    external: bool = False
    planner_output: Any = UNSET


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
    steps: Annotated[list[Step], Meta(min_length=1)]
    name: str | None = None
    version: str = "0"
    budget_ceiling_cents: Cents | None = None
    timeout_seconds: Seconds | None = None
    metadata: dict[str, Any] = {}
    volatile: list[str] = []
    redact: list[str] = []
    allow_secrets: list[str] = []
    result: str | None = None


class Spec:
    """A checked spec.

    Attributes: `id name version steps budget_ceiling_cents timeout_seconds volatile redact
    allow_secrets`; `document` as given; `raw` its
    canonical form; `hash` of that; `templates` of the steps' inputs; `dependencies`, per position the ids of the steps
    it needs; `dependents`, per position the positions of the steps that need it; `order`, the positions in the order
    they run one by one; `result`, a reference or None.

    Raises:
        UsageError: the document is no spec; the message names the place.
    """

    def __init__(self, document: Any, *, source: str = "spec") -> None:
        self.source = source
        try:
            self.raw = canonical_bytes(document)
            checked = msgspec.convert(document, _Document)
            _refuse_idle(checked.steps)
            self.volatile = list(checked.volatile)
            Volatile(self.volatile)
            self.redact = list(checked.redact)
            self.allow_secrets = list(checked.allow_secrets)
            Redaction(self.redact, Recognition(self.allow_secrets))
            if len(self.raw) > MAX_INPUTS:
                _refuse_oversize(checked.steps)
            self.templates = [_template(step, n) for n, step in enumerate(checked.steps)]
            self.result = parse_single(checked.result) if checked.result is not None else None
        except FormatError as error:
            raise UsageError(f"{source}: {error.problem}", hint=error.hint) from None
        except msgspec.ValidationError as error:
            raise UsageError(f"{source}: {_worded(error)}", hint="see the spec file section of the docs") from None
        self.document = document
        self.hash = sha256_hex(self.raw)
        self.id = checked.id
        self.name = checked.name if checked.name is not None else checked.id
        self.version = checked.version
        self.steps = checked.steps
        self.budget_ceiling_cents = checked.budget_ceiling_cents
        self.timeout_seconds = checked.timeout_seconds
        self.metadata = checked.metadata
        self.dependencies = self._dependencies()
        self.dependents = self._dependents()
        self.order = self._order()

    @property
    def run_inputs(self) -> set[str]:
        """The names of the run inputs that the spec refers to."""
        references = [r for template in self.templates for r in template.references]
        references += [self.result] if self.result else []
        return {reference.path[0] for reference in references if reference.root == RUN_INPUTS}

    def _refuse(self, problem: str, hint: str) -> UsageError:
        return UsageError(f"{self.source}: {problem}", hint=hint)

    def _dependencies(self) -> list[set[str]]:
        known: dict[str, int] = {}
        for n, step in enumerate(self.steps):
            if step.id == RUN_INPUTS:
                raise self._refuse(f'steps[{n}].id is "{RUN_INPUTS}"', "that name means the run's inputs; rename it")
            if step.id in known:
                raise self._refuse(f'steps[{n}].id "{step.id}" is also that of steps[{known[step.id]}]', "rename one")
            known[step.id] = n
        needs = []
        for n, (step, template) in enumerate(zip(self.steps, self.templates, strict=True)):
            for place, ids in (
                ("depends_on", step.depends_on),
                ("inputs", sorted(template.roots - {RUN_INPUTS})),
            ):
                for wanted in ids:
                    if wanted not in known:
                        raise self._refuse(f'steps[{n}].{place}: there is no step "{wanted}"', _nearest(wanted, known))
            needs.append({*step.depends_on, *template.roots} - {RUN_INPUTS})
        if self.result and self.result.root not in {*known, RUN_INPUTS}:
            raise self._refuse(f'result: there is no step "{self.result.root}"', _nearest(self.result.root, known))
        return needs

    def _circle(self) -> list[str]:
        """Return the ids of steps that wait for each other, the first again at the end."""
        graph = {step.id: sorted(needs) for step, needs in zip(self.steps, self.dependencies, strict=True)}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            return list(reversed(error.args[1]))
        return []

    def _dependents(self) -> list[list[int]]:
        place = {step.id: n for n, step in enumerate(self.steps)}
        found: list[list[int]] = [[] for _ in self.steps]
        for n, needs in enumerate(self.dependencies):
            for step_id in needs:
                found[place[step_id]].append(n)
        return found

    def _order(self) -> list[int]:
        # Of the steps that may run, always the first in the document: one order, whatever the machine.
        missing = [len(needs) for needs in self.dependencies]
        ready = [n for n, count in enumerate(missing) if count == 0]
        order = []
        while ready:
            n = heapq.heappop(ready)
            order.append(n)
            for waiting in self.dependents[n]:
                missing[waiting] -= 1
                if missing[waiting] == 0:
                    heapq.heappush(ready, waiting)
        if len(order) < len(self.steps):
            circle = " -> ".join(self._circle())
            raise self._refuse(
                f"steps wait for each other: {circle}", "break the cycle in depends_on or the references"
            )
        return order


def load_spec(path: Path) -> Spec:
    """Read the spec file at `path`: `.json`, `.toml`, or `.yaml`/`.yml` with the extra `yaml`.

    Raises:
        UsageError: it cannot be read or is no spec; the message names the place.
    """
    try:
        # Not blocking: a FIFO would wait for somebody to write.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"spec {path} is not a regular file", hint="check the path")
            data = file.read(MAX_SPEC + 1)
    except OSError as error:
        raise UsageError(f"spec {path} cannot be read: {error.strerror}", hint="check the path") from None
    if len(data) > MAX_SPEC:
        raise UsageError(f"spec {path} is larger than {MAX_SPEC >> 20} MiB", hint="split it")
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise UsageError(f"spec {path} is neither .json nor .toml nor .yaml", hint="rename it to what it is")
    try:
        document = parse(data.decode())
    except UsageError:
        raise
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"spec {path}: {reason}", hint="correct the file at that place") from None
    return Spec(document, source=os.path.relpath(path))


def first_place(document: Any, path: str) -> str | None:
    """Return the id of the step that the JSON Pointer `path` into a spec document lies in, or None."""
    match path.split("/"):
        case ["", "steps", n, *_] if isinstance(document, dict) and n.isdecimal():
            steps = document.get("steps")
            step = steps[int(n)] if isinstance(steps, list) and int(n) < len(steps) else None
            name = step.get("id") if isinstance(step, dict) else None
            return name if isinstance(name, str) else None
    return None


def _template(step: Step, n: int) -> Template:
    try:
        return Template(step.inputs)
    except FormatError as error:
        raise FormatError(f"steps[{n}].inputs: {error.problem}", hint=error.hint) from None


def _refuse_oversize(steps: list[Step]) -> None:
    for n, step in enumerate(steps):
        size = len(canonical_bytes(step.inputs))
        if size > MAX_INPUTS:
            problem = f"steps[{n}].inputs have {size} bytes, at most {MAX_INPUTS} fit a line"
            raise FormatError(problem, hint="name a file in its place and let the skill read it")


def _refuse_idle(steps: list[Step]) -> None:
    """Refuse members that would change nothing: whoever wrote them believes they do."""
    for n, step in enumerate(steps):
        if step.max_retries is not None and not step.retry and step.on_error != "retry":
            raise FormatError(
                f"steps[{n}].max_retries stands without retry", hint='add "retry": true, or on_error "retry"'
            )
        if step.idempotency_key is not None and "${" in step.idempotency_key:
            raise FormatError(
                f"steps[{n}].idempotency_key holds a reference, which is not resolved there",
                hint="write a fixed key, or hand one over among the inputs",
            )


def _worded(error: msgspec.ValidationError) -> str:
    what, _, place = str(error).partition(" - at ")
    place = place.strip("`").removeprefix("$").removeprefix(".")
    return f"{place or 'document'}: {what[:1].lower()}{what[1:]}"


def _nearest(wanted: str, known: Iterable[str]) -> str:
    # Only on the way to an error.
    import difflib

    close = difflib.get_close_matches(wanted, known, n=1)
    return f'did you mean "{close[0]}"' if close else "add the step or correct the name"


def _parse_json(text: str) -> Any:
    import json

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f'member "{twice}" stands twice in one object')
        return found

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, object_pairs_hook=members, parse_constant=constant)


def _parse_toml(text: str) -> Any:
    import tomllib

    return tomllib.loads(text)


def _parse_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise UsageError("reading YAML needs the extra `yaml`", hint="pip install 'stepseal[yaml]'") from None

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
            # A merge key is no member, and members that are merged in may be given again: that is its use.
            keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _YAML_MERGE]
            for key in keys:
                if keys.count(key) > 1:
                    raise ValueError(f'member "{key}" stands twice in one object')
            return super().construct_mapping(node, deep)

    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_swelling(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except (LookupError, AttributeError, TypeError):
        # What PyYAML raises for `!!int ""`, `!!bool x` and their like.
        raise ValueError("a value does not fit its tag") from None


def _refuse_swelling(root: Any) -> None:
    """Refuse YAML nodes whose aliases would make a document without end of a small file."""
    sizes: dict[int, int] = {}
    under_way: set[int] = set()

    def size(node: Any) -> int:
        if id(node) in under_way:
            raise ValueError("an alias stands inside what it is an alias of")
        if id(node) not in sizes:
            under_way.add(id(node))
            children = node.value if isinstance(node.value, list) else []
            parts = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
            sizes[id(node)] = 1 + sum(size(part) for part in parts)
            under_way.remove(id(node))
        if sizes[id(node)] > MAX_YAML_NODES:
            raise ValueError(f"aliases make more than {MAX_YAML_NODES} values of it")
        return sizes[id(node)]

    size(root)


_PARSERS = {".json": _parse_json, ".toml": _parse_toml, ".yaml": _parse_yaml, ".yml": _parse_yaml}
