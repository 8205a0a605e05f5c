"""Points: what a caller gives, what a result holds, and the columns that the engine works on.

Invariants: vectors are read-only float32 arrays that share no memory with the caller's; a
PointBatch has passed every check (ids parsed, names known, dimensions right, values finite,
payloads encoded), all of its points or none; ids may repeat in it, the later one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import LimitExceeded, UnknownVector, ValidationError, WrongDimension
from edge.model import fields
from edge.model.config import EdgeConfig
from edge.model.limits import DEFAULT_LIMITS, Limits
from edge.model.payload import decode_payload, encode_payload
from edge.model.point_id import (
    IdRows,
    PointId,
    PointIdLike,
    as_rows,
    decode_id,
    encode_ids,
    parse_id,
)
from edge.model.sparse import SparseVector
from edge.model.vector import (
    AnyVector,
    Array,
    Vectors,
    VectorsLike,
    as_blocks,
    as_vectors,
    by_name,
    same_vectors,
    shown_vectors,
)
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    VectorParams,
    VectorStorageDatatype,
)
from edge_kernels.rows import all_finite

OneResultVector: TypeAlias = list[float] | list[list[float]] | SparseVector
"""A vector, a multivector or a sparse vector as results hold it."""

ResultVector: TypeAlias = OneResultVector | dict[str, OneResultVector]
"""What results hold: of the default name, or by name."""


class Point(Struct, frozen=True, eq=False):
    """A point to store: its id, its vector (or vectors by name), its payload.

    A lone vector is the one named "". The payload is kept as given and checked by the operation.
    Raises ValidationError naming the argument.
    """

    id: PointId
    vector: Vectors
    payload: dict[str, Any] | None = None

    if TYPE_CHECKING:

        def __init__(
            self, id: PointIdLike, vector: VectorsLike, payload: dict[str, Any] | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "id", parse_id(self.id))
        force_setattr(self, "vector", as_vectors(self.vector))
        if self.payload is not None and not isinstance(self.payload, dict):
            fields.refuse("payload", "a dict", self.payload)

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is Point
            and self.id == other.id
            and same_vectors(self.vector, other.vector)
            and same_payloads(self.payload, other.payload)
        )

    def __repr__(self) -> str:
        return f"Point(id={self.id!r}, vector={shown_vectors(self.vector)}, payload={self.payload})"


class PointVectors(Struct, frozen=True, eq=False):
    """New vectors for a point that is already stored; the others it has stay.

    Raises ValidationError naming the argument.
    """

    id: PointId
    vector: Vectors

    if TYPE_CHECKING:

        def __init__(self, id: PointIdLike, vector: VectorsLike) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "id", parse_id(self.id))
        force_setattr(self, "vector", as_vectors(self.vector))

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is PointVectors
            and self.id == other.id
            and same_vectors(self.vector, other.vector)
        )

    def __repr__(self) -> str:
        return f"PointVectors(id={self.id!r}, vector={shown_vectors(self.vector)})"


class Record(Struct, frozen=True):
    """A stored point as retrieve and scroll give it; what was not asked for is None."""

    id: PointId
    payload: dict[str, Any] | None = None
    vector: ResultVector | None = None
    order_value: int | float | None = None

    def __repr__(self) -> str:
        return (
            f"Record(id={self.id!r}, payload={self.payload}, "
            f"vector={shown_vectors(self.vector)}, order_value={self.order_value})"
        )


class ScoredPoint(Struct, frozen=True):
    """A stored point as queries give it, with its score; what was not asked for is None.

    `version` is the sequence number of the operation that wrote the point last.
    """

    id: PointId
    version: int
    score: float
    payload: dict[str, Any] | None = None
    vector: ResultVector | None = None
    order_value: int | float | None = None

    def __repr__(self) -> str:
        return (
            f"ScoredPoint(id={self.id!r}, version={self.version}, score={self.score:.6g}, "
            f"payload={self.payload}, vector={shown_vectors(self.vector)}, "
            f"order_value={self.order_value})"
        )


def same_payloads(first: Any, second: Any) -> bool:
    """Whether two payloads are equal, also where numpy arrays stand in them."""
    try:
        return bool(first == second)
    except ValueError:
        # An array's == is no single truth: compare what both would be read back as.
        return decode_payload(encode_payload(first)) == decode_payload(encode_payload(second))


class VectorColumn(Struct, frozen=True, eq=False):
    """One named vector of a batch, for the m points at `rows` uint32[m].

    `rows` ascends; None means that every point of the batch has the vector, in order. Dense: `data`
    float32[m, dim]. Multivectors: point i has the next `lengths[i]` (uint32[m]) rows of `data`
    float32[sum, dim]. Sparse: it has the next `lengths[i]` of `indices` uint32[sum] and `data`
    float32[sum].
    """

    rows: npt.NDArray[np.uint32] | None
    data: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.uint32] | None = None
    indices: npt.NDArray[np.uint32] | None = None

    def __eq__(self, other: object) -> bool:
        return type(other) is VectorColumn and all(
            _same_arrays(getattr(self, name), getattr(other, name))
            for name in self.__struct_fields__
        )

    def __len__(self) -> int:
        return len(self.data if self.lengths is None else self.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return self.data.nbytes + (0 if self.indices is None else self.indices.nbytes)

    def __repr__(self) -> str:
        rows = "None" if self.rows is None else f"[{len(self.rows)}]"
        return f"VectorColumn(rows={rows}, data=float32{list(self.data.shape)})"


def _same_arrays(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


class PointBatch(Struct, frozen=True, eq=False):
    """Checked points as columns: `ids` uint64[n, 3], `vectors` by name, `payloads` as msgpack.

    `payloads` has one entry a point (None: no payload), or is empty where the operation carries
    none at all (update_vectors). Only the names that some point has are in `vectors`.
    """

    ids: IdRows
    vectors: dict[str, VectorColumn]
    payloads: list[bytes | None]

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is PointBatch
            and np.array_equal(self.ids, other.ids)
            and self.vectors == other.vectors
            and self.payloads == other.payloads
        )

    def __repr__(self) -> str:
        return f"PointBatch({len(self.ids)} points, vectors={self.vectors})"

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors and payloads together."""
        return sum(column.nbytes for column in self.vectors.values()) + sum(
            len(blob) for blob in self.payloads if blob is not None
        )


