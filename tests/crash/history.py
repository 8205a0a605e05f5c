"""Numbered operations, and every state that a shard goes through as it carries them out.

Operation n is always the same, so that two processes need only its number to speak of it. What a
point holds says which operation wrote it: a point mixed from two operations equals no state.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from edge import (
    BoolIndexParams,
    CountRequest,
    DatetimeIndexParams,
    Direction,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeVectorParams,
    FacetRequest,
    FieldCondition,
    Filter,
    FloatIndexParams,
    GeoIndexParams,
    GeoPoint,
    GeoRadius,
    HnswIndexConfig,
    IntegerIndexParams,
    KeywordIndexParams,
    MatchPhrase,
    MatchText,
    MatchValue,
    Memory,
    OrderBy,
    Point,
    QueryRequest,
    RangeDateTime,
    RangeFloat,
    ScrollRequest,
    TextIndexParams,
    TokenizerType,
    UpdateMode,
    UpdateOperation,
    UuidIndexParams,
    ValuesCount,
)
from edge.query.answer import answer
from edge.segment.view import ShardView
from tests.model_based.plain_fields import Schema, counted, fulfils, place_in_order

IDS = 60
GROUPS = 6


class Stored(NamedTuple):
    """One point: which operation (by sequence) wrote it last, and what it holds."""

    version: int
    vectors: dict[str, list[float]]
    payload: dict[str, Any]


Points = dict[int, Stored]


class State(NamedTuple):
    """All points by id, and the params of each index by path."""

    points: Points
    schema: Schema


EMPTY = State({}, {})

INDEXES: list[tuple[str, Any]] = [
    ("group", IntegerIndexParams()),
    (
        "text",
        TextIndexParams(TokenizerType.Prefix, 2, 5, phrase_matching=True, scoring=True),
    ),
    ("n", IntegerIndexParams(memory=Memory.Cold)),
    ("key", KeywordIndexParams()),
    ("where", GeoIndexParams()),
    ("when", DatetimeIndexParams(memory=Memory.Cold)),
    ("who", UuidIndexParams()),
    ("flag", BoolIndexParams()),
    ("share", FloatIndexParams()),
    ("offers[].price", IntegerIndexParams(nested="offers")),
    ("text", TextIndexParams(min_token_len=2)),
    ("key", KeywordIndexParams(memory=Memory.Cold)),
]
"""What operations index: every kind, and two fields anew in another way."""
EVERY_KIND = 10
"""How many of INDEXES are of fields that differ."""

CREATES, DELETES = 1_000_000, 2_000_000
"""Operation CREATES + k makes index k of INDEXES (round and round), DELETES + k drops it."""


def config(**options: Any) -> EdgeConfig:
    """Two vectors, one of them often missing; segments are indexed and merged soon."""
    return EdgeConfig(
        vectors={
            "": EdgeVectorParams(16, Distance.Euclid),
            "b": EdgeVectorParams(2, Distance.Dot),
        },
        hnsw_config=HnswIndexConfig(m=4, ef_construct=16, full_scan_threshold=10),
        optimizers=EdgeOptimizersConfig(
            indexing_threshold=1, default_segment_number=2, vacuum_min_vector_number=10
        ),
        **options,
    )


def read(view: ShardView) -> State:
    """All that a shard holds, by one query; it must agree with the count. And its schema."""
    request = QueryRequest(limit=10_000, with_payload=True, with_vector=True)
    points = {}
    for point in answer(view, request):
        vectors = point.vector if isinstance(point.vector, dict) else {"": point.vector}
        points[point.id] = Stored(point.version, vectors, point.payload or {})
    assert len(points) == answer(view, CountRequest())
    return State(points, {path: field.params for path, field in view.schema.items()})


# -- what indexes answer

QUESTIONS: list[Any] = [
    *(FieldCondition("group", match=MatchValue(n)) for n in range(2)),
    FacetRequest("key", 99),
    FieldCondition("text", match=MatchText("oper 1")),
    FieldCondition("n", range=RangeFloat(gte=3, lt=20)),
    OrderBy("n"),
    FieldCondition("text", match=MatchPhrase("operation 1")),
    FieldCondition("key", match=MatchValue("k1")),
    FieldCondition("where", geo_radius=GeoRadius(GeoPoint(1.1, 1.1), 200_000.0)),
    FieldCondition("when", range=RangeDateTime(gt="2024-05-09")),
    FieldCondition("who", match=MatchValue(str(UUID(int=1)).upper())),
    OrderBy("when", Direction.Desc),
    FacetRequest("flag", 99),
    FieldCondition("share", range=RangeFloat(lt=2.5)),
    FieldCondition("offers[].price", match=MatchValue(1)),
    FieldCondition("offers[].price", is_empty=True),
    FieldCondition("key", values_count=ValuesCount(lt=1)),
    FacetRequest("group", 99),
    FacetRequest("who", 99),
]


def ask(view: ShardView, question: Any) -> Any:
    """The answer of a shard: ids in order, or values and their counts."""
    if isinstance(question, FacetRequest):
        return [(hit.value, hit.count) for hit in answer(view, question)]
    if isinstance(question, OrderBy):
        request = ScrollRequest(None, 10_000, None, False, order_by=question)
    else:
        request = ScrollRequest(None, 10_000, Filter(must=[question]), False)
    return [record.id for record in answer(view, request)[0]]


def told(state: State, question: Any) -> Any:
    """The answer that is right."""
    payloads = {id: point.payload for id, point in sorted(state.points.items())}
    if isinstance(question, FacetRequest):
        return counted(payloads.values(), question.key, state.schema.get(question.key))
    if not isinstance(question, OrderBy):
        return [id for id, payload in payloads.items() if fulfils(question, payload, state.schema)]
    falling = question.direction is Direction.Desc
    placed = [
        (place, id)
        for id, payload in payloads.items()
        if (place := place_in_order(payload, question.key, None, falling=falling)) is not None
    ]
    return [id for _, id in sorted(placed, reverse=falling)]


# -- what operation n is, for the shard and for the model


def _points(number: int, random: Random) -> list[Point]:
    ids = random.sample(range(IDS), random.randint(1, 8))
    return [Point(id, _vectors(number, id), _payload(number, id)) for id in ids]


def _vectors(number: int, id: int) -> dict[str, list[float]]:
    vectors = {"": [float(number), float(id), *[float((number * 7 + i) % 11) for i in range(14)]]}
    return vectors | {"b": [float(id), float(number)]} if number % 3 else vectors


def _payload(number: int, id: int) -> dict[str, Any]:
    """Of the fields that are not in every payload each kind of id has two."""
    text = f"operation {number} " * (number % 4)
    return {"n": number, "group": id % GROUPS, "text": text, **_MORE[id % 4](number, id)}


_MORE: list[Callable[[int, int], dict[str, Any]]] = [
    lambda number, id: {
        "where": {"lon": id % 3, "lat": number % 3},
        "offers": [{"price": id % 3}, {"price": [number % 3]}, {}][: number % 4],
    },
    lambda number, id: {"key": f"k{id % 3}", "when": f"2024-05-{number % 28 + 1:02}T10:00:00Z"},
    lambda number, id: {"flag": number % 2 == 0, "share": number / 4},
    lambda number, id: {"who": str(UUID(int=id % 3)), "key": [f"k{number % 4}", None, 1]},
]


def _group(number: int) -> int:
    return number % GROUPS


def _in_group(number: int) -> Filter:
    return Filter(must=[FieldCondition("group", match=MatchValue(_group(number)))])


Change = Callable[[State, int], State]
"""(the state before, the operation's sequence) to the state after."""
Made = tuple[UpdateOperation, Change]


def _of_points(change: Callable[[Points, int], Points]) -> Change:
    """A change that does not depend on the schema."""
    return lambda state, sequence: state._replace(points=change(state.points, sequence))


def _upsert(number: int, random: Random) -> Made:
    points = _points(number, random)
    change = _of_points(lambda old, sequence: old | _stored(points, sequence))
    return UpdateOperation.upsert_points(points), change


def _update_only(number: int, random: Random) -> Made:
    points = _points(number, random)

    def change(old: Points, sequence: int) -> Points:
        return old | _stored([point for point in points if point.id in old], sequence)

    operation = UpdateOperation.upsert_points(points, update_mode=UpdateMode.UpdateOnly)
    return operation, _of_points(change)


def _upsert_if(number: int, random: Random) -> Made:
    """Replace what was written some time ago, and what has a word of its text."""
    points = _points(number, random)
    parts = [
        FieldCondition("n", range=RangeFloat(lt=number - 5)),
        FieldCondition("text", match=MatchText("op")),
    ]

    def change(state: State, sequence: int) -> State:
        fresh = [
            point
            for point in points
            if point.id not in state.points
            or any(fulfils(p, state.points[point.id].payload, state.schema) for p in parts)
        ]
        return state._replace(points=state.points | _stored(fresh, sequence))

    return UpdateOperation.upsert_points(points, Filter(should=parts)), change


def _arrays(number: int, random: Random) -> Made:
    points = [Point(p.id, {"": p.vector[""]}, p.payload) for p in _points(number, random)]
    ids = np.array([point.id for point in points])
    rows = np.array([point.vector[""] for point in points])
    operation = UpdateOperation.upsert_arrays(ids, {"": rows}, [p.payload for p in points])
    return operation, _of_points(lambda old, sequence: old | _stored(points, sequence))


def _stored(points: list[Point], sequence: int) -> Points:
    return {
        point.id: Stored(
            sequence, {name: row.tolist() for name, row in point.vector.items()}, point.payload
        )
        for point in points
    }


def _delete(number: int, random: Random) -> Made:
    ids = random.sample(range(IDS), 3)

    def change(old: Points, sequence: int) -> Points:
        return {id: point for id, point in old.items() if id not in ids}

    return UpdateOperation.delete_points(ids), _of_points(change)


def _delete_group(number: int, random: Random) -> Made:
    def change(old: Points, sequence: int) -> Points:
        return {id: point for id, point in old.items() if not _is_in(number, point)}

    return UpdateOperation.delete_points_by_filter(_in_group(number)), _of_points(change)


def _set_payload(number: int, random: Random) -> Made:
    def edited(point: Stored) -> Stored:
        return point._replace(payload=point.payload | {"seen": number})

    operation = UpdateOperation.set_payload_by_filter(_in_group(number), {"seen": number})
    return operation, _for_group(number, edited)


def _drop_vector(number: int, random: Random) -> Made:
    def edited(point: Stored) -> Stored:
        return point._replace(vectors={"": point.vectors[""]})

    operation = UpdateOperation.delete_vectors_by_filter(_in_group(number), ["b"])
    return operation, _for_group(number, edited)


def _is_in(number: int, point: Stored) -> bool:
    return point.payload["group"] == _group(number)


def _for_group(number: int, edited: Callable[[Stored], Stored]) -> Change:
    return _for_those(lambda point, schema: _is_in(number, point), edited)


def _for_those(
    test: Callable[[Stored, Schema], bool], edited: Callable[[Stored], Stored]
) -> Change:
    def change(state: State, sequence: int) -> State:
        points = {
            id: edited(point)._replace(version=sequence) if test(point, state.schema) else point
            for id, point in state.points.items()
        }
        return state._replace(points=points)

    return change


def _mark_word(number: int, random: Random) -> Made:
    """Whose text has a word depends on how its field is indexed when the operation comes."""
    word = FieldCondition("text", match=MatchText(random.choice(["op", "operation", "1"])))
    operation = UpdateOperation.set_payload_by_filter(Filter(must=[word]), {"word": number})

    def marked(point: Stored) -> Stored:
        return point._replace(payload=point.payload | {"word": number})

    return operation, _for_those(lambda point, schema: fulfils(word, point.payload, schema), marked)


def _create_index(number: int, random: Random) -> Made:
    return _created(random.randrange(len(INDEXES)))


def _created(which: int) -> Made:
    path, params = INDEXES[which % len(INDEXES)]

    def change(state: State, sequence: int) -> State:
        return state._replace(schema=state.schema | {path: params})

    return UpdateOperation.create_field_index(path, params), change


def _delete_index(number: int, random: Random) -> Made:
    return _deleted(random.randrange(len(INDEXES)))


def _deleted(which: int) -> Made:
    dropped, _ = INDEXES[which % len(INDEXES)]

    def change(state: State, sequence: int) -> State:
        kept = {path: params for path, params in state.schema.items() if path != dropped}
        return state._replace(schema=kept)

    return UpdateOperation.delete_field_index(dropped), change


_KINDS = (
    (_upsert, 12),
    (_update_only, 2),
    (_arrays, 3),
    (_delete, 2),
    (_delete_group, 1),
    (_set_payload, 2),
    (_drop_vector, 1),
    (_upsert_if, 2),
    (_mark_word, 2),
    (_create_index, 3),
    (_delete_index, 1),
)


def _made(number: int) -> Made:
    if number >= CREATES:
        return _deleted(number - DELETES) if number >= DELETES else _created(number - CREATES)
    random = Random(number)
    kinds, weights = zip(*_KINDS, strict=True)
    return random.choices(kinds, weights)[0](number, random)


def operation(number: int) -> UpdateOperation:
    """Operation `number`, always the same."""
    return _made(number)[0]


class History:
    """The states after operations 1, 2, 3, ...: `states[sequence]`.

    An operation that finds nothing to change gets no sequence of its own.
    """

    def __init__(self) -> None:
        self.states: list[State] = [EMPTY]
        self.asked = 0

    @property
    def sequence(self) -> int:
        return len(self.states) - 1

    def carry_out(self, number: int) -> int:
        """Add what operation `number` does; return the sequence that its caller is told."""
        after = _made(number)[1](self.states[-1], self.sequence + 1)
        if after != self.states[-1]:
            self.states.append(after)
        return self.sequence

    def forget_after(self, sequence: int) -> None:
        """A crash took what came later."""
        del self.states[sequence + 1 :]

    def check(self, view: ShardView, questions: int = 1) -> int:
        """The view is exactly one of the states, the one that its sequence says; return that.

        It answers so many of QUESTIONS as that state does: others each time.
        """
        assert view.sequence <= self.sequence, "the shard knows an operation that nobody sent"
        state = self.states[view.sequence]
        assert read(view) == state
        for _ in range(questions):
            question = QUESTIONS[self.asked % len(QUESTIONS)]
            self.asked += 1
            assert ask(view, question) == told(state, question), question
        return view.sequence
