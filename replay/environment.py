"""Environment: the machine, interpreter and skills that a run is recorded with, as its header tells them."""

from __future__ import annotations

import hashlib
import locale
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from golden.event import Environment, RecordedSkill
from golden.version import VERSION
from replay.skill import SkillRegistry
from replay.spec import Spec

_LOCKS = ("requirements.lock", "uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "requirements.txt")


def recorded_skills(spec: Spec, registry: SkillRegistry) -> dict[str, RecordedSkill]:
    """Return module, version and code hash of each skill of `spec` that `registry` has."""
    used = (registry.get(skill_id) for skill_id in sorted({step.skill_id for step in spec.steps}))
    return {
        skill.id: RecordedSkill(code_hash=skill.code_hash(), module=skill.module, version=skill.version)
        for skill in used
        if skill is not None
    }


def recorded_environment(spec: Spec, registry: SkillRegistry, environ: Mapping[str, str]) -> Environment:
    """Return what a header tells; of the variables in `environ` their names alone."""
    return Environment(
        cpu_count=os.cpu_count() or 0,
        env=sorted(environ),
        hash_seed=environ.get("PYTHONHASHSEED") or ("random" if sys.flags.hash_randomization else "0"),
        locale=".".join(part or "C" for part in locale.getlocale()),
        lock_hash=_lock_hash(),
        platform=platform.platform(),
        python=platform.python_version(),
        skills=recorded_skills(spec, registry),
        timezone=time.tzname[0],
        version=VERSION,
    )


def _lock_hash() -> str | None:
    for name in _LOCKS:
        try:
            # A FIFO of that name would wait for somebody to write.
            if Path(name).is_file():
                return hashlib.sha256(Path(name).read_bytes()).hexdigest()
        except OSError:
            continue
    return None
