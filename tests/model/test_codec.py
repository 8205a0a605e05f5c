"""The log's form of operations: all of it comes back, and damage is told from what was written."""

from __future__ import annotations

import struct
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import CorruptData
from edge.model.check import CheckedOperation, CheckedUpsert, check
from edge.model.codec import ALIGNMENT, VERSION, decode, encode, mark_of
from edge.model.config import ConfigChange
from edge.model.mark import Mark
from edge.model.point import Point
from edge.model.quantization import NoQuantization, ScalarQuantizationConfig, ScalarType
from edge.model.sparse import SparseVector as S
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig, Modifier
from edge.model.vector_params import VectorStorageDatatype as D
from tests.model.strategies import CONFIG, HALF, MANY, SEVERAL, WORDS, operations


def body_of(operation: UpdateOperation) -> bytes:
    return b"".join(encode(check(operation, CONFIG)))


UPSERT = UpdateOperation.upsert_points(
    [
        Point(1, [1, 2, 3], {"a": 1}),
        Point(UUID(int=2), {"": [1, 2, 3], "image": [1, 2, 3, 4]}),
        Point(3, {"image": [4, 3, 2, 1]}, {}),
    ]
)


EVERY_KIND = UpdateOperation.upsert_points(
    [
        Point(1, {"": [1, 2, 3], HALF: [0.5, 2], MANY: [[1, 2], [3, 4]], WORDS: S([7, 2], [1, 2])}),
        Point(2, {MANY: [5, 6], WORDS: S([], [])}),
        Point(3, {}),
        Point(4, {WORDS: S([2**32 - 1], [0.5])}),
    ]
)
CREATE_DENSE = UpdateOperation.create_dense_vector("größe", 5, Distance.Euclid, SEVERAL, D.Uint8)
CREATE_SPARSE = UpdateOperation.create_sparse_vector("s", Modifier.Idf, D.Float16)
SETTINGS = UpdateOperation.set_config(
    ConfigChange(
        HnswIndexConfig(8, 50, 100, payload_m=4),
        ScalarQuantizationConfig(ScalarType.Int8, 0.9),
        vectors={"": EdgeVectorParams(3, Distance.Dot, quantization_config=NoQuantization())},
    )
)


ids_of_marks = st.integers(0, 2**63 - 1)


@given(operations)
def test_every_operation_comes_back(operation: UpdateOperation) -> None:
    checked = check(operation, CONFIG)
    body = b"".join(encode(checked))
    found = decode(body)
    assert found == checked
    assert sorted(repr(found)) == sorted(repr(checked))  # sets come back in any order
    assert sorted(b"".join(encode(found))) == sorted(body)


@given(
    operations, st.none() | st.builds(Mark, st.text("aé", min_size=1), ids_of_marks, ids_of_marks)
)
def test_a_mark_comes_back_beside_its_operation(
    operation: UpdateOperation, mark: Mark | None
) -> None:
    body = b"".join(encode(check(operation, CONFIG), mark))
    assert mark_of(body) == mark
    assert decode(body) == check(operation, CONFIG)


@given(operations, st.integers(1, 63))
def test_the_body_may_lie_anywhere(operation: UpdateOperation, shift: int) -> None:
    body = body_of(operation)
    moved = bytearray(shift) + body + b"more"
    found = decode(memoryview(moved)[shift : shift + len(body)])
    assert found == check(operation, CONFIG)


def arrays_of(operation: CheckedOperation) -> list[np.ndarray[Any, Any]]:
    """All that the columns hold and that is not empty."""
    assert isinstance(operation, CheckedUpsert)
    columns = operation.batch.vectors.values()
    found = [part for c in columns for part in (c.rows, c.data, c.lengths, c.indices)]
    return [part for part in found if part is not None and part.size]


@pytest.mark.parametrize(("operation", "count"), [(UPSERT, 4), (EVERY_KIND, 11)])
def test_vectors_are_views_of_the_body_at_aligned_places(
    operation: UpdateOperation, count: int
) -> None:
    body = body_of(operation)
    whole = np.frombuffer(body, np.uint8)
    found = arrays_of(decode(body))
    assert len(found) == count
    for array in found:
        assert np.shares_memory(array, whole)
        assert not array.flags.writeable
        assert (array.ctypes.data - whole.ctypes.data) % ALIGNMENT == 0


