"""Formulas, column by column, against a plain evaluator that takes one point after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import DeadlineExceeded, LimitExceeded, ValidationError
from edge.model.config import EdgeConfig
from edge.model.expression import DecayKind, Expression
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    MatchValue,
    RangeFloat,
)
from edge.model.formula import Formula
from edge.model.geo import GeoPoint
from edge.model.point import Point
from edge.model.prefetch import Prefetch
from edge.model.query import Query
from edge.model.request import QueryRequest
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from edge.query import deadline, formula
from edge.query.answer import answer
from edge.query.deadline import Deadline
from edge.query.formula import metres
from edge.segment.view import SegmentView, ShardView
from tests.query.ranked_shards import order_of
from tests.segment.made import after, cut, start

X, U = Expression, UpdateOperation
C, V = X.Constant, X.Variable
Payload = dict[str, Any]
ALL = 1000
CONFIG = EdgeConfig({"v": EdgeVectorParams(1, Distance.Dot)})


def shard_of(payloads: list[Payload], *schema: Any) -> ShardView:
    """Points 0, 1 and so on, each third one in a segment of its own; of number i the vector is
    [i + 1]."""
    view = after(start(CONFIG), *schema)
    for first in range(0, len(payloads), 3):
        numbers = range(first, min(first + 3, len(payloads)))
        points = [Point(i, {"v": [i + 1.0]}, payloads[i]) for i in numbers]
        view = cut(after(view, U.upsert_points(points)))
    return view


def scoring(factor: float, *ids: int, limit: int = ALL) -> Prefetch:
    """A prefetch that scores the points i (none named: all) with (i + 1) * factor."""
    filter = Filter(must=[HasIdCondition(ids)]) if ids else None
    return Prefetch(limit, Query.Nearest([factor], "v"), filter=filter)


def rated(
    view: ShardView,
    expression: Expression,
    defaults: Any = None,
    prefetches: list[Prefetch] | None = None,
    limit: int = ALL,
    **settings: Any,
) -> list[tuple[Any, float]]:
    asked = prefetches or [scoring(1.0)]
    request = QueryRequest(limit, query=Formula(expression, defaults), prefetches=asked, **settings)
    return [(hit.id, hit.score) for hit in answer(view, request)]


def value(expression: Expression, payload: Payload | None = None, defaults: Any = None) -> float:
    """What it makes of one point, whose score is 1.0."""
    ((_, score),) = rated(shard_of([payload or {}]), expression, defaults)
    return score


# -- each kind

TEN = C(10.0)
SECONDS = datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp()

VALUES: dict[str, tuple[Expression, float]] = {
    "constant": (C(2.5), 2.5),
    "a constant is a float32": (X.Mult([C(0.1), C(1e9)]), float(np.float32(0.1)) * 1e9),
    "score": (V("$score"), 1.0),
    "score by its place": (V("$score[0]"), 1.0),
    "score of nobody": (V("$score[3]"), 0.0),
    "variable": (V("n"), 7.0),
    "float": (V("x"), -1.5),
    "path": (V("deep.er"), 3.0),
    "element": (V("list[1]"), 20.0),
    "list of one": (V("one"), 5.0),
    "list of one, by its elements": (V("one[]"), 5.0),
    "object in a list": (V("parts[].n"), 4.0),
    "score as a path": (V("score"), 77.0),
    "large integer": (X.Div(V("large"), C(2.0**60)), 16.0),
    "true condition": (X.Condition(FieldCondition("n", match=MatchValue(7))), 1.0),
    "false condition": (X.Condition(FieldCondition("n", match=MatchValue(8))), 0.0),
    "filter": (X.Condition(Filter(must_not=[HasIdCondition([5])])), 1.0),
    "vector condition": (X.Condition(HasVectorCondition("v")), 1.0),
    "place": (X.Div(X.GeoDistance(GeoPoint(2.0, 1.0), "place"), C(1000.0)), 0.0),
    "moment": (
        X.Sum([X.Datetime("2024-03-01T12:00:00Z"), C(-1.7e9)]),
        SECONDS - float(np.float32(1.7e9)),
    ),
    "moment of a payload": (
        X.Sum([X.DatetimeKey("at"), X.Neg(X.Datetime("2024-03-01T12:00:00Z"))]),
        1.5,
    ),
    "product": (X.Mult([C(2.0), C(3.0), C(-4.0)]), -24.0),
    "product of none": (X.Mult([]), 1.0),
    "sum": (X.Sum([C(2.0), C(3.0), C(-4.0)]), 1.0),
    "sum of none": (X.Sum([]), 0.0),
    "greatest": (X.Max([C(2.0), C(3.0), C(-4.0)]), 3.0),
    "least": (X.Min([C(2.0), C(3.0), C(-4.0)]), -4.0),
    "greatest of one": (X.Max([C(2.0)]), 2.0),
    "negative": (X.Neg(C(2.0)), -2.0),
    "absolute": (X.Abs(C(-2.0)), 2.0),
    "quotient": (X.Div(C(1.0), C(4.0)), 0.25),
    "quotient by zero": (X.Div(C(1.0), C(0.0), 9.0), 9.0),
    "quotient by minus zero": (X.Div(C(1.0), X.Neg(C(0.0)), 9.0), 9.0),
    "zero by zero": (X.Div(C(0.0), C(0.0)), 0.0),
    "zero by zero, with a default": (X.Div(C(0.0), C(0.0), 9.0), 0.0),
    "root": (X.Sqrt(C(9.0)), 3.0),
    "power": (X.Pow(C(2.0), C(-3.0)), 0.125),
    "zero to zero": (X.Pow(C(0.0), C(0.0)), 1.0),
    "power of e": (X.Exp(C(1.0)), math.e),
    "a tiny power of e": (X.Exp(C(-1000.0)), 0.0),
    "common logarithm": (X.Log10(C(1000.0)), 3.0),
    "natural logarithm": (X.Ln(C(10.0)), math.log(10)),
    "acosh": (X.Acosh(C(3.0)), math.acosh(3)),
    "acosh of one": (X.Acosh(C(1.0)), 0.0),
    "straight decay": (X.Decay(DecayKind.Lin, C(0.5)), 0.75),
    "straight decay, far": (X.Decay(DecayKind.Lin, C(-5.0)), 0.0),
    "straight decay to nothing": (X.Decay(DecayKind.Lin, C(0.5), None, 0.0), 0.5),
    "straight decay to all": (X.Decay(DecayKind.Lin, C(99.0), None, 1.0), 1.0),
    "bell": (X.Decay(DecayKind.Gauss, C(2.0)), 0.0625),
    "bell from the other side": (X.Decay(DecayKind.Gauss, C(-2.0)), 0.0625),
    "decay by steps": (X.Decay(DecayKind.Exp, C(-2.0)), 0.25),
    "decay at its scale": (X.Decay(DecayKind.Gauss, C(13.0), TEN, 0.25, 3.0), 0.25),
    "decay at its target": (X.Decay(DecayKind.Exp, TEN, TEN, 0.25, 3.0), 1.0),
    "decay from a variable": (X.Decay(DecayKind.Exp, V("n"), V("$score"), 0.5, 3.0), 0.25),
}
FULL: Payload = {
    "n": 7,
    "x": -1.5,
    "deep": {"er": 3},
    "list": [10, 20],
    "one": [5],
    "parts": [{"n": 4}],
    "score": 77,
    "large": 2**64 - 1,
    "place": {"lat": 1.0, "lon": 2.0, "name": "dock"},
    "at": "2024-03-01T12:00:01.5Z",
    "text": "12",
    "yes": True,
    "null": None,
    "nulls": [None, None],
    "nothing": [],
    "null and one": [None, 6],
}


@pytest.mark.parametrize("name", VALUES)
def test_each_expression(name: str) -> None:
    expression, expected = VALUES[name]
    assert value(expression, FULL) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_numbers_are_worked_out_in_float64_and_given_in_float32() -> None:
    third = X.Div(C(1.0), C(3.0))
    assert value(third) == float(np.float32(1 / 3))
    beyond = X.Mult([C(1e38), C(1e38), C(1e38)])
    assert value(X.Div(beyond, X.Mult([C(1e38), C(1e38)]))) == pytest.approx(1e38, rel=1e-6)
    assert value(X.Sum([C(2.0**24), C(1.0), C(-(2.0**24))])) == 1.0


def test_a_great_circle() -> None:
    """Berlin to Paris; a quarter of a meridian; half of the equator."""
    assert metres(GeoPoint(13.4050, 52.52), GeoPoint(2.3522, 48.8566)) == pytest.approx(
        877_464.5, rel=1e-4
    )
    radius = 6_371_008.8
    assert metres(GeoPoint(30.0, 0.0), GeoPoint(0.0, 90.0)) == pytest.approx(
        radius * math.pi / 2, rel=1e-9
    )
    assert metres(GeoPoint(-90.0, 0.0), GeoPoint(90.0, 0.0)) == pytest.approx(
        radius * math.pi, rel=1e-7
    )
    assert metres(GeoPoint(1.0, 2.0), GeoPoint(1.0, 2.0)) == 0.0


# -- what is missing

DEFAULTS: dict[str, tuple[Expression, Any, float]] = {
    "missing": (V("zz"), {"zz": 3}, 3.0),
    "of another spelling": (V("deep.zz"), {'"deep"."zz"': 3}, 3.0),
    "null": (V("null"), {"null": 4.5}, 4.5),
    "list of nulls": (V("nulls"), {"nulls": 2}, 2.0),
    "empty list": (V("nothing"), {"nothing": 2}, 2.0),
    "element out of range": (V("list[7]"), {"list[7]": 2}, 2.0),
    "not needed": (V("n"), {"n": 2, "other": "whatever"}, 7.0),
    "nulls beside a number": (V('"null and one"'), {}, 6.0),
    "moment": (X.DatetimeKey("zz"), {"zz": "1970-01-02"}, 86_400.0),
    "moment as a datetime": (
        X.DatetimeKey("zz"),
        {"zz": datetime(1970, 1, 2, tzinfo=UTC)},
        86_400.0,
    ),
    "place": (X.GeoDistance(GeoPoint(2.0, 1.0), "zz"), {"zz": {"lon": 2.0, "lat": 1.0}}, 0.0),
    "place as such": (X.GeoDistance(GeoPoint(2.0, 1.0), "zz"), {"zz": GeoPoint(2.0, 1.0)}, 0.0),
    "score": (V("$score[2]"), {"$score[2]": -1.0}, -1.0),
    "score that is there": (V("$score"), {"$score": -1.0}, 1.0),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_stand_in_for_what_is_missing(name: str) -> None:
    expression, defaults, expected = DEFAULTS[name]
    assert value(expression, FULL, defaults) == pytest.approx(expected)


def test_scores_are_those_of_each_prefetch() -> None:
    """A point that a prefetch has not found has 0.0 from it, or the default."""
    view = shard_of([{}] * 5)
    prefetches = [scoring(1.0, 0, 1, 2), scoring(10.0, 2, 3), scoring(100.0, 4)]
    expression = X.Sum([V("$score"), V("$score[1]"), X.Mult([V("$score[2]"), C(2.0)])])
    found = rated(view, expression, None, prefetches)
    assert found == [(4, 1000.0), (3, 40.0), (2, 33.0), (1, 2.0), (0, 1.0)]
    found = rated(view, expression, {"$score": -1.0, "$score[2]": 0.5}, prefetches)
    assert found == [(4, 999.0), (3, 40.0), (2, 34.0), (1, 3.0), (0, 2.0)]


def test_scores_of_prefetches_that_rank_others() -> None:
    view = shard_of([{}] * 4)
    inner = Prefetch(2, Query.Nearest([-1.0], "v"), [scoring(1.0, limit=3)])
    assert rated(view, V("$score"), None, [inner]) == [(1, -2.0), (2, -3.0)]


WRONG: dict[str, tuple[Expression, Any, str]] = {
    "missing": (V("zz"), {}, "zz is missing, and has no default"),
    "missing, told by its canonical name": (
        V('deep."z z"'),
        {},
        'deep."z z" is missing, and has no default',
    ),
    "null": (V("null"), {}, "null is missing, and has no default"),
    "empty list": (V("nothing[]"), {}, r"nothing\[\] is missing, and has no default"),
    "text": (V("text"), {"text": 1.0}, "text is not one number"),
    "bool": (V("yes"), {"yes": 1.0}, "yes is not one number"),
    "object": (V("deep"), {}, "deep is not one number"),
    "several": (V("list"), {"list": 1.0}, "list is not one number"),
    "missing moment": (X.DatetimeKey("zz"), {}, "zz is missing, and has no default"),
    "number as a moment": (X.DatetimeKey("n"), {}, "n is not one moment in time"),
    "text that is no moment": (X.DatetimeKey("text"), {}, "text is not one moment in time"),
    "missing place": (
        X.GeoDistance(GeoPoint(0.0, 0.0), "zz"),
        {},
        "zz is missing, and has no default",
    ),
    "number as a place": (X.GeoDistance(GeoPoint(0.0, 0.0), "n"), {}, "n is not a place"),
    "object that is no place": (
        X.GeoDistance(GeoPoint(0.0, 0.0), "deep"),
        {},
        "deep is not a place",
    ),
    "list as a place": (X.GeoDistance(GeoPoint(0.0, 0.0), "list"), {}, "list is not a place"),
    "root": (X.Sqrt(C(-1.0)), {}, "Sqrt is not finite"),
    "power of e": (X.Exp(C(1000.0)), {}, "Exp is not finite"),
    "common logarithm": (X.Log10(C(0.0)), {}, "Log10 is not finite"),
    "natural logarithm": (X.Ln(C(-1.0)), {}, "Ln is not finite"),
    "acosh": (X.Acosh(C(0.5)), {}, "Acosh is not finite"),
    "power of zero": (X.Pow(C(0.0), C(-1.0)), {}, "Pow is not finite"),
    "root of less than nothing": (X.Pow(C(-2.0), C(0.5)), {}, "Pow is not finite"),
    "by zero": (X.Div(C(1.0), C(0.0)), {}, "Div is not finite"),
    "too much": (X.Mult([C(1e38), C(1e38)]), {}, "the score is not finite as float32"),
    "no number": (
        X.Sum([X.Mult([C(1e38)] * 9), X.Neg(X.Mult([C(1e38)] * 9))]),
        {},
        "the score is not finite as float32",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_name_the_expression_and_the_first_such_point(name: str) -> None:
    expression, defaults, message = WRONG[name]
    with pytest.raises(ValidationError, match=rf"^query\.formula: {message} \(point 0\)$"):
        value(expression, FULL, defaults)


def test_errors_name_a_point_that_is_wrong() -> None:
    view = shard_of([{"n": 4}, {"n": 0}, {}, {"n": -1}, {"n": "x"}])
    for expression, ids, message in (
        (V("n"), [0, 1, 2, 3], r"n is missing, and has no default \(point 2\)"),
        (V("n"), [0, 1, 3, 4], r"n is not one number \(point 4\)"),
        (X.Sqrt(V("n")), [0, 1, 3], r"Sqrt is not finite \(point 3\)"),
        (X.Div(C(1.0), V("n")), [0, 1, 3], r"Div is not finite \(point 1\)"),
    ):
        with pytest.raises(ValidationError, match=message):
            rated(view, expression, None, [scoring(1.0, *ids)])


BAD = [
    V("zz"),
    V("text"),
    X.Sqrt(C(-1.0)),
    X.Ln(C(0.0)),
    X.Exp(C(9e9)),
    X.GeoDistance(GeoPoint(0.0, 0.0), "n"),
]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_what_is_behind_a_zero_is_not_looked_at(bad: Expression) -> None:
    """Behind a zero factor, under a zero numerator; not before it, nor in a sum."""
    for lazy in (
        X.Mult([C(0.0), bad]),
        X.Mult([C(2.0), C(0.0), bad, C(3.0)]),
        X.Mult([C(0.0), X.Sum([X.Abs(bad)])]),
        X.Div(C(0.0), bad),
        X.Div(C(0.0), X.Sum([bad]), 7.0),
        X.Mult([C(0.0), X.Div(C(1.0), C(0.0))]),
        X.Mult([C(0.0), X.Decay(DecayKind.Lin, bad, bad)]),
        X.Mult([C(0.0), X.Pow(bad, bad), X.Max([bad]), X.Min([C(1.0), bad])]),
    ):
        assert value(lazy, FULL) == 0.0
    for strict in (
        X.Mult([bad, C(0.0)]),
        X.Mult([C(1.0), bad, C(0.0)]),
        X.Sum([X.Mult([C(0.0), C(1.0)]), bad]),
        X.Div(bad, C(1.0)),
        X.Div(C(1.0), bad, 7.0),
        X.Max([C(9.0), bad]),
    ):
        with pytest.raises(ValidationError, match=r"query\.formula"):
            value(strict, FULL)


def test_each_point_is_asked_for_what_it_needs_alone() -> None:
    """Of the points with a gate those alone need a value."""
    view = shard_of([{"gate": 0}, {"gate": 2, "n": 5}, {"gate": 0, "n": "x"}, {"gate": 1, "n": 7}])
    gated = X.Mult([V("gate"), X.Ln(V("n"))])
    found = dict(rated(view, gated))
    assert found == pytest.approx({0: 0.0, 1: 2 * math.log(5), 2: 0.0, 3: math.log(7)})
    assert dict(rated(view, X.Div(V("gate"), V("n")))) == pytest.approx(
        {0: 0.0, 1: 0.4, 2: 0.0, 3: 1 / 7}
    )


def test_no_points_need_nothing() -> None:
    view = shard_of([{}] * 3)
    nobody = Filter(must=[HasIdCondition([99])])
    assert rated(view, V("zz"), filter=nobody) == []
    assert rated(view, X.Ln(C(0.0)), None, [scoring(1.0, limit=0)]) == []
    assert rated(view, V("zz"), limit=0) == []


# -- the rest of a ranking


def test_the_greatest_come_first_and_equal_ones_by_id() -> None:
    view = shard_of([{"n": n} for n in (3, 1, 3, 2, 1, 3, 2)])
    found = rated(view, V("n"))
    assert found == [(0, 3.0), (2, 3.0), (5, 3.0), (3, 2.0), (6, 2.0), (1, 1.0), (4, 1.0)]
    assert rated(view, V("n"), limit=4) == found[:4]
    assert rated(view, V("n"), limit=2, offset=1) == found[1:3]
    assert rated(view, V("n"), score_threshold=2.0) == found[:5]
    inner = Prefetch(4, Formula(V("n")), [scoring(1.0)], score_threshold=3.0)
    assert rated(view, C(1.0), None, [inner]) == [(0, 1.0), (2, 1.0), (5, 1.0)]


def test_payloads_are_read_whatever_the_index() -> None:
    """Integers beyond an index's own, and values of another kind than it takes."""
    payloads = [{"n": 2**64 - 1, "word": 3}, {"n": 1.5, "word": 4}, {"n": None, "word": None}]
    fields = {"n": PayloadSchemaType.Integer, "word": PayloadSchemaType.Keyword}
    view = shard_of(payloads, *(U.create_field_index(*field) for field in fields.items()))
    assert rated(view, V("n"), {"n": 0.5}) == [(0, 2.0**64), (1, 1.5), (2, 0.5)]
    assert rated(view, V("word"), {"word": 9}) == [(2, 9.0), (1, 4.0), (0, 3.0)]


