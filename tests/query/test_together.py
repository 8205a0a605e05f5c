"""Batches: each query has the answer that it has alone, and what is alike is done once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import DeadlineExceeded, NotFound, UnknownVector, WrongDimension
from edge.model.expression import Expression
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchValue, RangeFloat
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.prefetch import Prefetch
from edge.model.quantization import QuantizationSearchParams
from edge.model.query import AcornSearchParams, Mmr, Query, SearchParams, TextQuery
from edge.model.request import QueryBatchRequest, QueryRequest
from edge.query import deadline as deadlines
from edge.query import narrowed, search_together
from edge.query.answer import answer
from edge.query.deadline import NEVER, Deadline
from edge.query.queries import queries
from edge.segment.view import ShardView
from tests.query.ranked_shards import DENSE, Shard, id_of, vector
from tests.query.test_kinds import COARSE, SIZE, quantized
from tests.segment.made import afresh

HALL = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
MANY = Filter(must=[FieldCondition("n", range=RangeFloat(gte=20))])
FEW = Filter(must=[HasIdCondition([id_of(n) for n in range(0, 160, 9)])])
NOBODY = Filter(must=[FieldCondition("room", match=MatchValue("cellar"))])

filters = st.sampled_from([None, HALL, MANY, FEW, NOBODY])
params = st.sampled_from(
    [
        None,
        SearchParams(exact=True),
        SearchParams(hnsw_ef=5),
        SearchParams(indexed_only=True),
        SearchParams(acorn=AcornSearchParams(True)),
    ]
)


@st.composite
def nearest(draw: st.DrawFn) -> QueryRequest:
    """A plain query: of few kinds, so that some are alike."""
    name = draw(st.sampled_from(["dot", "euclid", "cosine", "manhattan", "rows", "spots", "words"]))
    example = vector(name, np.random.default_rng(draw(st.integers(0, 30))))
    return QueryRequest(
        draw(st.sampled_from([0, 1, 3, 200])),
        offset=draw(st.sampled_from([None, 2])),
        query=Query.Nearest(example, name),
        filter=draw(filters),
        params=draw(params),
        score_threshold=draw(st.sampled_from([None, 1.0])),
        with_payload=draw(st.booleans()),
        with_vector=draw(st.booleans()),
        explain=draw(st.sampled_from([False, False, False, True])),
    )


DOT = vector("dot", np.random.default_rng(7))
SOURCES = [Prefetch(9, Query.Nearest(DOT, "dot")), Prefetch(9, TextQuery("note", "cup"))]
OTHERS = [
    QueryRequest(5, query=Query.Nearest(id_of(5), "dot")),
    QueryRequest(5, query=Mmr(DOT, 0.5, 20, "dot")),
    QueryRequest(5, query=TextQuery("note", "cup")),
    QueryRequest(5, query=Fusion.Rrf(2), prefetches=SOURCES),
    QueryRequest(5, query=Formula(Expression.Variable("$score")), prefetches=SOURCES),
    QueryRequest(5, query=Query.Nearest(DOT, "dot"), prefetches=SOURCES),
    QueryRequest(5, filter=HALL),
]


@given(st.lists(nearest() | st.sampled_from(OTHERS), max_size=12))
def test_a_batch_is_its_queries(ranked: Shard, made: list[QueryRequest]) -> None:
    found = answer(ranked.view, QueryBatchRequest(made))
    alone = [answer(ranked.view, one) for one in made]
    assert found == alone
    assert list(map(type, found)) == list(map(type, alone))


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("filter", [None, HALL, MANY, FEW], ids=["all", "hall", "many", "few"])
def test_many_of_a_kind_are_each_what_they_are_alone(
    ranked: Shard, name: str, filter: Filter | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(5)
    made = [
        QueryRequest(1 + i % 9, query=Query.Nearest(vector(name, random), name), filter=filter)
        for i in range(67)
    ]
    alone = [answer(ranked.view, one) for one in made]
    assert answer(ranked.view, QueryBatchRequest(made)) == alone
    monkeypatch.setattr(search_together, "ROWS_A_BLOCK", 7)
    assert answer(ranked.view, QueryBatchRequest(made)) == alone


@pytest.mark.parametrize("graph", [False, True])
def test_small_forms_bring_what_they_bring_alone(tmp_path: Path, graph: bool) -> None:
    shard, random = quantized(tmp_path, COARSE, graph), np.random.default_rng(8)
    for small in (
        None,
        QuantizationSearchParams(rescore=False),
        QuantizationSearchParams(oversampling=3.0),
        QuantizationSearchParams(ignore=True),
    ):
        for filter in (None, Filter(must=[HasIdCondition(range(0, 400, 9))])):
            made = [
                QueryRequest(
                    7,
                    query=Query.Nearest(random.normal(size=SIZE)),
                    filter=filter,
                    params=SearchParams(quantization=small),
                )
                for _ in range(5)
            ]
            alone = [answer(shard, one) for one in made]
            assert answer(shard, QueryBatchRequest(made)) == alone


def test_a_batch_of_nothing(ranked: Shard) -> None:
    assert answer(ranked.view, QueryBatchRequest([])) == []


# -- once for all


def test_a_filter_is_evaluated_once_for_queries_that_are_alike(
    ranked: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Filter] = []
    original = narrowed.matches

    def noted(filter: Filter, *others: Any) -> Any:
        seen.append(filter)
        return original(filter, *others)

    monkeypatch.setattr(narrowed, "matches", noted)
    same = Filter(must=[FieldCondition("room", match=MatchValue("hall"))])
    made = [ask(filter=filter) for filter in (HALL, MANY, same, HALL, same)]
    answer(afresh(ranked.view), QueryBatchRequest(made))
    segments = len(ranked.view.segments)
    assert (seen.count(HALL), seen.count(MANY)) == (segments, segments)


def ask(limit: int = 3, **settings: Any) -> QueryRequest:
    return QueryRequest(limit, query=Query.Nearest(DOT, "dot"), **settings)


@pytest.mark.parametrize("filter", [None, HALL], ids=["all", "hall"])
def test_rows_are_compared_with_all_of_them_at_once(
    ranked: Shard, monkeypatch: pytest.MonkeyPatch, filter: Filter | None
) -> None:
    seen: list[int] = []
    for name in ("scan_together", "scan_list_together"):
        original = getattr(search_together.scan, name)

        def noted(code: int, queries: list[Any], *others: Any, act: Any = original) -> None:
            seen.append(len(queries))
            act(code, queries, *others)

        monkeypatch.setattr(search_together.scan, name, noted)
    exact = SearchParams(exact=True)
    made = [ask(params=exact, filter=filter) for _ in range(5)]
    answer(ranked.view, QueryBatchRequest(made))
    assert seen == [5] * len(ranked.view.segments)


# -- time, and errors


class Told(NamedTuple):
    """What a batch told, in its order."""

    places: list[int]
    outcomes: list[Any]


def told(view: ShardView, made: list[QueryRequest], times: list[Deadline]) -> Told:
    places, outcomes = [], [None] * len(made)

    def tell(place: int, outcome: Any) -> None:
        places.append(place)
        outcomes[place] = outcome

    queries(view, made, times, tell)
    assert sorted(places) == list(range(len(made)))
    return Told(places, outcomes)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(deadlines, "monotonic", lambda: now[0])
    return now


def slow(
    act: Callable[..., Any], clock: list[float], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each call of `search_together.<name>` takes a second."""

    def slowed(*arguments: Any, **named: Any) -> Any:
        clock[0] += 1.0
        return act(*arguments, **named)

    monkeypatch.setattr(search_together, name, slowed)


