"""Checked operations as requests of Qdrant's REST API.

Invariants
- What a request says may be said twice, and of points that are not there: an edit is about those of
  its ids that are, by a filter, since the server refuses an edit that names one that is not.
- Requests are in the order of the operations; none is much larger than it is asked to be, but for
  one point, or one payload, that is so alone.
- JSON is made of a few points at a time: whoever shares the interpreter gets a turn in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np

from edge.actors.outbox import OWN
from edge.errors import ValidationError
from edge.model import json_path
from edge.model.check import (
    CheckedClearPayload,
    CheckedCreateFieldIndex,
    CheckedCreateVector,
    CheckedDeleteFieldIndex,
    CheckedDeletePayload,
    CheckedDeletePoints,
    CheckedDeleteVector,
    CheckedDeleteVectors,
    CheckedOperation,
    CheckedOverwritePayload,
    CheckedSetPayload,
    CheckedUpdateVectors,
    CheckedUpsert,
    Target,
)
from edge.model.config import EdgeConfig
from edge.model.filter import Filter
from edge.model.part import part_of
from edge.model.payload import decode_payload
from edge.model.point import PointBatch, VectorColumn
from edge.model.point_id import IdRows, PointId, decode_ids
from edge.model.vector_params import EdgeVectorParams
from edge.qdrant.export_config import field_options, shard_config, vector_options
from edge_kernels.decimals import json_rows

AT_ONCE: Final = 16 << 10
"""Bytes of vectors, about, that are made JSON without giving others a turn."""

IDS_AT_ONCE: Final = 1024

Json = dict[str, Any]
_encode = msgspec.json.Encoder().encode


class Request(NamedTuple):
    """What is asked of a collection: `path` is below it, `body` is JSON."""

    method: str
    path: str
    body: bytes | None


class _Change(NamedTuple):
    """One operation of a batch: JSON of its beginning and end, and of the points or ids between,
    which may be parted into several operations."""

    head: bytes
    pieces: Iterable[bytes]
    tail: bytes


def requests_of(operations: Iterable[CheckedOperation], most_bytes: int) -> Iterator[Request]:
    """Yield the requests that carry out the operations, of about `most_bytes` each; none for what
    is the shard's own business.

    Raises ValidationError where Qdrant has no words for one; all before it were yielded.
    """
    batch = _Batch(most_bytes)
    for operation in operations:
        if isinstance(operation, OWN):
            continue
        ask = SETTINGS.get(type(operation))
        if ask is not None:
            yield from batch.ended()
            yield ask(operation)
            continue
        try:
            change = CHANGES[type(operation)](operation)
        except ValidationError:
            yield from batch.ended()
            raise
        yield from batch.add(change)
    yield from batch.ended()


class _Batch:
    """The request that is being filled."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, change: _Change) -> Iterator[Request]:
        """Add a change, in several operations where it does not fit; yield what is full."""
        is_open = False
        for piece in change.pieces:
            if self._size and self._size + len(piece) > self._most:
                if is_open:
                    self._put(change.tail)
                    is_open = False
                yield from self.ended()
            self._put(b"," if is_open else change.head if not self._parts else b"," + change.head)
            self._put(piece)
            is_open = True
        if is_open:
            self._put(change.tail)

    def _put(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)

    def ended(self) -> Iterator[Request]:
        """Yield what is in it, and begin anew."""
        if self._parts:
            body = b'{"operations":[' + b"".join(self._parts) + b"]}"
            self._parts, self._size = [], 0
            yield Request("POST", "/points/batch", body)


# -- points


def _upsert(operation: CheckedUpsert) -> _Change:
    return _Change(b'{"upsert":{"points":[', _points(operation.batch), b"]}}")


def _update_vectors(operation: CheckedUpdateVectors) -> _Change:
    return _Change(b'{"update_vectors":{"points":[', _points(operation.batch), b"]}}")


