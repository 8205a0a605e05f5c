"""Vectors in frames: of every kind they come back, and a header that lies is a ProtocolError."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.endpoints.protocol import ProtocolError
from edge.endpoints.vectors import Block, numbers_of, put_back, received, sent, taken_out
from edge.model.limits import MAX_DIMENSION
from edge.model.sparse import SparseVector
from edge.model.vector import as_vector, same_vectors
from tests.endpoints import kinds


def floats(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def indices(*numbers: int) -> bytes:
    return np.array(numbers, "<u4").tobytes()


# -- a query's


@pytest.mark.parametrize("kind", kinds.KINDS)
@given(data=st.data())
def test_a_querys_vector_comes_back(kind: str, data: st.DataObject) -> None:
    vector = as_vector(data.draw(kinds.KINDS[kind]))
    rows, is_sparse, frame = sent(vector)
    assert ((rows is not None), is_sparse) == (kind == "several", kind == "sparse")
    assert same_vectors(received(frame, rows, is_sparse), vector)
    unaligned = memoryview(b"x" + frame)[1:]
    assert same_vectors(received(unaligned, rows, is_sparse), vector)


def test_a_query_is_sent_as_the_protocol_says() -> None:
    assert sent(as_vector([1.0, 2.0])) == (None, False, floats(1, 2))
    assert sent(as_vector([[1.0, 2.0], [3.0, 4.0]])) == (2, False, floats(1, 2, 3, 4))
    assert sent(SparseVector([7, 5], [1, 2])) == (None, True, indices(5, 7) + floats(2, 1))
    transposed = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert sent(transposed).frame == floats(0, 1, 2, 3, 4, 5)


@given(
    st.binary(max_size=40), st.none() | st.integers(-2, 5) | st.integers(0, 2**64), st.booleans()
)
def test_any_frame_is_a_vector_or_a_protocol_error(
    frame: bytes, rows: int | None, is_sparse: bool
) -> None:
    with contextlib.suppress(ProtocolError):
        found = received(frame, rows, is_sparse)
        if isinstance(found, SparseVector):
            again = SparseVector(found.indices, found.values)  # which refuses what is wrong
            assert again == found
            assert 8 * len(found.indices) == len(frame)
        else:
            assert found.shape == ((len(frame) // 4,) if rows is None else (rows, found.shape[1]))
            assert found.tobytes() == frame


# -- an answer's


@given(kinds.results())
def test_the_vectors_of_points_come_back(vectors: list[Any]) -> None:
    blocks, frames = taken_out(vectors)
    header = msgspec.msgpack.encode(blocks)
    again = msgspec.msgpack.decode(header, type=tuple[Block, ...])
    found = put_back(again, frames, len(vectors))
    assert found == {place: one for place, one in enumerate(vectors) if one}
    for place, one in found.items():
        assert type(one) is type(vectors[place])


def test_an_answers_vectors_are_written_as_the_protocol_says() -> None:
    points: list[Any] = [
        {"": [1.0, 2.0], "parts": [[1.0], [2.0]], "words": SparseVector([9, 4], [1, 2])},
        None,
        {},
        {"": [3.0, 4.0], "words": SparseVector([], [])},
        {"parts": [[3.0]], "words": SparseVector([4], [5])},
    ]
    blocks, frames = taken_out(points)
    assert blocks == (
        Block("", 2, (0, 3)),
        Block("parts", 1, (0, 4), (2, 1)),
        Block("words", 0, (0, 3, 4), (2, 0, 1)),
    )
    assert frames == [
        floats(1, 2, 3, 4),
        floats(1, 2, 3),
        indices(4, 9, 4) + floats(2, 1, 5),
    ]
    assert put_back(blocks, frames, 5) == {0: points[0], 3: points[3], 4: points[4]}


def test_a_lone_vector_is_the_one_without_a_name() -> None:
    vectors: list[Any] = [[1.0], [[1.0]], {"": SparseVector([1], [1])}]
    for vector in vectors:
        blocks, frames = taken_out([vector])
        assert blocks[0].name == ""
        assert put_back(blocks, frames, 1) == {0: vector}


@pytest.mark.parametrize(
    ("vector", "count"),
    [
        (None, 0),
        ({}, 0),
        ([1.0, 2.0], 2),
        ([[1.0, 2.0, 3.0]] * 2, 6),
        (SparseVector([1, 2], [1, 2]), 4),
        (SparseVector([], []), 0),
        ({"": [1.0], "parts": [[1.0, 2.0]], "words": SparseVector([1], [1])}, 5),
    ],
)
def test_numbers_are_counted(vector: Any, count: int) -> None:
    assert numbers_of(vector) == count


RIGHT: dict[str, tuple[Block, bytes]] = {
    "dense": (Block("", 2, (0, 3)), floats(1, 2, 3, 4)),
    "several": (Block("", 2, (0, 3), (1, 2)), floats(1, 2, 3, 4, 5, 6)),
    "sparse": (Block("", 0, (0, 3), (2, 1)), indices(4, 9, 4) + floats(2, 1, 5)),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_the_blocks_below_are_right_but_for_what_each_changes(kind: str) -> None:
    block, frame = RIGHT[kind]
    assert put_back([block], [frame], 4).keys() == {0, 3}


HUGE = 2**63 - 1


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *(
            (kind, {"places": places})
            for kind in RIGHT
            for places in ((), (0,), (0, 1, 2), (3, 0), (1, 1), (0, 4), (-1, 3), (0, HUGE))
        ),
        *(("dense", {"dimension": dimension}) for dimension in (0, 1, 3, -2, HUGE)),
        *(("several", {"dimension": dimension}) for dimension in (1, 3, -2, HUGE)),
        *(("sparse", {"dimension": dimension}) for dimension in (1, 3, -1, MAX_DIMENSION + 1)),
        *(
            (kind, {"lengths": lengths})
            for kind in ("several", "sparse")
            for lengths in ((3,), (), (1, 1), (2, 2), (4, -1), (1, 1, 1), (HUGE, HUGE), (HUGE, -1))
        ),
        ("several", {"lengths": (3, 0)}),
        ("several", {"lengths": None}),
        ("sparse", {"lengths": None}),
        ("dense", {"lengths": (1, 2)}),
    ],
)
def test_headers_that_lie(kind: str, changes: dict[str, Any]) -> None:
    block, frame = RIGHT[kind]
    with pytest.raises(ProtocolError):
        put_back([msgspec.structs.replace(block, **changes)], [frame], 4)


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("change", [b"", b"1234"])
def test_frames_of_other_lengths(kind: str, change: bytes) -> None:
    block, frame = RIGHT[kind]
    with pytest.raises(ProtocolError):
        put_back([block], [frame + change if change else frame[:-4]], 4)


@pytest.mark.parametrize(
    "frame",
    [
        indices(9, 4, 4) + floats(2, 1, 5),
        indices(4, 4, 4) + floats(2, 1, 5),
        indices(4, 9, 4) + floats(2, np.nan, 5),
        indices(4, 9, 4) + floats(2, 1, -np.inf),
    ],
)
def test_entries_that_are_none(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        put_back([RIGHT["sparse"][0]], [frame], 4)


def test_the_borders_between_sparse_vectors_may_fall() -> None:
    block = Block("", 0, (0, 1, 2, 3), (0, 1, 1, 0))
    found = put_back([block], [indices(9, 9) + floats(1, 2)], 4)
    assert found[1] == {"": SparseVector([9], [1])}
    assert found[2] == {"": SparseVector([9], [2])}


def test_as_many_frames_as_blocks_of_different_names() -> None:
    block, frame = RIGHT["dense"]
    for blocks, frames in (([block], []), ([], [frame]), ([block] * 2, [frame] * 2)):
        with pytest.raises(ProtocolError):
            put_back(blocks, frames, 4)


@given(
    st.builds(
        Block,
        st.just(""),
        st.integers(-1, 3),
        st.lists(st.integers(-1, 4), max_size=3).map(tuple),
        st.none() | st.lists(st.integers(-1, 3), max_size=3).map(tuple),
    ),
    st.binary(max_size=40),
)
def test_any_block_is_vectors_or_a_protocol_error(block: Block, frame: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        found = put_back([block], [frame], 4)
        assert tuple(found) == block.places


def test_sizes_are_checked_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(*_: Any, **__: Any) -> Any:
        raise AssertionError("read")

    monkeypatch.setattr(np, "frombuffer", reads)
    for block, frame in RIGHT.values():
        with pytest.raises(AssertionError, match="read"):
            put_back([block], [frame], 4)
        with pytest.raises(ProtocolError):
            put_back([block], [frame + b"1"], 4)