_BYTES_A_JOIN = 1 << 18

Label: TypeAlias = Callable[[int], str]
"""How an error message calls the point at a place in its batch."""


def batch_of(
    points: Sequence[Point], config: EdgeConfig, limits: Limits = DEFAULT_LIMITS
) -> PointBatch:
    """All points checked and put into columns, or an error that names the first wrong one.

    Raises LimitExceeded (points, bytes, payloads), UnknownVector, WrongDimension, and
    ValidationError for values that are not finite and payloads that are none. An empty sequence is
    an empty batch; a point may leave out some vectors or all.
    """

    def label(row: int) -> str:
        return f"points[{row}] (id {points[row].id})"

    _check_count(len(points), limits)
    vectors = _columns([point.vector for point in points], config, limits, label)
    payloads = _payloads([point.payload for point in points], vectors, limits, label)
    return PointBatch(encode_ids([point.id for point in points]), vectors, payloads)


def batch_of_vectors(
    changes: Sequence[PointVectors], config: EdgeConfig, limits: Limits = DEFAULT_LIMITS
) -> PointBatch:
    """As `batch_of`, for changed vectors: a batch whose `payloads` is empty."""

    def label(row: int) -> str:
        return f"point_vectors[{row}] (id {changes[row].id})"

    _check_count(len(changes), limits)
    vectors = _columns([change.vector for change in changes], config, limits, label)
    return PointBatch(encode_ids([change.id for change in changes]), vectors, [])


def batch_of_arrays(
    ids: Sequence[PointIdLike] | npt.NDArray[Any],
    vectors: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
    payloads: Sequence[dict[str, Any] | None] | None,
    config: EdgeConfig,
    limits: Limits = DEFAULT_LIMITS,
) -> PointBatch:
    """Columns checked as they are: no work for each point but for its payload.

    `vectors` is float[n, dim], or a dict of such by name; every point has each. Errors as
    `batch_of`, and ValidationError where the columns differ in length.
    """
    return batch_of_blocks(as_rows(ids), as_blocks(vectors), payloads, config, limits)


def batch_of_blocks(
    ids: IdRows,
    blocks: dict[str, npt.NDArray[np.float32]],
    payloads: Sequence[dict[str, Any] | None] | None,
    config: EdgeConfig,
    limits: Limits = DEFAULT_LIMITS,
) -> PointBatch:
    """As `batch_of_arrays`, for ids and blocks in the form that this room keeps them."""

    def label(row: int) -> str:
        return f"row {row} (id {decode_id(ids[row])})"

    count = len(ids)
    _check_count(count, limits)
    vectors = {
        name: _column_of_block(name, block, count, config, label) for name, block in blocks.items()
    }
    if payloads is not None and len(payloads) != count:
        raise ValidationError(f"payloads: expected {count} entries, got {len(payloads)}")
    given = [None] * count if payloads is None else payloads
    return PointBatch(ids, vectors, _payloads(given, vectors, limits, label))


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.batch_points:
        raise LimitExceeded(f"{count} points in one batch, at most {limits.batch_points} are taken")


