"""Queries drawn by chance, said once for both engines, and points for them to rank.

Invariants
- A `Sketch` is plain data; `Sketch.request(api)` is the same program for `edge.blocking` and for
  `qdrant_edge`. Only an example that is the id of a point is its vector for Qdrant, which knows no
  ids, and a filter that leaves the point out.
- A *settled* sketch has one answer: no limit, offset or threshold stands between two scores that
  rounding could swap, and where places count no two scores are that near. Which limits these are
  our engine tells; that it tells the truth is what the comparison shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import numpy as np

import edge.blocking as edge
from edge.model.point_id import PointId

Api: TypeAlias = Any
"""A module with the classes: edge.blocking, or qdrant_edge."""
Build: TypeAlias = Callable[[Api], Any]

D = edge.Distance
ALL = 1000
"""More than there are points."""

# -- points

SIZE, ROWS_SIZE = 6, 4
DENSE = {"cosine": D.Cosine, "dot": D.Dot, "euclid": D.Euclid, "manhattan": D.Manhattan}
SEVERAL = {f"{name}s": distance for name, distance in DENSE.items()}
SPARSE = ["sparse", "rare"]
VECTORS = [*DENSE, *SEVERAL, *SPARSE]
FAR = {name for name in VECTORS if name.startswith(("euclid", "manhattan"))}
"""Where the lesser score of Nearest is the better one."""
DIMENSIONS = 12
WORDS = ["cup", "mug", "door", "lamp", "table", "chair", "plate", "spoon", "kettle", "window"]

MAX_SIM = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
CONFIG = edge.EdgeConfig(
    vectors={
        **{name: edge.EdgeVectorParams(SIZE, distance) for name, distance in DENSE.items()},
        **{
            name: edge.EdgeVectorParams(ROWS_SIZE, distance, multivector_config=MAX_SIM)
            for name, distance in SEVERAL.items()
        },
    },
    sparse_vectors={
        "sparse": edge.EdgeSparseVectorParams(),
        "rare": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf),
    },
    hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=128, full_scan_threshold=1),
    optimizers=edge.EdgeOptimizersConfig(
        deleted_threshold=0.9, default_segment_number=1, indexing_threshold=1
    ),
    durability=edge.Durability.Os,
)
INDEXES: dict[str, Any] = {
    "n": edge.PayloadSchemaType.Integer,  # which Qdrant's OrderBy cannot do without
    "text": edge.TextIndexParams(scoring=True),
    "kind": edge.PayloadSchemaType.Keyword,
    "x": edge.PayloadSchemaType.Float,
    "at": edge.PayloadSchemaType.Datetime,
    "place": edge.PayloadSchemaType.Geo,
}


class Known(NamedTuple):
    """A point: vectors as plain lists, sparse ones as (indices, values)."""

    id: PointId
    vectors: dict[str, Any]
    payload: dict[str, Any]

    def point(self, api: Api) -> Any:
        return api.Point(
            self.id, {n: vector(api, v) for n, v in self.vectors.items()}, self.payload
        )


def vector(api: Api, value: Any) -> Any:
    return api.SparseVector(*value) if isinstance(value, tuple) else value


def id_of(number: int) -> PointId:
    return UUID(int=number << 64 | number) if number % 5 == 3 else number


def a_vector(name: str, draw: np.random.Generator) -> Any:
    if name in DENSE:
        return draw.normal(size=SIZE).tolist()
    if name in SEVERAL:
        return draw.normal(size=(int(draw.integers(1, 4)), ROWS_SIZE)).tolist()
    indices = draw.choice(DIMENSIONS, int(draw.integers(2, 8)), replace=False)
    return indices.tolist(), draw.normal(size=len(indices)).tolist()


def a_payload(number: int, draw: np.random.Generator) -> dict[str, Any]:
    """Without nulls and without values of several types, of which both say different things; and
    with short numbers, of which Qdrant keeps the last digit."""

    def between(least: float, most: float) -> float:
        return round(float(draw.uniform(least, most)) * 64) / 64

    words = draw.choice(WORDS, int(draw.integers(1, 9)))
    found: dict[str, Any] = {
        "n": number * 7 % 1009,
        "x": between(0, 4),
        "kind": "abc"[int(draw.integers(3))],
        "at": f"2024-{1 + number % 12:02}-{1 + number % 28:02}T{number % 24:02}:30:00Z",
        "place": {"lat": between(-60, 60), "lon": between(-170, 170)},
        "one": [between(-2, 2)],
        "box": {"y": between(-2, 2)},
        "parts": [{"v": between(1, 2), "w": int(draw.integers(3))}],
        "text": " ".join(words),
    }
    if number % 3:
        found["some"] = between(-2, 2)
    return found


def made(numbers: Iterable[int], seed: int) -> list[Known]:
    """One point in eight lacks a vector, of each name."""
    draw = np.random.default_rng(seed)
    return [
        Known(
            id_of(number),
            {name: a_vector(name, draw) for name in VECTORS if draw.random() < 0.875},
            a_payload(number, draw),
        )
        for number in numbers
    ]


# -- what is said once for both

Condition: TypeAlias = Build
CONDITIONS: list[Condition] = [
    lambda q: q.FieldCondition("kind", match=q.MatchValue("a")),
    lambda q: q.FieldCondition("kind", match=q.MatchAny(["a", "b"])),
    lambda q: q.FieldCondition("kind", match=q.MatchExcept(["b"])),
    lambda q: q.FieldCondition("n", range=q.RangeFloat(gte=100, lt=700)),
    lambda q: q.FieldCondition("x", range=q.RangeFloat(gt=1.5)),
    lambda q: q.FieldCondition("at", range=q.RangeDateTime(gte="2024-05-01T00:00:00Z")),
    lambda q: q.FieldCondition("place", geo_radius=q.GeoRadius(q.GeoPoint(20.0, 10.0), 6e6)),
    lambda q: q.FieldCondition("text", match=q.MatchText("cup")),
    lambda q: q.HasIdCondition({id_of(number) for number in range(0, 400, 3)}),
    lambda q: q.HasIdCondition({id_of(number) for number in (1, 2, 3, 50, 51, 340)}),
    lambda q: q.HasVectorCondition("dot"),
    lambda q: q.HasVectorCondition("sparse"),
    lambda q: q.IsEmptyCondition("some"),
    lambda q: q.NestedCondition(
        "parts", q.Filter(must=[q.FieldCondition("w", match=q.MatchValue(1))])
    ),
]


def some_filter(draw: Random) -> Build:
    chosen = draw.sample(CONDITIONS, draw.choice((1, 1, 2)))
    word = draw.choice(("must", "must_not", "should"))

    def build(q: Api) -> Any:
        made = q.Filter(**{word: [condition(q) for condition in chosen]})
        return q.Filter(must=[made]) if word == "should" else made  # see SHOULD

    return build


class Example(NamedTuple):
    """A vector, and the id that stands for it where it is the vector of a point."""

    vector: Any
    id: PointId | None = None

    def of(self, api: Api) -> Any:
        return self.id if self.id is not None and api is edge else vector(api, self.vector)


Part: TypeAlias = Any
"""An expression as ("Name", argument, …): expressions, lists of them, what a module makes, plain
values."""


def expression(api: Api, part: Part) -> Any:
    if isinstance(part, tuple):
        name, *arguments = part
        return getattr(api.Expression, name)(*(expression(api, each) for each in arguments))
    if isinstance(part, list):
        return [expression(api, each) for each in part]
    return part(api) if callable(part) else part


def walked(part: Part) -> Iterable[tuple[Any, ...]]:
    """All expressions in one."""
    if isinstance(part, tuple):
        yield part
    if isinstance(part, (tuple, list)):
        for each in part:
            yield from walked(each)


def _pairs(api: Api, examples: Sequence[Any]) -> list[Any]:
    return [api.ContextPair(*pair) for pair in zip(examples[::2], examples[1::2], strict=True)]


def _best(api: Api, s: Sketch, e: list[Any]) -> Any:
    return api.Query.RecommendBestScore(api.RecommendQuery(e[: s.given], e[s.given :]), s.using)


def _sum(api: Api, s: Sketch, e: list[Any]) -> Any:
    return api.Query.RecommendSumScores(api.RecommendQuery(e[: s.given], e[s.given :]), s.using)


def _feedback(api: Api, s: Sketch, e: list[Any]) -> Any:
    scores, strategy = s.given
    items = [api.FeedbackItem(*pair) for pair in zip(e[1:], scores, strict=True)]
    asked = api.FeedbackNaiveQuery(e[0], items, api.NaiveFeedbackStrategy(*strategy))
    return api.Query.FeedbackNaive(asked, s.using)


def _order(api: Api, s: Sketch, e: list[Any]) -> Any:
    direction, start = s.given
    return api.OrderBy("n", getattr(api.Direction, direction), start)


def _formula(api: Api, s: Sketch, e: list[Any]) -> Any:
    part, defaults = s.given
    return api.Formula(expression(api, part), dict(defaults))


QUERIES: dict[str, Callable[[Api, Any, list[Any]], Any]] = {
    "Nearest": lambda api, s, e: api.Query.Nearest(e[0], s.using),
    "BestScore": _best,
    "SumScores": _sum,
    "Discover": lambda api, s, e: api.Query.Discover(
        api.DiscoverQuery(e[0], _pairs(api, e[1:])), s.using
    ),
    "Context": lambda api, s, e: api.Query.Context(api.ContextQuery(_pairs(api, e)), s.using),
    "Feedback": _feedback,
    "Mmr": lambda api, s, e: api.Mmr(e[0], *s.given, s.using),
    "OrderBy": _order,
    "Sample": lambda api, s, e: api.Sample.Random,
    "Text": lambda api, s, e: api.TextQuery("text", *s.given),
    "None": lambda api, s, e: None,
    "Rrf": lambda api, s, e: api.Fusion.Rrf(*s.given),
    "Dbsf": lambda api, s, e: api.Fusion.Dbsf(),
    "Formula": _formula,
}
BY_VECTORS = ["Nearest", "BestScore", "SumScores", "Discover", "Context", "Feedback"]
WITHOUT_SCORES = {"OrderBy", "Sample", "None"}


@dataclass(frozen=True)
class Sketch:
    """A query, or one of its prefetches."""

    kind: str
    limit: int
    using: str = ""
    examples: tuple[Example, ...] = ()
    given: Any = ()
    """What else its kind asks for."""
    below: tuple[Sketch, ...] = ()
    filter: Build | None = None
    threshold: float | None = None
    walks: bool = False
    """Through graphs, instead of a scan."""
    offset: int = 0
    fails: bool = False
    """A formula in it asks for what is missing, or not finite."""

    def query(self, api: Api) -> Any:
        return QUERIES[self.kind](api, self, [example.of(api) for example in self.examples])

    def filters(self, api: Api) -> list[Any]:
        """What holds for it and all below it, the points left out that are its examples."""
        found = [] if self.filter is None else [self.filter(api)]
        ids = {example.id for example in self.examples if example.id is not None}
        if ids:
            found.append(api.Filter(must_not=[api.HasIdCondition(ids)]))
        return found

    def _own_filter(self) -> list[Any]:
        return [] if self.filter is None else [self.filter(edge)]

    def _filter(self, api: Api, more: Sequence[Any] = ()) -> Any:
        found = [*(self.filters(api) if api is not edge else self._own_filter()), *more]
        return api.Filter(must=found) if len(found) > 1 else next(iter(found), None)

    def _params(self, api: Api) -> Any:
        rarity = {"idf": api.IdfParams(api.Filter())} if self.using == "rare" else {}
        if not self.walks:
            return api.SearchParams(exact=True, **rarity)
        return api.SearchParams(hnsw_ef=ALL, **rarity)

    def prefetch(self, api: Api) -> Any:
        return api.Prefetch(
            self.limit,
            self.query(api),
            [sketch.prefetch(api) for sketch in self.below],
            self._params(api),
            self._filter(api),
            self.threshold,
        )

    def request(
        self, api: Api, above: Sequence[Any] = (), payload: Any = None, vectors: Any = None
    ) -> Any:
        """The request, under the filters above it."""
        return api.QueryRequest(
            self.limit,
            self.offset,
            self.query(api),
            [sketch.prefetch(api) for sketch in self.below],
            vectors,
            payload,
            self._filter(api, above),
            self.threshold,
            self._params(api),
        )

    def search(self, api: Api) -> Any:
        """The same as a SearchRequest, which holds no prefetches."""
        query, filter, params = self.query(api), self._filter(api), self._params(api)
        return api.SearchRequest(
            query, self.limit, self.offset, filter, params, None, None, self.threshold
        )


# -- drawing

DEFAULTS: dict[str, Any] = {"some": 0.25, "$score[1]": -0.5, "$score": 2.0}
MOMENTS = ["2024-02-03T04:05:06Z", "2024-07-01", "2023-12-31 23:59:59.5"]


class Drawing:
    """Draws sketches over known points."""

    def __init__(self, known: Sequence[Known]) -> None:
        draw = np.random.default_rng(11)
        self._pool = {name: [a_vector(name, draw) for _ in range(40)] for name in VECTORS}
        self._having = {name: [k for k in known if name in k.vectors] for name in VECTORS}

    def query(self, seed: int, depth: int) -> Sketch:
        """A query with so many levels of prefetches."""
        draw = Random(seed)
        found = self._sketch(draw, depth, set())
        limit = draw.choice((1, 3, 10, 25, 40))
        if found.kind == "Sample":
            return replace(found, limit=ALL)
        return replace(found, limit=limit, offset=draw.choice((0, 0, 0, 1, 4)))

    def _sketch(self, draw: Random, depth: int, never: set[str]) -> Sketch:
        kinds = STAGES if depth else LEAVES
        kind = draw.choice([kind for kind in kinds if kind not in never])
        below: tuple[Sketch, ...] = ()
        if depth:
            others = {"Mmr"} if depth == 1 else set()  # as a leaf it does not diversify
            if kind == "Rrf":
                others |= {"Sample", "Context"}  # whose places are chance
            if kind in ("Dbsf", "Formula"):
                others |= {"Mmr"}  # see test
            depths = [depth - 1, *(draw.randrange(depth) for _ in range(draw.choice((0, 1, 1, 2))))]
            below = tuple(
                self._sketch(draw, each, others | ({"Mmr"} if not each else set()))
                for each in depths
            )
        found = MAKERS[kind](self, draw, kind, below)
        if draw.random() < 0.35:
            found = replace(found, filter=some_filter(draw))
        if draw.random() < 0.3 and _may_have_threshold(found):
            found = replace(found, threshold=draw.random())
        below = tuple(
            replace(each, given=(each.given[0], ALL), threshold=None)
            if each.kind == "Mmr"
            else each
            for each in below
        )  # there Qdrant takes all as candidates
        return replace(found, below=below)

    def example(self, draw: Random, name: str) -> Example:
        if draw.random() < 0.15:
            known = draw.choice(self._having[name])
            return Example(known.vectors[name], known.id)
        found = draw.choice(self._pool[name])
        return Example(found[0] if name in SEVERAL and draw.random() < 0.2 else found)

    def by_vectors(self, draw: Random, kind: str, below: Any) -> Sketch:
        name = draw.choice(VECTORS)
        given: Any = ()
        if kind in ("BestScore", "SumScores"):
            given, others = draw.choice(((1, 0), (0, 1), (2, 1), (1, 2), (3, 3)))
            count = given + others
        elif kind == "Feedback":
            count = 1 + draw.choice((0, 1, 2, 3))
            scores = [draw.choice((0.1, 0.5, 0.9, 1.0, -2.0)) for _ in range(count - 1)]
            given = scores, [draw.choice((0.0, 0.25, 1.0, 1.5)) for _ in range(3)]
            if not given[1][0] and not given[1][2]:
                given[1][0] = 1.0  # else all are alike
        else:
            pairs = 2 * draw.choice((1, 2, 3))
            count = {"Nearest": 1, "Mmr": 1, "Discover": 1 + pairs, "Context": pairs}[kind]
        if kind == "Mmr":
            if name in SPARSE:
                name = draw.choice([*DENSE, *SEVERAL])
            given = (draw.choice((0.0, 0.3, 0.5, 0.8, 1.0)), draw.choice((5, 12, 25)))
        examples = tuple(self.example(draw, name) for _ in range(count))
        return Sketch(kind, draw.choice((3, 8, 20, 50)), name, examples, given)

    def order(self, draw: Random, kind: str, below: Any) -> Sketch:
        given = draw.choice(("Asc", "Desc")), draw.choice((None, None, 150, 500.5))
        return Sketch(kind, draw.choice((3, 10, 40)), given=given)

    def plain(self, draw: Random, kind: str, below: Any) -> Sketch:
        return Sketch(kind, ALL if kind == "Sample" else draw.choice((3, 10, 40)))

    def text(self, draw: Random, kind: str, below: Any) -> Sketch:
        words = " ".join(draw.choice(WORDS) for _ in range(draw.choice((1, 2, 3))))
        return Sketch(kind, draw.choice((5, 20, 60)), given=(words,))

    def fusion(self, draw: Random, kind: str, below: Sequence[Sketch]) -> Sketch:
        weights = draw.choice((None, [draw.choice((0.0, 0.5, 1.0, 3.0)) for _ in below]))
        given = (draw.choice((1, 2, 7, 60)), weights) if kind == "Rrf" else ()
        if kind == "Dbsf" and any(_has_place(s) or _is_far(s) for s in below):
            kind, given = "Rrf", (2,)
            if any(s.kind in ("Context", "Sample") for s in below):
                return self.formula(draw, "Formula", below)
        return Sketch(kind, draw.choice((5, 15, 40)), given=given)

    def formula(self, draw: Random, kind: str, below: Sequence[Sketch]) -> Sketch:
        defaults = DEFAULTS if draw.random() < 0.9 else {}
        return Sketch(kind, draw.choice((5, 15, 40)), given=(a_part(draw, 3), defaults))


MAKERS: dict[str, Callable[[Drawing, Random, str, Any], Sketch]] = {
    **dict.fromkeys([*BY_VECTORS, "Mmr"], Drawing.by_vectors),
    "OrderBy": Drawing.order,
    "Sample": Drawing.plain,
    "None": Drawing.plain,
    "Text": Drawing.text,
    "Rrf": Drawing.fusion,
    "Dbsf": Drawing.fusion,
    "Formula": Drawing.formula,
}
LEAVES = [*BY_VECTORS * 2, "Nearest", "Mmr", "OrderBy", "Sample", "None", "Text"]
STAGES = [*BY_VECTORS, *("Rrf", "Dbsf", "Formula") * 3, "Mmr", "OrderBy", "Sample"]


def _is_far(sketch: Sketch) -> bool:
    """Whether lesser scores are better."""
    return sketch.kind in ("Nearest", "Mmr") and sketch.using in FAR


def _has_place(sketch: Sketch) -> bool:
    """Whether its points stand in an order."""
    return sketch.kind == "OrderBy" or (
        sketch.kind in ("Rrf", "Dbsf", "Mmr") and any(map(_has_place, sketch.below))
    )


def _may_have_threshold(sketch: Sketch) -> bool:
    """Of distances, Qdrant's thresholds mean something for Nearest alone."""
    return sketch.kind in ("Nearest", "Mmr") or sketch.using not in FAR


