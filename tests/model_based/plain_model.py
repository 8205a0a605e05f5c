"""The shard as a dict: what every operation does and every read answers, in plain Python and numpy.

Invariants: an operation that is refused changes nothing here either; vectors are held in stored
form (cosine normalised), so what is read back is what is compared. What vectors of a kind are and
how near they are to each other is in `kinds`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple
from uuid import UUID

from edge.model.filter import Filter
from edge.model.point_id import PointId
from edge.model.query import Direction, OrderBy
from edge.model.schema import TextIndexParams, indexed_field
from edge.model.update import UpdateMode
from edge.model.vector_params import Distance, EdgeVectorParams, VectorParams
from tests.model_based.kinds import Kept, is_similarity, kept, same_rows, scores
from tests.model_based.plain_fields import Schema, counted, place_in_order, text_scores

Payload = dict[str, Any]
Vectors = dict[str, Kept]

DIMENSIONS = {"": 6, "dot": 24, "euclid": 33, "manhattan": 3}
DISTANCES = {
    "": Distance.Cosine,
    "dot": Distance.Dot,
    "euclid": Distance.Euclid,
    "manhattan": Distance.Manhattan,
}
PLAIN: dict[str, VectorParams] = {
    name: EdgeVectorParams(size, DISTANCES[name]) for name, size in DIMENSIONS.items()
}


class Stored(NamedTuple):
    """One point: its vectors by name, its payload ({} where there is none)."""

    vectors: Vectors
    payload: Payload


Test = Callable[[PointId, Stored, Schema], bool]


class Asked(NamedTuple):
    """A filter, and what it means."""

    filter: Filter
    test: Test


Target = Sequence[PointId] | Asked


class NoSuchPoint(Exception):
    """The operation names a point that is not there."""


class NoSuchVector(Exception):
    """The operation names a vector that is not there."""


class OtherVector(Exception):
    """The operation asks for a vector whose name is that of another."""


def id_order(point_id: PointId) -> tuple[int, int]:
    return (1, point_id.int) if isinstance(point_id, UUID) else (0, point_id)


class PlainModel:
    """All points by id, what each vector is and which came later, and which fields are indexed."""

    def __init__(self, params: Mapping[str, VectorParams] = PLAIN) -> None:
        self.points: dict[PointId, Stored] = {}
        self.params = dict(params)
        self.later: set[str] = set()
        self.schema: Schema = {}

    # -- operations

    def upsert(
        self,
        points: Iterable[tuple[PointId, Mapping[str, Any], Payload | None]],
        mode: UpdateMode = UpdateMode.Upsert,
        condition: Asked | None = None,
    ) -> None:
        """Which stored points are touched is decided once, by what was there before."""
        before = dict(self.points)
        for point_id, vectors, payload in points:
            old = before.get(point_id)
            if old is None:
                wanted = mode is not UpdateMode.UpdateOnly
            else:
                fulfils = condition is None or condition.test(point_id, old, self.schema)
                wanted = mode is not UpdateMode.InsertOnly and fulfils
            if wanted:
                self.points[point_id] = Stored(self._kept(vectors), deepcopy(payload or {}))

    def update_vectors(
        self,
        changes: Sequence[tuple[PointId, Mapping[str, Any]]],
        condition: Asked | None = None,
    ) -> None:
        self._all_there([point_id for point_id, _ in changes])
        before = dict(self.points)
        for point_id, vectors in changes:
            if condition is None or condition.test(point_id, before[point_id], self.schema):
                old = self.points[point_id]
                merged = {**old.vectors, **self._kept(vectors)}
                self.points[point_id] = Stored(merged, old.payload)

    def delete_points(self, target: Target) -> None:
        for point_id in self._found(target, required=False):
            self.points.pop(point_id, None)

    def delete_vectors(self, target: Target, names: Sequence[str]) -> None:
        if not self.params.keys() >= set(names):
            raise NoSuchVector
        for point_id in self._found(target):
            old = self.points[point_id]
            kept = {name: row for name, row in old.vectors.items() if name not in names}
            self.points[point_id] = Stored(kept, old.payload)

    def set_payload(self, target: Target, patch: Payload, key: str | None) -> None:
        self._edit(target, lambda old: _placed(old, key, lambda value: _merged(value, patch)))

    def overwrite_payload(self, target: Target, patch: Payload, key: str | None) -> None:
        self._edit(target, lambda old: _placed(old, key, lambda value: deepcopy(patch)))

    def delete_payload(self, target: Target, keys: Sequence[str]) -> None:
        self._edit(target, lambda old: _without(old, keys))

    def clear_payload(self, target: Target) -> None:
        self._edit(target, lambda old: {})

    def create_field_index(self, path: str, wanted: Any) -> None:
        self.schema[path] = indexed_field(wanted).params

    def delete_field_index(self, path: str) -> None:
        self.schema.pop(path, None)

    def create_vector(self, name: str, params: VectorParams) -> None:
        if name not in self.params:
            self.later.add(name)
        if not same_rows(self.params.setdefault(name, params), params):
            raise OtherVector

    def delete_vector_name(self, name: str) -> None:
        self.params.pop(name, None)
        self.later.discard(name)
        for point_id, old in self.points.items():
            kept_ones = {n: row for n, row in old.vectors.items() if n != name}
            self.points[point_id] = Stored(kept_ones, old.payload)

    def _kept(self, vectors: Mapping[str, Any]) -> Vectors:
        return {name: kept(self.params[name], one) for name, one in vectors.items()}

    def _edit(self, target: Target, change: Callable[[Payload], Payload]) -> None:
        for point_id in self._found(target):
            old = self.points[point_id]
            self.points[point_id] = Stored(old.vectors, change(deepcopy(old.payload)))

    def _found(self, target: Target, *, required: bool = True) -> list[PointId]:
        if isinstance(target, Asked):
            return self.matching(target)
        if required:
            self._all_there(target)
        return list(dict.fromkeys(target))

    def _all_there(self, ids: Iterable[PointId]) -> None:
        if any(point_id not in self.points for point_id in ids):
            raise NoSuchPoint

    # -- reads

    def matching(self, asked: Asked | None) -> list[PointId]:
        """The ids of what matches, in id order."""
        found = [
            i for i, p in self.points.items() if asked is None or asked.test(i, p, self.schema)
        ]
        return sorted(found, key=id_order)

    def nearest(self, name: str, query: Any, asked: Asked | None) -> list[tuple[PointId, float]]:
        """Every point that matches and is a result, with its score, best first."""
        having = {i: p.vectors[name] for i, p in self.points.items() if name in p.vectors}
        among = {i: having[i] for i in self.matching(asked) if i in having}
        found = scores(self.params[name], query, among, list(having.values()))
        sign = -1 if is_similarity(self.params[name]) else 1
        return sorted(found.items(), key=lambda hit: (sign * hit[1], id_order(hit[0])))

    def facet(self, path: str, asked: Asked | None) -> list[tuple[Any, int]]:
        """(value, how many of what matches have it), as they are shown."""
        found = (self.points[i].payload for i in self.matching(asked))
        return counted(found, path, self.schema.get(path))

    def ordered(self, order: OrderBy, asked: Asked | None) -> list[tuple[PointId, float]]:
        """What matches and has a place in the order, with that place, in order."""
        falling = order.direction is Direction.Desc
        found = [
            (i, place)
            for i in self.matching(asked)
            if (place := self._place(i, order, falling)) is not None
        ]
        return sorted(found, key=lambda hit: (hit[1], id_order(hit[0])), reverse=falling)

    def _place(self, point_id: PointId, order: OrderBy, falling: bool) -> float | None:
        payload = self.points[point_id].payload
        return place_in_order(payload, order.key, order.start_from, falling=falling)

    def by_text(
        self, path: str, query: str, params: TextIndexParams, asked: Asked | None
    ) -> dict[PointId, float]:
        """The score of each point that matches and has a word of the query."""
        payloads = {i: p.payload for i, p in self.points.items()}
        scores = text_scores(payloads, path, query, params)
        allowed = set(self.matching(asked))
        return {i: score for i, score in scores.items() if i in allowed}


def _merged(value: Any, patch: Payload) -> Payload:
    kept = value if isinstance(value, dict) else {}
    merged = {**kept, **deepcopy(patch)}
    return {key: item for key, item in merged.items() if not (key in patch and item is None)}


def _placed(payload: Payload, key: str | None, change: Callable[[Any], Any]) -> Payload:
    """Change the payload itself, or what is at the dotted key; missing objects are made."""
    if key is None:
        return change(payload)  # type: ignore[no-any-return]
    *outer, last = key.split(".")
    place = payload
    for step in outer:
        if not isinstance(place.get(step), dict):
            place[step] = {}
        place = place[step]
    place[last] = change(place.get(last))
    return payload


def _without(payload: Payload, keys: Sequence[str]) -> Payload:
    for key in keys:
        *outer, last = key.split(".")
        place: Any = payload
        for step in outer:
            place = place.get(step) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)
    return payload
