"""Every bad input in one table: its typed error naming the field, and nothing of it stays.

A row acts on a shard with three points. Where it is refused, the state, the sequence and every byte
of the folder are as before; where it is taken on purpose, what is loaded is what was there. No row
may take the process down, and none may poison the log.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from edge.blocking import EdgeShard
from edge.errors import (
    AlreadyExists,
    CallerError,
    EdgeError,
    LimitExceeded,
    NotFound,
    ShardClosed,
    UnknownField,
    UnknownVector,
    ValidationError,
    WrongDimension,
)
from edge.model.config import Durability, EdgeConfig
from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    MatchPhrase,
    MatchPrefix,
    MatchText,
    MatchValue,
    MinShould,
    NestedCondition,
    RangeDateTime,
    RangeFloat,
    SliceCondition,
    ValuesCount,
)
from edge.model.geo import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius
from edge.model.limits import Limits
from edge.model.point import Point, PointVectors
from edge.model.query import Bm25Params, OrderBy, Query, Sample, SearchParams, TextQuery
from edge.model.request import (
    CountRequest,
    FacetRequest,
    OrderCursor,
    PayloadSelector,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
)
from edge.model.schema import (
    IntegerIndexParams,
    KeywordIndexParams,
    PayloadSchemaType,
    TextIndexParams,
)
from edge.model.sparse import SparseVector
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams

Act = Callable[[EdgeShard], Any]
Row = tuple[Act, type[EdgeError], str]

U = UpdateOperation
NAN, INF = float("nan"), float("inf")
GOOD = [1.0, 2.0, 3.0, 4.0]
CONFIG = EdgeConfig(
    vectors={
        "": EdgeVectorParams(4, Distance.Cosine),
        "d": EdgeVectorParams(2, Distance.Dot),
    },
    durability=Durability.Os,
)
POINTS = [
    Point(1, GOOD, {"a": 1, "deep": {"x": {}}, "text": "x" * 600_000}),
    Point(2, {"": GOOD, "d": [1.0, 0.0]}),
    Point(UUID(int=3), {"d": [0.0, 1.0]}, {"a": None, "list": [{"b": 1}]}),
]


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[EdgeShard]:
    with EdgeShard.create(tmp_path / "shard", CONFIG) as made:
        made.update(U.upsert_points(POINTS))
        yield made


@pytest.fixture(scope="module")
def unchanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeShard]:
    """One shard for all that is refused. What it was at first is what is loaded in the end."""
    with EdgeShard.create(tmp_path_factory.mktemp("unchanging") / "shard", CONFIG) as made:
        made.update(U.upsert_points(POINTS))
        first = everything(made)
        yield made
        assert loaded(made) == first


def content(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def everything(shard: EdgeShard) -> Any:
    return shard.scroll(ScrollRequest(limit=1000, with_vector=True))


def loaded(shard: EdgeShard) -> Any:
    """What whoever loads the folder as it is now finds there."""
    copy = shard.path.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(shard.path, copy)
    with EdgeShard.load(copy) as other:
        return everything(other)


def upsert(vector: Any = GOOD, payload: Any = None, point_id: Any = 9) -> Act:
    return lambda shard: shard.update(U.upsert_points([Point(point_id, vector, payload)]))


def arrays(ids: Any, vectors: Any, payloads: Any = None) -> Act:
    return lambda shard: shard.upsert_arrays(ids, vectors, payloads)


def update(make: Callable[[], Any]) -> Act:
    return lambda shard: shard.update(make())


def ask(make: Callable[[], Any]) -> Act:
    """The method that a request is for."""
    methods = {
        QueryRequest: "query", SearchRequest: "search", ScrollRequest: "scroll",
        CountRequest: "count", QueryBatchRequest: "query_batch", FacetRequest: "facet",
    }  # fmt: skip

    def act(shard: EdgeShard) -> Any:
        request = make()
        return getattr(shard, methods[type(request)])(request)

    return act


def nested(levels: int, leaf: Any = 1) -> dict[str, Any]:
    """A payload of so many levels, built from the bottom up."""
    value = leaf
    for _ in range(levels):
        value = {"a": value}
    return value  # type: ignore[no-any-return]


def nested_list(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


def cyclic_dict() -> dict[str, Any]:
    payload: dict[str, Any] = {}
    payload["again"] = payload
    return payload


def cyclic_list() -> dict[str, Any]:
    values: list[Any] = [1]
    values.append(values)
    return {"values": values}


def doubling(levels: int) -> dict[str, Any]:
    """Small in memory, 2 to the power of `levels` when it is written out."""
    value: Any = "x" * 100
    for _ in range(levels):
        value = [value, value]
    return {"a": value}


ONE = FieldCondition("a", match=MatchValue(1))


def deep_filter(levels: int, wrap: Callable[[Filter], Filter]) -> Filter:
    found = Filter(must=[ONE])
    for _ in range(levels - 1):
        found = wrap(found)
    return found


WRAPS: dict[str, Callable[[Filter], Filter]] = {
    "must": lambda inner: Filter(must=[inner]),
    "should": lambda inner: Filter(should=[inner]),
    "must_not": lambda inner: Filter(must_not=[inner]),
    "min_should": lambda inner: Filter(min_should=MinShould([inner], 1)),
    "nested": lambda inner: Filter(must=[NestedCondition("a", inner)]),
}
FILTERED: dict[str, Callable[[Filter], Act]] = {
    "delete_points_by_filter": lambda f: update(lambda: U.delete_points_by_filter(f)),
    "delete_vectors_by_filter": lambda f: update(lambda: U.delete_vectors_by_filter(f, ["d"])),
    "set_payload_by_filter": lambda f: update(lambda: U.set_payload_by_filter(f, {})),
    "overwrite_payload_by_filter": lambda f: update(lambda: U.overwrite_payload_by_filter(f, {})),
    "delete_payload_by_filter": lambda f: update(lambda: U.delete_payload_by_filter(f, ["a"])),
    "clear_payload_by_filter": lambda f: update(lambda: U.clear_payload_by_filter(f)),
    "upsert condition": lambda f: update(lambda: U.upsert_points([Point(1, GOOD)], f)),
    "update condition": lambda f: update(lambda: U.update_vectors([PointVectors(1, GOOD)], f)),
    "query": lambda f: ask(lambda: QueryRequest(3, filter=f)),
    "search": lambda f: ask(lambda: SearchRequest(Query.Nearest(GOOD), 3, filter=f)),
    "scroll": lambda f: ask(lambda: ScrollRequest(filter=f)),
    "count": lambda f: ask(lambda: CountRequest(filter=f)),
    "count, about": lambda f: ask(lambda: CountRequest(False, f)),
    "facet": lambda f: ask(lambda: FacetRequest("a", filter=f)),
    "order": lambda f: ask(lambda: QueryRequest(3, query=OrderBy("a"), filter=f)),
    "pages in order": lambda f: ask(lambda: ScrollRequest(filter=f, order_by="a")),
    "sample": lambda f: ask(lambda: QueryRequest(3, query=Sample.Random, filter=f)),
    "explained query": lambda f: ask(lambda: QueryRequest(3, filter=f, explain=True)),
    "batch": lambda f: ask(lambda: QueryBatchRequest([QueryRequest(3, filter=f)])),
}

NOT_AN_ID: dict[str, tuple[Any, str]] = {
    "-1": (-1, "expected 0 to"),
    "2**64": (2**64, "expected 0 to"),
    "2**200000": (2**200_000, "200001 bits"),
    "a float": (1.5, "an int or a UUID"),
    "True": (True, "an int or a UUID"),
    "numpy's True": (np.True_, "an int or a UUID"),
    "NaN": (NAN, "an int or a UUID"),
    "None": (None, "an int or a UUID"),
    "bytes": (b"1", "an int or a UUID"),
    "a list": ([1], "an int or a UUID"),
    "no text": ("", "an int or a UUID"),
    "digits": ("12", "an int or a UUID"),
    "words": ("not-a-uuid", "an int or a UUID"),
    "a lone surrogate": ("\ud800" * 32, "an int or a UUID"),
}

REFUSED: dict[str, Row] = {}

for name, (value, message) in NOT_AN_ID.items():
    for place, make, field in (
        ("Point", upsert(point_id=value), "id"),
        ("PointVectors", update(lambda v=value: U.update_vectors([PointVectors(v, GOOD)])), "id"),
        ("delete_points", update(lambda v=value: U.delete_points([1, v])), r"point_ids\[1\]"),
        ("set_payload", update(lambda v=value: U.set_payload([v], {})), r"point_ids\[0\]"),
        ("retrieve", lambda shard, v=value: shard.retrieve([v]), r"point_ids\[0\]"),
        ("HasIdCondition", lambda shard, v=value: HasIdCondition([v]), r"point_ids\[0\]"),
        ("upsert_arrays", arrays([value], np.ones((1, 4))), r"ids\[0\]"),
    ):
        REFUSED[f"id {name} in {place}"] = (make, ValidationError, f"{field}: .*{message}")
    if value is not None:
        REFUSED[f"id {name} as scroll offset"] = (
            ask(lambda v=value: ScrollRequest(v)),
            ValidationError,
            f"offset: .*{message}",
        )

for name, ids in {
    "negative": np.array([-1]),
    "floats": np.array([1.0]),
    "bools": np.array([True]),
    "a matrix": np.ones((1, 1), np.int64),
    "objects": np.array([1.5], object),
}.items():
    REFUSED[f"ids as an array of {name}"] = (arrays(ids, np.ones((1, 4))), ValidationError, "ids")

VECTORS: dict[str, tuple[Any, type[EdgeError], str]] = {
    "NaN": ([1.0, NAN, 0.0, 0.0], ValidationError, r'vector ""\[1\]: nan'),
    "inf": ([INF, 0.0, 0.0, 0.0], ValidationError, r'vector ""\[0\]: inf'),
    "-inf": ([0.0, 0.0, 0.0, -INF], ValidationError, r'vector ""\[3\]: -inf'),
    "1e39 in a list": ([0.0, 1e39, 0.0, 0.0], ValidationError, "vector"),
    "1e39 in an array": (np.array([0.0, 1e39, 0.0, 0.0]), ValidationError, r'vector ""\[1\]: inf'),
    "numpy NaN": (np.full(4, NAN, np.float32), ValidationError, r'vector ""\[0\]: nan'),
    "NaN by name": ({"d": [1.0, NAN]}, ValidationError, r'vector "d"\[1\]: nan'),
    "too short": (GOOD[:3], WrongDimension, 'vector "": expected 4 numbers, got 3'),
    "too long": ([*GOOD, 5.0], WrongDimension, 'vector "": expected 4 numbers, got 5'),
    "empty": ([], WrongDimension, 'vector "": expected 4 numbers, got 0'),
    "too short by name": ({"d": [1.0]}, WrongDimension, 'vector "d": expected 2 numbers, got 1'),
    "unknown name": ({"zz": GOOD}, UnknownVector, 'vector "zz"'),
    "unknown beside known": ({"": GOOD, "zz": GOOD}, UnknownVector, 'vector "zz"'),
    "None": (None, ValidationError, "vector: expected a list of numbers"),
    "a number": (1.0, ValidationError, "vector: expected a list of numbers"),
    "a str": ("abcd", ValidationError, "vector: expected a list of numbers"),
    "bytes": (b"abcd", ValidationError, "vector: expected a list of numbers"),
    "a memoryview of bytes": (memoryview(b"abcd"), ValidationError, "vector: .*bytes"),
    "a set": ({1.0, 2.0}, ValidationError, "vector: expected a list of numbers"),
    "a list of str": (["a"] * 4, ValidationError, r"vector\[0\]: expected a number"),
    "a list of None": ([1.0, None, 0.0, 0.0], ValidationError, r"vector\[1\]: expected a number"),
    "a list of bools": ([1.0, 0.0, 0.0, True], ValidationError, r"vector\[3\]: expected a number"),
    "complex": ([1j, 0, 0, 0], ValidationError, r"vector\[0\]: expected a number"),
    "a huge int": ([2**2000, 0, 0, 0], ValidationError, r"vector\[0\]: expected a number"),
    "ragged": ([[1.0], [1.0, 2.0]], ValidationError, r"vector\[1\]: expected 1 numbers.* got 2"),
    "many": ([GOOD, GOOD], WrongDimension, r'vector "": expected 4 numbers, got a multivector'),
    "a matrix": (np.ones((2, 4)), WrongDimension, r'vector "": expected 4 numbers, got a multi'),
    "three dimensions": (np.ones((1, 1, 4)), ValidationError, "vector: expected one or two dimens"),
    "lists in lists in a list": ([[GOOD]], ValidationError, r"vector\[0\]: expected a list of num"),
    "a sparse vector": (SparseVector([1], [1.0]), ValidationError, "got a SparseVector"),
    "a scalar array": (np.array(1.0), ValidationError, "vector: expected one or two dimensions"),
    "an array of str": (np.array(["a"] * 4), ValidationError, "vector: expected real numbers"),
    "an array of bools": (np.ones(4, bool), ValidationError, "vector: expected real numbers"),
    "a name that is none": ({1: GOOD}, ValidationError, "vector: name: expected a str"),
    "a surrogate name": ({"\ud800": GOOD}, ValidationError, "vector: name: .*surrogate"),
    "a dict in a dict": ({"": {"": GOOD}}, ValidationError, "vector '': expected a list"),
}

for name, (value, kind, message) in VECTORS.items():
    changed = update(lambda v=value: U.update_vectors([PointVectors(2, v)]))
    beside = update(lambda v=value: U.upsert_points([Point(7, GOOD), Point(8, v), Point(9, GOOD)]))
    REFUSED[f"vector {name}"] = (upsert(value), kind, message)
    REFUSED[f"vector {name} between good ones"] = (beside, kind, message)
    REFUSED[f"vector {name} in update_vectors"] = (changed, kind, message)

for name, value, kind, message in (
    ("NaN", [NAN, 0, 0, 0], ValidationError, 'query, vector "": .*not finite'),
    ("1e39", np.array([1e39, 0, 0, 0]), ValidationError, 'query, vector "": .*not finite'),
    ("too short", GOOD[:3], WrongDimension, 'query, vector "": expected 4'),
    ("empty", [], WrongDimension, 'query, vector "": expected 4'),
    ("None", None, ValidationError, "query: expected a list"),
    ("str", "abcd", ValidationError, "query: expected a list"),
):
    REFUSED[f"query {name}"] = (
        ask(lambda v=value: QueryRequest(3, query=Query.Nearest(v))),
        kind,
        message,
    )
    REFUSED[f"search {name}"] = (
        ask(lambda v=value: SearchRequest(Query.Nearest(v), 3)),
        kind,
        message,
    )

BLOCKS: dict[str, tuple[Any, type[EdgeError], str]] = {
    "NaN": (np.array([GOOD, [0, 0, NAN, 0]]), ValidationError, r'vector ""\[2\]: nan'),
    "1e39": (np.array([GOOD, [0, 1e39, 0, 0]]), ValidationError, r'vector ""\[1\]: inf'),
    "another width": (np.ones((2, 3)), WrongDimension, r"vectors '': expected shape \[2, 4\]"),
    "another height": (np.ones((3, 4)), ValidationError, "vectors '': expected 2 entries, got 3"),
    "one dimension": (np.ones(8), ValidationError, "vectors '': expected a 2-d or 3-d array"),
    "four dimensions": (np.ones((2, 1, 1, 4)), ValidationError, "expected a 2-d or 3-d array"),
    "many": (np.ones((2, 3, 4)), ValidationError, r"expected shape \[2, 4\], got \[2, 3, 4\]"),
    "str": (np.array([["a"] * 4] * 2), ValidationError, "vectors '': expected a 2-d or 3-d array"),
    "an unknown name": ({"zz": np.ones((2, 4))}, UnknownVector, "zz"),
    "None": (None, ValidationError, "vectors '': expected a 2-d or 3-d array"),
    "ragged": ([[1.0], [1.0, 2.0]], ValidationError, "vectors ''"),
}  # fmt: skip

for name, (value, kind, message) in BLOCKS.items():
    REFUSED[f"block {name}"] = (arrays([7, 8], value), kind, message)

PAYLOADS: dict[str, tuple[Callable[[], Any], type[EdgeError], str]] = {
    "NaN": (lambda: {"a": NAN}, ValidationError, r"payload\['a'\]: nan"),
    "inf, deep": (lambda: {"a": [{"b": INF}]}, ValidationError, r"\['a'\]\[0\]\['b'\]: inf"),
    "numpy NaN": (lambda: {"a": np.float32(NAN)}, ValidationError, r"payload\['a'\]"),
    "2**64": (lambda: {"a": 2**64}, ValidationError, r"payload\['a'\]: .*int64 and uint64"),
    "-2**63-1": (lambda: {"a": -(2**63) - 1}, ValidationError, r"payload\['a'\]"),
    "an int of megabytes": (lambda: {"a": 1 << 10_000_000}, ValidationError, "10000001 bits"),
    "an int key": (lambda: {1: 2}, ValidationError, "expected str keys, got 1"),
    "a None key, deep": (lambda: {"a": {None: 1}}, ValidationError, r"\['a'\]: expected str keys"),
    "a datetime": (lambda: {"a": datetime(2026, 1, 1)}, ValidationError, r"\['a'\]: datetime"),
    "a set": (lambda: {"a": {1}}, ValidationError, r"payload\['a'\]: set"),
    "an object": (lambda: {"a": object()}, ValidationError, r"payload\['a'\]: object"),
    "a surrogate": (lambda: {"a": "\ud800"}, ValidationError, r"payload\['a'\]: .*surrogate"),
    "a surrogate key": (lambda: {"\udfff": 1}, ValidationError, "payload: .*surrogate"),
    "33 levels": (lambda: nested(33), LimitExceeded, "deeper than 32 levels"),
    "126 levels": (lambda: nested(126), LimitExceeded, "deeper than 32 levels"),
    "100,000 levels": (lambda: nested(100_000), LimitExceeded, "deeper than 32 levels"),
    "100,000 lists": (lambda: nested_list(100_000), LimitExceeded, "deeper than 32 levels"),
    "a cycle of dicts": (cyclic_dict, LimitExceeded, "deeper than 32 levels"),
    "a cycle of lists": (cyclic_list, LimitExceeded, "deeper than 32 levels"),
    "2 MiB": (lambda: {"a": "x" * 2**21}, LimitExceeded, "larger than 1048576 bytes"),
    "2 MiB of keys": (lambda: {"x" * 2**21: 1}, LimitExceeded, "larger than 1048576 bytes"),
    "2 MiB of bytes": (lambda: {"a": bytes(2**21)}, LimitExceeded, "larger than 1048576 bytes"),
    "a range without end": (lambda: {"a": range(10**12)}, LimitExceeded, "larger than"),
    "what doubles": (lambda: doubling(28), LimitExceeded, "larger than 1048576 bytes"),
    "a list": (lambda: [1], ValidationError, "payload: expected a dict"),
    "a str": (lambda: "a", ValidationError, "payload: expected a dict"),
}

for name, (build, kind, message) in PAYLOADS.items():
    for place, make in (
        ("upsert", lambda b=build: U.upsert_points([Point(8, GOOD), Point(9, GOOD, b())])),
        ("upsert_arrays", lambda b=build: U.upsert_arrays([9], np.ones((1, 4)), [b()])),
        ("set", lambda b=build: U.set_payload([1], b())),
        ("set by filter", lambda b=build: U.set_payload_by_filter(Filter(), b())),
        ("overwrite", lambda b=build: U.overwrite_payload([1], b(), "deep")),
    ):
        REFUSED[f"payload {name} in {place}"] = (update(make), kind, message)

NOT_A_PATH = "payload path|surrogate"

for path, kind in (
    ("", ValidationError), ("a[[", ValidationError), ("a..b", ValidationError),
    (".a", ValidationError), ("a b", ValidationError), ('a"', ValidationError),
    ("a[-1]", ValidationError), ("a[18446744073709551616]", ValidationError),
    ("a\ud800", ValidationError), ("\0", ValidationError), (".".join("a" * 65), LimitExceeded),
    (".".join("a" * 100_000), LimitExceeded),
):  # fmt: skip
    for place, make in (
        ("set_payload", lambda p=path: U.set_payload([1], {"x": 1}, p)),
        ("overwrite_payload", lambda p=path: U.overwrite_payload([1], {"x": 1}, p)),
        ("delete_payload", lambda p=path: U.delete_payload([1], ["a", p])),
        ("a condition", lambda p=path: U.delete_points_by_filter(
            Filter(must=[IsEmptyCondition(p)]))),
    ):  # fmt: skip
        REFUSED[f"path {ascii(path)[:20]} in {place}"] = (update(make), kind, NOT_A_PATH)
    for place, make in (
        ("create_field_index", update(
            lambda p=path: U.create_field_index(p, PayloadSchemaType.Keyword))),
        ("delete_field_index", update(lambda p=path: U.delete_field_index(p))),
        ("FacetRequest", ask(lambda p=path: FacetRequest(p))),
        ("OrderBy", ask(lambda p=path: QueryRequest(3, query=OrderBy(p)))),
        ("TextQuery", ask(lambda p=path: QueryRequest(3, query=TextQuery(p, "x")))),
        ("order_by", ask(lambda p=path: ScrollRequest(order_by=p))),
        ("nested", update(
            lambda p=path: U.create_field_index("a[].b", KeywordIndexParams(nested=p)))),
        ("NestedCondition", ask(
            lambda p=path: CountRequest(filter=Filter(must=[NestedCondition(p, Filter())])))),
    ):  # fmt: skip
        REFUSED[f"path {ascii(path)[:20]} in {place}"] = (make, kind, NOT_A_PATH)
    for place, selector in (("Include", PayloadSelector.Include), ("list", list)):
        REFUSED[f"path {ascii(path)[:20]} to show by {place}"] = (
            ask(lambda p=path, s=selector: ScrollRequest(with_payload=s([p]))),
            kind,
            NOT_A_PATH,
        )

for name, make in FILTERED.items():
    for at, wrap in WRAPS.items():
        if name in ("query", "delete_points_by_filter") or at == "must":
            REFUSED[f"filter of 33 levels of {at} in {name}"] = (
                lambda shard, m=make, w=wrap: m(deep_filter(33, w))(shard),
                LimitExceeded,
                "filter: 33 levels, at most 32",
            )
    for what, build, kind, message in (
        (
            "5,000 conditions", lambda: Filter(should=[ONE] * 5_000),
            LimitExceeded, "filter: 5001 conditions, at most 4096",
        ),
        (
            "5,000 conditions, deep",
            lambda: Filter(must=[Filter(should=[ONE] * 100) for _ in range(50)]),
            LimitExceeded, "filter: 5051 conditions, at most 4096",
        ),
        (
            "an unknown vector", lambda: Filter(must_not=[Filter([HasVectorCondition("zz")])]),
            UnknownVector, 'vector "zz"',
        ),
    ):  # fmt: skip
        REFUSED[f"filter of {what} in {name}"] = (
            lambda shard, m=make, b=build: m(b())(shard),
            kind,
            message,
        )
    REFUSED[f"no filter but a list in {name}"] = (
        lambda shard, m=make: m([ONE])(shard),
        ValidationError,
        "expected a Filter",  # type: ignore[arg-type]
    )

for at, wrap in WRAPS.items():
    REFUSED[f"filter of 100,000 levels of {at}"] = (
        lambda shard, w=wrap: deep_filter(100_000, w),
        LimitExceeded,
        "levels",
    )

for name, schema, message in (
    ("a str", "keyword", "schema: expected a PayloadSchemaType"),
    ("an unknown kind", "sparse", "schema: expected a PayloadSchemaType"),
    ("a dict", {"type": "keyword"}, "schema: expected a PayloadSchemaType"),
    ("a class", KeywordIndexParams, "schema: expected a PayloadSchemaType"),
    ("None", None, "schema: expected a PayloadSchemaType"),
    ("a number", 1, "schema: expected a PayloadSchemaType"),
):
    REFUSED[f"an index of {name}"] = (
        update(lambda s=schema: U.create_field_index("a", s)), ValidationError, message
    )  # fmt: skip

for name, build, message in (
    ("a flag that is none", lambda: IntegerIndexParams(lookup=1), "lookup: expected a bool"),
    ("a memory that is none", lambda: KeywordIndexParams(memory="cold"), "memory: expected"),
    ("a tokenizer that is none", lambda: TextIndexParams("word"), "tokenizer: expected"),
    ("a length of -1", lambda: TextIndexParams(min_token_len=-1), "min_token_len: expected 0"),
    ("a stemmer that is none", lambda: TextIndexParams(stemmer="en"), "stemmer"),
    ("stopwords that are none", lambda: TextIndexParams(stopwords=7), "stopwords"),
    ("a scoring that is none", lambda: TextIndexParams(scoring="x"), "scoring: expected"),
    ("another array than its own", lambda: KeywordIndexParams(nested="b"), "nested: the field"),
):
    REFUSED[f"an index with {name}"] = (
        update(lambda b=build: U.create_field_index("a[].b", b())), ValidationError, message
    )  # fmt: skip

HERE = GeoPoint(1, 1)

for name, build, message in (
    ("a latitude of 91", lambda: GeoPoint(0, 91), "lat: expected degrees"),
    ("a longitude of NaN", lambda: GeoPoint(NAN, 0), "lon: expected a number"),
    ("a radius of -1", lambda: GeoRadius(HERE, -1), "radius: expected metres"),
    ("a radius of NaN", lambda: GeoRadius(HERE, NAN), "radius: expected a number"),
    ("a centre that is a tuple", lambda: GeoRadius((1, 1), 1), "center: expected a GeoPoint"),
    ("half a box", lambda: GeoBoundingBox(HERE, None), "bottom_right: expected a GeoPoint"),
    ("a polygon of nothing", lambda: GeoPolygon([]), "exterior: expected at least 4 points"),
    ("a polygon of a line", lambda: GeoPolygon([HERE] * 3), "exterior: expected at least 4"),
    (
        "half a polygon",
        lambda: GeoPolygon([GeoPoint(*p) for p in ((0, 0), (1, 0), (1, 1), (0, 1))]),
        "exterior: the last point has to be the first",
    ),
    (
        "a polygon with half a hole",
        lambda: GeoPolygon([HERE] * 4, [[GeoPoint(*p) for p in ((0, 0), (1, 0), (1, 1), (0, 1))]]),
        r"interiors\[0\]: the last point has to be the first",
    ),
    ("a bound of no moment", lambda: RangeDateTime(gte="tomorrow"), "gte: expected a datetime"),
    ("the 13th month", lambda: RangeDateTime(lt="2024-13-01"), "lt: expected a datetime"),
    ("the 30th of February", lambda: RangeDateTime(gt="2024-02-30"), "gt: expected a datetime"),
    ("25 o'clock", lambda: RangeDateTime(lte="2024-01-01T25:00"), "lte: expected a datetime"),
    ("a moment that is a number", lambda: RangeDateTime(gte=5), "gte: expected a datetime"),
    ("the year 300,000", lambda: RangeDateTime(gte="+300000-01-01"), "gte: expected a datetime"),
    ("a count of -1", lambda: ValuesCount(gte=-1), "gte: expected 0"),
    ("a count of 1.5", lambda: ValuesCount(lt=1.5), "lt: expected an int"),
    ("a slice of nothing", lambda: SliceCondition(0, 0), "total: expected 1"),
    ("a slice beyond the last", lambda: SliceCondition(2, 2), "index: expected 0 to 1"),
    ("words that are none", lambda: MatchText(7), "text: expected a str"),
    ("a phrase of a surrogate", lambda: MatchPhrase("\ud800"), "phrase: .*surrogate"),
    ("a prefix that is bytes", lambda: MatchPrefix(b"x"), "prefix: expected a str"),
    ("a value that is a float", lambda: MatchValue(1.5), "value: expected a str"),
):
    REFUSED[f"a condition on {name}"] = (lambda shard, b=build: b(), ValidationError, message)

REFUSED |= {
    "filter of 10,000 levels": (
        lambda shard: deep_filter(10_000, WRAPS["must"]), LimitExceeded, "levels"
    ),
    "filter of 100,000 conditions at two levels": (
        lambda shard: Filter(must=[Filter(should=[ONE] * 1_000) for _ in range(100)]),
        LimitExceeded,
        "conditions",
    ),
    "a text query on no index": (
        ask(lambda: QueryRequest(3, query=TextQuery("text", "x"))), UnknownField, "field: .*text"
    ),
    "a text query on no index, of nothing": (
        ask(lambda: QueryRequest(0, query=TextQuery("text", ""))), UnknownField, "field: .*text"
    ),
    "a text query in a batch": (
        ask(lambda: QueryBatchRequest([QueryRequest(3, query=TextQuery("zz", "x"))])),
        UnknownField,
        "field: .*zz",
    ),
    "a text query of a number": (
        ask(lambda: QueryRequest(3, query=TextQuery("a", 5))), ValidationError, "query: expected"
    ),
    "a k below 0": (
        ask(lambda: QueryRequest(3, query=TextQuery("a", "x", Bm25Params(-1)))),
        ValidationError,
        "k: expected",
    ),
    "a b above 1": (
        ask(lambda: QueryRequest(3, query=TextQuery("a", "x", Bm25Params(b=2)))),
        ValidationError,
        "b: expected",
    ),
    "an order from NaN": (
        ask(lambda: QueryRequest(3, query=OrderBy("a", start_from=NAN))),
        ValidationError,
        "start_from: expected a number",
    ),
    "an order from beyond all floats": (
        ask(lambda: QueryRequest(3, query=OrderBy("a", start_from=10**400))),
        ValidationError,
        "start_from: expected a number",
    ),
    "an order from no moment": (
        ask(lambda: QueryRequest(3, query=OrderBy("a", start_from="then"))),
        ValidationError,
        "start_from: expected a datetime",
    ),
    "an order of no direction": (
        ask(lambda: QueryRequest(3, query=OrderBy("a", "desc"))),
        ValidationError,
        "direction: expected a Direction",
    ),
    "a sample that is a str": (
        ask(lambda: QueryRequest(3, query="random")), ValidationError, "query: expected a Query"
    ),
    "a search by order": (
        ask(lambda: SearchRequest(OrderBy("a"), 3)), ValidationError, "query: expected a Query"
    ),
    "a facet of -1": (
        ask(lambda: FacetRequest("a", -1)), ValidationError, "limit: expected 0"
    ),
    "a facet of a number": (ask(lambda: FacetRequest(5)), ValidationError, "key: expected a str"),
    "a facet that is none": (lambda shard: shard.facet("a"), ValidationError, "not a request"),
    "a cursor where there is no order": (
        ask(lambda: ScrollRequest(OrderCursor(1, 1))), ValidationError, "offset: expected an int"
    ),
    "a cursor that is a tuple": (
        ask(lambda: ScrollRequest((1, 1), order_by="a")),
        ValidationError,
        "offset: expected an OrderCursor",
    ),
    "a batch of 10,001 points": (
        lambda shard: shard.update(U.upsert_points([Point(i, GOOD) for i in range(10_001)])),
        LimitExceeded,
        "10001 points",
    ),
    "a batch of 70 MB": (
        update(lambda: U.upsert_points([Point(i, GOOD, {"a": "x" * 10**6}) for i in range(70)])),
        LimitExceeded,
        "batch: .* bytes",
    ),
    "a million ids and one": (
        update(lambda: U.delete_points(range(1_000_001))), LimitExceeded, "point_ids: 1000001"
    ),
    "ids that are a str": (update(lambda: U.delete_points("abc")), ValidationError, "point_ids"),
    "ids that are one": (update(lambda: U.delete_points(5)), ValidationError, "point_ids"),
    "no ids at all": (update(lambda: U.delete_points(None)), ValidationError, "point_ids"),
    "filter of 100,000 conditions": (
        lambda shard: Filter(should=[ONE] * 100_000), LimitExceeded, "should: 100000 entries"
    ),
    "filter of a million ids and one": (
        lambda shard: HasIdCondition(range(1_000_001)), LimitExceeded, "point_ids: 1000001"
    ),
    "a bound that is NaN": (lambda shard: RangeFloat(gte=NAN), ValidationError, "gte"),
    "a payload that grows too large": (
        update(lambda: U.set_payload([1, 2], {"more": "x" * 600_000})),
        LimitExceeded,
        "1048576 bytes",
    ),
    "a payload that grows too large by filter": (
        update(lambda: U.set_payload_by_filter(Filter(), {"more": "x" * 600_000})),
        LimitExceeded,
        "1048576 bytes",
    ),
    "a payload that grows too deep": (
        update(lambda: U.set_payload([2, 1], nested(30), "deep.x.y")),
        LimitExceeded,
        "deeper than 32 levels",
    ),
    "payloads of another number": (
        arrays([7, 8], np.ones((2, 4)), [None]), ValidationError, "payloads: expected 2 entries"
    ),
    "payloads that are one": (
        arrays([7], np.ones((1, 4)), {"a": 1}), ValidationError, "payloads: expected a list"
    ),
    "a missing id to update": (
        update(lambda: U.update_vectors([PointVectors(1, GOOD), PointVectors(99, GOOD)])),
        NotFound,
        "no point with id 99",
    ),
    "a missing id to delete vectors of": (
        update(lambda: U.delete_vectors([1, 99], [""])), NotFound, "no point with id 99"
    ),
    "a missing id to set": (
        update(lambda: U.set_payload([1, 99], {"a": 2})), NotFound, "no point with id 99"
    ),
    "a missing id to overwrite": (
        update(lambda: U.overwrite_payload([1, 99], {"a": 2})), NotFound, "no point with id 99"
    ),
    "a missing id to delete from": (
        update(lambda: U.delete_payload([1, 99], ["a"])), NotFound, "no point with id 99"
    ),
    "a missing id to clear": (
        update(lambda: U.clear_payload([UUID(int=9), 1])), NotFound, f"with id {UUID(int=9)}"
    ),
    "an unknown vector to delete": (
        update(lambda: U.delete_vectors([1], ["", "zz"])), UnknownVector, 'vector "zz"'
    ),
    "names that are a str": (
        update(lambda: U.delete_vectors([1], "d")), ValidationError, "vector_names: expected a list"
    ),
    "points that are one": (
        update(lambda: U.upsert_points(Point(1, GOOD))), ValidationError, "points: expected a list"
    ),
    "a point that is a dict": (
        update(lambda: U.upsert_points([{"id": 1}])), ValidationError, r"points\[0\]"
    ),
    "a mode that is a str": (
        update(lambda: U.upsert_points([], None, "Upsert")), ValidationError, "update_mode"
    ),
    "an operation that is none": (update(lambda: "x"), ValidationError, "UpdateOperation"),
    "an operation in a list": (
        update(lambda: [U.upsert_points([])]), ValidationError, "UpdateOperation"
    ),
    "a durability that is a str": (
        lambda shard: shard.update(U.delete_points([1]), "Always"), ValidationError, "durability"
    ),
    "a limit of -1": (ask(lambda: QueryRequest(-1)), ValidationError, "limit: expected 0"),
    "a limit of True": (ask(lambda: QueryRequest(True)), ValidationError, "limit: expected an int"),
    "a limit of 1.0": (ask(lambda: ScrollRequest(limit=1.0)), ValidationError, "limit: expected"),
    "a limit of None": (ask(lambda: QueryRequest(None)), ValidationError, "limit: expected an int"),
    "a limit of 2**64": (ask(lambda: QueryRequest(2**64)), ValidationError, "limit: expected 0"),
    "a limit of 2**31": (ask(lambda: QueryRequest(2**31)), LimitExceeded, "limit"),
    "a limit of 2**64-1": (ask(lambda: ScrollRequest(limit=2**64 - 1)), LimitExceeded, "limit"),
    "limit and offset": (ask(lambda: QueryRequest(500_001, 500_000)), LimitExceeded, "offset"),
    "an offset of -1": (ask(lambda: QueryRequest(1, -1)), ValidationError, "offset: expected 0"),
    "1,025 queries": (
        ask(lambda: QueryBatchRequest([QueryRequest(1)] * 1025)), LimitExceeded, "queries: 1025"
    ),
    "a query that is a list": (
        ask(lambda: QueryRequest(1, query=GOOD)), ValidationError, "query: expected a Query"
    ),
    "a search for nothing": (
        ask(lambda: SearchRequest(None, 1)), ValidationError, "query: expected a Query"
    ),
    "a query of an unknown vector": (
        ask(lambda: QueryRequest(1, query=Query.Nearest(GOOD, "zz"))), UnknownVector, '"zz"'
    ),
    "a threshold of NaN": (
        ask(lambda: QueryRequest(1, score_threshold=NAN)), ValidationError, "score_threshold"
    ),
    "an hnsw_ef of -1": (lambda shard: SearchParams(hnsw_ef=-1), ValidationError, "hnsw_ef"),
    "a timeout of -1": (ask(lambda: QueryRequest(1, timeout=-1)), ValidationError, "timeout"),
    "a timeout of NaN": (ask(lambda: CountRequest(timeout=NAN)), ValidationError, "timeout"),
    "prefetches": (
        ask(lambda: QueryRequest(1, prefetches=[1])), ValidationError, "prefetches.*a Prefetch"
    ),
    "an order that is none": (
        ask(lambda: ScrollRequest(order_by=1)), ValidationError, "order_by: expected a OrderBy"
    ),
    "an id where an order goes on": (
        ask(lambda: ScrollRequest(1, order_by="a")), ValidationError, "offset: expected an Order"
    ),
    "vectors to show that are a str": (
        ask(lambda: ScrollRequest(with_vector="d")), ValidationError, "with_vector: expected a list"
    ),
    "an unknown vector to show": (
        ask(lambda: QueryRequest(1, with_vector=["zz"])), UnknownVector, '"zz"'
    ),
    "an unknown vector to retrieve": (
        lambda shard: shard.retrieve([1], None, ["zz"]), UnknownVector, "zz"
    ),
    "a payload to show that is a number": (
        ask(lambda: ScrollRequest(with_payload=3)), ValidationError, "expected a list"
    ),
    "a request that is none": (lambda shard: shard.query("x"), ValidationError, "not a request"),
    "a batch that is none": (lambda shard: shard.query_batch(3), ValidationError, "queries"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_nothing_of_it_stays(unchanging: EdgeShard, name: str) -> None:
    act, kind, message = REFUSED[name]
    shard = unchanging
    before, info, files = everything(shard), shard.info(), content(shard.path)
    with pytest.raises(EdgeError, match=message) as caught:
        act(shard)
    assert type(caught.value) is kind
    assert isinstance(caught.value, CallerError)
    assert len(str(caught.value)) < 500
    assert everything(shard) == before
    assert shard.info() == info
    assert content(shard.path) == files


def shows(point_id: Any, payload: Any) -> Act:
    return lambda shard: shard.retrieve([point_id])[0].payload == payload


def found(shard: EdgeShard, query: Query) -> list[Any]:
    return [hit.id for hit in shard.query(QueryRequest(9, query=query))]


ODD_KEYS = {"a.b": 1, "": 2, "\0": 3, "größe": 4, "[0]": 5, "日本": {"🦀": None}, "a[[": ["\0"]}

TAKEN: dict[str, tuple[Act, Act]] = {
    "the largest id": (upsert(point_id=2**64 - 1), lambda s: len(s.retrieve([2**64 - 1])) == 1),
    "a UUID as text": (
        upsert(point_id=f"urn:uuid:{UUID(int=5)}"), lambda s: len(s.retrieve([UUID(int=5)])) == 1
    ),
    "numpy's ints as ids": (upsert(point_id=np.uint8(9)), lambda s: s.count() == 4),
    "no vector": (upsert({}), lambda s: s.retrieve([9], True, True)[0].vector == {}),
    "no points": (update(lambda: U.upsert_points([])), lambda s: s.count() == 3),
    "a vector of zeros": (
        upsert([0.0] * 4), lambda s: s.retrieve([9], False, True)[0].vector == [0.0] * 4
    ),
    "a vector of almost zeros": (upsert([1e-30] * 4), lambda s: s.count() == 4),
    "a vector beyond float32 when squared": (
        upsert([3e38] * 4), lambda s: s.retrieve([9], False, True)[0].vector == [0.0] * 4
    ),
    "a vector of ints": (upsert([0, 2, 0, 0]), lambda s: s.count() == 4),
    "scores beyond float32": (
        update(lambda: U.upsert_points(
            [Point(8, {"d": [3e38, -3e38]}), Point(9, {"d": [3e38, 3e38]})])),
        lambda s: found(s, Query.Nearest([3e38, 3e38], "d"))[0] == 9,
    ),
    "odd keys": (upsert(payload=ODD_KEYS), shows(9, ODD_KEYS)),
    "32 levels": (upsert(payload=nested(32)), shows(9, nested(32))),
    "almost 1 MiB": (upsert(payload={"a": "x" * 10**6}), shows(9, {"a": "x" * 10**6})),
    "bytes, tuples and numpy": (
        upsert(payload={"a": b"\1\2", "b": (1, (2,)), "c": np.arange(2), "d": np.float64(0.5)}),
        shows(9, {"a": [1, 2], "b": [1, [2]], "c": [0, 1], "d": 0.5}),
    ),
    "ints up to 64 bits": (
        upsert(payload={"a": 2**64 - 1, "b": -(2**63)}), shows(9, {"a": 2**64 - 1, "b": -(2**63)})
    ),
    "deletes of what is not there": (
        update(lambda: U.delete_points([99, UUID(int=99)])), lambda s: s.count() == 3
    ),
    "paths that lead nowhere": (
        update(lambda: U.delete_payload([1, 2], ["a.b.c", "zz", "list[7]"])),
        lambda s: s.retrieve([1])[0].payload["a"] == 1,
    ),
    "a filter of 32 levels": (
        update(lambda: U.delete_points_by_filter(deep_filter(32, WRAPS["should"]))),
        lambda s: s.retrieve([1]) == [],
    ),
    "a filter of 4,000 conditions": (
        update(lambda: U.delete_points_by_filter(Filter(should=[ONE] * 4_000))),
        lambda s: s.count(CountRequest(filter=Filter(should=[ONE] * 4_000))) == 0,
    ),
    "a condition that asks for nothing": (
        update(lambda: U.delete_points_by_filter(Filter(must=[FieldCondition("a")]))),
        lambda s: s.count() == 3,
    ),
    "a filter that asks for nothing": (
        update(lambda: U.delete_points_by_filter(Filter())), lambda s: s.count() == 0
    ),
    "a limit of nothing": (ask(lambda: QueryRequest(0)), lambda s: s.query(QueryRequest(0)) == []),
    "an offset beyond all": (
        ask(lambda: QueryRequest(5, 900_000)), lambda s: s.query(QueryRequest(5, 900_000)) == []
    ),
    "a limit beyond all": (
        ask(lambda: QueryRequest(1_000_000, query=Query.Nearest(GOOD))),
        lambda s: len(s.query(QueryRequest(1_000_000, query=Query.Nearest(GOOD)))) == 2,
    ),
    "an hnsw_ef beyond all": (
        ask(lambda: QueryRequest(1, query=Query.Nearest(GOOD), params=SearchParams(2**63))),
        lambda s: s.count() == 3,
    ),
    "a threshold of infinity": (
        ask(lambda: QueryRequest(9, query=Query.Nearest(GOOD), score_threshold=INF)),
        lambda s: s.count() == 3,
    ),
    "an index of a field that is nowhere": (
        update(lambda: U.create_field_index("zz[].zz[7]", PayloadSchemaType.Geo)),
        lambda s: s.facet(FacetRequest("zz[].zz[7]")).hits == [],
    ),
    "an index twice": (
        lambda s: [s.update(U.create_field_index("a", PayloadSchemaType.Integer)) for _ in "ab"],
        lambda s: s.count(CountRequest(filter=Filter(must=[ONE]))) == 1,
    ),
    "an index of another kind than the values": (
        update(lambda: U.create_field_index("a", PayloadSchemaType.Text)),
        lambda s: s.count(CountRequest(filter=Filter(must=[ONE]))) == 1,
    ),
    "no index deleted": (
        update(lambda: U.delete_field_index("zz")), lambda s: s.info().payload_schema == {}
    ),
    "an index of every kind on every field": (
        lambda s: [
            s.update(U.create_field_index(path, kind))
            for kind in PayloadSchemaType
            for path in ("a", "deep.x", "text", "list[].b", "list")
        ],
        lambda s: s.count(CountRequest(filter=Filter(must=[ONE]))) == 1,
    ),
    "an index of 600 kB of text": (
        update(lambda: U.create_field_index("text", TextIndexParams(scoring=True))),
        lambda s: s.query(QueryRequest(3, query=TextQuery("text", "y"))) == [],
    ),
    "odd keys under odd indexes": (
        lambda s: [
            s.update(U.create_field_index('"日本"."🦀"', PayloadSchemaType.Keyword)),
            upsert(payload=ODD_KEYS)(s),
        ],
        shows(9, ODD_KEYS),
    ),
    "moments that no index of 64 bits holds": (
        lambda s: [
            s.update(U.create_field_index("at", PayloadSchemaType.Datetime)),
            upsert(payload={"at": ["+262000-01-01", "-262000-01-01"]})(s),
        ],
        lambda s: s.count(
            CountRequest(filter=Filter(must=[
                FieldCondition("at", range=RangeDateTime(gt="+261000-01-01"))]))) == 1,
    ),
    "an order of nothing": (
        ask(lambda: ScrollRequest(order_by="zz[3].a")),
        lambda s: s.scroll(ScrollRequest(order_by="zz[3].a")) == ([], None),
    ),
    "an order from infinity": (
        ask(lambda: QueryRequest(3, query=OrderBy("a", start_from=INF))),
        lambda s: s.query(QueryRequest(3, query=OrderBy("a", start_from=-INF)))[0].id == 1,
    ),
    "a facet of 2**64 - 1": (
        ask(lambda: FacetRequest("a", 2**64 - 1)),
        lambda s: [hit.count for hit in s.facet(FacetRequest("a", 2**64 - 1))] == [1],
    ),
    "a query of zeros": (
        ask(lambda: QueryRequest(9, query=Query.Nearest([0.0] * 4))),
        lambda s: found(s, Query.Nearest([0.0] * 4)) == [1, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_taken_on_purpose(shard: EdgeShard, name: str) -> None:
    act, holds = TAKEN[name]
    act(shard)
    assert holds(shard)
    assert loaded(shard) == everything(shard)
    shard.optimize()
    assert loaded(shard) == everything(shard)


AFTER_CLOSE: dict[str, Act] = {
    "update": upsert(),
    "upsert_arrays": arrays([9], np.ones((1, 4))),
    "flush": lambda shard: shard.flush(),
    "optimize": lambda shard: shard.optimize(),
    "query": ask(lambda: QueryRequest(1)),
    "query_batch": ask(lambda: QueryBatchRequest([])),
    "search": ask(lambda: SearchRequest(Query.Nearest(GOOD), 1)),
    "scroll": ask(lambda: ScrollRequest()),
    "count": ask(lambda: CountRequest()),
    "facet": ask(lambda: FacetRequest("a")),
    "read_view": lambda shard: shard.read_view().__enter__(),
    "retrieve": lambda shard: shard.retrieve([1]),
    "info": lambda shard: shard.info(),
}


@pytest.mark.parametrize("name", AFTER_CLOSE)
def test_a_closed_shard_says_so(shard: EdgeShard, name: str) -> None:
    before = everything(shard)
    shard.close()
    shard.close()
    with pytest.raises(ShardClosed, match="closed"):
        AFTER_CLOSE[name](shard)
    assert loaded(shard) == before


OPENINGS: dict[str, tuple[Callable[[Path], Any], type[EdgeError], str]] = {
    "create over a shard": (
        lambda path: EdgeShard.create(path, CONFIG), AlreadyExists, "a shard in"
    ),
    "load another dimension": (
        lambda path: EdgeShard.load(path, EdgeConfig(EdgeVectorParams(5, Distance.Cosine))),
        ValidationError,
        "vector '': expected size 4",
    ),
    "load a name less": (
        lambda path: EdgeShard.load(path, EdgeConfig(EdgeVectorParams(4, Distance.Cosine))),
        ValidationError,
        "vectors: expected names",
    ),
    "load another distance": (
        lambda path: EdgeShard.load(
            path,
            EdgeConfig({**CONFIG.vectors, "d": EdgeVectorParams(2, Distance.Euclid)}),
        ),
        ValidationError,
        "vector 'd': expected distance",
    ),
    "load nothing": (lambda path: EdgeShard.load(path / "none"), NotFound, "no shard in"),
    "open nothing": (lambda path: EdgeShard(path / "none"), NotFound, "no shard in"),
    "create without config": (
        lambda path: EdgeShard.create(path / "none", None), CallerError, "config"
    ),
    "create by a dict": (
        lambda path: EdgeShard.create(path / "none", {"vectors": {}}), CallerError, "config"
    ),
    "load by a dict": (lambda path: EdgeShard.load(path, {"vectors": {}}), CallerError, "config"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPENINGS)
def test_openings_refused(shard: EdgeShard, name: str) -> None:
    act, kind, message = OPENINGS[name]
    before = everything(shard)
    shard.close()
    with pytest.raises(EdgeError, match=message) as caught:
        act(shard.path)
    assert isinstance(caught.value, kind)
    assert not (shard.path / "none").exists()
    with EdgeShard.load(shard.path) as again:
        assert everything(again) == before


def test_what_wider_limits_let_into_the_log_loads_under_narrow_ones(shard: EdgeShard) -> None:
    shard.update(U.set_payload([1], nested(30)))
    shard.update(U.set_payload([1], {"more": "x" * 100_000}))
    shard.update(U.delete_points_by_filter(deep_filter(32, WRAPS["must_not"])))
    before = everything(shard)
    shard.close()
    narrow = EdgeConfig(
        CONFIG.vectors,
        limits=Limits(payload_bytes=10, payload_depth=1, filter_depth=1, filter_nodes=1),
        durability=Durability.Os,
    )
    with EdgeShard.load(shard.path, narrow) as again:
        assert everything(again) == before
        with pytest.raises(LimitExceeded):
            again.update(U.set_payload([2], {"a": "x" * 100}))


def test_a_shard_left_open_at_the_end_of_a_program_says_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from edge.blocking import *\n"
        "shard = EdgeShard(sys.argv[1], EdgeConfig(EdgeVectorParams(2, Distance.Dot)))\n"
        "shard.update(UpdateOperation.upsert_points([Point(1, [1.0, 2.0])]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "shard")],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    with EdgeShard.load(tmp_path / "shard") as shard:
        assert shard.count() == 1
