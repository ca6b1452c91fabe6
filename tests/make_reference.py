"""Make docs/reference/commands.md from the command line itself: `python -m tests.make_reference`.

Everything but the exit codes is read from the click commands; a test holds the document against this text.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from cli import main

TARGET = Path(__file__).resolve().parents[1] / "docs" / "reference" / "commands.md"
# What a code means for this command; 2 (misuse) and 130 or 143 (interrupted) are the same for all.
EXIT_CODES = {
    "demo": {0: "every command of the story answered as it must", 4: "one did not"},
    "record": {
        0: "the run completed, or COMMAND succeeded; its file is sealed",
        1: "it did not complete, or COMMAND failed; the recording of that is sealed too",
        4: "the golden directory cannot be written",
        130: "SIGINT: the run was ended and sealed as `aborted`; SIGTERM: 143",
    },
    "replay": {
        0: "every recording matched",
        1: "one diverged",
        3: "a file is tampered with; it was not replayed",
        4: "one could not be replayed, has commands that nobody allowed, or there was none",
    },
    "init": {0: "what was missing is written, what exists is left as it is", 2: "it cannot be written"},
    "import": {
        0: "every file was brought in, or had been before",
        3: "one is tampered with, or what is here is not what it says; the others were brought in",
        4: "one cannot be checked, or there was nothing to import",
    },
    "diff": {
        0: "alike",
        1: "they differ",
        3: "a file is tampered with; nothing was compared",
        4: "a file is missing, live, or its key is not at hand",
    },
    "tail": {
        0: "the events were shown; with `-f`, the run has ended",
        3: "an event does not fit the chain, or the file its seal",
        4: "nothing vouches for the file, or it is missing",
    },
    "gate": {
        0: "every recording verified and matched",
        1: "one diverges, is flaky, waits for review, or has no spec any more",
        3: "one is tampered with, missing, unlisted or not what its name says; or the ledger is no longer what it was",
        4: "one could not be judged, or there was nothing to judge",
    },
    "update": {
        0: "every run was recorded anew and waits, or came out alike",
        2: "one asks the world for what its recording does not hold, or cannot run here; or this is CI",
        3: "a golden recording is not what was recorded",
        4: "a golden recording cannot be judged",
    },
    "review": {
        0: "nothing waits any more",
        1: "something waits",
        3: "of what waits, or of what it would replace, something is not what was recorded; the others are shown",
    },
    "accept": {
        0: "each is golden now",
        2: "nothing of that run waits, or this is CI",
        3: "what waits, or what it would replace, is not what was recorded; the others are accepted",
    },
    "reject": {0: "each was removed", 2: "nothing of that run waits, or this is CI"},
    "verify": {
        0: "all are intact, and so is the ledger",
        3: "one is tampered with, missing, unlisted or not what its name says; or the ledger is no longer what it was",
        4: "that cannot be decided for one, or there was nothing to check",
    },
    "keys list": {0: "shown"},
    "keys show": {0: "shown", 2: "the keyring has no such key"},
    "keys add": {0: "the key is in the keyring", 2: "refused; nothing was written"},
    "keys retire": {0: "it is retired, or was before", 2: "refused: no such key, or the last one that signs"},
    "keys revoke": {
        0: "it is revoked, or was before; with `--dry-run`, it would be",
        2: "refused: a file still needs it, no such key, the last one that signs, or nobody said yes",
        3: "the ledger is not good; nothing was written",
    },
    "rotate": {
        0: "every run is under the active keys; always with `--dry-run`, once the plan could be made",
        2: "refused before anything was done: no anchor after a leak, no newer key, nobody said yes",
        3: "a run is tampered with, rolled back or missing, or the ledger is not good",
        4: "a run is unproven or live, or its seal could not be written; all others are done",
    },
    "resign": {
        0: "the runs are under the active keys",
        3: "one is tampered with, rolled back or missing",
        4: "one is unproven or live",
    },
    "quarantine": {
        0: "the runs are set apart",
        2: "nobody said yes, or a run is being written",
        3: "the ledger is not good; nothing was moved",
        4: "there is no such run",
    },
    "recover": {
        0: "written down, or there was nothing to write down",
        2: "nobody said yes",
        4: "lines that may be honest are by a key that is not at hand, or there is no such run; nothing was written",
    },
    "ledger init": {0: "all that lies there is listed", 2: "there is a ledger", 3: "a file was left out"},
    "anchors": {
        0: "one was found that the ledger extends",
        3: "the ledger does not extend one of them (it was changed or put back), or one cannot have been stored then",
        4: "none was found",
    },
    "resume": {
        0: "the run has completed, now or before",
        1: "it did not complete; the recording of that is sealed too",
        2: "refused: resuming is disabled, the engine is stopped, or the run is being written",
        3: "the golden file is not what was recorded; nothing was run",
        4: "something changed that was not accepted, a command was refused, or the run had to be left unfinished",
        130: "SIGINT: the run was ended and sealed as `aborted`; SIGTERM: 143",
    },
    "fork": {
        0: "the new run completed",
        1: "it did not complete; the recording of that is sealed too",
        2: "refused: the engine is stopped, no such step, or the id is taken",
        3: "RUN is not what was recorded; nothing was run",
        4: "something changed that was not accepted, a command was refused, or the new run had to be left unfinished",
        130: "SIGINT: the run was ended and sealed as `aborted`; SIGTERM: 143",
    },
    "status": {
        0: "all of it could be said",
        3: "the ledger is tampered with",
        4: "something could not be read; the rest is shown",
    },
    "list": {0: "both halves could be read", 4: "a half, or a run, could not be read; the rest is shown"},
    "inspect": {
        0: "both halves could be read",
        3: "the golden file is not what was recorded; it is shown unverified",
        4: "a half is missing, or nobody here can say what the file is worth; the rest is shown",
    },
    "stats": {0: "both halves could be read", 4: "a half, or a run, could not be read, or there is no such run"},
    "checkpoints list": {0: "shown", 4: "the store does not answer, or one of them is damaged; the others are shown"},
    "checkpoints show": {0: "shown", 4: "there is none, it is damaged, or the store does not answer"},
    "checkpoints set-status": {
        0: "set; with `--dry-run`, it would be",
        4: "it is another version by now, or there is none",
    },
    "checkpoints delete": {
        0: "gone; with `--dry-run`, it would be",
        2: "nobody said yes",
        4: "it is another version by now, or there is none",
    },
    "checkpoints prune": {0: "done, or there was nothing to do", 2: "nobody said yes", 4: "the store does not answer"},
    "stop": {0: "the engine is stopped", 2: "no reason was given", 4: "stop.json cannot be written"},
    "start": {
        0: "runs may begin",
        4: "the environment halts the engine still, stop.json cannot be taken away, or there is no golden directory",
    },
    "config": {0: "shown"},
    "git install": {0: "git knows", 2: "this is no git repository, or git does not trust it"},
    "git show": {0: "shown; nothing was verified", 4: "there is no such file, or it cannot be read"},
    "git merge": {1: "always: the conflict is left"},
}
HEAD = """\
# Commands

