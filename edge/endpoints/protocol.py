"""What goes over the wire: headers as msgpack arrays, vectors and ids as raw blocks beside them.

A message is a list of frames: the header, then the blocks that it announces, in this order: ids
(uint64[n], where the header lists none), one block float32[n, dim] for each vector, payloads (a
msgpack array of n maps or nils). All numbers in blocks are little-endian. PROTOCOL.md says it for
those who write a peer in another language.

Invariants: a header that is not exactly as described here is refused; sizes are held against each
other and against the limits before anything is allocated; decoding raises ProtocolError and
nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edge.errors import EdgeError
from edge.model.limits import MAX_DIMENSION, Limits
from edge.model.point_id import IdRows, PointId, PointIdLike, encode_ids, parse_ids
from edge.model.vector_params import EdgeSparseVectorParams, EdgeVectorParams

VERSION: Final = 1

MAX_HEADER: Final = 1 << 20
"""Bytes of the longest header that is decoded."""

MAX_WORDS: Final = 1_000
"""Characters of the longest message of an error that is sent."""

Frame: TypeAlias = bytes | memoryview
Blocks: TypeAlias = dict[str, npt.NDArray[np.float32]]

H = TypeVar("H", bound="Header")

_F32, _U64 = np.dtype("<f4"), np.dtype("<u8")


class ProtocolError(EdgeError):
    """A message that is none: a header or a block that does not fit."""

    code = "protocol"


class Header(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The first frame of a message: a msgpack array, the name of its kind first."""


class Hello(Header, frozen=True, tag="hello"):
    """A producer begins: who it is, in which of its lives, and whether it waits for its messages to
    be durable (where the shard would leave that to the system, it syncs for this producer then)."""

    version: int
    source: str
    epoch: int
    durable: bool = False


class Points(Header, frozen=True, tag="points"):
    """Points to upsert.

    `source`, `epoch` and `sequence` give their place in what the producer sends; `count` how many
    there are; `vectors` the name and dimension of each block, in order; `ids` the ids, where they
    are not all integers in a block of their own; `payloads` whether the last frame holds payloads.
    A block is of vectors, or of multivectors of one vector each; all else goes as a Change.
    """

    source: str
    epoch: int
    sequence: int
    count: int
    vectors: tuple[tuple[str, int], ...]
    ids: tuple[int | str, ...] | None = None
    payloads: bool = False


class Change(Header, frozen=True, tag="change"):
    """Any other update: the next frame is the operation, in the form of the log."""

    source: str
    epoch: int
    sequence: int


class Welcome(Header, frozen=True, tag="welcome"):
    """The reply to Hello: up to where the epoch's messages are applied and durable, how many may be
    on their way, and what the vectors that the shard has now are, by name."""

    version: int
    epoch: int
    applied: int
    durable: int
    credit: int
    vectors: dict[str, EdgeVectorParams]
    sparse_vectors: dict[str, EdgeSparseVectorParams]


class Ack(Header, frozen=True, tag="ack"):
    """All messages of the epoch up to `applied` are applied, up to `durable` safe from a power cut;
    `credit` more may be on their way."""

    epoch: int
    applied: int
    durable: int
    credit: int


class Nak(Header, frozen=True, tag="nak"):
    """Messages came before their time, or when there was no room: send again from `expected` on."""

    epoch: int
    expected: int


class Refused(Header, frozen=True, tag="refused"):
    """The message `sequence` was wrong and is passed over; `code` names the class of the error.

    With sequence 0 it is about the producer as a whole: code "protocol" asks for a Hello, any code
    of a caller's error says that its Hello is not taken, and all others that the shard takes
    nothing now: what is not acknowledged may be sent again after a while.
    """

    epoch: int
    sequence: int
    code: str
    message: str


class Replay(Header, frozen=True, tag="replay"):
    """What a stream's subscriber asks of a publisher: its messages from `first` to `last`."""

    source: str
    epoch: int
    first: int
    last: int


class Gone(Header, frozen=True, tag="gone"):
    """The publisher has nothing of this source before `first` any more."""

    source: str
    epoch: int
    first: int


_encode = msgspec.msgpack.Encoder().encode
_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_payload = msgspec.msgpack.Decoder(dict[str, Any] | None)


def encode(header: Header) -> bytes:
    """The header's frame."""
    return _encode(header)


def refused(epoch: int, sequence: int, error: EdgeError) -> Refused:
    """What a producer is told of an error."""
    return Refused(epoch, sequence, error.code, str(error)[:MAX_WORDS])


def error_of(code: str, message: str) -> EdgeError:
    """The error of the class that this code names, or a plain EdgeError."""
    kind = _CODES.get(code, EdgeError)
    return kind(message)


def _all_errors(kind: type[EdgeError]) -> dict[str, type[EdgeError]]:
    found = {kind.code: kind}
    for inner in kind.__subclasses__():
        found |= _all_errors(inner)
    return found


_CODES: Final = _all_errors(EdgeError)


