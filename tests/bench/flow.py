"""Flow: the specs and skills that the benchmark records and replays; also loaded by `golden replay --skills`."""

from __future__ import annotations

from typing import Any

from replay import Context, SkillRegistry, Spec

registry = SkillRegistry()


class Given:
    """The inputs of a skill that is called bare, without a run around it."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.inputs = inputs


@registry.skill("add")
def add(ctx: Context | Given) -> dict[str, Any]:
    return {"n": ctx.inputs["n"] + 1}


@registry.skill("text")
def text(ctx: Context) -> str:
    return str(ctx.seed).ljust(ctx.inputs["width"], "x")


@registry.skill("fan")
def fan(ctx: Context) -> dict[str, Any]:
    def read(n: int) -> dict[str, Any]:
        return {"n": n, "text": "reading ".ljust(ctx.inputs["width"], "x")}

    found = [ctx.external("read", read, n) for n in range(ctx.inputs["calls"])]
    return {"count": len(found), "text": "output ".ljust(ctx.inputs["width"], "x")}


def trivial(steps: int) -> Spec:
    """Return a spec of independent steps that add one."""
    return Spec(
        {"id": "trivial", "steps": [{"id": f"s{n}", "skill_id": "add", "inputs": {"n": n}} for n in range(steps)]}
    )


def large(steps: int, width: int) -> Spec:
    """Return a spec of steps whose outputs are texts of `width` characters."""
    inputs = {"width": width}
    return Spec({"id": "large", "steps": [{"id": f"s{n}", "skill_id": "text", "inputs": inputs} for n in range(steps)]})


def fan_out(steps: int, calls: int, width: int) -> Spec:
    """Return a spec of steps that ask the world `calls` times for `width` characters."""
    inputs = {"calls": calls, "width": width}
    return Spec({"id": "fan", "steps": [{"id": f"s{n}", "skill_id": "fan", "inputs": inputs} for n in range(steps)]})


# Skills of the run that `false_alarms` replays: everything in them that could depend on the hash seed is put in order.

WORDS = ("harbour", "ferry", "rain", "sun", "snow", "drizzle", "fog", "wind", "tide", "pier", "gull", "sound")


@registry.skill("alarm.load")
def load(ctx: Context) -> dict[str, Any]:
    return {"words": list(WORDS), "numbers": {word: len(word) / 7 for word in WORDS}}


@registry.skill("alarm.group")
def group(ctx: Context) -> dict[str, Any]:
    words = set(ctx.inputs["words"])
    groups = {letter: sorted(w for w in words if letter in w) for letter in sorted({w[0] for w in words})}
    return {"sorted": sorted(words), "by_letter": groups}


@registry.skill("alarm.ask")
async def ask(ctx: Context) -> dict[str, int]:
    async def length(word: str) -> int:
        return len(word)

    return {word: await ctx.external("length", length, word) for word in ctx.inputs["words"]}


@registry.skill("alarm.draw")
def draw(ctx: Context) -> list[float]:
    numbers = list(ctx.inputs["numbers"].values())
    return [ctx.random.choice(numbers) * ctx.random.gauss(1, 0.1) for _ in range(50)]


@registry.skill("alarm.average")
def average(ctx: Context) -> dict[str, Any]:
    drawn = ctx.inputs["drawn"]
    return {"mean": sum(drawn) / len(drawn), "total": sum(ctx.inputs["lengths"].values()), "least": min(drawn) * 1e-9}


@registry.skill("alarm.report")
def report(ctx: Context) -> dict[str, str]:
    of = ctx.inputs["average"]
    lines = [f"mean {of['mean']:.6f}", f"total {of['total']}", str(ctx.uuid4()), ctx.now().isoformat()]
    return {"text": "\n".join(lines + [f"{k}: {v}" for k, v in ctx.inputs["groups"]["by_letter"].items()])}


@registry.skill("alarm.order")
def order(ctx: Context) -> list[str]:
    return list(set(WORDS))
