"""Logs made by hand, in folders that are no more than a dict."""

from __future__ import annotations

import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edge.disk.foreign import ForeignStorage
from edge.qdrant.layout import WAL
from edge.qdrant.log import entries
from edge.qdrant.source import Folder
from edge_kernels.crc32c import checksum

SEED = 0x1234_5678


def storage_of(path: Path) -> ForeignStorage:
    return ForeignStorage(path, WAL)


def cbor(value: str | bytes) -> bytes:
    """A short text as CBOR; bytes are what they are."""
    return value if isinstance(value, bytes) else bytes([0x60 | len(value)]) + value.encode()


def closed_log(values: list[str | bytes]) -> bytes:
    """A log file of these entries."""
    out, crc = b"wal\0" + struct.pack("<I", SEED), SEED
    for value in values:
        data = cbor(value)
        body = struct.pack("<Q", len(data)) + data
        body += bytes(-(len(body) + 4) % 8)
        state = int(f"{crc:032b}"[::-1], 2)
        crc = checksum(np.frombuffer(body, np.uint8), state)
        out += body + struct.pack("<I", crc)
    return out


def logged(files: dict[str, bytes]) -> list[tuple[int, Any]]:
    """What a log of these files holds."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        return [tuple(entry) for entry in entries(Folder(storage_of(Path(folder))))]
