"""Operate: the commands that show how the tool itself is set up."""

from __future__ import annotations

import os
from typing import Any

from cli.command import Session, command
from cli.render import bold, dim, safe, shown
from cli.settings import CEILINGS, SECRETS, SWITCHES, Settings
from golden.errors import KeyringError


@command(
    """golden config
    golden config --json""",
)
def config(session: Session) -> int:
    """Show each setting, its value and where it comes from.

    Precedence: flag, environment, golden.toml or [tool.golden] of the nearest pyproject.toml, default. Secrets are
    never shown, only the ids of the keys made from them.
    """
    settings, out = session.settings, session.out
    sources = settings.sources_path
    values = {**settings.values, "checkpoints": settings.checkpoints_shown}
    rows: list[tuple[str, Any, str]] = [(key, value, settings.origins[key]) for key, value in values.items()]
    rows += [
        ("sources", sources if sources and os.path.lexists(sources) else None, _origin(settings, "GOLDEN_SOURCES")),
        ("state_dir", settings.state_dir, _origin(settings, "GOLDEN_STATE_DIR")),
    ]
    rows += [
        (name, settings.ceiling(name), "environment" if name in settings.environ else "default") for name in CEILINGS
    ]
    rows += [
        (name, settings.switch(name), "environment" if name in settings.environ else "default") for name in SWITCHES
    ]
    keys, problem = [], None
    try:
        rows += [("anchor_to", str(where), "sources.toml") for where in settings.sources.anchor_to]
        for entry in settings.keyring():
            at_hand = settings.pool.look(entry.kid)[1]
            keys.append({"kid": entry.kid, "alg": entry.alg, "state": entry.state, "at_hand": at_hand})
    except KeyringError as error:
        problem = error
    names = [name for name in SECRETS if settings.environ.get(name)]
    names = [*([settings.values["keyring"]] if settings.values["keyring"] else []), *names]
    rows.append(("keys", keys, ", ".join(names) or "default"))
    for key, value, where in rows:
        out.record("config", key=key, value=value, origin=where)
    width = max(len(key) for key, _, _ in rows)
    for key, value, where in rows:
        text = ", ".join(map(_key, value)) or "none" if key == "keys" else _plain(value)
        out.answer(f"{bold(key.ljust(width))}  {text}  {dim(safe(where))}")
    if problem is not None:
        raise problem
    return 0


def _origin(settings: Settings, variable: str) -> str:
    return variable if settings.environ.get(variable) else "default"


def _key(key: dict[str, Any]) -> str:
    hand = {True: "", False: " (not at hand)", None: " (not asked for)"}[key["at_hand"]]
    return f"{key['kid']} {key['state']}{hand}"


def _plain(value: Any) -> str:
    if value in (None, {}):
        return "none"
    if isinstance(value, list):
        return ", ".join(map(safe, value)) or "none"
    return safe(value) if isinstance(value, str) else shown(value)