def a_part(draw: Random, depth: int) -> Part:
    """An expression of so many levels; its numbers stay small, and mostly finite."""
    if not depth or draw.random() < 0.15:
        return draw.choice(PLAIN_PARTS)(draw)

    def inner() -> Part:
        return a_part(draw, depth - 1)

    return draw.choice(PARTS)(draw, inner)


def number(value: float) -> Part:
    return ("Constant", value)


def several(inner: Callable[[], Part], count: int) -> list[Part]:
    return [inner() for _ in range(count)]


def not_small(part: Part, least: float) -> Part:
    return ("Sum", [("Abs", part), number(least)])


def decay(draw: Random, x: Part, target: Part | None, scale: float) -> Part:
    kind = draw.choice(("Lin", "Gauss", "Exp"))
    midpoint = draw.choice((None, 0.25, 0.8))
    return ("Decay", lambda q: getattr(q.DecayKind, kind), x, target, midpoint, scale)


def _distance(draw: Random) -> Part:
    lon, lat = draw.choice(((0.0, 0.0), (13.4, 52.5), (-170.0, -50.0)))
    metres = ("GeoDistance", lambda q: q.GeoPoint(lon, lat), "place")
    return ("Div", metres, number(1e7), None)


def _moment(draw: Random) -> Part:
    moment = ("Datetime", draw.choice(MOMENTS))
    if draw.random() < 0.5:
        return decay(draw, ("DatetimeKey", "at"), moment, draw.choice((1e6, 5e6)))
    later = ("Sum", [("DatetimeKey", "at"), ("Neg", moment)])
    return ("Div", later, number(1e7), None)


