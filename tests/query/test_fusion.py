"""Fusions against plain sums over dicts."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model.config import EdgeConfig
from edge.model.fusion import Fusion
from edge.model.point import Point
from edge.model.prefetch import Prefetch
from edge.model.query import Direction, OrderBy, Query
from edge.model.request import QueryRequest
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query.answer import answer
from edge.query.fusion import fused
from edge.query.pool import Ranked, id_rows
from edge.segment.view import ShardView
from tests.query.ranked_shards import EXACT, FAR, NAMES, Shard, by_score, examples, id_of, order_of
from tests.segment.made import after, cut, start

POINTS = 24


def two_segments() -> ShardView:
    view = start(EdgeConfig({"v": EdgeVectorParams(1, Distance.Dot)}))
    for numbers in (range(POINTS // 2), range(POINTS // 2, POINTS)):
        points = [Point(id_of(number), {}) for number in numbers]
        view = cut(after(view, UpdateOperation.upsert_points(points)))
    return view


VIEW = two_segments()
KEYS = np.array([owner << 32 | at for owner in (0, 1) for at in range(POINTS // 2)], np.int64)
IDS = [id_of(number) for number in range(POINTS)]

scores = st.floats(-1e6, 1e6, width=32)
sources = st.dictionaries(st.integers(0, POINTS - 1), scores, max_size=15)
Source = dict[int, float]


def ranked(source: Source, values: list[float] | None = None) -> Ranked:
    """As a prefetch gives it; the order of the dict is that of the places."""
    places = np.array(list(source), np.intp)
    return Ranked(KEYS[places], np.array(list(source.values()), np.float32), values)


def named(found: Ranked) -> dict[Any, float]:
    numbers = np.searchsorted(KEYS, found.keys)
    return dict(zip([IDS[n] for n in numbers], found.scores.tolist(), strict=True))


def check(found: Ranked, expected: dict[int, Any], limit: int, tolerance: float) -> None:
    got = named(found)
    wanted = {IDS[number]: float(score) for number, score in expected.items()}
    assert len(got) == min(limit, len(wanted))
    assert list(got) == by_score(got)
    assert got == pytest.approx({one: wanted[one] for one in got}, rel=tolerance, abs=tolerance)
    if len(got) < len(wanted):
        worst = min(got.values(), default=math.inf)
        assert all(score <= worst + tolerance for one, score in wanted.items() if one not in got)


@given(
    drawn=st.lists(sources, max_size=4),
    k=st.integers(1, 100),
    weights=st.none() | st.lists(st.floats(0, 8, width=16), min_size=4, max_size=4),
    limit=st.integers(0, POINTS + 1),
)
def test_reciprocal_ranks(
    drawn: list[Source], k: int, weights: list[float] | None, limit: int
) -> None:
    """1 / ((rank + 1) / weight + k - 1), added up; the scores of the sources do not matter."""
    chosen = None if weights is None else weights[: len(drawn)]
    expected: dict[int, float] = {}
    for number, source in enumerate(drawn):
        weight = 1.0 if chosen is None else chosen[number]
        for rank, point in enumerate(source):
            share = 1 / ((rank + 1) / weight + k - 1) if weight else 0.0
            expected[point] = expected.get(point, 0.0) + share
    found = fused(VIEW, Fusion.Rrf(k, chosen), list(map(ranked, drawn)), [True] * len(drawn), limit)
    check(found, expected, limit, 2e-6)


def spread(values: list[float]) -> list[float]:
    """Where between three deviations below the mean and three above it they lie."""
    if len(set(values)) < 2:
        return [0.5] * len(values)
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    return [(value - (mean - 3 * deviation)) / (6 * deviation) for value in values]


@given(
    drawn=st.lists(st.tuples(sources, st.booleans()), max_size=4),
    limit=st.integers(0, POINTS + 1),
)
def test_distributions(drawn: list[tuple[Source, bool]], limit: int) -> None:
    """Distances are negated first, so that the least of them gets most."""
    expected: dict[int, float] = {}
    for source, similar in drawn:
        held = np.array(list(source.values()), np.float32).astype(float)
        values = (held if similar else -held).tolist()
        for point, share in zip(source, spread(values), strict=True):
            expected[point] = expected.get(point, 0.0) + share
    found = fused(
        VIEW,
        Fusion.Dbsf(),
        [ranked(source) for source, _ in drawn],
        [similar for _, similar in drawn],
        limit,
    )
    check(found, expected, limit, 1e-5)


def test_distributions_by_hand() -> None:
    def of(*values: float, similar: bool = True) -> list[float]:
        source = ranked(dict(enumerate(values)))
        found = fused(VIEW, Fusion.Dbsf(), [source], [similar], 99)
        return [named(found)[IDS[number]] for number in range(len(values))]

    four = [0.6936492, 0.5645497, 0.4354503, 0.3063508]
    assert of(19.0, 18.0, 17.0, 16.0) == pytest.approx(four, rel=1e-6)
    assert of(1.0, 2.0, 3.0, 4.0, similar=False) == pytest.approx(four, rel=1e-6)
    assert of(19.0, 18.0) == pytest.approx([0.6178511, 0.3821489], rel=1e-6)
    assert of(19.0) == [0.5]
    assert of(7.0, 7.0, 7.0) == [0.5] * 3
    assert of() == []
    far = math.inf
    assert of(19.0, 18.0, 17.0, 16.0, -far) == pytest.approx([*four, 0.0], rel=1e-6)
    assert of(1.0, 2.0, 3.0, 4.0, far, similar=False) == pytest.approx([*four, 0.0], rel=1e-6)
    assert of(far, far, 19.0, 18.0, 17.0, 16.0) == pytest.approx([1.0, 1.0, *four], rel=1e-6)
    assert of(far, 7.0, 7.0, -far) == [1.0, 0.5, 0.5, 0.0]
    assert of(far, -far) == [1.0, 0.0]
    assert of(far, far) == of(-far, -far) == [0.5, 0.5]
    outlier = of(*[0.0] * 19, -1.0)
    assert outlier[-1] < 0.0
    assert of(*[0.0] * 19, -1.0, -far) == [*outlier, outlier[-1]]


@given(st.dictionaries(st.integers(0, POINTS - 1), st.floats(width=32, allow_nan=False)))
def test_a_better_score_never_gets_less(source: Source) -> None:
    shares = named(fused(VIEW, Fusion.Dbsf(), [ranked(source)], [True], 99))
    assert all(map(math.isfinite, shares.values()))
    ordered = [shares[IDS[number]] for number in sorted(source, key=lambda one: source[one])]
    assert ordered == sorted(ordered)


def test_infinitely_far_points_are_fused_too() -> None:
    """Squares of the distances are beyond float32."""
    view = start(EdgeConfig(EdgeVectorParams(1, Distance.Euclid)))
    points = [Point(number, [float(x)]) for number, x in enumerate((0.0, 1.0, 2.0, 3e38))]
    view = after(view, UpdateOperation.upsert_points(points))
    near = Prefetch(9, Query.Nearest([0.0]))
    hits = answer(view, QueryRequest(9, query=Fusion.Dbsf(), prefetches=[near, near]))
    assert [hit.id for hit in hits] == [0, 1, 2, 3]
    assert [hit.score for hit in hits] == pytest.approx([4 / 3, 1.0, 2 / 3, 0.0], rel=1e-6)


def test_equal_sums_are_ordered_by_id() -> None:
    backwards, forwards = dict.fromkeys(range(9, -1, -1), 1.0), dict.fromkeys(range(10), 1.0)
    found = fused(VIEW, Fusion.Rrf(5), [ranked(backwards), ranked(forwards)], [True, True], 99)
    assert list(named(found)) == by_score(named(found))
    assert len(set(named(found).values())) == 5
    flat = fused(VIEW, Fusion.Dbsf(), [ranked(backwards)], [True], 4)
    assert list(named(flat)) == sorted(IDS[:10], key=order_of)[:4]


def test_what_weighs_nothing_is_still_found() -> None:
    found = fused(
        VIEW, Fusion.Rrf(2, [0.0, 1.0]), [ranked({3: 1.0}), ranked({4: 1.0})], [True, True], 9
    )
    assert named(found) == {IDS[4]: 0.5, IDS[3]: 0.0}
    assert np.isfinite(found.scores).all()


def test_places_in_an_order_are_those_of_the_first_source_that_knows() -> None:
    plain, first, second = (
        ranked({1: 1.0, 2: 1.0}),
        ranked({2: 1.0, 3: 1.0}, [20.0, 30.0]),
        ranked({3: 1.0, 4: 1.0}, [-3.0, -4.0]),
    )
    found = fused(VIEW, Fusion.Rrf(2), [plain, first, second], [True] * 3, 9)
    assert found.values is not None
    places = dict(zip(named(found), found.values, strict=True))
    assert places == {IDS[1]: None, IDS[2]: 20.0, IDS[3]: 30.0, IDS[4]: -4.0}
    assert fused(VIEW, Fusion.Rrf(2), [plain], [True], 9).values is None


def test_the_ids_of_keys_are_those_of_the_points() -> None:
    """What the other tests lean on."""
    assert [tuple(row)[2] & 0xFFFF for row in id_rows(VIEW, KEYS).tolist()] == list(range(POINTS))


# -- over a shard


@pytest.mark.parametrize("name", NAMES)
def test_ranks_of_any_vectors(ranked: Shard, name: str) -> None:
    one, other = (Query.Nearest(vector, name) for vector in examples(name, 2))
    prefetches = [Prefetch(20, one, params=EXACT), Prefetch(10, other, params=EXACT)]
    expected: dict[Any, float] = {}
    for prefetch in prefetches:
        for rank, (point, _) in enumerate(ranked.ask(prefetch.query, prefetch.limit)):
            expected[point] = expected.get(point, 0.0) + 1 / (rank + 3)
    found = ranked.ask(Fusion.Rrf(3), prefetches=prefetches)
    assert dict(found) == pytest.approx(expected, rel=1e-6)
    assert [point for point, _ in found] == by_score(dict(found))
    assert ranked.ask(Fusion.Rrf(3), 5, offset=2, prefetches=prefetches) == found[2:7]


@pytest.mark.parametrize("name", NAMES)
def test_the_nearest_gets_most_of_a_distribution(ranked: Shard, name: str) -> None:
    query = Query.Nearest(examples(name, 1)[0], name)
    nearest = ranked.ask(query, 20)
    sign = -1 if name in FAR else 1
    expected = spread([sign * score for _, score in nearest])
    found = ranked.ask(Fusion.Dbsf(), prefetches=[Prefetch(20, query, params=EXACT)])
    shares = dict(zip([point for point, _ in nearest], expected, strict=True))
    assert dict(found) == pytest.approx(shares, rel=1e-5)
    assert [score for _, score in found] == pytest.approx(expected, rel=1e-5)


def test_a_threshold_keeps_what_reaches_it(ranked: Shard) -> None:
    query = Query.Nearest(examples("dot", 1)[0], "dot")
    for fusion in (Fusion.Rrf(2), Fusion.Dbsf()):
        prefetches = [Prefetch(20, query, params=EXACT)]
        found = ranked.ask(fusion, prefetches=prefetches)
        limit = found[7][1]
        kept = ranked.ask(fusion, prefetches=prefetches, score_threshold=limit)
        assert kept == [hit for hit in found if hit[1] >= limit]
        inner = [Prefetch(30, fusion, prefetches, score_threshold=limit)]
        again = ranked.ask(Fusion.Rrf(1), prefetches=inner)
        assert {point for point, _ in again} == {point for point, _ in kept}


def test_orders_are_told_of_through_fusions(ranked: Shard) -> None:
    query = Query.Nearest(examples("dot", 1)[0], "dot")
    orders = [
        Prefetch(5, Fusion.Rrf(2), [Prefetch(4, OrderBy("n"))]),
        Prefetch(3, OrderBy("n", Direction.Desc)),
        Prefetch(8, query, params=EXACT),
    ]
    hits = answer(ranked.view, QueryRequest(99, query=Fusion.Rrf(2), prefetches=orders))
    ordered = {hit.id for hit in hits if hit.order_value is not None}
    for hit in hits:
        if hit.id in ordered:
            assert hit.order_value == ranked.points[hit.id].payload["n"]
    assert len(ordered) == 7
    for over in (query, Fusion.Rrf(2)):
        hits = answer(ranked.view, QueryRequest(99, query=over, prefetches=orders[2:]))
        assert {hit.order_value for hit in hits} == {None}