@pytest.mark.parametrize("exact", [False, True])
def test_each_has_its_own_time(
    ranked: Shard, clock: list[float], monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    made = [ask(200, params=SearchParams(exact=exact))] * 5
    whole = answer(ranked.view, made[0])
    slow(search_together._search_segment, clock, monkeypatch, "_search_segment")
    short, brief = Deadline(1.5), Deadline(1.5, best_effort=True)
    found = told(ranked.view, made, [NEVER, short, brief, Deadline(9.0), NEVER])
    assert found.places[0] == 1, "as soon as its time is over"
    assert isinstance(found.outcomes[1], DeadlineExceeded)
    assert "1.5 s" in str(found.outcomes[1])
    assert [found.outcomes[place] for place in (0, 3, 4)] == [whole] * 3
    some = found.outcomes[2]
    assert 0 < len(some) < len(whole)
    assert [hit for hit in whole if hit in some] == some, "the best of the first segments"


def test_time_ends_within_a_scan(
    ranked: Shard, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [ask(200, params=SearchParams(exact=True))] * 3
    whole = answer(ranked.view, made[0])
    monkeypatch.setattr(search_together, "ROWS_A_BLOCK", 10)
    original = search_together.scan.scan_together

    def slowed(*arguments: Any) -> None:
        clock[0] += 1.0
        original(*arguments)

    monkeypatch.setattr(search_together.scan, "scan_together", slowed)
    found = told(ranked.view, made, [Deadline(1.5), NEVER, Deadline(1.5, best_effort=True)])
    assert found.places[0] == 0
    assert isinstance(found.outcomes[0], DeadlineExceeded)
    assert found.outcomes[1] == whole
    assert 0 < len(found.outcomes[2]) <= 20, "of two blocks"


def test_a_filter_is_given_up_when_nobody_waits_for_it(
    ranked: Shard, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[float] = []

    def endless(filter: Filter, rows: Any, among: Any, check: Callable[[], None]) -> Any:
        while True:
            clock[0] += 1.0
            checks.append(clock[0])
            check()

    monkeypatch.setattr(narrowed, "matches", endless)
    made = [ask(filter=HALL)] * 3
    times = [Deadline(1.5), Deadline(3.5), Deadline(2.5, best_effort=True)]
    found = told(afresh(ranked.view), made, times)
    assert len(checks) == 4
    assert found.places == [0, 1, 2]
    assert [type(one) for one in found.outcomes] == [DeadlineExceeded, DeadlineExceeded, list]
    assert found.outcomes[2] == []


def test_the_times_of_a_batch_count_from_its_start(
    ranked: Shard, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(search_together._search_segment, clock, monkeypatch, "_search_segment")
    patient, hasty = ask(200), ask(200, timeout=1.5, best_effort=True)
    unlike = ask(200, filter=MANY, timeout=1.5, best_effort=True)
    found = answer(ranked.view, QueryBatchRequest([patient, hasty, unlike, unlike]))
    assert len(found[0]) > len(found[1]) > 0
    assert found[2] == found[3] == [], "their time was over before their turn came"
    with pytest.raises(DeadlineExceeded, match=r"^queries\[2\]: .*1\.5 s"):
        answer(ranked.view, QueryBatchRequest([patient, patient, ask(timeout=1.5)]))


def test_a_batch_that_is_given_up_ends_all_its_queries(ranked: Shard) -> None:
    whole = Deadline()
    whole.expire()
    made = [ask(timeout=60.0, best_effort=True), ask(filter=HALL, timeout=60.0), ask()]
    for batch in (made, made[:1] * 2, made[2:]):
        with pytest.raises(DeadlineExceeded):
            answer(ranked.view, QueryBatchRequest(batch), whole)


def test_errors_name_the_place_of_their_query(ranked: Shard) -> None:
    missing = QueryRequest(3, query=Query.Nearest(10**9, "dot"))
    long = QueryRequest(3, query=Query.Nearest([1.0] * 99, "dot"))
    unknown = QueryRequest(3, query=Query.Nearest(DOT, "dots"))
    shown = ask(with_vector=["dots"])
    for wrong, kind in (
        (missing, NotFound),
        (long, WrongDimension),
        (unknown, UnknownVector),
        (shown, UnknownVector),
    ):
        with pytest.raises(kind, match=r"^queries\[2\]: "):
            answer(ranked.view, QueryBatchRequest([ask(), ask(), wrong, ask()]))


def test_an_error_of_one_is_no_error_of_another(ranked: Shard) -> None:
    shown = ask(with_vector=["dots"])
    found = told(ranked.view, [ask(), shown, ask()], [NEVER] * 3)
    assert isinstance(found.outcomes[1], UnknownVector)
    assert found.outcomes[0] == found.outcomes[2] == answer(ranked.view, ask())