def test_a_payload_is_read_once_and_of_it_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = shard_of([{"n": i, "at": "2024-01-01", "big": ["x" * 999] * 99} for i in range(7)])
    asked: list[Any] = []
    read: list[int] = []
    reader = SegmentView.reader

    def counted(self: SegmentView, keys: Any) -> Any:
        asked.append(keys)
        act = reader(self, keys)

        def counting(offsets: list[int]) -> Any:
            read.extend(self.ids[offset][2] for offset in offsets)
            return act(offsets)

        return counting

    monkeypatch.setattr(SegmentView, "reader", counted)
    rated(view, X.Sum([V("n"), X.Mult([V("n"), V("n")]), X.DatetimeKey("at"), V("n")]))
    assert sorted(read) == list(range(7))
    assert {frozenset(keys) for keys in asked} == {frozenset({"n", "at"})}
    del read[:]
    rated(view, X.Sum([V("$score"), C(1.0), X.Datetime("2024-01-01")]))
    assert read == []


def test_a_formula_stops_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    view = shard_of([{"n": i} for i in range(30)])
    looks = [0]

    def clock() -> float:
        looks[0] += 1
        return float(looks[0])

    monkeypatch.setattr(deadline, "monotonic", clock)
    request = QueryRequest(9, query=Formula(C(1.0)), prefetches=[scoring(1.0)])
    answer(view, request, Deadline(1e9))
    few = looks[0]
    looks[0] = 0
    request = QueryRequest(9, query=Formula(V("n")), prefetches=[scoring(1.0)])
    monkeypatch.setattr(formula, "CANDIDATES_A_READ", 1)
    answer(view, request, Deadline(1e9))
    many = looks[0]
    assert many == few + 30
    for timeout in (few + 5, many - 2):
        looks[0] = 0
        with pytest.raises(DeadlineExceeded):
            answer(view, request, Deadline(timeout))