class Decoder:
    """Decodes headers of some kinds; all others are refused."""

    def __init__(self, *kinds: type[Header]) -> None:
        union: Any = kinds[0]
        for kind in kinds[1:]:
            union |= kind
        self._decode = msgspec.msgpack.Decoder(union).decode

    def __call__(self, frame: Frame) -> Any:
        """The header in a frame. Raises ProtocolError."""
        if len(frame) > MAX_HEADER:
            raise ProtocolError(f"header: {len(frame)} bytes, at most {MAX_HEADER} are taken")
        try:
            return self._decode(frame)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ProtocolError(f"header: {error}") from None


class Batch(NamedTuple):
    """The points of a message, as columns."""

    ids: IdRows
    vectors: Blocks
    payloads: list[dict[str, Any] | None] | None


def points_of(header: Points, blocks: Sequence[Frame], limits: Limits) -> Batch:
    """The points that a header announces, out of its blocks; vectors are views of the frames.

    Raises ProtocolError where a block has another size than the header says, or the limits of a
    batch are exceeded.
    """
    if not 0 <= header.count <= limits.batch_points:
        raise ProtocolError(
            f"count: {header.count} points, at most {limits.batch_points} are taken"
        )
    expected = (header.ids is None) + len(header.vectors) + header.payloads
    if len(blocks) != expected:
        raise ProtocolError(f"{len(blocks)} blocks, the header announces {expected}")
    if sum(map(len, blocks)) > limits.batch_bytes:
        raise ProtocolError(f"more than {limits.batch_bytes} bytes in one message")
    if any(not 0 < dim <= MAX_DIMENSION for _, dim in header.vectors):
        raise ProtocolError(f"vectors: a dimension is 1 to {MAX_DIMENSION}")
    waiting = iter(blocks)
    ids = _listed(header) if header.ids is not None else _ids(next(waiting), header.count)
    vectors = {
        name: _vectors(next(waiting), header.count, name, dim) for name, dim in header.vectors
    }
    if len(vectors) != len(header.vectors):
        raise ProtocolError("vectors: two blocks of one name")
    payloads = _payloads_of(next(waiting), header.count) if header.payloads else None
    return Batch(ids, vectors, payloads)


def _listed(header: Points) -> IdRows:
    try:
        ids = encode_ids(parse_ids(header.ids, "ids"))
    except EdgeError as error:
        raise ProtocolError(str(error)) from None
    if len(ids) != header.count:
        raise ProtocolError(f"ids: {len(ids)}, the header announces {header.count}")
    return ids


def _ids(block: Frame, count: int) -> IdRows:
    if len(block) != 8 * count:
        raise ProtocolError(f"ids: {len(block)} bytes, expected {8 * count}")
    rows = np.zeros((count, 3), np.uint64)
    rows[:, 2] = np.frombuffer(block, _U64)
    rows.setflags(write=False)
    return rows


def _vectors(block: Frame, count: int, name: str, dim: int) -> npt.NDArray[np.float32]:
    if len(block) != 4 * count * dim:
        raise ProtocolError(
            f"vectors {name!r}: {len(block)} bytes, the header announces {count} x {dim} floats"
        )
    found = np.frombuffer(block, _F32).reshape(count, dim)
    if not found.flags.aligned:  # inside a larger piece of memory, as small frames are
        found = found.copy()
    found.setflags(write=False)
    return found


def _payloads_of(block: Frame, count: int) -> list[dict[str, Any] | None]:
    try:
        raws = _raws.decode(block)
        if len(raws) != count:
            raise ProtocolError(f"payloads: {len(raws)}, the header announces {count}")
        return [_payload.decode(raw) for raw in raws]  # one by one: decoding holds the GIL
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"payloads: {error}") from None


def message_of(
    source: str,
    epoch: int,
    sequence: int,
    ids: Sequence[PointIdLike] | npt.NDArray[Any],
    vectors: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]],
    payloads: Sequence[dict[str, Any] | None] | None,
) -> list[bytes]:
    """The frames of points; the arguments are those of `EdgeShard.upsert_arrays`."""
    named = vectors if isinstance(vectors, Mapping) else {"": vectors}
    blocks = {name: np.ascontiguousarray(block, _F32) for name, block in named.items()}
    count = len(ids)
    for name, block in blocks.items():
        if block.ndim != 2 or len(block) != count:
            raise ProtocolError(f"vectors {name!r}: expected {count} rows, got {block.shape}")
    listed, id_blocks = _written_ids(ids)
    dims = tuple((name, block.shape[1]) for name, block in blocks.items())
    header = Points(source, epoch, sequence, count, dims, listed, payloads is not None)
    frames = [encode(header), *id_blocks, *(block.tobytes() for block in blocks.values())]
    return frames if payloads is None else [*frames, _encode(list(payloads))]


def _written_ids(
    ids: Sequence[PointIdLike] | npt.NDArray[Any],
) -> tuple[tuple[int | str, ...] | None, list[bytes]]:
    if isinstance(ids, np.ndarray):
        return None, [np.ascontiguousarray(ids, _U64).tobytes()]
    parsed: list[PointId] = parse_ids(ids, "ids")
    if all(type(point_id) is int for point_id in parsed):
        return None, [np.array(parsed, _U64).tobytes()]
    return tuple(i if isinstance(i, int) else str(i) for i in parsed), []
