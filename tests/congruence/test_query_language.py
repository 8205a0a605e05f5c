"""Queries of every kind, alone and over prefetches, rank as qdrant_edge ranks.

The deliberate differences are tests of their own, at the end; each shows both behaviours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import qdrant_edge
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import edge.blocking as edge
from edge.errors import LimitExceeded, NotFound, ValidationError
from tests.congruence import drawing_queries as drawing
from tests.congruence.drawing_queries import ALL, Api, Example, Sketch, margin
from tests.congruence.engines import Pair, exactly, same_vector, ties_by_id

Pairs = Callable[[edge.EdgeConfig], Pair]
Ranked = list[tuple[Any, float]]

U = edge.UpdateOperation
X = edge.Expression

# -- any query


class World:
    """A pair of shards over the same drawn points."""

    def __init__(self, pair: Pair, known: list[drawing.Known]) -> None:
        self.pair = pair
        self.known = known
        self.drawing = drawing.Drawing(known)
        self.settling = drawing.Settling(pair.ours, known)

    def compare(self, drawn: list[tuple[int, int]], in_a_batch: bool) -> None:
        """Each (depth, seed) drawn is a query."""
        sketches = {one: self._settled(*one) for one in drawn}
        for one, sketch in list(sketches.items()):
            if sketch.fails:
                self._both_refuse(one, sketches.pop(one))
        shown = {one: self._shown(*one) for one in sketches}
        found, expected = (
            self._answers(
                api,
                shard,
                [sketches[one].request(api, (), *shown[one]) for one in shown],
                in_a_batch,
            )
            for api, shard in ((edge, self.pair.ours), (qdrant_edge, self.pair.theirs))
        )
        for one, ours, theirs in zip(shown, found, expected, strict=True):
            with_vectors = sketches[one].kind != "Mmr"  # Qdrant shows them unasked
            try:
                same_answer(sketches[one], ours, theirs, with_vectors)
                self._compare_search(sketches[one])
            except AssertionError as error:
                request = sketches[one].request(edge)
                raise AssertionError(f"(depth, seed) = {one}: {request}\n{error}") from None

    def _settled(self, depth: int, seed: int) -> Sketch:
        return self.settling.settled(self.drawing.query(seed, depth))

    @staticmethod
    def _shown(depth: int, seed: int) -> tuple[bool | None, bool | None]:
        """Payloads and vectors, now and then."""
        return seed % 16 in (0, 1) or None, seed % 16 in (0, 2) or None

    @staticmethod
    def _answers(api: Api, shard: Any, requests: list[Any], in_a_batch: bool) -> list[Any]:
        if in_a_batch:
            found: list[Any] = shard.query_batch(api.QueryBatchRequest(requests))
            return found
        return [shard.query(request) for request in requests]

    def _both_refuse(self, one: tuple[int, int], sketch: Sketch) -> None:
        with pytest.raises(ValidationError, match=r"query\.formula: .* \(point .*\)"):
            self.pair.ours.query(sketch.request(edge))
        with pytest.raises(Exception, match="process cancelled by service"):
            self.pair.theirs.query(sketch.request(qdrant_edge))

    def _compare_search(self, sketch: Sketch) -> None:
        if sketch.kind in drawing.BY_VECTORS and not sketch.below:
            ours = self.pair.ours.search(sketch.search(edge))
            same_answer(sketch, ours, self.pair.theirs.search(sketch.search(qdrant_edge)))


IN_THEIR_ORDER = {"None", "OrderBy", "Mmr"}
FUSIONS = {"Rrf", "Dbsf"}
"""Of these Qdrant may not know where a point stands in an order."""


def same_answer(
    sketch: Sketch, ours: list[Any], theirs: list[Any], with_vectors: bool = True
) -> None:
    """The same points, with the same scores, best first; ours by id where they are equal."""
    expected = {hit.id: hit for hit in theirs}
    assert len(ours) == len(theirs) == len(expected)
    assert {hit.id for hit in ours} == expected.keys()
    for hit, at_the_place in zip(ours, theirs, strict=True):
        other = expected[hit.id]
        most = margin(sketch.kind, hit.score)
        assert abs(hit.score - other.score) <= most
        assert abs(hit.score - at_the_place.score) <= most or sketch.kind == "Mmr"
        assert exactly(hit.payload) == exactly(other.payload)
        if with_vectors:
            same_vector(hit.vector, other.vector)
        places = {exactly(hit.order_value), exactly(other.order_value)}
        assert len(places) == 1 or (sketch.kind in FUSIONS and (type(None), None) in places)
    if sketch.kind in IN_THEIR_ORDER:
        assert [hit.id for hit in ours] == [hit.id for hit in theirs]
    elif sketch.kind != "Sample":
        assert ties_by_id(ours)


@pytest.fixture(scope="module")
def world_of(pairs: Pairs) -> Callable[[str], World]:
    """Makes worlds, each once: "grown" from one tail, "rebuilt" with graphs and a tail behind
    them, "few" points that lack an index or two."""
    made: dict[str, World] = {}

    def new(shape: str) -> World:
        if shape not in made:
            made[shape] = WORLDS[shape](pairs(drawing.CONFIG))
        return made[shape]

    return new


def grown(pair: Pair) -> World:
    index(pair, *drawing.INDEXES)
    return World(pair, put(pair, drawing.made(range(300), 5)))


def rebuilt(pair: Pair) -> World:
    index(pair, *drawing.INDEXES)
    known = put(pair, drawing.made(range(250), 6))
    pair.optimize()
    return World(pair, known + put(pair, drawing.made(range(250, 320), 7)))


def few(pair: Pair) -> World:
    index(pair, "n", "text")
    return World(pair, put(pair, drawing.made(range(14), 8)))


WORLDS: dict[str, Callable[[Pair], World]] = {"grown": grown, "rebuilt": rebuilt, "few": few}


def index(pair: Pair, *paths: str) -> None:
    for path in paths:
        pair.update(U.create_field_index(path, drawing.INDEXES[path]))


def put(pair: Pair, known: list[drawing.Known]) -> list[drawing.Known]:
    pair.update(U.upsert_points([one.point(edge) for one in known]))
    return known


QUERIES_AT_ONCE = 85
DEPTHS = {"alone": [0], "nested": [1, 2, 3]}
MANY_EACH = settings(
    max_examples=max(3, settings().max_examples // 8 + 1),  # the first one is of one query alone
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a query is named by its two numbers
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
        HealthCheck.large_base_example,
    ],
)
"""In CI 10 examples of 85 queries, for each of 3 worlds and 2 depths: 5,100."""

SEEDS = st.integers(0, 2**24 - 1)


def queries(depths: list[int]) -> st.SearchStrategy[list[tuple[int, int]]]:
    one = st.tuples(st.sampled_from(depths), SEEDS)
    return st.lists(one, min_size=QUERIES_AT_ONCE, max_size=QUERIES_AT_ONCE)


@pytest.mark.parametrize("shape", WORLDS)
@MANY_EACH
@given(drawn=queries(DEPTHS["alone"]), in_a_batch=st.booleans())
def test_any_query_alone(
    world_of: Callable[[str], World], shape: str, drawn: list[tuple[int, int]], in_a_batch: bool
) -> None:
    world_of(shape).compare(drawn, in_a_batch)


@pytest.mark.parametrize("shape", WORLDS)
@MANY_EACH
@given(drawn=queries(DEPTHS["nested"]), in_a_batch=st.booleans())
def test_any_query_over_prefetches(
    world_of: Callable[[str], World], shape: str, drawn: list[tuple[int, int]], in_a_batch: bool
) -> None:
    world_of(shape).compare(drawn, in_a_batch)


def test_every_kind_is_drawn() -> None:
    """At the root and below it, with what belongs to it; and every expression."""
    draws = drawing.Drawing(drawing.made(range(60), 1))
    roots, below, expressions = set(), set(), set()
    settings_of: dict[str, set[bool]] = {"filter": set(), "threshold": set(), "offset": set()}
    ids, deepest = 0, 0

    def walk(sketch: Sketch, depth: int) -> None:
        nonlocal ids, deepest
        deepest = max(deepest, depth)
        ids += sum(example.id is not None for example in sketch.examples)
        if sketch.kind == "Formula":
            expressions.update(part[0] for part in drawing.walked(sketch.given[0]))
        for name, seen in settings_of.items():
            seen.add(bool(getattr(sketch, name)))
        for each in sketch.below:
            below.add((each.kind, each.using))
            walk(each, depth + 1)

    for seed in range(3000):
        sketch = draws.query(seed, seed % 4)
        roots.add((sketch.kind, sketch.using))
        walk(sketch, 0)
    by_vectors = {(kind, name) for kind in drawing.BY_VECTORS for name in drawing.VECTORS}
    mmr = {("Mmr", name) for name in [*drawing.DENSE, *drawing.SEVERAL]}
    others = {
        (kind, "") for kind in ("OrderBy", "Sample", "None", "Text", "Rrf", "Dbsf", "Formula")
    }
    assert roots == below == by_vectors | mmr | others
    kinds = {name for name, kind in vars(X).items() if isinstance(kind, type)}
    assert expressions == kinds
    assert set(map(frozenset, settings_of.values())) == {frozenset({True, False})}
    assert ids > 1000
    assert deepest == 3


WALKS = 240


def test_walks_through_graphs_find_what_scans_find(world_of: Callable[[str], World]) -> None:
    """Nearly always, in both: a graph of several vectors a point may have an island."""
    world = world_of("rebuilt")
    drawn = (world.drawing.query(seed, 0) for seed in range(10 * WALKS))
    sketches = [
        replace(sketch, limit=20, offset=0, threshold=None)
        for sketch in drawn
        if sketch.kind in drawing.BY_VECTORS and sketch.filter is None
    ][:WALKS]
    assert len(sketches) == WALKS
    for api, shard in ((edge, world.pair.ours), (qdrant_edge, world.pair.theirs)):
        same = wanted = 0
        for sketch in sketches:
            exact = shard.query(sketch.request(api))
            walked = shard.query(replace(sketch, walks=True).request(api))
            wanted += len(exact)
            same += sum(
                abs(one.score - other.score) <= margin(sketch.kind, one.score)
                for one, other in zip(exact, walked, strict=True)
            )
        assert same >= 0.96 * wanted


# -- small datatypes


@pytest.mark.parametrize("datatype", ["Float16", "Uint8"])
@pytest.mark.parametrize("name", drawing.DENSE)
def test_examples_are_rounded_as_what_is_stored(pairs: Pairs, name: str, datatype: str) -> None:
    kind = getattr(edge.VectorStorageDatatype, datatype)
    params = edge.EdgeVectorParams(drawing.SIZE, drawing.DENSE[name], datatype=kind)
    pair = pairs(edge.EdgeConfig({"v": params}, durability=edge.Durability.Os))
    draw = np.random.default_rng(4)
    vectors = draw.uniform(0, 200, (110, drawing.SIZE)).tolist()
    points = [edge.Point(i, {"v": vector}) for i, vector in enumerate(vectors[:100])]
    pair.update(U.upsert_points(points))
    for at in (100, 103, 106):
        a, b, c = map(Example, vectors[at : at + 3])
        for sketch in (
            Sketch("Nearest", ALL, "v", (a,)),
            Sketch("BestScore", ALL, "v", (a, b, c), 2),
            Sketch("SumScores", ALL, "v", (a, b, c), 2),
            Sketch("Discover", ALL, "v", (a, b, c)),
            Sketch("Context", ALL, "v", (a, b)),
            Sketch("Feedback", ALL, "v", (a, b, c), ([0.9, 0.1], [0.5, 1.0, 0.25])),
        ):
            ours = pair.ours.query(sketch.request(edge))
            theirs = {hit.id: hit.score for hit in pair.theirs.query(sketch.request(qdrant_edge))}
            assert len(ours) == len(theirs) == 100
            for hit in ours:
                assert math.isclose(hit.score, theirs[hit.id], rel_tol=2e-5, abs_tol=2e-6), sketch


# -- one case at a time

V, D = edge.EdgeVectorParams, edge.Distance
CONFIG = edge.EdgeConfig(
    vectors={"d": V(2, D.Dot), "e": V(2, D.Euclid), "m": V(2, D.Manhattan)},
    sparse_vectors={"s": edge.EdgeSparseVectorParams()},
    durability=edge.Durability.Os,
)
Build = Callable[[Api], Any]


@pytest.fixture
def small(pairs: Pairs) -> Pair:
    """Eight points on a line."""
    made = pairs(CONFIG)
    made.update(U.create_field_index("n", edge.PayloadSchemaType.Integer))
    made.update(U.create_field_index("text", edge.TextIndexParams(scoring=True)))
    points = [
        edge.Point(
            i,
            {
                "d": [float(i), 1.0],
                "e": [float(i), 0.0],
                "m": [float(i), 0.0],
                "s": edge.SparseVector([1, 2 + i % 2], [float(i + 1), 1.0]),
            },
            {
                "n": 100 - i,
                "side": "ab"[i % 2],
                "gone": None if i % 2 else 5,
                "pair": [1.0, 2.0],
                "words": "12",
                "yes": True,
                "place": {"lat": 1.0, "lon": 2.0},
                "list": [1.0, 2.0],
                "text": "tea " * (1 + i),
            },
        )
        for i in range(8)
    ]
    made.update(U.upsert_points(points))
    return made


def nearest(api: Api, x: float, using: str = "d", y: float = 0.0) -> Any:
    return api.Query.Nearest([x, y], using)


def rising(api: Api, limit: int = 8, **settings: Any) -> Any:
    """A prefetch of the points from the first on, whose scores are 0, -1 and so on."""
    return api.Prefetch(limit, nearest(api, -1.0), **settings)


def falling(api: Api, limit: int = 8, **settings: Any) -> Any:
    """A prefetch of the points from the last on, whose scores are 7, 6 and so on."""
    return api.Prefetch(limit, nearest(api, 1.0), **settings)


def over(*prefetches: Any, api: Api, query: Any, limit: int = 9, **settings: Any) -> Any:
    return api.QueryRequest(limit, query=query, prefetches=list(prefetches), **settings)


def both(pair: Pair, build: Build) -> tuple[list[Any], list[Any]]:
    """What both answer to what `build` makes of their modules, as (id, score)."""
    found = [pair.ours.query(build(edge)), pair.theirs.query(build(qdrant_edge))]
    ours, theirs = ([(hit.id, pytest.approx(hit.score, 1e-5)) for hit in hits] for hits in found)
    return ours, theirs


def ids(pair: Pair, build: Build) -> tuple[list[Any], list[Any]]:
    ours, theirs = both(pair, build)
    return [one for one, _ in ours], [one for one, _ in theirs]


def refused_by_theirs(pair: Pair, build: Build, message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        pair.theirs.query(build(qdrant_edge))
    assert type(caught.value) is Exception


NOBODY: dict[str, Callable[[Api, str], Any]] = {
    "sum": lambda api, using: api.Query.RecommendSumScores(api.RecommendQuery([], []), using),
    "context": lambda api, using: api.Query.Context(api.ContextQuery([]), using),
    "best": lambda api, using: api.Query.RecommendBestScore(api.RecommendQuery([], []), using),
}


@pytest.mark.parametrize("name", NOBODY)
@pytest.mark.parametrize("using", ["d", "e", "s"])
def test_sums_over_no_examples_are_zero_and_the_best_of_none_is_nothing(
    small: Pair, name: str, using: str
) -> None:
    make = NOBODY[name]
    for below in (lambda api: [], lambda api: [rising(api, 3)]):
        ours, theirs = both(
            small, lambda api, below=below: over(*below(api), api=api, query=make(api, using))
        )
        assert ours == sorted(theirs, key=lambda hit: hit[0])
        assert {score.expected for _, score in ours} <= {0.0}


REFUSED: dict[str, tuple[Build, str, str]] = {
    "prefetches and no query": (
        lambda api: api.QueryRequest(9, prefetches=[rising(api)]),
        "query: expected what the prefetches are to be ranked by",
        "cannot have prefetches without a query",
    ),
    "prefetches of a prefetch without a query": (
        lambda api: over(api.Prefetch(3, None, [rising(api)]), api=api, query=nearest(api, 1.0)),
        "query: expected what the prefetches are to be ranked by",
        "cannot have prefetches without a query",
    ),
    "a fusion of nothing": (
        lambda api: api.QueryRequest(9, query=api.Fusion.Rrf(2)),
        "prefetches: a Fusion ranks prefetches",
        "cannot apply Fusion without prefetches",
    ),
    "a fusion of nothing below": (
        lambda api: over(api.Prefetch(3, api.Fusion.Dbsf()), api=api, query=nearest(api, 1.0)),
        "prefetches: a Fusion ranks prefetches",
        "cannot apply Fusion without prefetches",
    ),
    "a formula of nothing": (
        lambda api: api.QueryRequest(9, query=api.Formula(api.Expression.Constant(1.0))),
        "prefetches: a Formula ranks prefetches",
        "cannot apply Formula without prefetches",
    ),
    "a weight too few": (
        lambda api: over(rising(api), falling(api), api=api, query=api.Fusion.Rrf(2, [1.0])),
        r"query\.weights: expected 2, one for each prefetch, got 1",
        "RRF weights length",
    ),
    "an unknown vector": (
        lambda api: over(rising(api), api=api, query=nearest(api, 1.0, "zz")),
        'vector "zz" is not known',
        "Not existing vector name",
    ),
    "an unknown vector below": (
        lambda api: over(
            api.Prefetch(3, nearest(api, 1.0, "zz")), api=api, query=api.Fusion.Rrf(2)
        ),
        r'prefetches\[0\]: vector "zz" is not known',
        "Not existing vector name",
    ),
    "an example of another length": (
        lambda api: api.QueryRequest(
            9, query=api.Query.RecommendSumScores(api.RecommendQuery([[1.0, 2.0]], [[1.0]]), "d")
        ),
        r'query\.negatives\[0\], vector "d": expected 2 numbers, got 1',
        "Vector dimension error",
    ),
    "an example of another kind": (
        lambda api: api.QueryRequest(
            9,
            query=api.Query.Context(
                api.ContextQuery([api.ContextPair([1.0, 2.0], api.SparseVector([1], [1.0]))]), "d"
            ),
        ),
        r"query\.pairs\[0\]\.negative.*got a SparseVector",
        "sparse",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(small: Pair, name: str) -> None:
    build, ours, theirs = REFUSED[name]
    with pytest.raises((ValidationError, edge.UnknownVector), match=ours):
        small.ours.query(build(edge))
    refused_by_theirs(small, build, theirs)


def formula(part: drawing.Part, defaults: dict[str, Any] | None = None, limit: int = 9) -> Build:
    """A formula over the last four points, whose scores are 7 to 4."""
    return lambda api: over(
        falling(api, 4),
        api=api,
        query=api.Formula(drawing.expression(api, part), defaults),
        limit=limit,
    )


NOT_A_NUMBER: dict[str, tuple[drawing.Part, str]] = {
    "missing": (("Variable", "zz"), "zz is missing, and has no default"),
    "a text": (("Variable", "words"), "words is not one number"),
    "a bool": (("Variable", "yes"), "yes is not one number"),
    "an object": (("Variable", "place"), "place is not one number"),
    "several": (("Variable", "pair[]"), r"pair\[\] is not one number"),
    "no moment": (("DatetimeKey", "words"), "words is not one moment in time"),
    "a number as a moment": (("DatetimeKey", "n"), "n is not one moment in time"),
    "a number as a place": (
        ("GeoDistance", lambda q: q.GeoPoint(0.0, 0.0), "n"),
        "n is not a place",
    ),
    "a root": (("Sqrt", ("Neg", ("Variable", "n"))), "Sqrt is not finite"),
    "a logarithm": (("Ln", ("Constant", 0.0)), "Ln is not finite"),
    "a common logarithm": (("Log10", ("Constant", -1.0)), "Log10 is not finite"),
    "an acosh": (("Acosh", ("Constant", 0.5)), "Acosh is not finite"),
    "a power": (("Exp", ("Constant", 1000.0)), "Exp is not finite"),
    "a power of zero": (("Pow", ("Constant", 0.0), ("Constant", -1.0)), "Pow is not finite"),
    "a root by a power": (("Pow", ("Constant", -2.0), ("Constant", 0.5)), "Pow is not finite"),
    "a quotient": (("Div", ("Constant", 1.0), ("Constant", 0.0), None), "Div is not finite"),
    "a large score": (("Exp", ("Constant", 100.0)), "the score is not finite as float32"),
}
"""Where both fail; a default helps where there is nothing, only."""


@pytest.mark.parametrize("name", NOT_A_NUMBER)
def test_a_formula_names_variable_and_point_where_qdrant_says_nothing(
    small: Pair, name: str
) -> None:
    part, message = NOT_A_NUMBER[name]
    defaults = {} if name == "missing" else {"words": 1.0, "pair[]": 2.0, "yes": 1.0}
    build = formula(part, defaults if part[0] == "Variable" else {})
    with pytest.raises(ValidationError, match=rf"^query\.formula: {message} \(point 4\)"):
        small.ours.query(build(edge))
    refused_by_theirs(small, build, "Operation cancelled: process cancelled by service")


# Deliberate differences.


def test_a_threshold_is_a_lower_bound_of_any_likeness_where_qdrant_turns_it_for_distances(
    small: Pair,
) -> None:
    """Qdrant cuts the falling list at the first score that is not below the threshold: all go, or
    all stay."""

    def kinds(api: Api, using: str) -> list[Any]:
        one, other, third = [0.0, 0.0], [4.0, 0.0], [6.0, 0.0]
        pair, query = api.ContextPair(one, other), api.Query
        item, strategy = api.FeedbackItem, api.NaiveFeedbackStrategy(1.0, 1.0, 1.0)
        return [
            query.RecommendBestScore(api.RecommendQuery([one], [third]), using),
            query.RecommendSumScores(api.RecommendQuery([one], [third]), using),
            query.Discover(api.DiscoverQuery(one, [pair]), using),
            query.Context(api.ContextQuery([api.ContextPair(third, other)]), using),
            query.FeedbackNaive(
                api.FeedbackNaiveQuery(one, [item(other, 1.0), item(third, 0.5)], strategy), using
            ),
        ]

    for using in "em":
        for kind in range(5):

            def ask(api: Api, threshold: float | None, kind: int = kind, using: str = using) -> Any:
                query = kinds(api, using)[kind]
                return api.QueryRequest(9, query=query, score_threshold=threshold)

            every, _ = both(small, lambda api, ask=ask: ask(api, None))
            scores = [score.expected for _, score in every]
            low = (scores[-1] + max(s for s in scores if s < scores[0])) / 2
            kept, none = both(small, lambda api, ask=ask, low=low: ask(api, low))
            assert kept == [hit for hit, score in zip(every, scores, strict=True) if score > low]
            assert none == []
            high = scores[0] + 1
            none, kept = both(small, lambda api, ask=ask, high=high: ask(api, high))
            assert none == []
            assert len(kept) == len(every)


@pytest.mark.parametrize("using", ["e", "m"])
def test_dbsf_takes_the_nearest_for_the_best_where_qdrant_takes_the_farthest(
    small: Pair, using: str
) -> None:
    """The distances of a source are negated, which turns Qdrant's shares around."""
    ours, theirs = both(
        small,
        lambda api: over(
            api.Prefetch(4, nearest(api, 0.0, using)), api=api, query=api.Fusion.Dbsf()
        ),
    )
    shares = [pytest.approx(share, 1e-5) for share in (0.6936492, 0.5645497, 0.4354503, 0.3063508)]
    assert [score.expected for _, score in ours] == shares
    assert [one for one, _ in ours] == [0, 1, 2, 3]
    assert [score.expected for _, score in theirs] == shares
    assert [one for one, _ in theirs] == [3, 2, 1, 0]


