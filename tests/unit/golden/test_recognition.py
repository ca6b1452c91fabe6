"""Recognition: what must be refused and what must not be; neither the value nor a place in it is ever told."""

import base64
import hashlib
import json
import random
import uuid
from pathlib import Path
from typing import Any

import pytest

from golden.canonical import canonical_bytes
from golden.errors import FormatError, SecretError
from golden.recognition import Recognition, is_secret_name, is_suspicious, recognized
from tests.runs import FIXTURES

DRAW = random.Random(7)
HEX = hashlib.sha256(b"x").hexdigest()
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
PLACE = ("steps", "a", "output")


def drawn(size: int, alphabet: str = ALPHABET) -> str:
    """Return text that looks like a key, and is nobody's: nothing in this file is a secret."""
    return "a1B" + "".join(DRAW.choices(alphabet, k=size - 3))


UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
PEM = "-----BEGIN {}PRIVATE KEY-----\n" + "\n".join(drawn(64) for _ in range(3)) + "\n-----END {}PRIVATE KEY-----\n"
JWT = (
    ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234567890", "name": "nobody"})
    )
    + "."
    + drawn(43)
)
SECRETS: dict[str, Any] = {
    "AWS": "AKIA" + "".join(DRAW.choices(UPPER, k=16)),
    "AWS, temporary": {"id": "ASIA" + "".join(DRAW.choices(UPPER, k=16))},
    "GitHub": f"ghp_{drawn(36)}",
    "GitHub, server": f"ghs_{drawn(36)}",
    "GitHub, fine-grained": f"github_pat_{drawn(22)}_{drawn(59)}",
    "GitLab": f"glpat-{drawn(20)}",
    "Slack": f"xoxb-{drawn(12, '0123456789')}-{drawn(24)}",
    "Slack webhook": f"https://hooks.slack.com/services/T{UPPER[:9]}/B{UPPER[:9]}/{drawn(24)}",
    "Stripe": f"sk_live_{drawn(24)}",
    "OpenAI": f"sk-{drawn(48)}",
    "OpenAI, project": f"sk-proj-{drawn(60)}",
    "Anthropic": f"sk-ant-api03-{drawn(90)}",
    "Google": f"AIza{drawn(35)}",
    "Google, token": f"ya29.{drawn(60)}",
    "web token": JWT,
    "PEM": PEM.format("RSA ", "RSA "),
    "PEM, PKCS 8": PEM.format("", ""),
    "PEM in text": {"log": f"using key {PEM.format('OPENSSH ', 'OPENSSH ')} for it"},
    "age": "AGE-SECRET-KEY-1" + "".join(DRAW.choices(UPPER, k=58)),
    "npm": f"npm_{drawn(36)}",
    "PyPI": f"pypi-AgEIcHlwaS5vcmc{drawn(60)}",
    "SendGrid": f"SG.{drawn(22)}.{drawn(43)}",
    "Hugging Face": "hf_" + "".join(DRAW.choices(ALPHABET[:52], k=34)),
    "Azure": f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={drawn(86)}==;EndpointSuffix=core.windows.net",
    "bearer": f"curl -H 'Authorization: Bearer {drawn(32)}'",
    "URL": "postgres://app:s3cr3tpw@db.internal:5432/app",
    "URL without a user": "redis://:s3cr3tpw@cache:6379/0",
    "GitLab, runner": f"glrt-{drawn(20)}1",
    "Slack, app": f"xapp-1-A012345678-1234567890123-{HEX}",
    "Stripe, webhook": f"whsec_{drawn(32)}",
    "DeepSeek": f"sk-{HEX[:32]}",
    "OpenRouter": f"sk-or-v1-{HEX}",
    "Groq": f"gsk_{drawn(52)}",
    "xAI": f"xai-{drawn(80)}",
    "Perplexity": f"pplx-{drawn(48)}",
    "Replicate": f"r8_{drawn(37)}",
    "Notion": f"ntn_{drawn(46)}",
    "Linear": f"lin_api_{drawn(40)}",
    "Figma": f"figd_{drawn(40)}",
    "Grafana": f"glsa_{drawn(32)}_{HEX[:8]}",
    "Postman": f"PMAK-{HEX[:24]}-{HEX[:34]}",
    "New Relic": "NRAK-" + "".join(DRAW.choices(UPPER, k=27)),
    "Databricks": f"dapi{HEX[:32]}",
    "Docker": f"dckr_pat_{drawn(27)}",
    "Shopify": f"shpat_{HEX[:32]}",
    "DigitalOcean": f"dop_v1_{HEX}",
    "Vault": f"hvs.1{drawn(90)}",
    "Terraform": f"{drawn(14)}.atlasv1.{drawn(66)}",
    "Atlassian": f"ATATT3xFfGF0{drawn(180)}",
    "Telegram": f"6684512182:AA{drawn(33)}",
    "Google, OAuth": f"GOCSPX-{drawn(28)}",
    "headers in pairs": {"headers": [["Accept", "text/html"], ["X-Api-Key", drawn(32)]]},
    "headers as objects": {"headers": [{"name": "Authorization", "value": f"token {HEX[:40]}"}]},
    "password": {"password": "hunter2!x"},
    "short password": {"db": {"passwd": "hunter2"}},
    "password with a dollar": {"password": "pa$$word1"},
    "secret": {"clientSecret": drawn(24)},
    "api key": {"X-API-Key": HEX[:32]},
    "apikey": {"apikey": drawn(20)},
    "access token": {"access_token": drawn(32)},
    "authorization": {"headers": {"Authorization": f"token {drawn(30)}"}},
    "access token of words": {"access_token": "a-token-of-many-words-0815"},
    "basic": {"authorization": "Basic " + base64.b64encode(b"user:pa55word-long").decode()},
    "aws secret": {"aws_secret_access_key": drawn(40)},
    "session": {"session": drawn(40)},
    "list of one": {"api_key": [drawn(32)]},
    "JSON in text": {"text": json.dumps({"access_token": drawn(32), "token_type": "Bearer"})},
    "JSON in JSON in text": json.dumps({"body": json.dumps({"password": "hunter2!"})}),
    "flag": {"argv": ["mysql", "--password", "hunter2!"]},
    "flag with value": {"argv": ["tool", f"--api-key={drawn(24)}"]},
    "assignment": "DB_PASSWORD=hunter22 MODE=x",
    "query": f"https://h/cb?access_token={drawn(24)}&x=1",
    "name of a member": {f"ghp_{drawn(36)}": 1},
}
HARMLESS: dict[str, Any] = {
    "sha256": {"sha256": HEX, "output_hash": HEX, "etag": HEX[:32]},
    "uuid": {"id": str(uuid.UUID(int=DRAW.getrandbits(128))), "session_id": str(uuid.UUID(int=DRAW.getrandbits(128)))},
    "base64 data": {
        "data": base64.b64encode(DRAW.randbytes(600)).decode(),
        "sig": base64.b64encode(DRAW.randbytes(64)).decode(),
    },
    "base64url": {"mac": base64.urlsafe_b64encode(DRAW.randbytes(32)).decode()},
    "url": "https://api.example/v1/things?page=2&sort=asc#top",
    "mail in a url": "https://h/users/somebody@example.org/x",
    "ssh url": "git@github.com:owner/name.git and ssh://git@github.com/owner/name",
    "counts": {"prompt_tokens": 5, "max_tokens": "4096", "token": 17},
    "tokens of a model": [{"token": " weather", "logprob": -0.1}, {"token": "internationalization", "logprob": -1.5}],
    "page token": {"nextPageToken": drawn(40), "cursor": drawn(40), "continuation_token": drawn(60)},
    "names": {"password": "required", "secret_name": "prod-database-2024-credentials", "token_type": "Bearer"},
    "placeholders": {"password": "********", "api_key": "<your-api-key-goes-here-1>", "token": "${inputs.token}"},
    "redacted": {"password": "redacted-1", "authorization": "Bearer redacted-2", "cookie": "redacted"},
    "reference": {"secret": "vault://prod/database1/password", "api_key_file": "/run/secrets/api-key-2024-a1"},
    "key of a cache": {"key": "weather/2015-01-01/Seattle", "cache_key": HEX, "key_id": drawn(30)},
    "public key": {"public_key": drawn(43), "pem": "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"},
    "password hash": {"password_hash": "$2b$12$abcdefghijklmnopqrstuv", "token": f"sha256:{HEX}"},
    "words": "the secret of a good password is its length; basic understanding, sk-learn, task-force-2024-planning",
    "code": "def login(password: str, token: str | None = None) -> None: secret = get_secret('prod')",
    "author": {"author": "Somebody Else", "authored_at": "2026-01-01T00:00:00.000000Z", "keyword": "x" * 30},
    "date and path": {"path": "s3://bucket/2024/01/01/part-00000-a1b2c3.snappy.parquet", "at": "2026-01-01T00:00:00Z"},
    "DNA": "ACGT" * 100,
    "key of the documents": "AKIAIOSFODNN7EXAMPLE",
    "key of an object": {"Key": "uploads/2024/ReportQ3Final_v2.pdf", "key": "reports/2024/Q3-Summary-Final.pdf"},
    "key of a text": {"key": "Checkout.Step2.PaymentMethodTitle", "auth": "OAuth2AuthorizationCodeFlow12"},
    "name of a secret": {"secret": "projects/123456/secrets/db-password/versions/3", "token": "next-page-20240101-abc"},
    "name of an account": {"account_key": "customer_2024_0001_emea", "access_key": "read-write-2024-group1"},
    "more code": "def read(pwd=None): return connect(password=get_Password(1), passwd=os.environ['X'], pwd={PASSWORD})",
    "folder of Windows": {"pwd": "C:\\Users\\me\\Project1"},
    "classes": "sk-learn-model-Version-2024-final-1 sk-Button-primary-Large2-disabled-hover",
    "URL of the documents": "postgresql://user:password@localhost/db",
    "fields in pairs": [["password", "username"], ["token", "Washington"], {"name": "token", "value": "Berlin"}],
    "test key": "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_refused_and_its_value_is_not_told(name: str) -> None:
    raw = canonical_bytes(SECRETS[name])
    with pytest.raises(SecretError) as refused:
        Recognition().check(PLACE, raw)
    found = next(recognized(SECRETS[name]))
    assert found.text not in str(refused.value)
    assert "/steps/a/output" in refused.value.problem
    assert "looks like a" in refused.value.problem


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_resembles_a_secret_passes(name: str) -> None:
    Recognition().check(PLACE, canonical_bytes(HARMLESS[name]))


@pytest.mark.parametrize("name", SECRETS)
def test_what_stands_at_an_allowed_place_may_be_written_there_and_then_elsewhere(name: str) -> None:
    raw = canonical_bytes(SECRETS[name])
    recognition = Recognition(["/steps/*/output"])
    recognition.check(PLACE, raw)
    recognition.check(("steps", "b", "inputs"), raw)
    with pytest.raises(SecretError):
        recognition.check(("inputs",), canonical_bytes({"password": "another2!"}))


def test_what_is_allowed_hides_no_other_beside_it() -> None:
    one, other = f"ghp_{drawn(36)}", f"ghp_{drawn(36)}"
    recognition = Recognition(["/inputs"])
    recognition.check(("inputs",), canonical_bytes(one))
    recognition.check(PLACE, canonical_bytes(f"{one} {one}"))
    with pytest.raises(SecretError):
        recognition.check(PLACE, canonical_bytes(f"{one} {other}"))


def test_what_stands_in_the_file_already_is_no_news() -> None:
    recognition = Recognition()
    recognition.accept(canonical_bytes({"password": "hunter2!x"}))
    recognition.check(("inputs",), canonical_bytes({"elsewhere": {"password": "hunter2!x"}}))


def test_the_refusal_names_the_place_and_what_can_be_done() -> None:
    with pytest.raises(SecretError) as refused:
        Recognition().check(PLACE, canonical_bytes({"rows": [{}, {"a/b": json.dumps({"password": "hunter2!x"})}]}))
    assert refused.value.problem == "/steps/a/output/rows/1/a~1b/password holds what looks like a password"
    assert refused.value.hint == (
        'keep it out of the file: redact = ["/steps/a/output/rows/1/a~1b/password"];'
        ' or, where it is no secret: allow_secrets = ["/steps/a/output/rows/1/a~1b/password"]'
    )
    with pytest.raises(SecretError) as refused:
        Recognition().check(("spec",), canonical_bytes({"password": "hunter2!x"}))
    assert "hand it over as a run input that is declared under redact" in refused.value.hint


@pytest.mark.parametrize("place", ["inputs", "/outputs", "", "/metadata/x"])
def test_a_place_that_is_none_cannot_be_allowed(place: str) -> None:
    with pytest.raises(FormatError, match="is no place"):
        Recognition([place])


def test_a_message_is_masked_and_otherwise_kept() -> None:
    token = f"ghp_{drawn(36)}"
    assert Recognition().masked(f"401 for {token}, retry") == "401 for (a GitHub token), retry"
    assert Recognition().masked("no such file: x.py") == "no such file: x.py"
    assert Recognition().masked("login failed: password=hunter2! at db") == "login failed: password=(a password) at db"
    allowed = Recognition()
    allowed.accept(canonical_bytes(token))
    assert token in allowed.masked(f"401 for {token}")


def test_the_quick_question_never_says_no_to_what_is_a_secret() -> None:
    assert [name for name, value in SECRETS.items() if not is_suspicious(canonical_bytes(value))] == []


def texts_of_fixtures() -> list[Path]:
    """Return the golden files of all fixtures."""
    return sorted(FIXTURES.rglob("*.jsonl"))


def test_no_fixture_holds_what_looks_like_a_secret() -> None:
    files = texts_of_fixtures()
    alarms = []
    for file in files:
        for line in file.read_bytes().splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            alarms += [(file.name, found.way, found.kind) for found in recognized(value) if is_suspicious(line)]
    assert len(files) > 100
    assert alarms == []


@pytest.mark.parametrize(
    "make",
    [
        lambda draw: str(uuid.UUID(int=draw.getrandbits(128))),
        lambda draw: draw.randbytes(32).hex(),
        lambda draw: draw.randbytes(20).hex(),
        lambda draw: base64.b64encode(draw.randbytes(draw.randrange(16, 400))).decode(),
        lambda draw: base64.urlsafe_b64encode(draw.randbytes(32)).decode().rstrip("="),
        lambda draw: (
            f"https://cdn.example/{draw.randbytes(16).hex()}/{base64.urlsafe_b64encode(draw.randbytes(9)).decode()}?v={draw.random()}"
        ),
    ],
    ids=["uuid", "sha256", "sha1", "base64", "base64url", "url"],
)
def test_random_ids_hashes_and_data_are_no_secrets(make: Any) -> None:
    draw = random.Random(11)
    values = [make(draw) for _ in range(2000)]
    assert [found.kind for found in recognized({"id": values, "value": values, "data": {"hash": values}})] == []


def test_of_a_thousand_random_keys_under_a_weak_name_nearly_all_are_recognised() -> None:
    drawn_here = random.Random(3)
    keys = ["".join(drawn_here.choices(ALPHABET[:62], k=32)) for _ in range(1000)]
    assert sum(bool(list(recognized({"session": key}))) for key in keys) > 950


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "refreshToken", "sig"])
def test_names_of_headers_are_known_from_here(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "xoxb-" * 200_000,
        "sk-" * 300_000,
        "Bearer " + "x" * 1_000_000,
        "Bearer " * 100_000,
        "eyJ" * 300_000,
        "eyJaaaaaaaaaaaa. " * 50_000,
        "key" * 300_000 + "=",
        "token=" * 150_000,
        'token\\"' * 100_000,
        "http://" * 150_000 + "@",
        "a://b:" * 150_000 + "@",
        "-----BEGIN " * 90_000 + "PRIVATE KEY",
        "[" * 500_000,
        "[" * 240 + json.dumps("[" * 240 + json.dumps("[" * 240 + '"glpat-"' + "]" * 240) + "]" * 240) + "]" * 240,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_wears_it_out(text: str) -> None:
    Recognition().check(PLACE, canonical_bytes({"text": text, "mark": "a_live_key=" + "0" * 16}))
