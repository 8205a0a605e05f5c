"""Shards that the real package made, read by ours and compared with what it gives back."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
import qdrant_edge as qdrant

from edge.errors import CorruptData, NotFound, ShardLocked, ValidationError
from edge.qdrant import layout
from tests.qdrant import made
from tests.qdrant.made import U, assert_same, opened, read, real_points

MEMORIES = [None, qdrant.Memory.Cold, qdrant.Memory.Cached, qdrant.Memory.Pinned]


def closed(shard: qdrant.EdgeShard) -> dict[int | UUID, made.Held]:
    """What the shard held, now that it is closed."""
    held = real_points(shard)
    shard.close()
    return held


def files_of(path: Path) -> set[str]:
    return {file.name for file in path.glob("segments/**/*") if file.is_file()}


def segments(path: Path) -> list[Path]:
    return sorted((path / "segments").iterdir())


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; a path of keys is joined by two underscores."""
    content = json.loads(file.read_text())
    for path, value in changes.items():
        inside = content
        *above, last = path.split("__")
        for key in above:
            inside = inside[key]
        inside[last] = value
    file.write_text(json.dumps(content))


# -- what is read


@pytest.mark.parametrize("memory", MEMORIES)
def test_an_appendable_segment(memory: Any, folder: Path) -> None:
    shard = made.create(folder, **made.every_kind(memory))
    made.fill(shard, 150)
    held = closed(shard)
    assert "mutable_id_tracker.mappings" in files_of(folder)
    assert_same(read(folder), held)


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_built_segment_and_changes_after_it(memory: Any, folder: Path) -> None:
    shard = made.create(folder, optimized=True, **made.every_kind(memory))
    made.fill(shard, 300)
    assert shard.optimize()
    made.fill(shard, 60, seed=2)
    held = closed(shard)
    files = files_of(folder)
    assert {"matrix.dat", "links_compressed.bin"} <= files
    assert ("id_tracker.i2e" in files) == (memory in (qdrant.Memory.Cold, qdrant.Memory.Cached))
    assert_same(read(folder), held)


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("datatype", ["Float32", "Float16", "Uint8"])
@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
def test_every_metric_and_type(distance: str, datatype: str, optimized: bool, folder: Path) -> None:
    vectors = {
        name: made.params(
            getattr(qdrant.Distance, distance),
            datatype=getattr(qdrant.VectorStorageDatatype, datatype),
            multivector_config=many,
        )
        for name, many in (("one", None), ("many", made.MANY))
    }
    arguments = {"vectors": vectors, "hnsw_config": made.hnsw()}
    shard = made.create(folder, optimized=optimized, **arguments)
    rows = [[i / 7 % 300, 3.0, 0.1 * i, 255.0, -i, 1e-3] for i in range(100)]
    points = [qdrant.Point(i, {"one": row, "many": [row, rows[0]]}) for i, row in enumerate(rows)]
    shard.update(U.upsert_points(points))
    assert shard.optimize() == optimized
    held = closed(shard)
    assert_same(read(folder), held)


@pytest.mark.parametrize(
    "quantization",
    [
        qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8),
        qdrant.BinaryQuantizationConfig(),
    ],
)
@pytest.mark.parametrize("datatype", ["Float32", "Float16"])
def test_vectors_inside_a_graph(quantization: Any, datatype: str, folder: Path) -> None:
    params = made.params(size=16, datatype=getattr(qdrant.VectorStorageDatatype, datatype))
    shard = made.create(
        folder,
        optimized=True,
        vectors={"": params},
        hnsw_config=made.hnsw(inline_storage=True),
        quantization_config=quantization,
    )
    drawn = np.random.default_rng(3).normal(size=(700, 16)).astype(np.float32)
    points = [qdrant.Point(i, {"": v} if i % 9 else {}) for i, v in enumerate(drawn.tolist())]
    shard.update(U.upsert_points(points))
    assert shard.optimize()
    shard.update(U.delete_points(list(range(40, 90))))
    held = closed(shard)
    assert layout.LINKS_WITH_VECTORS in files_of(folder)
    assert "matrix.dat" not in files_of(folder)
    assert_same(read(folder), held)