def test_dbsf_ranks_by_its_scores_where_qdrant_puts_the_points_of_an_order_first(
    small: Pair,
) -> None:
    ours, theirs = both(
        small,
        lambda api: over(
            api.Prefetch(3, api.OrderBy("n")), rising(api, 3), api=api, query=api.Fusion.Dbsf()
        ),
    )
    assert sorted(ours, key=lambda hit: hit[0]) == sorted(theirs, key=lambda hit: hit[0])
    assert [one for one, _ in ours] == [0, 1, 5, 6, 7, 2]
    assert [one for one, _ in theirs] == [5, 6, 7, 0, 1, 2]


def test_a_fusion_tells_the_place_in_an_order_where_qdrant_asks_the_first_source_alone(
    small: Pair,
) -> None:
    def request(api: Api) -> Any:
        order = api.Prefetch(8, api.OrderBy("n"))
        return over(falling(api, 2), order, api=api, query=api.Fusion.Rrf(2), limit=3)

    assert [hit.order_value for hit in small.ours.query(request(edge))] == [93, 94, 95]
    theirs = small.theirs.query(request(qdrant_edge))
    assert [hit.order_value for hit in theirs] == [None, None, 95]


def mmr_stage(api: Api, candidates: int, **settings: Any) -> Any:
    query = api.Mmr([1.0, 0.0], 0.5, candidates, "d")
    return api.Prefetch(3, query, [rising(api)], **settings)