def _columns(
    vectors: list[Vectors], config: EdgeConfig, limits: Limits, label: Label
) -> dict[str, VectorColumn]:
    if set(map(type, vectors)) == {np.ndarray}:
        # The common case: every point has the one default vector.
        return {"": _column(vectors, None, "", config, limits, label)}
    found: dict[str, list[AnyVector]] = {}
    rows: dict[str, list[int]] = {}
    for row, vector in enumerate(vectors):
        for name, one in by_name(vector).items():
            found.setdefault(name, []).append(one)
            rows.setdefault(name, []).append(row)
    columns = {}
    for name, given in found.items():
        some = None if len(given) == len(vectors) else rows[name]
        columns[name] = _column(given, some, name, config, limits, label)
    _check_bytes(sum(column.nbytes for column in columns.values()), limits)
    return columns


def _column(
    given: list[Any],
    rows: list[int] | None,
    name: str,
    config: EdgeConfig,
    limits: Limits,
    label: Label,
) -> VectorColumn:
    """The vectors of one name as a column; `rows` are the places in the batch of those that have
    it, None: all."""

    def place(at: int) -> str:
        return f'{label(rows[at] if rows else at)}, vector "{name}"'

    params = _params_of(name, config, lambda: label(rows[0] if rows else 0))
    where = None if rows is None else np.array(rows, np.uint32)
    if isinstance(params, EdgeSparseVectorParams):
        return _sparse_column(given, where, place, limits)
    _check_kind(given, place)
    if params.multivector_config is not None:
        return _multi_column(given, where, params, place, limits)
    return VectorColumn(where, _stacked(given, rows, name, config, limits, label))


def _check_kind(given: list[Any], place: Label) -> None:
    kinds = list(map(type, given))
    if SparseVector in kinds:
        at = kinds.index(SparseVector)
        raise ValidationError(f"{place(at)}: expected numbers, got a SparseVector")


def _sparse_column(
    given: list[Any], where: npt.NDArray[np.uint32] | None, place: Label, limits: Limits
) -> VectorColumn:
    for at, one in enumerate(given):
        if not isinstance(one, SparseVector):
            raise ValidationError(f"{place(at)}: expected a SparseVector, got numbers")
    arrays = [one.arrays for one in given]
    lengths = np.array([len(indices) for indices, _ in arrays], np.uint32)
    _check_bytes(int(lengths.sum()) * 8, limits)
    return VectorColumn(
        where,
        np.concatenate([values for _, values in arrays]),
        lengths,
        np.concatenate([indices for indices, _ in arrays]),
    )


def _multi_column(
    given: list[Any],
    where: npt.NDArray[np.uint32] | None,
    params: EdgeVectorParams,
    place: Label,
    limits: Limits,
) -> VectorColumn:
    lengths = np.empty(len(given), np.uint32)
    blocks = []
    for at, one in enumerate(given):
        block = one.reshape(1, -1) if one.ndim == 1 and one.size else one
        if not len(block):
            raise ValidationError(f"{place(at)}: a multivector holds one vector at least")
        if block.shape[1] != params.size:
            raise WrongDimension(
                f"{place(at)}: expected {params.size} numbers, got {block.shape[1]}"
            )
        lengths[at] = len(block)
        blocks.append(block)
    _check_bytes(int(lengths.sum()) * params.size * 4, limits)
    data = np.concatenate(blocks)
    check_numbers(data, params, lambda at: place(owner_of(at, lengths)))
    return VectorColumn(where, data, lengths)


def owner_of(at: int, lengths: npt.NDArray[np.uint32]) -> int:
    """Which of several runs, one after another and of these lengths, an entry is in."""
    return int(np.searchsorted(np.cumsum(lengths, dtype=np.int64), at, "right"))


