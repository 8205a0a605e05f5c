"""An index changes no answer of ours, and where values fit its kind the answers are Qdrant's.

The deliberate differences are tests of their own, at the end; each shows both answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import qdrant_edge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edge.model.filter as ours
from edge.blocking import EdgeShard
from edge.errors import ValidationError
from edge.model.choice import Memory
from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import Filter
from edge.model.point import Point
from edge.model.query import Direction, OrderBy
from edge.model.request import FacetRequest, ScrollRequest
from edge.model.schema import (
    BoolIndexParams,
    DatetimeIndexParams,
    FloatIndexParams,
    GeoIndexParams,
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    TextIndexParams,
    UuidIndexParams,
)
from edge.model.text import Language, SnowballLanguage, SnowballParams, StopwordsSet, TokenizerType
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams
from tests.congruence import test_filters as unindexed
from tests.congruence.both import IDS, POINTS, Described, condition, field, only
from tests.congruence.engines import ALL, Pair, theirs, values_of

U = UpdateOperation

FEW = settings(
    max_examples=settings().max_examples // 5,  # each of some hundred answers, on sixty points
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)

SIZE = 16
CONFIG = EdgeConfig(
    vectors={name: EdgeVectorParams(size=SIZE, distance=Distance.Dot) for name in "vw"},
    optimizers=EdgeOptimizersConfig(
        deleted_threshold=0.1,
        vacuum_min_vector_number=8,
        default_segment_number=1,
        indexing_threshold=1,
    ),
    durability=Durability.Os,
)

Payload = dict[str, Any]


def upsert(first: int, payloads: list[Payload]) -> UpdateOperation:
    """Points from the place `first` of IDS on, most of them with the vector "v"."""
    return U.upsert_points(
        [
            Point(IDS[place], {"v": [float(place)] * SIZE} if place % 3 else {}, payload)
            for place, payload in enumerate(payloads, first)
        ]
    )


def found_by(shard: EdgeShard, filter: Filter | None) -> list[Any]:
    records, _ = shard.scroll(ScrollRequest(limit=ALL, filter=filter, with_payload=False))
    return [record.id for record in records]


# Any index on any payload: with and without it, the answers are the same.

UUIDS = ["550e8400-e29b-41d4-a716-446655440000", "00000000-0000-0000-0000-0000000000ff"]
KINDS = [kind for kind in PayloadSchemaType if kind is not PayloadSchemaType.Text]

strangers = st.sampled_from([*UUIDS, 2**53, -(2**53) - 1, 2.0**53, 2.0**63, -0.0, 1e-300, [[1]]])
some_values = strangers | unindexed.scalars
several = st.lists(some_values, max_size=3)
objects_in_arrays = st.lists(
    st.dictionaries(st.sampled_from(unindexed.KEYS), some_values | several, min_size=1), max_size=3
)
anything = st.one_of(unindexed.documents, several, objects_in_arrays)
mixed = st.dictionaries(st.sampled_from(unindexed.KEYS), anything, max_size=4)

schemas = st.one_of(
    st.sampled_from(KINDS),
    st.builds(KeywordIndexParams, prefix=st.booleans(), memory=st.sampled_from(Memory)),
    st.builds(IntegerIndexParams, lookup=st.booleans(), range=st.booleans()),
    st.builds(FloatIndexParams, on_disk=st.booleans()),
    st.builds(DatetimeIndexParams, on_disk=st.booleans()),
)


class Indexed(NamedTuple):
    """An index, and how many parts of the data are there when it is made."""

    path: str
    schema: Any
    after: int


PARTS = 2
indexes = st.lists(
    st.builds(Indexed, st.sampled_from(unindexed.PATHS), schemas, st.integers(0, PARTS)),
    min_size=6,
    max_size=10,
    unique_by=lambda index: index.path,
)

# What Qdrant reads otherwise, and no index of ours does.
lists_of_one_type = st.one_of(
    *(st.lists(st.sampled_from(some), max_size=3) for some in [UUIDS, [True, False], [2**63, 1]])
)
strange_matches = st.one_of(
    st.builds(
        condition, st.just("MatchValue"), st.sampled_from([*UUIDS, True, False, 2**63, 2**53])
    ),
    st.builds(condition, st.sampled_from(["MatchAny", "MatchExcept"]), lists_of_one_type),
)
strange = st.builds(
    lambda key, match: condition("Filter", must=[field(key, match=match)]),
    unindexed.paths,
    strange_matches,
)


class Twins:
    """Two shards of ours with the same points; only one of them has indexes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.indexed = EdgeShard.create(folder / "indexed", CONFIG)
        self.plain = EdgeShard.create(folder / "plain", CONFIG)

    def close(self) -> None:
        self.indexed.close()
        self.plain.close()

    def rebuild(self) -> None:
        """Build one segment of all, and read it from its files."""
        self.indexed.optimize()
        self.indexed.close()
        self.indexed = EdgeShard.load(self.folder / "indexed")

    def update(self, operation: UpdateOperation) -> None:
        self.indexed.update(operation)
        self.plain.update(operation)

    def clear(self) -> None:
        self.update(U.delete_points_by_filter(Filter()))
        for path in self.indexed.info().payload_schema:
            self.indexed.update(U.delete_field_index(path))

    def fill(self, wanted: list[Indexed], parts: list[list[Payload]]) -> None:
        """Each part overwrites the end of the one before; the first is built, the rest is not."""
        self.clear()
        self._index(wanted, 0)
        first = 0
        for place, part in enumerate(parts, 1):
            self.update(upsert(first, part))
            self._index(wanted, place)
            first += len(part) - 5
            if place == 1:
                self.indexed.optimize()
        self.update(U.delete_points(IDS[3:POINTS:17]))

    def _index(self, wanted: list[Indexed], after: int) -> None:
        for index in wanted:
            if index.after == after:
                self.indexed.update(U.create_field_index(index.path, index.schema))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    made = Twins(tmp_path_factory.mktemp("twins"))
    yield made
    made.close()


