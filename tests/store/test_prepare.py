"""Every operation against a dict model, on points that lie in one segment or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.errors import LimitExceeded, NotFound
from edge.model.check import CheckedOperation, check
from edge.model.config import EdgeConfig
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchValue, RangeFloat
from edge.model.json_path import parse
from edge.model.limits import Limits
from edge.model.point import Point, PointVectors
from edge.model.point_id import PointId
from edge.model.sparse import SparseVector
from edge.model.update import UpdateMode, UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    MultiVectorComparator,
    MultiVectorConfig,
)
from edge.model.vector_params import VectorStorageDatatype as D
from edge.payload import edit
from edge.query.answer import Retrieve, answer
from edge.segment.view import ShardView
from edge.store.chosen import ADMITS
from edge.store.effect import Effect, carry_out
from edge.store.prepare import PREPARE, prepare
from edge.store.resolve import RESOLVE, resolved
from edge.vectors.block import Ragged
from tests.segment.made import after, cut, start

SEVERAL = MultiVectorConfig(MultiVectorComparator.MaxSim)
CONFIG = EdgeConfig(
    {
        "": EdgeVectorParams(2, Distance.Dot),
        "b": EdgeVectorParams(1, Distance.Cosine, datatype=D.Float16),
        "m": EdgeVectorParams(2, Distance.Dot, multivector_config=SEVERAL, datatype=D.Uint8),
    },
    {"s": EdgeSparseVectorParams(datatype=D.Uint8)},
)
NAMES = list(CONFIG.names())
IDS: list[PointId] = [*range(12), *(UUID(int=n) for n in range(4))]


class Stored(NamedTuple):
    vectors: dict[str, Any]
    payload: dict[str, Any]


Points = dict[PointId, Stored]
Test = Callable[[PointId, Stored], bool]

ids = st.sampled_from(IDS)
bytes_of_two = st.lists(st.integers(0, 255).map(float), min_size=2, max_size=2)
vectors = st.fixed_dictionaries(
    {}, optional={"": st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=2),
                  "b": st.sampled_from([[1.0], [-1.0]]),
                  "m": st.lists(bytes_of_two, min_size=1, max_size=3),
                  "s": st.sampled_from([SparseVector([], []), SparseVector([3, 2**32 - 1], [1, -1]),
                                        SparseVector([3], [2])])},
)  # fmt: skip
payloads = st.none() | st.fixed_dictionaries(
    {}, optional={"n": st.integers(0, 4), "d": st.sampled_from([{}, {"x": 1}, {"x": 2, "y": [1]}])}
)


class Wanted(NamedTuple):
    filter: Filter
    test: Test


FILTERS = [
    Wanted(Filter(), lambda i, p: True),
    Wanted(
        Filter(must=[FieldCondition("n", range=RangeFloat(gte=2))]),
        lambda i, p: p.payload.get("n", -1) >= 2,
    ),
    Wanted(
        Filter(must_not=[FieldCondition("n", match=MatchValue(1))]),
        lambda i, p: p.payload.get("n") != 1,
    ),
    Wanted(Filter(must=[HasIdCondition(IDS[::3])]), lambda i, p: i in IDS[::3]),
    Wanted(Filter(must=[FieldCondition("gone", match=MatchValue(1))]), lambda i, p: False),
]
filters = st.sampled_from(FILTERS)

# -- shards to begin with


@st.composite
def beginnings(draw: st.DrawFn) -> tuple[ShardView, Points]:
    """One to three segments, in which some points were replaced and deleted."""
    view, points = start(CONFIG), Points()
    for _ in range(draw(st.integers(1, 3))):
        if view.sequence:
            view = cut(view)
        some = draw(st.lists(st.tuples(ids, vectors, payloads), max_size=10))
        gone = draw(st.lists(ids, max_size=2))
        view = after(
            view,
            UpdateOperation.upsert_points([Point(*one) for one in some]),
            UpdateOperation.delete_points(gone),
        )
        points |= {i: Stored(v, p or {}) for i, v, p in some}
        points = {i: p for i, p in points.items() if i not in gone}
    return view, points


def read(view: ShardView) -> Points:
    """All points by reading; the length agrees with the view's own count."""
    found = answer(view, Retrieve.of(IDS, True, NAMES))
    assert len(found) == view.points
    shown = {}
    for record in found:
        alone = isinstance(record.vector, list)
        shown[record.id] = Stored({"": record.vector} if alone else record.vector, record.payload)
    return shown


