"""Rankings, prefetches and expressions on the wire: they come back, and what is none is refused."""

from __future__ import annotations

import contextlib
import copy
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.endpoints import rankings, requests
from edge.endpoints.protocol import ProtocolError
from edge.errors import EdgeError, LimitExceeded, ValidationError
from edge.model.examples import (
    ContextPair,
    DiscoverQuery,
    FeedbackItem,
    FeedbackNaiveQuery,
    NaiveFeedbackStrategy,
    OfExamples,
    RecommendQuery,
    is_id,
)
from edge.model.expression import Expression
from edge.model.filter import Filter, IsEmptyCondition, NestedCondition
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.limits import HARD_DEPTH
from edge.model.prefetch import Prefetch
from edge.model.query import Mmr, Query, Sample
from edge.model.request import QueryRequest
from edge.model.sparse import SparseVector
from tests.endpoints import queries
from tests.model import strategies as values


def floats(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def sent(query: Any, *prefetches: Prefetch) -> tuple[dict[str, Any], list[bytes]]:
    """The arguments of a query, and the frames of its vectors."""
    request = QueryRequest(5, query=query, prefetches=prefetches)
    _, arguments, *frames = requests.write_request(1, request, None)
    return msgspec.msgpack.decode(arguments), frames


def received(arguments: Any, *frames: bytes) -> QueryRequest:
    body = msgspec.msgpack.encode(arguments)
    found = requests.read_request(requests.Asked(1, "query"), [body, *frames], None)
    assert isinstance(found, QueryRequest)
    return found


def asked(query: Any, *frames: bytes) -> Any:
    return received({"limit": 5, "query": query}, *frames).query


# -- every struct of the engine's


@pytest.mark.parametrize("mirror", rankings.MADE)
def test_a_mirror_has_all_fields_in_the_same_order(mirror: type[rankings.Mirror]) -> None:
    made = rankings.MADE[mirror]
    if made is Sample:
        assert list(Sample) == [Sample.Random]
    else:
        assert mirror.__struct_fields__ == made.__struct_fields__  # type: ignore[attr-defined]


def kinds_of(kind: type) -> set[type]:
    below = {found for inner in kind.__subclasses__() for found in kinds_of(inner)}
    return below or {kind}


def test_nothing_that_is_ranked_by_is_without_a_mirror() -> None:
    made = set(rankings.MADE.values())
    assert len(made) == len(rankings.MADE)
    expected = {Prefetch, *map(type, Sample)}
    for root in (Expression, Fusion, Formula, OfExamples):
        expected |= kinds_of(root)
    assert expected <= made
    assert kinds_of(rankings.Mirror) == set(rankings.MADE)


@pytest.mark.parametrize("kind", queries.simple)
@given(data=st.data())
def test_every_kind_of_ranking_comes_back(kind: str, data: st.DataObject) -> None:
    query = data.draw(queries.simple[kind])
    arguments, frames = sent(query)
    assert arguments["query"]["type"] == kind
    assert asked(arguments["query"], *frames) == query
    if isinstance(query, OfExamples):  # the frames are of its vectors, in its own order
        assert len(frames) == sum(1 for _, example in query.examples() if not is_id(example))


@given(queries.formulas)
def test_formulas_come_back(formula: Formula) -> None:
    arguments, frames = sent(formula, Prefetch(5))
    assert received(arguments, *frames).query == formula


@given(queries.ranked())
def test_trees_come_back(tree: tuple[Any, list[Prefetch]]) -> None:
    query, prefetches = tree
    arguments, frames = sent(query, *prefetches)
    found = received(arguments, *frames)
    assert (found.query, found.prefetches) == (query, tuple(prefetches))
    if frames:
        with pytest.raises(ProtocolError):
            received(arguments, *frames[1:])
    with pytest.raises(ProtocolError):
        received(arguments, *frames, floats(1))


def test_frames_stand_in_the_order_of_the_tree() -> None:
    def nearest(*numbers: float) -> Query:
        return Query.Nearest(numbers)

    recommend = Query.RecommendBestScore(RecommendQuery([[1], 7], [[[2], [3]]]))
    feedback = FeedbackNaiveQuery([8], [FeedbackItem([9], 1)], NaiveFeedbackStrategy(1, 1, 1))
    discover = DiscoverQuery([10], [ContextPair([11], [12])])
    arguments, frames = sent(
        recommend,
        Prefetch(5, nearest(4), [Prefetch(5, nearest(5)), Prefetch(5, Mmr([6], 0.5, 9))]),
        Prefetch(5, Query.Nearest(SparseVector([7], [7]))),
        Prefetch(5, Query.FeedbackNaive(feedback)),
        Prefetch(5, Query.Discover(discover)),
    )
    sparse = np.array([7], "<u4").tobytes() + floats(7)
    one = [floats(n) for n in (4, 5, 6)]
    rest = [floats(n) for n in range(8, 13)]
    assert frames == [floats(1), floats(2, 3), *one, sparse, *rest]
    assert arguments["query"] == {
        "type": "recommend_best_score",
        "query": {"positives": [{}, 7], "negatives": [{"rows": 2}]},
    }
    assert arguments["prefetches"][1]["query"] == {"type": "nearest", "query": {"sparse": True}}


def test_ids_are_sent_as_they_are_and_texts_that_are_none_are_refused() -> None:
    one = UUID(int=5)
    assert sent(Query.Nearest(one)) == (
        {"limit": 5, "query": {"type": "nearest", "query": str(one)}},
        [],
    )
    assert asked({"type": "nearest", "query": 2**64 - 1}) == Query.Nearest(2**64 - 1)
    for wrong in ("no uuid", "", -1):
        with pytest.raises(ValidationError, match="query"):
            asked({"type": "nearest", "query": wrong})


# -- how deep, how many


def deep_filter() -> Filter:
    found = Filter([IsEmptyCondition("a")])
    for _ in range(HARD_DEPTH - 1):
        found = Filter([NestedCondition("a", found)])
    return found


def deep_expression(levels: int, inner: Expression | None = None) -> Expression:
    found = inner or Expression.Constant(1)
    for _ in range(levels - 1):
        found = Expression.Sum([found])
    return found


def deep_prefetch(levels: int, query: Any) -> Prefetch:
    found = Prefetch(1, Query.Nearest([1.0]))
    for _ in range(levels - 1):
        found = Prefetch(1, query, [found])
    return found


def test_the_deepest_comes_back() -> None:
    formula = Formula(deep_expression(HARD_DEPTH, Expression.Condition(deep_filter())))
    prefetch = deep_prefetch(HARD_DEPTH, formula)
    arguments, frames = sent(formula, prefetch)
    found = received(arguments, *frames)
    assert (found.query, found.prefetches) == (formula, (prefetch,))


@pytest.mark.parametrize(
    ("levels", "error"), [(HARD_DEPTH, LimitExceeded), (20_000, (LimitExceeded, ProtocolError))]
)
def test_what_is_deeper_is_refused(levels: int, error: Any) -> None:
    formula = {"type": "formula", "formula": {"type": "constant", "val": 1}}
    plain: Any = {"limit": 1}
    with pytest.raises(error):
        received_deep(levels, {"type": "sum", "exprs": None}, formula["formula"], "formula")
    with pytest.raises(error):
        received_deep(levels, {"type": "neg", "expr": None}, formula["formula"], "formula")
    above = {"limit": 1, "query": {"type": "dbsf"}, "prefetches": None}
    with pytest.raises(error):
        received_deep(levels, above, plain, "prefetches")


def received_deep(levels: int, around: dict[str, Any], inner: Any, where: str) -> None:
    """As msgpack written by hand: Python's own encoders would not go as deep."""
    ((place, _),) = [pair for pair in around.items() if pair[1] is None]
    encode = msgspec.msgpack.encode
    start = bytes([0x80 + len(around)])
    for name, value in around.items():
        start += encode(name) + (encode(value) if name != place else b"")
    assert list(around)[-1] == place
    many = start + (b"\x91" if place in ("exprs", "prefetches") else b"")
    body = many * levels + encode(inner)
    if where == "formula":
        query = b"\x82" + encode("type") + encode("formula") + encode("formula") + body
        prefetches = encode([{"limit": 1}])
    else:
        query, prefetches = encode({"type": "dbsf"}), b"\x91" + body
    arguments = b"\x83" + encode("limit") + encode(1)
    arguments += encode("query") + query + encode("prefetches") + prefetches
    requests.read_request(requests.Asked(1, "query"), [arguments], None)


def test_the_requests_above_are_right_but_for_their_depth() -> None:
    constant = {"type": "constant", "val": 1}
    received_deep(HARD_DEPTH - 1, {"type": "sum", "exprs": None}, constant, "formula")
    above = {"limit": 1, "query": {"type": "dbsf"}, "prefetches": None}
    received_deep(HARD_DEPTH - 1, above, {"limit": 1}, "prefetches")


def test_more_prefetches_or_parts_than_may_be_are_refused() -> None:
    dbsf = {"type": "dbsf"}
    with pytest.raises(LimitExceeded, match="prefetches"):
        received({"limit": 1, "query": dbsf, "prefetches": [{"limit": 1}] * 1025})
    sums = {"type": "sum", "exprs": [{"type": "mult", "exprs": []}] * 65_536}
    with pytest.raises(LimitExceeded, match="expression"):
        asked({"type": "formula", "formula": sums})


# -- what is none

ONE_TWO = np.array([1, 2], "<u4").tobytes()
NUMBERS = floats(1, -0.5)


def nearest(frame: bytes, **vector: Any) -> Any:
    return asked({"type": "nearest", "query": vector}, frame).query


def test_the_frames_below_are_right_but_for_what_each_changes() -> None:
    assert nearest(NUMBERS).tolist() == [1, -0.5]
    assert nearest(NUMBERS, rows=2).tolist() == [[1], [-0.5]]
    assert nearest(ONE_TWO + NUMBERS, sparse=True) == SparseVector([1, 2], [1, -0.5])
    assert nearest(b"", sparse=True) == SparseVector([], [])


@pytest.mark.parametrize(
    ("frame", "vector"),
    [
        (b"", {}),
        (NUMBERS[:-1], {}),
        (b"", {"rows": 1}),
        (NUMBERS, {"rows": 0}),
        (NUMBERS, {"rows": -1}),
        (NUMBERS, {"rows": 3}),
        (NUMBERS, {"rows": 2**64 - 1}),
        (NUMBERS, {"rows": 1.5}),
        (NUMBERS, {"rows": 2, "sparse": True}),
        (NUMBERS[:4], {"sparse": True}),
        (ONE_TWO + NUMBERS + b"1", {"sparse": True}),
        (ONE_TWO[4:] + ONE_TWO[:4] + NUMBERS, {"sparse": True}),
        (ONE_TWO[:4] * 2 + NUMBERS, {"sparse": True}),
        (ONE_TWO + floats(1, np.nan), {"sparse": True}),
        (ONE_TWO + floats(np.inf, 1), {"sparse": True}),
        (ONE_TWO + NUMBERS, {"sparse": 1}),
        (ONE_TWO + NUMBERS, {"dimension": 2}),
    ],
)
def test_vectors_of_queries_that_are_none(frame: bytes, vector: Any) -> None:
    with pytest.raises(ProtocolError):
        nearest(frame, **vector)


ONE = {"type": "constant", "val": 1}


@pytest.mark.parametrize(
    "query",
    [
        {"type": "nearest"},
        {"type": "nearest", "query": [1.0, 2.0]},
        {"type": "nearest", "query": 1.5},
        {"type": "nearest", "query": None},
        {"type": "nearest", "query": 7, "more": 1},
        {"type": "recommend_best_score", "query": {"positives": [[1.0]], "negatives": []}},
        {"type": "recommend_best_score", "query": {"positives": [7]}},
        {"type": "recommend_best_score", "positives": [7], "negatives": []},
        {"type": "discover", "query": {"target": 7, "pairs": [[7, 8]]}},
        {"type": "context", "query": {"pairs": [{"positive": 7}]}},
        {"type": "mmr", "vector": 7, "lambda_": "half", "candidates_limit": 5},
        {"type": "order_by", "key": "a", "direction": "up"},
        {"type": "sample", "seed": 1},
        {"type": "rrf", "k": 2.5},
        {"type": "dbsf", "k": 2},
        {"type": "formula", "formula": ONE, "defaults": {"a": [500, 0]}},
        {"type": "formula", "formula": {"type": "sum", "exprs": [{"type": "what"}]}},
        {"type": "formula", "formula": {"type": "neg", "expr": 1.0}},
        {"type": "formula", "formula": {"type": "condition", "cond": {"type": "what"}}},
        {"type": "formula", "formula": {"type": "decay", "kind": "sudden", "x": ONE}},
        {"type": "tomorrow"},
        {},
        [],
        7,
    ],
)
def test_rankings_that_are_none(query: Any) -> None:
    with pytest.raises(ProtocolError):
        asked(query)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"type": "mmr", "vector": 7, "lambda_": 2, "candidates_limit": 5}, "lambda_"),
        ({"type": "mmr", "vector": 7, "lambda_": 1, "candidates_limit": -5}, "candidates_limit"),
        ({"type": "rrf", "k": 0}, "k"),
        ({"type": "dbsf"}, "prefetches"),
        ({"type": "formula", "formula": ONE}, "prefetches"),
        ({"type": "formula", "formula": {"type": "max", "exprs": []}}, "exprs"),
        ({"type": "formula", "formula": {"type": "constant", "val": np.nan}}, "val"),
        ({"type": "formula", "formula": {"type": "constant", "val": 1e39}}, "val"),
        ({"type": "formula", "formula": {"type": "variable", "var": "$what"}}, "var"),
        ({"type": "formula", "formula": {"type": "datetime", "date_time": "?"}}, "date_time"),
        ({"type": "formula", "formula": ONE, "defaults": {"a": np.inf}}, "defaults"),
    ],
)
def test_rankings_that_the_engine_refuses(query: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        asked(query)


def test_a_scroll_has_no_vectors() -> None:
    body = msgspec.msgpack.encode({"order_by": {"type": "nearest", "query": {}}})
    for frames in ([body], [body, floats(1)]):
        with pytest.raises(ProtocolError):
            requests.read_request(requests.Asked(1, "scroll"), frames, None)


junk = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=3),
    st.just([]), st.just({}), st.just({"sparse": True}), st.just([1.0]), st.just({"type": "sum"}),
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in nested maps and arrays."""
    keys = list(value) if isinstance(value, dict) else []
    keys = list(range(len(value))) if isinstance(value, list) else keys
    return [found for key in keys for found in [(value, key), *places(value[key])]]


@given(queries.queries | queries.groups, st.data())
def test_damaged_requests_are_requests_or_errors_of_ours(request: Any, data: st.DataObject) -> None:
    header, arguments, *frames = requests.write_request(1, request, None)
    found = msgspec.msgpack.decode(arguments)
    for _ in range(data.draw(st.integers(1, 2))):
        room, key = data.draw(st.sampled_from(places(found)))
        room[key] = copy.deepcopy(data.draw(junk))  # or a list might come to hold itself
        if not places(found):
            break
    how = data.draw(st.sampled_from(["", "drop", "twice", "cut", "swap"]))
    if frames and how:
        at = data.draw(st.integers(0, len(frames) - 1))
        other = {"drop": [], "twice": [frames[at]] * 2, "cut": [frames[at][:-1]],
                 "swap": [bytes(8)]}[how]  # fmt: skip
        frames[at : at + 1] = other
    kind = msgspec.msgpack.decode(header, type=requests.Asked)
    with contextlib.suppress(EdgeError):
        requests.read_request(kind, [msgspec.msgpack.encode(found), *frames], None)


@given(queries.queries, st.data())
def test_cut_arguments_are_protocol_errors(request: Any, data: st.DataObject) -> None:
    header, arguments, *frames = requests.write_request(1, request, None)
    kind = msgspec.msgpack.decode(header, type=requests.Asked)
    length = data.draw(st.integers(0, len(arguments) - 1))
    with pytest.raises((ProtocolError, ValidationError)):
        requests.read_request(kind, [arguments[:length], *frames], None)


# -- what cannot travel


class Strange(msgspec.Struct, frozen=True):
    name: str = "strange"


@given(values.ids)
def test_what_has_no_mirror_is_refused_wherever_it_stands(point_id: Any) -> None:
    wrong = Prefetch(5)
    msgspec.structs.force_setattr(wrong, "filter", Strange())
    deep = Expression.Neg(Expression.Constant(1))
    msgspec.structs.force_setattr(deep, "expr", Strange())
    recommended = RecommendQuery([point_id], [])
    msgspec.structs.force_setattr(recommended, "negatives", (Strange(),))
    for wrong_one in (
        (None, (wrong,)),
        (Formula(deep), ()),
        (Query.RecommendSumScores(recommended), ()),
        ({"a": Strange()}, ()),
        (object(), ()),
        (b"bytes", ()),
    ):
        with pytest.raises(ValidationError, match=r"^(Strange|object|bytes) does not go"):
            rankings.write(wrong_one)