def test_mmr_diversifies_as_a_leaf_where_qdrant_gives_all_its_candidates(small: Pair) -> None:
    ours, theirs = ids(
        small,
        lambda api: over(
            api.Prefetch(3, api.Mmr([1.0, 0.0], 0.0, 6, "d")), api=api, query=api.Fusion.Rrf(2)
        ),
    )
    alone, _ = ids(small, lambda api: api.QueryRequest(3, query=api.Mmr([1.0, 0.0], 0.0, 6, "d")))
    assert ours == alone == [7, 2, 3]
    assert theirs == [7, 6, 5, 4, 3, 2]


def test_mmr_over_prefetches_counts_its_candidates_where_qdrant_takes_all_below_the_root(
    small: Pair,
) -> None:
    def at_the_root(api: Api, candidates: int) -> Any:
        query = api.Mmr([1.0, 0.0], 0.5, candidates, "d")
        return over(rising(api), api=api, query=query, limit=3)

    def below(api: Api, candidates: int) -> Any:
        return over(mmr_stage(api, candidates), api=api, query=api.Fusion.Rrf(2))

    four, their_four = ids(small, lambda api: at_the_root(api, 4))
    every, their_every = ids(small, lambda api: at_the_root(api, 100))
    assert four == their_four == [7, 4, 5]
    assert every == their_every == [7, 0, 1]
    assert ids(small, lambda api: below(api, 4)) == (four, every)
    assert ids(small, lambda api: below(api, 100)) == (every, every)