@pytest.mark.parametrize("id_memory", [None, qdrant.Memory.Cold])
def test_more_ids_than_one_block_of_the_table(id_memory: Any, folder: Path) -> None:
    shard = made.create(
        folder,
        optimized=True,
        vectors={"": made.params(size=2)},
        hnsw_config=made.hnsw(),
        id_tracker_memory=id_memory,
    )
    shard.update(U.upsert_points([qdrant.Point(made.id_of(i), [i, 1.0]) for i in range(4_700)]))
    assert shard.optimize()
    shard.update(U.delete_points([made.id_of(i) for i in range(0, 4_700, 11)]))
    held = closed(shard)
    found = opened(folder)
    sizes = [len(block) for block, _ in found.blocks()]
    found.close()
    assert len(sizes) > 1
    assert max(sizes) <= 4_096
    assert_same(read(folder), held)


def test_vector_names_that_came_and_went(folder: Path) -> None:
    shard = made.create(folder, vectors={"a": made.params(size=2), "b": made.params(size=2)})
    vectors = {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    shard.update(U.upsert_points([qdrant.Point(i, vectors) for i in range(20)]))
    shard.update(U.delete_vector_name("b"))
    shard.update(U.create_dense_vector("c", 3, qdrant.Distance.Cosine))
    shard.update(U.create_dense_vector("cs", 3, qdrant.Distance.Dot, made.MANY))
    shard.update(U.create_sparse_vector("s"))
    held = closed(shard)
    assert_same(read(folder), held)
    shard = qdrant.EdgeShard.load(str(folder))
    late = {"c": [1.0, 2.0, 3.0], "s": qdrant.SparseVector([1], [2.0]), "cs": [[1.0, 2.0, 3.0]]}
    shard.update(U.upsert_points([qdrant.Point(i, late) for i in range(15, 30)]))
    held = closed(shard)
    assert_same(read(folder), held)
    found = opened(folder)
    assert set(found.config.names()) == {"a", "c", "cs", "s"}
    found.close()


def test_points_without_vectors_and_sparse_vectors_without_entries(folder: Path) -> None:
    shard = made.create(folder, sparse_vectors={"s": qdrant.EdgeSparseVectorParams()})
    empty = qdrant.Point(1, {"s": qdrant.SparseVector([], [])})
    shard.update(U.upsert_points([empty, qdrant.Point(2, {}, {"only": "this"})]))
    held = closed(shard)
    assert_same(read(folder), held)


@pytest.mark.parametrize("optimized", [False, True])
def test_a_vector_of_several_chunks_and_a_payload_of_several_pages(
    optimized: bool, folder: Path
) -> None:
    shard = made.create(
        folder, optimized=optimized, vectors={"": made.params(size=2)}, hnsw_config=made.hnsw()
    )
    payload = {"text": np.random.default_rng(1).bytes(600_000).hex()}
    shard.update(U.upsert_points([qdrant.Point(i, [i, i], payload) for i in range(60)]))
    shard.optimize()
    held = closed(shard)
    assert "page_1.dat" in files_of(folder)
    assert_same(read(folder), held)


def test_of_an_id_in_two_segments_the_newer_version_counts(folder: Path) -> None:
    older, newer = folder / "older", folder / "newer"
    for place, updates in ((older, 1), (newer, 2)):
        shard = made.create(place, vectors={"": made.params(size=2)})
        for number in range(updates):
            shard.update(U.upsert_points([qdrant.Point(1, [number, 0.0], {"in": place.name})]))
        only_here = 2 if place is older else 3
        shard.update(U.upsert_points([qdrant.Point(only_here, [5.0, 0.0])]))
        closed(shard)
    [segment] = segments(older)
    made.copied(segment, newer / "segments" / segment.name)
    found = read(newer)
    assert found.keys() == {1, 2, 3}
    assert found[1].payload == {"in": "newer"}


# -- where it lies


def test_a_shard_without_config_and_log(folder: Path) -> None:
    shard = made.create(folder, optimized=True, **made.every_kind(qdrant.Memory.Cold))
    made.fill(shard, 300)
    shard.optimize()
    made.fill(shard, 20, seed=5)
    held = closed(shard)
    kept = opened(folder)
    kept.close()
    (folder / layout.EDGE_CONFIG).unlink()
    shutil.rmtree(folder / layout.WAL)
    assert_same(read(folder), held)
    found = opened(folder)
    assert set(found.config.names()) == set(kept.config.names())
    for name, params in kept.config.vectors.items():
        for field in ("size", "distance", "datatype", "multivector_config"):
            assert getattr(found.config.vectors[name], field) == getattr(params, field)
    assert found.config.vectors["half"].hnsw_config == kept.config.hnsw_config
    assert found.pending() == []
    found.close()


def test_the_layout_of_a_streamed_snapshot(folder: Path) -> None:
    shard = made.create(folder, **made.every_kind())
    made.fill(shard, 40)
    held = closed(shard)
    [segment] = segments(folder)
    inside = segment / layout.FILES
    inside.mkdir()
    for each in list(segment.iterdir()):
        if each.name not in (layout.FILES, layout.SEGMENT_STATE, layout.VERSION_INFO):
            each.rename(inside / each.name)
    assert_same(read(folder), held)


def test_what_is_no_segment_is_passed_over(folder: Path) -> None:
    shard = made.create(folder, **made.every_kind())
    made.fill(shard, 20)
    held = closed(shard)
    [segment] = segments(folder)
    for name in (".hidden", f"{uuid4()}.deleted"):
        made.copied(segment, segment.parent / name)
    unfinished = made.copied(segment, segment.parent / str(uuid4()))
    (unfinished / layout.VERSION_INFO).unlink()
    (folder / "temp_segments" / "rest").mkdir(parents=True)
    assert_same(read(folder), held)


def test_a_folder_without_a_shard(folder: Path) -> None:
    for place in (folder, folder / "missing"):
        with pytest.raises(NotFound, match="no Qdrant shard"):
            opened(place)


def test_either_side_keeps_the_other_out(folder: Path) -> None:
    shard = made.create(folder, **made.every_kind())
    with pytest.raises(ShardLocked, match="open in another program"):
        opened(folder)
    shard.close()
    found = opened(folder)
    with pytest.raises(Exception, match="WouldBlock"):
        qdrant.EdgeShard.load(str(folder))
    found.close()
    found.close()
    qdrant.EdgeShard.load(str(folder)).close()


def test_a_refused_shard_is_let_go_of(folder: Path) -> None:
    made.create(folder, **made.every_kind()).close()
    (folder / layout.EDGE_CONFIG).write_text("{")
    with pytest.raises(CorruptData, match=layout.EDGE_CONFIG):
        opened(folder)
    (folder / layout.EDGE_CONFIG).unlink()
    opened(folder).close()


# -- versions and manifests


def test_versions(folder: Path) -> None:
    shard = made.create(folder, vectors={"": made.params(size=2)})
    found = []
    for last in range(3):
        shard.update(U.upsert_points([qdrant.Point(last, [1.0, 2.0])]))
    shard.update(U.set_payload([0], {"a": 1}))
    shard.close()
    ours = opened(folder)
    for block, versions in ours.blocks():
        found += zip(block.ids[:, 2].tolist(), versions.tolist(), strict=True)
    assert dict(found) == {0: 3, 1: 1, 2: 2}
    assert ours.version == 3
    ours.close()


def test_an_empty_shard_shows_no_version(folder: Path) -> None:
    made.create(folder, vectors={"": made.params(size=2)}).close()
    found = opened(folder)
    assert (found.version, len(found), list(found.blocks()), found.pending()) == (-1, 0, [], [])
    found.close()


def test_a_manifest_names_the_files_that_the_real_one_names(folder: Path) -> None:
    shard = made.create(folder, optimized=True, **made.every_kind())
    made.fill(shard, 300)
    shard.update(U.create_field_index("set[].more", qdrant.PayloadSchemaType.Keyword))
    shard.optimize()
    made.fill(shard, 20)
    shard.flush()
    real = json.loads(json.dumps(shard.snapshot_manifest()))
    shard.close()
    found = opened(folder)
    manifest = found.manifest()
    found.close()
    assert manifest.keys() == real.keys()
    for name, segment in manifest.items():
        assert segment["segment_id"] == name
        assert segment["segment_version"] == real[name]["segment_version"]
        assert segment["file_versions"].keys() == real[name]["file_versions"].keys()
        assert set(segment["file_versions"].values()) == {None}


def test_a_manifest_that_a_snapshot_brought_counts_until_the_segment_changes(
    folder: Path,
) -> None:
    shard = made.create(folder, vectors={"": made.params(size=2)})
    shard.update(U.upsert_points([qdrant.Point(1, [1.0, 2.0])]))
    shard.update(U.upsert_points([qdrant.Point(2, [1.0, 2.0])]))
    shard.close()
    [segment] = segments(folder)
    brought = {"segment_id": segment.name, "segment_version": 1, "file_versions": {"x/y": 1}}
    for version, expected in ((1, 1), (0, None)):
        content = {**brought, "segment_version": version}
        (segment / layout.SEGMENT_MANIFEST).write_text(json.dumps(content))
        found = opened(folder)
        versions = found.manifest()[segment.name]["file_versions"]
        found.close()
        assert versions.get("x/y") == expected
        assert layout.SEGMENT_MANIFEST not in versions
    (segment / layout.SEGMENT_MANIFEST).write_text(json.dumps({**brought, "segment_id": "other"}))
    found = opened(folder)
    with pytest.raises(ValidationError, match="'other'"):
        found.manifest()
    found.close()


# -- changes beside a segment


def pending(*changes: dict[str, Any], torn: bytes = b"") -> bytes:
    texts = [json.dumps(change).encode() for change in changes]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts) + torn


