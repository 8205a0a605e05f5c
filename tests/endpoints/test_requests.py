"""Requests and answers as frames: what is written is read back, and what is none is refused."""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import errors
from edge.endpoints import answers, protocol, requests
from edge.endpoints.protocol import ProtocolError
from edge.errors import EdgeError, LimitExceeded, StorageFault, ValidationError
from edge.model.examples import RecommendQuery
from edge.model.groups import GroupsResult, PointGroup, QueryGroupsRequest
from edge.model.matrix import SearchMatrixOffsets, SearchMatrixRequest
from edge.model.point import Record, ScoredPoint
from edge.model.query import OrderBy, Query
from edge.model.request import (
    CountRequest,
    Explained,
    FacetRequest,
    OrderCursor,
    QueryRequest,
    ScrollRequest,
    SearchRequest,
    SegmentPlan,
)
from edge.query.answer import Retrieve
from tests.endpoints import kinds, queries
from tests.model import strategies as values

# -- requests

others = st.one_of(
    st.builds(
        ScrollRequest,
        st.none() | values.ids,
        st.integers(1, 9),
        st.none() | values.filters,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        ScrollRequest,
        st.builds(OrderCursor, st.integers(0, 99), values.ids),
        order_by=st.builds(OrderBy, values.keys),
    ),
    st.builds(CountRequest, st.booleans(), st.none() | values.filters),
    st.builds(FacetRequest, values.keys, st.integers(1, 9), st.booleans()),
    st.builds(Retrieve.of, st.lists(values.ids, max_size=3), st.booleans(), st.booleans()),
)


@given(queries.queries | queries.groups | queries.matrices | others)
def test_requests_come_back(request: Any) -> None:
    frames = requests.write_request(7, request, 1.5)
    asked = msgspec.msgpack.decode(frames[0], type=requests.Asked)
    assert (asked.number, asked.seconds, asked.view) == (7, 1.5, None)
    found = requests.read_request(asked, frames[1:], 1.5)
    assert found.timeout == 1.5
    for name in request.__struct_fields__:
        if name != "timeout":
            assert getattr(found, name) == getattr(request, name), name


@given(kinds.any_kind, kinds.params)
def test_searches_come_back_as_queries(vector: Any, params: Any) -> None:
    request = SearchRequest(Query.Nearest(vector, "name"), 5, params=params)
    header, *frames = requests.write_request(7, request, None)
    found = requests.read_request(msgspec.msgpack.decode(header, type=requests.Asked), frames, None)
    assert (found.query, found.params) == (request.query, request.params)


@given(kinds.any_kind)
def test_no_vector_is_inside_msgpack(vector: Any) -> None:
    asked = requests.write_request(1, QueryRequest(5, query=Query.Nearest(vector)), None)
    assert len(asked) == 3
    assert len(asked[1]) < 70
    hit = ScoredPoint(1, 1, 0.5, None, vector)
    _, result, _ = answers.write_answer(1, "query", [hit])
    assert msgspec.msgpack.decode(result)[0]["vector"] is None


def test_a_request_that_no_door_takes_is_not_sent() -> None:
    rows = requests.MAX_REQUEST // 4 // 64
    vector = np.ones((rows, 64), np.float32)
    assert len(requests.write_request(1, QueryRequest(5, query=Query.Nearest(vector)), None)) == 3
    larger = QueryRequest(5, query=Query.Nearest(np.ones((rows + 1, 64), np.float32)))
    with pytest.raises(LimitExceeded, match="request"):
        requests.write_request(1, larger, None)
    for many, is_taken in ((32, False), (31, True)):
        query = Query.RecommendSumScores(RecommendQuery([vector] * many, []))
        with contextlib.nullcontext() if is_taken else pytest.raises(LimitExceeded, match="frames"):
            frames = requests.write_request(1, QueryRequest(5, query=query), None)
    asked = msgspec.msgpack.decode(frames[0], type=requests.Asked)
    with pytest.raises(LimitExceeded, match="frames"):
        requests.read_request(asked, [*frames[1:], frames[-1]], None)


class Tomorrow(msgspec.Struct, frozen=True):
    """A request, or a ranking, that no door knows yet."""

    timeout: float | None = None


