"""The client of a server: what it asks again, what it says, and what it keeps to itself."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from edge.errors import (
    Refused,
    RemoteBusy,
    RemoteError,
    Unauthorized,
    Unreachable,
    ValidationError,
)
from edge.sync import rest
from edge.sync.rest import Rest, Retries, pieces
from tests.sync.server import Fault, Server

QUICK = Retries(attempts=4, first=0.001, longest=0.01)
DENSE = {"vectors": {"size": 4, "distance": "Dot"}}
COLLECTION = "/collections/things"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server", api_key="secret") as server:
        server.create("things", DENSE)
        yield server


async def test_it_asks_and_is_answered(server: Server) -> None:
    async with Rest(server.url + "/", "secret") as client:
        points = {"points": [{"id": 1, "vector": [1, 2, 3, 4], "payload": {"room": "küche"}}]}
        done = await client.call("PUT", f"{COLLECTION}/points", points, params={"wait": "true"})
        assert done["status"] == "completed"
        assert server.seen("PUT", "points")[0].query == "wait=true"
        found = await client.call("POST", f"{COLLECTION}/points/scroll", content=b"{}")
        assert found["points"][0]["payload"] == {"room": "küche"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", COLLECTION, status=500, times=3),
        Fault("status", COLLECTION, status=503, times=3),
        Fault("status", COLLECTION, status=429, times=3, retry_after="0"),
        Fault("status", COLLECTION, status=408, times=3),
        Fault("no reply", COLLECTION, times=3),
        Fault("cut reply", COLLECTION, at=20, times=3),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
async def test_what_may_help_later_is_asked_again(server: Server, fault: Fault) -> None:
    server.arm(fault)
    async with Rest(server.url, "secret", retries=QUICK) as client:
        assert (await client.call("GET", COLLECTION))["status"] == "green"
        assert len(server.seen("GET", COLLECTION)) == 4
        server.arm(replace(fault, times=4))
        with pytest.raises(
            Unreachable if "cut" in fault.kind or "no" in fault.kind else RemoteBusy
        ):
            await client.call("GET", COLLECTION)
        assert len(server.seen("GET", COLLECTION)) == 8


async def test_what_is_refused_is_asked_once(server: Server) -> None:
    async with Rest(server.url, "secret", retries=QUICK) as client:
        with pytest.raises(Refused, match="404 Not found: Collection `others`") as caught:
            await client.call("GET", "/collections/others")
        assert caught.value.status == 404
        assert len(server.seen("GET", "others")) == 1


async def test_a_server_that_is_gone_comes_back(server: Server) -> None:
    server.stop()
    async with Rest(server.url, "secret", retries=QUICK) as client:
        with pytest.raises(Unreachable, match="GET /collections/things: ConnectError"):
            await client.call("GET", COLLECTION)
        server.start()
        assert (await client.call("GET", COLLECTION))["status"] == "green"
        server.restart()
        assert (await client.call("GET", COLLECTION))["status"] == "green"


async def test_a_server_that_says_nothing_is_given_up(server: Server) -> None:
    server.arm(Fault("delay", COLLECTION))
    once = Retries(attempts=1)
    async with Rest(server.url, "secret", timeout=0.05, retries=once) as client:
        with pytest.raises(Unreachable, match="ReadTimeout"):
            await client.call("GET", COLLECTION)


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_a_wrong_key_is_refused_and_told_to_nobody(
    server: Server, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(rest.KEY_VARIABLE, raising=False)
    async with Rest(server.url, key) as client:
        with pytest.raises(Unauthorized, match="401 Must provide an API key") as caught:
            await client.call("GET", COLLECTION)
        assert "wrong" not in str(caught.value) + repr(client) + repr(caught.value)


async def test_the_key_of_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rest.KEY_VARIABLE, "secret")
    async with Rest(server.url) as client:
        assert (await client.call("GET", COLLECTION))["status"] == "green"


@pytest.mark.parametrize(
    ("url", "warns"),
    [("http://server:6333", True), ("https://server", False), ("http://localhost:6333", False)],
)
async def test_a_key_without_encryption_is_warned_of(
    url: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "edge"):
        async with Rest(url, "secret"):
            pass
    assert bool(caplog.records) is warns
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "url", ["", "server:6333", "ftp://server", "http://", "http://key@server", "http://a/?b=c", 7]
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="url"):
        Rest(url)


async def test_an_answer_that_is_no_answer(server: Server) -> None:
    async with Rest(server.url, "secret") as client:
        with pytest.raises(Refused, match="not one of Qdrant"):
            await client.call("GET", "/")


async def test_an_answer_that_is_too_long(server: Server) -> None:
    async with Rest(server.url, "secret") as client:
        with pytest.raises(Refused, match="longer than 10 bytes"):
            async with client.stream("GET", COLLECTION) as answer:
                [piece async for piece in pieces(answer, 10)]


async def test_a_client_that_is_closed(server: Server) -> None:
    client = Rest(server.url, "secret", retries=Retries(attempts=1))
    await client.open()
    await client.close()
    await client.close()
    with pytest.raises(Unreachable, match="not open"):
        await client.call("GET", COLLECTION)


# -- pauses


def test_pauses_grow_and_vary() -> None:
    retries, error = Retries(first=1.0, longest=60.0), Unreachable("gone")
    for failures, whole in ((1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (5000, 60.0)):
        drawn = {retries.pause(failures, error) for _ in range(100)}
        assert min(drawn) >= whole / 2
        assert max(drawn) <= whole
        assert len(drawn) > 1


def test_pauses_are_as_long_as_the_server_asks() -> None:
    retries = Retries(first=0.1)
    assert retries.pause(1, RemoteBusy("busy", 429, 7.0)) == 7.0
    assert retries.pause(1, RemoteBusy("busy", 429, 1e9)) == rest.MOST_PATIENCE
    assert retries.pause(1, RemoteBusy("busy", 429, 0.0)) <= 0.1


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("1.5", 1.5), ("-1", 0), ("soon", None)])
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert rest._after(text) == seconds


def test_retry_after_as_a_date() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=100)
    assert 90 < (rest._after(format_datetime(moment, usegmt=True)) or 0) <= 100
    assert rest._after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"first": -1.0}, {"first": 9.0, "longest": 1.0}]
)
def test_wrong_retries_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Retries(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Unreachable, RemoteBusy, Refused, Unauthorized])
def test_errors_travel(kind: type[RemoteError]) -> None:
    again = pickle.loads(pickle.dumps(kind("said", 429, 7.0)))
    assert type(again) is kind
    assert (str(again), again.status, again.after) == ("said", 429, 7.0)
