"""Told: what one test asked of golden values and recordings, as data that travels with the test's report.

Sums up nothing: the process that pytest was started in does, and in a worker of xdist the test ran in another.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from replay.divergence import Divergence
from replay.judgement import Difference, Judgement


class Seen(msgspec.Struct, omit_defaults=True):
    """One check: the name of its value, what came of it, and what there is to be kept (`data`, canonical) if asked to.

    `same` is kept as it is, `new` is not there, `differs` is another.
    """

    name: str
    state: Literal["same", "new", "differs"]
    data: str | None = None
    volatile: tuple[str, ...] = ()
    divergence: Divergence | None = None
    differences: tuple[Difference, ...] = ()
    more: int = 0


class Told(msgspec.Struct, omit_defaults=True):
    """What one test asked: of the values of its module (`seen`), and of recordings.

    `refusal` is the verdict, problem and hint where the values do not verify; `passed` whether the whole test did, None
    as long as nothing is known of that.
    """

    run_id: str
    module: str
    test: str
    passed: bool | None = None
    seen: list[Seen] = []
    judgements: list[Judgement] = []
    refusal: tuple[str, str, str] | None = None