def _points(batch: PointBatch) -> Iterator[bytes]:
    """Yield points, some at a time, without the brackets around them."""
    places = {name: _Places(column, len(batch)) for name, column in batch.vectors.items()}
    step = max(1, AT_ONCE * len(batch) // max(1, batch.nbytes))
    for first in range(0, len(batch), step):
        last = min(first + step, len(batch))
        points: list[Json] = [{"id": id_of(one)} for one in decode_ids(batch.ids[first:last])]
        vectors: list[Any] = [{} for _ in points]
        for name, column in places.items():
            for place, vector in column.between(first, last):
                vectors[place - first][name] = vector
        for point, vector in zip(points, vectors, strict=True):
            point["vector"] = vector[""] if vector.keys() == {""} else vector
        for point, payload in zip(points, batch.payloads[first:last], strict=False):
            if payload is not None:
                point["payload"] = decode_payload(payload)
        yield _encode(points)[1:-1]


class _Places:
    """A column by the places of its batch."""

    def __init__(self, column: VectorColumn, count: int) -> None:
        self._column = column
        self._rows = np.arange(count) if column.rows is None else column.rows
        lengths = np.ones(len(column)) if column.lengths is None else column.lengths
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    def between(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """Yield (place, vector) of the places from `first` to before `last` that have one."""
        column = self._column
        begin, end = np.searchsorted(self._rows, [first, last]).tolist()
        starts = self._starts[begin : end + 1].tolist()
        say = _said if column.indices is None else _said_sparse
        vectors = say(column, starts)
        yield from zip(self._rows[begin:end].tolist(), vectors, strict=True)


def _said(column: VectorColumn, starts: list[int]) -> Iterator[msgspec.Raw]:
    """Yield the vectors, or of multivectors those of a point, whose rows begin at `starts`."""
    text, row_ends = json_rows(column.data[starts[0] : starts[-1]])
    ends = [-1, *row_ends.tolist()]  # a comma stands between one row and the next
    for low, high in pairwise(start - starts[0] for start in starts):
        rows = text[ends[low] + 1 : ends[high]]
        yield msgspec.Raw(rows if column.lengths is None else b"".join((b"[", rows, b"]")))


def _said_sparse(column: VectorColumn, starts: list[int]) -> Iterator[Json]:
    assert column.indices is not None
    for low, high in pairwise(starts):
        text, _ = json_rows(column.data[None, low:high])
        yield {"indices": column.indices[low:high].tolist(), "values": msgspec.Raw(text[:-1])}


def id_of(point_id: PointId) -> int | str:
    """The id as JSON says it."""
    return point_id if isinstance(point_id, int) else str(point_id)


# -- edits


def _edit(kind: str, operation: Any, **arguments: Any) -> _Change:
    given = _encode({name: value for name, value in arguments.items() if value is not None})[1:-1]
    head = b'{"%b":{%b"filter":{"must":[{"has_id":[' % (kind.encode(), given + b"," * bool(given))
    return _Change(head, _ids(operation.target), b"]}]}}}")


def _ids(target: Target) -> Iterator[bytes]:
    if isinstance(target, Filter):  # resolved before it was logged, while there is an outbox
        raise ValidationError("operation: a filter says another thing where other points are")
    for first in range(0, len(target), IDS_AT_ONCE):
        yield _encode(_as_json(target[first : first + IDS_AT_ONCE]))[1:-1]


def _as_json(ids: IdRows) -> list[int | str]:
    return [id_of(one) for one in decode_ids(ids)]


def _delete_points(operation: CheckedDeletePoints) -> _Change:
    return _Change(b'{"delete":{"points":[', _ids(operation.target), b"]}}")


def _delete_vectors(operation: CheckedDeleteVectors) -> _Change:
    return _edit("delete_vectors", operation, vector=operation.vector_names)


def _set_payload(operation: CheckedSetPayload) -> _Change:
    payload = decode_payload(operation.payload)
    return _edit("set_payload", operation, payload=payload, key=operation.key)


def _overwrite_payload(operation: CheckedOverwritePayload) -> _Change:
    """Qdrant overwrites the whole payload whatever the key; but what is set at the place above the
    key's last step replaces what is there."""
    payload = decode_payload(operation.payload)
    if operation.key is None:
        return _edit("overwrite_payload", operation, payload=payload)
    *above, last = json_path.parse(operation.key).steps
    if not isinstance(last, str):
        raise ValidationError(
            f"overwrite_payload: Qdrant replaces no elements of an array, as {operation.key!r} does"
        )
    key = str(json_path.Path(tuple(above))) if above else None
    return _edit("set_payload", operation, payload={last: payload}, key=key)


def _delete_payload(operation: CheckedDeletePayload) -> _Change:
    return _edit("delete_payload", operation, keys=operation.keys)


def _clear_payload(operation: CheckedClearPayload) -> _Change:
    return _edit("clear_payload", operation)


CHANGES: dict[type, Callable[[Any], _Change]] = {
    CheckedUpsert: _upsert,
    CheckedUpdateVectors: _update_vectors,
    CheckedDeletePoints: _delete_points,
    CheckedDeleteVectors: _delete_vectors,
    CheckedSetPayload: _set_payload,
    CheckedOverwritePayload: _overwrite_payload,
    CheckedDeletePayload: _delete_payload,
    CheckedClearPayload: _clear_payload,
}
"""What goes into a batch of operations."""


# -- settings


def _in_path(name: str) -> str:
    if not name:
        raise ValidationError("operation: Qdrant's API cannot name the default vector")
    return quote(name, safe="")


def _create_field_index(operation: CheckedCreateFieldIndex) -> Request:
    schema = field_options(operation.field)
    body = {"field_name": operation.path, "field_schema": schema}
    return Request("PUT", "/index", _encode(body))


def _delete_field_index(operation: CheckedDeleteFieldIndex) -> Request:
    return Request("DELETE", f"/index/{_in_path(operation.path)}", None)


def _create_vector(operation: CheckedCreateVector) -> Request:
    kind = "dense" if isinstance(operation.vector, EdgeVectorParams) else "sparse"
    body = {kind: vector_options(operation.vector)}
    return Request("PUT", f"/vectors/{_in_path(operation.name)}", _encode(body))


def _delete_vector(operation: CheckedDeleteVector) -> Request:
    return Request("DELETE", f"/vectors/{_in_path(operation.name)}", None)


SETTINGS: dict[type, Callable[[Any], Request]] = {
    CheckedCreateFieldIndex: _create_field_index,
    CheckedDeleteFieldIndex: _delete_field_index,
    CheckedCreateVector: _create_vector,
    CheckedDeleteVector: _delete_vector,
}
"""What is a request of its own."""


def collection_of(config: EdgeConfig) -> bytes:
    """The body that creates a collection for a shard of this config: its vectors, how they are
    indexed and quantized. Where things live there is the server's matter."""
    given = msgspec.to_builtins(shard_config(config))
    vectors = given.get("vectors", {})
    sparse = {name: _sparse(params) for name, params in given.get("sparse_vectors", {}).items()}
    body = {
        "vectors": vectors[""] if vectors.keys() == {""} else vectors,
        "sparse_vectors": sparse or None,
        "hnsw_config": given.get("hnsw_config"),
        "quantization_config": given.get("quantization_config"),
    }
    return _encode(_without_places({name: part for name, part in body.items() if part is not None}))


def _sparse(params: Json) -> Json:
    index = {name: params[name] for name in ("full_scan_threshold", "datatype") if name in params}
    found = {"index": index} if index else {}
    return found | {name: params[name] for name in ("modifier",) if name in params}


_PLACES: Final = frozenset(
    ("memory", "on_disk", "always_ram", "max_indexing_threads", "inline_storage")
)


def _without_places(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    return {name: _without_places(part) for name, part in given.items() if name not in _PLACES}


def misfit(config: EdgeConfig, params: Any) -> str | None:
    """Return what keeps a collection, by its `config.params`, from taking the shard's vectors; None
    where nothing is seen to. What it lacks is not looked at: names come and go."""
    vectors = params.get("vectors") or {}
    theirs = {"": vectors} if "size" in vectors else vectors
    for name, ours in config.vectors.items():
        found = theirs.get(name)
        if found is None:
            continue
        expected = (ours.size, ours.distance.value, ours.multivector_config is not None)
        got = (found.get("size"), found.get("distance"), bool(found.get("multivector_config")))
        if got != expected:
            return f"vector {name!r}: (size, distance, is it several) are {got}, not {expected}"
    return None


def halves(operation: CheckedOperation) -> Sequence[CheckedOperation]:
    """Return the operation in two, where it brings several points; else itself."""
    if not isinstance(operation, CheckedUpsert | CheckedUpdateVectors) or len(operation.batch) < 2:
        return (operation,)
    batch = operation.batch
    both = np.array_split(np.arange(len(batch)), 2)
    return tuple(type(operation)(part_of(batch, places)) for places in both)


def described(operation: CheckedOperation) -> str:
    """Return the kind of the operation, and its points where they are few."""
    kind = type(operation).__name__.removeprefix("Checked")
    ids = getattr(getattr(operation, "batch", operation), "ids", None)
    if ids is None:
        ids = getattr(operation, "target", None)
    if not isinstance(ids, np.ndarray):
        return kind
    shown = ", ".join(str(one) for one in decode_ids(ids[:3]))
    return f"{kind} of {shown}{', ...' if len(ids) > 3 else ''}"
