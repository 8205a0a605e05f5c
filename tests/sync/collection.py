"""A collection of one shard, as Qdrant's server has it: a real qdrant_edge shard in a folder, and
the parts of the REST API that are about points and snapshots."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from tests.sync import archives, words
from tests.sync.words import Json


class Refusal(Exception):
    """What the server answers instead of a result."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Collection:
    """One caller at a time: all methods take the collection's lock."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.body: Json = json.loads((folder / "collection.json").read_text())
        self._shard = edge.EdgeShard.load(str(folder / "shard"))
        self._lock = threading.Lock()
        self._operations = count()

    @classmethod
    def create(cls, name: str, folder: Path, body: Json) -> Collection:
        folder.mkdir(parents=True)
        edge.EdgeShard.create(str(folder / "shard"), words.config(body)).close()
        (folder / "snapshots").mkdir()
        (folder / "collection.json").write_text(json.dumps(body))
        return cls(name, folder)

    def close(self) -> None:
        with self._lock:
            self._shard.close()

    def remove(self) -> None:
        self.close()
        shutil.rmtree(self.folder)

    # -- points

    def update(self, make: Callable[[], Any]) -> Json:
        """Carry out one operation, or refuse it as the server does."""
        with self._lock:
            _tried(lambda: self._shard.update(make()))
            return {"operation_id": next(self._operations), "status": "completed"}

    def batch(self, operations: list[Json]) -> list[Json]:
        """Operations in order, until one fails: what stood before it was done."""
        results = []
        for operation in operations:
            [(kind, body)] = operation.items()
            results.append(self.update(lambda kind=kind, body=body: words.UPDATES[kind](body)))
        return results

    def scroll(self, body: Json) -> Json:
        limit = body.get("limit") or 10
        request = edge.ScrollRequest(
            offset=body.get("offset"),
            limit=limit,
            filter=words.filter(body.get("filter")),
            with_payload=_shown(body.get("with_payload"), True),
            with_vector=_shown(body.get("with_vector"), False),
        )
        with self._lock:
            records, following = _tried(lambda: self._shard.scroll(request))
        return {
            "points": [_record(record) for record in records],
            "next_page_offset": _json_id(following),
        }

    def retrieve(self, body: Json) -> list[Json]:
        with self._lock:
            records = _tried(
                lambda: self._shard.retrieve(
                    body["ids"],
                    _shown(body.get("with_payload"), True),
                    _shown(body.get("with_vector"), False),
                )
            )
        return [_record(record) for record in records]

    def count(self, body: Json) -> Json:
        request = edge.CountRequest(
            exact=body.get("exact", True), filter=words.filter(body.get("filter"))
        )
        with self._lock:
            return {"count": _tried(lambda: self._shard.count(request))}

    def info(self) -> Json:
        with self._lock:
            info = self._shard.info()
        params = {"shard_number": 1, "replication_factor": 1, **self.body}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": info.indexed_vectors_count,
            "points_count": info.points_count,
            "segments_count": info.segments_count,
            "config": {"params": params, "hnsw_config": HNSW, "optimizer_config": OPTIMIZER},
            "payload_schema": {
                field: {
                    "data_type": str(kind.data_type).rsplit(".", 1)[-1].lower(),
                    "points": kind.points,
                }
                for field, kind in info.payload_schema.items()
            },
        }

    def optimize(self) -> bool:
        """Build what the server's optimizers would build in the background."""
        with self._lock:
            return bool(self._shard.optimize())

    def add_vector(self, name: str, body: Json) -> Json:
        kind = "sparse_vectors" if "sparse" in body else "vectors"
        result = self.update(lambda: words.create_vector(name, body))
        [params] = body.values()
        self.body.setdefault(kind, {})[name] = params
        (self.folder / "collection.json").write_text(json.dumps(self.body))
        return result

    # -- snapshots

    def manifest(self) -> archives.Manifest:
        with self._lock:
            return self._flushed()

    def _flushed(self) -> archives.Manifest:
        self._shard.flush()
        found: archives.Manifest = self._shard.snapshot_manifest()
        return found

    def full_snapshot(self, into: Path) -> None:
        with self._lock, into.open("wb") as file:
            archives.write_full(self.folder / "shard", self._flushed(), file.write)

    def partial_snapshot(self, base: archives.Manifest, into: Path) -> bool:
        """Write what one who has `base` lacks; False where that is nothing."""
        with self._lock, into.open("wb") as file:
            manifest = self._flushed()
            if manifest != base:
                archives.write_partial(self.folder / "shard", manifest, base, file.write)
        return manifest != base

    def store_snapshot(self) -> Json:
        with self._lock:
            number = len(list((self.folder / "snapshots").iterdir()))
            path = self.folder / "snapshots" / f"{self.name}-0-{number}.snapshot"
            with path.open("wb") as file:
                archives.write_stored(self.folder / "shard", self._flushed(), file.write)
        return _described(path)

    def stored_snapshots(self) -> list[Json]:
        return [_described(path) for path in sorted((self.folder / "snapshots").iterdir())]

    def stored_snapshot(self, name: str) -> Path:
        path = self.folder / "snapshots" / name
        if path.parent != self.folder / "snapshots" or not path.is_file():
            raise Refusal(404, f"Not found: Snapshot {name} not found")
        return path


HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000}
OPTIMIZER = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "flush_interval_sec": 5,
}


def _tried(act: Callable[[], Any]) -> Any:
    """What qdrant_edge returns; what it raises as the server's status and words."""
    try:
        return act()
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Refusal(400, f"Format error in JSON body: {error}") from None
    except Exception as error:
        missing = str(error).startswith("No point with id")
        status, kind = (404, "Not found") if missing else (400, "Wrong input")
        raise Refusal(status, f"{kind}: {error}") from None


def _shown(value: Any, default: bool) -> Any:
    if value is None:
        return default
    if isinstance(value, dict):
        kind = "Include" if value.get("include") is not None else "Exclude"
        return getattr(edge.PayloadSelector, kind)(value[kind.lower()])
    return value


def _record(record: Any) -> Json:
    shown = {"id": _json_id(record.id), "payload": record.payload}
    if record.vector is not None:
        shown["vector"] = words.json_vector(record.vector)
    return shown


def _json_id(id: Any) -> Any:
    return id if id is None or isinstance(id, int) else str(id)


def _described(path: Path) -> Json:
    data = path.read_bytes()
    return {
        "name": path.name,
        "creation_time": "2026-01-01T00:00:00",
        "size": len(data),
        "checksum": hashlib.sha256(data).hexdigest(),
    }
