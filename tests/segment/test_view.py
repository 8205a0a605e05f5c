"""Views: what lives in them, what it has, and where it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk.storage import DiskStorage
from edge.errors import UnknownVector
from edge.model.config import EdgeConfig
from edge.model.point import Point
from edge.model.point_id import encode_ids
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.segment.view import SegmentView, ShardView
from edge_kernels import bits
from tests.segment.made import after, built, cut, start

CONFIG = EdgeConfig(
    {"": EdgeVectorParams(3, Distance.Euclid), "text": EdgeVectorParams(2, Distance.Dot)}
)
NAMES = ["", "text"]


class Row(NamedTuple):
    """One row of a tail: its id, the vectors it has, and whether it is deleted afterwards."""

    point_id: int
    names: frozenset[str]
    dies: bool


rows = st.lists(
    st.builds(Row, st.integers(0, 99), st.frozensets(st.sampled_from(NAMES)), st.booleans()),
    max_size=80,
    unique_by=lambda row: row.point_id,
)


def vector(name: str, point_id: int) -> list[float]:
    return [float(point_id), 1.0, 2.0] if name == "" else [float(point_id), -1.0]


def view_of(drawn: list[Row]) -> SegmentView:
    points = [
        Point(row.point_id, {name: vector(name, row.point_id) for name in row.names}, {"n": 1})
        for row in drawn
    ]
    dead = [row.point_id for row in drawn if row.dies]
    shard = after(
        start(CONFIG), UpdateOperation.upsert_points(points), UpdateOperation.delete_points(dead)
    )
    return shard.segments[-1]


@given(rows)
def test_what_lives_and_what_may_be_returned(drawn: list[Row]) -> None:
    view = view_of(drawn)
    assert view.live().tolist() == [at for at, row in enumerate(drawn) if not row.dies]
    assert view.live().dtype == np.uint32
    assert view.live_count == len(view.live())
    assert view.deleted_count == len(drawn) - view.live_count
    for name in NAMES:
        has = [name in row.names for row in drawn]
        assert (
            bits.to_offsets(view.has_vector(name), len(has)).tolist()
            == np.flatnonzero(has).tolist()
        )
        expected = [at for at, row in enumerate(drawn) if has[at] and not row.dies]
        allowed = view.allowed(name)
        if allowed is None:
            assert len(expected) == len(drawn)
        else:
            assert bits.to_offsets(allowed, view.watermark).tolist() == expected
            assert len(expected) < len(drawn)
        assert view.count_of(name) == len(expected)
        assert view.bytes_of(name) == len(expected) * CONFIG.vectors[name].size * 4


@given(rows, st.data())
def test_vectors_are_read_in_the_order_asked(drawn: list[Row], data: st.DataObject) -> None:
    view = view_of(drawn)
    asked = data.draw(st.lists(st.sampled_from(range(len(drawn))))) if drawn else []
    offsets = np.array(asked, np.uint32)
    for name in NAMES:
        assert view.vectors_at(offsets, name) == [
            vector(name, drawn[at].point_id) if name in drawn[at].names else None for at in asked
        ]
        has = view.has_vector_at(offsets, name)
        assert has.tolist() == [name in drawn[at].names for at in asked]
        assert view.has_vector_at(offsets, view.names[name]).tolist() == has.tolist()


def test_a_name_that_is_not_known_is_refused() -> None:
    view = view_of([Row(1, frozenset(), False)])
    none = np.empty(0, np.uint32)
    for ask in (view.allowed, view.has_vector, view.column, view.bytes_of):
        with pytest.raises(UnknownVector, match="gone"):
            ask("gone")
    with pytest.raises(UnknownVector, match="gone"):
        view.vectors_at(none, "gone")


def test_payloads_are_decoded_and_an_empty_one_is_no_bytes() -> None:
    points = [Point(1, {}, {"a": [1]}), Point(2, {}, {}), Point(3, {})]
    view = after(start(CONFIG), UpdateOperation.upsert_points(points)).segments[-1]
    assert [view.payloads([at])[0] for at in range(3)] == [{"a": [1]}, {}, {}]
    assert len(view.payload_bytes(2)) == 0


def spread_shard(storage: DiskStorage) -> ShardView:
    """0..9 built, 10..19 in an old tail, 20..29 in the tail; 5 and 15 moved on, 6 and 16 dead."""

    def some(ids: list[int]) -> UpdateOperation:
        return UpdateOperation.upsert_points([Point(i, {"": vector("", i)}) for i in ids])

    shard = after(start(CONFIG), some(list(range(10))))
    shard = cut(after(built(shard, storage), some(list(range(10, 20)))))
    return after(shard, some([*range(20, 30), 5, 15]), UpdateOperation.delete_points([6, 16]))


def test_every_live_id_is_located_once(tmp_path: object) -> None:
    storage = DiskStorage(str(tmp_path))
    shard = spread_shard(storage)
    wanted = [29, 0, 5, 15, 6, 16, 12, 777]
    owner, offset = shard.locate(encode_ids(wanted))
    assert owner.tolist() == [2, 0, 2, 2, -1, -1, 1, -1]
    assert offset.tolist() == [9, 0, 10, 11, -1, -1, 2, -1]
    assert shard.points == 28
    for position, at, point_id in zip(owner.tolist(), offset.tolist(), wanted, strict=True):
        if position >= 0:
            assert shard.segments[position].ids[at].tolist() == [0, 0, point_id]


def test_locating_nothing_and_in_an_empty_shard() -> None:
    shard = start(CONFIG)
    owner, offset = shard.locate(encode_ids([1, 2]))
    assert owner.tolist() == offset.tolist() == [-1, -1]
    assert [len(found) for found in shard.locate(encode_ids([]))] == [0, 0]


def test_other_tombstones_make_another_view() -> None:
    view = view_of([Row(1, frozenset([""]), False), Row(2, frozenset([""]), False)])
    assert view.allowed("") is None
    fewer = view.without(bits.from_offsets(2, np.array([0], np.uint32)))
    assert fewer.live().tolist() == [1]
    assert view.live().tolist() == [0, 1]
    assert view.allowed("") is None
