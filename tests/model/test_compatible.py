"""The same names, argument order and optional arguments as the qdrant_edge package has."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import qdrant_edge

from edge import names
from edge.model import (
    bm25,
    choice,
    config,
    examples,
    expression,
    filter,
    formula,
    fusion,
    geo,
    point,
    prefetch,
    quantization,
    query,
    request,
    schema,
    sparse,
    text,
    update,
    vector_params,
)

ROOMS = (
    bm25, choice, config, examples, expression, filter, formula, fusion, geo, point, prefetch,
    quantization, query, request, schema, sparse, text, update, vector_params,
)  # fmt: skip
STUB = ast.parse(Path(qdrant_edge.__file__).with_name("__init__.pyi").read_text())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def room_of(name: str) -> ModuleType | None:
    return next((room for room in ROOMS if hasattr(room, name)), None)


OURS = {name: getattr(room, name) for name in CLASSES if (room := room_of(name)) is not None}


def methods(name: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in CLASSES[name].body if isinstance(node, ast.FunctionDef)}


def arguments(function: ast.FunctionDef) -> list[tuple[str, bool]]:
    """The names of a stub's arguments, and whether each may be left out."""
    names = [argument.arg for argument in function.args.args if argument.arg != "self"]
    required = len(names) - len(function.args.defaults)
    return [(name, at >= required) for at, name in enumerate(names)]


def parameters(function: Any) -> list[tuple[str, bool]]:
    """The same of ours, without what we add by keyword."""
    return [
        (parameter.name, parameter.default is not parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.KEYWORD_ONLY
    ]


def test_the_rooms_hold_what_this_file_compares() -> None:
    assert set(CLASSES) - set(OURS) == {"EdgeShard"}


@pytest.mark.parametrize(
    "name", [name for name in OURS if "__init__" in methods(name) and name != "EdgeConfig"]
)
def test_constructors(name: str) -> None:
    expected = arguments(methods(name)["__init__"])
    assert parameters(OURS[name])[: len(expected)] == expected


def test_the_config_takes_its_arguments_first() -> None:
    expected = arguments(methods("EdgeConfig")["__init__"])
    assert parameters(config.EdgeConfig) == expected


@pytest.mark.parametrize("name", list(OURS))
def test_properties(name: str) -> None:
    for found, node in methods(name).items():
        if any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list):
            assert hasattr(OURS[name], found), found


@pytest.mark.parametrize("name", ["UpdateOperation", "Query", "PayloadSelector", "Expression"])
def test_static_constructors(name: str) -> None:
    for found, node in methods(name).items():
        assert parameters(getattr(OURS[name], found)) == arguments(node), found


def test_constructors_of_fusions() -> None:
    kinds = [node for node in CLASSES["Fusion"].body if isinstance(node, ast.ClassDef)]
    assert [kind.name for kind in kinds] == ["Rrf", "Dbsf"]
    for kind in kinds:
        made = next(node for node in kind.body if isinstance(node, ast.FunctionDef))
        assert parameters(getattr(fusion.Fusion, kind.name)) == arguments(made)


ENUMS = [
    "Distance", "Memory", "VectorStorageDatatype", "UpdateMode", "MultiVectorComparator",
    "Modifier", "ScalarType", "CompressionRatio", "BinaryQuantizationEncoding",
    "BinaryQuantizationQueryEncoding", "TurboQuantBitSize", "Direction", "Sample", "DecayKind",
]  # fmt: skip
UNWRITABLE = "None"
"""A member of theirs that no program can name: with us None says the same."""


@pytest.mark.parametrize("name", ENUMS)
def test_enums(name: str) -> None:
    found = dir(getattr(qdrant_edge, name))
    theirs = {member for member in found if not member.startswith("_")} - {UNWRITABLE}
    assert set(OURS[name].__members__) == theirs
    assert {repr(member) for member in OURS[name]} == {f"{name}.{member}" for member in theirs}


VECTORS: list[Any] = [
    [1, 2.5], (1, 2), range(3), np.array([1, 2]), np.float32([0.1, 0.2]), {"a": [1.0], "b": [2, 3]},
    {}, [],
]  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=repr)
def test_points_hold_the_same_numbers(vector: Any) -> None:
    ours, theirs = point.Point(1, vector).vector, qdrant_edge.Point(1, vector).vector
    if isinstance(ours, dict):
        assert {name: array.tolist() for name, array in ours.items()} == theirs
    else:
        assert ours.tolist() == theirs


@pytest.mark.parametrize(
    "name", ["QueryRequest", "SearchRequest", "ScrollRequest", "CountRequest", "SearchParams"]
)
def test_defaults_mean_the_same(name: str) -> None:
    given = {"QueryRequest": (7,), "CountRequest": (), "SearchParams": (), "ScrollRequest": ()}
    if name == "SearchRequest":
        ours = request.SearchRequest(query.Query.Nearest([1.0]), 7)
        theirs = qdrant_edge.SearchRequest(qdrant_edge.Query.Nearest([1.0]), 7)
    else:
        ours = OURS[name](*given[name])
        theirs = getattr(qdrant_edge, name)(*given[name])
    for field in methods(name):
        if field.startswith("_") or field == "query":
            continue
        wanted = getattr(theirs, field)
        # Where Qdrant says None for "the default", ours says the default.
        if wanted is not None:
            found = getattr(ours, field)
            assert (list(found) if isinstance(found, tuple) else found) == wanted, field


def fitting(module: Any) -> list[Any]:
    """Rankings of either package, of the same arguments."""
    pair = module.ContextPair([1, 2], [[0.1, 2], [3, 4]])
    item = module.FeedbackItem(module.SparseVector([1], [0.1]), 0.1)
    strategy = module.NaiveFeedbackStrategy(1, 0.1, -2)
    return [
        module.RecommendQuery([[1, 2], np.float32([3, 0.1])], np.ones((1, 2))),
        pair,
        module.DiscoverQuery([0.1], [pair]),
        module.ContextQuery([pair, pair]),
        item,
        strategy,
        module.FeedbackNaiveQuery([1], [item], strategy),
        module.Query.RecommendBestScore(module.RecommendQuery([], [[1.0]]), "a"),
        module.Query.Nearest([1, 2]),
        module.Fusion.Rrf(60, [0.1, 2]),
        module.Fusion.Rrf(2),
        module.Fusion.Dbsf(),
        module.Mmr([1, 2], 0.1, 10),
        module.Mmr(module.SparseVector([1], [1]), 1, 10, "a"),
        module.Prefetch(5),
        module.Prefetch(
            5, module.Fusion.Rrf(2), [module.Prefetch(3)], module.SearchParams(7), None, 0.5
        ),
        module.Expression.Constant(0.1),
        module.Expression.Variable("$score[1]"),
        module.Expression.GeoDistance(module.GeoPoint(1, 2), "a.b"),
        module.Expression.Div(module.Expression.Constant(1), module.Expression.Variable("a"), 0.1),
    ]


def held(ours: Any, theirs: Any) -> None:
    """Compare all that may be read of theirs with what ours holds under the same names."""
    if isinstance(theirs, (bool, int, float, str, type(None))):
        assert ours == theirs
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            held(one, other)
    else:
        for name in dir(theirs):
            if name[0].islower():
                held(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("at", range(len(fitting(qdrant_edge))))
def test_rankings_hold_the_same(at: int) -> None:
    held(fitting(names)[at], fitting(qdrant_edge)[at])
