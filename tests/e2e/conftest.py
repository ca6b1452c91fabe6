"""Fixtures of the tests of whole commands: a directory with nothing in it, and a shop with a key and a spec."""

import shutil
from pathlib import Path

import pytest

from golden.keyring import HmacKey
from tests import runs
from tests.e2e.shell import Shell

SKILLS = '''\
"""The skills of a shop."""

from replay import Context, SkillRegistry

registry = SkillRegistry()


def todays_rate(currency: str) -> float:
    return {"EUR": 0.92, "GBP": 0.79}[currency]


def tax_on(cents: int) -> int:
    return cents // 10


@registry.skill("shop.basket", version="1")
def basket(ctx: Context) -> dict:
    return {"cents": sum(ctx.inputs["prices"]), "kinds": sorted({"apple", "fig", "melon", "pear", "plum"})}


@registry.skill("shop.price", version="1")
def price(ctx: Context) -> dict:
    rate = ctx.external("rate", todays_rate, "EUR")
    tax = ctx.external("tax", tax_on, ctx.inputs["cents"])
    ctx.spend(2)
    return {"amount": round((ctx.inputs["cents"] + tax) * rate / 100, 2)}


@registry.skill("shop.voucher", version="1")
def voucher(ctx: Context) -> dict:
    return {"code": ctx.random.randrange(1_000_000)}


@registry.skill("shop.receipt", version="1")
async def receipt(ctx: Context) -> str:
    return f"{ctx.inputs['amount']} EUR, voucher {ctx.inputs['code']:06}"
'''
ORDER = {
    "id": "order",
    "version": "1",
    "budget_ceiling_cents": 50,
    "steps": [
        {"id": "basket", "skill_id": "shop.basket", "inputs": {"prices": "${inputs.prices}"}},
        {"id": "price", "skill_id": "shop.price", "inputs": {"cents": "${basket.cents}"}},
        {"id": "voucher", "skill_id": "shop.voucher", "estimated_cost_cents": 1},
        {
            "id": "receipt",
            "skill_id": "shop.receipt",
            "inputs": {"amount": "${price.amount}", "code": "${voucher.code}"},
        },
    ],
    "result": "${receipt}",
}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """An empty working directory: no key, no configuration."""
    here = tmp_path / "here"
    here.mkdir()
    return Shell(here)


def open_shop(shell: Shell) -> Shell:
    """Give a shell a key, skills, a spec that takes `prices`, and a configuration naming the skills."""
    shell.give_key()
    shell.write("skills.py", SKILLS)
    shell.write("order.json", {**ORDER})
    shell.write("prices.json", '{"prices": [250, 250, 297]}\n')
    shell.write("golden.toml", 'skills = ["skills.py"]\n')
    return shell


@pytest.fixture
def shop(shell: Shell) -> Shell:
    """A shop where nothing was recorded yet."""
    return open_shop(shell)


@pytest.fixture(scope="session")
def golden_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden directory of a shop with one run `r-1`, recorded once; to be copied, not touched."""
    shop = open_shop(Shell(tmp_path_factory.mktemp("shop")))
    return shop.record("r-1", "--inputs", "@prices.json").parent


@pytest.fixture
def recorded(shop: Shell, golden_directory: Path) -> Shell:
    """The shop with one run, `r-1`."""
    shutil.copytree(golden_directory, shop.store)
    return shop


@pytest.fixture
def damaged(shell: Shell) -> Shell:
    """A golden directory with every recording of the fixtures, no ledger, and the keys of the fixtures."""
    shell.give_key()
    shell.environ["GOLDEN_SECRET_PREVIOUS"] = runs.RETIRED.decode()
    shell.write("golden.toml", "ledger = false\n")
    shutil.copytree(runs.FIXTURES / "recordings" / "v1", shell.store)
    return shell


@pytest.fixture(scope="session")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden directory of a shop with the runs r-1, r-2 and r-3, recorded once; to be copied, not touched."""
    shop = open_shop(Shell(tmp_path_factory.mktemp("shop")))
    for run_id in ("r-1", "r-2", "r-3"):
        shop.record(run_id, "--inputs", "@prices.json")
    return shop.store


@pytest.fixture
def three(shop: Shell, three_runs: Path) -> Shell:
    """The shop with three runs, which this host has seen, and their anchor in `anchor.txt`."""
    shutil.copytree(three_runs, shop.store)
    shop.write("anchor.txt", shop.anchor() + "\n")
    return shop


@pytest.fixture
def rekeyed(three: Shell) -> Shell:
    """Three runs under a key that was put out of use: another one is active now."""
    three.write("new", runs.RETIRED + b"\n").chmod(0o600)
    done = three.golden("keys", "add", "--source", "file:new", "--active", "--json")
    assert (done.code, done.objects[0]["kid"]) == (0, HmacKey(runs.RETIRED).kid)
    return three


@pytest.fixture
def leaked(three: Shell) -> Shell:
    """Three runs; then the key leaked, and a thief recorded a fourth, `forged-1`; then a new key was made."""
    three.record("forged-1", "--inputs", "@prices.json")
    three.write("new", runs.RETIRED + b"\n").chmod(0o600)
    assert three.golden("keys", "add", "--source", "file:new", "--active").code == 0
    return three
