"""Vectors beside the links of a graph: what is found is the same, wherever it lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from edge import (
    ConfigChange,
    CorruptData,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeVectorParams,
    Filter,
    HasIdCondition,
    HnswIndexConfig,
    Memory,
    MultiVectorComparator,
    MultiVectorConfig,
    Point,
    Query,
    QueryRequest,
    RecommendQuery,
    UpdateOperation,
)
from edge.blocking import EdgeShard
from edge.disk.packed_file import Blocks, write_packed
from edge.disk.storage import DiskStorage, DiskWriter
from edge.model.quantization import (
    BinaryQuantizationConfig,
    CompressionRatio,
    NoQuantization,
    ProductQuantizationConfig,
    QuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantQuantizationConfig,
)
from edge.model.query import QuantizationSearchParams, SearchParams
from edge.model.vector_params import VectorStorageDatatype
from edge.query import search
from edge.segment.immutable import ImmutableSegment, load_segment
from edge_kernels.hnsw import Graph

DIM, COUNT = 24, 600
NAMES = ("lists0", "lists")
INT8 = ScalarQuantizationConfig(ScalarType.Int8)
SMALL: dict[str, QuantizationConfig] = {
    "int8": INT8,
    "product": ProductQuantizationConfig(CompressionRatio.X16),
    "binary": BinaryQuantizationConfig(),
    "turbo": TurboQuantQuantizationConfig(),
}


def config(small: Any = INT8, memory: Memory | None = None, **others: Any) -> EdgeConfig:
    return EdgeConfig(
        EdgeVectorParams(DIM, Distance.Cosine, memory=memory, **others),
        hnsw_config=hnsw(memory=memory),
        quantization_config=small,
        optimizers=EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1),
    )


def hnsw(inline: bool | None = True, memory: Memory | None = None) -> HnswIndexConfig:
    return HnswIndexConfig(6, 40, 1, inline_storage=inline, memory=memory)


def vectors(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(COUNT, DIM)).astype(np.float32)


def filled(path: Path, asked: EdgeConfig) -> EdgeShard:
    shard = EdgeShard.create(str(path), asked)
    shard.update(UpdateOperation.upsert_arrays(np.arange(COUNT), {"": vectors()}))
    shard.update(UpdateOperation.delete_points([3, 4, 5]))
    shard.optimize()
    return shard


def graphs_of(shard: EdgeShard) -> list[Graph]:
    return [
        graph for segment in shard._store.view.segments for graph in segment.segment.graphs.values()
    ]


def requests() -> Iterator[QueryRequest]:
    """Nearest points in every way that a small form is used."""
    odd = Filter(must=[HasIdCondition(list(range(1, COUNT, 2)))])
    asked = vectors(1)[:6]
    for vector in asked:
        for small in (
            None,
            QuantizationSearchParams(ignore=True),
            QuantizationSearchParams(rescore=False),
            QuantizationSearchParams(oversampling=3.0),
        ):
            params = SearchParams(hnsw_ef=50, quantization=small)
            for among in (None, odd):
                query = Query.Nearest(vector)
                yield QueryRequest(10, query=query, params=params, filter=among)
    examples = RecommendQuery([1, 2], [3.0 * asked[0]])
    yield QueryRequest(10, query=Query.RecommendBestScore(examples))


def answers(shard: EdgeShard) -> list[list[tuple[Any, float]]]:
    each = [shard.query(request) for request in requests()]
    together = shard.query_batch(list(requests()))
    found = [[(hit.id, hit.score) for hit in hits] for hits in each]
    assert found == [[(hit.id, hit.score) for hit in hits] for hits in together]
    return found


@pytest.mark.parametrize("small", SMALL)
def test_answers_are_those_of_a_graph_without_copies(tmp_path: Path, small: str) -> None:
    """Bit by bit, before and after the shard is opened anew, and wherever the files live."""
    with filled(tmp_path / "plain", config(SMALL[small])) as plain:
        plain.update(UpdateOperation.set_config(ConfigChange(hnsw(inline=False))))
        plain.optimize()
        assert [graph.inline for graph in graphs_of(plain)] == [None]
        wanted = answers(plain)
    for memory in (Memory.Cached, Memory.Cold, Memory.Pinned):
        with filled(tmp_path / memory.value, config(SMALL[small], memory)) as shard:
            assert all(graph.inline for graph in graphs_of(shard))
            assert answers(shard) == wanted
        with EdgeShard.load(str(tmp_path / memory.value)) as shard:
            [graph] = graphs_of(shard)
            assert graph.inline is not None
            assert (graph.ahead != 0) is (memory is Memory.Cold)
            assert answers(shard) == wanted


@pytest.mark.parametrize(
    "datatype", [VectorStorageDatatype.Float16, VectorStorageDatatype.Uint8], ids=str
)
def test_originals_of_any_type_are_beside(tmp_path: Path, datatype: VectorStorageDatatype) -> None:
    with filled(tmp_path / "a", config(datatype=datatype)) as shard:
        wanted = answers(shard)
        shard.update(UpdateOperation.set_config(ConfigChange(hnsw(inline=None))))
        shard.optimize()
        assert answers(shard) == wanted


def test_a_filtered_walk_goes_through_all_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To step over a point, its list has to be read; the codes of those beyond are there anyway."""
    third = Filter(must=[HasIdCondition(list(range(0, COUNT, 3)))])
    request = QueryRequest(5, query=Query.Nearest(vectors(1)[0]), filter=third, explain=True)
    monkeypatch.setattr(search, "_is_scanned", lambda *_: False)
    ways = []
    with filled(tmp_path / "a", config()) as shard:
        for inline in (True, False):
            shard.update(UpdateOperation.set_config(ConfigChange(hnsw(inline))))
            shard.optimize()
            found: Any = shard.query(request)
            ways.append([plan.way for plan in found.plan])
    assert ways == [["filtered graph, rescored"], ["acorn, rescored"]]