def test_an_expression_of_too_many_parts_is_refused() -> None:
    wide = X.Sum([C(1.0)] * 1000)
    with pytest.raises(LimitExceeded, match=r"query\.formula: 1001, at most 1000"):
        value(wide)
    assert value(X.Sum([C(1.0)] * 999)) == 999.0


# -- any expression at all


class Wrong(Exception):
    """A number that is not there."""


POINTS: list[Payload] = [
    FULL,
    {**FULL, "n": 0, "x": 0.25, "at": "1969-12-31T00:00:00Z"},
    {**FULL, "n": -3, "null": 8, "place": {"lat": -40, "lon": 100}},
    {"n": 1, "one": [2]},
    {"x": 2, "text": 3, "yes": 0, "at": "2030-01-01", "list": [1]},
    {"n": [2], "x": [], "one": 9, "null": [None, 1], "place": [{"lat": 0, "lon": 0}]},
    {},
]
VIEW = shard_of(POINTS)
NUMBERS = ["n", "x", "one", "text", "yes", "null", "list", "list[1]", "deep.er", "zz"]
ORIGIN = GeoPoint(3.0, 4.0)
CONDITIONS: list[tuple[Any, Callable[[Payload], bool]]] = [
    (
        FieldCondition("n", match=MatchValue(0)),
        lambda p: 0 in (p["n"] if isinstance(p.get("n"), list) else [p.get("n")]),
    ),
    (
        FieldCondition("x", range=RangeFloat(gt=0)),
        lambda p: isinstance(p.get("x"), (int, float)) and p["x"] > 0,
    ),
    (
        Filter(must_not=[FieldCondition("text", match=MatchValue("12"))]),
        lambda p: p.get("text") != "12",
    ),
]