def check_against(view: ShardView, operation: UpdateOperation, expected: Points) -> None:
    """The operation makes `expected`, raises its points' versions only, and leaves the view."""
    before = read(view)
    checked = check(operation, CONFIG)
    effect = prepare(checked, view)
    by_ids = resolved(checked, view)
    assert names_its_points(by_ids)
    assert plain(prepare(by_ids, view)) == plain(effect)
    assert read(view) == before
    now = carry_out(effect, view, view.sequence + 1)
    assert read(now) == expected
    assert read(view) == before
    if effect.is_nothing:
        assert expected == before


def names_its_points(operation: CheckedOperation) -> bool:
    """Whether no filter, condition or mode is left in it."""
    parts = [getattr(operation, name) for name in operation.__struct_fields__]
    return not any(
        isinstance(part, Filter) or (isinstance(part, UpdateMode) and part is not UpdateMode.Upsert)
        for part in parts
    )


def plain(effect: Effect) -> Any:
    """An effect as values that can be compared."""
    deletes = [(position, offsets.tolist()) for position, offsets in effect.deletes if len(offsets)]
    rows = effect.rows
    if rows is None or not len(rows):
        return deletes, None
    columns = {
        name: (range(len(rows)) if column.where is None else column.where.tolist(), column.block)
        for name, column in rows.vectors.items()
    }
    vectors = {
        name: (list(where), [part.tolist() for part in getattr(block, "parts", (block,))],
               block.starts.tolist() if isinstance(block, Ragged) else None)
        for name, (where, block) in columns.items() if len(where)
    }  # fmt: skip
    return deletes, (rows.ids.tolist(), vectors, rows.payloads)


def located(target: list[PointId] | Wanted, points: Points) -> list[PointId]:
    if isinstance(target, Wanted):
        return [i for i, p in points.items() if target.test(i, p)]
    return list(dict.fromkeys(target))


# -- upserts


@given(
    beginnings(),
    st.lists(st.tuples(ids, vectors, payloads), max_size=8),
    st.sampled_from([None, *UpdateMode.__members__.values()]),
    st.none() | filters,
)
def test_upserts_by_mode_and_condition(
    begun: tuple[ShardView, Points],
    batch: list[tuple[PointId, Any, Any]],
    mode: UpdateMode | None,
    condition: Wanted | None,
) -> None:
    view, points = begun
    expected = dict(points)
    for point_id, given_vectors, payload in batch:  # of equal ids the last one stays
        old = points.get(point_id)
        if old is None:
            passes = mode is not UpdateMode.UpdateOnly
        else:
            passes = mode is not UpdateMode.InsertOnly
            passes = passes and (condition is None or condition.test(point_id, old))
        if passes:
            expected[point_id] = Stored(given_vectors, payload or {})
    operation = UpdateOperation.upsert_points(
        [Point(*one) for one in batch], condition and condition.filter, mode
    )
    check_against(view, operation, expected)


@given(beginnings(), st.lists(ids, min_size=1, max_size=8))
def test_upserts_of_columns(begun: tuple[ShardView, Points], named: list[PointId]) -> None:
    view, points = begun
    blocks = {
        "": np.arange(2 * len(named), dtype=np.float32).reshape(-1, 2),
        "b": np.ones((len(named), 1)),
        "m": np.arange(6 * len(named)).reshape(-1, 3, 2),
    }
    expected = points | {
        i: Stored(
            {"": blocks[""][at].tolist(), "b": [1.0], "m": blocks["m"][at].astype(float).tolist()},
            {},
        )
        for at, i in enumerate(named)
    }
    check_against(view, UpdateOperation.upsert_arrays(named, blocks), expected)


# -- vectors


@given(
    beginnings(), st.lists(st.tuples(st.integers(0, 99), vectors), max_size=6), st.none() | filters
)
def test_updated_vectors(
    begun: tuple[ShardView, Points],
    drawn: list[tuple[int, dict[str, Any]]],
    condition: Wanted | None,
) -> None:
    view, points = begun
    there = list(points)
    changes = [(there[place % len(there)], new) for place, new in drawn] if there else []
    expected = dict(points)
    for point_id, new in changes:
        if condition is None or condition.test(point_id, points[point_id]):
            old = expected[point_id]
            expected[point_id] = old._replace(vectors={**old.vectors, **new})
    operation = UpdateOperation.update_vectors(
        [PointVectors(*change) for change in changes], condition and condition.filter
    )
    check_against(view, operation, expected)