<!-- Made by `python -m tests.make_reference` from the command line itself: change that, not this. -->

`golden COMMAND [OPTIONS] …`, also as `python -m golden`. A RUN is a run id, looked up in the golden directory; with a
`/` or the suffix `.jsonl` it is a path. The answer goes to stdout, everything said beside it to stderr.
What `--json` writes is in [JSON answers](json.md), where a default comes from in [configuration](configuration.md).
"""
COMMON = """\
## On every command

{options}

| exit code | means |
|---|---|
| 0 | yes |
| 1 | no: it differs, diverges, or the recorded run did not complete |
| 2 | misuse: arguments, spec, skill module, configuration, secret |
| 3 | tampered |
| 4 | undecided |
| 130, 143 | interrupted by SIGINT, by SIGTERM |
| 141 | whoever was reading the answer went away before its end |

An error is two lines on stderr: `golden:` says what is so, `hint:` what to do next.

Completion for bash, and likewise for zsh and fish:

```sh
eval "$(_GOLDEN_COMPLETE=bash_source golden)"
```
"""


def document() -> str:
    """Return the whole text of the reference."""
    commands = dict(leaves())
    named = [{_names(option) for option in _options(command)} for command in commands.values()]
    shared = [option for option in _options(commands["verify"]) if all(_names(option) in names for names in named)]
    common = {(_names(option), option.help) for option in shared}
    parts = [HEAD, COMMON.format(options=_table(shared))]
    for group, names in main.GROUPS.items():
        parts.append(f"## {group}\n")
        parts += [_section(name, commands[name], common) for name in commands if name.split()[0] in names]
    return "\n".join([*parts, _later(commands)])


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Give each command that does something by its whole name, as `keys list`."""
    for name in main.COMMANDS:
        found = _command(name)
        if isinstance(found, click.Group):
            yield from ((f"{name} {below}", command) for below, command in found.commands.items())
        else:
            yield name, found