def deleted(id: int | str, version: int, word: str = "DeletePoint") -> dict[str, Any]:
    versions = {"local_version": 0, "operation_version": version}
    return {word: {"point_id": id, "versions": versions}}


def test_deletions_logged_beside_a_segment_are_carried_out(folder: Path) -> None:
    shard = made.create(folder, vectors={"": made.params(size=2)})
    ids = [1, 2, 3, UUID(int=9)]
    for id in ids:  # of the versions 0 to 3
        shard.update(U.upsert_points([qdrant.Point(id, [1.0, 2.0])]))
    shard.close()
    [segment] = segments(folder)
    log = segment / layout.PENDING_CHANGES
    log.write_bytes(pending(deleted(1, 7), deleted(2, 1), deleted(77, 8), torn=b"\x09\0\0\0{"))
    log.with_name(f"{log.name}.1").write_bytes(
        pending(deleted(3, 1, "delete_point"), deleted(str(ids[3]), 9))
    )
    found = opened(folder)
    assert found.version == 9
    found.close()
    assert read(folder).keys() == {3}  # its version is above that of its deletion


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (pending({"IndexChange": {"field": "a"}}), ValidationError),
        (pending({"DeletePoint": {}}), CorruptData),
        (pending({}), CorruptData),
        (struct.pack("<I", 3) + b"{{{", CorruptData),
    ],
)
def test_other_changes_beside_a_segment_are_refused(
    content: bytes, error: type[Exception], folder: Path
) -> None:
    made.create(folder, vectors={"": made.params(size=2)}).close()
    [segment] = segments(folder)
    (segment / layout.PENDING_CHANGES).write_bytes(content)
    with pytest.raises(error, match=layout.PENDING_CHANGES):
        opened(folder)


