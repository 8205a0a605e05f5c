"""Who may come in: addresses that are safe by themselves, and keys for all others.

Invariants
- Without keys a door opens only where nobody else comes by: in a folder that is the user's alone
  (0700), or on the loopback interface.
- With keys (CURVE) only listed clients are let in, each in its roles; there is no "any key".
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket as sockets
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from pathlib import Path
from typing import Any, Final

import zmq
from zmq.utils import z85

from edge.errors import StorageFault, ValidationError

MAX_SOCKET_PATH: Final = 107
"""Bytes that the system takes for the path of a socket."""


class Role(Flag):
    """What a client may do: write through ingest and stream, ask through query, follow events."""

    Write = auto()
    Query = auto()
    Events = auto()
    All = Write | Query | Events


@dataclass(frozen=True)
class Keys:
    """The server's own CURVE keys (Z85, 40 characters), and the clients that are let in: the roles
    of each by its public key."""

    public: str
    secret: str = field(repr=False)
    clients: Mapping[str, Role]

    def __post_init__(self) -> None:
        for name, key in (("public", self.public), ("secret", self.secret)):
            _check_key(key, name)
        for key, role in self.clients.items():
            _check_key(key, "clients")
            if not isinstance(role, Role):
                raise ValidationError("clients: expected a Role for each public key")


@dataclass(frozen=True)
class ClientKeys:
    """A client's own CURVE keys, and the public key of the server that it means to reach."""

    public: str
    secret: str = field(repr=False)
    server: str

    def __post_init__(self) -> None:
        for name, key in (("public", self.public), ("secret", self.secret)):
            _check_key(key, name)
        _check_key(self.server, "server")


def connected(
    context: zmq.Context[Any], kind: int, address: str, keys: ClientKeys | None, **options: Any
) -> Any:
    """A client's socket. Raises ValidationError for an address that is none."""
    socket = context.socket(kind)
    socket.linger = 0
    socket.reconnect_ivl_max = 1_000
    if keys is not None:
        socket.curve_serverkey = keys.server.encode()
        socket.curve_publickey = keys.public.encode()
        socket.curve_secretkey = keys.secret.encode()
    for option, value in options.items():
        setattr(socket, option, value)
    try:
        socket.connect(address)
    except (zmq.ZMQError, TypeError) as error:
        socket.close(0)
        raise ValidationError(f"address: cannot connect to {address!r}: {error}") from None
    return socket


def _check_key(key: object, name: str) -> None:
    try:
        if isinstance(key, str) and len(key) == 40 and len(z85.decode(key.encode("ascii"))) == 32:
            return
    except (KeyError, ValueError, struct.error):
        pass  # characters that are none of Z85; the key itself is never shown
    raise ValidationError(f"keys.{name}: expected a Z85 key of 40 characters")


def check_bind(address: str, keys: Keys | None, field: str) -> None:
    """Refuse to open a door where strangers come by, unless there are keys.

    For ipc the folder is made, if it is not there, and has to be the user's alone.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "ipc":
        _check_socket_path(rest, field)
    elif scheme == "tcp":
        if keys is None and not _is_loopback(rest):
            raise ValidationError(
                f"{field}: {address} is open to others: give keys, or bind tcp://127.0.0.1"
            )
    else:
        raise ValidationError(f"{field}: expected ipc:// or tcp://, got {address!r}")


def bind(socket: zmq.Socket[bytes], address: str) -> None:
    """Bind a socket. Raises zmq.ZMQError, also where somebody listens at an ipc address already,
    which ZeroMQ by itself would take away from them without a word."""
    scheme, _, path = address.partition("://")
    if scheme == "ipc" and _is_listened_at(path):
        raise zmq.ZMQError(errno.EADDRINUSE)
    socket.bind(address)


def _is_listened_at(path: str) -> bool:
    with sockets.socket(sockets.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except TimeoutError:
            return True  # its queue is full
        except OSError:
            return False
    return True


def _is_loopback(rest: str) -> bool:
    host = rest.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_socket_path(path: str, field: str) -> None:
    if path.startswith("@") or path in ("", "*"):
        raise ValidationError(f"{field}: ipc:// needs the path of a file, in a folder of its own")
    if "\0" in path or not 0 < len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        raise ValidationError(f"{field}: a socket's path has at most {MAX_SOCKET_PATH} bytes")
    folder = Path(path).parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise StorageFault(f"{field}: {error.strerror}", str(folder)) from None
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ValidationError(f"{field}: {folder} must belong to this user alone (mode 0700)")
