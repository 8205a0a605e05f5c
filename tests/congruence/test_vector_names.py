"""Vector names come and go while a shard runs, as in qdrant_edge.

The deliberate differences are tests of their own, at the end; each shows both behaviours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st

from edge.blocking import EdgeShard
from edge.errors import UnknownVector, ValidationError
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import Filter, HasVectorCondition
from edge.model.point import Point, PointVectors
from edge.model.query import IdfParams, Query, SearchParams
from edge.model.request import CountRequest, QueryRequest, ScrollRequest
from edge.model.sparse import SparseVector
from edge.model.update import CreateVector, UpdateOperation
from edge.model.vector_params import (
    Distance,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    Modifier,
    MultiVectorComparator,
    MultiVectorConfig,
    VectorStorageDatatype,
)
from tests.congruence.engines import ALL, Pair, shown, theirs
from tests.congruence.histories import BULK, EXACT, FEW, SEEDS, Step, edits

U = UpdateOperation
S = SparseVector
D = Distance
T = VectorStorageDatatype
Pairs = Callable[[EdgeConfig], Pair]

MAX_SIM = MultiVectorConfig(MultiVectorComparator.MaxSim)


class Kind(NamedTuple):
    """What a name may be of: its params, and the vector of a seed."""

    params: EdgeVectorParams | EdgeSparseVectorParams
    make: Callable[[int], Any]

    def create(self, name: str) -> UpdateOperation:
        return CreateVector(name, self.params)


def dense(size: int) -> Callable[[int], list[float]]:
    """Small whole numbers: no vector of zeros, which has no direction."""

    def make(seed: int) -> list[float]:
        drawn = np.random.default_rng([seed, size]).integers(-2, 3, size).astype(float)
        drawn[seed % size] = 3.0
        return drawn.tolist()

    return make


def many(size: int) -> Callable[[int], list[list[float]]]:
    one = dense(size)
    return lambda seed: [one(seed + i) for i in range(1 + seed % 3)]


def sparse(seed: int) -> SparseVector:
    draw = np.random.default_rng([seed, 1])
    count = int(draw.integers(1, 7))
    return S(draw.choice(20, count, replace=False), draw.normal(size=count))


KINDS = [
    Kind(EdgeVectorParams(4, D.Dot), dense(4)),
    Kind(EdgeVectorParams(3, D.Euclid), dense(3)),
    Kind(EdgeVectorParams(3, D.Manhattan), dense(3)),
    Kind(EdgeVectorParams(4, D.Cosine), dense(4)),
    Kind(EdgeSparseVectorParams(), sparse),
    Kind(EdgeSparseVectorParams(modifier=Modifier.Idf), sparse),
    Kind(EdgeVectorParams(3, D.Euclid, multivector_config=MAX_SIM), many(3)),
    Kind(EdgeVectorParams(4, D.Dot, datatype=T.Float16), dense(4)),
    Kind(EdgeVectorParams(5, D.Cosine, datatype=T.Uint8), dense(5)),
]
POOL = ["", "a", "b", "größe/1 ö"]
BASE = {
    "": Kind(EdgeVectorParams(6, D.Cosine), dense(6)),
    "d": KINDS[0]._replace(params=EdgeVectorParams(16, D.Dot), make=dense(16)),
}
NAMES = ["d", *POOL]
CONFIG = EdgeConfig(
    vectors={name: kind.params for name, kind in BASE.items()},
    optimizers=EdgeOptimizersConfig(
        deleted_threshold=0.1,
        vacuum_min_vector_number=8,
        default_segment_number=1,
        indexing_threshold=1,
    ),
    durability=Durability.Os,
    checkpoint_bytes=20_000,
)


class World(dict[str, Any]):
    """By name: the vector of a seed. `kinds` has what each name is now."""

    def __init__(self) -> None:
        super().__init__({name: kind.make for name, kind in BASE.items()})
        self.kinds = dict(BASE)

    def put(self, name: str, kind: Kind) -> None:
        self[name], self.kinds[name] = kind.make, kind

    def drop(self, name: str) -> None:
        self.pop(name, None)
        self.kinds.pop(name, None)


class Create(Step):
    """A new name, the same once more, or the same with other params, which both refuse."""

    def __init__(self, name: str, kind: Kind) -> None:
        super().__init__("create", name, kind.params)
        self.name, self.made = name, kind

    def do(self, pair: Pair, makers: Any) -> None:
        known = makers.kinds.get(self.name)
        operation = self.made.create(self.name)
        if known is None or known.params == self.made.params:
            pair.update(operation)
            makers.put(self.name, self.made)
        elif type(known.params) is type(self.made.params):
            pair.refuse(lambda shard: shard.update(operation), ValidationError, "as stored")


class Delete(Step):
    """A name that is there, or one that is not."""

    def __init__(self, name: str) -> None:
        super().__init__("delete", name)
        self.name = name

    def do(self, pair: Pair, makers: Any) -> None:
        pair.update(U.delete_vector_name(self.name))
        makers.drop(self.name)


pool = st.sampled_from(POOL)
creations = st.builds(Create, pool, st.sampled_from(KINDS))
changes = st.one_of(
    creations,
    creations,
    st.builds(Delete, pool),
    edits(NAMES, ["d"]),
    edits(NAMES, ["d"]),
    edits(NAMES, ["d"]),
)
stretches = st.lists(changes, min_size=3, max_size=8)
big_steps = st.sampled_from(["optimize", "restart"])


def start(pair: Pair) -> World:
    """The names of the config, and points."""
    world = World()
    points = [Point(i, {name: make(i) for name, make in world.items()}, {"n": i % 6}) for i in BULK]
    pair.update(U.upsert_points(points))
    return world


def compare(pair: Pair, world: World, seed: int) -> None:
    """All that can be asked by names, of those that are there and of those that are not."""
    pair.compare()
    for name in NAMES:
        if name in world:
            for filter in (None, Filter(must=[HasVectorCondition(name)])):
                pair.compare_query(nearest(world, name, seed, filter))
            for one in (
                Filter(must=[HasVectorCondition(name)]),
                Filter(must_not=[HasVectorCondition(name)]),
            ):
                pair.compare_count(CountRequest(filter=one))
            pair.compare_scroll(ScrollRequest(limit=ALL, with_vector=[name]))
        else:
            query = Query.Nearest([1.0] * 4, name)
            pair.refuse(
                lambda shard, q=query: shard.query(QueryRequest(3, query=q)),
                UnknownVector,
                "not known",
            )


def nearest(world: World, name: str, seed: int, filter: Filter | None) -> QueryRequest:
    """A sparse vector with weights of the points that live, and whatever their sum."""
    query, kind = Query.Nearest(world[name](seed), name), world.kinds[name]
    params = EXACT
    if isinstance(kind.params, EdgeSparseVectorParams) and kind.params.modifier:
        params = SearchParams(idf=IdfParams(Filter()))
    return QueryRequest(15, 0, query, with_vector=True, filter=filter, params=params)


@FEW
@given(
    first=stretches,
    then=st.lists(st.tuples(big_steps, stretches), min_size=2, max_size=3),
    last=big_steps,
    seed=SEEDS,
)
def test_any_names_at_any_time(
    pairs: Pairs, first: list[Any], then: list[Any], last: str, seed: int
) -> None:
    pair = pairs(CONFIG)
    world = start(pair)
    for change in first:
        change.do(pair, world)
    compare(pair, world, seed)
    for big, stretch in then:
        Step(big).do(pair, world)
        compare(pair, world, seed)
        for change in stretch:
            change.do(pair, world)
            pair.compare()
        compare(pair, world, seed)
    Step(last).do(pair, world)
    compare(pair, world, seed)
    pair.close()


# -- one case at a time

HAS = {name: Filter(must=[HasVectorCondition(name)]) for name in "dnm"}
SIXTEEN = [1.0] * 16
PLAIN = EdgeConfig(
    vectors={"d": EdgeVectorParams(16, D.Dot)},
    optimizers=CONFIG.optimizers,
    durability=Durability.Os,
)


def upsert(*points: Point) -> UpdateOperation:
    return U.upsert_points(points)


@pytest.fixture
def plain(pairs: Pairs) -> Pair:
    made = pairs(PLAIN)
    made.update(upsert(*(Point(i, {"d": SIXTEEN}, {"n": i % 3}) for i in range(40))))
    return made


def ask(pair: Pair, name: str, vector: Any) -> None:
    """Whatever depends on who has the vector."""
    pair.compare()
    for filter in (HAS[name], Filter(must_not=[HasVectorCondition(name)])):
        pair.compare_count(CountRequest(filter=filter))
        pair.compare_scroll(ScrollRequest(limit=ALL, filter=filter, with_vector=[name]))
    pair.compare_query(QueryRequest(9, query=Query.Nearest(vector, name), with_vector=True))
    pair.compare_retrieve([1, 2, 100], False, [name])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: repr(kind.params)[:50])
@pytest.mark.parametrize("built", [False, True], ids=["growing", "built"])
def test_points_lack_a_new_vector_until_it_is_given_to_them(
    plain: Pair, kind: Kind, built: bool
) -> None:
    if built:
        plain.optimize()
    vector = kind.make(1)
    plain.update(kind.create("n"))
    ask(plain, "n", vector)
    plain.update(U.update_vectors([PointVectors(i, {"n": kind.make(i)}) for i in range(9)]))
    ask(plain, "n", vector)
    plain.update(upsert(Point(100, {"n": kind.make(1)}), Point(1, {"d": SIXTEEN})))
    ask(plain, "n", vector)
    for big in (plain.restart, plain.optimize, plain.restart):
        big()
        ask(plain, "n", vector)


@pytest.mark.parametrize("built", [False, True], ids=["growing", "built"])
def test_old_values_do_not_come_back(plain: Pair, built: bool) -> None:
    """Neither where the new vector is like the old one, nor where it is another."""
    for kind in (KINDS[0], KINDS[0], KINDS[1], KINDS[4], KINDS[6]):
        plain.update(kind.create("n"))
        ask(plain, "n", kind.make(1))
        plain.update(U.update_vectors([PointVectors(i, {"n": kind.make(i)}) for i in range(9)]))
        ask(plain, "n", kind.make(1))
        if built:
            plain.optimize()
        plain.update(U.delete_vector_name("n"))
        plain.compare()
    plain.restart()
    plain.compare()


def test_a_name_that_is_there_already_is_passed_over(plain: Pair) -> None:
    for kind in KINDS:
        name = str(KINDS.index(kind))
        plain.update(kind.create(name))
        plain.update(U.update_vectors([PointVectors(1, {name: kind.make(1)})]))
        plain.update(kind.create(name))
    plain.update(U.create_dense_vector("d", 16, D.Dot))
    plain.compare()
    plain.restart()
    for kind in KINDS:
        plain.update(kind.create(str(KINDS.index(kind))))
    plain.compare()


OTHERS: dict[str, tuple[UpdateOperation, UpdateOperation]] = {
    "size": (U.create_dense_vector("n", 4, D.Dot), U.create_dense_vector("n", 5, D.Dot)),
    "distance": (U.create_dense_vector("n", 4, D.Dot), U.create_dense_vector("n", 4, D.Cosine)),
    "datatype": (
        U.create_dense_vector("n", 4, D.Dot),
        U.create_dense_vector("n", 4, D.Dot, datatype=T.Float16),
    ),
    "several": (
        U.create_dense_vector("n", 4, D.Dot),
        U.create_dense_vector("n", 4, D.Dot, MAX_SIM),
    ),
    "one": (U.create_dense_vector("n", 4, D.Dot, MAX_SIM), U.create_dense_vector("n", 4, D.Dot)),
    "modifier": (U.create_sparse_vector("n"), U.create_sparse_vector("n", Modifier.Idf)),
    "sparse datatype": (
        U.create_sparse_vector("n", None, T.Float16),
        U.create_sparse_vector("n", None, T.Uint8),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_that_is_there_with_other_params_is_refused(plain: Pair, name: str) -> None:
    first, second = OTHERS[name]
    plain.update(first)
    plain.refuse(lambda shard: shard.update(second), ValidationError, "as stored")
    plain.update(first)
    plain.compare()


def test_the_vectors_of_the_config_are_names_as_any(plain: Pair) -> None:
    plain.refuse(
        lambda shard: shard.update(U.create_dense_vector("d", 16, D.Cosine)),
        ValidationError,
        "as stored",
    )
    plain.update(U.create_dense_vector("n", 4, D.Dot))
    plain.update(U.delete_vector_name("d"))
    plain.compare()
    plain.restart()
    plain.compare()
    plain.update(U.create_dense_vector("d", 2, D.Manhattan))
    ask(plain, "d", [1.0, 2.0])


GONE: dict[str, tuple[Callable[[Any], Any], type[Exception]]] = {
    "upsert": (lambda shard: shard.update(upsert(Point(1, {"n": [1.0] * 4}))), UnknownVector),
    "update": (
        lambda shard: shard.update(U.update_vectors([PointVectors(1, {"n": [1.0] * 4})])),
        UnknownVector,
    ),
    "delete": (lambda shard: shard.update(U.delete_vectors([1], ["n"])), UnknownVector),
    "query": (
        lambda shard: shard.query(QueryRequest(3, query=Query.Nearest([1.0] * 4, "n"))),
        UnknownVector,
    ),
    "show": (lambda shard: shard.retrieve([1], False, ["n"]), UnknownVector),
}


@pytest.mark.parametrize("name", GONE)
def test_a_name_that_was_taken_away_is_not_known(plain: Pair, name: str) -> None:
    act, kind = GONE[name]
    plain.update(U.create_dense_vector("n", 4, D.Dot))
    act(plain.ours)
    plain.update(U.delete_vector_name("n"))
    plain.update(U.delete_vector_name("n"))  # and once more
    plain.refuse(act, kind, "n")


@pytest.mark.parametrize("name", ["a/b", "\n", "\"'", "größe", "日本", " ", "x" * 200, "ö" * 100])
def test_names_are_any_text(plain: Pair, name: str) -> None:
    plain.update(U.create_dense_vector(name, 2, D.Dot))
    plain.update(U.update_vectors([PointVectors(1, {name: [1.0, 2.0]})]))
    plain.compare()
    plain.restart()
    plain.compare()
    plain.compare_query(QueryRequest(3, query=Query.Nearest([1.0, 0.5], name), with_vector=[name]))


def test_the_default_name_may_come_later(plain: Pair) -> None:
    plain.update(U.create_dense_vector("", 2, D.Dot))
    plain.update(upsert(Point(1, [1.0, 2.0]), Point(2, {"": [3.0, 4.0], "d": SIXTEEN})))
    plain.compare()
    plain.compare_query(QueryRequest(3, query=Query.Nearest([1.0, 1.0]), with_vector=True))
    plain.update(U.delete_vector_name(""))
    plain.compare()


# Deliberate differences.


def test_the_last_vector_stays_where_qdrant_takes_it_away(plain: Pair) -> None:
    """A shard without any vector could not be made either."""
    last = U.delete_vector_name("d")
    with pytest.raises(ValidationError, match="at least one vector"):
        plain.ours.update(last)
    plain.theirs.update(theirs(last))
    assert shown(plain.ours, [1])[1][1] == {"d": SIXTEEN}
    assert shown(plain.theirs, [1])[1][1] == {}
    plain.ours.update(U.create_sparse_vector("n"))
    plain.ours.update(last)
    assert shown(plain.ours, [1])[1][1] == {}


@pytest.mark.parametrize("first", [KINDS[0], KINDS[4]], ids=["dense", "sparse"])
def test_a_name_of_another_kind_is_refused_where_qdrant_says_nothing(
    plain: Pair, first: Kind
) -> None:
    """And does nothing, so that the next upsert fails."""
    second = KINDS[4] if first is KINDS[0] else KINDS[0]
    plain.update(first.create("n"))
    plain.update(U.update_vectors([PointVectors(1, {"n": first.make(1)})]))
    with pytest.raises(ValidationError, match="as stored"):
        plain.ours.update(second.create("n"))
    plain.theirs.update(theirs(second.create("n")))
    plain.compare()
    point = upsert(Point(9, {"n": second.make(1)}))
    plain.refuse(lambda shard: shard.update(point), ValidationError, "expected")


@pytest.mark.parametrize("plainly", [True, False])
def test_float32_is_what_none_means_where_qdrant_tells_them_apart(
    plain: Pair, plainly: bool
) -> None:
    asked: list[Callable[[Any], UpdateOperation]] = [
        lambda datatype: U.create_dense_vector("n", 4, D.Dot, datatype=datatype),
        lambda datatype: U.create_sparse_vector("m", datatype=datatype),
    ]
    first, second = (None, T.Float32) if plainly else (T.Float32, None)
    for create in asked:
        plain.update(create(first))
        plain.ours.update(create(second))
        with pytest.raises(Exception, match="already exists with different parameters"):
            plain.theirs.update(theirs(create(second)))


def test_a_vector_that_can_not_be_is_refused_where_it_breaks_qdrants_shard(pairs: Pairs) -> None:
    """The operation stays in its log: neither the shard nor whoever loads it takes updates."""
    for make_ours, other in (
        (
            lambda: U.create_dense_vector("n", 0, D.Dot),
            qdrant_edge.UpdateOperation.create_dense_vector("n", 0, qdrant_edge.Distance.Dot),
        ),
        (
            lambda: U.create_dense_vector("n" * 300, 4, D.Dot),
            qdrant_edge.UpdateOperation.create_dense_vector("n" * 300, 4, theirs(D.Dot)),
        ),
    ):
        pair = pairs(PLAIN)
        with pytest.raises(ValidationError):
            pair.ours.update(make_ours())
        pair.ours.update(upsert(Point(1, {"d": SIXTEEN})))
        with pytest.raises(Exception, match=r"cannot be 0|failed to create directory"):
            pair.theirs.update(other)
        with pytest.raises(Exception, match="Not recovered from previous error"):
            pair.theirs.update(theirs(upsert(Point(1, {"d": SIXTEEN}))))


@pytest.mark.parametrize("name", ["..", "a/../../b", "/a", "a\0b"])
def test_a_name_is_no_path_where_qdrants_is_a_folder(pairs: Pairs, name: str) -> None:
    """It refuses those that lead elsewhere, and breaks by those that cannot be."""
    pair = pairs(PLAIN)
    create = U.create_dense_vector(name, 2, D.Dot)
    pair.ours.update(create)
    pair.ours.update(upsert(Point(1, {name: [1.0, 2.0]})))
    pair.ours.optimize()
    pair.ours.close()
    pair.ours = EdgeShard.load(pair.folder / "ours")
    assert shown(pair.ours, [1])[1][1] == {name: [1.0, 2.0]}
    with pytest.raises(Exception, match=r"invalid vector name|failed to create directory"):
        pair.theirs.update(theirs(create))


def test_255_bytes_are_the_longest_name() -> None:
    U.create_dense_vector("ö" * 127, 4, D.Dot)
    for name in ("ö" * 128, "n" * 256):
        with pytest.raises(ValidationError, match="at most 255"):
            U.create_dense_vector(name, 4, D.Dot)
        with pytest.raises(ValidationError, match="at most 255"):
            U.create_sparse_vector(name)


def test_a_name_that_is_gone_is_refused_in_a_filter_where_qdrant_finds_nothing(
    plain: Pair,
) -> None:
    plain.update(U.create_dense_vector("n", 4, D.Dot))
    plain.compare_count(CountRequest(filter=HAS["n"]))
    plain.update(U.delete_vector_name("n"))
    with pytest.raises(UnknownVector, match="n"):
        plain.ours.count(CountRequest(filter=HAS["n"]))
    assert plain.theirs.count(theirs(CountRequest(filter=HAS["n"]))) == 0
