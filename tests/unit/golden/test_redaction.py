"""Redaction: which values are secrets, in what forms they are found, and that a recording's numbers are kept."""

import base64
import html
import json
from typing import Any
from urllib.parse import quote, quote_plus

import markupsafe
import pytest

from golden.canonical import canonical_bytes, decode
from golden.errors import FormatError, SecretError
from golden.recognition import Recognition
from golden.redaction import Redaction, forms, labels, names_of

OUTPUT = ("steps", "login", "output")
RESULT = ("steps", "login", "effects", "http.POST", "result")
TOKEN = '~~~???tök"en/with \\odd+ chars&\n'


def raw(value: Any) -> bytes:
    return canonical_bytes(value)


def admitted(rule: str, value: Any, place: tuple[str, ...] = ("inputs",)) -> Any:
    return decode(Redaction([rule]).admit(place, raw(value)))


@pytest.mark.parametrize(
    "rule, value, expected",
    [
        ("/inputs/token", {"token": "hush-hush", "n": 1}, {"token": "redacted-1", "n": 1}),
        ("/inputs/*/pin", [{"pin": 12345}, {"pin": 6.5}], [{"pin": "redacted-1"}, {"pin": "redacted-2"}]),
        (
            "/inputs/users",
            {"users": [{"name": "Ann", "age": 44}]},
            {"users": [{"name": "redacted-2", "age": "redacted-1"}]},
        ),
        ("/inputs", {"a": "one-1", "b": {"c": ["two-2"]}}, {"a": "redacted-1", "b": {"c": ["redacted-2"]}}),
        (
            "/inputs/a",
            {"a": "same", "b": "same", "c": ["same"]},
            {"a": "redacted-1", "b": "redacted-1", "c": ["redacted-1"]},
        ),
        ("/inputs/a", {"a": "hush", "b": "so hush, hush!"}, {"a": "redacted-1", "b": "so redacted-1, redacted-1!"}),
        ("/inputs/a", {"a": "hush", "hush": 1, "x-hush": 2}, {"a": "redacted-1", "redacted-1": 1, "x-redacted-1": 2}),
        (
            "/inputs/a",
            {"a": "hush", "redacted-1": 1, "hush": 2},
            {"a": "redacted-1", "redacted-1": 1, "redacted-1'": 2},
        ),
        (
            "/inputs/a",
            {"a": 12345, "b": "12345", "c": "no. 12345"},
            {"a": "redacted-1", "b": "redacted-1", "c": "no. redacted-1"},
        ),
        ("/inputs/a", {"a": None, "b": ""}, {"a": None, "b": ""}),
        ("/inputs/b", {"a": None, "b": ""}, {"a": None, "b": ""}),
        ("/inputs/a", {"a": True, "b": True, "c": False}, {"a": "redacted-1", "b": "redacted-1", "c": False}),
        (
            "/inputs/a",
            {"a": "no", "b": "no", "c": "nobody", "d": 'no"'},
            {"a": "redacted-1", "b": "redacted-1", "c": "nobody", "d": 'no"'},
        ),
        ("/inputs/a", {"a": 'n"', "b": ['n"']}, {"a": "redacted-1", "b": ["redacted-1"]}),
        ("/inputs/a~1b/~0", {"a/b": {"~": "hush"}}, {"a/b": {"~": "redacted-1"}}),
        ("/inputs/text/token", {"text": '{"token":"hush","n":1}'}, {"text": '{"token":"redacted-1","n":1}'}),
        (
            "/inputs/0/text/*/id",
            [{"text": ' [{"id":"aaaa"},{"id":"bbbb"}]'}],
            [{"text": ' [{"id":"redacted-1"},{"id":"redacted-2"}]'}],
        ),
        ("/inputs/absent", {"a": "hush"}, {"a": "hush"}),
    ],
)
def test_a_declared_value_is_replaced_wherever_it_occurs(rule: str, value: Any, expected: Any) -> None:
    assert admitted(rule, value) == expected


