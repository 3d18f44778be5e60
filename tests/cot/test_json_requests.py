"""Servers that are busy, slow, broken or curious: what is tried again, for how long, and that the key stays hidden."""

import logging
import socket
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from kb.cot import EndpointError, EndpointModel, RetryPolicy, Sampling
from kb.cot.json_requests import post_json
from tests.cot.scripted_server import Reply, chat_reply, serving

QUICK = RetryPolicy(timeout=5, tries=3, first_wait=0.01, longest_wait=0.5)
KEY = "sk-very-secret-123"
GOOD = Reply({"ok": 1})


def post(url: str, *, key_variable: str | None = None, retry: RetryPolicy = QUICK) -> dict[str, Any]:
    return post_json(url, {"a": 1}, key_variable=key_variable, retry=retry)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
def test_busy_then_well(status: int) -> None:
    with serving([Reply({"error": "busy"}, status=status), GOOD]) as (url, asked):
        assert post(url) == {"ok": 1}
        assert len(asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 422, 302, 308])
def test_a_refusal_is_final(status: int) -> None:
    headers = {"Location": "http://127.0.0.1:1/elsewhere"}
    with serving([Reply({"error": {"message": "no such model"}}, status, headers), GOOD]) as (url, asked):
        with pytest.raises(EndpointError, match=f"status {status}: no such model") as caught:
            post(url)
        assert len(asked) == 1
        assert caught.value.status == status


def test_tries_end() -> None:
    with serving([Reply({"detail": "overloaded"}, status=503)]) as (url, asked):
        with pytest.raises(EndpointError, match="status 503: overloaded, at the last of 3 tries"):
            post(url)
        assert len(asked) == 3


def test_waits_double() -> None:
    with serving([Reply(status=500), Reply(status=500), GOOD]) as (url, _):
        start = time.monotonic()
        post(url, retry=RetryPolicy(tries=3, first_wait=0.1))
        assert 0.3 <= time.monotonic() - start < 1.5


def test_the_server_says_how_long() -> None:
    with serving([Reply(status=429, headers={"Retry-After": "0.3"}), GOOD]) as (url, _):
        start = time.monotonic()
        post(url)
        assert 0.3 <= time.monotonic() - start < 1.5


def test_the_server_says_until_when() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for value in ("3600", date):
        with serving([Reply(status=429, headers={"Retry-After": value}), GOOD]) as (url, asked):
            with pytest.raises(EndpointError, match=r"asks to wait 3\d\d\d s, more than longest_wait"):
                post(url)
            assert len(asked) == 1


@pytest.mark.parametrize("value", ["soon", "", "nan", "-5", "inf"])
def test_nonsense_is_no_wait(value: str) -> None:
    with serving([Reply(status=429, headers={"Retry-After": value}), GOOD]) as (url, _):
        assert post(url) == {"ok": 1}


def test_a_lost_connection_is_tried_again() -> None:
    for broken in (Reply(cut=0), Reply({"ok": "long enough to be cut"}, cut=5)):
        with serving([broken, GOOD]) as (url, asked):
            assert post(url) == {"ok": 1}
            assert len(asked) == 2


def test_nobody_listens() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with pytest.raises(EndpointError, match=r"connection failed .ConnectionRefusedError.*last of 3 tries"):
        post(f"http://127.0.0.1:{port}/v1")


@pytest.mark.parametrize("slow", [Reply({"ok": 1}, delay=0.6), Reply({"ok": "a" * 40}, drip=0.02)])
def test_slow_is_late(slow: Reply) -> None:
    """A server that drips is never silent for long, and yet late."""
    with serving([slow]) as (url, asked):
        start = time.monotonic()
        with pytest.raises(EndpointError, match=r"no whole answer within 0.2 s, at the last of 2 tries"):
            post(url, retry=RetryPolicy(timeout=0.2, tries=2, first_wait=0.0))
        assert time.monotonic() - start < 2
        assert len(asked) == 2


def test_the_key_goes_into_the_header_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KB_TEST_KEY", KEY + "\n")
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"Incorrect API key provided: {KEY}."}}
    for reply in (Reply(echo, status=401), Reply(f"no JSON, {KEY}".encode()), Reply(echo, status=500), Reply(cut=0)):
        with serving([reply]) as (url, asked):
            model = EndpointModel(url, "m", context_length=99, key_variable="KB_TEST_KEY", retry=QUICK)
            with pytest.raises(EndpointError) as caught:
                model.generate(["q"], Sampling())
            assert asked[0].headers["Authorization"] == f"Bearer {KEY}"
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        ours = [str((frame.name, frame.locals)) for frame in shown.stack if "test" not in frame.filename]
        assert any("post_json" in frame for frame in ours)
        assert KEY not in "".join([*shown.format_exception_only(), *ours])
        assert KEY not in repr(model) + str(vars(model)) + caplog.text
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("KB_TEST_KEY", value)
    with pytest.raises(ValueError, match="key_variable names an environment variable") as caught:
        EndpointModel("http://localhost:1/v1", "m", context_length=99, key_variable="KB_TEST_KEY")
    assert not value.strip() or value.strip() not in str(caught.value)


def test_the_key_given_for_its_name_is_not_shown() -> None:
    with pytest.raises(ValueError, match="that is not set") as caught:
        EndpointModel("http://localhost:1/v1", "m", context_length=99, key_variable=KEY)
    assert KEY not in str(caught.value)


def test_a_key_is_read_at_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_TEST_KEY", "first")
    with serving([Reply(chat_reply("x"))]) as (url, asked):
        model = EndpointModel(url, "m", context_length=99, key_variable="KB_TEST_KEY")
        model.generate(["q"], Sampling())
        monkeypatch.setenv("KB_TEST_KEY", "second")
        model.generate(["q"], Sampling())
    assert [one.headers["Authorization"] for one in asked] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout must be a positive number"),
        ({"timeout": float("nan")}, "timeout must be a positive number"),
        ({"tries": 0}, "tries must be an integer of at least 1"),
        ({"first_wait": -1}, "first_wait must be a number of seconds, at least 0"),
        ({"longest_wait": "1"}, "longest_wait must be a number of seconds"),
    ],
)
def test_the_retry_policy_has_bounds(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetryPolicy(**options)
