"""Keys: the commands about keys and where their secrets lie.

Takes no secret as an argument and shows none; what a key may do is decided in `golden`.
"""

from __future__ import annotations

import os
from typing import Any

import click
from msgspec import UNSET

from cli.command import Family, Session
from cli.confirm import agree, destructive
from cli.render import bold, dim, mark, safe
from cli.settings import Settings
from golden.clock import timestamp
from golden.errors import UsageError
from golden.keyfile import add_entry, read_policy, set_state, with_entry, with_state, write_policy
from golden.keyring import (
    ED25519,
    HMAC_SHA256,
    Algorithm,
    Entry,
    Key,
    Keyring,
    entry_of,
    key_from,
    new_secret,
    weakness,
)
from golden.repair import revoke as revoke_key
from golden.sources import Where, add_source, check_kid, fetch, save_secret, where_of

keys = Family(
    "keys",
    """Show, add, retire and revoke keys.

    The keyring file says which keys there are and what each may do: `active` signs and verifies, `retired` verifies,
    `revoked` does neither. It holds no secret. Where this host finds the secrets is said by sources.toml in your
    configuration folder.
    """,
    """golden keys list
    golden keys add --generate --active
    golden keys add --source file:/run/secrets/golden
    golden keys retire a711c564e8977490
    golden keys revoke a711c564e8977490 --yes""",
)


@keys.member(
    "list",
    """golden keys list
    golden keys list --json""",
)
def list_keys(session: Session) -> int:
    """Show the keys and what each may do here.

    The state is the most severe of what the keyring, the ledger of the golden directory and this host's memory say.
    Programs and the OS keyring are not asked for secrets; `golden keys show` asks them.
    """
    entries, notes = _entries(session.settings)
    for entry in entries:
        _show(session, _found(session.settings, entry))
    for note in notes:
        session.out.talk(dim(f"note: {safe(note)}"))
    if not entries:
        session.out.answer("no key")
        session.out.talk(dim("hint: `golden init` makes one"))
    return 0


@keys.member(
    "show",
    """golden keys show
    golden keys show a711c564e8977490""",
)
@click.argument("kids", nargs=-1, metavar="[KID]")
def show(session: Session, kids: tuple[str, ...]) -> int:
    """Show all about a key, and ask its sources.

    Says where the secret should lie and what is wrong there; without KID, of each key. Exits 0 if the key is known, 2
    if not.
    """
    settings, out = session.settings, session.out
    entries, notes = _entries(settings)
    if kids:
        kid = _only(kids)
        entries = [entry for entry in entries if entry.kid == kid]
        if not entries:
            raise UsageError(f"the keyring has no key {kid}", hint="`golden keys list` shows the keys")
    for entry in entries:
        row = _found(settings, entry, ask=True)
        _show(session, row)
        for name in ("created", "public", "source"):
            if row[name]:
                out.answer(f"  {name.ljust(8)}{safe(row[name])}")
        for line in _elsewhere(entry, settings.new_keyring):
            out.talk(dim(f"  {safe(line)}"))
    for note in notes:
        out.talk(dim(f"note: {safe(note)}"))
    return 0


