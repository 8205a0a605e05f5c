"""Whatever a request may rank by: every ranking, prefetches of every depth, every expression."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

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
from edge.model.filter import HasIdCondition, HasVectorCondition
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.groups import QueryGroupsRequest
from edge.model.matrix import SearchMatrixRequest
from edge.model.prefetch import Prefetch
from edge.model.query import Bm25Params, Direction, Mmr, OrderBy, Query, Sample, TextQuery
from edge.model.request import ExcludePayload, IncludePayload, QueryRequest
from tests.endpoints import kinds
from tests.model import strategies as values

X = Expression
numbers = kinds.finite
some_numbers = st.none() | numbers
shares = st.floats(0, 1, width=32)
using = st.none() | st.text(max_size=3)
moments = values.moments.filter(lambda moment: moment is not None)

# -- expressions

conditions = st.one_of(
    values.filters,
    st.builds(HasIdCondition, values.some_ids),
    st.builds(HasVectorCondition, st.text(max_size=3)),
)
leaves = st.one_of(
    st.builds(X.Constant, numbers),
    st.builds(X.Variable, st.sampled_from(["v", "v[].w", "$score", "$score[2]"])),
    st.builds(X.Condition, conditions),
    st.builds(X.GeoDistance, values.places, st.just("place")),
    st.builds(X.Datetime, moments),
    st.builds(X.DatetimeKey, st.just("seen")),
)


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, max_size=3)
    one_at_least = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        *(st.builds(kind, several) for kind in (X.Mult, X.Sum)),
        *(st.builds(kind, one_at_least) for kind in (X.Max, X.Min)),
        *(st.builds(kind, inner) for kind in (X.Neg, X.Sqrt, X.Exp, X.Log10, X.Ln, X.Acosh, X.Abs)),
        st.builds(X.Div, inner, inner, some_numbers),
        st.builds(X.Pow, inner, inner),
        st.builds(
            X.Decay,
            st.sampled_from(DecayKind),
            inner,
            st.none() | inner,
            st.none() | st.floats(0.125, 0.875, width=32),
            st.none() | st.floats(0.125, 1e9, width=32),
        ),
    )


expressions = st.recursive(leaves, _larger, max_leaves=6)
formulas = st.builds(
    Formula,
    expressions,
    st.fixed_dictionaries(
        {},
        optional={
            "v": numbers,
            "$score": numbers,
            "place": values.places,
            "seen": moments,
            "zz": numbers | st.text(max_size=3) | values.places,
        },
    ),
)

# -- rankings

examples = values.ids | kinds.any_kind
several_examples = st.lists(examples, max_size=3)
pairs = st.lists(st.builds(ContextPair, examples, examples), max_size=3)
recommended = st.builds(RecommendQuery, several_examples, several_examples)
feedback = st.builds(
    FeedbackNaiveQuery,
    examples,
    st.lists(st.builds(FeedbackItem, examples, numbers), max_size=3),
    st.builds(NaiveFeedbackStrategy, numbers, numbers, numbers),
)
simple: dict[str, st.SearchStrategy[Any]] = {
    "nearest": st.builds(Query.Nearest, examples, using),
    "recommend_best_score": st.builds(Query.RecommendBestScore, recommended, using),
    "recommend_sum_scores": st.builds(Query.RecommendSumScores, recommended, using),
    "discover": st.builds(Query.Discover, st.builds(DiscoverQuery, examples, pairs), using),
    "context": st.builds(Query.Context, st.builds(ContextQuery, pairs), using),
    "feedback_naive": st.builds(Query.FeedbackNaive, feedback, using),
    "mmr": st.builds(Mmr, examples, shares, st.integers(0, 2**64 - 1), using),
    "order_by": st.builds(
        OrderBy,
        values.keys,
        st.sampled_from(Direction),
        st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | values.moments,
    ),
    "text": st.builds(
        TextQuery,
        values.keys,
        st.text(max_size=5),
        st.none() | st.builds(Bm25Params, st.floats(0, 9), shares),
    ),
    "sample": st.just(Sample.Random),
}
"""What ranks points with or without prefetches."""


def _fused(count: int) -> st.SearchStrategy[Any]:
    weights = st.lists(st.floats(0, 9, width=32), min_size=count, max_size=count)
    return st.one_of(
        st.builds(Fusion.Dbsf),
        st.builds(Fusion.Rrf, st.integers(1, 2**32 - 1), st.none() | weights),
        formulas,
    )


@st.composite
def ranked(draw: st.DrawFn, depth: int = 3) -> tuple[Any, list[Prefetch]]:
    """A ranking (or None), and the prefetches that it ranks."""
    prefetches = draw(st.lists(prefetched(depth - 1), max_size=3)) if depth else []
    alone = st.one_of(*simple.values())
    if not prefetches:
        return draw(st.none() | alone), []
    return draw(_fused(len(prefetches)) | alone), prefetches


@st.composite
def prefetched(draw: st.DrawFn, depth: int) -> Prefetch:
    query, prefetches = draw(ranked(depth))
    return Prefetch(
        draw(st.integers(0, 2**64 - 1)),
        query,
        prefetches,
        draw(st.none() | kinds.params),
        draw(st.none() | values.filters),
        draw(st.none() | st.floats(allow_nan=False)),
    )


# -- requests

shown: dict[str, Any] = {
    "with_vector": st.booleans() | st.lists(st.text(max_size=3), max_size=2),
    "with_payload": st.booleans()
    | st.builds(IncludePayload, st.lists(values.keys, max_size=2))
    | st.builds(ExcludePayload, st.lists(values.keys, max_size=2)),
    "filter": st.none() | values.filters,
    "score_threshold": st.none() | st.floats(-1, 1),
    "params": st.none() | kinds.params,
}
queries = ranked().flatmap(
    lambda found: st.builds(
        QueryRequest,
        st.integers(0, 100),
        offset=st.integers(0, 100),
        query=st.just(found[0]),
        prefetches=st.just(found[1]),
        best_effort=st.booleans(),
        explain=st.booleans(),
        **shown,
    )
)
groups = ranked().flatmap(
    lambda found: st.builds(
        QueryGroupsRequest,
        values.keys,
        st.integers(0, 100),
        st.integers(1, 100),
        query=st.just(found[0]),
        prefetches=st.just(found[1]),
        **shown,
    )
)
matrices = st.builds(
    SearchMatrixRequest, st.integers(2, 99), st.integers(1, 9), st.none() | values.filters, using
)