class Plain:
    """What an expression makes of one point."""

    def __init__(self, payload: Payload, scores: list[float | None], defaults: Payload) -> None:
        self.payload, self.scores, self.defaults = payload, scores, defaults

    def held(self, name: str) -> Any:
        """The one value at a path, or its default; Wrong where there is none."""
        found: Any = self.payload
        for step in name.replace("[1]", ".1").split("."):
            if step == "1":
                found = found[1] if isinstance(found, list) and len(found) > 1 else None
            else:
                found = found.get(step) if isinstance(found, dict) else None
        several = [
            one for one in (found if isinstance(found, list) else [found]) if one is not None
        ]
        if not several and name in self.defaults:
            return self.defaults[name]
        if len(several) != 1:
            raise Wrong(name)
        return several[0]

    def number(self, e: Any) -> np.float64:
        with np.errstate(all="ignore"):
            return np.float64(getattr(self, type(e).__name__.removesuffix("Expression"))(e))

    def finite(self, found: Any) -> Any:
        if not np.isfinite(found):
            raise Wrong
        return found

    def Constant(self, e: Any) -> Any:
        return e.val

    def Variable(self, e: Any) -> Any:
        if isinstance(e.source, int):
            score = self.scores[e.source] if e.source < len(self.scores) else None
            return self.defaults.get(f"$score[{e.source}]", 0.0) if score is None else score
        found = self.held(e.var)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise Wrong(e.var)
        return found

    def Condition(self, e: Any) -> Any:
        return float({id(c): t for c, t in CONDITIONS}[id(e.cond)](self.payload))

    def GeoDistance(self, e: Any) -> Any:
        found = self.held(e.to)
        if not isinstance(found, dict) or "lat" not in found:
            raise Wrong(e.to)
        return metres(e.origin, GeoPoint(found["lon"], found["lat"]))

    def Datetime(self, e: Any) -> Any:
        return 1e6

    def DatetimeKey(self, e: Any) -> Any:
        found = self.held(e.path)
        if not isinstance(found, str) or "-" not in found:
            raise Wrong(e.path)
        moment = datetime.fromisoformat(found)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    def Mult(self, e: Any) -> Any:
        product = np.float64(1)
        for part in e.exprs:
            if product == 0:
                return 0.0
            product *= self.number(part)
        return product

    def Sum(self, e: Any) -> Any:
        return sum((self.number(part) for part in e.exprs), np.float64(0))

    def Max(self, e: Any) -> Any:
        return np.fmax.reduce([self.number(part) for part in e.exprs])

    def Min(self, e: Any) -> Any:
        return np.fmin.reduce([self.number(part) for part in e.exprs])

    def Neg(self, e: Any) -> Any:
        return -self.number(e.expr)

    def Abs(self, e: Any) -> Any:
        return abs(self.number(e.expr))

    def Div(self, e: Any) -> Any:
        left = self.number(e.left)
        if left == 0:
            return 0.0
        right = self.number(e.right)
        if right == 0 and e.by_zero_default is not None:
            return e.by_zero_default
        return self.finite(left / right)

    def Sqrt(self, e: Any) -> Any:
        return self.finite(np.sqrt(self.number(e.expr)))

    def Pow(self, e: Any) -> Any:
        base = self.number(e.base)
        return self.finite(np.power(base, self.number(e.exponent)))

    def Exp(self, e: Any) -> Any:
        return self.finite(np.exp(self.number(e.expr)))

    def Log10(self, e: Any) -> Any:
        return self.finite(np.log10(self.number(e.expr)))

    def Ln(self, e: Any) -> Any:
        return self.finite(np.log(self.number(e.expr)))

    def Acosh(self, e: Any) -> Any:
        return self.finite(np.arccosh(self.number(e.expr)))

    def Decay(self, e: Any) -> Any:
        x = self.number(e.x)
        away = abs(x - (0.0 if e.target is None else self.number(e.target)))
        if e.kind is DecayKind.Lin:
            return np.maximum(0.0, 1 - away * (1 - e.midpoint) / e.scale)
        power = away if e.kind is DecayKind.Exp else away**2 / e.scale
        return np.exp(power * np.log(e.midpoint) / e.scale)