@keys.member(
    "add",
    """golden keys add --generate --active
    golden keys add --generate --alg ed25519 --active
    golden keys add --source file:/run/secrets/golden
    golden keys add --source 'exec:["/usr/bin/pass","golden"]' --active""",
)
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="")
@click.option(
    "--source",
    metavar="WHERE",
    help="Where the secret lies: file:PATH, env:NAME, exec:ARGV-JSON or keyring:NAME."
    "  [default: a file in your configuration folder]",
)
@click.option("--generate", is_flag=True, help="Make a secret and put it there.")
@click.option(
    "--alg", type=click.Choice([HMAC_SHA256, ED25519]), help=f"What --generate makes.  [default: {HMAC_SHA256}]"
)
@click.option("--active", is_flag=True, help="Sign with it from now on; the key before it is retired.")
def add(
    session: Session, extra: tuple[str, ...], source: str | None, generate: bool, alg: Algorithm | None, active: bool
) -> int:
    """Add a key to the keyring.

    Where its secret lies goes into your sources.toml, what the key may do into the keyring file. Prints the kid, and
    what other hosts must be given. Without --active a key verifies and signs nothing, unless the keyring file has no
    other that signs; a key that was in the environment alone is then retired. A key that the keyring has already only
    gets a source on this host.
    """
    settings = session.settings
    if extra:
        raise UsageError(
            "a word too many, which is not repeated here",
            hint="if it was a secret, it is one no more: make another with `golden keys add --generate`",
        )
    sources = sources_path(settings)
    where = None if source is None else where_of(source, os.getcwd())
    if generate:
        secret = new_secret(alg or "hmac-sha256")
    elif where:
        secret = fetch(where, settings.environ, hidden=settings.sources.variables)
    else:
        raise UsageError("no secret to add", hint="give --source, or --generate to make one")
    key = key_from(secret.removesuffix(b"\n"))
    if alg not in {None, key.alg}:
        raise UsageError(f"the secret makes a key of {key.alg}, not {alg}", hint="leave out --alg")
    where = where or usual_place(sources, key)
    path = settings.new_keyring
    here = os.path.lexists(path)
    before = read_policy(path) if here else _of_environment(settings)
    known = next((entry for entry in before if entry.kid == key.kid), None)
    after = before
    if known is None or known.state == "revoked" or (active and known.state != "active"):
        signs = any((entry.alg, entry.state) == (HMAC_SHA256, "active") for entry in before)
        # With the first keyring file a key takes the place of the one that was in the environment alone.
        active = active or (key.alg == HMAC_SHA256 and not (here and signs))
        # Refuses what is there already: no state gets milder.
        after = with_entry(before, entry_of(key, "retired", timestamp()), active=active)
    if generate:
        save_secret(where, secret)
    add_source(sources, key.kid, where)
    if not here:
        write_policy(path, after)
    elif after != before:
        after = add_entry(path, after[-1], active=active)
    _told(session, before, after, key.kid, where)
    return 0


@keys.member("retire", "golden keys retire a711c564e8977490")
@click.argument("kids", nargs=-1, metavar="KID")
def retire(session: Session, kids: tuple[str, ...]) -> int:
    """Let a key verify and no longer sign.

    The last active HMAC key stays: add another first. Exits 0 also if the key was retired before.
    """
    settings = session.settings
    kid = _only(kids)
    path = settings.new_keyring
    if not os.path.lexists(path):
        raise UsageError(
            "there is no keyring file to say it in", hint="`golden keys add --generate --active` makes one"
        )
    before = {entry.kid: entry.state for entry in read_policy(path)}
    entry = next(entry for entry in set_state(path, kid, "retired") if entry.kid == kid)
    _show(session, _found(settings, entry))
    if before[kid] == "retired":
        session.out.talk(dim("  it was retired before"))
    return 0


@keys.member(
    "revoke",
    """golden keys revoke a711c564e8977490 --dry-run
    golden keys revoke a711c564e8977490 --reason "rotated on schedule" --yes""",
)
@click.argument("kids", nargs=-1, metavar="KID")
@click.option("--reason", metavar="TEXT", help="Why, for the ledger.")
@destructive
def revoke(session: Session, kids: tuple[str, ...], reason: str | None, yes: bool, dry_run: bool) -> int:
    """Take the last say from a key that is out of use: nothing it signs counts any more, and nothing takes that back.

    Refused while a file of the golden directory still needs it; `golden rotate` comes first. For a key that leaked use
    `golden rotate --reason compromised`, which believes only what is older than the leak.
    """
    settings, out = session.settings, session.out
    kid = _only(kids)
    path = settings.new_keyring
    if not os.path.lexists(path):
        hint = "`golden keys add --generate --active` makes one"
        raise UsageError("there is no keyring file to say it in", hint=hint)
    store = settings.store()
    # Refused before anything is written: no such key, or the last one that signs.
    before = {entry.kid: entry.state for entry in read_policy(path)}
    with_state(read_policy(path), kid, "revoked")
    if not dry_run:
        agree(out, f"revoke key {kid} for good?", yes=yes)
    news = revoke_key(store, kid, reason, dry_run=dry_run)
    if news and not dry_run:
        session.keep(store.read())
    entries = read_policy(path) if dry_run else set_state(path, kid, "revoked")
    _show(session, _found(settings, next(entry for entry in entries if entry.kid == kid)))
    if dry_run:
        out.talk(dim("  dry run: it would be revoked"))
    elif before[kid] == "revoked" and not news:
        out.talk(dim("  it was revoked before"))
    return 0


