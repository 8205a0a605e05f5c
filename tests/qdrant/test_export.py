"""Ours in Qdrant's files: the real engine loads them, finds the same, and goes on from there."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random

import msgspec
import pytest
import qdrant_edge

from edge.blocking import EdgeShard
from edge.errors import AlreadyExists, ValidationError
from edge.model.choice import Memory
from edge.model.config import EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import FieldCondition, Filter, MatchValue
from edge.model.point import Point
from edge.model.quantization import (
    BinaryQuantizationConfig,
    BinaryQuantizationEncoding,
    CompressionRatio,
    NoQuantization,
    ProductQuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
)
from edge.model.request import CountRequest
from edge.model.schema import (
    FloatIndexParams,
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    TextIndexParams,
)
from edge.model.text import Language, TokenizerType
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig
from edge.qdrant.export import export_shard
from tests.congruence.engines import theirs
from tests.qdrant.copies import (
    BOTH_STORE_ALIKE,
    DENSE,
    EVERY_KIND,
    MULTI,
    ONE,
    SHARD,
    SPARSE,
    Copy,
    New,
    any_id,
    names_in,
    points,
)

U = UpdateOperation
WAYS = ["folder", "unpack", "full update"]


def filled(new: New, config: EdgeConfig) -> Copy:
    """Two built segments and a tail, with dead and overwritten points in each."""
    copy = new(config)
    copy.tell(U.upsert_points(points(config, range(60))))
    copy.tell(U.delete_points([any_id(3), any_id(5)]))
    copy.seal()
    copy.tell(U.upsert_points(points(config, range(50, 90))))
    copy.seal()
    copy.tell(U.upsert_points(points(config, range(80, 130))))
    copy.tell(U.set_payload([any_id(n) for n in range(20, 30)], {"later": [1]}))
    copy.tell(U.delete_points([any_id(n) for n in (7, 55, 85, 110)]))
    return copy


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_vector_in_every_kind_of_segment(new: New, way: str) -> None:
    copy = filled(new, EVERY_KIND)
    copy.copy(way)
    copy.compare_everything()


def test_the_copy_goes_on(new: New) -> None:
    """What Qdrant is told afterwards it carries out, and it builds whatever it wants to build."""
    copy = filled(new, BOTH_STORE_ALIKE)
    copy.copy("folder")
    for number in (1, 2, 86, 100):  # the first of them would be lost to an operation seen before
        copy.update(U.set_payload([any_id(number)], {"after": number}))
    copy.update(U.upsert_points(points(BOTH_STORE_ALIKE, range(125, 140))))
    copy.update(U.delete_points([any_id(1), any_id(88), any_id(130)]))
    copy.update(U.delete_vectors([any_id(n) for n in range(10, 20)], ["", "several", "sparse"]))
    copy.compare_everything(1)
    copy.restart_theirs()
    copy.compare_everything(2)
    copy.theirs.optimize()
    copy.compare_everything(3)
    copy.restart_theirs()
    copy.compare_everything(4)


@pytest.mark.parametrize(
    "config",
    [EdgeConfig(dict([item])) for item in [*DENSE.items(), *MULTI.items()]]
    + [EdgeConfig(sparse_vectors=dict([item])) for item in SPARSE.items()],
    ids=[*DENSE, *MULTI, *SPARSE],
)
def test_a_shard_of_one_vector(new: New, config: EdgeConfig) -> None:
    """Also one of which a whole segment lacks it; the copy is optimized by Qdrant at once."""
    copy = new(config)
    copy.tell(U.upsert_points(points(config, range(20))))
    copy.seal()
    copy.tell(U.upsert_points(points(config, range(100, 104), share=0.0)))
    copy.copy("unpack")
    copy.compare_everything()
    if BOTH_STORE_ALIKE.params_of(config.names()[0]):
        copy.update(U.upsert_points(points(config, range(15, 25))))
    copy.theirs.optimize()
    copy.compare_everything()


@pytest.mark.parametrize("way", WAYS)
def test_a_shard_without_points(new: New, way: str) -> None:
    copy = new(BOTH_STORE_ALIKE)
    assert copy.copy(way) == {}
    copy.compare()
    copy.update(U.upsert_points(points(BOTH_STORE_ALIKE, range(5))))
    copy.compare_everything()


def test_segments_of_dead_points_are_left_out(new: New) -> None:
    copy = new(ONE)
    copy.tell(U.upsert_points(points(ONE, range(5))))
    copy.seal()
    copy.tell(U.delete_points([any_id(n) for n in range(5)]))
    assert copy.copy("folder") == {}
    copy.compare()


def test_more_than_a_page_and_than_a_slice(new: New) -> None:
    """Texts that do not repeat themselves, so that a payload runs from one page into the next."""
    copy = new(ONE)
    copy.tell(U.upsert_points([Point(n, [n, 1, 2, 3], {"n": n}) for n in range(9000)]))
    long = [
        Point(10_000 + n, [n, 0, 0, 0], {"text": Random(n).randbytes(400_000).hex()})
        for n in range(12)
    ]
    for one in long:
        copy.tell(U.upsert_points([one]))
    copy.copy("folder")
    assert len(list(copy.place.glob("segments/*/payload_storage/page_*.dat"))) > 2
    found, following = copy.theirs.scroll(qdrant_edge.ScrollRequest(limit=20_000))
    assert following is None
    assert [record.id for record in found] == [*range(9000), *range(10_000, 10_012)]
    assert all(record.payload == {"n": record.id} for record in found[:9000])
    assert [r.payload for r in found[9000:]] == [one.payload for one in long]


def test_names_added_and_taken_away(new: New) -> None:
    """Segments from before lack them, or still have them."""
    config = EdgeConfig({"old": DENSE[""], "kept": DENSE["half"]})
    copy = new(config)
    copy.tell(U.upsert_points(points(config, range(20))))
    copy.seal()
    copy.tell(U.delete_vector_name("old"))
    copy.tell(U.create_dense_vector("new", 3, Distance.Dot))
    copy.tell(U.create_dense_vector("old", 5, Distance.Euclid))
    copy.tell(
        U.create_dense_vector("several", 3, Distance.Dot, MULTI["several"].multivector_config)
    )
    copy.tell(U.create_sparse_vector("sparse"))
    copy.tell(U.upsert_points(points(copy.view.config, range(15, 30))))
    copy.copy("unpack")
    copy.compare_everything()
    copy.theirs.optimize()
    copy.compare_everything()


# -- config and schema


INDEXES = {
    "number": PayloadSchemaType.Integer,
    "int[]": IntegerIndexParams(lookup=True, range=True, memory=Memory.Cold),
    "text": TextIndexParams(
        TokenizerType.Multilingual, 2, 30, lowercase=True, stopwords=Language.English, scoring=True
    ),
    "null": KeywordIndexParams(is_tenant=True, on_disk=True),
    "deep.a[].b": FloatIndexParams(memory=Memory.Pinned),
    '"a.b"': PayloadSchemaType.Keyword,
    "yes": PayloadSchemaType.Bool,
}


def test_field_indexes_are_built_by_the_copy(new: New) -> None:
    copy = new(ONE)
    for path, params in INDEXES.items():
        copy.tell(U.create_field_index(path, params))
    copy.tell(U.upsert_points(points(ONE, range(20))))
    copy.seal()
    copy.tell(U.upsert_points(points(ONE, range(20, 40))))
    copy.copy("folder")
    copy.compare_schema()
    filters = Filter(must=[FieldCondition("number", match=MatchValue(21))])
    copy.compare_count(CountRequest(filter=filters))


def test_every_setting_is_taken(new: New, folder: Path) -> None:
    hnsw = HnswIndexConfig(8, 40, 10, 1, False, 4, False, Memory.Cached)
    scalar = ScalarQuantizationConfig(ScalarType.Int8, 0.95, memory=Memory.Pinned)
    binary = BinaryQuantizationConfig(False, BinaryQuantizationEncoding.TwoBits)
    product = ProductQuantizationConfig(CompressionRatio.X16)
    config = EdgeConfig(
        {
            "a": EdgeVectorParams(8, Distance.Dot, quantization_config=binary, memory=Memory.Cold),
            "b": EdgeVectorParams(8, Distance.Dot, hnsw_config=hnsw, on_disk=True),
            "c": EdgeVectorParams(8, Distance.Dot, quantization_config=product),
        },
        SPARSE,
        on_disk_payload=True,
        hnsw_config=hnsw,
        quantization_config=scalar,
        optimizers=EdgeOptimizersConfig(0.3, 100, 2, 20_000, 10),
        max_search_threads=2,
        payload_memory=Memory.Cached,
        id_tracker_memory=Memory.Pinned,
    )
    copy = new(config)
    copy.tell(U.upsert_points(points(config, range(30), share=1.0)))
    copy.copy("folder")
    copy.compare_everything()
    copy.theirs.close()
    direct = qdrant_edge.EdgeShard.create(str(folder / "direct"), theirs(config))
    direct.close()
    saved = [(place / "edge_config.json").read_bytes() for place in (copy.place, folder / "direct")]
    assert msgspec.json.decode(saved[0]) == msgspec.json.decode(saved[1])
    copy.restart_theirs()
    copy.theirs.optimize()
    copy.compare_everything()


def test_a_vector_without_quantization_in_a_shard_with_one(new: New) -> None:
    scalar = ScalarQuantizationConfig(ScalarType.Int8)
    config = EdgeConfig(
        {
            "none": EdgeVectorParams(4, Distance.Dot, quantization_config=NoQuantization()),
            "shared": EdgeVectorParams(4, Distance.Dot),
        },
        quantization_config=scalar,
    )
    copy = new(config)
    copy.copy("folder")
    saved = msgspec.json.decode((copy.place / "edge_config.json").read_bytes())
    assert saved["vectors"]["shared"]["quantization_config"] == {"scalar": {"type": "int8"}}
    assert "quantization_config" not in saved["vectors"]["none"]
    assert "quantization_config" not in saved


# -- one moment, one copy


def test_an_export_is_of_one_moment(new: New, folder: Path) -> None:
    """Whatever is written, sealed and merged meanwhile."""
    copy = filled(new, EVERY_KIND)
    view = copy.view
    before = names_and_bytes(view, folder / "before")
    stop = threading.Event()

    def write() -> None:
        for number in range(1000):
            if stop.is_set():
                return
            copy.tell(U.upsert_points(points(EVERY_KIND, range(number, number + 3))))
            copy.tell(U.delete_points([any_id(number + 60)]))
            if number % 10 == 0:
                copy.seal()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(4):
            assert names_and_bytes(view, folder / f"during{number}") == before
    finally:
        stop.set()
        writer.join()


def names_and_bytes(view, path: Path) -> dict[str, bytes]:
    export_shard(view, SHARD, path)
    found = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in found}


def test_an_archive_is_small_and_holds_the_layout_of_servers(new: New) -> None:
    copy = new(EVERY_KIND)
    copy.tell(U.upsert_points(points(EVERY_KIND, range(2), share=1.0)))
    path, manifest = copy.export(".tar")
    assert path.stat().st_size < 200_000
    [segment] = manifest
    names = names_in(path)
    assert {name for name in names if not name.startswith("segments/")} == {
        "edge_config.json",
        f"wal/closed-{copy.view.sequence + 1}",
    }
    inner = {name.removeprefix(f"segments/{segment}/") for name in names if "segments/" in name}
    assert {name for name in inner if not name.startswith("files/")} == {
        "segment.json",
        "version.info",
    }
    assert {f"files/{name}" for name in manifest[segment]["file_versions"]} == {
        name for name in inner if name.startswith("files/")
    }


def test_files_are_ours_alone(new: New) -> None:
    copy = filled(new, ONE)
    path, _ = copy.export("")
    modes = {(file.is_dir(), file.stat().st_mode & 0o777) for file in [path, *path.rglob("*")]}
    assert modes == {(True, 0o700), (False, 0o600)}
    archive, _ = copy.export(".tar")
    assert archive.stat().st_mode & 0o777 == 0o600


# -- what is refused


def test_nothing_is_overwritten(new: New, folder: Path) -> None:
    copy = new(ONE)
    for name in ("there", "there.tar"):
        (folder / name).write_text("mine")
        with pytest.raises(AlreadyExists, match=name):
            export_shard(copy.view, SHARD, folder / name)
        assert (folder / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["a/b", "..//", "back\\slash", "nul\0", "x" * 250, "e\u0301"])
def test_vectors_that_no_file_can_be_named_after(folder: Path, name: str) -> None:
    shard = EdgeShard.create(folder / "ours", EdgeConfig({name: DENSE[""]}))
    with pytest.raises(ValidationError, match="cannot have this name"):
        export_shard(shard._store.view, SHARD, folder / "x.tar")
    assert not (folder / "x.tar").exists()
    shard.close()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("no uuid", "x.tar", None), "shard_id"),
        ((None, "x.tar", None), "shard_id"),
        ((SHARD, "x", {}), "since"),
        ((SHARD, "x.tar", {"a": {"segment_id": "a"}}), "since"),
        ((SHARD, "x.tar", {"a": 1}), "since"),
    ],
)
def test_arguments(folder: Path, arguments, word: str) -> None:
    shard_id, name, since = arguments
    shard = EdgeShard.create(folder / "ours", ONE)
    with pytest.raises(ValidationError, match=word):
        export_shard(shard._store.view, shard_id, folder / name, since)
    assert not (folder / name).exists()
    shard.close()