@pytest.mark.parametrize(
    "form",
    [
        TOKEN,
        json.dumps(TOKEN),
        json.dumps(TOKEN, ensure_ascii=False),
        json.dumps({"body": json.dumps({"t": TOKEN}, ensure_ascii=False)}, ensure_ascii=False),
        json.dumps({"body": json.dumps({"t": TOKEN})}),
        html.escape(TOKEN),
        html.escape(TOKEN, quote=False),
        str(markupsafe.escape(TOKEN)),
        TOKEN.strip(),
        quote(TOKEN.strip()),
        base64.b64encode(f"user:{TOKEN.strip()}".encode()).decode(),
        repr(TOKEN),
        repr({"t": TOKEN}),
        quote(TOKEN),
        quote(TOKEN, safe=""),
        quote_plus(TOKEN),
        quote(TOKEN).lower(),
        base64.b64encode(TOKEN.encode()).decode(),
        base64.urlsafe_b64encode(TOKEN.encode()).decode(),
        base64.b64encode(f"user:{TOKEN}".encode()).decode(),
        base64.b64encode(f"users:{TOKEN}".encode()).decode(),
        base64.b64encode(f"userss:{TOKEN}!".encode()).decode(),
    ],
)
def test_a_secret_is_found_in_every_form_that_is_documented(form: str) -> None:
    redaction = Redaction(["/inputs/token"])
    redaction.admit(("inputs",), raw({"token": TOKEN}))
    hidden = decode(redaction.hide(raw({"x": f"<<{form}>>"})))["x"]
    assert "redacted-1" in hidden
    assert not [one for one in forms(TOKEN) if one in hidden]
    assert redaction.message(f"failed: {form}") == f"failed: {hidden[2:-2]}"


def test_numbers_count_distinct_secrets_whatever_their_rule() -> None:
    redaction = Redaction(["/inputs/*", "/steps/*/output/token"])
    assert decode(redaction.admit(("inputs",), raw({"a": "one-1", "b": "two-2", "c": "one-1"}))) == {
        "a": "redacted-1",
        "b": "redacted-2",
        "c": "redacted-1",
    }
    assert decode(redaction.admit(OUTPUT, raw({"token": "three", "seen": "two-2"}))) == {
        "token": "redacted-3",
        "seen": "redacted-2",
    }
    assert redaction.counts == {"/inputs/*": 2, "/steps/*/output/token": 1}


def test_a_rule_that_matched_nothing_is_dead_and_one_that_found_nothing_to_hide_is_not() -> None:
    redaction = Redaction(["/inputs/a", "/inputs/b", "/steps/x/output"])
    redaction.admit(("inputs",), raw({"a": None}))
    assert redaction.dead == ["/inputs/b", "/steps/x/output"]
    redaction.note(("steps", "x", "output"), raw("redacted-7"))
    assert redaction.dead == ["/inputs/b"]
    assert redaction.counts == {"/inputs/a": 0, "/steps/x/output": 1}


@pytest.mark.parametrize(
    "rule", ["", "/", "/spec", "/steps/a", "/steps/a/inputs/x", "/steps/a/effects/b/args", "inputs"]
)
def test_a_rule_that_points_elsewhere_is_refused(rule: str) -> None:
    with pytest.raises(FormatError, match="points at nothing that can be redacted"):
        Redaction([rule])


def test_a_call_is_rid_of_what_its_own_result_declares() -> None:
    redaction = Redaction(["/steps/login/effects/http.POST/result/text/access_token"])
    body = json.dumps({"access_token": "fresh-token", "again": "fresh-token"})
    assert decode(redaction.admit(RESULT, raw({"status": 200, "text": body})))["text"].count("redacted-1") == 2
    assert decode(redaction.admit(OUTPUT, raw({"token": "fresh-token"}))) == {"token": "redacted-1"}


def test_what_was_written_before_it_was_declared_is_refused_with_the_place_to_declare() -> None:
    redaction = Redaction(["/steps/login/output/token"])
    redaction.admit(RESULT, raw({"text": "token=fresh-token"}))
    with pytest.raises(SecretError) as refused:
        redaction.admit(OUTPUT, raw({"token": "fresh-token"}))
    assert "fresh-token" not in str(refused.value)
    assert refused.value.problem.endswith("written before that, at /steps/login/effects/http.POST/result")
    assert 'redact = ["/steps/login/effects/http.POST/result"]' in refused.value.hint


def test_all_that_is_declared_is_learnt_also_where_some_of_it_was_written_before() -> None:
    redaction = Redaction(["/steps/login/output/*"])
    redaction.admit(RESULT, raw("it is one-1"))
    with pytest.raises(SecretError):
        redaction.admit(OUTPUT, raw({"a": "one-1", "b": "two-2"}))
    assert redaction.message("one-1 and two-2") == "redacted-1 and redacted-2"


def test_a_spec_that_holds_the_secret_is_refused() -> None:
    redaction = Redaction(["/inputs/token"])
    redaction.admit(("inputs",), raw({"token": "hush-hush"}))
    redaction.refuse_in(raw({"id": "s"}), "the spec")
    with pytest.raises(SecretError, match="the value at /inputs/token stands in the spec too") as refused:
        redaction.refuse_in(raw({"id": "s", "token": "hush-hush"}), "the spec")
    assert "hush" not in str(refused.value)


