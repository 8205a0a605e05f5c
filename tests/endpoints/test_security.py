"""Which addresses are safe, and CURVE: unknown keys get nothing, known ones what their role is."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from edge import EdgeShard
from edge.endpoints import ClientKeys, EdgeClient, Endpoints, Keys, Publisher, Role
from edge.endpoints.security import check_bind
from edge.errors import DeadlineExceeded, StorageFault, ValidationError
from edge.model.update import UpdateOperation
from tests.endpoints.made import DIM, Peer, config, in_thread, served, short_folder


def pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


SERVER, WRITER, READER, STRANGER = pair(), pair(), pair(), pair()
KEYS = Keys(*SERVER, {WRITER[0]: Role.Write, READER[0]: Role.Query})


def client_of(keys: tuple[str, str]) -> ClientKeys:
    return ClientKeys(*keys, SERVER[0])


# -- addresses


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:5555", "tcp://127.1.2.3:*", "tcp://[::1]:5555", "tcp://localhost:5555"],
)
def test_loopback_needs_no_keys(address: str) -> None:
    check_bind(address, None, "query")


@pytest.mark.parametrize(
    "address",
    [
        "tcp://*:5555",
        "tcp://0.0.0.0:5555",
        "tcp://[::]:5555",
        "tcp://192.168.1.7:5555",
        "tcp://robot.local:5555",
        "tcp://eth0:5555",
        "tcp://1270.0.0.1:1",
    ],
)
def test_addresses_that_others_reach_need_keys(address: str) -> None:
    with pytest.raises(ValidationError, match=r"query: .* is open to others"):
        check_bind(address, None, "query")
    check_bind(address, KEYS, "query")


@pytest.mark.parametrize(
    "address", ["", "ingest", "inproc://ingest", "udp://127.0.0.1:1", "pgm://x", "tcp:/127.0.0.1"]
)
def test_other_ways_are_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="query: expected ipc:// or tcp://"):
        check_bind(address, KEYS, "query")


@pytest.mark.parametrize("path", ["@abstract", "*", ""])
def test_sockets_without_a_folder_are_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="needs the path of a file"):
        check_bind(f"ipc://{path}", None, "query")


@pytest.mark.parametrize("path", ["/tmp/" + "x" * 103, "/tmp/" + "é" * 52, "/tmp/a\0b"])
def test_paths_that_the_system_does_not_take_are_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="at most 107 bytes"):
        check_bind(f"ipc://{path}", None, "query")


def test_the_folder_of_a_socket_is_the_users_alone() -> None:
    with short_folder() as folder:
        check_bind(f"ipc://{folder}/new/query", None, "query")
        assert (folder / "new").stat().st_mode & 0o777 == 0o700
        for mode in (0o710, 0o701, 0o755, 0o770):
            (folder / "new").chmod(mode)
            with pytest.raises(ValidationError, match="mode 0700"):
                check_bind(f"ipc://{folder}/new/query", None, "query")
        (folder / "file").write_text("")
        with pytest.raises(StorageFault):
            check_bind(f"ipc://{folder}/file/query", None, "query")


def test_a_folder_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as folder:
        owner = folder.stat().st_uid
        monkeypatch.setattr(os, "getuid", lambda: owner + 1)
        with pytest.raises(ValidationError, match="belong to this user alone"):
            check_bind(f"ipc://{folder}/query", None, "query")


# -- keys


@pytest.mark.parametrize("key", ["", "x", "a" * 41, " " * 40, "é" * 40, "%" * 40, b"a" * 40, None])
def test_keys_that_are_none_are_refused_and_not_shown(key: Any) -> None:
    public, secret = SERVER
    for make in (
        lambda: Keys(key, secret, {}),
        lambda: Keys(public, key, {}),
        lambda: Keys(public, secret, {key: Role.All}),
        lambda: ClientKeys(key, secret, public),
        lambda: ClientKeys(public, key, public),
        lambda: ClientKeys(public, secret, key),
    ):
        with pytest.raises(ValidationError, match="expected a Z85 key") as caught:
            make()
        assert not key or len(key) < 40 or str(key) not in str(caught.value)


def test_roles_are_roles() -> None:
    with pytest.raises(ValidationError, match="a Role for each"):
        Keys(*SERVER, {WRITER[0]: "write"})  # type: ignore[dict-item]


def test_secrets_are_not_shown() -> None:
    assert SERVER[1] not in repr(KEYS)
    assert WRITER[1] not in repr(client_of(WRITER))


# -- doors with keys


async def is_let_in(address: str, keys: tuple[str, str] | None, kind: int) -> bool:
    """Whether a line with these keys is let through, as the socket's monitor tells."""
    options = {}
    if keys is not None:
        options = {
            "curve_serverkey": SERVER[0].encode(),
            "curve_publickey": keys[0].encode(),
            "curve_secretkey": keys[1].encode(),
        }
    failures = (
        zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    )
    success = zmq.EVENT_HANDSHAKE_SUCCEEDED
    async with Peer(address, kind, watches=failures | success, **options) as peer:
        return await peer.event() == success


