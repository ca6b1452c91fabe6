"""Readable: a golden file or a seal as text that two versions of can be compared line by line; nothing is verified.

Never refuses: a line that is none of ours is shown as it stands. What differs in every recording and says nothing is
left out: MACs, and the times of single events.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

import msgspec
from msgspec import UNSET, UnsetType

from cli.render import counted, safe
from golden.errors import FormatError
from golden.event import EffectData, Event, RunEnd, RunResume, RunStart, StepData, parse_event
from golden.seal import Signature, Statement

# A value is there to be looked at; what is left out of it its hash stands for.
MAX_LINES = 400
MAX_COLUMNS = 2000
_UNVERIFIED = "not verified"
# A line feed in a JSON text, not the letter n behind a backslash that is spelt out.
_LINE_FEED = re.compile(r"(?<!\\)((?:\\\\)*)\\n(?!\")")
_statement = msgspec.json.Decoder(Statement).decode
_signature = msgspec.json.Decoder(Signature).decode


def readable_line(number: int, line: bytes) -> Iterator[str]:
    """Give the lines that stand for line `number` (from 1, without LF) of a golden file, a seal or anything else."""
    try:
        event = parse_event(line)
    except FormatError:
        yield from _no_event(number, line)
        return
    words = _event_words(event)
    yield next(words)
    yield from (f"  {line}" for line in words)


def _event_words(event: Event) -> Iterator[str]:
    match event.data:
        case RunStart() as data:
            yield f"run {safe(event.run_id)}, {_UNVERIFIED}"
            yield from _start(event, data)
        case StepData() as data:
            yield f"step {safe(data.step_id)} {_outcome(data)}"
            yield from _step(data)
        case EffectData() as data:
            yield f"effect {safe(data.step_id)} → {safe(data.name)}"
            yield from _effect(data)
        case RunResume() as data:
            yield f"resumed at index {data.next_index}" + (f" under key {event.golden.kid}" if event.golden else "")
            yield from (f"accepted: {safe(change)}" for change in data.accepted_changes)
        case RunEnd() as data:
            steps = f"{data.steps_completed} of {counted(data.steps_total, 'step')}"
            yield f"end {safe(data.status)}, {steps}, {data.total_cost_cents}¢"
            yield f"result {data.result_hash}"


def _start(event: Event, data: RunStart) -> Iterator[str]:
    if event.golden:
        yield f"recorded {event.timestamp} as file {event.golden.file_id} under key {event.golden.kid}"
    here = data.environment
    yield f"on Python {safe(here.python)}, {safe(here.platform)}, golden {safe(here.version)}"
    if data.resumed_from is not UNSET:
        yield f"resumed from {safe(data.resumed_from.run_id)} {data.resumed_from.sha256}"
    yield f"spec {safe(data.spec_id or '-')} {data.spec_hash}"
    yield f"seed {data.seed} {data.seed_scheme}"
    budget = data.budget_snapshot
    yield f"budget {budget.step_ceiling_cents}¢ a step, {budget.workflow_ceiling_cents}¢ in all"
    for name, paths in (("volatile", data.volatile), ("redacted", data.redacted)):
        yield from (f"{name} {safe(path)}" for path in paths)
    yield "inputs"
    yield from _value(data.inputs)


def _outcome(data: StepData) -> str:
    if data.skipped is True:
        return f"skipped: {safe(data.because or '')}"
    carried = " (carried)" if data.carried is True else ""
    return f"{'ok' if data.success else 'failed'}{carried}"


def _step(data: StepData) -> Iterator[str]:
    cost = f", {data.cost_cents}¢" if data.cost_cents else ""
    tries = f", {counted(len(data.attempts), 'attempt')}" if len(data.attempts) > 1 else ""
    yield f"skill {safe(data.skill_id)} {safe(data.skill_version)}{cost}{tries}"
    yield f"inputs {data.input_hash}"
    yield from _value(data.inputs)
    if data.success:
        yield f"output {data.output_hash}"
        yield from _value(data.output)
    if not isinstance(data.error, UnsetType):
        where = f" at {safe(data.error.location)}" if data.error.location else ""
        yield f"error {safe(data.error.code)} {safe(data.error.type)}{where}"
        yield from _text(data.error.message)


def _effect(data: EffectData) -> Iterator[str]:
    yield f"asked {data.args_hash}"
    yield from _value(b'{"args":%b,"kwargs":%b}' % (bytes(data.args), bytes(data.kwargs)))
    if isinstance(data.error, UnsetType):
        yield f"answered {data.result_hash}"
        yield from _value(data.result)
    else:
        yield f"raised {safe(data.error.type)}"
        yield from _text(data.error.message)


def _no_event(number: int, line: bytes) -> Iterator[str]:
    try:
        seal = _statement(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    else:
        yield f"seal of {safe(seal.run_id)}, {_UNVERIFIED}"
        yield f"  {safe(seal.status)}, {counted(seal.events, 'event')}, {counted(seal.bytes, 'byte')}"
        yield f"  file {seal.file_id}, sealed {seal.sealed_at}"
        yield f"  sha256 {seal.sha256}"
        if seal.accepted is not UNSET:
            yield f"  accepted by {safe(seal.accepted.actor)} {seal.accepted.at}: {safe(seal.accepted.reason)}"
        return
    try:
        signed = _signature(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    else:
        yield f"  signed by {signed.kid} {safe(signed.alg)}"
        return
    yield f"line {number} is no event of golden/v1, {_UNVERIFIED}"
    yield from (f"  {text}" for text in _value(line))


def _value(raw: msgspec.Raw | bytes) -> Iterator[str]:
    """Give a JSON value over several lines, and text that is none as it stands; longer ones are cut."""
    data = bytes(raw)
    try:
        text = msgspec.json.format(data, indent=2).decode("utf-8", "replace")
    except (msgspec.MsgspecError, RecursionError):
        text = data.decode("utf-8", "replace")
    # A text of many lines is one line of JSON, and a word changed in it would hide among a thousand.
    pieces = chain.from_iterable(_LINE_FEED.sub(r"\1\\n" + "\n", line).split("\n") for line in text.split("\n"))
    yield from _short(pieces)


def _text(text: str) -> Iterator[str]:
    return _short(iter(text.split("\n")))


def _short(lines: Iterator[str]) -> Iterator[str]:
    number = 0
    for number, line in enumerate(lines, start=1):
        if number <= MAX_LINES:
            shown = line if len(line) <= MAX_COLUMNS else f"{line[:MAX_COLUMNS]}… of {len(line)} characters"
            yield f"  {safe(shown)}"
    if number > MAX_LINES:
        yield f"  … {counted(number - MAX_LINES, 'line')} more"
