"""Snapshots of a closed or flushed qdrant_edge shard, as Qdrant's server makes them.

Files with holes are written as old GNU sparse members, like the server's: its storages reserve
32 MiB a file, of which a few KiB are used.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Manifest = dict[str, dict[str, Any]]
"""`EdgeShard.snapshot_manifest()`: {segment id: {segment_id, segment_version, file_versions}}."""

Sink = Callable[[bytes], object]

BLOCK = 512
OF_SEGMENT = ("segment.json", "version.info")
"""Files that no manifest lists and every snapshot holds."""
JOURNAL = "tracker_journal.dat"
IN_HEADER, IN_EXTENSION = 4, 21
"""How many extents an old GNU sparse header, and each extension of it, has room for."""
PIECE = 1 << 20


def write_full(shard: Path, manifest: Manifest, sink: Sink) -> None:
    """The layout of `GET /collections/{c}/shards/{n}/snapshot`."""
    for segment in manifest:
        for path, name in _files_of(shard, segment):
            _add(sink, path, f"segments/{segment}/{name}")
    _finish(sink, manifest)


def write_partial(shard: Path, manifest: Manifest, base: Manifest, sink: Sink) -> None:
    """What one who has `base` lacks: the layout of `POST .../snapshot/partial/create`."""
    for segment, described in manifest.items():
        lacking = set(newer_files(described, base.get(segment)))
        for path, name in _files_of(shard, segment):
            if name in OF_SEGMENT or name.removeprefix("files/") in lacking:
                _add(sink, path, f"segments/{segment}/{name}")
        text = json.dumps(described).encode()
        _add_bytes(sink, text, f"segments/{segment}/files/segment_manifest.json")
    _finish(sink, manifest)


def write_stored(shard: Path, manifest: Manifest, sink: Sink) -> None:
    """The layout of `POST /collections/{c}/shards/{n}/snapshots`: a tar for each segment."""
    for segment in manifest:
        inner = io.BytesIO()
        for path, name in _files_of(shard, segment):
            _add(inner.write, path, f"snapshot/{name}")
        inner.write(bytes(2 * BLOCK))
        _add_bytes(sink, inner.getvalue(), f"segments/{segment}.tar")
    _finish(sink, manifest)


def newer_files(described: dict[str, Any], base: dict[str, Any] | None) -> Iterator[str]:
    """The files of a segment that are newer than in `base`, or may be."""
    for name, version in described["file_versions"].items():
        if base is None or name not in base["file_versions"]:
            yield name
            continue
        ours = described["segment_version"] if version is None else version
        known = base["file_versions"][name]
        known = base["segment_version"] if known is None else known
        if known < ours or known == ours == 0:
            yield name


def _files_of(shard: Path, segment: str) -> Iterator[tuple[Path, str]]:
    folder = shard / "segments" / segment
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (JOURNAL, "segment_manifest.json"):
            name = path.relative_to(folder).as_posix()
            yield path, name if name in OF_SEGMENT else f"files/{name}"


def _finish(sink: Sink, manifest: Manifest) -> None:
    newest = max((described["segment_version"] or 0 for described in manifest.values()), default=0)
    _add_bytes(sink, b"wal\x00" + bytes(60), f"wal/closed-{newest + 1}")
    state = {"is_local": True, "this_peer_id": 1, "peers": {"1": "Active"}}
    _add_bytes(sink, json.dumps(state).encode(), "replica_state.json")
    _add_bytes(sink, b'{"type":"ReplicaSet"}', "shard_config.json")
    for name in ("newest_clocks.json", "oldest_clocks.json"):
        _add_bytes(sink, b'{"clocks":[]}', name)
    sink(bytes(2 * BLOCK))


def _add_bytes(sink: Sink, data: bytes, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    sink(member.tobuf(tarfile.GNU_FORMAT))
    sink(data)
    sink(_padding(len(data)))


def _add(sink: Sink, path: Path, name: str) -> None:
    """One file, without its holes."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        extents = list(_extents(file.fileno(), size))
        stored = sum(length for _, length in extents)
        if stored == size:
            extents = [(0, size)]
            member = tarfile.TarInfo(name)
            member.size = size
            sink(member.tobuf(tarfile.GNU_FORMAT))
        else:
            sink(_sparse_header(name, size, stored, extents))
        for begin, length in extents:
            for position in range(begin, begin + length, PIECE):
                sink(os.pread(file.fileno(), min(PIECE, begin + length - position), position))
        sink(_padding(stored))


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    end = 0
    while end < size:
        try:
            begin = os.lseek(file, end, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            break
        end = os.lseek(file, begin, os.SEEK_HOLE)
        yield begin, end - begin


def _sparse_header(name: str, size: int, stored: int, extents: list[tuple[int, int]]) -> bytes:
    member = tarfile.TarInfo(name)
    member.type = tarfile.GNUTYPE_SPARSE
    member.size = stored
    buffer = member.tobuf(tarfile.GNU_FORMAT)
    before, header = buffer[:-BLOCK], bytearray(buffer[-BLOCK:])
    mapped = [*extents, (size, 0)]  # says how long the file is behind its last hole
    first, others = mapped[:IN_HEADER], mapped[IN_HEADER:]
    header[386 : 386 + 24 * len(first)] = _listed(first)
    header[482:483] = b"\x01" if others else b"\x00"
    header[483:495] = b"%011o\x00" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    blocks = [bytes(before), bytes(header)]
    while others:
        extents, others = others[:IN_EXTENSION], others[IN_EXTENSION:]
        more = b"\x01" if others else b"\x00"
        blocks.append(_listed(extents).ljust(504, b"\x00") + more + bytes(7))
    return b"".join(blocks)


def _listed(extents: list[tuple[int, int]]) -> bytes:
    return b"".join(b"%011o\x00%011o\x00" % extent for extent in extents)


def _padding(length: int) -> bytes:
    return bytes(-length % BLOCK)