PLAIN_PARTS: list[Callable[[Random], Part]] = [
    lambda draw: number(draw.choice((-1.5, 0.0, 0.1, 1.0, 2.0))),
    *[lambda draw: ("Variable", draw.choice(("$score", "$score[0]", "$score[1]", "$score[7]")))]
    * 3,
    *[
        lambda draw: (
            "Variable",
            draw.choice(("x", "some", "one", "one[0]", "box.y", "parts[].v", "parts[0].w")),
        )
    ]
    * 2,
    lambda draw: ("Div", ("Variable", "n"), number(500.0), None),
    lambda draw: ("Condition", draw.choice(CONDITIONS)),
    lambda draw: ("Condition", some_filter(draw)),
    _distance,
    _moment,
]
PARTS: list[Callable[[Random, Callable[[], Part]], Part]] = [
    lambda draw, inner: ("Sum", several(inner, draw.choice((0, 1, 2, 3)))),
    lambda draw, inner: ("Sum", several(inner, 2)),
    lambda draw, inner: ("Mult", several(inner, draw.choice((0, 1, 2, 3)))),
    lambda draw, inner: ("Max", several(inner, draw.choice((1, 2, 3)))),
    lambda draw, inner: ("Min", several(inner, draw.choice((1, 2, 3)))),
    lambda draw, inner: ("Neg", inner()),
    lambda draw, inner: ("Abs", inner()),
    lambda draw, inner: ("Div", inner(), not_small(inner(), 0.5), None),
    lambda draw, inner: ("Div", inner(), ("Condition", draw.choice(CONDITIONS)), 0.5),
    lambda draw, inner: ("Sqrt", not_small(inner(), 0.1)),
    lambda draw, inner: (
        "Pow",
        not_small(inner(), 0.5),
        number(draw.choice((-1.0, 0.5, 1.5))),
    ),
    lambda draw, inner: ("Exp", ("Min", [inner(), number(2.0)])),
    lambda draw, inner: ("Log10", not_small(inner(), 0.5)),
    lambda draw, inner: ("Ln", not_small(inner(), 0.5)),
    lambda draw, inner: ("Acosh", not_small(inner(), 1.5)),
    lambda draw, inner: decay(
        draw, inner(), draw.choice((None, number(1.0))), draw.choice((None, 3.0))
    ),
    lambda draw, inner: decay(draw, inner(), inner(), 2.0),
]