def test_mmr_below_scores_by_relevance_where_qdrant_keeps_what_the_prefetch_said(
    small: Pair,
) -> None:
    """So with a threshold, which Qdrant forgets there, and with places in an order, which it
    keeps."""

    def scores(api: Api, **settings: Any) -> Any:
        return over(
            mmr_stage(api, 100, **settings),
            api=api,
            query=api.Formula(api.Expression.Variable("$score")),
        )

    assert both(small, scores) == (
        [(7, 7.0), (1, 1.0), (0, 0.0)],
        [(0, 0.0), (1, -1.0), (7, -7.0)],
    )
    ours, theirs = both(small, lambda api: scores(api, score_threshold=0.5))
    assert ours == [(7, 7.0), (1, 1.0), (2, 2.0)] or ours == [(7, 7.0), (2, 2.0), (1, 1.0)]
    assert len(theirs) == 3

    def ordered(api: Api) -> Any:
        query = api.Mmr([1.0, 0.0], 0.5, 100, "d")
        stage = api.Prefetch(3, query, [api.Prefetch(8, api.OrderBy("n"))])
        return over(stage, api=api, query=api.Fusion.Rrf(2))

    assert {hit.order_value for hit in small.ours.query(ordered(edge))} == {None}
    assert None not in {hit.order_value for hit in small.theirs.query(ordered(qdrant_edge))}