def test_a_setting_is_applied_to_what_is_there(tmp_path: Path) -> None:
    with filled(tmp_path / "a", config(NoQuantization())) as shard:
        assert [graph.inline for graph in graphs_of(shard)] == [None], "nothing to copy"
        assert shard.optimize() is False
        shard.update(UpdateOperation.set_config(ConfigChange(quantization_config=INT8)))
        assert shard.optimize() is True
        assert all(graph.inline for graph in graphs_of(shard))
        assert shard.optimize() is False
        shard.update(UpdateOperation.set_config(ConfigChange(quantization_config=NoQuantization())))
        assert shard.optimize() is True
        assert [graph.inline for graph in graphs_of(shard)] == [None]
        assert shard.optimize() is False


def test_multivectors_have_nothing_beside(tmp_path: Path) -> None:
    several = MultiVectorConfig(MultiVectorComparator.MaxSim)
    asked = config(multivector_config=several)
    with EdgeShard.create(str(tmp_path / "a"), asked) as shard:
        blocks = vectors().reshape(-1, 3, DIM).tolist()
        points = [Point(n, block) for n, block in enumerate(blocks)]
        shard.update(UpdateOperation.upsert_points(points))
        shard.optimize()
        [graph] = graphs_of(shard)
        assert graph.inline is None
        assert shard.optimize() is False


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc")
def test_a_cold_graph_is_not_resident_until_it_is_walked(tmp_path: Path) -> None:
    with filled(tmp_path / "a", config(memory=Memory.Cold)):
        pass
    with EdgeShard.load(str(tmp_path / "a")) as shard:
        [graph] = graphs_of(shard)
        at_first = resident(tmp_path, "graph-0")
        assert 1000 * at_first < graph.links0.nbytes / 4
        for request in requests():
            shard.query(request)
        assert resident(tmp_path, "graph-0") > 2 * at_first


def resident(path: Path, role: str) -> int:
    """Kilobytes of the mapping of a role's file that are in memory."""
    found, is_it = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            is_it = str(path) in line and role in line
        elif is_it and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


def test_copies_are_written_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are many times the vectors: never in memory as a whole while they are made."""
    longest = 0
    original = DiskWriter.write

    def watched(self: DiskWriter, *buffers: Any) -> int:
        nonlocal longest
        if "graph" in self._path:
            longest = max(longest, *(memoryview(each).nbytes for each in buffers))
        return original(self, *buffers)

    monkeypatch.setattr(DiskWriter, "write", watched)
    with filled(tmp_path / "a", config()) as shard:
        [graph] = graphs_of(shard)
    assert 0 < longest < graph.links0.nbytes / 4


def test_copies_of_other_rows_are_corrupt_data(tmp_path: Path) -> None:
    """As no damage makes them, which would be seen before: only a wrong program."""
    with filled(tmp_path / "a", config()) as shard:
        shard.update(UpdateOperation.set_config(ConfigChange(hnsw(inline=False))))
        shard.optimize()
        view = shard._store.view
        segment = view.segments[0].segment
        assert isinstance(segment, ImmutableSegment)
        [graph], [small] = segment.graphs.values(), segment.quantized.values()
        [column], storage = segment.vectors.values(), DiskStorage(str(tmp_path / "a"))
        rows = column.matrix
        right = small.matrix
        for name, codes, originals in (
            ("right", right, rows),
            ("wide", np.hstack([right, right]), rows),
            ("narrow", right, rows[:, :16].copy()),
        ):
            arrays, *lists = graph.arrays_beside(codes, originals)
            octets = np.dtype(np.uint8)
            blocks = {n: Blocks(octets, *part) for n, part in zip(NAMES, lists, strict=True)}
            file, layout = write_packed(storage, f"segments/{name}", {**blocks, **arrays})
            files = {**segment.entry.files, "graph-0": file}
            meta = {**segment.entry.meta, "graph-0": layout}
            entry = replace(segment.entry, files=files, meta=meta)
            if name == "right":
                load_segment(storage, entry, view.keys(), view.settings)
            else:
                with pytest.raises(CorruptData, match="copies of other rows"):
                    load_segment(storage, entry, view.keys(), view.settings)