# -- what is not read


def refusals() -> dict[str, Any]:
    def state(**changes: Any) -> Any:
        return lambda segment: edit(segment / layout.SEGMENT_STATE, **changes)

    def shard_config(**changes: Any) -> Any:
        return lambda segment: edit(segment.parent.parent / layout.EDGE_CONFIG, **changes)

    def file(name: str, content: bytes = b"") -> Any:
        return lambda segment: (segment / name).write_bytes(content)

    dense = "config__vector_data__d__"
    blobs = f"{layout.PAYLOAD_STORAGE}/{layout.CONFIG}"
    return {
        "storage type 'Memory'": state(**{f"{dense}storage_type": "Memory"}),
        "storage type 'on_disk'": state(config__sparse_vector_data__s__storage_type="on_disk"),
        "payload storage 'in_memory'": state(config__payload_storage_type={"type": "in_memory"}),
        "segment version '0.7.0'": file(layout.VERSION_INFO, b"0.7.0"),
        "segment version '0.5.0'": file(layout.VERSION_INFO, b"0.5.0"),
        "'turbo8' is not read": shard_config(vectors__d__datatype="turbo8"),
        "size: 2 in a segment, 3": shard_config(vectors__d__size=3),
        "distance: Distance.Dot in a": shard_config(vectors__d__distance="Euclid"),
        "distance: 'Hamming'": shard_config(vectors__d__distance="Hamming"),
        "memory: 'lukewarm'": shard_config(vectors__d__memory="lukewarm"),
        r"quantization of \['none'\]": shard_config(quantization_config={"none": {}}),
        "mode 'append_only'": lambda segment: edit(segment / blobs, mode="append_only"),
        "compression 'Zstd'": lambda segment: edit(segment / blobs, compression="Zstd"),
        "append-only storage": file(f"{layout.PAYLOAD_STORAGE}/log_tracker.dat"),
        "segment that is still packed": lambda segment: segment.with_suffix(".tar").touch(),
        "compact id tracker": file(layout.COMPACT_VERSIONS),
        "changes of a newer kind": file("proxy_changes.0.x.dat"),
        "second file of flags": file("vector_storage-d/deleted/status.dat", bytes(8) + b"\1" * 8),
        "index of type 'fancy'": lambda segment: edit(
            segment / layout.PAYLOAD_INDEX / layout.CONFIG, indexed_fields={"f": {"type": "fancy"}}
        ),
    }