# -- settling

MARGINS = {"Formula": 1e-4, "Dbsf": 1e-4, "Feedback": 5e-5}
MARGIN = 1e-5
"""What rounding may make of a score, of itself or of 1.0 where it is less."""


def margin(kind: str, scores: Any) -> Any:
    return MARGINS.get(kind, MARGIN) * np.maximum(1.0, np.abs(scores))


def apart(kind: str, scores: Any) -> Any:
    """bool[n - 1]: whether no rounding swaps a score and the next."""
    return np.abs(np.diff(scores)) > 2 * margin(kind, scores[1:])


class Settling:
    """Settles sketches over a shard of ours."""

    def __init__(self, shard: Any, known: Sequence[Known]) -> None:
        self._shard = shard
        self._vectors = {one.id: one.vectors for one in known}

    def settled(self, sketch: Sketch, above: Sequence[Any] = (), over: str = "") -> Sketch:
        """The sketch with limits, offset and thresholds that stand clear. `above` are the filters
        that hold for it, `over` the kind that ranks what it finds."""
        ordered = over == "Rrf"
        own = [*sketch.filters(edge), *above]
        below = tuple(self.settled(each, own, sketch.kind) for each in sketch.below)
        if any(each.fails for each in below):
            return replace(sketch, below=below, fails=True)
        open_ = replace(sketch, below=below, limit=ALL, offset=0, threshold=None)
        if sketch.kind == "Mmr":
            return self._mmr(sketch, open_, above)
        try:
            hits = self._shard.query(open_.request(edge, above))
        except edge.ValidationError as error:
            if not str(error).startswith("query.formula: "):
                raise
            return replace(open_, limit=sketch.limit, fails=True)
        scores = self._places(open_, hits)
        limit = cut(sketch.kind, scores, sketch.limit, ordered)
        offset = min(cut(sketch.kind, scores, sketch.offset, ordered), limit)
        if sketch.offset:
            limit = cut(sketch.kind, scores, sketch.offset + sketch.limit, ordered) - offset
        threshold = self._threshold(sketch, scores[: offset + limit])
        if over == "Dbsf" and sketch.kind not in WITHOUT_SCORES:
            least = -np.inf if threshold is None else threshold
            if not is_spread([score for score in scores[:limit] if score >= least]):
                limit, threshold = cut(sketch.kind, scores, 1, True), None
        return replace(open_, limit=max(limit, 0), offset=offset, threshold=threshold)

    def _places(self, sketch: Sketch, hits: Sequence[Any]) -> list[float]:
        """What the hits are told apart by."""
        if sketch.kind == "OrderBy":
            return [hit.order_value for hit in hits]
        if sketch.kind == "None":
            return [float(place) for place in range(len(hits))]
        return [hit.score for hit in hits]

    def _threshold(self, sketch: Sketch, scores: Sequence[float]) -> float | None:
        if sketch.threshold is None or not scores:
            return None
        if sketch.kind in WITHOUT_SCORES:
            return sketch.threshold
        at = int(sketch.threshold * len(scores))
        two = np.array(scores[at : at + 2])
        return float(two.mean()) if len(two) == 2 and apart(sketch.kind, two)[0] else None

    def _mmr(self, sketch: Sketch, open_: Sketch, above: Sequence[Any]) -> Sketch:
        nearest = replace(open_, kind="Nearest", given=())
        hits = self._shard.query(nearest.request(edge, above))
        scores = [hit.score for hit in hits]
        weight, candidates = sketch.given
        candidates = cut("Nearest", scores, candidates, False)
        threshold = self._threshold(replace(sketch, kind="Nearest"), scores[:candidates])
        if threshold is not None:
            sign = -1 if sketch.using in FAR else 1
            hits = [hit for hit in hits if sign * hit.score > sign * threshold]
        chosen = [self._vectors[hit.id][sketch.using] for hit in hits[:candidates]]
        most = sketch.limit + sketch.offset
        clear = clear_picks(sketch.using, sketch.examples[0].vector, chosen, weight, most)
        offset = min(sketch.offset, clear)
        return replace(
            open_,
            given=(weight, candidates),
            limit=min(sketch.limit, clear - offset),
            offset=offset,
            threshold=threshold,
        )