targets = st.lists(ids, max_size=5) | filters


def operation_on(kind: str, target: list[PointId] | Wanted, *arguments: Any) -> UpdateOperation:
    if isinstance(target, Wanted):
        made = getattr(UpdateOperation, f"{kind}_by_filter")(target.filter, *arguments)
    else:
        made = getattr(UpdateOperation, kind)(target, *arguments)
    return made  # type: ignore[no-any-return]


def check_edit(
    begun: tuple[ShardView, Points],
    operation: UpdateOperation,
    target: list[PointId] | Wanted,
    change: Callable[[Stored], Stored],
) -> None:
    """NotFound where a named point lacks, and then nothing is changed; else the change."""
    view, points = begun
    touched = located(target, points)
    lacking = [point_id for point_id in touched if point_id not in points]
    if lacking:
        before = read(view)
        with pytest.raises(NotFound, match="|".join(f"id {point_id}" for point_id in lacking)):
            prepare(resolved(check(operation, CONFIG), view), view)
        assert read(view) == before
        return
    check_against(view, operation, points | {i: change(points[i]) for i in touched})


@given(beginnings(), targets, st.sets(st.sampled_from(NAMES), min_size=1))
def test_deleted_vectors(
    begun: tuple[ShardView, Points], target: list[PointId] | Wanted, names: set[str]
) -> None:
    def without(old: Stored) -> Stored:
        return old._replace(vectors={n: v for n, v in old.vectors.items() if n not in names})

    operation = operation_on("delete_vectors", target, sorted(names))
    check_edit(begun, operation, target, without)


@given(beginnings(), targets)
def test_deleted_points(begun: tuple[ShardView, Points], target: list[PointId] | Wanted) -> None:
    view, points = begun
    gone = located(target, points)
    left = {i: p for i, p in points.items() if i not in gone}
    check_against(view, operation_on("delete_points", target), left)


# -- payloads


keys = st.sampled_from([None, "d", "d.x", "new.place", "d.y[]"])
patches = st.sampled_from([{"n": 9}, {"x": None, "z": [1]}, {}])


@given(beginnings(), targets, patches, keys, st.sampled_from(["set", "overwrite"]))
def test_set_and_overwritten_payloads(
    begun: tuple[ShardView, Points],
    target: list[PointId] | Wanted,
    patch: dict[str, Any],
    key: str | None,
    kind: str,
) -> None:
    apply = edit.set_payload if kind == "set" else edit.overwrite
    path = None if key is None else parse(key)

    def changed(old: Stored) -> Stored:
        return old._replace(payload=apply(old.payload, patch, path))

    check_edit(begun, operation_on(f"{kind}_payload", target, patch, key), target, changed)


@given(beginnings(), targets, st.lists(st.sampled_from(["n", "d.x", "d", "gone"]), max_size=3))
def test_deleted_payload_keys(
    begun: tuple[ShardView, Points], target: list[PointId] | Wanted, removed: list[str]
) -> None:
    def changed(old: Stored) -> Stored:
        return old._replace(payload=edit.delete_keys(old.payload, map(parse, removed)))

    check_edit(begun, operation_on("delete_payload", target, removed), target, changed)


@given(beginnings(), targets)
def test_cleared_payloads(begun: tuple[ShardView, Points], target: list[PointId] | Wanted) -> None:
    operation = operation_on("clear_payload", target)
    check_edit(begun, operation, target, lambda old: old._replace(payload={}))


# -- refusals


def two_segments() -> ShardView:
    points = [Point(i, [1.0, float(i)], {"text": "x" * 60}) for i in range(6)]
    first = after(start(CONFIG), UpdateOperation.upsert_points(points[:3]))
    return after(cut(first), UpdateOperation.upsert_points(points[3:]))


