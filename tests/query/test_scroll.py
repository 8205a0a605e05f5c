"""Pages in id order against a sorted dict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.disk.storage import DiskStorage
from edge.errors import DeadlineExceeded
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, MatchValue, RangeFloat
from edge.model.point_id import PointId, decode_ids
from edge.model.request import CountRequest, QueryRequest, ScrollRequest
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query import deadline, scroll
from edge.query.answer import answer
from edge.query.deadline import Deadline
from edge.segment.view import ShardView
from tests.query.indexed_shards import FILTERS, chosen, rank_of
from tests.query.indexed_shards import Shard as Indexed
from tests.query.shards import Shard, config, order_of, spread
from tests.segment.made import after, cut, start


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return spread(DiskStorage(str(tmp_path_factory.mktemp("scroll"))), config(), [])


def ordered(shard: Shard, passes: Callable[[dict[str, object]], bool]) -> list[PointId]:
    return sorted((i for i, p in shard.points.items() if passes(p.payload)), key=order_of)


def walk(view: ShardView, limit: int, filter: Filter | None = None) -> list[list[PointId]]:
    """All pages, each from where the one before ended."""
    pages: list[list[PointId]] = []
    offset: PointId | None = None
    while True:
        records, following = answer(view, ScrollRequest(offset, limit, filter))
        pages.append([record.id for record in records])
        if following is None:
            return pages
        offset = following


RARE = Filter(must=[FieldCondition("rare", match=MatchValue(True))])
RED = Filter(must=[FieldCondition("colour", match=MatchValue("red"))])
LATE = Filter(must=[FieldCondition("n", range=RangeFloat(gte=400))])
WANTED: list[tuple[Filter | None, Callable[[dict[str, object]], bool]]] = [
    (None, lambda payload: True),
    (RARE, lambda payload: bool(payload.get("rare"))),
    (RED, lambda payload: payload.get("colour") == "red"),
    (LATE, lambda payload: payload.get("n", 0) >= 400),  # type: ignore[operator]
    (Filter(must=[FieldCondition("gone", match=MatchValue(1))]), lambda payload: False),
]


@pytest.mark.parametrize("first_look", [1, 10, 256])
@pytest.mark.parametrize("which", range(len(WANTED)))
@pytest.mark.parametrize("limit", [1, 7, 64, 500])
def test_pages_together_are_all_points_in_order(
    shard: Shard, monkeypatch: pytest.MonkeyPatch, which: int, limit: int, first_look: int
) -> None:
    monkeypatch.setattr(scroll, "FIRST_LOOK", first_look)
    wanted, passes = WANTED[which]
    expected = ordered(shard, passes)
    pages = walk(shard.view, limit, wanted)
    assert [point_id for page in pages for point_id in page] == expected
    assert all(len(page) == limit for page in pages[:-1])
    assert len(pages) == max(1, -(-len(expected) // limit))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 450)
    | st.sampled_from([2**64 - 1, UUID(int=0), UUID(int=2**128 - 1)])
    | st.builds(lambda a, b: UUID(int=a << 64 | b), st.integers(0, 7), st.integers(0, 450)),
    st.integers(0, 30),
    st.sampled_from(range(len(WANTED))),
)
def test_a_page_may_start_anywhere(shard: Shard, offset: PointId, limit: int, which: int) -> None:
    wanted, passes = WANTED[which]
    rest = [i for i in ordered(shard, passes) if order_of(i) >= order_of(offset)]
    records, following = answer(shard.view, ScrollRequest(offset, limit, wanted))
    assert [record.id for record in records] == rest[:limit]
    assert following == (rest[limit] if len(rest) > limit else None)


@pytest.mark.parametrize("which", range(len(WANTED)))
def test_a_query_without_a_vector_is_a_scroll_of_scores_one(shard: Shard, which: int) -> None:
    wanted, passes = WANTED[which]
    hits = answer(shard.view, QueryRequest(20, offset=5, filter=wanted))
    assert [hit.id for hit in hits] == ordered(shard, passes)[5:25]
    assert {hit.score for hit in hits} <= {1.0}
    above = QueryRequest(20, offset=5, filter=wanted, score_threshold=1.5)
    assert answer(shard.view, above) == hits  # as in Qdrant: without a query nothing is scored


def test_a_page_looks_at_few_payloads_first(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    original = scroll._matching

    def noted(candidates: scroll.Hits, *others: object) -> object:
        looks.append(len(candidates.offsets))
        return original(candidates, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(scroll, "_matching", noted)
    monkeypatch.setattr(scroll, "FIRST_LOOK", 16)
    answer(shard.view, ScrollRequest(None, 3, RARE))
    assert looks[:3] == [16, 32, 64]
    assert sum(looks) <= len(shard.points)
    looks.clear()
    answer(shard.view, ScrollRequest(None, 3, RED))
    assert looks == [16]


def test_an_empty_shard_has_one_empty_page() -> None:
    empty = start(config())
    assert answer(empty, ScrollRequest()) == ([], None)
    assert answer(empty, ScrollRequest(filter=RED)) == ([], None)
    assert answer(empty, QueryRequest(10)) == []


def test_a_scroll_stops_at_its_deadline(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "monotonic", iter(range(1000)).__next__)
    with pytest.raises(DeadlineExceeded):
        answer(shard.view, ScrollRequest(None, 3, RED), Deadline(0))


SMALL = EdgeConfig(EdgeVectorParams(1, Distance.Dot))
ids = st.integers(0, 40) | st.builds(lambda n: UUID(int=n), st.integers(0, 40))
changes = st.lists(
    st.tuples(st.sampled_from(["put", "put", "delete", "cut"]), st.lists(ids, max_size=8)),
    max_size=8,
)


@given(changes, st.integers(1, 9))
def test_any_history_is_walked_in_order(
    history: list[tuple[str, list[PointId]]], limit: int
) -> None:
    view, known = start(SMALL), set()
    for kind, named in history:
        if kind == "cut":
            view = cut(view)
        elif kind == "delete":
            view = after(view, UpdateOperation.delete_points(named))
            known -= set(named)
        else:
            vectors = np.ones((len(named), 1), np.float32)
            view = after(view, UpdateOperation.upsert_arrays(named, vectors))
            known |= set(named)
    pages = walk(view, limit)
    assert [i for page in pages for i in page] == sorted(known, key=order_of)


def test_a_page_is_cut_at_its_limit_across_segments(tmp_path: Path) -> None:
    shard = spread(DiskStorage(str(tmp_path)), config(), [])
    hits = scroll.page(shard.view, None, 30, None, Deadline())
    rows = [hits.segments[o].ids[at] for o, at in zip(hits.owners, hits.offsets, strict=True)]
    assert decode_ids(np.array(rows)) == ordered(shard, lambda payload: True)[:30]
    assert len(set(hits.owners.tolist())) > 1


# -- with indexes


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("limit", [7, 500])
def test_pages_are_the_same_whichever_segments_have_an_index(
    indexed: Indexed, name: str, limit: int
) -> None:
    expected = sorted(chosen(indexed, name), key=rank_of)
    pages = walk(indexed.view, limit, FILTERS[name])
    assert [point_id for page in pages for point_id in page] == expected
    assert all(len(page) == limit for page in pages[:-1])
    records, _ = answer(indexed.view, ScrollRequest(None, 500, FILTERS[name]))
    assert {record.id: record.payload for record in records} == chosen(indexed, name)


@pytest.mark.parametrize("name", FILTERS)
def test_points_are_counted_whichever_segments_have_an_index(indexed: Indexed, name: str) -> None:
    for exact in (True, False):  # of so few payloads all are read
        counted = answer(indexed.view, CountRequest(exact, FILTERS[name]))
        assert counted == len(chosen(indexed, name))


def test_where_the_index_tells_no_payload_is_looked_at(
    every_indexed: dict[str, Indexed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*given: object) -> None:
        raise AssertionError("payloads were looked at")

    monkeypatch.setattr(scroll, "_matching", unwanted)
    view = every_indexed["first"].view
    answer(view, ScrollRequest(None, 5, FILTERS["hall"]))
    with pytest.raises(AssertionError, match="looked at"):
        answer(view, ScrollRequest(None, 5, FILTERS["open"]))