def _told(session: Session, before: list[Entry], after: list[Entry], kid: str, where: Where) -> None:
    settings, out = session.settings, session.out
    entry = next(entry for entry in after if entry.kid == kid)
    _show(session, _row(entry, where.label, at_hand=True))
    states = {entry.kid: entry.state for entry in before}
    for other in after:
        if other.kid != kid and states.get(other.kid) != other.state:
            out.answer(f"  key {other.kid} is {other.state} now: it verifies, and signs no more")
    out.talk(dim(f"  keyring  {safe(settings.new_keyring)}"))
    out.talk(dim(f"  source   {safe(where.label)}, said in {safe(sources_path(settings))}"))
    for line in _elsewhere(entry, settings.new_keyring):
        out.answer(f"  {safe(line)}")
    if entry.state == "retired" and kid not in states:
        out.talk(dim("  note: a retired key never becomes active; --active puts a new one in charge"))


def _elsewhere(entry: Entry, path: str) -> list[str]:
    """Say what other hosts must be given to use a key."""
    if entry.state == "revoked":
        return []
    if entry.alg == ED25519:
        verify = f"other hosts verify with {path} alone"
        sign = f", and sign with the private key too: `golden keys add --source …` there, kid {entry.kid}"
        return [verify + (sign if entry.state == "active" else "")]
    return [f"other hosts need {path} and the secret: `golden keys add --source …` there must print kid {entry.kid}"]


def _entries(settings: Settings) -> tuple[list[Entry], list[str]]:
    """Return the keys with the states that count here, and where these are not what the keyring says."""
    store = settings.store()
    directory = store.read()
    written = {entry.kid: entry.state for entry in store.keyring}
    entries = list(directory.keyring)
    notes = [
        f"key {entry.kid} is {entry.state}, though the keyring says {written[entry.kid]}:"
        f" the ledger of {store.folder}, or this host's memory of it, has it so"
        for entry in entries
        if entry.state != written[entry.kid]
    ]
    return entries, [*notes, *directory.notes]


def _of_environment(settings: Settings) -> list[Entry]:
    """Return the keys that were in use without a keyring file; a secret too weak for golden/v1 made none."""
    pool = settings.pool
    for name, kid, secret in pool.given():
        if weakness(secret):
            pool.note(f"the secret of {name} {weakness(secret)}: it goes into no keyring; name it with --key {kid}")
    active, previous = (secret if secret and not weakness(secret) else None for secret in (pool.active, pool.previous))
    return list(Keyring(active, [previous] if previous else []))


def _row(entry: Entry, source: str | None, *, at_hand: bool | None) -> dict[str, Any]:
    return {
        "kid": entry.kid,
        "alg": entry.alg,
        "state": entry.state,
        "created": None if entry.created is UNSET else entry.created,
        "public": None if entry.public is UNSET else entry.public,
        "source": source,
        "at_hand": at_hand,
    }


def _found(settings: Settings, entry: Entry, *, ask: bool = False) -> dict[str, Any]:
    source, at_hand = settings.pool.look(entry.kid, ask=ask)
    return _row(entry, source, at_hand=at_hand)


def _show(session: Session, row: dict[str, Any]) -> None:
    session.out.record("keys", **row)
    hand = {True: "at hand", False: "not at hand", None: "not asked for"}[row["at_hand"]]
    if row["public"] and not row["at_hand"]:
        hand = "verifies" if row["at_hand"] is False else f"verifies; private half {hand}"
    good = {"active": True, "retired": None, "revoked": False}[row["state"]]
    where = f"  {row['source']}" if row["source"] else ""
    words = f"{mark(good)} {bold(row['kid'])}  {row['alg'].ljust(11)}  {row['state'].ljust(7)}  {hand}"
    session.out.answer(words + dim(safe(where)))


def _only(kids: tuple[str, ...]) -> str:
    if len(kids) != 1:
        raise click.UsageError("give one KID: 16 hex digits")
    return check_kid(kids[0])


def sources_path(settings: Settings) -> str:
    """Return where this user's sources.toml is or would be; raises UsageError where nobody knows."""
    path = settings.sources_path
    if path is None:
        raise UsageError("this user has no home to keep sources.toml in", hint="name one with GOLDEN_SOURCES")
    return os.path.abspath(path)


def usual_place(sources: str, key: Key) -> Where:
    """Return where the secret of a new key goes, beside the sources.toml."""
    suffix = "pem" if key.alg == ED25519 else "secret"
    return where_of(f"file:keys/{key.kid}.{suffix}", os.path.dirname(sources))