async def test_roles_open_their_doors_and_no_others(tmp_path: Path) -> None:
    address = "tcp://127.0.0.1:*"
    async with served(
        tmp_path / "shard", keys=KEYS, ingest=address, query=address, stream=address
    ) as there:
        at = {name: there.doors.address(name) for name in ("ingest", "query", "stream")}
        let_in = {
            (name, who): await is_let_in(at[name], keys, kind)
            for name, kind in (("ingest", zmq.DEALER), ("query", zmq.DEALER), ("stream", zmq.PUB))
            for who, keys in (
                ("writer", WRITER),
                ("reader", READER),
                ("stranger", STRANGER),
                ("plain", None),
            )
        }
        assert {who for who, is_in in let_in.items() if is_in} == {
            ("ingest", "writer"),
            ("stream", "writer"),
            ("query", "reader"),
        }


async def test_a_stranger_gets_nothing_and_stores_nothing(tmp_path: Path) -> None:
    address = "tcp://127.0.0.1:*"
    async with served(
        tmp_path / "shard", keys=KEYS, ingest=address, query=address, stream=address
    ) as there:
        ingest, query = there.doors.address("ingest"), there.doors.address("query")
        for keys in (client_of(STRANGER), None):
            async with EdgeClient(query, ingest, timeout=0.1, keys=keys) as client:
                with pytest.raises(DeadlineExceeded):
                    await client.update(UpdateOperation.delete_points([1]))
            publisher = Publisher(ingest, keys=keys)
            publisher.upsert_arrays([1], np.ones((1, DIM)))
            with pytest.raises(DeadlineExceeded):
                publisher.close(0.1)
        assert await there.numbers() == {}
        assert all(door["messages"] == 0 for door in there.doors.counts().values())


async def test_publisher_and_client_come_in_with_their_keys(tmp_path: Path) -> None:
    both = pair()
    keys = Keys(*SERVER, {WRITER[0]: Role.Write, both[0]: Role.Write | Role.Query})
    async with served(
        tmp_path / "shard", keys=keys, ingest="tcp://127.0.0.1:*", query="tcp://127.0.0.1:*"
    ) as there:
        ingest, query = there.doors.address("ingest"), there.doors.address("query")

        def work() -> None:
            with Publisher(ingest, keys=client_of(WRITER)) as publisher:
                publisher.upsert_arrays([1], np.ones((1, DIM)))

        await in_thread(work)
        async with EdgeClient(query, ingest, keys=client_of(both)) as client:
            await client.update(UpdateOperation.set_payload([1], {"n": 5}))
            assert await client.count() == 1


async def test_addresses_are_checked_when_the_doors_are_made(tmp_path: Path) -> None:
    async with EdgeShard(tmp_path / "shard", config()) as shard:
        for door in ("ingest", "stream", "query", "events"):
            with pytest.raises(ValidationError, match=f"{door}: .* is open to others"):
                Endpoints(shard, **{door: "tcp://*:1"})  # type: ignore[arg-type]
        with pytest.raises(ValidationError, match="connect: "):
            Endpoints(shard, stream="tcp://127.0.0.1:*", connect=["tcp://a:1"], keys=KEYS)


async def test_an_address_that_is_taken_is_a_storage_fault(tmp_path: Path) -> None:
    async with served(tmp_path / "shard", query="tcp://127.0.0.1:*") as there:
        taken = there.doors.address("query")
        doors = Endpoints(there.shard, ingest=taken)
        with pytest.raises(StorageFault, match="cannot open"):
            await doors.__aenter__()
        async with Endpoints(there.shard, ingest="tcp://127.0.0.1:*") as again:
            assert again.address("ingest").startswith("tcp://127.0.0.1:")


async def test_a_file_where_somebody_listens_is_not_taken_over(tmp_path: Path) -> None:
    async with served(tmp_path / "shard") as there:
        with pytest.raises(StorageFault, match="cannot open"):
            await Endpoints(there.shard, ingest=there.query).__aenter__()
        async with EdgeClient(there.query) as client:
            assert await client.count() == 0
    with short_folder() as folder:  # what a killed process left behind is in nobody's way
        left = folder / "ingest"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(left))
        async with served(tmp_path / "shard", ingest=f"ipc://{left}"):
            assert left.exists()
