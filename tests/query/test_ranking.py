"""Rankings and their prefetches against plain models: who is ranked, by what, and how often one
looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge.disk.storage import DiskStorage
from edge.errors import DeadlineExceeded, NotFound, UnknownField, UnknownVector
from edge.model.examples import (
    ContextPair,
    ContextQuery,
    DiscoverQuery,
    FeedbackItem,
    FeedbackNaiveQuery,
    NaiveFeedbackStrategy,
    RecommendQuery,
)
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    MatchValue,
    RangeFloat,
)
from edge.model.fusion import Fusion
from edge.model.point import PointVectors
from edge.model.point_id import PointId
from edge.model.prefetch import Prefetch
from edge.model.query import (
    Direction,
    IdfParams,
    Mmr,
    OrderBy,
    Query,
    Sample,
    SearchParams,
    TextQuery,
)
from edge.model.request import QueryRequest, SearchRequest
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query import by_vectors, deadline
from edge.query.answer import answer
from edge.query.deadline import Deadline
from tests.query.ranked_shards import (
    ALL,
    EXACT,
    FAR,
    NAMES,
    Shard,
    alike,
    by_score,
    examples,
    having,
    id_of,
    order_of,
    score_of,
)
from tests.segment import kinds as kinds_of_vectors
from tests.segment.made import after, built, start

F = np.float32
U = UpdateOperation
Hits = list[tuple[PointId, float]]
Likeness = Callable[[Any], np.float32]
"""How like a point is to an example."""

# -- the kinds, as they are defined


def soft(x: Any) -> Any:
    return x / (F(1) + abs(x))


def half(x: Any) -> Any:
    return F(0.5) * (soft(x) + F(1))


def best(positives: list[Any], negatives: list[Any]) -> Any:
    p, n = max(positives, default=F(-np.inf)), max(negatives, default=F(-np.inf))
    return half(p) if p > n else -half(n)


def discover(target: Any, pairs: list[tuple[Any, Any]]) -> Any:
    return sum((np.sign(p - n) for p, n in pairs), F(0)) + half(target)


def context(pairs: list[tuple[Any, Any]]) -> Any:
    return sum((soft(min(p - n - F(2.0**-23), F(0))) for p, n in pairs), F(0))


def feedback(target: Any, items: list[tuple[Any, float]], a: float, b: float, c: float) -> Any:
    total = a * target
    for one, score in items:
        for other, other_score in items:
            if score > other_score:
                total += (score - other_score) ** b * c * (one - other)
    return total


Case = tuple[Query, Callable[[Likeness], Any]]


def kinds(name: str) -> dict[str, Case]:
    """By name: the query, and what a point's score is, given its likeness to examples."""
    e, d, g, h, i = examples(name, 5)
    pairs = [ContextPair(e, d), ContextPair(g, h)]
    items = [FeedbackItem(d, 0.75), FeedbackItem(g, -0.25), FeedbackItem(h, 0.5)]
    strategy = NaiveFeedbackStrategy(0.5, 2.0, 0.25)

    def recommend(positives: list[Any], negatives: list[Any]) -> dict[str, Case]:
        asked = RecommendQuery(positives, negatives)
        which = f"{len(positives)} and {len(negatives)}"
        return {
            f"best of {which}": (
                Query.RecommendBestScore(asked, name),
                lambda s: best([s(one) for one in positives], [s(one) for one in negatives]),
            ),
            f"sum of {which}": (
                Query.RecommendSumScores(asked, name),
                lambda s: (
                    sum((s(p) for p in positives), F(0)) - sum((s(n) for n in negatives), F(0))
                ),
            ),
        }

    return {
        **recommend([e], []),
        **recommend([], [e, d]),
        **recommend([e, d, g], [h, i]),
        "discover": (
            Query.Discover(DiscoverQuery(i, pairs), name),
            lambda s: discover(s(i), [(s(e), s(d)), (s(g), s(h))]),
        ),
        "discover of a target": (
            Query.Discover(DiscoverQuery(i, []), name),
            lambda s: discover(s(i), []),
        ),
        "context": (
            Query.Context(ContextQuery(pairs), name),
            lambda s: context([(s(e), s(d)), (s(g), s(h))]),
        ),
        "feedback": (
            Query.FeedbackNaive(FeedbackNaiveQuery(e, items, strategy), name),
            lambda s: feedback(s(e), [(s(d), 0.75), (s(g), -0.25), (s(h), 0.5)], 0.5, 2.0, 0.25),
        ),
        "feedback of one": (
            Query.FeedbackNaive(FeedbackNaiveQuery(e, items[:1], strategy), name),
            lambda s: feedback(s(e), [], 0.5, 2.0, 0.25),
        ),
    }  # fmt: skip