@pytest.mark.parametrize("operation", [UPSERT, EVERY_KIND], ids=["dense", "every kind"])
def test_encoding_copies_no_vector(operation: UpdateOperation) -> None:
    checked = check(operation, CONFIG)
    parts = [np.frombuffer(part, np.uint8) for part in encode(checked) if len(part)]
    for array in arrays_of(checked):
        assert any(np.shares_memory(array, part) for part in parts)


@given(operations, st.data())
def test_a_cut_body_is_corrupt_data(operation: UpdateOperation, data: st.DataObject) -> None:
    body = body_of(operation)
    with pytest.raises(CorruptData):
        decode(body[: data.draw(st.integers(0, len(body) - 1))])
    with pytest.raises(CorruptData):
        decode(body + b"\x00")


@given(operations, st.data())
def test_a_changed_body_decodes_or_is_corrupt_data(
    operation: UpdateOperation, data: st.DataObject
) -> None:
    body = bytearray(body_of(operation))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(body))
    except CorruptData:
        return
    assert isinstance(found, CheckedOperation)


@pytest.mark.parametrize(
    "operation",
    [UPSERT, EVERY_KIND, CREATE_DENSE, CREATE_SPARSE, SETTINGS],
    ids=["dense", "every kind", "create dense", "create sparse", "settings"],
)
def test_every_byte_of_the_frame_counts(operation: UpdateOperation) -> None:
    """Prefix, lengths and padding: a flipped bit is seen, or changes what is decoded."""
    body = body_of(operation)
    expected = decode(body)
    for at in range(len(body)):
        for bit in range(8):
            damaged = bytearray(body)
            damaged[at] ^= 1 << bit
            try:
                found = decode(bytes(damaged))
            except CorruptData:
                continue
            assert found != expected, (at, bit)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_corrupt_data(data: bytes) -> None:
    for body in (data, struct.pack("<HHI", VERSION, 0, len(data)) + data):
        with pytest.raises(CorruptData):
            decode(body)


def framed(header: bytes, *blocks: bytes) -> bytes:
    body = struct.pack("<HHI", VERSION, 0, len(header)) + header
    for block in blocks:
        body += bytes(-len(body) % ALIGNMENT) + block
    return body


def described(**fields: Any) -> bytes:
    return msgspec.msgpack.encode(fields)


def nested_filter(depth: int) -> bytes:
    """A filter of `depth` levels as msgpack, made without making the filter."""
    head = b"\x82\xa4type\xa6filter\xa4must\x91"
    return head * depth + b"\x81\xa4type\xa6filter"


IDS = np.arange(2, dtype="<u8").tobytes()