def test_what_no_door_knows_yet_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="Tomorrow"):
        requests.write_request(1, Tomorrow(), None)
    for request in (QueryRequest(5), QueryGroupsRequest("a")):
        for name, value in (("query", Tomorrow()), ("prefetches", (Tomorrow(),))):
            changed = msgspec.structs.replace(request)
            msgspec.structs.force_setattr(changed, name, value)
            with pytest.raises(ValidationError, match="Tomorrow does not go through the doors yet"):
                requests.write_request(1, changed, None)
        assert len(requests.write_request(1, request, None)) == 2


def test_tables_know_all_kinds() -> None:
    assert set(requests.KINDS.values()) == set(requests.CALLS)


MIRRORED: dict[type[msgspec.Struct], type[msgspec.Struct]] = {
    requests.Ranked: QueryRequest,
    requests.Grouped: QueryGroupsRequest,
    requests.Compared: SearchMatrixRequest,
    requests.Scrolled: ScrollRequest,
    requests.Counted: CountRequest,
    requests.Faceted: FacetRequest,
    requests.Retrieved: Retrieve,
}


@pytest.mark.parametrize("arguments", MIRRORED)
def test_no_field_of_a_request_is_left_out(arguments: type[msgspec.Struct]) -> None:
    fields = {*MIRRORED[arguments].__struct_fields__} - {"timeout"}
    assert {*arguments.__struct_fields__} - {"after"} == fields


def test_a_search_has_no_field_that_a_query_has_not() -> None:
    assert {*SearchRequest.__struct_fields__} < {*QueryRequest.__struct_fields__}


@pytest.mark.parametrize("kind", sorted(requests.CALLS))
@given(data=st.data())
def test_arguments_that_are_none_raise_errors_of_ours(kind: str, data: st.DataObject) -> None:
    plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=3)
    words = ["type", "key", "query", "must", "rows", "sparse", "positives", "prefetches", "exprs"]
    some = st.dictionaries(
        st.sampled_from([*msgspec.structs.asdict(requests.Ranked(1)), "key", "point_ids", "x"]),
        st.recursive(
            plain | st.floats(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(words), inner)
            ),
            max_leaves=5,
        ),
        max_size=5,
    )
    body = msgspec.msgpack.encode(data.draw(some))
    blocks = data.draw(st.lists(st.sampled_from([b"", b"abc", bytes(16)]), max_size=2))
    frames = [body, *blocks]
    with contextlib.suppress(EdgeError):
        requests.read_request(requests.Asked(1, kind), frames, data.draw(st.none() | st.floats()))


# -- answers


@given(kinds.results(), st.data())
def test_points_come_back_with_their_vectors(vectors: list[Any], data: st.DataObject) -> None:
    ids = [UUID(int=n) if n % 2 else n for n in range(len(vectors))]
    hits = [ScoredPoint(i, 3, 0.5, {"n": str(i)}, v) for i, v in zip(ids, vectors, strict=True)]
    records = [Record(i, None, v, 7) for i, v in zip(ids, vectors, strict=True)]
    plan = (SegmentPlan(1, "scan", 2, None, None, 0.5),)
    given: dict[str, Any] = {
        "query": hits,
        "scroll": (records, data.draw(st.sampled_from([None, 5, UUID(int=5), OrderCursor(1, 2)]))),
        "retrieve": records,
    }
    for kind, result in given.items():
        number, found = answers.read_answer(answers.write_answer(9, kind, result))
        assert (number, found) == (9, result)
    explained = answers.read_answer(answers.write_answer(9, "query", Explained(hits, plan)))[1]
    assert (list(explained), explained.plan) == (hits, plan)
    assert all(type(hit) is ScoredPoint for hit in explained)


@given(kinds.results(), st.data())
def test_groups_come_back_with_the_vectors_of_their_hits(
    vectors: list[Any], data: st.DataObject
) -> None:
    hits = [ScoredPoint(n, 3, 0.5, {"n": n}, vector) for n, vector in enumerate(vectors)]
    groups = []
    for value in data.draw(st.lists(st.text(max_size=3) | st.integers() | st.booleans())):
        if not isinstance(value, int) or -(2**63) <= value < 2**64:
            some = data.draw(st.lists(st.sampled_from(hits), max_size=3)) if hits else []
            groups.append(PointGroup(value, some))
    frames = answers.write_answer(9, "query_groups", GroupsResult(groups))
    number, found = answers.read_answer(frames)
    assert (number, found) == (9, GroupsResult(groups))
    for one, other in zip(found, groups, strict=True):
        assert type(one.id) is type(other.id)


