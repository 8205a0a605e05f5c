"""Histories of points that have some of several named vectors, and questions about them.

A history says which points get which vectors, by seeds; what vector a seed is, is the matter of the
test: `Makers`, by name. So the names may come and go while a history runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    MatchAny,
    RangeFloat,
)
from edge.model.point import Point, PointVectors
from edge.model.query import Query, SearchParams
from edge.model.request import CountRequest, QueryRequest, ScrollRequest, SearchRequest
from edge.model.update import UpdateMode, UpdateOperation
from tests.congruence.engines import Pair

U = UpdateOperation

Makers = Mapping[str, Callable[[int], Any]]
"""By name: the vector of a seed."""

FEW = settings(
    max_examples=max(1, settings().max_examples // 10),  # each of dozens of operations
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
        HealthCheck.large_base_example,
    ],
)

IDS: list[int | UUID] = [*range(8), 2**64 - 1, UUID(int=0), UUID(int=2**127)]
BULK = range(100, 160)
ANY_IDS = st.sampled_from(IDS) | st.sampled_from(BULK)
SEEDS = st.integers(0, 60)
EXACT = SearchParams(exact=True)


class Step:
    """One thing to do to both; what it is about may depend on which points are there."""

    def __init__(self, kind: str, *arguments: Any) -> None:
        self.kind = kind
        self.arguments = arguments

    def __repr__(self) -> str:
        return f"{self.kind}{self.arguments}"

    def do(self, pair: Pair, makers: Makers) -> None:
        if self.kind in ("optimize", "restart"):
            getattr(pair, self.kind)()
        else:
            pair.update(OPERATIONS[self.kind](pair, makers, *self.arguments))


def there(pair: Pair, ids: list[Any]) -> list[Any]:
    """Those of the ids that have a point: Qdrant carries out half of what names a missing one."""
    return [record.id for record in pair.ours.retrieve(ids, False, False)]


def vectors_of(makers: Makers, seed: int, absent: tuple[str, ...] = ()) -> dict[str, Any]:
    return {name: make(seed) for name, make in makers.items() if name not in absent}


def _upsert(
    pair: Pair, makers: Makers, ids: list[Any], seed: int, absent: tuple[str, ...], mode: UpdateMode
) -> Any:
    """Few vectors for many points, so that there are ties."""
    points = [
        Point(point_id, vectors_of(makers, seed + place % 17, absent), {"n": (seed + place) % 6})
        for place, point_id in enumerate(ids)
    ]
    return U.upsert_points(points, None, mode)


def _update(pair: Pair, makers: Makers, ids: list[Any], seed: int, absent: tuple[str, ...]) -> Any:
    found = [PointVectors(i, vectors_of(makers, seed + 1, absent)) for i in there(pair, ids)]
    return U.update_vectors(found)


def _delete_vectors(pair: Pair, makers: Makers, whom: Any, names: tuple[str, ...]) -> Any:
    known = [name for name in names if name in makers]
    if isinstance(whom, Filter):
        return U.delete_vectors_by_filter(whom, known)
    return U.delete_vectors(there(pair, whom), known)


def _delete_points(pair: Pair, makers: Makers, whom: Any) -> Any:
    return U.delete_points_by_filter(whom) if isinstance(whom, Filter) else U.delete_points(whom)


def _set_payload(pair: Pair, makers: Makers, whom: Any, number: int) -> Any:
    if isinstance(whom, Filter):
        return U.set_payload_by_filter(whom, {"n": number})
    return U.set_payload(there(pair, whom), {"n": number})


OPERATIONS: dict[str, Any] = {
    "upsert": _upsert,
    "update_vectors": _update,
    "delete_vectors": _delete_vectors,
    "delete_points": _delete_points,
    "set_payload": _set_payload,
}


def step(kind: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(Step, st.just(kind), *arguments)


def some_of(names: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), unique=True, max_size=len(names)).map(tuple)


def filters(names: list[str]) -> st.SearchStrategy[Filter]:
    """Filters by payload, id and the vectors that a point has."""
    numbers = st.lists(st.integers(0, 5), min_size=1, max_size=3)
    ids = st.sets(ANY_IDS, min_size=1, max_size=20)
    has = [HasVectorCondition(name) for name in names]
    return st.one_of(
        st.just(Filter()),
        numbers.map(lambda some: Filter(must=[FieldCondition("n", match=MatchAny(some))])),
        st.integers(1, 5).map(
            lambda n: Filter(should=[FieldCondition("n", range=RangeFloat(gte=n))])
        ),
        ids.map(lambda some: Filter(must=[HasIdCondition(some)])),
        ids.map(lambda some: Filter(must_not=[HasIdCondition(some)])),
        *([st.sampled_from(has).map(lambda one: Filter(must=[one]))] if has else []),
        *([st.sampled_from(has).map(lambda one: Filter(must_not=[one]))] if has else []),
    )


def few_filters(names: list[str]) -> st.SearchStrategy[Filter]:
    return filters(names).filter(lambda one: one != Filter())


def edits(names: list[str], known: list[str] | None = None) -> st.SearchStrategy[Step]:
    """Changes of some points, or of many; `known` vectors (None: all) are looked for in filters."""
    absent = st.just(()) | some_of(names)
    many = st.builds(
        lambda first, count: list(range(first, first + count)),
        st.integers(100, 120),
        st.integers(20, 40),
    )
    few = st.lists(ANY_IDS, min_size=1, max_size=6, unique=True)
    modes = st.sampled_from([UpdateMode.Upsert, UpdateMode.Upsert, *UpdateMode])
    target = few | few_filters([])
    return st.one_of(
        step("upsert", many, SEEDS, absent, modes),
        step("upsert", few, SEEDS, absent, modes),
        step("update_vectors", few, SEEDS, absent),
        step("delete_points", few | few_filters(names if known is None else known)),
        step(
            "delete_vectors",
            target | few_filters(names if known is None else known),
            some_of(names),
        ),
        step("set_payload", target, st.integers(0, 5)),
    )


def histories(names: list[str]) -> st.SearchStrategy[list[Step]]:
    """Many points, changes, a rebuild, changes, a restart, changes, a rebuild, changes."""
    all_of_them = step(
        "upsert", st.just(list(BULK)), SEEDS, st.just(()), st.just(UpdateMode.Upsert)
    )
    some = st.lists(edits(names), min_size=1, max_size=4)
    parts = [all_of_them.map(_alone), some]
    for kind in ("optimize", "restart", "optimize"):
        parts += [step(kind).map(_alone), some]
    return st.tuples(*parts).map(lambda drawn: [one for part in drawn for one in part])


def _alone(one: Step) -> list[Step]:
    return [one]


class Asked:
    """A question that is put when it is known what vector a seed is."""

    def __init__(self, name: str, seed: int, *settings: Any) -> None:
        self.name, self.seed, self.settings = name, seed, settings

    @property
    def filter(self) -> Filter | None:
        found: Filter | None = self.settings[3]
        return found

    def __repr__(self) -> str:
        return f"Asked{(self.name, self.seed, *self.settings)}"

    def request(self, makers: Makers, params: SearchParams = EXACT) -> QueryRequest | SearchRequest:
        """The request, in one of its two forms."""
        query = Query.Nearest(makers[self.name](self.seed), self.name or None)
        limit, offset, with_vector, filter, threshold, plain = self.settings
        if plain:
            return SearchRequest(query, limit, offset, filter, params, with_vector, True, threshold)
        return QueryRequest(
            limit, offset, query, None, with_vector, False, filter, threshold, params
        )


def selections(names: list[str]) -> st.SearchStrategy[Any]:
    return st.none() | st.booleans() | some_of(names).map(list)


def questions(names: list[str], known: list[str] | None = None) -> st.SearchStrategy[Asked]:
    """Searches by the vectors `names`, filtered by the vectors `known` (None: the same)."""
    known = names if known is None else known
    return st.builds(
        Asked,
        st.sampled_from(names),
        SEEDS,
        st.sampled_from([10, 30, 3, 1, 0]),
        st.sampled_from([None, 0, 1, 5, 40]),
        selections(known),
        st.none() | filters(known),
        # No score lies within rounding of one of these.
        st.sampled_from([None, None, None, -1.512345, 0.312345, 3.012345]),
        st.booleans(),
    )


def scrolls(names: list[str]) -> st.SearchStrategy[ScrollRequest]:
    return st.builds(
        ScrollRequest,
        st.none() | ANY_IDS,
        st.sampled_from([None, 5, 100]),
        st.none() | filters(names),
        st.booleans(),
        selections(names),
    )


def ask_plainly(pair: Pair, requests: list[ScrollRequest]) -> None:
    """What is there, and how much of it."""
    for request in requests:
        pair.compare_scroll(request)
        pair.compare_count(CountRequest(filter=request.filter))
