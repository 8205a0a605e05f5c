"""What is rebuilt, when, and that a swap loses no tombstone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disk.storage import DiskStorage, Storage
from edge.errors import StorageFault
from edge.model.config import EdgeConfig, EdgeOptimizersConfig, settings_of
from edge.model.point_id import decode_ids
from edge.model.quantization import ScalarQuantizationConfig, ScalarType
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig
from edge.segment.builder import Built
from edge.segment.immutable import ImmutableSegment
from edge.segment.view import SegmentView, ShardView
from edge.store import optimization
from edge.store.optimization import Job, Plan, plan, swapped, wanted_indexes
from edge.vectors.column import VectorKey
from tests.disk.simulated import SimulatedStorage
from tests.segment.made import after, built, cut, highest, numbers, silent, start

NAMELESS = VectorKey("")
SIZE = 16  # 64 bytes a vector, so 16 points are a kilobyte
HNSW = HnswIndexConfig(m=8, ef_construct=64, full_scan_threshold=0)  # as `built` makes graphs


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    return DiskStorage(str(tmp_path))


def config(vectors: dict[str, EdgeVectorParams] | None = None, **optimizers: Any) -> EdgeConfig:
    """Nothing is ever worth doing but what the arguments say."""
    calm = {
        "deleted_threshold": 1.0,
        "vacuum_min_vector_number": 0,
        "default_segment_number": 99,
        "indexing_threshold": 0,
    }
    known = vectors or {"": EdgeVectorParams(SIZE, Distance.Dot)}
    return EdgeConfig(
        known, hnsw_config=HNSW, optimizers=EdgeOptimizersConfig(**{**calm, **optimizers})
    )


def upsert(view: ShardView, first: int, count: int) -> ShardView:
    random = np.random.default_rng(first)
    blocks = {
        name: random.normal(size=(count, params.size)).astype(np.float32)
        for name, params in view.config.vectors.items()
    }
    ids = np.arange(first, first + count)
    return after(view, UpdateOperation.upsert_arrays(ids, blocks))


def delete(view: ShardView, *named: int) -> ShardView:
    return after(view, UpdateOperation.delete_points(named))


def segments(
    storage: Storage, shard_config: EdgeConfig, *counts: int, indexed: bool = False
) -> ShardView:
    """One built segment for each count of points (ids from 1000, 2000, ...) and an empty tail."""
    view = start(shard_config)
    names = list(shard_config.vectors) if indexed else []
    for place, count in enumerate(counts, 1):
        view = built(upsert(view, 1000 * place, count), storage, names)
    return view


def planned(view: ShardView) -> tuple[str, list[int]] | None:
    """The reason, and the places of the segments in the view."""
    found = plan(view)
    if found is None:
        return None
    places = [i for i, n in enumerate(numbers(view.segments)) if n in found.numbers]
    return found.reason, places


def test_a_shard_that_is_well_is_left_alone(storage: DiskStorage) -> None:
    assert plan(start(config())) is None
    assert plan(segments(storage, config(), 20, 20)) is None


# -- vacuum


@pytest.mark.parametrize(
    ("dead", "least", "share", "expected"),
    [
        (3, 10, 0.2, ("vacuum", [1])),
        (2, 10, 0.2, None),
        (3, 11, 0.2, None),
        (1, 0, 0.0, ("vacuum", [1])),
        (10, 0, 1.0, None),
    ],
)
def test_segments_with_many_dead_are_vacuumed(
    storage: DiskStorage, dead: int, least: int, share: float, expected: Any
) -> None:
    kept = config(vacuum_min_vector_number=least, deleted_threshold=share)
    view = segments(storage, kept, 10, 10)
    assert planned(delete(view, *range(2000, 2000 + dead))) == expected


def test_a_tail_with_many_dead_is_vacuumed(storage: DiskStorage) -> None:
    kept = config(vacuum_min_vector_number=5, deleted_threshold=0.5)
    view = upsert(segments(storage, kept, 10), 0, 10)
    assert planned(delete(view, *range(6))) == ("vacuum", [1])


# -- index


@pytest.mark.parametrize(
    ("count", "threshold", "expected"),
    [(16, 1, None), (17, 1, ("index", [0])), (17, 2, None), (200, 0, None)],
)
def test_what_is_larger_than_the_threshold_is_indexed(
    storage: DiskStorage, count: int, threshold: int, expected: Any
) -> None:
    view = segments(storage, config(indexing_threshold=threshold), count)
    assert planned(view) == expected
    assert planned(upsert(start(config(indexing_threshold=threshold)), 0, count)) == expected


def test_the_dead_and_the_lacking_count_for_nothing(storage: DiskStorage) -> None:
    view = segments(storage, config(indexing_threshold=1), 17)
    assert planned(delete(view, 1000)) is None
    assert planned(after(view, UpdateOperation.delete_vectors([1000], [""]))) is None


def test_what_is_indexed_is_not_indexed_again(storage: DiskStorage) -> None:
    view = segments(storage, config(indexing_threshold=1), 40, indexed=True)
    assert plan(view) is None
    assert planned(upsert(view, 0, 20)) == ("index", [1])


def test_small_segments_without_a_graph_join_the_one_that_gets_one(storage: DiskStorage) -> None:
    view = segments(storage, config(indexing_threshold=1), 5, 20, 6)
    assert planned(view) == ("index", [0, 1, 2])
    assert planned(upsert(view, 0, 3)) == ("index", [0, 1, 2, 3])


def test_what_has_a_small_form_and_no_graph_is_not_joined_again(storage: DiskStorage) -> None:
    """With m 0 a small form is all that there is to build, and it is built once."""
    flat = EdgeVectorParams(
        SIZE,
        Distance.Dot,
        hnsw_config=HnswIndexConfig(m=0, ef_construct=16, full_scan_threshold=0),
        quantization_config=ScalarQuantizationConfig(ScalarType.Int8),
    )
    view = segments(storage, config({"": flat}, indexing_threshold=1), 40)
    assert planned(view) == ("index", [0])
    found = plan(view)
    assert found is not None
    view = carried_out(storage, view, found)
    assert set(view.segments[0].segment.quantized) == {NAMELESS}
    assert plan(view) is None
    assert planned(upsert(view, 0, 20)) == ("index", [1])
    assert optimization.tidy(delete(view, *range(1000, 1030))) is None
    plain = view.configured(config({"": EdgeVectorParams(SIZE, Distance.Dot)}), {})
    assert planned(plain) is None
    asked = settings_of(config(indexing_threshold=1))
    assert planned(upsert(view.with_settings(asked), 0, 20)) == ("index", [0])


def test_no_graph_is_wanted_where_m_is_0(storage: DiskStorage) -> None:
    flat = HnswIndexConfig(m=0, ef_construct=16, full_scan_threshold=0)
    vectors = {
        "": EdgeVectorParams(SIZE, Distance.Dot, hnsw_config=flat),
        "own": EdgeVectorParams(
            SIZE,
            Distance.Dot,
            hnsw_config=HnswIndexConfig(m=7, ef_construct=0, full_scan_threshold=1),
        ),
        "shard": EdgeVectorParams(SIZE, Distance.Dot),
        "short": EdgeVectorParams(2, Distance.Dot),
    }
    view = upsert(start(config(vectors, indexing_threshold=1)), 0, 30)
    plans = wanted_indexes(view.segments, view.keys(), view.settings)
    graphs = {
        key.name: plan.graph and (plan.graph.m, plan.graph.ef_construct)
        for key, plan in plans.items()
    }
    assert graphs == {"": None, "own": (7, 1), "shard": (8, 64)}
    assert all(plan.quantization is None for plan in plans.values())
    halves = [*view.segments, *view.segments]
    more = wanted_indexes(halves * 3, view.keys(), view.settings)
    assert {key.name for key, plan in more.items() if plan.graph} == {"own", "shard", "short"}


@pytest.mark.parametrize("ef_construct", [0, 1])
def test_a_graph_is_built_with_the_least_ef_construct(
    storage: DiskStorage, ef_construct: int
) -> None:
    least = HnswIndexConfig(m=2, ef_construct=ef_construct, full_scan_threshold=0)
    vectors = {"": EdgeVectorParams(SIZE, Distance.Dot, hnsw_config=least)}
    view = upsert(start(config(vectors, indexing_threshold=1)), 0, 30)
    made = job(view, "index").run(storage, silent)
    assert made is not None
    assert made.segment.graphs[NAMELESS].m == 2


# -- merge


@pytest.mark.parametrize(
    ("target", "expected"), [(1, [0, 1, 2, 3]), (2, [0, 1, 3]), (3, [0, 3]), (4, None)]
)
def test_the_smallest_are_merged_down_to_the_number_of_segments(
    storage: DiskStorage, target: int, expected: list[int] | None
) -> None:
    view = segments(storage, config(default_segment_number=target), 4, 5, 9, 3)
    view = upsert(view, 0, 1)  # a tail is no built segment
    assert planned(view) == (None if expected is None else ("merge", expected))


@pytest.mark.parametrize(("processors", "expected"), [(1, [0, 1]), (2, [0, 1]), (3, None)])
def test_without_a_number_there_is_one_for_each_processor(
    storage: DiskStorage,
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
    expected: list[int] | None,
) -> None:
    monkeypatch.setattr(optimization.os, "cpu_count", lambda: processors)
    view = segments(storage, config(default_segment_number=0), 3, 4, 5)
    assert planned(view) == (None if expected is None else ("merge", expected))


@pytest.mark.parametrize(
    ("largest", "expected"), [(4, [0, 1, 2]), (3, [1, 2]), (2, [1, 2]), (1, None)]
)
def test_no_merge_grows_beyond_the_largest_size(
    storage: DiskStorage, largest: int, expected: list[int] | None
) -> None:
    limited = config(default_segment_number=1, max_segment_size=largest)
    view = segments(storage, limited, 32, 16, 16)
    assert planned(view) == (None if expected is None else ("merge", expected))


def test_one_that_is_too_large_is_still_indexed_alone(storage: DiskStorage) -> None:
    limited = config(indexing_threshold=1, max_segment_size=1)
    assert planned(segments(storage, limited, 20, 4, 4)) == ("index", [0])


def test_vacuum_comes_before_index_and_index_before_merge(storage: DiskStorage) -> None:
    every = {"deleted_threshold": 0.1, "indexing_threshold": 1, "default_segment_number": 1}
    view = segments(storage, config(**every), 20, 20)
    assert planned(delete(view, 1000, 1001, 1002)) == ("vacuum", [0])
    assert planned(view) == ("index", [0, 1])
    calm = segments(storage, config(**{**every, "indexing_threshold": 0}), 20, 20)
    assert planned(calm) == ("merge", [0, 1])


# -- jobs


def job(view: ShardView, reason: str, *places: int) -> Job:
    sources = [view.segments[place] for place in places] or list(view.segments)
    settings = settings_of(view.config)
    return Job(reason, tuple(sources), 500, view.keys(), settings)


def living(view: ShardView) -> list[Any]:
    return [i for s in view.segments for i in decode_ids(s.ids[s.live()])]


def test_a_job_of_the_dead_builds_nothing(storage: DiskStorage) -> None:
    view = delete(segments(storage, config(), 3), 1000, 1001, 1002)
    made = job(view, "vacuum").run(storage, silent)
    assert made is None
    assert numbers(swapped(view, view.segments[:1], made).segments) == [highest(view)]


def test_one_built_segment_is_indexed_where_it_lies(storage: DiskStorage) -> None:
    view = segments(storage, config(indexing_threshold=1), 20)
    made = job(view, "index", 0).run(storage, silent)
    assert made is not None
    assert made.segment.number == view.segments[0].segment.number
    assert set(made.segment.graphs) == {NAMELESS}


@pytest.mark.parametrize("reason", ["vacuum", "merge"])
def test_others_are_written_anew_with_the_graphs_they_should_have(
    storage: DiskStorage, reason: str
) -> None:
    view = segments(storage, config(indexing_threshold=1), 20)
    made = job(view, reason, 0).run(storage, silent)
    assert made is not None
    assert made.segment.number == 500
    assert set(made.segment.graphs) == {NAMELESS}


def test_a_seal_builds_no_graph(storage: DiskStorage) -> None:
    view = upsert(start(config(indexing_threshold=1)), 0, 40)
    made = job(view, "seal").run(storage, silent)
    assert made is not None
    assert made.segment.graphs == {}


def test_a_job_that_fails_leaves_no_folder(storage: DiskStorage) -> None:
    view = upsert(start(config()), 0, 40)

    def fail(done: float) -> None:
        raise StorageFault("no more", "here")

    with pytest.raises(StorageFault):
        job(view, "seal").run(storage, fail)
    assert not any(Path(storage.path).rglob("*500*"))


def test_dead_sources_have_moves_too(storage: DiskStorage) -> None:
    view = segments(storage, config(), 3, 4)
    view = delete(view, 1000, 1001, 1002)
    made = job(view, "merge", 0, 1).run(storage, silent)
    assert made is not None
    assert [move.tolist() for move in made.moves] == [[-1, -1, -1], [0, 1, 2, 3]]
    assert living(swapped(view, view.segments[:2], made)) == [2000, 2001, 2002, 2003]


# -- swaps


deaths = st.sets(st.sampled_from([*range(1000, 1006), *range(2000, 2005), *range(4)]))


@given(deaths, deaths, st.booleans())
def test_a_swap_carries_over_what_died_meanwhile(
    before: set[int], since: set[int], drops: bool
) -> None:
    storage = SimulatedStorage()
    view = delete(upsert(segments(storage, config(), 6, 5), 0, 4), *before)
    made = job(view, "merge").run(storage, silent)
    later = delete(view, *since)
    if drops:
        later = later.of(s for s in later.segments if s.live_count)
    expected = living(later)
    after_swap = swapped(later, view.segments, made)
    assert living(after_swap) == expected
    assert after_swap.points == len(expected)
    assert not {*expected} & {*before, *since}


def test_the_result_stands_where_its_first_source_stood(storage: DiskStorage) -> None:
    view = segments(storage, config(), 2, 3, 4)
    made = job(view, "merge", 1, 2).run(storage, silent)
    before = numbers(view.segments)
    assert numbers(swapped(view, view.segments[1:3], made).segments) == [before[0], 500, before[3]]


def test_where_every_source_is_gone_a_swap_changes_nothing(storage: DiskStorage) -> None:
    view = segments(storage, config(), 2, 3)
    made = job(view, "merge", 0).run(storage, silent)
    rest = view.of(view.segments[1:])
    assert swapped(rest, view.segments[:1], made) is rest


def test_indexing_in_place_keeps_the_tombstones(storage: DiskStorage) -> None:
    view = delete(segments(storage, config(indexing_threshold=1), 30), 1003)
    made = job(view, "index", 0).run(storage, silent)
    later = upsert(delete(view, 1004), 1005, 1)
    now = swapped(later, view.segments[:1], made)
    assert numbers(now.segments) == numbers(later.segments)
    assert set(now.segments[0].segment.graphs) == {NAMELESS}
    assert isinstance(now.segments[0].segment, ImmutableSegment)
    assert now.segments[0].deleted_count == 3
    assert living(now) == living(later)


def test_new_rows_of_a_tail_that_grew_since_are_not_lost(storage: DiskStorage) -> None:
    """A tail is cut before it is a source, so that its rows are those of the job."""
    view = upsert(start(config()), 0, 5)
    made = job(view, "seal").run(storage, silent)
    later = delete(upsert(upsert(cut(view), 2, 1), 70, 2), 4)
    now = swapped(later, view.segments, made)
    assert sorted(living(now)) == [0, 1, 2, 3, 70, 71]
    assert now.segments[0].live().tolist() == [0, 1, 3]


def test_rebuilds_come_to_an_end(storage: DiskStorage) -> None:
    lively = config(
        indexing_threshold=1,
        default_segment_number=2,
        deleted_threshold=0.1,
        vacuum_min_vector_number=1,
        max_segment_size=3,
    )
    view = segments(storage, lively, 30, 5, 40, 7, 3)
    view = delete(view, *range(1000, 1020), *range(3000, 3003))
    expected, steps = sorted(living(view)), 0
    while (found := plan(view)) is not None and steps < 20:
        steps += 1
        view = carried_out(storage, view, found)
        assert sorted(living(view)) == expected
    assert 0 < steps < 20
    assert plan(view) is None


def carried_out(storage: DiskStorage, view: ShardView, found: Plan) -> ShardView:
    sources: tuple[SegmentView, ...] = tuple(
        s for s in view.segments if s.segment.number in found.numbers
    )
    work = Job(found.reason, sources, 1 + highest(view), view.keys(), view.settings)
    made: Built | None = work.run(storage, silent)
    return swapped(view, sources, made)