@pytest.fixture(scope="module")
def small_shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "shard"
    sparse = {"s": qdrant.EdgeSparseVectorParams()}
    shard = made.create(path, vectors={"d": made.params(size=2)}, sparse_vectors=sparse)
    vectors = {"d": [1.0, 2.0], "s": qdrant.SparseVector([1, 5], [1.0, 2.0])}
    shard.update(U.upsert_points([qdrant.Point(1, vectors, {"a": 1})]))
    shard.close()
    shutil.rmtree(path / layout.WAL)
    return path


@pytest.mark.parametrize("message", refusals())
def test_what_is_not_read_is_refused_by_name(message: str, small_shard: Path, folder: Path) -> None:
    path = made.copied(small_shard, folder / "shard")
    [segment] = segments(path)
    refusals()[message](segment)
    with pytest.raises(ValidationError, match=message):
        opened(path)


@pytest.mark.parametrize(
    ("datatype", "bad"),
    [("Float32", "nan"), ("Float32", "inf"), ("Float16", "nan")],
)
def test_vectors_that_cannot_be_compared_are_refused(datatype: str, bad: str, folder: Path) -> None:
    params = made.params(size=2, datatype=getattr(qdrant.VectorStorageDatatype, datatype))
    shard = made.create(folder, vectors={"d": params})
    shard.update(U.upsert_points([qdrant.Point(1, {"d": [1.0, float(bad)]})]))
    shard.close()
    with pytest.raises(ValidationError, match="'d' with NaN or infinity"):
        read(folder)


def test_a_sparse_vector_with_an_index_twice_is_refused(folder: Path) -> None:
    shard = made.create(folder, sparse_vectors={"s": qdrant.EdgeSparseVectorParams()})
    twice = qdrant.SparseVector([4, 9, 9], [1.0, 2.0, 3.0])
    once = qdrant.SparseVector([4, 9], [1.0, 2.0])
    again = qdrant.SparseVector([9, 10], [1.0, 2.0])
    points = [qdrant.Point(i, {"s": vector}) for i, vector in enumerate((once, again, twice))]
    shard.update(U.upsert_points(points))
    shard.close()
    with pytest.raises(ValidationError, match="index 9 comes twice"):
        read(folder)


def test_a_float_is_read_as_it_was_written(folder: Path) -> None:
    """The real package writes it right, and reads it a last bit too low."""
    shard = made.create(folder, vectors={"": made.params(size=2)})
    shard.update(U.upsert_points([qdrant.Point(1, [1.0, 2.0], {"a": 2.0**70})]))
    shard.close()
    assert read(folder)[1].payload == {"a": 2.0**70}


def test_a_payload_deeper_than_ours_may_be_is_refused(folder: Path) -> None:
    shard = made.create(folder, vectors={"": made.params(size=2)})
    deep: dict[str, Any] = {}
    for _ in range(70):
        deep = {"in": deep}
    shard.update(U.upsert_points([qdrant.Point(1, [1.0, 2.0], deep)]))
    shard.close()
    with pytest.raises(ValidationError, match="deeper than 64 levels"):
        read(folder)