Answer = Callable[[EdgeShard], Any]


def questions(filters: list[Described], paths: list[str]) -> Iterator[tuple[str, Answer]]:
    """What both are asked: by filter, by what is there at all, by facet and by order."""
    for wanted in (*filters, *parts_at(paths[:5])):
        yield wanted.text, partial(found_by, filter=wanted.build(ours))
    some = [None, *(wanted.build(ours) for wanted in filters[:2])]
    for path in paths[:2]:
        for filter in some:
            facet = partial(facet_of, path=path, filter=filter)
            yield f"facet of {path} by {filter}", facet
            for order in orders(path):
                yield f"{order} by {filter}", partial(in_order, order=order, filter=filter)


def parts_at(paths: list[str]) -> Iterator[Described]:
    for path in paths:
        for part in PARTS_ASKED:
            yield only(field(path, **part))
        yield only(condition("IsEmptyCondition", path))


CORNERS = condition("GeoPoint", -2, 20), condition("GeoPoint", 100, -2)
PARTS_ASKED: list[Payload] = [
    {"is_empty": True}, {"is_null": True}, {"is_null": False},
    {"values_count": condition("ValuesCount", gt=1)},
    *({"match": condition("MatchValue", value)} for value in [1, True, "x", 2**53 + 1, UUIDS[0]]),
    *({"match": condition(name, some)} for name in ["MatchAny", "MatchExcept"]
      for some in [[], [0, 1], ["x", "", UUIDS[1]], [False]]),
    *({"match": condition(name, "x y")} for name in ["MatchText", "MatchTextAny", "MatchPhrase"]),
    {"match": condition("MatchPrefix", "x")}, {"match": condition("MatchSubstring", "y")},
    *({"range": condition("RangeFloat", **bounds)} for bounds in [
        {"lte": 1.0}, {"lt": 1.0}, {"gte": 1.0, "lte": 2.0}, {"gt": 0.0, "gte": 0.0, "lt": 9.0}]),
    *({"range": condition("RangeDateTime", **bounds)} for bounds in [
        {"lte": "2024-01-01"}, {"lt": "2024-01-01"}, {"gte": "2024-01-01"}]),
    {"geo_bounding_box": condition("GeoBoundingBox", *CORNERS)},
    {"geo_radius": condition("GeoRadius", CORNERS[0], 3e6)},
    {"match": condition("MatchValue", "x"), "range": condition("RangeFloat", gte=1.0)},
]  # fmt: skip


def facet_of(shard: EdgeShard, path: str, filter: Filter | None) -> list[Any]:
    return values_of(shard.facet(FacetRequest(path, limit=ALL, filter=filter)))


def orders(path: str) -> Iterator[OrderBy]:
    yield OrderBy(path)
    yield OrderBy(path, Direction.Desc, 2.0**53)
    yield OrderBy(path, Direction.Asc, 2**53)
    yield OrderBy(path, Direction.Desc, "2024-01-01T00:00:00Z")


def in_order(shard: EdgeShard, order: OrderBy, filter: Filter | None) -> list[Any]:
    records, _ = shard.scroll(ScrollRequest(limit=ALL, filter=filter, order_by=order))
    return [(record.id, record.order_value) for record in records]