def _column_of_block(
    name: str, block: npt.NDArray[np.float32], count: int, config: EdgeConfig, label: Label
) -> VectorColumn:
    """[n, dim] as it is; of multivectors [n, k, dim], or [n, dim] where each has one."""
    params = _params_of(name, config, lambda: "vectors")
    if isinstance(params, EdgeSparseVectorParams):
        raise ValidationError(f"vectors {name!r}: sparse vectors do not come as arrays")
    many = params.multivector_config is not None
    expected: list[Any] = [count, *(["any"] * (block.ndim == 3 and many)), params.size]
    shape = list(block.shape)
    fits = block.ndim == len(expected) and len(block) == count and shape[-1] == params.size
    if not fits or 0 in shape[1:]:
        kind = WrongDimension if shape[-1] != params.size else ValidationError
        raise kind(f"vectors {name!r}: expected shape {expected}, got {shape}")
    each = shape[1] if block.ndim == 3 else 1
    data = block.reshape(-1, params.size)
    check_numbers(data, params, lambda at: f'{label(at // each)}, vector "{name}"')
    if not many:
        return VectorColumn(None, data)
    return VectorColumn(None, data, np.full(count, each, np.uint32))


def _stacked(
    arrays: list[Array],
    rows: list[int] | None,
    name: str,
    config: EdgeConfig,
    limits: Limits,
    label: Label,
) -> npt.NDArray[np.float32]:
    """The arrays as one block [m, dim]; `rows` are the places in the batch that they belong to."""
    params = config.vectors[name]
    size = params.size
    if {array.shape for array in arrays} != {(size,)}:
        at = next(at for at, array in enumerate(arrays) if array.shape != (size,))
        where, shape = label(rows[at] if rows else at), arrays[at].shape
        found = f"{shape[0]}" if len(shape) == 1 else f"a multivector of {list(shape)}"
        raise WrongDimension(f'{where}, vector "{name}": expected {size} numbers, got {found}')
    _check_bytes(len(arrays) * size * 4, limits)
    block = np.empty((len(arrays), size), np.float32)
    # bytes.join copies a list of buffers twice as fast as numpy.concatenate copies arrays, but
    # holds the GIL while it does: so a few at a time.
    step = max(1, _BYTES_A_JOIN // (size * 4))
    for first in range(0, len(arrays), step):
        few: list[Any] = arrays[first : first + step]
        block[first : first + step] = np.frombuffer(b"".join(few), np.float32).reshape(-1, size)
    check_numbers(block, params, lambda at: f'{label(rows[at] if rows else at)}, vector "{name}"')
    return block


def _params_of(name: str, config: EdgeConfig, where: Callable[[], str]) -> VectorParams:
    params = config.params_of(name)
    if params is None:
        known = ", ".join(f'"{known}"' for known in config.names())
        raise UnknownVector(f'{where()}, vector "{name}": the shard has {known}')
    return params


GREATEST_FLOAT16 = 65_504.0
_ROUNDS_TO_INFINITY = 65_520.0


def check_numbers(block: npt.NDArray[np.float32], params: EdgeVectorParams, place: Label) -> None:
    """Refuse numbers that are not finite as the datatype stores them; `place` calls a row."""
    if not all_finite(block):
        at, column = np.argwhere(~np.isfinite(block))[0].tolist()
        raise ValidationError(f"{place(at)}[{column}]: {block[at, column]} is not a finite number")
    if _holds_float16(params):
        large = np.abs(block) >= _ROUNDS_TO_INFINITY
        if large.any():
            at, column = np.argwhere(large)[0].tolist()
            raise ValidationError(
                f"{place(at)}[{column}]: {block[at, column]} is beyond Float16's "
                f"{GREATEST_FLOAT16:.0f}"
            )


def _holds_float16(params: EdgeVectorParams) -> bool:
    """Whether numbers are stored as float16 in their own size (cosine vectors have length 1)."""
    return (
        params.datatype is VectorStorageDatatype.Float16 and params.distance is not Distance.Cosine
    )


def _check_bytes(size: int, limits: Limits) -> None:
    if size > limits.batch_bytes:
        raise LimitExceeded(f"batch: {size} bytes, at most {limits.batch_bytes} are taken")


def _payloads(
    payloads: Sequence[dict[str, Any] | None],
    vectors: dict[str, VectorColumn],
    limits: Limits,
    label: Label,
) -> list[bytes | None]:
    size = sum(column.nbytes for column in vectors.values())
    encoded: list[bytes | None] = []
    for row, payload in enumerate(payloads):
        blob = None if payload is None else _payload(payload, row, limits, label)
        size += len(blob or b"")
        _check_bytes(size, limits)
        encoded.append(blob)
    return encoded


def _payload(payload: Any, row: int, limits: Limits, label: Label) -> bytes:
    try:
        return encode_payload(payload, limits)
    except ValidationError as error:
        raise type(error)(f"{label(row)}, {error}") from None
