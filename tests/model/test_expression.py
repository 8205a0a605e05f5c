"""Expressions and formulas: how they are read back, how large they may be, what is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from edge.errors import LimitExceeded, ValidationError
from edge.model.expression import DecayKind, Expression, variable, walk
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    IsEmptyCondition,
    MatchValue,
    MinShould,
    NestedCondition,
)
from edge.model.formula import Formula, canonical
from edge.model.geo import GeoPoint
from edge.model.json_path import parse

X = Expression
ONE, TWO = X.Constant(1), X.Constant(2)
NAN, INF = float("nan"), float("inf")
KINDS: list[Any] = [
    ONE,
    X.Variable("a[].b"),
    X.Variable("$score[3]"),
    X.Condition(FieldCondition("a", MatchValue("mug"))),
    X.Condition(Filter([IsEmptyCondition("a")])),
    X.GeoDistance(GeoPoint(13.4, 52.5), "place"),
    X.Datetime("2024-01-01T12:00:00+02:00"),
    X.DatetimeKey("seen"),
    X.Mult([ONE, TWO]),
    X.Sum([ONE, TWO]),
    X.Max([ONE, TWO]),
    X.Min([ONE, TWO]),
    X.Neg(ONE),
    X.Div(ONE, TWO),
    X.Div(ONE, TWO, 0.5),
    X.Sqrt(ONE),
    X.Pow(ONE, TWO),
    X.Exp(ONE),
    X.Log10(ONE),
    X.Ln(ONE),
    X.Acosh(ONE),
    X.Abs(ONE),
    X.Decay(DecayKind.Exp, ONE),
    X.Decay(DecayKind.Gauss, ONE, TWO, 0.25, 60),
]


def kind_of(expression: Any) -> str:
    return repr(expression).split("(")[0].removeprefix("Expression.")


@pytest.mark.parametrize("expression", KINDS, ids=map(kind_of, KINDS))
def test_expressions_are_values(expression: Any) -> None:
    again = pickle.loads(pickle.dumps(expression))
    assert (again, again.nodes, hash(again)) == (expression, expression.nodes, hash(expression))
    assert copy.copy(expression) is expression
    assert [other == expression for other in KINDS] == [other is expression for other in KINDS]
    assert "\n" not in repr(expression)
    with pytest.raises(AttributeError):
        setattr(expression, expression.__struct_fields__[0], None)


def test_every_kind_is_an_expression_of_its_own() -> None:
    names = [name for name in vars(Expression) if name[0].isupper()]
    assert len(names) == 20
    assert {kind_of(expression) for expression in KINDS} == set(names)
    for expression in KINDS:
        assert isinstance(expression, Expression)
        assert type(expression) is getattr(Expression, kind_of(expression))


def test_expressions_print_as_they_are_written() -> None:
    assert repr(X.Sum([X.Variable("$score"), X.Neg(ONE)])) == (
        "Expression.Sum(exprs=[Expression.Variable(var='$score'), "
        "Expression.Neg(expr=Expression.Constant(val=1.0))])"
    )


def test_parts_are_gone_through_in_order() -> None:
    a, b, c = (X.Variable(name) for name in "abc")
    assert X.Div(a, b).parts() == X.Pow(a, b).parts() == (a, b)
    assert X.Decay(DecayKind.Lin, a).parts() == X.Abs(a).parts() == (a,)
    assert X.Decay(DecayKind.Lin, a, b).parts() == X.Max([a, b]).parts() == (a, b)
    assert ONE.parts() == ()
    whole = X.Sum([X.Mult([a, b]), X.Neg(c)])
    assert [kind_of(part) for part in walk(whole)].count("Variable") == 3
    assert len(list(walk(whole))) == whole.nodes == 6


def test_numbers_are_held_in_single_precision() -> None:
    tenth = float(np.float32(0.1))
    assert X.Constant(0.1).val == X.Constant(np.float64(0.1)).val == tenth
    assert X.Div(ONE, TWO, 0.1).by_zero_default == tenth
    decay = X.Decay(DecayKind.Exp, ONE, None, 0.1, 0.1)
    assert (decay.midpoint, decay.scale) == (tenth, tenth)


def test_what_is_left_out_is_read_back_as_what_it_means() -> None:
    short = X.Decay(DecayKind.Gauss, ONE)
    assert short == X.Decay(DecayKind.Gauss, ONE, None, None, None)
    assert (short.target, short.midpoint, short.scale) == (None, 0.5, 1.0)
    assert X.Div(ONE, TWO) == X.Div(ONE, TWO, None)
    assert X.Datetime(datetime(2024, 1, 1, 10, tzinfo=UTC)) == KINDS[6]
    assert X.Datetime("2024-01-01").date_time == "2024-01-01 00:00:00 UTC"


def test_conditions_become_filters() -> None:
    filter_ = Filter([IsEmptyCondition("a")])
    assert X.Condition(filter_).filter is filter_
    assert X.Condition(IsEmptyCondition("a")).filter == filter_


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("$score", 0),
        ("$score[0]", 0),
        ("$score[7]", 7),
        ('$"score"[1]', 1),
        ("score", parse("score")),
        ("a[].b[0]", parse("a[].b[0]")),
        ('"$score"', parse('"$score"')),
    ],
)
def test_variables(text: str, source: Any) -> None:
    found = X.Variable(text)
    assert (found.var, found.source, variable(text, "x")) == (text, source, source)


@pytest.mark.parametrize(
    "text",
    [
        "$", "$score[]", "$score[-1]", "$score.a", "$scor", "$score[0][1]", "$ score", "$a",
        "$score[99999999999999999999]", "", "a b", "[0]", "a..b", "a[",
    ],
)  # fmt: skip
def test_what_is_no_variable(text: str) -> None:
    with pytest.raises(ValidationError, match=r"var: (not a payload path|expected a payload path)"):
        X.Variable(text)
    with pytest.raises(ValidationError, match=r"defaults: name: "):
        Formula(ONE, {text: 1})


def nested(levels: int) -> Expression:
    found: Expression = ONE
    for _ in range(levels - 1):
        found = X.Neg(found)
    return found


def test_expressions_end_exactly_at_the_ceilings() -> None:
    deep = nested(64)
    assert (deep.depth, deep.nodes) == (64, 64)
    assert repr(deep).count("Neg") == 63
    with pytest.raises(LimitExceeded, match="65 levels of 65 parts, at most 64 and 65536"):
        X.Abs(deep)
    wide = X.Sum([ONE] * 65_535)
    assert (wide.depth, wide.nodes) == (2, 65_536)
    with pytest.raises(LimitExceeded, match="65537 parts"):
        X.Sum([ONE] * 65_536)
    doubled: Expression = ONE
    for _ in range(15):
        doubled = X.Sum([doubled, doubled])
    assert doubled.nodes == 65_535
    with pytest.raises(LimitExceeded, match="17 levels of 131071 parts"):
        X.Sum([doubled, doubled])


def test_conditions_count_by_what_is_in_them() -> None:
    filter_ = Filter([IsEmptyCondition("a")] * 4)
    assert X.Condition(IsEmptyCondition("a")).nodes == 2
    assert X.Condition(filter_).nodes == X.Condition(NestedCondition("a", filter_)).nodes == 6
    assert X.Sum([X.Condition(filter_)] * 2).nodes == 13


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Expression(), "Expression: expected one of its kinds"),
    (lambda: X.Constant(None), "val: expected a number"),
    (lambda: X.Constant(True), "val: expected a number"),
    (lambda: X.Constant(NAN), "val: expected a number"),
    (lambda: X.Constant(INF), "val: expected a finite float32, got inf"),
    (lambda: X.Constant(1e39), "val: expected a finite float32"),
    (lambda: X.Variable(7), "var: expected a str"),
    (lambda: X.Condition(MinShould([], 1)), "cond: expected a condition, got MinShould"),
    (lambda: X.Condition(True), "cond: expected a condition"),
    (lambda: X.GeoDistance((1, 2), "a"), "origin: expected a GeoPoint"),
    (lambda: X.GeoDistance(GeoPoint(1, 2), "a b"), "not a payload path"),
    (lambda: X.GeoDistance(GeoPoint(1, 2), None), "to: expected a str"),
    (lambda: X.Datetime("2024"), "date_time: expected a datetime"),
    (lambda: X.Datetime(7), "date_time: expected a datetime"),
    (lambda: X.DatetimeKey(""), "not a payload path"),
    (lambda: X.DatetimeKey(7), "path: expected a str"),
    (lambda: X.Sum(ONE), "exprs: expected a list"),
    (lambda: X.Sum([ONE, 1.0]), r"exprs\[1\]: expected a Expression, got 1.0"),
    (lambda: X.Mult(["a"]), r"exprs\[0\]: expected a Expression"),
    (lambda: X.Max([]), "exprs: expected one expression at least"),
    (lambda: X.Min([]), "exprs: expected one expression at least"),
    (lambda: X.Min([None]), r"exprs\[0\]: expected a Expression"),
    (lambda: X.Neg(1), "expr: expected a Expression"),
    (lambda: X.Div(1, ONE), "left: expected a Expression"),
    (lambda: X.Div(ONE, 1), "right: expected a Expression"),
    (lambda: X.Div(ONE, ONE, INF), "by_zero_default: expected a finite float32"),
    (lambda: X.Div(ONE, ONE, "1"), "by_zero_default: expected a number"),
    (lambda: X.Pow(1, ONE), "base: expected a Expression"),
    (lambda: X.Pow(ONE, None), "exponent: expected a Expression"),
    (lambda: X.Decay("exp", ONE), "kind: expected a DecayKind"),
    (lambda: X.Decay(DecayKind.Exp, 1), "x: expected a Expression"),
    (lambda: X.Decay(DecayKind.Exp, ONE, 1), "target: expected a Expression"),
    (lambda: X.Decay(DecayKind.Lin, ONE, None, -0.1), "midpoint: expected 0 to 1, got -0.1"),
    (lambda: X.Decay(DecayKind.Lin, ONE, None, 1.1), "midpoint: expected 0 to 1"),
    (lambda: X.Decay(DecayKind.Exp, ONE, None, 0), "midpoint: expected more than 0"),
    (lambda: X.Decay(DecayKind.Gauss, ONE, None, 1), "midpoint: expected more than 0 and less"),
    (lambda: X.Decay(DecayKind.Exp, ONE, None, NAN), "midpoint: expected a number"),
    (lambda: X.Decay(DecayKind.Exp, ONE, None, None, 0), "scale: expected more than 0, got 0"),
    (lambda: X.Decay(DecayKind.Exp, ONE, None, None, 1e-50), "scale: expected more than 0"),
    (lambda: X.Decay(DecayKind.Exp, ONE, None, None, INF), "scale: expected a finite float32"),
    (lambda: Formula(1.0), "formula: expected a Expression"),
    (lambda: Formula(None), "formula: expected a Expression"),
    (lambda: Formula(ONE, []), "defaults: expected a dict"),
    (lambda: Formula(ONE, {7: 1}), "defaults: name: expected a str"),
    (lambda: Formula(ONE, {"$score": 1, "$score[0]": 2}), r"defaults: \$score\[0\] comes twice"),
    (lambda: Formula(ONE, {"a": 1, '"a"': 2}), "defaults: a comes twice"),
    (lambda: Formula(ONE, {"a": None}), r"defaults\['a'\]: expected a number"),
    (lambda: Formula(ONE, {"a": [7]}), r"defaults\['a'\]: expected a number"),
    (lambda: Formula(ONE, {"a": True}), r"defaults\['a'\]: expected a number"),
    (lambda: Formula(ONE, {"a": INF}), r"defaults\['a'\]: expected a finite number"),
    (lambda: Formula(ONE, {"a": {"lat": 1}}), r"defaults\['a'\]: expected a GeoPoint, or a dict"),
    (lambda: Formula(ONE, {"a": "\ud800"}), r"defaults\['a'\]: holds a lone surrogate"),
    (lambda: Formula(ONE, {"$score[1]": "x"}), r"defaults\['\$score\[1\]'\]: expected a number"),
    (lambda: Formula(X.Variable("a"), {"a": "2024-01-01"}), r"defaults\['a'\]: expected a number"),
    (lambda: Formula(X.DatetimeKey("a"), {"a": 5}), r"defaults\['a'\]: expected a datetime"),
    (lambda: Formula(X.DatetimeKey("a"), {"a": "x"}), r"defaults\['a'\]: expected a datetime"),
    (lambda: Formula(KINDS[5], {"place": [1, 2]}), r"defaults\['place'\]: expected a GeoPoint"),
    (lambda: Formula(KINDS[5], {"place": {"lat": 91, "lon": 0}}), r"\['place'\].lat: expected deg"),
    (
        lambda: Formula(X.Sum([X.Variable("a"), X.DatetimeKey("a")]), {"a": 1}),
        r"defaults\['a'\]: the formula asks for values of several kinds",
    ),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


def test_defaults_are_read_back_in_one_form() -> None:
    expression = X.Sum(
        [
            X.Variable('"a"'), X.Variable("$score"), X.DatetimeKey("seen"),
            X.GeoDistance(GeoPoint(0, 0), "place"),
        ]
    )  # fmt: skip
    found = Formula(
        expression,
        {
            "a": np.int64(5),
            "$score": 0.5,
            "$score[2]": 1,
            "seen": datetime(2024, 1, 1, tzinfo=UTC),
            "place": {"lat": 52.5, "lon": 13.4, "alt": 30},
            "nobody.asks": "mug",
        },
    )
    assert found.defaults == {
        "a": 5.0,
        "$score[0]": 0.5,
        "$score[2]": 1.0,
        "seen": "2024-01-01 00:00:00 UTC",
        "place": GeoPoint(13.4, 52.5),
        "nobody.asks": "mug",
    }
    assert pickle.loads(pickle.dumps(found)) == found
    assert Formula(ONE) == Formula(ONE, None) == Formula(ONE, {})
    assert Formula(ONE).defaults == {}
    assert Formula(ONE, {"a": datetime(2024, 1, 1)}).defaults["a"] == "2024-01-01 00:00:00 UTC"
    assert Formula(ONE, {"a": GeoPoint(1, 2)}).defaults["a"] == GeoPoint(1, 2)


def test_defaults_are_nobodys_but_the_formulas() -> None:
    given = {"a": 1}
    found = Formula(ONE, given)
    given["a"] = 2
    assert found.defaults == {"a": 1.0}
    assert Formula(ONE).defaults is not Formula(ONE).defaults


def test_one_variable_has_one_name() -> None:
    assert canonical("$score", "x") == canonical("$score[00]", "x") == "$score[0]"
    assert canonical('"a"."b c"[00]', "x") == 'a."b c"[0]'


def test_a_large_formula_is_checked_in_time() -> None:
    wide = X.Sum([X.Variable("a")] * 60_000)
    assert Formula(wide, {"a": 1}).defaults == {"a": 1.0}
    ids = X.Condition(HasIdCondition(range(100_000)))
    assert X.Sum([ids] * 1000).nodes == 2001