def _command(name: str) -> click.Command:
    found = main.golden.get_command(click.Context(main.golden), name)
    assert found is not None, name
    return found


def _section(name: str, command: click.Command, common: set[tuple[str, str | None]]) -> str:
    usage = " ".join(filter(None, command.collect_usage_pieces(click.Context(command))))
    own = [option for option in _options(command) if (_names(option), option.help) not in common]
    text = re.sub(r" +", " ", (command.help or "").replace("\n\n", "\x1e").replace("\n", " ")).replace("\x1e", "\n\n")
    parts = [f"### golden {name}\n", f"    golden {name} {usage}\n", f"{_folded(text)}\n"]
    if own:
        parts.append(f"{_table(own)}\n")
    codes = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES[name].items()]
    parts.append("\n".join(["| exit code | means |", "|---|---|", *codes]) + "\n")
    lines = [line.strip() for line in (command.epilog or "").strip().splitlines()]
    parts.append("\n".join(["```sh", *lines, "```"]) + "\n")
    return "\n".join(parts)


def _later(commands: dict[str, click.Command]) -> str:
    lines = ["## Other spellings\n", "The AOS runbook writes some things otherwise; both are understood.\n"]
    lines += [f"- `golden {alias}`: the same as `golden {name}`" for alias, name in main.ALIASES.items()]
    takers = [f"`{name}`" for name, command in commands.items() if _takes_run(command)]
    lines += [f"- `--run RUN` on {_listed(takers)}: the same as the argument RUN", "", "## Not yet\n"]
    lines.append("Refused by name, with exit code 2, until they are there:\n")
    lines.append(_folded(f"- commands: {', '.join(f'`{name}`' for name in sorted(main.LATER))}", "  "))
    return "\n".join(lines) + "\n"


def _takes_run(command: click.Command) -> bool:
    return any("--run" in option.opts for option in command.params)


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _options(command: click.Command) -> Iterator[click.Option]:
    # The help option is made for a context, so it is asked for by name.
    for option in command.get_params(click.Context(command, help_option_names=["-h", "--help"])):
        if isinstance(option, click.Option) and not option.hidden:
            yield option


def _names(option: click.Option) -> str:
    metavar = "" if option.is_flag else f" {option.make_metavar(click.Context(main.golden))}"
    return f"{', '.join(option.opts)}{metavar}"


def _table(options: list[click.Option]) -> str:
    rows = []
    for option in options:
        what = " ".join((option.help or "").split())
        what = re.sub(r"\[default: (.+?)\]$", r"Default: \1.", what)
        what = re.sub(r"Default: (<.+>|\.\w+)\.$", r"Default: `\1`.", what)
        if not re.search("Default:", what) and type(option.default) is int and not option.is_flag:
            what += f" Default: {option.default}."
        rows.append(f"| `{_names(option).replace('|', chr(92) + '|')}` | {what.replace('|', chr(92) + '|')} |")
    return "\n".join(["| option | does |", "|---|---|", *rows])


def _folded(text: str, indent: str = "", width: int = 118) -> str:
    lines = []
    for paragraph in text.strip().split("\n\n"):
        line = ""
        for word in paragraph.split():
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = indent + word
            else:
                line = f"{line} {word}" if line else word
        lines += [line, ""]
    return "\n".join(lines[:-1])


if __name__ == "__main__":
    TARGET.write_text(document(), "utf-8")
    sys.exit(0)