def is_spread(scores: Sequence[float]) -> bool:
    """Whether the scores are all equal, or so far from each other that rounding does not decide
    where between them one lies."""
    deviation = np.std(scores) if scores else 0.0
    return not deviation or bool(deviation > 0.01 * np.abs(scores).max())


def cut(kind: str, scores: Sequence[float], wanted: int, ordered: bool) -> int:
    """The place nearest to the wanted one that stands between scores that are apart; with `ordered`
    all before it are apart as well."""
    count = len(scores)
    if not wanted or (wanted >= count and not ordered):
        return wanted
    clear = [*(1 + np.flatnonzero(apart(kind, np.array(scores)))).tolist(), count]
    if not ordered:
        return min(clear, key=lambda place: abs(place - wanted))
    run = sum(1 for at, place in enumerate(clear, 1) if at == place)
    return wanted if run == count else min(wanted, run)


# -- how alike, by definition


class Rows:
    """Vectors of several rows each, one below the other."""

    def __init__(self, name: str, vectors: Sequence[Any]) -> None:
        parts = [np.atleast_2d(np.array(one)) for one in vectors]
        self.name = name
        self.rows = np.concatenate(parts)
        self.starts = np.cumsum([0, *map(len, parts[:-1])])
        if name.startswith("cosine"):
            self.rows = self.rows / np.linalg.norm(self.rows, axis=1, keepdims=True)

    def alike(self, asked: Rows) -> Any:
        """float64[n]: how like each vector is to the one that is asked for: the sum over its rows
        of the best."""
        return np.maximum.reduceat(_alike(asked, self), self.starts, axis=1).sum(axis=0)

    def asking(self, other: Rows) -> Any:
        """float64[n]: how like the one other vector is to each."""
        return np.add.reduceat(_alike(self, other).max(axis=1), self.starts)