@FEW
@given(
    wanted=indexes,
    parts=st.lists(
        st.lists(mixed, min_size=POINTS // 2, max_size=POINTS // 2), min_size=PARTS, max_size=PARTS
    ),
    filters=st.lists(unindexed.filters(5) | strange, min_size=5, max_size=5),
)
def test_an_index_changes_no_answer(
    twins: Twins, wanted: list[Indexed], parts: list[list[Payload]], filters: list[Described]
) -> None:
    twins.fill(wanted, parts)
    asked = list(questions(list(unindexed.combined(filters)), [index.path for index in wanted]))
    expected = [answer(twins.plain) for _, answer in asked]
    for change in (lambda: None, twins.rebuild):
        change()
        for (text, answer), plain in zip(asked, expected, strict=True):
            assert answer(twins.indexed) == plain, text


# Values that fit an index's kind: both engines with the same indexes.

UPPER, PLAIN_HEX = UUIDS[0].upper(), UUIDS[0].replace("-", "")
SPELLINGS = [
    *UUIDS,
    UPPER,
    PLAIN_HEX,
    f"urn:uuid:{UUIDS[0]}",
    "{" + UUIDS[1] + "}",
    str(UUID(int=7)),
]
INTEGERS = [0, 1, -1, 2, 7, 2**53, -(2**53), 2**62]
MOMENTS = [moment for moment in unindexed.MOMENTS if ":60" not in moment]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "keyword": st.sampled_from([*unindexed.WORDS, *unindexed.TEXTS, *UUIDS]),
    "integer": st.sampled_from(INTEGERS),
    "float": st.sampled_from([*unindexed.NUMBERS, *INTEGERS, 2**63, -0.0, 1e-300]),
    "bool": st.booleans(),
    "datetime": st.sampled_from(MOMENTS),
    "uuid": st.sampled_from(SPELLINGS),
    "geo": st.fixed_dictionaries(
        {"lon": st.sampled_from(unindexed.DEGREES), "lat": st.sampled_from(unindexed.DEGREES[:-2])}
    ),
}
"""By field, which is called as the kind of its index: the values that fit it."""


def fitting(kind: str) -> st.SearchStrategy[Any]:
    one = VALUES[kind] | st.none()
    return one | VALUES[kind] | st.lists(one, max_size=3)


def spelled_usually(element: Payload) -> Payload:
    """Inside a nested condition Qdrant compares UUIDs as texts (see the end)."""
    given = element.get("uuid")
    if isinstance(given, list):
        return {**element, "uuid": [one and str(UUID(one)) for one in given]}
    return {**element, "uuid": str(UUID(given))} if given else element


usual_uuids = st.sampled_from([*UUIDS, str(UUID(int=7))])
objects = st.fixed_dictionaries({}, optional={kind: fitting(kind) for kind in VALUES})
elements = objects.map(spelled_usually)
fitted = st.builds(
    lambda top, deep, listed: {**top, **deep, **listed},
    objects,
    st.fixed_dictionaries({}, optional={"deep": objects | st.none()}),
    st.fixed_dictionaries({}, optional={"list": st.lists(elements | st.none(), max_size=3)}),
)


def bounded(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Described]:
    """At most one bound of each side: of two Qdrant's indexes forget one (see the end)."""
    low = st.sampled_from(["gte", "gt"]).flatmap(lambda side: st.fixed_dictionaries({side: values}))
    high = st.sampled_from(["lte", "lt"]).flatmap(
        lambda side: st.fixed_dictionaries({side: values})
    )
    return st.builds(
        lambda one, other: condition(name, **one, **other), low | st.just({}), high | st.just({})
    )


def matching(
    values: st.SearchStrategy[Any], names: tuple[str, ...] = ("MatchAny", "MatchExcept")
) -> st.SearchStrategy[Payload]:
    one = st.builds(partial(condition, "MatchValue"), values)
    some = st.builds(condition, st.sampled_from(names), st.lists(values, max_size=4))
    return st.fixed_dictionaries({"match": one | some})


words_of_all_kinds = st.sampled_from([*unindexed.WORDS, *unindexed.TEXTS, "y x", "zz X", UUIDS[0]])
texts_matched = st.builds(
    lambda name, text: {"match": condition(name, text)},
    st.sampled_from(["MatchPrefix", "MatchSubstring", "MatchText", "MatchTextAny", "MatchPhrase"]),
    words_of_all_kinds,
)
numbers = st.sampled_from([*unindexed.NUMBERS, 2.0**53, 1.5, -1.5])
moments = bounded("RangeDateTime", st.sampled_from(MOMENTS))
ranged = st.fixed_dictionaries({"range": bounded("RangeFloat", numbers)})
integers = st.sampled_from([*INTEGERS, 3])
ASKED: dict[str, st.SearchStrategy[Payload]] = {
    "keyword": matching(words_of_all_kinds) | texts_matched | ranged,
    "integer": matching(integers) | ranged | texts_matched,
    "float": matching(integers) | ranged | texts_matched,
    "bool": matching(integers) | ranged,
    "datetime": st.fixed_dictionaries({"range": moments})
    | matching(st.sampled_from(MOMENTS))
    | texts_matched,
    "uuid": matching(st.sampled_from(SPELLINGS)) | texts_matched,
    "geo": unindexed.regions.filter(lambda given: len(given) == 1) | matching(integers),
}
"""What a field is asked for, one part a condition: of several Qdrant's indexes forget some."""
shapes = st.one_of(
    st.fixed_dictionaries({"is_empty": st.booleans()}),
    st.fixed_dictionaries({"is_null": st.booleans()}),
)
counted = st.fixed_dictionaries({"values_count": unindexed.counts})
kinds = st.sampled_from(list(VALUES))