def test_mmr_takes_sparse_vectors_where_qdrant_finds_no_config(small: Pair) -> None:
    def request(api: Api) -> Any:
        query = api.Mmr(api.SparseVector([1, 2], [1.0, 1.0]), 0.5, 5, "s")
        return api.QueryRequest(3, query=query)

    assert [(hit.id, hit.score) for hit in small.ours.query(request(edge))] == [
        (6, 8.0),
        (2, 4.0),
        (4, 6.0),
    ]
    refused_by_theirs(small, request, "vector data config for vector s not found")


def test_mmr_shows_no_vectors_unasked_and_nothing_at_a_limit_of_zero_where_qdrant_does(
    small: Pair,
) -> None:
    def request(api: Api, limit: int) -> Any:
        return api.QueryRequest(limit, query=api.Mmr([1.0, 0.0], 0.5, 1, "d"), with_vector=False)

    assert [hit.vector for hit in small.ours.query(request(edge, 1))] == [None]
    theirs = small.theirs.query(request(qdrant_edge, 1))
    assert [hit.vector for hit in theirs] == [{"d": [7.0, 1.0]}]
    assert small.ours.query(request(edge, 0)) == []
    assert len(small.theirs.query(request(qdrant_edge, 0))) == 1


def test_filters_of_two_levels_both_hold_where_qdrant_makes_one_should_of_two(small: Pair) -> None:
    def side(api: Api, value: str) -> Any:
        return api.FieldCondition("side", match=api.MatchValue(value))

    def should(api: Api, value: str) -> Any:
        return api.Filter(should=[side(api, value)])

    def one_at_least(api: Api, value: str) -> Any:
        return api.Filter(min_should=api.MinShould([side(api, value)], 1))

    def must(api: Api, value: str) -> Any:
        return api.Filter(must=[side(api, value)])

    for make, many in ((should, 8), (one_at_least, 8), (must, 0)):
        ours, theirs = ids(
            small,
            lambda api, make=make: over(
                rising(api, filter=make(api, "a")),
                api=api,
                query=nearest(api, 1.0),
                filter=make(api, "b"),
            ),
        )
        assert ours == []
        assert len(theirs) == many


