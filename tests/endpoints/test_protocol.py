"""Headers and blocks: what is written is read back, and what is none raises ProtocolError only."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.endpoints import protocol as p
from edge.endpoints.protocol import ProtocolError
from edge.errors import EdgeError, ValidationError
from edge.model.limits import Limits
from edge.model.point_id import decode_id
from tests.endpoints import kinds

LIMITS = Limits()
KINDS = (p.Hello, p.Points, p.Change, p.Welcome, p.Ack, p.Nak, p.Refused)
decode = p.Decoder(*KINDS)

numbers = st.integers(0, 2**63 - 1)
names = st.text(max_size=8)
dims = st.tuples(names, st.integers(1, 65_535))
headers = st.one_of(
    st.builds(p.Hello, numbers, names, numbers, st.booleans()),
    st.builds(
        p.Points,
        names,
        numbers,
        numbers,
        numbers,
        st.lists(dims, max_size=3).map(tuple),
        st.none() | st.lists(numbers | names, max_size=3).map(tuple),
        st.booleans(),
    ),
    st.builds(p.Change, names, numbers, numbers),
    st.builds(
        p.Welcome,
        *[numbers] * 5,
        st.dictionaries(names, kinds.dense_params, max_size=2),
        st.dictionaries(names, kinds.sparse_params, max_size=2),
    ),
    st.builds(p.Ack, *[numbers] * 4),
    st.builds(p.Nak, numbers, numbers),
    st.builds(p.Refused, numbers, numbers, names, names),
)
msgpack = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


@given(headers)
def test_headers_come_back(header: p.Header) -> None:
    assert decode(p.encode(header)) == header


@given(msgpack | headers.map(lambda header: msgspec.to_builtins(header)), st.data())
def test_whatever_is_none_is_a_protocol_error(value: Any, data: st.DataObject) -> None:
    frame = bytearray(msgspec.msgpack.encode(value))
    for _ in range(data.draw(st.integers(0, 2))):
        if frame:
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode(bytes(frame)), KINDS)


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["hello"],
        ["hello", 1, "camera"],
        ["hello", 1, "camera", 2, False, 5],
        ["hello", 1, "camera", "2"],
        ["hello", 1.5, "camera", 2],
        ["nobody", 1],
        {"type": "hello", "version": 1, "source": "a", "epoch": 1},
        ["points", "a", 1, 1, 1, [["", 4, 5]]],
        ["points", "a", 1, 1, 1, [[4, ""]]],
        ["points", "a", 1, 1, 1, [], [[]]],
        ["points", "a", 1, 1, 1, [], None, 1],
        ["welcome", 1, 1, 0, 0, 64, {"": {"size": 4}}, {}],
        ["welcome", 1, 1, 0, 0, 64, {"": {"size": 0, "distance": "Dot"}}, {}],
        ["welcome", 1, 1, 0, 0, 64, {"": {"size": 4, "distance": "Dot", "datatype": "Turbo4"}}, {}],
        ["welcome", 1, 1, 0, 0, 64, {}, {"": {"modifier": "tf"}}],
        ["welcome", 1, 1, 0, 0, 64, [["", 4]]],
        None,
        7,
    ],
)
def test_wrong_headers(value: Any) -> None:
    with pytest.raises(ProtocolError):
        decode(msgspec.msgpack.encode(value))


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xff", b"\x94\xa5hello", b"\x94\xa5hello\x01\xa2\xff\xff\x01", b"\x91" * 100_000],
)
def test_bytes_that_are_no_header(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(frame)


def test_a_header_that_is_too_long_is_not_decoded() -> None:
    header = p.Hello(1, "x" * p.MAX_HEADER, 1)
    with pytest.raises(ProtocolError, match="at most"):
        decode(p.encode(header))


# -- points


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(0, 4))
    ints = st.integers(0, 2**64 - 1)
    ids = draw(st.lists(ints if draw(st.booleans()) else ints | st.uuids(), min_size=count,
                        max_size=count))  # fmt: skip
    floats = st.floats(width=32, allow_nan=False)
    sizes = draw(st.dictionaries(names, st.integers(1, 4), max_size=3))
    vectors = {
        name: np.array(
            draw(st.lists(floats, min_size=count * dim, max_size=count * dim)), np.float32
        ).reshape(count, dim)
        for name, dim in sizes.items()
    }
    payload = st.none() | st.dictionaries(names, st.integers(0, 9) | names, max_size=2)
    payloads = draw(st.none() | st.lists(payload, min_size=count, max_size=count))
    return {"ids": ids, "vectors": vectors, "payloads": payloads}


@given(messages(), names, numbers, numbers)
def test_points_come_back(given: dict[str, Any], source: str, epoch: int, sequence: int) -> None:
    frames = p.message_of(source, epoch, sequence, **given)
    header = decode(frames[0])
    assert (header.source, header.epoch, header.sequence) == (source, epoch, sequence)
    batch = p.points_of(header, frames[1:], LIMITS)
    assert [decode_id(row) for row in batch.ids] == given["ids"]
    assert batch.payloads == given["payloads"]
    assert batch.vectors.keys() == given["vectors"].keys()
    for name, block in given["vectors"].items():
        assert batch.vectors[name].dtype == np.float32
        assert batch.vectors[name].tobytes() == block.tobytes()
        assert batch.vectors[name].flags.aligned
        assert not batch.vectors[name].flags.writeable


def test_arrays_of_ids_and_vectors_of_other_types_are_written_as_the_protocol_says() -> None:
    frames = p.message_of("a", 1, 2, np.array([5, 6], np.int32), np.ones((2, 3), np.float64), None)
    assert frames[1] == np.array([5, 6], "<u8").tobytes()
    assert frames[2] == np.ones(6, "<f4").tobytes()
    assert len(frames) == 3


@pytest.mark.parametrize("vectors", [np.ones((3, 2)), np.ones(2), np.ones((2, 2, 2))])
def test_what_does_not_fit_is_refused_before_it_is_sent(vectors: Any) -> None:
    with pytest.raises(ProtocolError, match="expected 2 rows"):
        p.message_of("a", 1, 1, [1, 2], vectors, None)
    with pytest.raises(ValidationError):
        p.message_of("a", 1, 1, [1, -2], np.ones((2, 2)), None)


def of(
    count: int, *blocks: bytes, vectors: Any = (("", 2),), ids: Any = None, payloads: bool = False
) -> p.Batch:
    header = p.Points("a", 1, 1, count, vectors, ids, payloads)
    return p.points_of(header, blocks, LIMITS)


IDS, VECTORS, PAYLOADS = bytes(16), bytes(16), b"\x92\xc0\x80"


def test_the_blocks_below_are_right_but_for_what_each_changes() -> None:
    assert len(of(2, IDS, VECTORS, PAYLOADS, payloads=True).ids) == 2
    assert of(2, IDS, VECTORS, PAYLOADS, payloads=True).payloads == [None, {}]


@pytest.mark.parametrize(
    ("count", "blocks", "more", "words"),
    [
        (-1, (b"", b""), {}, "count"),
        (2**62, (b"", b""), {}, "count"),
        (10_001, (b"", b""), {}, "count"),
        (2, (IDS,), {}, "announces 2"),
        (2, (IDS, VECTORS, PAYLOADS), {}, "announces 2"),
        (2, (), {}, "announces 2"),
        (2, (IDS[:-1], VECTORS), {}, "ids: 15 bytes"),
        (3, (IDS, VECTORS), {}, "ids: 16 bytes"),
        (2, (IDS, VECTORS[:-4]), {}, "12 bytes"),
        (2, (IDS, VECTORS), {"vectors": (("", 0),)}, "dimension"),
        (2, (IDS, VECTORS), {"vectors": (("", -2),)}, "dimension"),
        (0, (b"", b""), {"vectors": (("", 2**62),)}, "dimension"),
        (2, (IDS, VECTORS, VECTORS), {"vectors": (("", 2), ("", 2))}, "two blocks of one name"),
        (2, (VECTORS,), {"ids": (1,)}, "ids: 1"),
        (2, (VECTORS,), {"ids": (1, "no uuid")}, "ids"),
        (2, (VECTORS,), {"ids": (1, -1)}, "ids"),
        (2, (IDS, VECTORS, b"\x91\xc0"), {"payloads": True}, "payloads: 1"),
        (2, (IDS, VECTORS, b"\x92\xc0\x01"), {"payloads": True}, "payloads"),
        (2, (IDS, VECTORS, b"\x92\xc0\x81\x01\x01"), {"payloads": True}, "payloads"),
        (2, (IDS, VECTORS, b"\xdd\xff\xff\xff\xff"), {"payloads": True}, "payloads"),
        (2, (IDS, VECTORS, b""), {"payloads": True}, "payloads"),
        (2, (IDS, VECTORS, b"\x92\xc0" + b"\x91" * 9_999), {"payloads": True}, "payloads"),
    ],
)
def test_wrong_blocks(count: int, blocks: tuple[bytes, ...], more: Any, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        of(count, *blocks, **more)


def test_bytes_are_limited_for_all_blocks_together() -> None:
    header = p.Points("a", 1, 1, 4, (("", 16), ("b", 16)), (1, 2, 3, 4))
    blocks = [bytes(256), bytes(256)]
    assert len(p.points_of(header, blocks, Limits(batch_bytes=512)).vectors) == 2
    with pytest.raises(ProtocolError, match="more than 511 bytes"):
        p.points_of(header, blocks, Limits(batch_bytes=511))


def test_sizes_are_checked_before_anything_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    def allocates(*_: Any, **__: Any) -> Any:
        raise AssertionError("allocated")

    for name in ("zeros", "frombuffer", "empty"):
        monkeypatch.setattr(np, name, allocates)
    with pytest.raises(AssertionError, match="allocated"):
        of(2, IDS, VECTORS)
    for count, blocks in ((10_000, (b"", b"")), (2**60, (IDS, VECTORS)), (2, (IDS + b"1", b""))):
        with pytest.raises(ProtocolError):
            of(count, *blocks)


def test_a_message_of_an_error_is_cut() -> None:
    refused = p.refused(1, 2, EdgeError("x" * 100_000))
    assert refused == p.Refused(1, 2, "edge", "x" * p.MAX_WORDS)