def valued(prefix: str, asked: dict[str, st.SearchStrategy[Payload]]) -> Any:
    """Conditions on values at a path; inside of arrays, emptiness is a matter of its own."""
    return st.one_of(
        *(
            st.builds(lambda given, key=f"{prefix}{kind}": field(key, **given), some | counted)
            for kind, some in asked.items()
        )
    )


shaped = st.builds(lambda key, given: field(key, **given), kinds, shapes) | st.builds(
    condition,
    st.sampled_from(["IsEmptyCondition", "IsNullCondition"]),
    st.builds("".join, st.tuples(st.sampled_from(["", "deep."]), kinds)),
)
leaves = st.one_of(
    *(valued(prefix, ASKED) for prefix in ["", "deep.", "list[]."]), shaped, unindexed.columns
)
leaves_inside = valued("", {**ASKED, "uuid": matching(usual_uuids) | texts_matched})


@st.composite
def fitting_filters(draw: st.DrawFn, depth: int, *, nested: bool = False) -> Described:
    """Composite, because hypothesis writes out whatever else a strategy is made of."""
    return draw(_fitting_filters(depth, nested))


@cache
def _fitting_filters(depth: int, nested: bool) -> st.SearchStrategy[Described]:
    conditions = leaves_inside if nested else leaves
    if depth > 1:
        conditions |= fitting_filters(depth - 1, nested=nested)
        if not nested:
            inner = fitting_filters(depth - 1, nested=True)
            conditions |= st.builds(partial(condition, "NestedCondition"), st.just("list"), inner)
    distinct = partial(st.lists, conditions, unique_by=lambda part: part.text)
    return st.builds(
        partial(condition, "Filter"),
        must=st.none() | distinct(max_size=3),
        should=st.none() | distinct(max_size=3, min_size=int(nested)),
        must_not=st.none() | distinct(max_size=3),
        min_should=st.none()
        | st.builds(
            partial(condition, "MinShould"), distinct(min_size=1, max_size=4), st.integers(0, 4)
        ),
    )