QUANTIZATIONS: dict[str, Build] = {
    "scalar": lambda q: q.ScalarQuantizationConfig(q.ScalarType.Int8),
    "binary": lambda q: q.BinaryQuantizationConfig(),
}


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_stages_rank_again_by_the_originals_where_qdrant_takes_the_quantized(
    pairs: Pairs, name: str
) -> None:
    """Its scores are those of the codes, or its points those that the codes prefer."""
    params = V(64, D.Dot, quantization_config=QUANTIZATIONS[name](edge))
    optimizers = edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1)
    config = edge.EdgeConfig({"d": params}, optimizers=optimizers, durability=edge.Durability.Os)
    pair = pairs(config)
    draw = np.random.default_rng(2)
    vectors = draw.normal(size=(400, 64)).astype(np.float32)
    points = [edge.Point(i, {"d": vector.tolist()}) for i, vector in enumerate(vectors)]
    pair.update(U.upsert_points(points))
    pair.optimize()
    asked = draw.normal(size=64).astype(np.float32)

    def request(api: Api) -> Any:
        query = api.Query.Nearest(asked.tolist(), "d")
        return over(api.Prefetch(400), api=api, query=query, limit=10)

    scores = vectors @ asked
    best = np.argsort(-scores)[:10].tolist()
    ours, theirs = both(pair, request)
    assert ours == [(i, pytest.approx(scores[i], 1e-5)) for i in best]
    assert theirs != ours


