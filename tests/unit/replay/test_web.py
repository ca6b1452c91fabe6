"""`http()`: what an unmodified client library asks for is recorded once, and answered in every replay."""

import asyncio
import gzip
import json
import logging
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from golden import Recording
from golden.canonical import decode
from golden.errors import UsageError
from replay import EffectError, external, http, record, replay, web
from tests.unit.replay.conftest import Lab, effects, here, records

Agent = Callable[[], Any]
SECRET = "hush-hush-hush"
TOKEN = "a-token-of-a-length-that-no-label-has-0815"


class Origin(ThreadingHTTPServer):
    """A server on loopback that answers nothing twice alike, and knows what it was asked."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.asked: list[str] = []
        self.cookies: list[str | None] = []
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that break off."""


class Handler(BaseHTTPRequestHandler):
    """Answers `/plain`, `/gzip`, `/stream`, `/redirect`, `/bytes`, `/cafe`, `/broken`, `/missing`, `/login`."""

    protocol_version = "HTTP/1.1"
    server: Origin

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.cookies.append(self.headers.get("cookie"))
        sent = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                sent += self.rfile.read(size + 2)[:-2]
            self.rfile.readline()
        said = json.dumps({"n": time.perf_counter_ns(), "sent": sent.decode("latin-1")}).encode()
        match self.path.partition("?")[0]:
            case "/gzip":
                self.answer(gzip.compress(said), ("content-encoding", "gzip"))
            case "/redirect":
                self.answer(b"", ("location", f"/plain?token={SECRET}"), status=302)
            case "/bytes":
                self.answer(b"\xff\xfe" + said)
            case "/missing":
                self.answer(said, status=404)
            case "/login":
                token = {"access_token": f"{TOKEN}-{time.perf_counter_ns()}", "user": json.loads(sent)["user"]}
                self.answer(json.dumps(token).encode(), ("content-type", "application/json"))
            case "/cafe":
                self.answer(b"", ("x-name", "caf\xe9"))
            case "/broken":
                self.send_response(200)
                self.send_header("content-length", "1000")
                self.end_headers()
                self.wfile.write(b"half of it")
                self.close_connection = True
            case "/stream":
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for part in (b"data: 1\n\n", b"data: " + said + b"\n\n", b""):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.flush()
            case _:
                self.answer(said, ("set-cookie", f"sid={SECRET}"), ("content-type", "application/json"))

    do_POST = do_GET  # noqa: N815  as http.server calls it

    def answer(self, body: bytes, *headers: tuple[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in (*headers, ("content-length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    monkeypatch.setattr(web, "_wanted", [])
    with _serving() as server:
        yield server


@contextmanager
def _serving(tls: ssl.SSLContext | None = None) -> Iterator[Origin]:
    with Origin(tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        http()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def recorded(lab: Lab, agent: Agent) -> Recording:
    lab.opened.append(record(agent, store=lab.store, run_id=f"r-{len(lab.opened) + 1}", seed=7))
    return lab.opened[-1]


def output(recording: Recording) -> Any:
    found = records(recording)[-1].step
    assert found.success, found.error
    return decode(found.output)


def replays(lab: Lab, origin: Origin, agent: Agent) -> Recording:
    """Record, and replay alike without asking anybody."""
    recording = recorded(lab, agent)
    output(recording)
    before = list(origin.asked)
    assert before
    answer = replay(recording, agent)
    assert (answer.verdict, answer.divergence, answer.problem) == ("matched", None, None)
    assert origin.asked == before
    assert answer.notes == []
    return recording


def by_httpx(url: str) -> Any:
    return httpx.post(f"{url}/plain", json={"a": 1}).json()


def by_httpx_client(url: str) -> Any:
    with httpx.Client(base_url=url, follow_redirects=True) as client:
        found = client.get("/redirect").json(), client.get("/gzip").json(), client.get("/bytes").content.hex()
        with client.stream("GET", "/stream") as response:
            return [*found, list(response.iter_lines())]


async def by_async_httpx(url: str) -> Any:
    async with httpx.AsyncClient(base_url=url) as client:
        answers = await asyncio.gather(*(client.get("/plain", params={"n": n}) for n in range(4)))
        async with client.stream("GET", "/stream") as response:
            return [*(answer.json() for answer in answers), [line async for line in response.aiter_lines()]]


def by_requests(url: str) -> Any:
    with requests.Session() as session:
        found = [session.get(f"{url}/{path}").json() for path in ("plain", "redirect", "gzip")]
        found.append(session.post(f"{url}/plain", data={"a": "1"}, timeout=5).json())
        found.append(session.post(f"{url}/plain", files={"f": b"contents"}).status_code)
        with session.get(f"{url}/stream", stream=True) as response:
            return [*found, *(line.decode() for line in response.iter_lines())]


def by_urllib3(url: str) -> Any:
    pool = urllib3.PoolManager()
    found = [pool.request("GET", f"{url}/{path}").json() for path in ("plain", "redirect", "gzip")]
    response = pool.request("GET", f"{url}/stream", preload_content=False)
    return [*found, b"".join(response.stream(7)).decode()]


def by_urllib(url: str) -> Any:
    with urllib.request.urlopen(f"{url}/redirect", timeout=5) as response:  # noqa: S310  our own
        return [response.status, json.load(response)]


async def by_aiohttp(url: str) -> Any:
    async def parts() -> Any:
        yield b"one"
        yield b"two"

    async with aiohttp.ClientSession(base_url=url) as session:
        async with session.get("/redirect") as response:
            found = [await response.json(), len(response.history)]
        async with session.get("/gzip") as response:
            found.append(await response.json(content_type=None))
        async with session.post("/plain", json={"a": 1}) as response:
            found.append(await response.json())
        async with session.post("/plain", data=parts()) as response:
            found.append(await response.json())
        async with session.get("/stream") as response:
            found += [line.decode() async for line in response.content]
    return found


CLIENTS = [by_httpx, by_httpx_client, by_async_httpx, by_requests, by_urllib3, by_urllib, by_aiohttp]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_is_recorded_once_and_answered_in_a_replay(
    lab: Lab, origin: Origin, client: Callable[[str], Any]
) -> None:
    if asyncio.iscoroutinefunction(client):

        async def asynchronous() -> Any:
            return await client(origin.url)

        replays(lab, origin, asynchronous)
    else:
        recording = replays(lab, origin, lambda: client(origin.url))
        assert {effect.name for effect in effects(recording)} <= {"http.GET", "http.POST"}


@pytest.mark.parametrize("client", CLIENTS)
def test_outside_of_a_run_a_client_is_as_ever(origin: Origin, client: Callable[[str], Any]) -> None:
    ask = (lambda: asyncio.run(client(origin.url))) if asyncio.iscoroutinefunction(client) else None
    first, second = (ask or (lambda: client(origin.url)))(), (ask or (lambda: client(origin.url)))()
    assert first != second


def test_a_client_made_before_the_run_is_intercepted_and_works_after_it(lab: Lab, origin: Origin) -> None:
    with requests.Session() as session, httpx.Client() as client:
        session.get(f"{origin.url}/plain")
        client.get(f"{origin.url}/plain")
        replays(lab, origin, lambda: [each.get(f"{origin.url}/plain").json() for each in (session, client)])
        before = len(origin.asked)
        session.get(f"{origin.url}/plain")
        client.get(f"{origin.url}/plain")
        assert len(origin.asked) == before + 2


def test_a_request_that_says_something_else_is_named_by_its_path_and_line(lab: Lab, origin: Origin) -> None:
    word = "kind"

    def agent() -> Any:
        said = {"messages": [{"role": "system", "content": f"Be {word}."}]}
        return httpx.post(f"{origin.url}/plain", json=said).json()  # the call

    recording = replays(lab, origin, agent)
    word = "brief"
    found = replay(recording, agent).divergence
    assert found
    assert (found.cause, found.path) == ("effect", "/effects/0/kwargs/json/messages/0/content")
    assert (found.expected, found.actual) == ("Be kind.", "Be brief.")
    assert found.location == here(agent.__code__.co_firstlineno + 2, __file__)


def test_no_secret_reaches_the_file_and_the_run_goes_on_with_them(lab: Lab, origin: Origin) -> None:
    def agent() -> Any:
        with requests.Session() as session:
            session.headers["authorization"] = f"Bearer {SECRET}"
            session.get(f"{origin.url}/redirect?api_key={SECRET}")
            requests.get(f"{origin.url.replace('//', f'//user:{SECRET}@')}/gzip", timeout=5)
            return session.get(f"{origin.url}/plain").json()["n"]

    recording = replays(lab, origin, agent)
    assert origin.cookies == [None, None, None, f"sid={SECRET}"]
    assert SECRET not in Path(lab.store.folder, f"{recording.run_id}.steps.jsonl").read_text()


def test_a_header_that_is_asked_for_is_compared(lab: Lab, origin: Origin) -> None:
    http(headers=["X-Tenant"])
    tenant = "a"

    def agent() -> Any:
        return httpx.get(f"{origin.url}/plain", headers={"x-tenant": tenant}).json()

    recording = replays(lab, origin, agent)
    tenant = "b"
    found = replay(recording, agent).divergence
    assert found
    assert (found.path, found.expected, found.actual) == ("/effects/0/kwargs/headers/x-tenant", "a", "b")


async def _aiohttp_to(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        await response.read()


@pytest.mark.parametrize(
    "ask, kind",
    [
        (httpx.get, httpx.ConnectError),
        (requests.get, requests.ConnectionError),
        (lambda url: urllib3.PoolManager().request("GET", url, retries=False), urllib3.exceptions.NewConnectionError),
        (urllib.request.urlopen, urllib.error.URLError),
        (lambda url: asyncio.run(_aiohttp_to(url)), aiohttp.ClientConnectorError),
    ],
)
def test_an_error_is_raised_again_by_its_own_type(
    lab: Lab, origin: Origin, ask: Callable[[str], Any], kind: type[Exception]
) -> None:
    def agent() -> Any:
        try:
            ask("http://127.0.0.1:9/")
        except kind as error:
            return [type(error).__name__, str(error)]

    origin.asked.append("nobody")
    assert output(replays(lab, origin, agent))[0] == kind.__name__


@pytest.mark.parametrize("ask", [httpx.get, requests.get, lambda url: asyncio.run(_aiohttp_to(url))])
def test_a_response_that_breaks_off_is_an_error_in_both(lab: Lab, origin: Origin, ask: Callable[[str], Any]) -> None:
    def agent() -> Any:
        try:
            ask(f"{origin.url}/broken")
        except (httpx.HTTPError, requests.RequestException, aiohttp.ClientError) as error:
            return [type(error).__name__, str(error)]

    assert output(replays(lab, origin, agent))


def test_a_status_is_no_error_until_the_client_says_so(lab: Lab, origin: Origin) -> None:
    def agent() -> Any:
        with pytest.raises(requests.HTTPError, match="404"):
            requests.get(f"{origin.url}/missing", timeout=5).raise_for_status()
        return httpx.get(f"{origin.url}/missing").status_code

    assert output(replays(lab, origin, agent)) == 404


def test_a_request_inside_an_external_call_is_part_of_it(lab: Lab, origin: Origin) -> None:
    @external
    def rate() -> Any:
        return [
            requests.get(f"{origin.url}/plain", timeout=5).json()["n"],
            httpx.get(f"{origin.url}/plain").json()["n"],
        ]

    recording = replays(lab, origin, lambda: rate())  # noqa: PLW0108  the run's own function is no external call
    assert [effect.name.rpartition(".")[2] for effect in effects(recording)] == ["rate"]
    assert len(origin.asked) == 2


def test_threads_of_a_pool_ask_for_their_step(lab: Lab, origin: Origin) -> None:
    def agent() -> Any:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda n: requests.get(f"{origin.url}/plain?n={n}", timeout=5).json(), range(6)))

    replays(lab, origin, agent)


def test_a_thread_that_does_not_know_its_step_is_refused(lab: Lab, origin: Origin) -> None:
    def ask() -> None:
        with suppress(UsageError):
            requests.get(f"{origin.url}/plain", timeout=5)

    def agent() -> None:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    failed = records(recorded(lab, agent))[-1].step.error
    assert failed
    assert failed.message.startswith("external call 'http.GET' from code that does not know its step; ")
    assert origin.asked == []


def test_a_body_of_a_type_that_nobody_can_tell_is_refused(lab: Lab, origin: Origin) -> None:
    async def agent() -> Any:
        form = aiohttp.FormData()
        form.add_field("f", b"contents", filename="f")
        async with aiohttp.ClientSession() as session, session.post(origin.url, data=form) as response:
            return response.status

    failed = records(recorded(lab, agent))[-1].step.error
    assert failed
    assert failed.message == (
        f"HTTP request to {origin.url}: body is a FormData; send bytes, text or JSON, or decorate the call (@external)"
    )
    assert origin.asked == []


def test_a_library_that_logs_every_url_is_silent(lab: Lab, origin: Origin, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    replays(lab, origin, lambda: by_httpx(origin.url))
    assert [entry for entry in caplog.records if entry.name.startswith("vcr")] == []


def test_it_is_refused_within_a_run(lab: Lab, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    http()
    assert output(recorded(lab, http)) is None
    monkeypatch.setattr(web, "_wanted", [])
    failed = records(recorded(lab, http))[-1].step.error
    assert failed
    assert (failed.type, failed.message) == (
        "UsageError",
        "http() within a run (call it at the top of a module, which is loaded before the run)",
    )


def test_without_its_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs the library vcrpy") as refused:
        http()
    assert refused.value.hint == "pip install 'stepseal[http]'"


def test_an_error_without_a_class_of_its_own_is_an_effect_error(lab: Lab, origin: Origin) -> None:
    class OddError(Exception):
        pass

    def odd(_: httpx.Request) -> httpx.Response:
        raise OddError("no such class anywhere")

    def agent() -> Any:
        with httpx.Client(transport=httpx.MockTransport(odd)) as client, pytest.raises(EffectError) as raised:
            client.get(origin.url)
        return str(raised.value)

    origin.asked.append("nobody")
    assert output(replays(lab, origin, agent)) == "OddError: no such class anywhere"


def logs_in_by_httpx(url: str, user: str) -> tuple[str, Any]:
    token = httpx.post(f"{url}/login", json={"user": user}).json()["access_token"]
    return token, httpx.post(f"{url}/plain", json={"token": token}).json()["n"]


def logs_in_by_requests(url: str, user: str) -> tuple[str, Any]:
    token = requests.post(f"{url}/login", json={"user": user}, timeout=9).json()["access_token"]
    return token, requests.get(f"{url}/plain", headers={"Authorization": f"Bearer {token}"}, timeout=9).json()["n"]


def logs_in_by_aiohttp(url: str, user: str) -> tuple[str, Any]:
    async def asks() -> tuple[str, Any]:
        async with aiohttp.ClientSession(url) as session:
            async with session.post("/login", json={"user": user}) as response:
                token = (await response.json())["access_token"]
            async with session.get(f"/plain?n={token}") as response:
                return token, (await response.json())["n"]

    return asyncio.run(asks())


@pytest.mark.parametrize("logs_in", [logs_in_by_httpx, logs_in_by_requests, logs_in_by_aiohttp])
def test_a_token_that_a_body_brings_is_declared_by_its_place_in_the_body(
    lab: Lab, origin: Origin, logs_in: Callable[[str, str], tuple[str, Any]]
) -> None:
    def agent(user: str) -> Any:
        return logs_in(origin.url, user)

    rules = ["/inputs/user", "/steps/agent/effects/http.POST/result/text/access_token"]
    inputs = {"user": "Ann Other"}
    with record(agent, store=lab.store, run_id="r-1", seed=7, inputs=inputs, redact=rules) as recording:
        token, number = output(recording)
        assert token == "redacted-2"
        assert type(number) is int
        text = "".join(path.read_text() for path in lab.store.directory.iterdir())
        assert TOKEN not in text
        assert "Ann Other" not in text
        assert "Ann+Other" not in text
        answer = replay(recording, agent, inputs=inputs)
        assert (answer.verdict, answer.divergence, answer.notes) == ("matched", None, [])


def test_a_token_in_a_body_that_nobody_declared_is_not_recorded(lab: Lab, origin: Origin) -> None:
    recording = recorded(lab, lambda: logs_in_by_httpx(origin.url, "Ann"))
    assert recording.statement.status == "failed"
    assert TOKEN not in next(recording.blocks()).decode()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    text = made.public_bytes(Encoding.PEM)
    text += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(text)
    return path


def test_a_certificate_is_checked_and_trusted_as_ever(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(web, "_wanted", [])
    http()

    with _serving(served) as origin:
        url = f"{origin.url}/plain"

        async def by_aiohttp() -> Any:
            async with aiohttp.ClientSession() as session, session.get(url, ssl=trusting) as response:
                return await response.json()

        def agent() -> Any:
            with pytest.raises(urllib.error.URLError, match="self-signed"):
                urllib.request.urlopen(url)  # noqa: S310  our own
            with pytest.raises(requests.exceptions.SSLError, match="self-signed"):
                requests.get(url, timeout=5)
            with pytest.raises(httpx.ConnectError, match="self-signed"):
                httpx.get(url)
            with urllib.request.urlopen(url, context=trusting) as response:  # noqa: S310  our own
                found = [json.load(response)]
            found.append(requests.get(url, verify=str(certificate), timeout=5).json())
            return [*found, httpx.get(url, verify=trusting).json(), asyncio.run(by_aiohttp())]

        replays(lab, origin, agent)


def test_a_server_that_takes_too_long_is_the_timeout_that_the_library_has_for_it(lab: Lab, origin: Origin) -> None:
    origin.asked.append("nobody")

    def agent(url: str) -> None:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(url, timeout=0.05)
        with pytest.raises(requests.ReadTimeout):
            requests.get(url, timeout=0.05)
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            urllib3.PoolManager().request("GET", url, timeout=0.05, retries=False)
        with pytest.raises(TimeoutError):
            urllib.request.urlopen(url, timeout=0.05)  # noqa: S310  our own

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        replays(lab, origin, lambda: agent(url))


def test_what_urllib_sends_in_chunks_arrives(lab: Lab, origin: Origin) -> None:
    def agent() -> Any:
        asked = urllib.request.Request(f"{origin.url}/plain", data=iter([b"one", b"two"]))  # noqa: S310  our own
        with urllib.request.urlopen(asked, timeout=5) as response:  # noqa: S310  our own
            return json.load(response)["sent"]

    assert output(replays(lab, origin, agent)) == "onetwo"


def test_a_status_that_aiohttp_raises_is_told_with_all_that_it_tells(lab: Lab, origin: Origin) -> None:
    async def agent() -> Any:
        async with aiohttp.ClientSession(origin.url, raise_for_status=True) as session:
            with pytest.raises(aiohttp.ClientResponseError) as of_session:
                await session.get("/missing")
        async with aiohttp.ClientSession(origin.url) as session:
            with pytest.raises(aiohttp.ClientResponseError) as of_request:
                await session.get("/missing", raise_for_status=True)
        return [of_session.value.status, of_request.value.status]

    assert output(replays(lab, origin, agent)) == [404, 404]


def test_a_replay_has_the_cookies_by_their_names(lab: Lab, origin: Origin) -> None:
    def agent() -> Any:
        with requests.Session() as session, httpx.Client() as client:
            session.get(f"{origin.url}/plain")
            client.get(f"{origin.url}/plain")
            return [list(session.cookies.keys()), list(client.cookies.keys())]

    assert output(replays(lab, origin, agent)) == [["sid"], ["sid"]]


def test_a_header_that_is_no_ascii_is_no_hindrance(lab: Lab, origin: Origin) -> None:
    async def by_aiohttp() -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{origin.url}/cafe") as response:
            return response.status

    def agent() -> Any:
        url = f"{origin.url}/cafe"
        found = [httpx.get(url).headers["x-name"], requests.get(url, timeout=5).status_code]
        return [*found, asyncio.run(by_aiohttp())]

    assert output(replays(lab, origin, agent)) == ["caf\xe9", 200, 200]


def test_what_is_decompressed_by_hand_comes_compressed(lab: Lab, origin: Origin) -> None:
    def agent() -> Any:
        with urllib.request.urlopen(f"{origin.url}/gzip") as response:  # noqa: S310  our own
            body = response.read()
            sizes = len(body) == int(response.headers["content-length"])
            return [json.loads(gzip.decompress(body)), response.headers["content-encoding"], sizes]

    recording = replays(lab, origin, agent)
    (effect,) = effects(recording)
    read, *said = output(recording)
    assert said == ["gzip", True]
    assert json.loads(decode(effect.result)["text"]) == read


@pytest.mark.parametrize("size", [5, 1 << 16])
def test_a_stream_ends_with_its_last_piece(lab: Lab, origin: Origin, size: int) -> None:
    def agent() -> Any:
        with requests.get(f"{origin.url}/plain", stream=True, timeout=10) as response:
            return [len(piece) for piece in response.iter_content(size)]

    recording = replays(lab, origin, agent)
    assert 0 not in output(recording)


def _forms(url: str) -> None:
    fields = {"user": "Ann", "password": SECRET}
    httpx.post(url, data=fields)
    httpx.post(url, data=fields, files={"f": b"contents"})
    requests.post(url, data=fields, files={"f": b"contents"}, timeout=5)
    urllib3.PoolManager().request("POST", url, fields=fields)

    async def by_aiohttp() -> None:
        async with aiohttp.ClientSession() as session:
            for data in (fields, list(fields.items())):
                async with session.post(url, data=data):
                    pass

    asyncio.run(by_aiohttp())


def test_no_secret_of_a_form_reaches_the_file(lab: Lab, origin: Origin) -> None:
    # Where the answer does not tell what was sent.
    recording = replays(lab, origin, lambda: _forms(f"{origin.url}/cafe"))
    text = Path(lab.store.folder, f"{recording.run_id}.steps.jsonl").read_text()
    assert SECRET not in text
    assert text.count("Ann") == 6
    assert "contents" in text
    assert [decode(effect.kwargs).get("form") for effect in effects(recording)][-1] == [
        ["user", "Ann"],
        ["password", "redacted"],
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda url: requests.get(url, timeout=5).raise_for_status(),
        lambda url: httpx.get(url).raise_for_status(),
        lambda url: requests.get(f"http://127.0.0.1:9/?{url.partition('?')[2]}", timeout=5),
    ],
)
def test_no_secret_of_a_url_reaches_the_file_by_an_error(lab: Lab, origin: Origin, ask: Callable[[str], Any]) -> None:
    recording = recorded(lab, lambda: ask(f"{origin.url}/missing?api_key={SECRET}"))
    failed = records(recording)[-1].step.error
    assert failed
    assert SECRET not in Path(lab.store.folder, f"{recording.run_id}.steps.jsonl").read_text()
    assert replay(recording, lambda: ask(f"{origin.url}/missing?api_key={SECRET}")).verdict == "matched"
