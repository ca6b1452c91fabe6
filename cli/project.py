"""Project: the command that makes a project ready: configuration, first keys, and what git is to know."""

from __future__ import annotations

import os

import click
import msgspec

from cli.command import Session, command
from cli.git import ATTRIBUTES, has_line, said, with_lines
from cli.keys import sources_path, usual_place
from cli.render import dim
from cli.settings import SECRETS
from golden.clock import timestamp
from golden.files import open_folder
from golden.keyfile import edit, read_text, write_policy
from golden.keyring import Algorithm, entry_of, key_from, new_secret
from golden.sources import add_source, save_secret

_LEDGER = """\
# Git keeps this directory's history, and would tear a ledger apart when it merges.
ledger = false
"""
_CONFIGURATION = """\
# `golden config` shows every setting and where it comes from.
dir = {dir}
"""

# What a run leaves beside golden files, seals and ledger, and what is of one host alone.
IGNORED = ("checkpoints.sqlite*", "stop.json", "*.lock", "quarantine/")


@command(
    """golden init
    golden init --hmac""",
)
@click.option("--hmac", is_flag=True, help="An HMAC key alone: whoever can verify can also sign.")
def init(session: Session, hmac: bool) -> int:
    """Make a configuration, keys and a keyring, and change nothing that exists.

    Writes golden.toml, .gitattributes and golden-keyring.toml here, in a git repository a .gitignore in the golden
    directory, and new secrets below your own configuration folder. Of the two keys the HMAC one signs each event, the
    Ed25519 one what is finished, which everybody can verify who has the keyring.
    """
    settings = session.settings
    folder = _configure(session)
    path = os.path.join(settings.root, ".gitattributes")
    if not os.path.lexists(path):
        edit(path, with_lines([ATTRIBUTES]))
        said(session, path, done=True)
    elif has_line(path, ATTRIBUTES):
        said(session, path, done=False, why="it keeps git's hands off golden files")
    else:
        said(session, path, done=False, why="it exists; `golden git install` adds the line that golden files need")
    if _repository(os.path.abspath(folder)):
        _ignore(session, folder)
    algorithms: list[Algorithm] = ["hmac-sha256"] if hmac else ["hmac-sha256", "ed25519"]
    _first_keys(session, algorithms)
    return 0


def _configure(session: Session) -> str:
    """Write the configuration where there is none; return the golden directory."""
    settings = session.settings
    if settings.file:
        said(session, settings.file, done=False, why="it is the configuration")
        return settings.directory
    path = os.path.join(settings.root, "golden.toml")
    chosen = settings.origins["dir"] != "default" or os.path.isdir(settings.directory)
    folder = settings.directory if chosen else "goldens"
    text = _CONFIGURATION.format(dir=msgspec.json.encode(folder).decode())
    edit(path, lambda _: text + (_LEDGER if _repository(settings.root) else ""))
    said(session, path, done=True)
    return folder


def _ignore(session: Session, folder: str) -> None:
    """Keep git from what lies in a golden directory and is nobody else's."""
    path = os.path.join(folder, ".gitignore")
    if not os.path.lexists(path):
        with open_folder(folder, create=True):
            edit(path, lambda _: "".join(f"{line}\n" for line in IGNORED))
        said(session, path, done=True)
        return
    there = read_text(path).split("\n")
    missing = [line for line in IGNORED if line not in there]
    why = f"it exists; git should not keep {', '.join(missing)} either" if missing else "it keeps git off what is local"
    said(session, path, done=False, why=why)


def _first_keys(session: Session, algorithms: list[Algorithm]) -> None:
    """Make the first keys of a project."""
    settings, path = session.settings, session.settings.new_keyring
    if os.path.lexists(path):
        said(session, path, done=False, why="its keys are in charge; `golden keys list` shows which are at hand")
        return
    if settings.pool.active is not None:
        name = next(name for name in SECRETS if settings.environ.get(name))
        said(
            session,
            path,
            done=False,
            why=f"{name} is in charge; `golden keys add --generate --active` would replace it",
        )
        return
    sources = sources_path(settings)
    entries = []
    for alg in algorithms:
        secret = new_secret(alg)
        key = key_from(secret.removesuffix(b"\n"))
        where = usual_place(sources, key)
        save_secret(where, secret)
        add_source(sources, key.kid, where)
        entries.append(entry_of(key, "active", timestamp()))
        said(
            session,
            where.name,
            done=True,
            why=f"key {key.kid}, {key.alg}: keep a copy of it in a safe place",
            kid=key.kid,
        )
    said(session, sources, done=True, why="where the secrets of these keys lie")
    write_policy(path, entries)
    said(session, path, done=True, why="which keys there are: commit it")
    session.out.talk(dim("hint: golden record SPEC writes the first recording"))


def _repository(folder: str) -> str | None:
    while not os.path.exists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder
