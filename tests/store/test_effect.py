"""Carrying out an effect makes a new view and leaves every old one alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.model.config import EdgeConfig
from edge.model.point_id import decode_ids, encode_ids
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.segment.rows import RowBlock, StoredVectors
from edge.segment.view import SegmentView, ShardView
from edge.store.effect import Effect, carry_out
from edge_kernels import bits
from tests.segment.made import cut, start

CONFIG = EdgeConfig({"": EdgeVectorParams(1, Distance.Dot), "b": EdgeVectorParams(1, Distance.Dot)})


def rows(ids: list[int]) -> RowBlock:
    """Points whose vector and payload are their id; odd ones have no vector "b"."""
    even = np.array([place for place, i in enumerate(ids) if i % 2 == 0], np.uint32)
    block = np.zeros((len(ids), 16), np.float32)
    block[:, 0] = ids
    vectors = {"": StoredVectors(None, block), "b": StoredVectors(even, block[even])}
    return RowBlock(encode_ids(ids), vectors, [b"\x81\xa1n" + bytes([i]) for i in ids])


def shown(view: SegmentView) -> tuple[Any, ...]:
    """All that a reader can see of one segment."""
    everything = np.arange(view.watermark, dtype=np.uint32)
    vectors = [view.vectors_at(everything, name) for name in CONFIG.vectors]
    return (
        view.live().tolist(),
        decode_ids(view.ids[: view.watermark]),
        view.segment.versions[: view.watermark].tolist(),
        [view.payloads([offset])[0] for offset in range(view.watermark)],
        vectors,
        view.find(encode_ids(list(range(40)))).tolist(),
    )


def everything(view: ShardView) -> list[Any]:
    return [view.sequence, view.points, *map(shown, view.segments)]


steps = st.lists(
    st.tuples(
        st.lists(st.integers(0, 39), unique=True, max_size=12),
        st.sets(st.integers(0, 39), max_size=6),
        st.booleans(),
    ),
    max_size=8,
)


@given(steps)
def test_old_views_stay_and_the_new_one_has_the_change(
    drawn: list[tuple[list[int], set[int], bool]],
) -> None:
    view, known = start(CONFIG), dict[int, int]()
    held = [(view, everything(view))]
    for upserted, deleted, cuts in drawn:
        if cuts:
            view = cut(view)
        owners, offsets = view.locate(encode_ids([*{*upserted, *deleted}]))
        deletes = tuple(
            (position, offsets[owners == position].astype(np.uint32))
            for position in sorted(set(owners.tolist()) - {-1})
        )
        effect = Effect(deletes, rows(upserted) if upserted else None)
        view = carry_out(effect, view, view.sequence + 1)
        for point_id in deleted:
            known.pop(point_id, None)
        known.update(dict.fromkeys(upserted, view.sequence))
        held.append((view, everything(view)))
        assert view.points == len(known)
        owners, offsets = view.locate(encode_ids(list(known)))
        for (point_id, version), owner, offset in zip(
            known.items(), owners.tolist(), offsets.tolist(), strict=True
        ):
            segment = view.segments[owner]
            assert segment.segment.versions[offset] == version
            assert segment.payloads([offset])[0] == {"n": point_id}
            found = segment.vectors_at(np.array([offset], np.uint32), "b")
            assert found == [[float(point_id)] if point_id % 2 == 0 else None]
    for old, seen in held:
        assert everything(old) == seen


def test_tombstones_are_replaced_and_grow_with_the_tail() -> None:
    first = carry_out(Effect((), rows(list(range(60)))), start(CONFIG), 1)
    assert first.segments[0].deleted is None
    second = carry_out(Effect(((0, np.array([3, 59], np.uint32)),)), first, 2)
    third = carry_out(Effect((), rows([*range(60, 70)])), second, 3)
    assert first.segments[0].deleted is None
    for view, words in ((second, 1), (third, 2)):
        deleted = view.segments[0].deleted
        assert deleted is not None
        assert len(deleted) == words
        assert bits.to_offsets(deleted, view.segments[0].watermark).tolist() == [3, 59]
    assert (first.sequence, second.sequence, third.sequence) == (1, 2, 3)


def test_a_column_that_the_rows_do_not_have_is_missing() -> None:
    block = RowBlock(encode_ids([1, 2]), {}, [None, None])
    view = carry_out(Effect((), block), start(CONFIG), 1).segments[0]
    for name in CONFIG.vectors:
        assert not view.has_vector(name).any()
    assert view.payloads([0])[0] == {}


def test_what_an_effect_of_nothing_is() -> None:
    none = np.array([0], np.uint32)
    assert Effect().is_nothing
    assert Effect((), RowBlock(encode_ids([]))).is_nothing
    assert not Effect(((0, none),)).is_nothing
    assert not Effect((), rows([1])).is_nothing
