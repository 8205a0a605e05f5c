"""Winners become records: their ids, and as much of payload and vectors as was asked for.

Invariant: only the winners' payloads and vectors are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.errors import UnknownVector
from edge.model.json_path import parse
from edge.model.point import OneResultVector, Record, ResultVector, ScoredPoint
from edge.model.point_id import decode_ids
from edge.model.request import ExcludePayload, WithPayload, WithVector
from edge.model.sparse import SparseVector
from edge.payload.select import exclude, include
from edge.query.search import Hits
from edge.segment.view import SegmentView
from edge.vectors.block import Offsets

Payload = dict[str, Any]
Show = Callable[[Payload], Payload]


class Shown(NamedTuple):
    """What of each record is shown, parallel to the offsets that were asked for."""

    payloads: Sequence[Payload | None]
    vectors: Sequence[ResultVector | None]


def scored(
    hits: Hits,
    scores: NDArray[np.float32],
    with_payload: WithPayload,
    with_vector: WithVector,
    values: list[float] | None = None,
) -> list[ScoredPoint]:
    """Return the hits as ScoredPoints, in their order; `values` say where they stand in another."""
    if not len(hits.offsets):
        return []
    ids = decode_ids(_gather(hits, lambda view: view.ids))
    versions = _gather(hits, lambda view: view.segment.versions).tolist()
    payloads, vectors = show_hits(hits, with_payload, with_vector)
    order: Sequence[float | None] = values or nothing(len(ids))
    rows = zip(ids, versions, scores.tolist(), payloads, vectors, order, strict=True)
    return [ScoredPoint(*row) for row in rows]


def records(
    hits: Hits,
    with_payload: WithPayload,
    with_vector: WithVector,
    values: list[float] | None = None,
) -> list[Record]:
    """Return the hits as Records, in their order; `values` say where they stand in another."""
    if not len(hits.offsets):
        return []
    ids = decode_ids(_gather(hits, lambda view: view.ids))
    payloads, vectors = show_hits(hits, with_payload, with_vector)
    order: Sequence[float | None] = values or nothing(len(ids))
    return [Record(*row) for row in zip(ids, payloads, vectors, order, strict=True)]


def _gather(hits: Hits, column: Callable[[SegmentView], NDArray[Any]]) -> NDArray[Any]:
    columns = [column(view) for view in hits.segments]
    if len(columns) == 1:
        return columns[0].take(hits.offsets, axis=0)
    rows = np.empty((len(hits.offsets), *columns[0].shape[1:]), columns[0].dtype)
    for owner, values in enumerate(columns):
        places = np.flatnonzero(hits.owners == owner)
        rows[places] = values.take(hits.offsets[places], axis=0)
    return rows


def nothing(count: int) -> list[None]:
    """What is shown of hits where nothing is asked for."""
    return [None] * count


def show_hits(hits: Hits, with_payload: WithPayload, with_vector: WithVector) -> Shown:
    """Read what is to be shown of each hit."""
    payloads: Sequence[Payload | None] = nothing(len(hits.offsets))
    vectors: Sequence[ResultVector | None] = nothing(len(hits.offsets))
    show = _payload_shower(with_payload)
    if show is not None:
        payloads = list(map(show, _payloads(hits)))
    if with_vector is not False:
        vectors = _vectors(hits, vector_names(hits.segments[0], with_vector))
    return Shown(payloads, vectors)


def _payloads(hits: Hits) -> list[Payload]:
    """The decoded payloads, in the order of the hits."""
    if len(hits.segments) == 1:
        return hits.segments[0].payloads(hits.offsets.tolist())
    found: list[Payload] = [{}] * len(hits.offsets)
    for owner, view in enumerate(hits.segments):
        places = np.flatnonzero(hits.owners == owner)
        payloads = view.payloads(hits.offsets[places].tolist())
        for place, payload in zip(places.tolist(), payloads, strict=True):
            found[place] = payload
    return found


def _payload_shower(selector: WithPayload) -> Show | None:
    """Return what makes the shown payload of a whole one; None if none is shown."""
    if isinstance(selector, bool):
        return _whole if selector else None
    keep = exclude if isinstance(selector, ExcludePayload) else include
    paths = [parse(key) for key in selector.keys]
    return lambda payload: keep(payload, paths)


def _whole(payload: Payload) -> Payload:
    return payload


def vector_names(view: SegmentView, selector: WithVector) -> tuple[str, ...]:
    """Return the names that are asked for, or raise UnknownVector."""
    if isinstance(selector, bool):
        return tuple(view.names) if selector else ()
    for name in selector:
        if name not in view.names:
            raise UnknownVector(f"with_vector: there is no vector named {name!r}")
    return tuple(selector)


def _vectors(hits: Hits, names: tuple[str, ...]) -> list[ResultVector | None]:
    shown: list[dict[str, OneResultVector]] = [{} for _ in range(len(hits.offsets))]
    for owner, view in enumerate(hits.segments):
        places = np.flatnonzero(hits.owners == owner)
        offsets: Offsets = hits.offsets[places]
        for name in names:
            vectors = view.vectors_at(offsets, name)
            for place, vector in zip(places.tolist(), vectors, strict=True):
                if vector is not None:
                    shown[place][name] = vector
    return [_alone(vectors) for vectors in shown]


def _alone(vectors: dict[str, OneResultVector]) -> ResultVector:
    lone = vectors[""] if vectors.keys() == {""} else None
    return vectors if lone is None or isinstance(lone, SparseVector) else lone
