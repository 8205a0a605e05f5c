"""What was exported is read again as it was: every id, version, payload and number, bit by bit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.blocking import EdgeShard
from edge.disk.foreign import ForeignStorage
from edge.disk.storage import DiskWriter
from edge.errors import CorruptData, StorageFault, StorageFull
from edge.model.config import EdgeConfig
from edge.model.point import Point
from edge.model.point_id import decode_ids
from edge.model.schema import PayloadSchemaType
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.qdrant import layout
from edge.qdrant.export import export_shard
from edge.qdrant.shard import open_shard
from edge.segment.rows import RowBlock
from edge.segment.view import ShardView
from edge.vectors.column import growing
from tests.congruence.histories import FEW
from tests.qdrant.copies import (
    DENSE,
    EVERY_KIND,
    MULTI,
    ONE,
    SHARD,
    SPARSE,
    Copy,
    New,
    any_id,
    points,
)

U = UpdateOperation
Found = dict[Any, tuple[int, dict[str, Any], dict[str, Any]]]
"""By id: version, payload, vectors as results hold them."""


def in_view(view: ShardView) -> Found:
    found: Found = {}
    for segment in view.segments:
        live = segment.live()
        vectors = {name: segment.vectors_at(live, name) for name in view.config.names()}
        for place, point_id in enumerate(decode_ids(segment.ids[live])):
            row = int(live[place])
            has = {name: every[place] for name, every in vectors.items()}
            found[point_id] = (
                int(segment.segment.versions[row]),
                segment.payloads([row])[0],
                {name: plain(one) for name, one in has.items() if one is not None},
            )
    return found


def in_files(path: Path) -> tuple[EdgeConfig, Any, Found]:
    shard = open_shard(ForeignStorage(path, layout.WAL))
    found: Found = {}
    for block, versions in shard.blocks():
        vectors = {name: _shown(shard.config, name, block) for name in block.vectors}
        for place, point_id in enumerate(decode_ids(block.ids)):
            assert point_id not in found
            payload = block.payloads[place]
            has = {name: every[place] for name, every in vectors.items() if place in every}
            decoded = msgspec.msgpack.decode(payload) if payload else {}
            found[point_id] = (int(versions[place]), decoded, has)
    shard.close()
    return shard.config, shard.schema, found


def _shown(config: EdgeConfig, name: str, block: RowBlock) -> dict[int, Any]:
    stored = block.vectors[name]
    params = config.params_of(name)
    assert params is not None
    column = growing(params)
    where = range(len(block)) if stored.where is None else stored.where.tolist()
    count = len(stored.block)
    column.append(0, count, None, stored.block)
    shown = column.shown(np.arange(count, dtype=np.uint32))
    return {place: plain(one) for place, one in zip(where, shown, strict=True)}


def plain(one: Any) -> Any:
    return (one.indices, list(one.values)) if isinstance(one, SparseVector) else one


def same(view: ShardView, path: Path) -> None:
    config, schema, found = in_files(path)
    assert found == in_view(view)
    assert schema == view.schema
    assert set(config.names()) == set(view.config.names())


def test_every_kind_of_vector(new: New) -> None:
    copy = new(EVERY_KIND)
    copy.tell(U.create_field_index("number", PayloadSchemaType.Integer))
    copy.tell(U.upsert_points(points(EVERY_KIND, range(60))))
    copy.seal()
    copy.tell(U.upsert_points(points(EVERY_KIND, range(50, 90))))
    copy.tell(U.delete_points([any_id(n) for n in (7, 55, 85)]))
    same(copy.view, copy.export("")[0])


def test_the_config(new: New) -> None:
    """But for the datatypes that Qdrant has in another form."""
    known = {name: params for name, params in {**DENSE, **MULTI}.items() if "turbo" not in name}
    config = EdgeConfig(known, SPARSE)
    copy = new(config)
    assert in_files(copy.export("")[0])[0] == config


CHANGE = st.tuples(
    st.sampled_from(["upsert", "delete", "edit", "seal", "merge", "rename"]),
    st.integers(0, 60),
    st.integers(1, 40),
)


@settings(FEW, max_examples=max(1, settings().max_examples // 3))
@given(changes=st.lists(CHANGE, max_size=10))
def test_any_history(folder: Path, changes) -> None:
    with TemporaryDirectory(dir=folder) as place:
        copy = Copy(Path(place), EVERY_KIND)
        for step, (kind, first, count) in enumerate(changes):
            ids = [any_id(number) for number in range(first, first + count)]
            if kind == "upsert":
                copy.tell(U.upsert_points(points(copy.view.config, range(first, first + count))))
            elif kind == "delete":
                copy.tell(U.delete_points(ids))
            elif kind == "edit":
                there = [record.id for record in copy.ours.retrieve(ids, False, False)]
                copy.tell(U.set_payload(there, {"step": step}))
            elif kind == "rename":
                copy.tell(U.delete_vector_name("half"))
                copy.tell(U.create_dense_vector("half", first + 1, DENSE["half"].distance))
            else:
                getattr(copy, kind)()
        same(copy.view, copy.export("")[0])
        copy.close()


# -- faults


@pytest.mark.parametrize("name", ["x", "x.tar"])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shard = EdgeShard.create(tmp_path / "ours", EVERY_KIND)
    shard.update(U.upsert_points(points(EVERY_KIND, range(20))))
    written = DiskWriter.write
    calls = iter(())

    def write(self: DiskWriter, *buffers: Any) -> int:
        if next(calls, None) is None:
            raise StorageFull("no space left", "x")
        return written(self, *buffers)

    monkeypatch.setattr(DiskWriter, "write", write)
    for some in (0, 1, 5, 20, 60):
        calls = iter(range(some))
        with pytest.raises(StorageFault):
            export_shard(shard._store.view, SHARD, tmp_path / name)
        assert not (tmp_path / name).exists()
    monkeypatch.undo()
    export_shard(shard._store.view, SHARD, tmp_path / name)
    shard.close()


@pytest.mark.parametrize("name", ["x", "x.tar"])
def test_a_damaged_payload_is_no_export(tmp_path: Path, name: str) -> None:
    shard = EdgeShard.create(tmp_path / "ours", ONE)
    shard.update(U.upsert_points([Point(n, [1, 2, 3, 4], {"t": "x" * 999}) for n in range(300)]))
    shard._seal(shard._store)
    shard.close()
    [payload] = (tmp_path / "ours").glob("segments/*/payload")
    data = bytearray(payload.read_bytes())
    data[100_000] ^= 1
    payload.write_bytes(data)
    shard = EdgeShard.load(tmp_path / "ours")
    with pytest.raises(CorruptData, match="payload"):
        export_shard(shard._store.view, SHARD, tmp_path / name)
    assert not (tmp_path / name).exists()
    shard.close()
