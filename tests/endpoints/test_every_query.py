"""The whole query language through the doors: both clients give what the shard itself gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from edge import blocking as edge
from edge.endpoints import EdgeClient, blocking
from edge.endpoints import query as room
from edge.errors import EdgeError, LimitExceeded
from edge.model.examples import (
    ContextPair,
    ContextQuery,
    DiscoverQuery,
    FeedbackItem,
    FeedbackNaiveQuery,
    NaiveFeedbackStrategy,
    RecommendQuery,
)
from edge.model.expression import DecayKind, Expression
from edge.model.filter import FieldCondition, Filter, MatchValue, RangeFloat
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.geo import GeoPoint
from edge.model.groups import GroupsResult, QueryGroupsRequest
from edge.model.matrix import SearchMatrixOffsets, SearchMatrixRequest
from edge.model.point import Point
from edge.model.prefetch import Prefetch
from edge.model.query import Mmr, OrderBy, Query, Sample, SearchParams, TextQuery
from edge.model.request import Explained, QueryBatchRequest, QueryRequest
from edge.model.schema import TextIndexParams
from edge.model.update import UpdateOperation
from tests.endpoints import kinds
from tests.endpoints.kinds import EVERY_KIND, words
from tests.endpoints.made import Served, in_thread, served

X = Expression
COUNT = 40
SOME = UUID(int=77)
FEW = Filter([FieldCondition("n", range=RangeFloat(lt=9))])
HALL = FieldCondition("room", MatchValue("hall"))
ONE, TWO = [1.0, 0.5, -1.0], [[1.0, 0.5, -1.0], [-1.0, 2.0, 0.0]]
N = X.Variable("n")


def made(n: int) -> Point:
    payload = {
        "n": n,
        "room": ["hall", "kitchen"][: 1 + n % 2],
        "floor": n % 3,
        "warm": n % 2 == 0,
        "text": f"mug number {n % 5}",
        "at": f"2024-01-{1 + n % 28:02}T00:00:00Z",
        "place": {"lat": float(n), "lon": 2.0 * n},
    }
    point = kinds.made(n)
    return Point(SOME if n == 7 else n, point.vector, payload)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "shard", EVERY_KIND) as found:
        text = UpdateOperation.create_field_index("text", TextIndexParams(scoring=True))
        await found.shard.update(text)
        await found.shard.update(UpdateOperation.upsert_points([made(n) for n in range(COUNT)]))
        yield found


def by(query: Any, *prefetches: Prefetch, **more: Any) -> QueryRequest:
    return QueryRequest(9, query=query, prefetches=prefetches, **more)


def scored(formula: Expression, defaults: Any = None) -> QueryRequest:
    near = Prefetch(30, Query.Nearest(ONE))
    return by(Formula(formula, defaults), near, Prefetch(9, TextQuery("text", "mug")))


def feedback(target: Any, *items: tuple[Any, float], using: str | None = None) -> Query:
    found = [FeedbackItem(example, score) for example, score in items]
    strategy = NaiveFeedbackStrategy(0.5, 1.5, 2)
    return Query.FeedbackNaive(FeedbackNaiveQuery(target, found, strategy), using)


DENSE = Prefetch(20, Query.Nearest(ONE), filter=FEW, params=SearchParams(exact=True))
SPARSE = Prefetch(20, Query.Nearest(words(1, 2, 105), "words"))
PARTS = Prefetch(15, Query.Nearest(TWO, "parts"), score_threshold=0.5)
DEEP = Prefetch(9, Fusion.Rrf(60, [1, 0.5]), [PARTS, Prefetch(12, Fusion.Dbsf(), [DENSE, SPARSE])])

QUERIES: dict[str, QueryRequest] = {
    "nearest to a point": by(Query.Nearest(5), with_vector=True),
    "nearest to a uuid": by(Query.Nearest(SOME, "parts")),
    "best score": by(Query.RecommendBestScore(RecommendQuery([ONE, 4], [SOME]))),
    "best score by parts": by(Query.RecommendBestScore(RecommendQuery([TWO], [ONE]), "parts")),
    "sum scores": by(Query.RecommendSumScores(RecommendQuery([3, 4], [ONE]))),
    "sum scores of words": by(
        Query.RecommendSumScores(RecommendQuery([words(1, 2)], [words(101)]), "words")
    ),
    "recommend nothing": by(Query.RecommendBestScore(RecommendQuery([], []))),
    "discover": by(Query.Discover(DiscoverQuery(ONE, [ContextPair(4, [0, 1, 0])]))),
    "context": by(Query.Context(ContextQuery([ContextPair(words(1), 9)]), "words")),
    "feedback": by(feedback(ONE, (4, 1), ([0, 1, 0], 0.5), (SOME, -1))),
    "mmr": by(Mmr(ONE, 0.3, 20)),
    "mmr of a point": by(Mmr(SOME, 0.5, 20, "parts"), filter=FEW),
    "rrf": by(Fusion.Rrf(2), DENSE, SPARSE),
    "rrf by weights": by(Fusion.Rrf(2, [3, 0.25]), DENSE, PARTS, with_payload=["n"]),
    "dbsf": by(Fusion.Dbsf(), DENSE, SPARSE, score_threshold=0.25),
    "a tree": by(Query.Nearest(ONE, "half"), DEEP, Prefetch(5, OrderBy("n")), with_vector=True),
    "all by chance": by(Query.Nearest(ONE), Prefetch(COUNT, Sample.Random)),
    "order of prefetches": by(OrderBy("n", start_from=3.0), DEEP),
    "text of prefetches": by(TextQuery("text", "mug 3"), DEEP),
    "mmr of prefetches": by(Mmr(ONE, 0.5, 9), DEEP, offset=2),
    "constant": scored(X.Constant(0.1)),
    "scores": scored(X.Sum([X.Variable("$score"), X.Variable("$score[1]")])),
    "missing scores": scored(X.Variable("$score[1]"), {"$score[1]": -1.0}),
    "condition": scored(X.Mult([N, X.Condition(HALL), X.Condition(FEW)])),
    "place": scored(X.GeoDistance(GeoPoint(13.4, 52.5), "place")),
    "missing place": scored(X.GeoDistance(GeoPoint(1, 2), "zz"), {"zz": GeoPoint(3, 4)}),
    "moments": scored(X.Sum([X.DatetimeKey("at"), X.Neg(X.Datetime("2024-01-05"))])),
    "missing moment": scored(X.DatetimeKey("zz"), {"zz": "2024-02-02T10:00:00Z"}),
    "missing number": scored(X.Variable("zz"), {"zz": 4}),
    "max, min": scored(X.Max([N, X.Min([X.Constant(20), X.Variable("floor")])])),
    "powers": scored(X.Div(X.Pow(X.Sqrt(N), X.Constant(3)), X.Exp(X.Abs(X.Neg(N))))),
    "by zero": scored(X.Div(X.Constant(1), N, 7.0)),
    "logarithms": scored(
        X.Sum([kind(X.Sum([N, X.Constant(1)])) for kind in (X.Log10, X.Ln, X.Acosh)])
    ),
    **{
        f"decay {kind.value}": scored(X.Decay(kind, N, X.Constant(12), 0.3, 5.0))
        for kind in DecayKind
    },
    "explained": by(Fusion.Rrf(2), DENSE, SPARSE, explain=True),
}  # fmt: skip

GROUPS: dict[str, QueryGroupsRequest] = {
    "texts": QueryGroupsRequest("room", query=Query.Nearest(ONE), with_vector=True),
    "numbers": QueryGroupsRequest("floor", 2, 4, Query.Nearest(5), with_payload=["n"]),
    "bools": QueryGroupsRequest("warm", query=Mmr(ONE, 0.5, 30), with_vector=["parts", "words"]),
    "prefetches": QueryGroupsRequest("floor", 3, 2, Fusion.Dbsf(), [DEEP, DENSE], filter=FEW),
    "all": QueryGroupsRequest("room[]", score_threshold=0.5),
    "no field": QueryGroupsRequest("zz", query=Query.Nearest(ONE)),
}

MATRICES: dict[str, SearchMatrixRequest] = {
    "all": SearchMatrixRequest(COUNT),
    "some": SearchMatrixRequest(COUNT, 2, FEW, "parts"),
    "words": SearchMatrixRequest(COUNT, 3, using="words"),
    "none": SearchMatrixRequest(COUNT, 3, Filter([FieldCondition("zz", MatchValue(1))])),
}

Read = Callable[[Any], Any]
"""What is asked of a shard or a client: of blocking ones gives the answer, else what gives it."""

READS: dict[str, Read] = {
    **{name: lambda s, r=request: s.query(r) for name, request in QUERIES.items()},  # type: ignore[misc]
    **{
        f"groups: {name}": lambda s, r=request: s.query_groups(r)  # type: ignore[misc]
        for name, request in GROUPS.items()
    },
    **{
        f"matrix: {name}": lambda s, r=request: s.search_matrix(r)  # type: ignore[misc]
        for name, request in MATRICES.items()
    },
    "batch": lambda s: s.query_batch(QueryBatchRequest(list(QUERIES.values())[:20])),
}

WRONG: dict[str, QueryRequest] = {
    "unknown point": by(Query.Nearest(10**6)),
    "unknown vector": by(Query.Context(ContextQuery([]), "zz")),
    "wrong example": by(Query.RecommendSumScores(RecommendQuery([ONE, [1.0]], []))),
    "wrong example below": by(Fusion.Rrf(2), DENSE, Prefetch(5, Mmr(words(1), 1, 5))),
    "too many examples": by(Query.RecommendSumScores(RecommendQuery([1] * 2000, []))),
    "too many candidates": by(Mmr(1, 1, 10**9)),
    "too many prefetches": by(Fusion.Dbsf(), *[DENSE] * 65),
    "missing number": scored(X.Variable("zz")),
    "not finite": scored(X.Div(X.Constant(1), X.Variable("$score[1]"))),
    "negative": scored(X.Sqrt(X.Constant(-1))),
    "no time": by(Fusion.Dbsf(), DENSE, timeout=0.0),
}


def plain(found: Any) -> Any:
    return (list(found), [one.way for one in found.plan]) if isinstance(found, Explained) else found


async def test_both_clients_give_what_the_shard_gives(there: Served) -> None:
    expected = {name: plain(await read(there.shard)) for name, read in READS.items()}

    def asked() -> dict[str, Any]:
        with blocking.EdgeClient(there.query) as client:
            found = {name: plain(read(client)) for name, read in READS.items()}
            with client.read_view() as view:
                assert {name: plain(read(view)) for name, read in READS.items()} == found
            return found

    async with EdgeClient(there.query) as client, client.read_view() as view:
        for name, read in READS.items():
            assert plain(await read(client)) == expected[name], name
            assert plain(await read(view)) == expected[name], name
    found = await in_thread(asked)
    for name, answer in found.items():
        assert (answer, type(answer)) == (expected[name], type(expected[name])), name
    empty = {name for name, answer in expected.items() if not len(answer)}
    assert empty == {"groups: no field", "matrix: none", "recommend nothing"}
    assert isinstance(found["groups: texts"], GroupsResult)
    assert isinstance(found["matrix: all"], SearchMatrixOffsets)


@pytest.mark.parametrize("name", WRONG)
async def test_an_error_arrives_as_the_shard_raises_it(there: Served, name: str) -> None:
    with pytest.raises(EdgeError) as expected:
        await there.shard.query(WRONG[name])
    async with EdgeClient(there.query) as client:
        with pytest.raises(EdgeError) as found:
            await client.query(WRONG[name])
    assert type(found.value) is type(expected.value)
    if name != "no time":
        assert str(found.value) == str(expected.value)


async def test_errors_of_groups_and_matrices(there: Served) -> None:
    async with EdgeClient(there.query) as client:
        for reads in (there.shard, client):
            with pytest.raises(LimitExceeded):
                await reads.search_matrix(SearchMatrixRequest(10**7))
            with pytest.raises(LimitExceeded):
                await reads.query_groups(QueryGroupsRequest("n", 10**6, 10**6))


async def test_long_requests_are_read_in_a_thread(
    there: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = by(Query.RecommendBestScore(RecommendQuery([ONE] * 500, [])))
    expected = await there.shard.query(request)
    async with EdgeClient(there.query) as client:
        assert await client.query(request) == expected
        monkeypatch.setattr(room, "BYTES_ON_THE_LOOP", 0)
        assert await client.query(request) == expected
        with pytest.raises(EdgeError, match="candidates_limit"):
            await client.query(WRONG["too many candidates"])


def test_clients_have_all_reads_of_a_shard() -> None:
    reads = {name for name in vars(edge.Reads) if not name.startswith("_")}
    assert {"query_groups", "search_matrix"} < reads
    for client in (EdgeClient, blocking.EdgeClient):
        assert all(callable(getattr(client, name)) for name in reads)
