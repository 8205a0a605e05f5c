"""PROTOCOL.md says what structs, constants and errors say: each table is made from them here."""

from __future__ import annotations

import json
import re
import types
import typing
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from msgspec import NODEFAULT, Struct

from edge.endpoints import (
    answers,
    client,
    events,
    ingest,
    order,
    protocol,
    query,
    rankings,
    requests,
    stream,
    thread,
    vectors,
)
from edge.model import check, codec, limits, mark, quantization, sparse, vector_params
from edge.model import config as configs
from edge.model import filter as filters
from edge.model import geo as places
from edge.model import query as queries
from edge.model.choice import Choice, Memory
from edge.model.examples import RecommendQuery
from edge.model.expression import DecayKind, Expression
from edge.model.formula import Formula
from edge.model.fusion import Fusion
from edge.model.groups import GroupsResult, PointGroup
from edge.model.matrix import SearchMatrixOffsets
from edge.model.point import Point, Record, ScoredPoint
from edge.model.prefetch import Prefetch
from edge.model.query import Query
from edge.model.request import QueryRequest
from edge.model.update import UpdateMode, UpdateOperation
from tests.endpoints.kinds import EVERY_KIND
from tests.endpoints.made import config

DOCUMENT = (Path(protocol.__file__).parent / "PROTOCOL.md").read_text(encoding="utf-8")

WORDS = {int: "int", float: "float", str: "str", bool: "bool", bytes: "bin", types.NoneType: "nil",
         Any: "any", UUID: "str"}  # fmt: skip


ALIASES = {
    "ranking": {*typing.get_args(rankings.Ranking)},
    "expression": {*typing.get_args(rankings.Expression)},
    "example": {*typing.get_args(rankings.Example)},
}
"""What the document has a word of its own for."""


