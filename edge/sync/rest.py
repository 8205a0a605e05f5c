"""The REST API of a Qdrant server: requests that are asked again where that may help.

Invariants
- What leaves is a RemoteError; a request that may be right later is asked again after a pause,
  which grows, varies, and is as long as the server asks for.
- A request that was asked again may have been carried out twice: it is for those who ask what may.
- The API key is in no message, log line or repr, and goes to the server's own address only.
- Answers are read in pieces, and no further than a limit.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, Self, TypeVar

import anyio
import msgspec
from anyio import to_thread

from edge.errors import (
    Refused,
    RemoteBusy,
    RemoteError,
    Unauthorized,
    Unreachable,
    ValidationError,
)

try:
    import httpx
except ImportError as missing:
    raise ImportError("edge.sync needs httpx: pip install 'edgeshard[sync]'") from missing

log = logging.getLogger("edge")

Result = TypeVar("Result")

KEY_VARIABLE: Final = "QDRANT_API_KEY"
MOST_JSON_BYTES: Final = 256 << 20
"""Bytes of an answer that is no file."""
SHORT_BYTES: Final = 64 << 10
"""JSON that is decoded in less time than the way to a thread takes, or not much more."""
MOST_ERROR_BYTES: Final = 64 << 10
MOST_PATIENCE: Final = 300.0
"""Seconds that a server may ask to be left alone; more is cut to this."""
BUSY: Final = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
"""Statuses below 500 that say "later"."""
UNAUTHORIZED: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


@dataclass(frozen=True)
class Retries:
    """How often, and after which pauses, a request is asked again.

    The n-th pause is drawn between half of and all of `first` * 2^n seconds, at most `longest`.
    `attempts` counts the first one; None: until it is done or refused.
    """

    attempts: int | None = 6
    first: float = 0.5
    longest: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise ValidationError(f"attempts: expected 1 or more, got {self.attempts}")
        if not 0 <= self.first <= self.longest:
            raise ValidationError(
                f"first: expected 0 to longest ({self.longest}), got {self.first}"
            )

    def pause(self, failures: int, error: RemoteError) -> float:
        """Return the seconds to wait after so many failures in a row, the last by `error`."""
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        drawn = random.uniform(whole / 2, whole)
        return drawn if error.after is None else max(drawn, min(error.after, MOST_PATIENCE))

    async def run(self, act: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `await act()` returns, called again while it raises Unreachable or
        RemoteBusy."""
        failures = 0
        while True:
            try:
                return await act()
            except (Unreachable, RemoteBusy) as error:
                failures += 1
                if failures == self.attempts:
                    raise
                await anyio.sleep(self.pause(failures, error))


class Rest:
    """A client of one server. To be opened by `async with`, or by `open` and closed by `close`.

    `api_key` None: that of the environment variable QDRANT_API_KEY, if there is one. `timeout` are
    the seconds in which a connection must be made and in which something more must come.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: Retries | None = None,
    ) -> None:
        self.url = _checked(url)
        self.retries = retries or Retries()
        self._timeout = timeout
        self._api_key = _checked_key(os.environ.get(KEY_VARIABLE) if api_key is None else api_key)
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"Rest({self.url!r})"

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def open(self) -> Self:
        """Make ready; no connection is made yet."""
        if self._client is None:
            self._client = await to_thread.run_sync(self._make)  # certificates are read
        return self

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _make(self) -> httpx.AsyncClient:
        headers = {"accept-encoding": "identity"}
        if self._api_key:
            headers["api-key"] = self._api_key
            if not self.url.startswith("https:") and not _is_loopback(self.url):
                log.warning("the API key goes to %s without encryption", self.url)
        return httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=self._timeout, trust_env=False
        )

    # -- requests

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        patience: float | None = None,
    ) -> Any:
        """Return the `result` that the server answers, asked again as `retries` say.

        `body` is sent as JSON; `content` is JSON that is bytes already. `patience` are the seconds
        that the server may work before it says something, where that is more than `timeout`.
        Raises Unreachable, RemoteBusy, Refused or Unauthorized.
        """
        if body is not None:
            content = await to_thread.run_sync(msgspec.json.encode, body)

        async def once() -> Any:
            async with self.stream(
                method, path, params=params, content=content, patience=patience
            ) as answer:
                data = await _read(answer, MOST_JSON_BYTES)
                if len(data) < SHORT_BYTES:
                    return _result(data, answer.status_code)
                return await to_thread.run_sync(_result, data, answer.status_code)

        return await self.retries.run(once)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Give the answer (2xx or 304), whose body is to be read by `pieces`. Asked once.

        For `patience` see `call`.
        """
        if self._client is None:
            raise Unreachable(f"the client of {self.url} is not open")
        every = {"content-type": "application/json"} if content is not None else {}
        timeout = httpx.Timeout(self._timeout, read=max(self._timeout, patience or 0.0))
        try:
            async with self._client.stream(
                method,
                path,
                params=params,
                content=content,
                headers={**every, **(headers or {})},
                timeout=timeout,
            ) as answer:
                if not (answer.is_success or answer.status_code == HTTPStatus.NOT_MODIFIED):
                    said = await _error_text(answer)  # which may repeat what was sent
                    raise _failure(answer, said.replace(self._api_key or "\0", "***"))
                yield answer
        except httpx.HTTPError as error:
            raise Unreachable(f"{method} {path}: {_named(error)}") from error


async def pieces(answer: httpx.Response, most_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body of an answer. Raises Refused where it is longer than `most_bytes`."""
    total = 0
    async for piece in answer.aiter_raw():
        total += len(piece)
        if total > most_bytes:
            raise Refused(f"the answer is longer than {most_bytes} bytes", answer.status_code)
        yield piece


async def _read(answer: httpx.Response, most_bytes: int) -> bytes:
    return b"".join([piece async for piece in pieces(answer, most_bytes)])


def _result(data: bytes, status: int) -> Any:
    try:
        return msgspec.json.decode(data)["result"]
    except (msgspec.MsgspecError, KeyError, TypeError, RecursionError):
        raise Refused("the answer is not one of Qdrant", status) from None


async def _error_text(answer: httpx.Response) -> str:
    """What the server says of its refusal."""
    try:
        text = await _read(answer, MOST_ERROR_BYTES)
        said = msgspec.json.decode(text)["status"]["error"]
    except (msgspec.MsgspecError, KeyError, TypeError, RecursionError, Refused):
        return answer.reason_phrase
    return str(said)


def _failure(answer: httpx.Response, said: str) -> RemoteError:
    status, request = answer.status_code, answer.request
    message = f"{request.method} {request.url.path}: {status} {said}"
    if status in UNAUTHORIZED:
        return Unauthorized(message, status)
    if status in BUSY or status >= 500:
        return RemoteBusy(message, status, _after(answer.headers.get("retry-after")))
    return Refused(message, status)


def _after(text: str | None) -> float | None:
    """The seconds of a Retry-After header, which are a number or a date."""
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _named(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__} {error}".strip()


def _checked_key(key: str | None) -> str | None:
    """The key, which must be one that a header can hold; an error must not tell it."""
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ValidationError("api_key: expected printable ASCII")
    return key


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValidationError(f"url: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValidationError(f"url: expected http(s)://host, got {url!r}")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ValidationError("url: expected no user, query or fragment")
    return str(parsed).rstrip("/")


def _is_loopback(url: str) -> bool:
    return httpx.URL(url).host in ("localhost", "127.0.0.1", "::1")