def drawn(draw: Random, depth: int) -> Expression:
    if not depth or draw.random() < 0.2:
        return draw.choice(PLAIN)(draw)
    kind = draw.choice(KINDS)
    return kind(draw, lambda: drawn(draw, depth - 1))


PLAIN: list[Callable[[Random], Expression]] = [
    lambda draw: C(draw.choice([-2.0, 0.0, 0.0, 0.5, 1.0, 3.0])),
    lambda draw: V(draw.choice(NUMBERS)),
    lambda draw: V(draw.choice(["$score", "$score[0]", "$score[1]", "$score[2]"])),
    lambda draw: X.Condition(draw.choice(CONDITIONS)[0]),
    lambda draw: X.GeoDistance(ORIGIN, "place"),
    lambda draw: X.DatetimeKey("at"),
    lambda draw: X.Datetime("1970-01-12T13:46:40Z"),
]
KINDS: list[Callable[[Random, Callable[[], Expression]], Expression]] = [
    lambda draw, inner: X.Mult([inner() for _ in range(draw.randrange(4))]),
    lambda draw, inner: X.Mult([inner(), inner()]),
    lambda draw, inner: X.Sum([inner() for _ in range(draw.randrange(4))]),
    lambda draw, inner: X.Max([inner() for _ in range(draw.randrange(1, 4))]),
    lambda draw, inner: X.Min([inner() for _ in range(draw.randrange(1, 4))]),
    lambda draw, inner: X.Neg(inner()),
    lambda draw, inner: X.Abs(inner()),
    lambda draw, inner: X.Div(inner(), inner(), draw.choice([None, 0.25])),
    lambda draw, inner: X.Div(inner(), inner(), 1.0),
    lambda draw, inner: X.Sqrt(inner()),
    lambda draw, inner: X.Pow(inner(), inner()),
    lambda draw, inner: X.Exp(inner()),
    lambda draw, inner: X.Log10(inner()),
    lambda draw, inner: X.Ln(inner()),
    lambda draw, inner: X.Acosh(inner()),
    lambda draw, inner: X.Decay(
        draw.choice([*DecayKind]), inner(), draw.choice([None, inner()]), 0.25, 2.0
    ),
]
STAND_INS: Payload = {"n": 2, "x": -1, "zz": 0.5, "one": 1, "list[1]": 0, "$score[1]": 4.0}
SEEDS = st.lists(st.integers(0, 2**24), min_size=30, max_size=30)