def words(kind: Any) -> str:
    """A type as the document writes it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        for name, members in ALIASES.items():
            if members <= {*inner}:
                others = [words(one) for one in inner if one not in members]
                return " or ".join([name, *others])
        return " or ".join(dict.fromkeys(words(one) for one in inner))
    if origin in (tuple, list, frozenset) and (len(inner) == 1 or inner[-1] is Ellipsis):
        return f"[{words(inner[0])}...]"
    if origin is tuple:
        return f"[{', '.join(map(words, inner))}]"
    if origin is dict:
        return "map" if inner[1] is Any else f"{{{words(inner[0])}: {words(inner[1])}}}"
    if isinstance(kind, type) and issubclass(kind, Struct):
        return str(kind.__struct_config__.tag or name_of(kind))
    if isinstance(kind, type) and issubclass(kind, Choice):
        return kind.__name__
    return WORDS[kind]


def name_of(kind: type) -> str:
    """What is private in code has a name in small letters here."""
    name = kind.__name__
    return name[1:].lower() if name.startswith("_") else name


def default(field: Any) -> str:
    value = field.default
    if field.default_factory is not NODEFAULT:
        value = field.default_factory()
    if value is NODEFAULT:
        return ""
    shown = {None: "nil", True: "true", False: "false", (): "[]"}
    known = isinstance(value, bool | tuple | types.NoneType)
    return f" = {shown[value] if known else msgspec.json.encode(value).decode()}"


def row(kind: type[Struct], name: str | None = None) -> str:
    """The line of a table that says what a struct holds."""
    fields = [
        f"`{field.encode_name}` {words(field.type)}{default(field)}"
        for field in msgspec.structs.fields(kind)
    ]
    label = name or kind.__struct_config__.tag or kind.__name__
    return f"| `{label}` | {', '.join(fields) or 'nothing'} |"


HEADERS = [
    protocol.Hello, protocol.Points, protocol.Change, protocol.Welcome, protocol.Ack, protocol.Nak,
    protocol.Refused, protocol.Replay, protocol.Gone, events.Changed, events.Health,
]  # fmt: skip
RANKINGS = [*typing.get_args(rankings.Ranking), *typing.get_args(rankings.Expression)]
NAMED = {
    "request": requests.Asked,
    "answer": answers.Answered,
    "operation": codec._Header,
    "column": codec._Column,
    "asked": codec._Asked,
}
ROWS = [
    *map(row, HEADERS),
    *(row(kind, name) for name, kind in NAMED.items()),
    *(row(call.arguments, kind) for kind, call in requests.CALLS.items()),
    *map(row, RANKINGS),
]


@pytest.mark.parametrize("line", ROWS)
def test_tables_of_structs(line: str) -> None:
    assert f"\n{line}\n" in DOCUMENT


def test_no_table_has_a_row_more() -> None:
    kinds = re.findall(r"^\| `([a-z0-9_]+)` \| (?:`[a-z_]+` |nothing)", DOCUMENT, re.MULTILINE)
    assert sorted(kinds) == sorted(line.split("`")[1] for line in ROWS)


def test_kinds_of_headers_are_all_there() -> None:
    def all_of(kind: type) -> set[type]:
        return {kind, *(found for inner in kind.__subclasses__() for found in all_of(inner))}

    assert all_of(protocol.Header) - {protocol.Header} == set(HEADERS)


MIB, KIB = 1 << 20, 1 << 10


def size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // KIB} KiB"


LIMITS = {
    "version of this document": str(protocol.VERSION),
    "a frame, at ingest and stream": size(thread.MAX_MESSAGE),
    "a frame, at query": size(requests.MAX_REQUEST),
    "all frames of a request": size(requests.MAX_FRAMES),
    "a header": size(protocol.MAX_HEADER),
    "points of a message": f"{limits.DEFAULT_LIMITS.batch_points:,} (`Limits.batch_points`)",
    "bytes of a message's blocks": f"{size(limits.DEFAULT_LIMITS.batch_bytes)} "
    "(`Limits.batch_bytes`)",
    "a dimension": f"{limits.MAX_DIMENSION:,}",
    "an index of a sparse vector": "2^32 - 1",
    "a source's name": f"{mark.MAX_SOURCE_BYTES} bytes of UTF-8",
    "epoch and sequence": "2^63 - 1",
    "sources that a shard knows": f"{mark.MAX_SOURCES:,}",
    "sources that a stream follows": f"{order.MAX_SOURCES:,}",
    "producers at a time": f"{ingest.SESSIONS:,}",
    "credit": str(ingest.CREDIT),
    "the message of an error": f"{protocol.MAX_WORDS:,} characters",
    "requests answered side by side": str(query.AT_ONCE),
    "views held at a time": str(query.VIEWS),
    "a view that nobody asks is held": f"{query.VIEW_SECONDS:.0f} s",
    "a handshake": f"{thread.HANDSHAKE_MS // 1000} s",
    "points of a stream wait for others": f"{stream.BATCH_SECONDS * 1000:.0f} ms, or until "
    f"{stream.BATCH_POINTS} are there",
    "a beat of health comes every": f"{events.BEAT_SECONDS:.0f} s",
    "silence after which to say hello again": f"{client.PATIENCE:.0f} s",
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str) -> None:
    assert f"\n| {name} | {LIMITS[name]} |\n" in DOCUMENT
    assert sparse.MAX_INDEX == 2**32 - 1
    most = f"{limits.HARD_DEPTH} levels of prefetches, {limits.HARD_PREFETCHES:,} prefetches, "
    most += f"{limits.HARD_DEPTH} levels of expressions,\n{limits.HARD_NODES:,} of them"
    assert f"At most {most}" in DOCUMENT


def test_errors() -> None:
    codes = re.findall(r"^\| `([a-z-]+)` \| `([A-Za-z]+)` \|", DOCUMENT, re.MULTILINE)
    assert dict(codes) == {code: kind.__name__ for code, kind in protocol._CODES.items()}


def test_kinds_of_operations() -> None:
    found = re.findall(r"^\| (\d+) \| `([A-Za-z]+)` \|", DOCUMENT, re.MULTILINE)
    numbers = {str(number): kind.__name__.removeprefix("Checked")
               for kind, number in codec._NUMBERS.items()}  # fmt: skip
    assert dict(found) == numbers
    assert check.CheckedUpsert in codec._NUMBERS


def conditions() -> list[str]:
    """The lines of all that a filter is made of."""
    rooms = {**vars(filters), **vars(places)}.values()
    kinds = {kind for kind in rooms if isinstance(kind, type) and issubclass(kind, Struct)}
    return [tagged(kind) for kind in sorted(kinds - {Struct}, key=lambda kind: kind.__name__)]


def tagged(kind: type[Struct]) -> str:
    given = kind.__struct_config__
    line = row(kind, kind.__name__).replace("| nothing |", "|  |")
    if given.tag is None:
        return line.replace("|  |", "| nothing |")
    return line.replace("` | ", f'` | `{given.tag_field}` "{given.tag}", ', 1).replace(",  |", " |")


MAPS = [
    vector_params.EdgeVectorParams,
    vector_params.EdgeSparseVectorParams,
    vector_params.MultiVectorConfig,
    vector_params.HnswIndexConfig,
    *typing.get_args(quantization.QuantizationConfig),
    configs.ConfigChange,
    configs.EdgeOptimizersConfig,
    vectors.Block,
    queries.SearchParams,
    quantization.QuantizationSearchParams,
    queries.AcornSearchParams,
    queries.IdfParams,
    rankings.Vector,
    *(mirror for mirror in rankings.MADE if mirror.__struct_config__.tag is None),
]
"""What vectors, settings and searches are said to be, beside filters."""

CHOICES = [
    *(kind for room in (vector_params, quantization) for kind in vars(room).values()
      if isinstance(kind, type) and issubclass(kind, Choice) and kind not in (Choice, Memory)),
    Memory,
    UpdateMode,
    queries.Direction,
    DecayKind,
]  # fmt: skip


def test_filters_and_other_maps() -> None:
    listed = re.findall(r"^\| `[A-Z][A-Za-z0-9]+` \| `.*$", DOCUMENT, re.MULTILINE)
    assert sorted(listed) == sorted([*conditions(), *map(tagged, MAPS)])


def test_choices() -> None:
    listed = re.findall(r"^\| `[A-Z][A-Za-z0-9]+` \| \".*$", DOCUMENT, re.MULTILINE)
    expected = [
        f"| `{kind.__name__}` | {json.dumps([one.value for one in kind])[1:-1]} |"
        for kind in CHOICES
    ]
    assert sorted(listed) == sorted(expected)


# -- the bytes


def dump(name: str) -> list[bytes]:
    """The frames of the example of this name, out of the document."""
    (text,) = re.findall(rf"^Example: {name}\n\n```\n(.*?)```", DOCUMENT, re.MULTILINE | re.DOTALL)
    form = r"(frame \d+)?\s*(?:(\d+) zeros|((?:[0-9a-f]{2} ?)*))"  # and a word on what they are
    lines = [re.match(form, line) for line in text.splitlines()]
    frames: list[bytes] = []
    for line in lines:
        assert line is not None
        if line[1]:
            frames.append(b"")
        frames[-1] += bytes(int(line[2])) if line[2] else bytes.fromhex(line[3])
    return frames


def test_the_hello_of_the_document() -> None:
    assert dump("hello") == [protocol.encode(protocol.Hello(1, "camera", 1))]


def test_the_points_of_the_document() -> None:
    vectors = np.array([[1, 2, 3], [0.5, 0, -1]], np.float32)
    frames = protocol.message_of("camera", 1, 1, [7, 8], vectors, [{"room": "hall"}, None])
    assert dump("points") == frames


def test_the_request_of_the_document() -> None:
    request = QueryRequest(5, query=Query.Nearest([1.0, 2.0, 3.0]), with_payload=True)
    assert dump("query") == requests.write_request(1, request, 0.5)


SPARSE = sparse.SparseVector([5, 9], [1.0, 0.5])


def test_the_tree_of_the_document() -> None:
    liked = Query.RecommendBestScore(RecommendQuery([7, [1.0, 2.0]], [[[1.0, 0.0], [0.0, 1.0]]]))
    near = Prefetch(20, Query.Nearest(SPARSE, "words"))
    request = QueryRequest(5, query=Fusion.Rrf(2), prefetches=[Prefetch(20, liked), near])
    assert dump("tree") == requests.write_request(3, request, None)


def test_the_formula_of_the_document() -> None:
    nearer = Expression.Sum([Expression.Variable("$score"), Expression.Variable("stars")])
    near = Prefetch(20, Query.Nearest([1.0, 2.0]))
    request = QueryRequest(5, query=Formula(nearer, {"stars": 3}), prefetches=[near])
    assert dump("formula") == requests.write_request(4, request, None)


def test_the_groups_of_the_document() -> None:
    seven, eight = ScoredPoint(7, 3, 0.5, None, [1.0, 2.0]), ScoredPoint(8, 3, 0.25, None, None)
    found = GroupsResult([PointGroup("hall", [seven, eight]), PointGroup(True, [seven])])
    assert dump("groups") == answers.write_answer(5, "query_groups", found)


def test_the_matrix_of_the_document() -> None:
    rows, columns, scores = np.array([0, 1]), np.array([1, 0]), np.array([0.5, 0.5], np.float32)
    found = SearchMatrixOffsets(rows, columns, scores, (7, UUID(int=8)))
    assert dump("matrix") == answers.write_answer(6, "search_matrix", found)


def test_places_on_the_earth_are_arrays() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(places.GeoPoint(1, 2))) == [1, 2]


def test_the_sparse_request_of_the_document() -> None:
    request = QueryRequest(5, query=Query.Nearest(SPARSE, "words"))
    assert dump("sparse query") == requests.write_request(2, request, None)


def test_the_answer_of_the_document() -> None:
    vector = {"": [1.0, 2.0, 3.0], "parts": [[1.0, 0.0], [0.0, 1.0]], "words": SPARSE}
    found = [Record(7, None, vector), Record(8, None, {})]
    assert dump("answer") == answers.write_answer(3, "retrieve", found)


def changed(sequence: int, operation: UpdateOperation) -> list[bytes]:
    body = b"".join(codec.encode(check.check(operation, EVERY_KIND)))
    return [protocol.encode(protocol.Change("camera", 1, sequence)), body]


def test_the_upsert_of_the_document() -> None:
    vector: Any = {"parts": [[1, 2, 3], [4, 5, 6]], "words": SPARSE}
    points = [Point(7, vector, {"room": "hall"}), Point(8, {"words": SPARSE})]
    assert dump("upsert") == changed(3, UpdateOperation.upsert_points(points))


def test_the_creation_of_the_document() -> None:
    assert dump("create") == changed(4, UpdateOperation.create_sparse_vector("tags"))


def test_the_change_of_the_document() -> None:
    operation = check.check(UpdateOperation.delete_points([7]), config(3))
    body = b"".join(codec.encode(operation))
    assert dump("delete") == [protocol.encode(protocol.Change("camera", 1, 2)), body]
