"""Numbered operations, and every state that a shard goes through as it carries them out.

Operation n is always the same, so that two processes need only its number to speak of it. What a
point holds says which operation wrote it: a point mixed from two operations equals no state.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import numpy as np

from edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    HnswIndexConfig,
    MatchValue,
    Point,
    QueryRequest,
    UpdateMode,
    UpdateOperation,
)
from edge.query.answer import answer
from edge.segment.view import ShardView

IDS = 60
GROUPS = 6


class Stored(NamedTuple):
    """One point: which operation (by sequence) wrote it last, and what it holds."""

    version: int
    vectors: dict[str, list[float]]
    payload: dict[str, Any]


State = dict[int, Stored]


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
    """All that a shard holds, by one query; it must agree with the count."""
    request = QueryRequest(limit=10_000, with_payload=True, with_vector=True)
    state = {}
    for point in answer(view, request):
        vectors = point.vector if isinstance(point.vector, dict) else {"": point.vector}
        state[point.id] = Stored(point.version, vectors, point.payload or {})
    assert len(state) == answer(view, CountRequest())
    return state


# -- what operation n is, for the shard and for the model


def _points(number: int, random: Random) -> list[Point]:
    ids = random.sample(range(IDS), random.randint(1, 8))
    return [Point(id, _vectors(number, id), _payload(number, id)) for id in ids]


def _vectors(number: int, id: int) -> dict[str, list[float]]:
    vectors = {"": [float(number), float(id), *[float((number * 7 + i) % 11) for i in range(14)]]}
    return vectors | {"b": [float(id), float(number)]} if number % 3 else vectors


def _payload(number: int, id: int) -> dict[str, Any]:
    return {"n": number, "group": id % GROUPS, "text": f"operation {number} " * (number % 4)}


def _group(number: int) -> int:
    return number % GROUPS


def _in_group(number: int) -> Filter:
    return Filter(must=[FieldCondition("group", match=MatchValue(_group(number)))])


Change = Callable[[State, int], State]
"""(the state before, the operation's sequence) to the state after."""
Made = tuple[UpdateOperation, Change]


def _upsert(number: int, random: Random) -> Made:
    points = _points(number, random)
    return UpdateOperation.upsert_points(points), lambda state, seq: state | _stored(points, seq)


def _update_only(number: int, random: Random) -> Made:
    points = _points(number, random)

    def change(state: State, sequence: int) -> State:
        return state | _stored([point for point in points if point.id in state], sequence)

    return UpdateOperation.upsert_points(points, update_mode=UpdateMode.UpdateOnly), change


def _arrays(number: int, random: Random) -> Made:
    points = [Point(p.id, {"": p.vector[""]}, p.payload) for p in _points(number, random)]
    ids = np.array([point.id for point in points])
    rows = np.array([point.vector[""] for point in points])
    operation = UpdateOperation.upsert_arrays(ids, {"": rows}, [p.payload for p in points])
    return operation, lambda state, seq: state | _stored(points, seq)


def _stored(points: list[Point], sequence: int) -> State:
    return {
        point.id: Stored(
            sequence, {name: row.tolist() for name, row in point.vector.items()}, point.payload
        )
        for point in points
    }


def _delete(number: int, random: Random) -> Made:
    ids = random.sample(range(IDS), 3)

    def change(state: State, sequence: int) -> State:
        return {id: point for id, point in state.items() if id not in ids}

    return UpdateOperation.delete_points(ids), change


def _delete_group(number: int, random: Random) -> Made:
    def change(state: State, sequence: int) -> State:
        return {id: point for id, point in state.items() if not _is_in(number, point)}

    return UpdateOperation.delete_points_by_filter(_in_group(number)), change


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
    def change(state: State, sequence: int) -> State:
        return {
            id: edited(point)._replace(version=sequence) if _is_in(number, point) else point
            for id, point in state.items()
        }

    return change


_KINDS = (
    (_upsert, 12),
    (_update_only, 2),
    (_arrays, 3),
    (_delete, 2),
    (_delete_group, 1),
    (_set_payload, 2),
    (_drop_vector, 1),
)


def _made(number: int) -> Made:
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
        self.states: list[State] = [{}]

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

    def check(self, view: ShardView) -> int:
        """The view is exactly one of the states, the one that its sequence says; return that."""
        assert view.sequence <= self.sequence, "the shard knows an operation that nobody sent"
        assert read(view) == self.states[view.sequence]
        return view.sequence