def matrix(rows: Any, columns: Any, scores: Any, ids: Any) -> SearchMatrixOffsets:
    return SearchMatrixOffsets(
        np.array(rows, np.int64), np.array(columns, np.int64), np.array(scores, np.float32), ids
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), kinds.finite)), st.data())
def test_matrices_come_back(entries: list[tuple[int, int, float]], data: st.DataObject) -> None:
    rows, columns, scores = zip(*sorted(entries), strict=True) if entries else ((), (), ())
    least = 4 if entries else 0
    ids = data.draw(st.lists(values.ids, min_size=least, max_size=6, unique=True))
    given = matrix(rows, columns, scores, tuple(ids))
    number, found = answers.read_answer(answers.write_answer(9, "search_matrix", given))
    assert (number, found) == (9, given)
    for name in ("offsets_row", "offsets_col", "scores"):
        assert getattr(found, name).dtype == getattr(given, name).dtype


@pytest.mark.parametrize(
    "change",
    [
        lambda frames: frames[:-1],
        lambda frames: [*frames, b""],
        lambda frames: [*frames[:-1], frames[-1] + bytes(4)],
        lambda frames: [frame[:-1] for frame in frames],
        lambda frames: [np.array([1, 0], "<u4").tobytes(), *frames[1:]],
        lambda frames: [np.array([0, 2], "<u4").tobytes(), *frames[1:]],
        lambda frames: [frames[0], np.array([0, 2], "<u4").tobytes(), frames[2]],
        lambda frames: [frames[0], np.array([0, 2**32 - 1], "<u4").tobytes(), frames[2]],
    ],
)
def test_matrices_that_are_none(change: Any) -> None:
    header, ids, *frames = answers.write_answer(
        9, "search_matrix", matrix([0, 1], [1, 0], [0.5, 0.5], (7, 8))
    )
    assert len(answers.read_answer([header, ids, *frames])[1]) == 2
    with pytest.raises(ProtocolError):
        answers.read_answer([header, ids, *change(frames)])


@pytest.mark.parametrize("vector", [[1.0], {"a": [1.0]}, {"a": None}])
def test_a_vector_inside_of_msgpack_is_refused(vector: Any) -> None:
    point = msgspec.to_builtins(Record(1)) | {"vector": vector}
    frames = [msgspec.msgpack.encode([1, "retrieve"]), msgspec.msgpack.encode([point])]
    with pytest.raises(ProtocolError):
        answers.read_answer(frames)
    plain = msgspec.msgpack.encode([point | {"vector": {}}])
    assert answers.read_answer([frames[0], plain]) == (1, [Record(1, None, {})])


@pytest.mark.parametrize("kind", ["count", "query"])
def test_frames_that_nobody_announced_are_refused(kind: str) -> None:
    frames = answers.write_answer(1, kind, [] if kind == "query" else 5)
    with pytest.raises(ProtocolError, match="1 frames"):
        answers.read_answer([*frames, b""])


EVERY_ERROR = sorted(protocol._CODES.values(), key=lambda kind: kind.code)


def test_codes_are_one_for_each_class() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)
             and issubclass(kind, EdgeError)}  # fmt: skip
    assert kinds | {ProtocolError} == set(EVERY_ERROR)


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_comes_back(kind: type[EdgeError]) -> None:
    number, found = answers.read_answer(answers.write_failure(3, kind("words")))
    assert (number, type(found), str(found)) == (3, kind, "words")


def test_an_error_that_is_not_known_is_an_edge_error() -> None:
    assert type(protocol.error_of("from-the-future", "words")) is EdgeError


@pytest.mark.parametrize(
    "frames",
    [[], [b""], [b"\x93\x01\xa5query\x90"], [b"\x93\x01\xa5query\x90", b"\xc0"],
     [b"\x93\x01\xa4what\x90", b"\x90"], [b"\x93\x01\xa5query\x91\x93\xa0\x04\x91\x00", b"\x90"]],
)  # fmt: skip
def test_answers_that_are_none(frames: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        answers.read_answer(frames)


def test_storage_faults_keep_their_words() -> None:
    failed = answers.write_failure(1, StorageFault("no space", "/a/b"))
    assert str(answers.read_answer(failed)[1]) == "no space (/a/b)"
