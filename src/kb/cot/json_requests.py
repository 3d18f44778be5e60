"""JSON to a server and back: one deadline a try, tries again where that may help, and a key that nothing shows.

Unusual: the key is no value here. Functions get the name of the environment variable, and read it into the header at
the last moment; what a server says goes through :func:`_without_key`, since some repeat the key in their errors, and no
exception carries the one of the library below, whose frames would hold the request. Redirects are not followed: the key
would go to whatever host they name.

Sources: RFC 9110, section 10.2.3 (Retry-After) and 15.5 (errors of the client, which a second try would not mend).
"""

import json
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from kb.arguments import is_number, require_count

_MOST_BYTES = 2**26
_SHOWN = 300  # characters of what a server says of an error


class EndpointError(RuntimeError):
    """A server could not be reached, refused, or answered what is no answer.

    Args:
        message: What happened, and what to do.
        status: The HTTP status where there was one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class RetryPolicy:
    """How long a server is waited for, and how often it is asked.

    Args:
        timeout: Seconds of one try, from connecting to the last byte.
        tries: How often at most, the first included: after 429, 5xx, timeouts and lost connections.
        first_wait: Seconds before the second try; doubled before each further one.
        longest_wait: Seconds at most; a server that asks for more (``Retry-After``) is not waited for.

    Raises:
        ValueError: a number is out of its range.
    """

    timeout: float = 60.0
    tries: int = 5
    first_wait: float = 0.5
    longest_wait: float = 60.0

    def __post_init__(self) -> None:
        require_count("tries", self.tries)
        if not is_number(self.timeout) or self.timeout <= 0:
            raise ValueError(f"timeout must be a positive number of seconds, got {self.timeout!r}")
        for name in ("first_wait", "longest_wait"):
            if not is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise ValueError(f"{name} must be a number of seconds, at least 0, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class _Failure:
    """Why a try gave nothing, whether another one may, and how long the server wants to be left alone."""

    message: str
    again: bool
    status: int | None = None
    wait: float | None = None


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def require_base_url(url: object) -> str:
    """The address without the slash at its end.

    Raises:
        TypeError: it is not a string.
        ValueError: it is no http or https address, or holds a user, a password, a query or a fragment.
    """
    if not isinstance(url, str):
        raise TypeError(f"base_url must be a string, got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"base_url is no address: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url must not hold a user or a password: the key comes from an environment variable")
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            f"base_url must be like 'https://host/v1', without a query or a fragment, got {url.partition('?')[0]!r}"
        )
    return url.rstrip("/")


def require_key(variable: str | None) -> None:
    """Check that the key can be sent, without showing it; None needs none.

    Raises:
        TypeError: ``variable`` is not a string.
        ValueError: the variable is not set, or holds what cannot stand in a header.
    """
    _key(variable)


def post_json(url: str, body: Mapping[str, Any], *, key_variable: str | None, retry: RetryPolicy) -> dict[str, Any]:
    """Send an object, and return the object that comes back.

    Args:
        url: Whereto.
        body: What can be written as JSON.
        key_variable: Environment variable of the key that goes into the header, None for no key.
        retry: Timeouts and tries.

    Raises:
        EndpointError: the server refused (4xx but 429: at once), or no try gave a JSON object.
        ValueError: there is no usable key in the variable.
    """
    content = json.dumps(body).encode()
    wait, tries = retry.first_wait, 0
    while True:
        reply = _try(url, content, key_variable, retry.timeout)
        if not isinstance(reply, _Failure):
            return reply
        tries += 1
        if not reply.again:
            raise EndpointError(f"{url}: {reply.message}", reply.status)
        pause = min(wait, retry.longest_wait) if reply.wait is None else reply.wait
        if pause > retry.longest_wait:
            raise EndpointError(
                f"{url}: {reply.message}; it asks to wait {pause:.0f} s, more than longest_wait", reply.status
            )
        if tries == retry.tries:
            raise EndpointError(f"{url}: {reply.message}, at the last of {tries} tries", reply.status)
        time.sleep(pause)
        wait *= 2


def _try(url: str, content: bytes, key_variable: str | None, timeout: float) -> dict[str, Any] | _Failure:
    key = _key(key_variable)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    request = Request(url, data=content, headers=headers, method="POST")
    del key, headers  # locals may be shown with a traceback
    deadline = time.monotonic() + timeout
    try:
        with build_opener(_NoRedirect).open(request, timeout=timeout) as response:
            return _parsed(_body(response, deadline), key_variable)
    except HTTPError as error:
        try:
            said = _body(error, deadline).decode("utf-8", "replace")
        except (OSError, HTTPException):
            said = ""
        again = error.code == 429 or error.code >= 500
        message = f"status {error.code}: {_without_key(_said(said), key_variable) or error.reason}"
        return _Failure(message, again, error.code, _retry_after(error.headers.get("Retry-After")) if again else None)
    except (URLError, OSError, HTTPException) as error:
        why = error.reason if isinstance(error, URLError) else error
        if isinstance(why, TimeoutError):
            return _Failure(f"no whole answer within {timeout:g} s", True)
        again = not isinstance(why, ssl.SSLCertVerificationError)
        return _Failure(_without_key(f"connection failed ({type(why).__name__}: {why})", key_variable), again)


def _body(response: Any, deadline: float) -> bytes:
    """All bytes of a response, which must be there by the deadline, however slowly the server drips."""
    parts: list[bytes] = []
    total = 0
    while part := response.read1(2**16):
        parts.append(part)
        total += len(part)
        if time.monotonic() > deadline:
            raise TimeoutError
        if total > _MOST_BYTES:
            raise HTTPException(f"more than {_MOST_BYTES} bytes came")
    promised = response.headers.get("Content-Length") or ""
    if promised.isdecimal() and total < int(promised):
        raise HTTPException(f"{total} of {promised} bytes came")
    return b"".join(parts)


def _parsed(content: bytes, key_variable: str | None) -> dict[str, Any] | _Failure:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        shown = _without_key(content[:_SHOWN].decode("utf-8", "replace"), key_variable)
        return _Failure(f"the answer is no JSON: {shown!r}", False)
    if not isinstance(found, dict):
        return _Failure(f"the answer must be a JSON object, got {type(found).__name__}", False)
    return found


def _said(text: str) -> str:
    """The message in the body of an error: OpenAI's ``error.message``, FastAPI's ``detail``, or the text itself."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return found if isinstance(found, str) else json.dumps(found)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After``, a number or a date; None where it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        zoned = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (zoned - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if is_number(seconds) else None


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not isinstance(variable, str):
        raise TypeError(f"key_variable must be the name of an environment variable, got {type(variable).__name__}")
    found = os.environ.get(variable, "").strip()
    # The messages do not repeat the name: whoever gave the key itself for it would find the key in a log.
    if not found:
        raise ValueError("key_variable names an environment variable that is not set or empty")
    if not (found.isascii() and found.isprintable() and " " not in found):
        raise ValueError("key_variable names an environment variable whose content cannot stand in a header")
    return found


def _without_key(text: str, variable: str | None) -> str:
    key = _key(variable)
    return (text.replace(key, "[key]") if key else text)[:_SHOWN]
