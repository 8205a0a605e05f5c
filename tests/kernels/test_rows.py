"""Row blocks: normalising as qdrant_edge does, finding NaN and infinity, copying."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import qdrant_edge
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_kernels import rows

SCALES = [
    0.0, 1e-45, 1e-38, 1e-20, 1e-5, 3.4e-4, 3.45e-4, 3.46e-4, 3.5e-4, 1e-3, 0.5, 0.999999,
    0.9999996, 0.9999998, 1.0, 1.0000004, 1.0000006, 1.000001, 2.0, 1e10, 1e18, 1e20,
]  # fmt: skip


def padded(block: np.ndarray) -> np.ndarray:
    out = np.zeros((block.shape[0], -(-block.shape[1] // 16) * 16), np.float32)
    out[:, : block.shape[1]] = block
    return out


def stored_by_qdrant(block: np.ndarray, folder: Path) -> np.ndarray:
    config = qdrant_edge.EdgeConfig(
        vectors=qdrant_edge.EdgeVectorParams(
            size=block.shape[1], distance=qdrant_edge.Distance.Cosine
        )
    )
    shard = qdrant_edge.EdgeShard.create(str(folder), config)
    points = [qdrant_edge.Point(i, row.tolist(), {}) for i, row in enumerate(block)]
    shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
    found = shard.retrieve(list(range(len(block))), with_payload=False, with_vector=True)
    vectors = {record.id: record.vector for record in found}
    shard.close()
    return np.array([vectors[i] for i in range(len(block))], np.float32)


@pytest.mark.parametrize("dim", [2, 8, 20, 384])
def test_normalise_follows_qdrant(dim: int, tmp_path: Path) -> None:
    random = np.random.default_rng(dim)
    unit = random.standard_normal((len(SCALES), dim))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    block = (unit * np.array(SCALES)[:, None]).astype(np.float32)
    block = np.concatenate([block, random.uniform(-9, 9, (40, dim)).astype(np.float32)])
    wanted = stored_by_qdrant(block, tmp_path)
    ours = padded(block)
    rows.normalise(ours)
    np.testing.assert_allclose(ours[:, :dim], wanted, rtol=1e-6, atol=1e-37)
    assert not ours[:, dim:].any()


def test_normalised_rows_and_short_rows_are_left_bit_for_bit() -> None:
    block = padded(np.array([[0.6, 0.8], [0, 0], [1e-20, 0], [2e-4, 2e-4]], np.float32))
    before = block.copy()
    rows.normalise(block)
    assert block.tobytes() == before.tobytes()


def test_a_row_is_normalised_alike_alone_and_in_company() -> None:
    block = padded(np.random.default_rng(0).standard_normal((33, 100)).astype(np.float32))
    alone = block.copy()
    rows.normalise(block)
    for i in range(len(alone)):
        rows.normalise(alone[i : i + 1])
    assert alone.tobytes() == block.tobytes()


def test_normalising_twice_changes_nothing() -> None:
    block = padded(np.random.default_rng(1).standard_normal((50, 384)).astype(np.float32))
    rows.normalise(block)
    once = block.copy()
    rows.normalise(block)
    assert block.tobytes() == once.tobytes()


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 5), st.data())
def test_one_bad_number_anywhere_is_found(n: int, data: st.DataObject) -> None:
    block = np.full((n, 32), 3.4e38, np.float32)
    assert rows.all_finite(block)
    block[0] = -3.4e38
    assert rows.all_finite(block)
    at = data.draw(st.integers(0, block.size - 1))
    bad = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, -np.nan]))
    block.reshape(-1)[at] = bad
    assert not rows.all_finite(block)


def test_gather_takes_rows_in_the_given_order() -> None:
    source = np.arange(10 * 16, dtype=np.float32).reshape(10, 16)
    out = np.empty((4, 16), np.float32)
    rows.gather(source, np.array([9, 0, 0, 5], np.uint32), out)
    assert (out == source[[9, 0, 0, 5]]).all()
    with pytest.raises(IndexError):
        rows.gather(source, np.array([0, 1, 2, 10], np.uint32), out)
    with pytest.raises(ValueError, match="shape"):
        rows.gather(source, np.array([0], np.uint32), out)


@pytest.mark.parametrize("dim", [1, 15, 16, 17, 31, 32])
def test_padding_is_zeros(dim: int) -> None:
    source = np.random.default_rng(dim).standard_normal((7, dim)).astype(np.float32)
    stride = -(-dim // 16) * 16
    assert (rows.padded(source, stride) == padded(source)).all()
    normalised = padded(source)
    rows.normalise(normalised)
    assert (rows.padded(source, stride, normalised=True) == normalised).all()


def test_only_plain_float32_rows_are_padded() -> None:
    block = np.zeros((4, 32), np.float32)
    for wrong in (block[:, ::2], block.astype(np.float64), block):
        with pytest.raises(ValueError, match="padded"):
            rows.padded(wrong, 16)


def test_empty_blocks() -> None:
    empty = np.empty((0, 16), np.float32)
    rows.normalise(empty)
    assert rows.padded(np.empty((0, 3), np.float32), 16).shape == (0, 16)
    rows.gather(empty, np.empty(0, np.uint32), empty)
    assert rows.all_finite(empty)