@given(seeds=SEEDS)
def test_any_expression_is_what_the_plain_evaluator_says(seeds: list[int]) -> None:
    """And fails where it fails for any of the points, naming one of these."""
    for seed in seeds:
        draw = Random(seed)
        expression = drawn(draw, draw.randrange(4))
        defaults = {name: v for name, v in STAND_INS.items() if draw.random() < 0.8}
        chosen = draw.sample(range(len(POINTS)), draw.choice([1, 1, 2, 4]))
        others = chosen[: draw.randrange(len(chosen)) + 1]
        expected: dict[int, float] = {}
        wrong = []
        for point in chosen:
            scores = [point + 1.0, -2.0 * (point + 1) if point in others else None]
            try:
                found = Plain(POINTS[point], scores, defaults).number(expression)
                with np.errstate(all="ignore"):
                    expected[point] = float(Plain.finite(None, np.float32(found)))  # type: ignore[arg-type]
            except Wrong:
                wrong.append(point)
        prefetches = [scoring(1.0, *chosen), scoring(-2.0, *others)]
        if not wrong:
            found = rated(VIEW, expression, defaults, prefetches)
            assert dict(found) == pytest.approx(expected, rel=1e-5, abs=1e-30), expression
            assert [one for one, _ in found] == sorted(
                dict(found), key=lambda one, f=dict(found): (-f[one], order_of(one))
            )
            continue
        points = "|".join(map(str, wrong))
        with pytest.raises(ValidationError, match=rf"^query\.formula: .* \(point ({points})\)$"):
            rated(VIEW, expression, defaults, prefetches)