def _alike(asked: Rows, others: Rows) -> Any:
    if asked.name.startswith(("cosine", "dot")):
        return asked.rows @ others.rows.T
    apart_by = asked.rows[:, None, :] - others.rows[None, :, :]
    power = 2 if asked.name.startswith("euclid") else 1
    return -(np.abs(apart_by) ** power).sum(axis=2)


def clear_picks(name: str, asked: Any, candidates: Sequence[Any], weight: float, most: int) -> int:
    """How many picks of maximal marginal relevance no rounding decides."""
    if not candidates:
        return 0
    weight = float(np.float32(weight))
    every = Rows(name, candidates)
    relevance = every.alike(Rows(name, [asked]))
    nearest, gains = np.full(len(relevance), -np.inf), relevance.copy()
    for picks in range(min(most, len(candidates))):
        best = np.sort(gains)[::-1][:2]
        if len(best) == 2 and not apart("Mmr", best)[0]:
            return picks
        pick = int(np.argmax(gains))
        relevance[pick] = nearest[pick] = -np.inf
        nearest = np.maximum(nearest, every.asking(Rows(name, [candidates[pick]])))
        with np.errstate(invalid="ignore"):
            gains = weight * relevance - (1 - weight) * nearest
        gains[np.isneginf(relevance)] = -np.inf
    return min(most, len(candidates))