KINDS = list(kinds("dot"))
EVEN = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])


def is_even(shard: Shard, one: PointId) -> bool:
    return shard.points[one].payload.get("room") == "hall"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_its_definition(ranked: Shard, name: str, kind: str) -> None:
    """Over all segments, with graphs and without; with filters, limits, offsets, thresholds."""
    query, definition = kinds(name)[kind]
    expected = {
        one: float(definition(lambda example, v=vector: alike(name, example, v)))
        for one, vector in having(ranked, name).items()
    }
    found = ranked.ask(query)
    assert dict(found) == pytest.approx(expected, rel=2e-6, abs=2e-7)
    scores = dict(found)
    assert [one for one, _ in found] == by_score(scores)
    assert ranked.ask(query, 7, offset=3) == found[3:10]
    assert ranked.ask(query, filter=EVEN) == [hit for hit in found if is_even(ranked, hit[0])]
    limit = found[len(found) // 2][1]
    assert ranked.ask(query, score_threshold=limit) == [hit for hit in found if hit[1] > limit]
    walked = ranked.ask(query, params=SearchParams(hnsw_ef=ALL))
    assert walked == [hit for hit in found if hit in walked]
    assert len(walked) >= 0.95 * len(found)  # a graph of products may have an island
    request = SearchRequest(query, ALL, params=EXACT)
    assert [(hit.id, hit.score) for hit in answer(ranked.view, request)] == found
    some = [one for one, _ in found[::3]]
    listed = Prefetch(ALL, filter=Filter(must=[HasIdCondition(some)]))
    assert ranked.ask(query, prefetches=[listed]) == found[::3]


# -- examples that are ids


def of_ids(name: str, *ids: PointId) -> dict[str, Any]:
    """A query of each kind, by these four points."""
    a, b, c, d = ids
    pairs = [ContextPair(c, d)]
    items = [FeedbackItem(b, 0.5), FeedbackItem(c, 0.25)]
    return {
        "nearest": Query.Nearest(a, name),
        "best": Query.RecommendBestScore(RecommendQuery([a, b], [c]), name),
        "sum": Query.RecommendSumScores(RecommendQuery([a], [c, d]), name),
        "discover": Query.Discover(DiscoverQuery(a, pairs), name),
        "context": Query.Context(ContextQuery(pairs), name),
        "feedback": Query.FeedbackNaive(
            FeedbackNaiveQuery(a, items, NaiveFeedbackStrategy(1.0, 1.0, 1.0)), name
        ),
        "mmr": Mmr(a, 0.5, 20, name),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", of_ids("", 1, 2, 3, 4))
def test_points_stand_for_their_vectors_and_are_not_found(
    ranked: Shard, name: str, kind: str
) -> None:
    """In a request, in a prefetch, over prefetches."""
    ids = list(having(ranked, name))[3:60:15]
    assert len(ids) == 4
    query = of_ids(name, *ids)[kind]
    known = having(ranked, name)
    used = [example for _, example in query.examples()]
    vectors = query.with_examples([known[one] for one in used])
    others = Filter(must_not=[HasIdCondition(used)])
    expected = ranked.ask(vectors, 20, filter=others)
    assert ranked.ask(query, 20) == expected
    assert not {one for one, _ in expected} & set(used)
    assert len(expected) == 20
    by_place = Fusion.Rrf(2)
    assert ranked.ask(by_place, prefetches=[Prefetch(20, query, params=EXACT)]) == ranked.ask(
        by_place, prefetches=[Prefetch(20, vectors, filter=others, params=EXACT)]
    )
    everyone = [Prefetch(ALL)]
    assert ranked.ask(query, prefetches=everyone) == ranked.ask(
        vectors, prefetches=everyone, filter=others
    )


@pytest.mark.parametrize("kind", of_ids("", 1, 2, 3, 4))
def test_a_point_that_is_not_there_or_lacks_the_vector_is_named(ranked: Shard, kind: str) -> None:
    lacking = next(one for one, known in ranked.points.items() if "dot" not in known.vectors)
    there = list(having(ranked, "dot"))
    gone = id_of(27)
    assert gone not in ranked.points
    for one in (lacking, gone, 10**9):
        query = of_ids("dot", one, there[0], one, there[1])[kind]
        message = f'^query: there is no point {one} with a vector "dot"$'
        for prefetches in ([], [Prefetch(3)]):
            with pytest.raises(NotFound, match=message):
                ranked.ask(query, prefetches=prefetches)
        with pytest.raises(NotFound, match=message):
            ranked.ask(Fusion.Rrf(2), prefetches=[Prefetch(3, query)])


def test_an_id_is_looked_up_in_the_vector_that_is_ranked(ranked: Shard) -> None:
    both = [
        one for one in having(ranked, "dot") if one in having(ranked, "euclid")
    ]  # fmt: skip
    for name in ("dot", "euclid"):
        others = Filter(must_not=[HasIdCondition([both[5]])])
        wanted = ranked.ask(Query.Nearest(having(ranked, name)[both[5]], name), filter=others)
        assert ranked.ask(Query.Nearest(both[5], name)) == wanted


def test_an_example_of_one_stage_is_found_by_another(ranked: Shard) -> None:
    one, other = list(having(ranked, "dot"))[:2]
    found = ranked.ask(
        Fusion.Rrf(2),
        prefetches=[
            Prefetch(ALL, Query.Nearest(one, "dot")),
            Prefetch(ALL, Query.Nearest(other, "dot")),
        ],
    )
    assert {point for point, _ in found} == set(having(ranked, "dot"))


def test_an_example_of_a_stage_is_left_out_below_it(ranked: Shard) -> None:
    """So that its prefetches bring as many others as they can."""
    vector = examples("dot", 1)[0]
    nearest = ranked.ask(Query.Nearest(vector, "dot"), 4)
    first = nearest[0][0]
    found = ranked.ask(
        Query.Nearest(first, "dot"), prefetches=[Prefetch(3, Query.Nearest(vector, "dot"))]
    )
    assert {one for one, _ in found} == {one for one, _ in nearest[1:]}


# -- stages

NEAR = {name: Query.Nearest(examples(name, 1)[0], name) for name in NAMES}
OTHER = {name: Query.Nearest(examples(name, 2)[1], name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_ranks_what_its_prefetches_found_each_once(ranked: Shard, name: str) -> None:
    prefetches = [
        Prefetch(12, NEAR["dot"], params=EXACT),
        Prefetch(7, NEAR["euclid"], params=EXACT),
        Prefetch(5, OTHER["dot"], params=EXACT),
    ]
    among = {
        one for prefetch in prefetches for one, _ in ranked.ask(prefetch.query, prefetch.limit)
    }
    expected = [hit for hit in ranked.ask(NEAR[name]) if hit[0] in among]
    assert ranked.ask(NEAR[name], prefetches=prefetches) == expected
    assert ranked.ask(NEAR[name], 4, offset=2, prefetches=prefetches) == expected[2:6]
    inner = [Prefetch(4, NEAR[name], prefetches)]
    again = ranked.ask(OTHER[name], prefetches=inner)
    assert {one for one, _ in again} == {one for one, _ in expected[:4]}


@pytest.mark.parametrize("name", NAMES)
def test_a_threshold_of_a_stage_is_about_its_own_scores(ranked: Shard, name: str) -> None:
    found = ranked.ask(NEAR[name], prefetches=[Prefetch(40, NEAR["rows"], params=EXACT)])
    limit = found[len(found) // 2][1]
    kept = [hit for hit in found if (hit[1] < limit if name in FAR else hit[1] > limit)]
    for depth in (0, 1):
        prefetches = [Prefetch(40, NEAR["rows"], params=EXACT, score_threshold=None)]
        if depth:
            prefetches = [Prefetch(40, NEAR[name], prefetches, score_threshold=limit)]
        settings = {} if depth else {"score_threshold": limit}
        assert ranked.ask(NEAR[name], prefetches=prefetches, **settings) == kept


def test_filters_hold_for_all_that_is_looked_at_below(ranked: Shard) -> None:
    """A prefetch brings its limit of points that fulfil all filters above it."""
    low = Filter(must=[FieldCondition("n", range=RangeFloat(lt=100))])
    odd = Filter(should=[FieldCondition("room", match=MatchValue("attic"))])
    hall = Filter(should=[FieldCondition("room", match=MatchValue("hall"))])
    deep = Prefetch(6, NEAR["dot"], filter=low, params=EXACT)
    middle = Prefetch(5, NEAR["euclid"], [deep], filter=hall, params=EXACT)
    found = ranked.ask(NEAR["cosine"], prefetches=[middle])
    fulfil = Filter(must=[low, hall])
    leaf = ranked.ask(NEAR["dot"], 6, filter=fulfil)
    assert len(leaf) == 6
    assert {one for one, _ in found} <= {one for one, _ in leaf}
    ranks = [one for one, _ in ranked.ask(NEAR["euclid"]) if one in dict(leaf)][:5]
    assert {one for one, _ in found} == {
        one for one in ranks if "cosine" in ranked.points[one].vectors
    }
    assert ranked.ask(NEAR["cosine"], prefetches=[middle], filter=odd) == []  # both shoulds hold


def test_a_leaf_without_a_query_is_of_the_first_ids(ranked: Shard) -> None:
    first = sorted(ranked.points, key=order_of)
    found = ranked.ask(Fusion.Rrf(1), prefetches=[Prefetch(9)])
    assert found == [(one, F(1 / (rank + 1))) for rank, one in enumerate(first[:9])]
    halls = [one for one in first if is_even(ranked, one)]
    found = ranked.ask(Fusion.Rrf(1), prefetches=[Prefetch(9, filter=EVEN)])
    assert [one for one, _ in found] == halls[:9]


def test_orders_rank_all_points_and_prefetches(ranked: Shard) -> None:
    prefetch = Prefetch(30, NEAR["dot"], params=EXACT)
    among = {one for one, _ in ranked.ask(NEAR["dot"], 30)}
    numbers = {
        one: known.payload["n"] for one, known in ranked.points.items() if "n" in known.payload
    }
    for order, sign in ((OrderBy("n"), 1), (OrderBy("n", Direction.Desc), -1)):
        wanted = sorted((one for one in numbers if one in among), key=lambda i: sign * numbers[i])
        hits = answer(ranked.view, QueryRequest(ALL, query=order, prefetches=[prefetch]))
        assert [hit.id for hit in hits] == wanted
        assert [hit.order_value for hit in hits] == [numbers[one] for one in wanted]
        assert {hit.score for hit in hits} == {1.0}
        top = sorted(numbers, key=lambda i: sign * numbers[i])[:5]
        found = ranked.ask(Fusion.Rrf(2), prefetches=[Prefetch(5, order)])
        assert [one for one, _ in found] == top


def test_a_sample_is_of_what_the_prefetches_found(ranked: Shard) -> None:
    among = {one for one, _ in ranked.ask(NEAR["dot"], 30)}
    prefetch = Prefetch(30, NEAR["dot"], params=EXACT)
    seen: set[object] = set()
    for _ in range(1000):  # a sample of 4 of 30 misses one of them 1,000 times once in 10^60 runs
        found = ranked.ask(Sample.Random, 4, prefetches=[prefetch])
        assert len(found) == len(dict(found)) == 4
        seen |= dict(found).keys()
        if seen == among:
            break
    assert seen == among
    again = ranked.ask(NEAR["cosine"], prefetches=[Prefetch(ALL, Sample.Random)])
    assert again == ranked.ask(NEAR["cosine"])


def test_texts_rank_all_points_and_prefetches(ranked: Shard) -> None:
    query = TextQuery("note", "cup")
    every = dict(ranked.ask(query))
    assert len(every) == sum("note" in known.payload for known in ranked.points.values())
    found = ranked.ask(query, prefetches=[Prefetch(25, NEAR["dot"], params=EXACT)])
    among = {one for one, _ in ranked.ask(NEAR["dot"], 25)} & every.keys()
    assert [one for one, _ in found] == by_score({one: every[one] for one in among})
    assert found == [(one, every[one]) for one, _ in found]
    ranks = ranked.ask(Fusion.Rrf(1), 6, prefetches=[Prefetch(6, query)])
    assert [one for one, _ in ranks] == by_score(every)[:6]
    for prefetches in ([], [Prefetch(5)]):
        with pytest.raises(UnknownField):
            ranked.ask(TextQuery("room", "hall"), prefetches=prefetches)


def test_weights_of_rare_dimensions_count_for_examples_too(ranked: Shard) -> None:
    """Of all points, or of a corpus; before and after prefetches."""
    one, other = examples("words", 2)
    known = having(ranked, "rare")
    for corpus, among in (
        (None, known),
        (EVEN, {i: v for i, v in known.items() if is_even(ranked, i)}),
    ):
        filled = [vector for vector in among.values() if len(vector.indices)]

        def weighted(example: SparseVector, filled: list[Any] = filled) -> SparseVector:
            values = []
            for index, value in zip(example.indices, example.values, strict=True):
                df = sum(index in vector.indices for vector in filled)
                rarity = np.log1p((len(filled) - df + 0.5) / (df + 0.5))
                values.append(value * F(rarity))
            return SparseVector(example.indices, values)

        a, b = weighted(one), weighted(other)
        expected = {
            i: alike("words", a, vector) - alike("words", b, vector) for i, vector in known.items()
        }
        query = Query.RecommendSumScores(RecommendQuery([one], [other]), "rare")
        params = SearchParams(idf=IdfParams(corpus))
        found = ranked.ask(query, params=params)
        assert dict(found) == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert ranked.ask(query, params=params, prefetches=[Prefetch(ALL)]) == found


# -- edges


def test_empty_ends(ranked: Shard) -> None:
    assert ranked.ask(NEAR["dot"], 0) == []
    assert ranked.ask(Fusion.Rrf(2), prefetches=[Prefetch(0, NEAR["dot"])]) == []
    assert ranked.ask(NEAR["dot"], prefetches=[Prefetch(0, NEAR["dot"])]) == []
    nobody = Filter(must=[HasIdCondition([10**9])])
    for query in (NEAR["dot"], NEAR["words"], Fusion.Dbsf(), Sample.Random, OrderBy("n")):
        prefetches = [Prefetch(5, NEAR["dot"])]
        assert ranked.ask(query, prefetches=prefetches, filter=nobody) == []
    assert ranked.ask(TextQuery("note", "cup"), prefetches=[Prefetch(0)]) == []
    assert ranked.ask(NEAR["dot"], 5, offset=ALL, prefetches=[Prefetch(9)]) == []


def test_a_best_score_of_nobody_is_nobodys(ranked: Shard) -> None:
    query = Query.RecommendBestScore(RecommendQuery([], []), "dot")
    assert ranked.ask(query) == []
    assert ranked.ask(query, prefetches=[Prefetch(5)]) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "make",
    [
        lambda name: Query.RecommendSumScores(RecommendQuery([], []), name),
        lambda name: Query.Context(ContextQuery([]), name),
    ],
    ids=["sum", "context"],
)
def test_sums_and_contexts_of_nobody_are_zero_for_all(
    ranked: Shard, name: str, make: Callable[[str], Query]
) -> None:
    known = sorted(having(ranked, name), key=order_of)
    assert ranked.ask(make(name)) == [(one, 0.0) for one in known]
    first = [one for one in sorted(ranked.points, key=order_of)[:9] if one in known]
    assert ranked.ask(make(name), prefetches=[Prefetch(9)]) == [(one, 0.0) for one in first]


def test_unknown_names_are_refused_wherever_they_stand(ranked: Shard) -> None:
    bad = Query.Nearest([1.0], "zz")
    for query, prefetches in ((bad, []), (bad, [Prefetch(3)]), (Fusion.Rrf(2), [Prefetch(3, bad)])):
        with pytest.raises(UnknownVector, match="zz"):
            ranked.ask(query, prefetches=prefetches)


@pytest.mark.parametrize(
    ("power", "weight", "score"), [(-100.0, 1.0, 1e-5), (100.0, 1.0, 1e30), (2.0, 3e38, 10.0)]
)
def test_feedback_beyond_all_numbers_is_no_crash(
    ranked: Shard, power: float, weight: float, score: float
) -> None:
    one, other = examples("dot", 2)
    items = [FeedbackItem(one, score), FeedbackItem(other, 0.0)]
    asked = FeedbackNaiveQuery(one, items, NaiveFeedbackStrategy(1.0, power, weight))
    ranked.ask(Query.FeedbackNaive(asked, "dot"))


def test_a_name_that_is_younger_than_most_points(ranked: Shard) -> None:
    """Segments know nothing of it."""
    late = EdgeVectorParams(2, Distance.Euclid)
    made = U.create_dense_vector("late", late.size, late.distance)
    put = U.update_vectors([PointVectors(i, {"late": [float(i), 0.0]}) for i in (2, 5, 90)])
    young = Shard(after(ranked.view, made, put), ranked.points)
    near = Query.Nearest([0.0, 0.0], "late")
    like = Query.RecommendSumScores(RecommendQuery([2, [0.0, 0.0]], []), "late")
    assert young.ask(near) == [(2, 2.0), (5, 5.0), (90, 90.0)]
    assert young.ask(like) == [(5, -34.0), (90, -15_844.0)]
    assert young.ask(near, prefetches=[Prefetch(ALL)]) == young.ask(near)
    assert young.ask(like, prefetches=[Prefetch(ALL)]) == young.ask(like)
    assert young.ask(Mmr([0.0, 0.0], 1.0, 9, "late")) == young.ask(near)
    with pytest.raises(NotFound, match='there is no point 3 with a vector "late"'):
        young.ask(Query.Nearest(3, "late"))


# -- every kind of vector, in its own words


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    storage = DiskStorage(str(tmp_path_factory.mktemp("kinds")))

    def upsert(first: int, stop: int) -> UpdateOperation:
        return U.upsert_points([kinds_of_vectors.point(n, n) for n in range(first, stop)])

    view = after(start(kinds_of_vectors.config()), upsert(0, 60))
    view = built(view, storage, kinds_of_vectors.DENSE)
    view = after(built(after(view, upsert(60, 90)), storage), upsert(90, 110))
    return Shard(after(view, U.delete_points([3, 63, 93])), {})


@pytest.mark.parametrize("name", kinds_of_vectors.NAMES)
def test_all_ways_lead_to_the_same_scores(all_kinds: Shard, name: str) -> None:
    """Of any datatype: over prefetches as alone, and a sum of one example is its likeness."""
    random = np.random.default_rng(5)
    vectors = [kinds_of_vectors.vector(name, random) for _ in range(20)]
    if name in kinds_of_vectors.SPARSE:
        vectors = [vector for vector in vectors if len(vector.indices) > 2]
    for vector in vectors[:4]:
        nearest = all_kinds.ask(Query.Nearest(vector, name))
        assert len(nearest) > 9
        again = all_kinds.ask(Query.Nearest(vector, name), prefetches=[Prefetch(ALL)])
        assert again == nearest
        like = Query.RecommendSumScores(RecommendQuery([vector], []), name)
        found = all_kinds.ask(like)
        assert all_kinds.ask(like, prefetches=[Prefetch(ALL)]) == found
        params = kinds_of_vectors.DENSE.get(name)
        distance = None if params is None else params.distance
        sign = -1 if distance in (Distance.Euclid, Distance.Manhattan) else 1
        power = 2 if distance is Distance.Euclid else 1
        expected = {one: sign * score**power for one, score in nearest}
        assert {one: dict(found)[one] for one in expected} == pytest.approx(expected, rel=1e-5)


# -- how often one looks


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The searches of dense leaves, as they come."""
    seen: list[Any] = []
    search = by_vectors.search

    def counted(view: Any, leaf: Any, *others: Any) -> Any:
        seen.append(leaf)
        return search(view, leaf, *others)

    monkeypatch.setattr(by_vectors, "search", counted)
    return seen


def test_equal_leaves_are_searched_once(ranked: Shard, searches: list[Any]) -> None:
    """However deep they stand, and however often they are written."""

    def leaf() -> Prefetch:
        return Prefetch(
            9, Query.Nearest(examples("dot", 1)[0], "dot"), params=SearchParams(exact=True)
        )

    inner = Prefetch(5, OTHER["euclid"], [leaf(), leaf()])
    found = ranked.ask(Fusion.Rrf(2), prefetches=[leaf(), inner, leaf()])
    assert len(searches) == 1
    once = ranked.ask(Fusion.Rrf(2), prefetches=[leaf(), inner])
    assert {one for one, _ in found} == {one for one, _ in once}
    assert dict(found) != dict(once)  # a source that comes twice counts twice


def test_leaves_that_differ_are_searched_each(ranked: Shard, searches: list[Any]) -> None:
    query = NEAR["dot"]
    leaves = [
        Prefetch(9, query),
        Prefetch(8, query),
        Prefetch(9, query, filter=EVEN),
        Prefetch(9, query, params=EXACT),
        Prefetch(9, query, score_threshold=1.0),
        Prefetch(9, OTHER["dot"]),
        Prefetch(9, Query.RecommendSumScores(RecommendQuery([query.query], []), "dot")),
    ]
    ranked.ask(Fusion.Rrf(2), prefetches=leaves)
    assert len(searches) == len(leaves)
    del searches[:]
    ranked.ask(Fusion.Rrf(2), prefetches=[Prefetch(9, query), Prefetch(9, query, filter=Filter())])
    assert len(searches) == 2


def test_a_filter_above_makes_another_leaf_of_an_equal_one(
    ranked: Shard, searches: list[Any]
) -> None:
    leaf = Prefetch(9, NEAR["dot"], params=EXACT)
    below = Prefetch(5, NEAR["dot"], [leaf], filter=EVEN)
    ranked.ask(Fusion.Rrf(2), prefetches=[leaf, below])
    assert len(searches) == 2


def test_a_match_of_a_bool_is_another_leaf_than_that_of_a_number(
    ranked: Shard, searches: list[Any]
) -> None:
    for value in (1, True):
        ranked.ask(
            Fusion.Rrf(2),
            prefetches=[
                Prefetch(
                    5, NEAR["dot"], filter=Filter(must=[FieldCondition("n", match=MatchValue(v))])
                )
                for v in (1, value)
            ],
        )
    assert len(searches) == 1 + 2


def test_the_next_query_looks_again(ranked: Shard, searches: list[Any]) -> None:
    for times in (1, 2):
        ranked.ask(Fusion.Rrf(2), prefetches=[Prefetch(9, NEAR["dot"])])
        assert len(searches) == times


# -- time


TREES: dict[str, tuple[Any, list[Prefetch]]] = {
    "fusion": (Fusion.Rrf(2), [Prefetch(9, NEAR["dot"]), Prefetch(9, NEAR["words"])]),
    "again": (NEAR["euclid"], [Prefetch(9, NEAR["dot"])]),
    "deep": (
        NEAR["euclid"],
        [Prefetch(9, NEAR["dot"], [Prefetch(9, OTHER["dot"], [Prefetch(9)])])],
    ),
    "mmr": (Mmr(examples("dot", 1)[0], 0.5, 9, "dot"), [Prefetch(9, NEAR["dot"])]),
    "sparse": (
        Query.RecommendSumScores(RecommendQuery(examples("words", 2), []), "words"),
        [Prefetch(9, OTHER["words"])],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_a_query_stops_at_its_deadline_wherever_it_is(
    ranked: Shard, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on by one with each look at it; late ones are in the last stage."""
    query, prefetches = TREES[name]
    looks = [0]

    def clock() -> float:
        looks[0] += 1
        return float(looks[0])

    monkeypatch.setattr(deadline, "monotonic", clock)
    request = QueryRequest(9, query=query, prefetches=prefetches)
    whole = answer(ranked.view, request, Deadline(1e9))
    needed = looks[0] - 1
    assert needed >= 2
    for timeout in (0.5, needed / 2, needed - 0.5):
        with pytest.raises(DeadlineExceeded):
            answer(ranked.view, request, Deadline(timeout))
    assert answer(ranked.view, request, Deadline(needed + 0.5)) == whole


def test_every_leaf_explains_itself(ranked: Shard) -> None:
    segments = sum(part.live_count > 0 for part in ranked.view.segments)
    request = QueryRequest(
        9, query=Fusion.Rrf(2), prefetches=[Prefetch(9, NEAR["dot"]), Prefetch(9)], explain=True
    )
    plan = answer(ranked.view, request).plan
    assert len(plan) == 2 * segments
    assert {"ids"} < {one.way for one in plan}


def test_scores_are_those_of_nearest(ranked: Shard) -> None:
    """What the other tests lean on."""
    for name in NAMES:
        vector = examples(name, 1)[0]
        expected = {
            one: score_of(name, alike(name, vector, other))
            for one, other in having(ranked, name).items()
            if name != "words" or set(vector.indices) & set(other.indices)
        }
        found = ranked.ask(NEAR[name])
        assert dict(found) == pytest.approx(expected, rel=1e-6)
        assert [one for one, _ in found] == by_score(dict(found), least_first=name in FAR)