def test_a_null_is_missing_where_qdrant_fails_on_it_with_or_without_a_default(small: Pair) -> None:
    build = formula(("Variable", "gone"), {"gone": 7.0})
    assert [(hit.id, hit.score) for hit in small.ours.query(build(edge))] == [
        (5, 7.0),
        (7, 7.0),
        (4, 5.0),
        (6, 5.0),
    ]
    refused_by_theirs(small, build, "process cancelled")


def test_a_formula_reads_payloads_where_qdrant_reads_indexes(small: Pair) -> None:
    """There a value that the index does not take is missing: 2**64 - 1, or an integer among
    keywords."""
    small.update(U.set_payload([7], {"n": 2**64 - 1}))
    ours, theirs = both(small, formula(("Variable", "n"), {"n": 1.0}, limit=1))
    assert ours == [(7, pytest.approx(2.0**64))]
    assert theirs == [(4, 96.0)]
    small.update(U.create_field_index("other", edge.PayloadSchemaType.Keyword))
    small.update(U.set_payload([4, 5, 6, 7], {"other": 3}))
    ours, theirs = both(small, formula(("Variable", "other"), {"other": 1.0}))
    assert {score.expected for _, score in ours} == {3.0}
    assert {score.expected for _, score in theirs} == {1.0}


def test_a_place_is_an_object_where_qdrant_reads_a_list_too(small: Pair) -> None:
    build = formula(("GeoDistance", lambda q: q.GeoPoint(0.0, 0.0), "list"))
    with pytest.raises(ValidationError, match=r"list is not a place"):
        small.ours.query(build(edge))
    assert len(small.theirs.query(build(qdrant_edge))) == 4


def test_a_formula_of_no_limit_is_not_worked_out_where_qdrant_does_and_fails(small: Pair) -> None:
    build = formula(("Variable", "zz"), limit=0)
    assert small.ours.query(build(edge)) == []
    refused_by_theirs(small, build, "process cancelled")


def test_a_default_of_another_kind_is_refused_at_once_where_qdrant_waits_until_it_is_used(
    small: Pair,
) -> None:
    for default in ("x", True, [7.0], None):
        with pytest.raises(ValidationError, match=r"defaults\['n'\]: expected a number"):
            edge.Formula(X.Variable("n"), {"n": default})
        assert len(small.theirs.query(formula(("Variable", "n"), {"n": default})(qdrant_edge))) == 4
        unused = formula(("Variable", "zz"), {"zz": default})
        refused_by_theirs(small, unused, "process cancelled")


def test_what_is_no_number_fails_a_straight_decay_where_qdrant_takes_it_for_far(
    small: Pair,
) -> None:
    huge = ("Mult", [("Constant", 3e38)] * 9)
    no_number = ("Sum", [huge, ("Neg", huge)])
    build = formula(("Decay", lambda q: q.DecayKind.Lin, no_number, None, None, None))
    with pytest.raises(ValidationError, match="not finite"):
        small.ours.query(build(edge))
    assert {hit.score for hit in small.theirs.query(build(qdrant_edge))} == {0.0}


def test_ties_are_ordered_by_id_where_qdrants_order_is_chance(small: Pair) -> None:
    ours, theirs = both(
        small, lambda api: over(falling(api), rising(api), api=api, query=api.Fusion.Rrf(2))
    )
    assert [one for one, _ in ours] == [0, 7, 1, 6, 2, 5, 3, 4]
    assert sorted(theirs, key=lambda hit: (-hit[1].expected, hit[0])) == ours


def test_a_text_query_may_rank_prefetches_where_qdrant_refuses(small: Pair) -> None:
    def request(api: Api) -> Any:
        return over(falling(api, 3), api=api, query=api.TextQuery("text", "tea"))

    every = {
        hit.id: hit.score
        for hit in small.ours.query(edge.QueryRequest(9, query=edge.TextQuery("text", "tea")))
    }
    assert [(hit.id, hit.score) for hit in small.ours.query(request(edge))] == sorted(
        ((one, every[one]) for one in (5, 6, 7)), key=lambda hit: -hit[1]
    )
    refused_by_theirs(small, request, "BM25 over a text index cannot rescore prefetches")


def test_a_point_may_stand_for_its_vector_where_qdrant_takes_vectors_alone(small: Pair) -> None:
    """It is not found itself; the same in Qdrant is its vector, and a filter."""
    with pytest.raises(TypeError):
        qdrant_edge.Query.Nearest(7)
    with pytest.raises(TypeError):
        qdrant_edge.RecommendQuery([7], [])
    for using, vector in (("d", [3.0, 1.0]), ("e", [3.0, 0.0]), ("m", [3.0, 0.0])):
        found = small.ours.query(edge.QueryRequest(9, query=edge.Query.Nearest(3, using)))
        others = qdrant_edge.Filter(must_not=[qdrant_edge.HasIdCondition({3})])
        query = qdrant_edge.Query.Nearest(vector, using)
        theirs = small.theirs.query(qdrant_edge.QueryRequest(9, query=query, filter=others))
        expected = {hit.id: hit.score for hit in theirs}
        assert {hit.id: hit.score for hit in found} == expected
        assert 3 not in expected
    with pytest.raises(NotFound, match='there is no point 99 with a vector "d"'):
        small.ours.query(edge.QueryRequest(9, query=edge.Query.Nearest(99, "d")))


