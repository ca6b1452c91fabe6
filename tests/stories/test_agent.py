"""A stranger's agent: a model on loopback decides its turns, tools run side by side, a thread asks; two decorators."""

import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from golden import Keyring, Recording, Store
from golden.canonical import decode
from golden.recording import Record
from replay import record, replay

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "agent"
SOURCE = (FOLDER / "agent.py").read_text()
SECRET = b"a secret of the tests, long enough to sign"


def module(path: Path) -> ModuleType:
    """Import a file anew, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"story_{path.stem}", path)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[made.__name__] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve the model; the list grows by one with every request to it."""
    model, seen = module(FOLDER / "model.py"), list[str]()
    real = model.reply

    def reply(messages: list[dict[str, str]]) -> Any:
        seen.append(messages[-1]["content"])
        return real(messages)

    monkeypatch.setattr(model, "reply", reply)
    server = model.serve(0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("MODEL_URL", f"http://127.0.0.1:{server.server_address[1]}")
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def agent(requests: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    path = tmp_path / "agent.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return module(path)


def recorded(agent: ModuleType, folder: Path) -> Recording:
    store = Store(folder / "golden", Keyring(SECRET), ledger=False)
    return record(agent.agent, store=store, run_id="agent-1", inputs={"question": "How warm is it?"})


def test_an_agent_is_recorded_and_replayed_a_thousand_times_and_the_world_is_not_asked(
    agent: ModuleType, requests: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(agent, tmp_path) as recording:
        assert recording.statement.status == "completed"
        assert len(requests) == 3
        used: list[Any] = []
        monkeypatch.setattr(agent.random, "gauss", lambda *_: used.append(1))
        for _ in range(1000):
            answer = replay(recording, agent.agent)
            assert (answer.verdict, answer.divergence) == ("matched", None)
        assert (len(requests), used) == (3, [])


def test_one_changed_line_of_a_prompt_is_named(agent: ModuleType, tmp_path: Path, requests: list[str]) -> None:
    with recorded(agent, tmp_path) as recording:
        live = len(requests)
        (tmp_path / "agent.py").write_text(SOURCE.replace("careful", "careless"))
        found = replay(recording, module(tmp_path / "agent.py").agent).divergence
        assert found
        line = SOURCE[: SOURCE.index("to_thread(complete")].count("\n") + 1
        assert (found.cause, found.step_id, found.path) == ("effect", "agent", "/effects/0/kwargs/messages/0/content")
        assert found.expected == "You are a careful weather clerk."
        assert found.actual == "You are a careless weather clerk."
        assert found.location == f"agent.py:{line}"
        assert len(requests) == live


def test_what_the_world_said_is_in_the_recording(agent: ModuleType, tmp_path: Path) -> None:
    with recorded(agent, tmp_path) as recording:
        (found,) = [each for each in recording.records() if isinstance(each, Record)]
        names = [effect.name for effect in found.effects]
        assert sorted(names) == ["complete"] * 3 + ["use"] * 5
        assert decode(found.step.output)["turns"] == 3