def joined(wanted: list[Described]) -> Iterator[Described]:
    """Each filter, its opposite, and the pairs of neighbours joined in every way."""
    for one, other in pairwise([*wanted, wanted[0]]):
        yield one
        yield condition("Filter", must_not=[one])
        yield condition("Filter", must=[one, other])
        yield condition("Filter", should=[one, other])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both engines, with an index of every kind at the top, in an object and in an array."""
    made = Pair(tmp_path_factory.mktemp("indexes") / "pair", CONFIG)
    for path in (*VALUES, *(f"list[].{kind}" for kind in VALUES), "deep.integer", "deep.keyword"):
        kind = path.removeprefix("list[].").removeprefix("deep.")
        made.update(U.create_field_index(path, PayloadSchemaType(kind)))
    yield made
    made.close()


def fill(pair: Pair, payloads: list[Payload]) -> None:
    """Half of ours is built; Qdrant's is not, which would take it seconds and change nothing."""
    pair.clear()
    pair.update(upsert(0, payloads[: POINTS // 2]))
    pair.ours.optimize()
    pair.update(upsert(POINTS // 2 - 5, payloads[POINTS // 2 - 5 :]))
    pair.update(U.delete_points(IDS[3:POINTS:17]))


def same(pair: Pair, wanted: Described) -> None:
    expected = theirs_by(pair, wanted)
    assert found_by(pair.ours, wanted.build(ours)) == expected, wanted.text


def theirs_by(pair: Pair, wanted: Described) -> list[Any]:
    filter = wanted.build(qdrant_edge)
    request = qdrant_edge.ScrollRequest(limit=ALL, filter=filter, with_payload=False)
    records, _ = pair.theirs.scroll(request)
    return [record.id for record in records]


@FEW
@given(
    payloads=st.lists(fitted, min_size=POINTS, max_size=POINTS),
    filters=st.lists(fitting_filters(5), min_size=16, max_size=16),
)
def test_values_that_fit_an_index_are_found_as_qdrant_finds_them(
    pair: Pair, payloads: list[Payload], filters: list[Described]
) -> None:
    fill(pair, payloads)
    for wanted in joined(filters):
        same(pair, wanted)
    pair.compare_schema()


# What is told of indexes.


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("schemas") / "pair", CONFIG)
    yield made
    made.close()


@pytest.fixture
def bare(shards: Pair) -> Pair:
    """Both engines without a point and without an index."""
    shards.clear()
    for path in shards.ours.info().payload_schema:
        shards.update(U.delete_field_index(path))
    return shards


P = PayloadSchemaType
EVERY_TYPE: list[Payload] = [
    {"a": value}
    for value in [
        "x", "", 1, -(2**63), 1.5, True, None, [], ["x", 1, 1.5, False, None], [[1]], {"b": 1},
        UUIDS[0], UPPER, "2024-01-01", {"lon": 1, "lat": 2},
        {"lon": 1, "lat": "2"}, "the", "A mug!", ["", 5],
    ]
] + [{}, {"o": [{"b": 1}, {"b": "x"}]}, {"o": [{}, {"b": [1, "y"]}]}, {"o": {"b": 1}}]  # fmt: skip
SCHEMAS: list[Any] = [
    *P,
    KeywordIndexParams(), KeywordIndexParams(is_tenant=True, prefix=False, memory=Memory.Cold),
    IntegerIndexParams(lookup=True), IntegerIndexParams(True, True, False, on_disk=True),
    FloatIndexParams(is_principal=True, enable_hnsw=False), GeoIndexParams(memory=Memory.Pinned),
    BoolIndexParams(on_disk=False), DatetimeIndexParams(is_principal=False),
    UuidIndexParams(is_tenant=False, on_disk=True, memory=Memory.Cached), TextIndexParams(),
    TextIndexParams(
        TokenizerType.Prefix, 2, 9, True, True, False, StopwordsSet([Language.English], ["mug"]),
        True, SnowballParams(SnowballLanguage.German), True, Memory.Cold, True,
    ),
    TextIndexParams(stopwords=Language.English, scoring=False, phrase_matching=True),
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=repr)
def test_what_is_told_of_an_index(bare: Pair, schema: Any) -> None:
    """Before points, with points of every type, and when some are changed and gone."""
    bare.update(U.create_field_index("a", schema))
    bare.compare_schema()
    bare.update(upsert(0, EVERY_TYPE))
    bare.compare_schema()
    bare.update(U.set_payload([IDS[2], IDS[3]], {"a": "a dog"}))
    bare.update(U.delete_payload([IDS[0]], ["a"]))
    bare.update(U.delete_points_by_filter(ours.Filter(must=[ours.HasIdCondition(IDS[6:17:2])])))
    bare.compare_schema()


NESTED = [
    KeywordIndexParams(nested="o"), IntegerIndexParams(nested="o[]"), FloatIndexParams(nested="o"),
    BoolIndexParams(nested="o"), DatetimeIndexParams(nested="o"), UuidIndexParams(nested="o"),
    GeoIndexParams(nested="o"), TextIndexParams(nested='"o"'),
]  # fmt: skip


@pytest.mark.parametrize("schema", NESTED, ids=repr)
def test_a_nested_index_counts_points_and_shows_its_array(bare: Pair, schema: Any) -> None:
    bare.update(upsert(0, EVERY_TYPE))
    bare.update(U.create_field_index("o[].b", schema))
    bare.compare_schema()
    params = bare.ours.info().payload_schema["o[].b"].params
    assert params is not None
    assert params.nested == "o[]"


PATHS_AS_SHOWN = {
    "a": "a", '"a"': "a", '"größe"': "größe", '"a.b"': '"a.b"', "a.b": "a.b", '"a"[]."b"': "a[].b",
    "a[0].b": "a[0].b", "a[][]": "a[][]", '"a b"': '"a b"', "a-b": "a-b", "a[007]": "a[7]",
}  # fmt: skip


def test_paths_are_shown_in_one_spelling_and_deleted_by_any(bare: Pair) -> None:
    for spelled, shown in PATHS_AS_SHOWN.items():
        bare.update(U.create_field_index(spelled, P.Keyword))
        assert shown in bare.ours.info().payload_schema
        bare.compare_schema()
    for spelled in PATHS_AS_SHOWN:
        bare.update(U.delete_field_index(spelled))
        bare.compare_schema()
    assert bare.ours.info().payload_schema == {}


def test_an_index_is_replaced_by_another_and_not_by_its_equal(bare: Pair) -> None:
    bare.update(upsert(0, EVERY_TYPE))
    for schema in [
        P.Keyword, KeywordIndexParams(), P.Integer, P.Keyword, KeywordIndexParams(prefix=True),
        IntegerIndexParams(), P.Integer, IntegerIndexParams(lookup=True), P.Text, TextIndexParams(),
        TextIndexParams(scoring=True), TextIndexParams(scoring=True), P.Text, P.Uuid,
    ]:  # fmt: skip
        bare.update(U.create_field_index("a", schema))
        bare.compare_schema()
    bare.update(U.delete_field_index("nowhere"))
    bare.compare_schema()


def test_indexes_survive_a_restart_and_a_rebuild(bare: Pair) -> None:
    for place, schema in enumerate(SCHEMAS[-6:]):
        bare.update(U.create_field_index(f"a{place}", schema))
    bare.update(
        upsert(0, [dict.fromkeys([f"a{i}" for i in range(6)], x["a"]) for x in EVERY_TYPE[:19]])
    )
    for change in (bare.restart, bare.optimize, bare.restart):
        change()
        bare.compare_schema()


REFUSED = [
    *((path, "o") for path in ["o.b", "b", "o[]", "o[0].b", "o[][].b", "x.o[].b", "o2[].b"]),
    ("o[].b[].c", "o[].b"),
    ("o[0].b", "o[0]"),
]


@pytest.mark.parametrize(("path", "nested"), REFUSED)
def test_both_refuse_a_field_outside_its_nested_array(bare: Pair, path: str, nested: str) -> None:
    params = KeywordIndexParams(nested=nested)
    with pytest.raises(ValidationError, match="nested"):
        U.create_field_index(path, params)
    with pytest.raises(Exception, match="nested"):
        bare.theirs.update(
            qdrant_edge.UpdateOperation.create_field_index(
                path, qdrant_edge.KeywordIndexParams(nested=nested)
            )
        )


@pytest.mark.parametrize("path", ["", "a[[", "a.", ".a", "[]", "a[b]", "a[-1]", '"', "a..b", "*"])
def test_both_refuse_what_is_no_path(path: str) -> None:
    for make in (U.create_field_index, lambda path, _: U.delete_field_index(path)):
        with pytest.raises(ValidationError):
            make(path, P.Keyword)
    with pytest.raises(ValueError, match="JSON path"):
        qdrant_edge.UpdateOperation.create_field_index(path, theirs(P.Keyword))


# A nested index, which says what is empty and null by the objects of its array.

ARRAYS: list[Payload] = [
    {"o": value}
    for value in [
        [], None, [5], {}, {"b": 1}, [{}], [{"b": None}], [{"b": []}], [{"b": 1}], [{"b": [None]}],
        [{"b": 1}, {}], [{"b": 1}, {"c": 2}], [{"b": 1}, 7], [{"b": [1, 2]}, {"b": None}],
        [{"b": 2}, {"b": [1, None]}], [[{"b": 1}]], [{"b": 3}],
    ]
] + [{}]  # fmt: skip
OF_ARRAYS = [
    *(field("o[].b", **{flag: value}) for flag in ["is_empty", "is_null"]
      for value in [True, False]),
    condition("IsEmptyCondition", "o[].b"),
    condition("IsNullCondition", "o[].b"),
    *(field("o[].b", values_count=condition("ValuesCount", **some))
      for some in [{"gte": 1}, {"lt": 1}, {"gte": 2}]),
    field("o[].b", match=condition("MatchValue", 1)),
    field("o[].b", match=condition("MatchExcept", [1])),
    field("o[].b", range=condition("RangeFloat", gt=1)),
]  # fmt: skip


@pytest.mark.parametrize("part", OF_ARRAYS, ids=lambda part: part.text)
def test_a_nested_index_tests_emptiness_by_objects(bare: Pair, part: Described) -> None:
    bare.update(upsert(0, ARRAYS))
    bare.update(U.create_field_index("o[].b", IntegerIndexParams(nested="o")))
    inner = condition("NestedCondition", "o", only(inside_of(part)))
    for wanted in (part, inner):
        same(bare, only(wanted))
        same(bare, condition("Filter", must_not=[wanted]))
    bare.ours.optimize()
    same(bare, only(part))


def inside_of(part: Described) -> Described:
    return Described(part.text, lambda module: _with_key(module, part.build(module), "b"))


def _with_key(module: Any, made: Any, key: str) -> Any:
    if not isinstance(made, module.FieldCondition):
        return type(made)(key)
    names = ["match", "range", "values_count", "is_empty", "is_null"]
    return module.FieldCondition(key, **{name: getattr(made, name) for name in names})


# Deliberate differences.


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Pair]:
    """Shards of their own: whether Qdrant asks an index depends on what was there before."""
    made = Pair(tmp_path / "pair", CONFIG)
    yield made
    made.close()


def answers(
    fresh: Pair, schema: Any, payloads: list[Payload], part: Described, path: str = "a"
) -> tuple[list[Any], list[Any]]:
    """What each engine finds by the condition, or the whole filter, with the index in both."""
    fresh.update(U.create_field_index(path, schema))
    fresh.update(upsert(0, payloads))
    wanted = part if part.text.startswith("Filter") else only(part)
    return found_by(fresh.ours, wanted.build(ours)), theirs_by(fresh, wanted)


def values(*given: Any) -> list[Payload]:
    return [{"a": value} for value in given]


def matched(name: str, value: Any) -> Described:
    return field("a", match=condition(name, value))


def within(**bounds: float) -> Described:
    return field("a", range=condition("RangeFloat", **bounds))


def test_an_index_of_bools_matches_bools_where_qdrant_finds_integers(fresh: Pair) -> None:
    given = values(True, False, 1, 0, [False, 7])
    assert answers(fresh, P.Bool, given, matched("MatchValue", True)) == ([0], [2])
    assert answers(fresh, P.Bool, given, matched("MatchExcept", [True])) == (
        [1, 2, 3, 4],
        [0, 1, 3, 4],
    )


def test_an_index_of_integers_hides_no_float_from_ranges(fresh: Pair) -> None:
    given = values(1, 1.5, 2, 2.5, 1e300)
    assert answers(fresh, P.Integer, given, within(gt=1, lt=3)) == ([1, 2, 3], [2])
    assert answers(fresh, P.Integer, given, within(gte=2.5)) == ([3, 4], [])


def test_an_index_of_integers_keeps_the_unsigned_ones(fresh: Pair) -> None:
    given = values(2**63, 2**64 - 1, 2**63 - 1)
    assert answers(fresh, P.Integer, given, within(gte=2.0**64)) == ([1], [0, 2])
    assert answers(fresh, P.Integer, given, matched("MatchValue", 2**63 - 1)) == ([2], [0, 2])


def test_a_float_is_no_integer_where_qdrants_index_takes_it_for_one(fresh: Pair) -> None:
    given = values(1, 1.0, -0.0, 0, [2.0])
    assert answers(fresh, P.Integer, given, matched("MatchValue", 1)) == ([0], [0, 1])
    assert answers(fresh, P.Integer, given, matched("MatchAny", [0, 2])) == ([3], [2, 3, 4])
    [own], [other] = (
        [index.points for index in shard.info().payload_schema.values()]
        for shard in (fresh.ours, fresh.theirs)
    )
    assert (own, other) == (2, 5)


def test_infinite_bounds_are_beyond_all_integers_where_qdrant_counts_the_last_in(
    fresh: Pair,
) -> None:
    given = values(2**63 - 1, -(2**63), 5)
    inf = float("inf")
    assert answers(fresh, P.Integer, given, within(gte=inf)) == ([], [0])
    assert answers(fresh, P.Integer, given, within(gt=-inf)) == ([0, 1, 2], [0, 2])


def test_bounds_of_integers_are_floats_where_qdrants_index_compares_exactly(fresh: Pair) -> None:
    """Without an index Qdrant rounds integers to floats, and so do we with one."""
    given = values(2**53, 2**53 + 1)
    assert answers(fresh, P.Integer, given, within(lte=2.0**53)) == ([0, 1], [0])


@pytest.mark.parametrize(
    ("schema", "listed", "own", "theirs"),
    [
        (P.Keyword, "x", [1, 2, 3, 4, 5, 6, 7], [2]),
        (P.Integer, 1, [0, 2, 3, 4, 5, 6, 7], [3, 4]),
    ],
)
def test_any_other_value_is_excepted_where_qdrants_index_wants_one_of_its_kind(
    fresh: Pair, schema: Any, listed: Any, own: list[int], theirs: list[int]
) -> None:
    given = values("x", 1, "y", 2, [1, 3], True, {"b": 1}, [[1]], None)
    assert answers(fresh, schema, given, matched("MatchExcept", [listed])) == (own, theirs)


def test_an_index_of_moments_answers_no_range_of_numbers(fresh: Pair) -> None:
    given = values("2024-01-01", 5, "x", 7.5)
    assert answers(fresh, P.Datetime, given, within(gte=0)) == ([1, 3], [0])


def test_an_index_of_numbers_answers_no_range_of_moments(fresh: Pair) -> None:
    given = values("2024-01-01", 2 * 10**15, 5)
    part = field("a", range=condition("RangeDateTime", gte="2023-01-01"))
    assert answers(fresh, P.Integer, given, part) == ([0], [1])


def test_a_leap_second_stays_in_its_year_where_qdrants_index_moves_it(fresh: Pair) -> None:
    given = values("2023-12-31T23:59:60.5Z", "2024-01-01")
    part = field("a", range=condition("RangeDateTime", gte="2024-01-01"))
    assert answers(fresh, P.Datetime, given, part) == ([1], [0, 1])


def test_a_uuid_in_a_match_finds_itself_where_qdrants_numbers_find_nothing(fresh: Pair) -> None:
    given = values(UUIDS[0], 5)
    assert answers(fresh, P.Integer, given, matched("MatchValue", UUIDS[0])) == ([0], [])


def test_uuids_have_one_meaning_inside_of_arrays_where_qdrants_spelling_counts(fresh: Pair) -> None:
    payloads = [{"o": [{"b": UUIDS[0]}]}, {"o": [{"b": UPPER}]}, {"o": [{"b": UUIDS[1]}]}]
    same_one = field("b", match=condition("MatchValue", PLAIN_HEX))
    part = condition("NestedCondition", "o", only(same_one))
    assert answers(fresh, P.Uuid, payloads, part, path="o[].b") == ([0, 1], [])


OF_ELEMENTS: list[Payload] = [
    {"o": [{"p": [1, 2, 3]}, {"p": None}]}, {"o": [{"p": 1}]}, {"o": [{"p": []}]}, {},
    {"o": [{"p": 1}, {"c": 2}]}, {"o": [{"p": [1, None]}, {"p": 2}]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "own", "theirs"),
    [
        ({"is_empty": True}, [0, 2, 3], [2, 3]),
        ({"is_empty": False}, [0, 1, 4, 5], [0, 1, 4, 5]),
        ({"is_null": False}, [0, 1, 2, 3, 4, 5], [1, 2, 3, 4]),
    ],
    ids=repr,
)
def test_values_in_arrays_are_empty_one_by_one_where_qdrants_index_takes_all_together(
    fresh: Pair, asked: Payload, own: list[int], theirs: list[int]
) -> None:
    part = field("o[].p", **asked)
    assert answers(fresh, P.Integer, OF_ELEMENTS, part, path="o[].p") == (own, theirs)


def test_an_element_may_be_empty_alone_where_qdrants_index_wants_all_to_be(fresh: Pair) -> None:
    part = condition("NestedCondition", "o", only(field("p", is_empty=True)))
    assert answers(fresh, P.Integer, OF_ELEMENTS, part, path="o[].p") == ([0, 2, 4], [2])


@pytest.mark.parametrize("schema", [P.Integer, P.Float])
def test_of_two_bounds_both_count_where_qdrants_index_forgets_one(fresh: Pair, schema: Any) -> None:
    given = values(1, 2, 3, 4, 5)
    assert answers(fresh, schema, given, within(gte=4, gt=2)) == ([3, 4], [2, 3, 4])
    assert answers(fresh, schema, given, within(lte=2, lt=4)) == ([0, 1], [0, 1, 2])


def test_every_part_of_a_condition_counts_where_qdrants_index_answers_one(fresh: Pair) -> None:
    given = values("x", 5, None)
    match = condition("MatchValue", "x")
    both = field("a", match=match, range=condition("RangeFloat", gte=5))
    assert answers(fresh, P.Keyword, given, both) == ([0, 1], [0])
    empty = field("a", match=match, is_empty=True)
    assert answers(fresh, P.Keyword, given, empty) == ([2], [0])


def test_a_place_on_a_pole_is_found_where_qdrants_index_loses_it(fresh: Pair) -> None:
    given = values({"lon": 0, "lat": 90}, {"lon": 0, "lat": 89}, {"lon": 0, "lat": 0})
    pole = condition("GeoPoint", 0, 89.5)
    part = field("a", geo_radius=condition("GeoRadius", pole, 200_000.0))
    assert answers(fresh, P.Geo, given, part) == ([0, 1], [1])


def test_a_box_around_the_earth_is_not_empty_where_qdrants_index_finds_nothing(fresh: Pair) -> None:
    given = values({"lon": 0, "lat": 89}, {"lon": 10, "lat": 0}, {"lon": 179, "lat": -89})
    corners = condition("GeoPoint", -180, 90), condition("GeoPoint", 180, -90)
    part = field("a", geo_bounding_box=condition("GeoBoundingBox", *corners))
    assert answers(fresh, P.Geo, given, part) == ([0, 1, 2], [])


def test_a_place_off_the_map_is_compared_where_qdrants_index_leaves_it_out(fresh: Pair) -> None:
    given = values({"lon": 200, "lat": 0}, {"lon": 1, "lat": 1})
    corners = condition("GeoPoint", -10, 10), condition("GeoPoint", 20, -10)
    around = condition("GeoRadius", condition("GeoPoint", -160, 0), 1000.0)
    assert answers(fresh, P.Geo, given, field("a", geo_radius=around)) == ([0], [])
    assert answers(
        fresh, P.Geo, given, field("a", geo_bounding_box=condition("GeoBoundingBox", *corners))
    ) == ([1], [1])


def test_a_condition_twice_counts_twice_where_qdrant_lets_the_rarest_in(fresh: Pair) -> None:
    given = values("x", "y", ["x", "y"], "z", "y", "y")
    x, y = matched("MatchValue", "x"), matched("MatchValue", "y")
    counted = condition("Filter", min_should=condition("MinShould", [y, y, x], 2))
    assert answers(fresh, P.Keyword, given, counted) == ([1, 2, 4, 5], [0, 1, 2, 4, 5])