def test_what_is_declared_is_not_recognised_and_what_is_not_is() -> None:
    redaction = Redaction(["/inputs/password"], Recognition())
    assert decode(redaction.admit(("inputs",), raw({"password": "hunter2!x"}))) == {"password": "redacted-1"}
    assert decode(redaction.admit(OUTPUT, raw({"password": "hunter2!x"}))) == {"password": "redacted-1"}
    with pytest.raises(SecretError, match="/steps/login/output/password holds what looks like a password"):
        redaction.admit(OUTPUT, raw({"password": "another2!"}))


def test_a_message_that_was_cut_off_shows_no_beginning_of_a_secret() -> None:
    redaction = Redaction(["/inputs/t"])
    redaction.admit(("inputs",), raw({"t": "0123456789abcdef"}))
    cut = ("x" * 4086 + "0123456789abcdef")[:4096]
    assert redaction.message(cut) == "x" * 4086
    assert redaction.message("ends in 0123456789") == "ends in 0123456789"


def test_a_recording_says_which_number_a_value_has() -> None:
    redaction = Redaction(["/steps/*/output/token"])
    redaction.expect(OUTPUT, raw({"token": "redacted-7"}))
    assert decode(redaction.admit(OUTPUT, raw({"token": "hush"}))) == {"token": "redacted-7"}
    other = ("steps", "other", "output")
    redaction.expect(other, raw({"token": "redacted-7"}))
    # Another value than that which has the number.
    assert decode(redaction.admit(other, raw({"token": "loud"}))) == {"token": "redacted-8"}
    redaction.expect(OUTPUT, raw({"token": "redacted-9"}))
    # The same value under another number.
    assert decode(redaction.admit(OUTPUT, raw({"token": "hush"}))) == {"token": "redacted-7"}


def test_a_label_that_a_recording_answered_is_no_secret_of_its_own() -> None:
    redaction = Redaction(["/steps/*/output/token"])
    redaction.expect(OUTPUT, raw({"token": "redacted-1"}))
    assert decode(redaction.admit(OUTPUT, raw({"token": "redacted-1"}))) == {"token": "redacted-1"}
    assert decode(redaction.hide(raw({"x": "redacted-1"}))) == {"x": "redacted-1"}


def test_what_labels_stand_for_is_learnt_from_the_true_value() -> None:
    redaction = Redaction(["/inputs/a"], used=3)
    recorded = raw({"t": "redacted-2", "h": "Bearer redacted-2; id=redacted-3", "n": 1})
    true = raw({"t": "hush-hush", "h": "Bearer hush-hush; id=4711", "n": 1})
    assert redaction.bind(recorded, true)
    assert decode(redaction.hide(raw(["4711", "hush-hush"]))) == ["redacted-3", "redacted-2"]
    assert not redaction.bind(raw({"t": "redacted-2"}), raw({"t": "another"}))
    assert decode(redaction.admit(("inputs",), raw({"a": "new"}))) == {"a": "redacted-4"}


def test_recorded_values_come_back_with_their_secrets_and_stay_else_as_they_were_recorded() -> None:
    redaction = Redaction(["/inputs/t"])
    redaction.admit(("inputs",), raw({"t": "hush"}))
    recorded = raw({"at": "then", "rows": [{"t": "redacted-1"}, 2], "gone": 1})
    true = raw({"at": "now", "rows": [{"t": "hush"}, 3], "new": 1})
    assert decode(redaction.revealed(recorded, true)) == {"at": "then", "rows": [{"t": "hush"}, 2], "gone": 1}


@pytest.mark.parametrize(
    "value, expected",
    [("redacted-1", {1}), ({"redacted-2": ["x redacted-34, y"]}, {2, 34}), ("redacted-0", set()), ("redacted", set())],
)
def test_labels_are_read_from_canonical_bytes(value: Any, expected: set[int]) -> None:
    assert labels(raw(value)) == expected


def test_inputs_that_have_to_be_given_are_named() -> None:
    recorded = {"b": "redacted-1", "a": {"x": ["redacted-2"]}, "c": 3}
    assert names_of(recorded, ()) == ["a", "b"]
    assert names_of(recorded, ["a"]) == ["b"]


def test_without_rules_the_bytes_are_the_very_same() -> None:
    data = raw({"a": "b"})
    assert Redaction().admit(("inputs",), data) is data
    assert Redaction().hide(data) is data


def test_labels_that_are_known_are_revealed_and_others_stay() -> None:
    redaction = Redaction(["/inputs/*"])
    redaction.admit(("inputs",), raw({"a": 12345, "b": "hush"}))
    shown = redaction.reveal(raw({"redacted-2": ["redacted-1", "as redacted-2, redacted-3", "redacted-3"], "n": 1}))
    assert shown == {"hush": [12345, "as hush, redacted-3", "redacted-3"], "n": 1}