def test_no_order_needs_an_index_over_prefetches_where_qdrant_refuses(small: Pair) -> None:
    small.update(U.set_payload([4], {"rank": 2}))
    small.update(U.set_payload([6], {"rank": 1}))

    def request(api: Api) -> Any:
        return over(falling(api), api=api, query=api.OrderBy("rank"))

    found = small.ours.query(request(edge))
    assert [(hit.id, hit.order_value) for hit in found] == [(6, 1), (4, 2)]
    refused_by_theirs(small, request, "No range index for `order_by` key: `rank`")


def test_equal_prefetches_are_searched_once_even_by_chance_where_qdrant_draws_twice(
    small: Pair,
) -> None:
    def request(api: Api) -> Any:
        prefetch = api.Prefetch(3, api.Sample.Random)
        return over(prefetch, prefetch, api=api, query=api.Fusion.Rrf(2))

    assert {len(small.ours.query(request(edge))) for _ in range(20)} == {3}
    assert len({len(small.theirs.query(request(qdrant_edge))) for _ in range(20)}) > 1


SENSELESS: dict[str, tuple[Build, str]] = {
    "an rrf of k 0": (lambda api: api.Fusion.Rrf(0), "k: expected 1 to"),
    "a negative weight": (
        lambda api: api.Fusion.Rrf(2, [-1.0]),
        r"weights\[0\]: expected 0 or more",
    ),
    "a weight that is none": (
        lambda api: api.Fusion.Rrf(2, [float("nan")]),
        r"weights\[0\]: expected",
    ),
    "a lambda above 1": (lambda api: api.Mmr([1.0, 0.0], 1.5, 5), "lambda_: expected 0 to 1"),
    "a feedback score that is none": (
        lambda api: api.FeedbackItem([1.0, 0.0], float("nan")),
        "score: expected",
    ),
    "an infinite coefficient": (
        lambda api: api.NaiveFeedbackStrategy(1.0, float("inf"), 1.0),
        "b: expected a finite",
    ),
    "an infinite constant": (lambda api: api.Expression.Constant(1e39), "val: expected a finite"),
    "a scale that is none": (
        lambda api: api.Expression.Decay(
            api.DecayKind.Exp, api.Expression.Constant(1.0), None, None, float("nan")
        ),
        "scale: expected",
    ),
    "a threshold that is none": (
        lambda api: api.QueryRequest(1, score_threshold=float("nan")),
        "score_threshold",
    ),
}


@pytest.mark.parametrize("name", SENSELESS)
def test_senseless_numbers_are_refused_where_qdrant_takes_them(name: str) -> None:
    build, message = SENSELESS[name]
    with pytest.raises(ValidationError, match=message):
        build(edge)
    build(qdrant_edge)


def test_an_example_that_is_not_finite_is_refused_where_qdrant_finds_nothing(small: Pair) -> None:
    def request(api: Api) -> Any:
        query = api.RecommendQuery([[float("nan"), 0.0]], [])
        return api.QueryRequest(9, query=api.Query.RecommendSumScores(query, "d"))

    with pytest.raises(ValidationError, match=r"query\.positives\[0\].*not finite"):
        small.ours.query(request(edge))
    assert small.theirs.query(request(qdrant_edge)) == []


def test_there_are_limits_where_qdrants_are_wide_or_none(small: Pair) -> None:
    """Of depth (8 unless the config says otherwise, 64 at most), of prefetches, and of an
    expression, which crashes Qdrant's process when it is some ten thousand levels deep."""

    def deep(api: Api, levels: int) -> Any:
        prefetch = rising(api)
        for _ in range(levels - 1):
            prefetch = api.Prefetch(8, nearest(api, 1.0), [prefetch])
        return over(prefetch, api=api, query=nearest(api, 1.0))

    def wide(api: Api, count: int) -> Any:
        return over(*[rising(api)] * count, api=api, query=api.Fusion.Rrf(2))

    for build, most, message in (
        (deep, 8, "levels of prefetches: 9, at most 8"),
        (wide, 64, "prefetches: 65, at most 64"),
    ):
        assert len(small.ours.query(build(edge, most))) == 8
        with pytest.raises(LimitExceeded, match=message):
            small.ours.query(build(edge, most + 1))
        assert len(small.theirs.query(build(qdrant_edge, most + 1))) == 8
    part = X.Constant(1.0)
    for _ in range(63):
        part = X.Neg(part)
    with pytest.raises(LimitExceeded, match="65 levels"):
        X.Neg(part)


def test_what_may_be_left_out_may_be_left_out_where_qdrants_stubs_alone_say_so() -> None:
    one = X.Constant(1.0)
    assert X.Div(one, one).by_zero_default is None
    assert (X.Decay(edge.DecayKind.Lin, one).midpoint, one.val) == (0.5, 1.0)
    theirs = qdrant_edge.Expression.Constant(1.0)
    with pytest.raises(TypeError, match="by_zero_default"):
        qdrant_edge.Expression.Div(theirs, theirs)
    with pytest.raises(TypeError, match="target"):
        qdrant_edge.Expression.Decay(qdrant_edge.DecayKind.Lin, theirs)