@pytest.mark.parametrize(
    "operation",
    [
        UpdateOperation.set_payload([0, 4, 99], {"n": 1}),
        UpdateOperation.overwrite_payload([99, 0], {"n": 1}),
        UpdateOperation.delete_payload([0, 99], ["text"]),
        UpdateOperation.clear_payload([4, 99]),
        UpdateOperation.delete_vectors([5, 99], [""]),
        UpdateOperation.update_vectors([PointVectors(1, [1.0, 1.0]), PointVectors(99, [1.0, 1.0])]),
        UpdateOperation.update_vectors(
            [PointVectors(99, [1.0, 1.0])], FILTERS[-1].filter
        ),
    ],
)  # fmt: skip
def test_a_named_point_that_is_not_there_refuses_the_whole(operation: UpdateOperation) -> None:
    view = two_segments()
    before = read(view)
    with pytest.raises(NotFound, match="no point with id 99"):
        prepare(check(operation, CONFIG), view)
    assert read(view) == before


def test_deleting_a_point_that_is_not_there_is_nothing() -> None:
    effect = prepare(check(UpdateOperation.delete_points([99, 99]), CONFIG), two_segments())
    assert effect.is_nothing


def test_an_edit_that_makes_one_payload_too_large_refuses_all_of_them() -> None:
    limited = replace(CONFIG, limits=Limits(payload_bytes=100))
    small = UpdateOperation.upsert_arrays([1], {"": np.ones((1, 2))})
    large = UpdateOperation.upsert_arrays([2], {"": np.ones((1, 2))}, [{"text": "x" * 70}])
    view = after(start(limited), small, large)
    patch = check(UpdateOperation.set_payload([1, 2], {"more": "y" * 40}), limited)
    with pytest.raises(LimitExceeded):
        prepare(patch, view)
    assert answer(view, Retrieve.of([1], True, False))[0].payload == {}


# -- rows are written anew only where they must be


def versions(view: ShardView, named: Iterable[PointId]) -> list[int]:
    found = []
    for point_id in named:
        [hit] = [s for s in view.segments if s.find(_row(point_id))[0] >= 0]
        found.append(int(hit.segment.versions[hit.find(_row(point_id))[0]]))
    return found


def _row(point_id: PointId) -> np.ndarray:
    return np.array([[0, 0, int(point_id)]], np.uint64)


def test_only_touched_points_get_a_new_version() -> None:
    view = two_segments()
    later = after(view, UpdateOperation.set_payload([1, 4], {"n": 1}))
    assert versions(view, range(6)) == [1, 1, 1, 2, 2, 2]
    assert versions(later, range(6)) == [1, 3, 1, 2, 3, 2]


def test_the_same_operation_on_the_same_view_has_the_same_effect() -> None:
    view = two_segments()
    operation = check(
        UpdateOperation.set_payload_by_filter(FILTERS[0].filter, {"n": 2}, "d"), CONFIG
    )
    first, second = prepare(operation, view), prepare(operation, view)
    assert [(p, o.tolist()) for p, o in first.deletes] == [
        (p, o.tolist()) for p, o in second.deletes
    ]
    assert first.rows is not None
    assert second.rows is not None
    assert np.array_equal(first.rows.ids, second.rows.ids)
    assert first.rows.payloads == second.rows.payloads


def test_every_checked_operation_can_be_prepared() -> None:
    assert set(PREPARE) == set(CheckedOperation.__subclasses__())
    assert set(ADMITS) == set(UpdateMode.__members__.values())


def test_what_may_depend_on_stored_points_can_be_resolved() -> None:
    dependent = {
        kind
        for kind in CheckedOperation.__subclasses__()
        if {"target", "condition"} & set(kind.__struct_fields__)
    }
    assert dependent == set(RESOLVE)


@given(beginnings(), st.lists(st.tuples(ids, vectors, payloads), max_size=6), filters)
def test_a_resolved_update_of_vectors_leaves_out_no_repeated_id(
    begun: tuple[ShardView, Points], batch: list[tuple[PointId, Any, Any]], condition: Wanted
) -> None:
    """Each of the vectors that one id is given twice over may be of another name."""
    view, points = begun
    changes = [PointVectors(i, v) for i, v, _ in batch if i in points] * 2
    checked = check(UpdateOperation.update_vectors(changes, condition.filter), CONFIG)
    assert plain(prepare(resolved(checked, view), view)) == plain(prepare(checked, view))
