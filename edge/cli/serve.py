"""`edgeshard serve`: a shard and its doors in a process of their own, until a signal ends it."""

from __future__ import annotations

import argparse
import asyncio
import signal
import stat
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.disk import manifest
from edge.disk.storage import DiskStorage
from edge.endpoints import Endpoints, Keys, Policy, Role
from edge.errors import EdgeError, StorageFault, ValidationError
from edge.model.config import Durability, EdgeConfig, decode_config
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.shard import EdgeShard

DESCRIPTION: Final = """
Open the shard in PATH (or create it, where --dim or --config-file says what it holds) and its
doors, print one line when they are open, and serve until SIGINT or SIGTERM.
"""

DOORS: Final = ("ingest", "stream", "query", "events")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.set_defaults(run=run, usage=parser.error)
    parser.add_argument("path", type=Path, metavar="PATH", help="the shard's folder")
    doors = parser.add_argument_group(
        "doors", "ADDRESS is ipc:///a/folder/of/mine/name or tcp://127.0.0.1:port"
    )
    helps = (
        "for producers that want acknowledgements",
        "for publishers that do not wait",
        "for clients that ask",
        "for those who follow changes",
    )
    for door, help in zip(DOORS, helps, strict=True):
        doors.add_argument(f"--{door}", metavar="ADDRESS", help=help)
    doors.add_argument(
        "--connect", metavar="ADDRESS", action="append", default=[],
        help="a publisher that binds; may be given again",
    )  # fmt: skip
    doors.add_argument(
        "--replay", metavar="ADDRESS", action="append", default=[],
        help="the replay door of a publisher; may be given again",
    )  # fmt: skip
    doors.add_argument(
        "--topic", metavar="PREFIX", action="append",
        help="take these topics of the stream only; may be given again",
    )  # fmt: skip
    policies = [policy.value for policy in Policy]
    doors.add_argument(
        "--policy", choices=policies, default=Policy.Block.value,
        help="what the stream does that is behind (default: block)",
    )  # fmt: skip
    doors.add_argument(
        "--keys", type=Path, metavar="FILE",
        help='CURVE keys as JSON: {"public", "secret", "clients": {KEY: ["write", "query"]}}; '
        "readable by you alone (mode 0600)",
    )  # fmt: skip
    shard = parser.add_argument_group("the shard")
    shard.add_argument("--dim", type=int, metavar="N", help="create it for vectors of N floats")
    names = [distance.value.lower() for distance in Distance]
    shard.add_argument("--distance", choices=names, help="with --dim (default: cosine)")
    shard.add_argument(
        "--config-file", type=Path, metavar="FILE",
        help="create it, or set it up, as this says: the arguments of EdgeConfig as JSON",
    )  # fmt: skip
    levels = [durability.value.lower() for durability in Durability]
    shard.add_argument(
        "--durability", choices=levels, help="what an acknowledged write has survived"
    )


def run(asked: argparse.Namespace) -> None:
    """Serve. Raises what cannot be opened."""
    if not (asked.connect or any(getattr(asked, door) for door in DOORS)):
        asked.usage(
            "no door: give at least one of --ingest, --stream, --query, --events, --connect"
        )
    if asked.dim is None and asked.distance is not None:
        asked.usage("--distance goes with --dim")
    if asked.dim is not None and asked.config_file is not None:
        asked.usage("--dim and --config-file say the same: give one")
    asyncio.run(serve(asked))


async def serve(asked: argparse.Namespace) -> None:
    """Open, tell, wait for a signal, close."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    config, keys = config_of(asked), keys_of(asked.keys)
    addresses = {door: getattr(asked, door) for door in DOORS}
    async with EdgeShard(asked.path, config) as shard:
        doors = Endpoints(
            shard,
            **addresses,
            connect=asked.connect,
            replay=asked.replay,
            topics=asked.topic or ("",),
            policy=Policy(asked.policy),
            keys=keys,
        )
        async with doors:
            at = [f"{door} {doors.address(door)}" for door in DOORS if addresses[door]]
            at += [f"connected to {address}" for address in asked.connect]
            print(f"edgeshard serves {asked.path}: {', '.join(at)}", flush=True)
            await ended.wait()


def config_of(asked: argparse.Namespace) -> EdgeConfig | None:
    """The config that the arguments describe; None: the shard's own."""
    more: dict[str, Any] = {}
    if asked.durability is not None:
        more["durability"] = Durability(asked.durability.capitalize())
    if asked.config_file is not None:
        config: EdgeConfig = _read(asked.config_file, EdgeConfig, "config-file")
        return msgspec.structs.replace(config, **more) if more else config
    if asked.dim is not None:
        distance = Distance((asked.distance or "cosine").capitalize())
        return EdgeConfig(EdgeVectorParams(asked.dim, distance), **more)
    stored = _stored_config(asked.path) if more else None
    return stored and msgspec.structs.replace(stored, **more)


def _stored_config(path: Path) -> EdgeConfig | None:
    """The config of the shard that is there; None where none is."""
    found = manifest.load(DiskStorage(path))
    return None if found is None else decode_config(found.config)


class _KeyFile(msgspec.Struct, forbid_unknown_fields=True):
    public: str
    secret: str
    clients: dict[str, list[str]]


def keys_of(path: Path | None) -> Keys | None:
    """The keys in a file, which nobody but its owner may read."""
    if path is None:
        return None
    found = _read(path, _KeyFile, "keys", is_secret=True)
    return Keys(
        found.public, found.secret, {key: _role(names) for key, names in found.clients.items()}
    )


def _role(names: list[str]) -> Role:
    roles = {role.name.lower(): role for role in Role if role.name}
    found = Role(0)
    for name in names:
        if name not in roles:
            raise ValidationError(f"keys: no role {name!r}, there are {', '.join(roles)}")
        found |= roles[name]
    return found


def _read(path: Path, kind: Any, name: str, is_secret: bool = False) -> Any:
    try:
        if is_secret and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ValidationError(f"{name}: {path} may be readable by you alone (mode 0600)")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise StorageFault(f"{name}: {error.strerror}", str(path)) from None
    except EdgeError:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValidationError(f"{name}: {path}: {error}") from None