def U32(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def F32(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


MULTI, SPARSE = [["a", 1, None]], [["a", 0, None]]
HAS_NO_ID = {"type": "id", "point_ids": [-1]}
HOSTILE = [
    framed(described(kind=99)),
    framed(described(kind=3)),
    framed(described(kind=3, ids=-1)),
    framed(described(kind=3, ids=2**60, ints=True), IDS),
    framed(described(kind=3, ids=2**63, ints=True), IDS),
    framed(described(kind=3, ids=1), struct.pack("<3Q", 2, 0, 0)),
    framed(described(kind=3, ids=1), struct.pack("<3Q", 0, 1, 0)),
    framed(described(kind=3, ids=2, ints=True, extra=1), IDS),
    framed(described(kind=5, ids=2, ints=True), IDS),
    framed(described(kind=5, ids=2, ints=True, payload=b"\xc1"), IDS),
    framed(described(kind=5, ids=2, ints=True, payload=b"\x80", key="a[["), IDS),
    framed(described(kind=7, ids=2, ints=True, names=["a..b"]), IDS),
    framed(described(kind=1, ids=2, ints=True, columns=[["a", 0, None]]), IDS, b""),
    framed(described(kind=1, ids=2, ints=True, columns=[["a", 2**40, None]]), IDS),
    framed(described(kind=1, ids=0, ints=True, columns=[["a", 1, None], ["a", 1, None]])),
    framed(
        described(kind=1, ids=2, ints=True, columns=[["a", 1, 2]]),
        IDS, struct.pack("<2I", 1, 1), struct.pack("<2f", 1, 2),
    ),
    framed(
        described(kind=1, ids=2, ints=True, columns=[["a", 1, 1]]),
        IDS, struct.pack("<I", 2), struct.pack("<f", 1),
    ),
    framed(described(kind=1, ids=2, ints=True, columns=[["a", 1, -1]]), IDS),
    framed(described(kind=1, ids=2, ints=True, payloads=True), IDS, struct.pack("<2I", 5, 5), b"x"),
    *(
        framed(described(kind=1, ids=2, ints=True, **columns), IDS, *blocks)
        for columns, *blocks in (
            # multivectors: as many rows as their lengths say, one at least each
            ({"columns": MULTI, "totals": {"a": -1}}, U32(1, 1), F32(1, 2)),
            ({"columns": MULTI, "totals": {"a": 2**62}}, U32(1, 1), F32(1, 2)),
            ({"columns": MULTI, "totals": {"a": 3}}, U32(1, 1), F32(1, 2, 3)),
            ({"columns": MULTI, "totals": {"a": 1}}, U32(1, 1), F32(1)),
            ({"columns": MULTI, "totals": {"a": 2}}, U32(2, 0), F32(1, 2)),
            ({"columns": MULTI, "totals": {"a": 2}}, U32(1, 1), F32(1)),
            ({"columns": MULTI, "totals": {"a": 0}}, U32(2**32 - 1, 1), F32()),
            ({"columns": MULTI, "totals": {"b": 2}}, U32(1, 1), F32(1, 2)),
            ({"columns": MULTI, "totals": [2]}, U32(1, 1), F32(1, 2)),
            # sparse ones: as many indices and values
            ({"columns": SPARSE}, U32(1, 1), U32(1, 2), F32(1, 2)),
            ({"columns": SPARSE, "totals": {"a": -1}}, U32(1, 1), U32(1, 2), F32(1, 2)),
            ({"columns": SPARSE, "totals": {"a": 1}}, U32(1, 1), U32(1, 2), F32(1, 2)),
            ({"columns": SPARSE, "totals": {"a": 2}}, U32(2, 1), U32(1, 2), F32(1, 2)),
            ({"columns": SPARSE, "totals": {"a": 2}}, U32(1, 1), U32(1, 2), F32(1)),
            ({"columns": [["a", -1, None]], "totals": {"a": 2}}, U32(1, 1), U32(1, 2), F32(1, 2)),
            ({"columns": [["a", 0, 3]], "totals": {"a": 0}}, U32(0, 1, 2), U32(0, 0, 0)),
        )
    ),
    *(framed(described(kind=12, **asked)) for asked in (
        {}, {"key": "a"}, {"asked": {"sparse": {}}}, {"key": "a", "asked": {}},
        {"key": "a", "asked": {"settings": {}}}, {"key": "a", "asked": {"sparse": {"modifier": 7}}},
        {"key": "a", "asked": {"dense": {"size": 0, "distance": "Dot"}}},
        {"key": "a", "asked": {"dense": {"size": 1, "distance": "dot"}}},
        {"key": "a", "asked": {"dense": {"size": 1, "distance": "Dot", "datatype": "Turbo4"}}},
        {"key": "a", "asked": {"sparse": {"datatype": "Turbo8"}}},
        {"key": "a", "asked": {"sparse": {}, "other": 1}},
        {"key": "x" * 256, "asked": {"sparse": {}}},
        {"key": "a", "asked": {"dense": {
            "size": 1, "distance": "Dot", "quantization_config": {"kind": "new"}}}},
        {"key": "a", "asked": {"dense": {
            "size": 1, "distance": "Dot",
            "quantization_config": {"kind": "scalar", "type": "int8", "quantile": 2.0}}}},
    )),
    framed(described(kind=13)),
    framed(described(kind=13, key="x" * 256)),
    *(framed(described(kind=14, **asked)) for asked in (
        {}, {"asked": {}}, {"asked": {"sparse": {}}}, {"asked": {"settings": 1}},
        {"asked": {"settings": {"hnsw_config": {"m": 1}}}},
        {"asked": {"settings": {"quantization_config": {"kind": "product", "compression": "x3"}}}},
        {"asked": {"settings": {"sparse_vectors": {"": {"modifier": "none"}}}}},
    )),
    framed(described(kind=3, filter={"type": "field", "key": "a"})),
    framed(described(kind=3, filter={"type": "filter", "must": [HAS_NO_ID]})),
    framed(b"\x82\xa4kind\x03\xa6filter" + nested_filter(100)),
    framed(b"\x82\xa4kind\x03\xa6filter" + nested_filter(100_000)),
    framed(b"\x81\xa4kind" + b"\x91" * 100_000),
    framed(b"\x82\xa4kind\x05\xa3key\xa1\xff"),
    struct.pack("<HHI", VERSION + 1, 0, 0),
    struct.pack("<HHI", VERSION, 0, 2**32 - 1),
    b"",
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_what_encode_cannot_have_written_is_corrupt_data(body: bytes) -> None:
    with pytest.raises(CorruptData):
        decode(body)


def test_the_form_of_several_numbers_a_point_on_disk_does_not_change() -> None:
    """Never edit these bytes, only add others."""
    body = framed(
        b"\x86\xa4kind\x01\xa3ids\x02\xa4ints\xc3\xa7columns\x92\x93\xa5words\x00\xc0"
        b"\x93\xa4many\x02\x01\xa6totals\x82\xa5words\x03\xa4many\x02\xa8payloads\xc3",
        IDS,
        U32(2, 1), U32(5, 9, 2**32 - 1), F32(0.5, 1, 2),
        U32(1), U32(2), F32(1, 2, 3, 4),
        U32(2**32 - 1, 2**32 - 1), b"",
    )  # fmt: skip
    points = [
        Point(0, {WORDS: S([9, 5], [1, 0.5])}),
        Point(1, {MANY: [[1, 2], [3, 4]], WORDS: S([2**32 - 1], [2])}),
    ]
    checked = check(UpdateOperation.upsert_points(points), CONFIG)
    assert decode(body) == checked
    assert b"".join(encode(checked)) == body


@pytest.mark.parametrize(
    ("operation", "header"),
    [
        (
            UpdateOperation.create_dense_vector("a", 2, Distance.Dot, SEVERAL, D.Float16),
            {"kind": 12, "key": "a", "asked": {"dense": {
                "size": 2, "distance": "Dot", "on_disk": None,
                "multivector_config": {"comparator": "max_sim"}, "datatype": "Float16",
                "quantization_config": None, "hnsw_config": None, "memory": None}}},
        ),
        (
            UpdateOperation.create_sparse_vector("a", Modifier.Idf),
            {"kind": 12, "key": "a", "asked": {"sparse": {
                "full_scan_threshold": None, "on_disk": None, "modifier": "idf", "datatype": None,
                "memory": None}}},
        ),
        (UpdateOperation.delete_vector_name("a"), {"kind": 13, "key": "a"}),
        (
            UpdateOperation.set_config(ConfigChange(quantization_config=NoQuantization())),
            {"kind": 14, "asked": {"settings": {"quantization_config": {"kind": "none"}}}},
        ),
    ],
)  # fmt: skip
def test_what_is_asked_of_vectors_and_settings_is_written_in_one_form(
    operation: UpdateOperation, header: dict[str, Any]
) -> None:
    """Never edit these headers, only add others."""
    checked = check(operation, CONFIG)
    assert decode(framed(msgspec.msgpack.encode(header))) == checked
    body = body_of(operation)
    assert msgspec.msgpack.decode(body[8:]) == header
    assert len(body) == 8 + struct.unpack_from("<I", body, 4)[0]


def test_the_form_on_disk_does_not_change() -> None:
    """A log written by the first version: never edit these bytes, only add others."""
    body = framed(
        b"\x85\xa4kind\x01\xa3ids\x02\xa4ints\xc3\xa7columns\x91\x93\xa5image\x04\x01\xa8payloads\xc3",
        IDS,
        struct.pack("<I", 1),
        struct.pack("<4f", 1, 2, 3, 4),
        struct.pack("<2I", 4, 2**32 - 1),
        b"\x81\xa1a\x01",
    )
    points = [Point(0, {}, {"a": 1}), Point(1, {"image": [1, 2, 3, 4]})]
    checked = check(UpdateOperation.upsert_points(points), CONFIG)
    assert decode(body) == checked
    assert b"".join(encode(checked)) == body
