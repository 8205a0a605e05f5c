"""Which points an operation is about: those it names, describes, or lets through.

Invariant: looking changes nothing, and the same operation on the same view is about the same
points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.errors import NotFound
from edge.filter.mask import matches, matching
from edge.model.check import CheckedUpsert, Target
from edge.model.filter import Filter
from edge.model.point_id import decode_id
from edge.model.update import UpdateMode
from edge.segment.id_tracker import IdRows
from edge.segment.view import SegmentView, ShardView
from edge.vectors.block import Offsets
from edge_kernels import bits
from edge_kernels import ids as id_kernels


class Group(NamedTuple):
    """Live points of one segment that an operation is about."""

    position: int
    view: SegmentView
    offsets: Offsets


def targets(target: Target, view: ShardView, *, required: bool) -> list[Group]:
    """Return the points that an operation names or describes; NotFound if a named one lacks."""
    if isinstance(target, Filter):
        groups = [
            Group(position, part, _fulfilling(target, part))
            for position, part in enumerate(view.segments)
            if part.live_count
        ]
        return [group for group in groups if len(group.offsets)]
    return list(groups_of(view, *located(target, view, required=required)))


def _fulfilling(filter: Filter, view: SegmentView) -> Offsets:
    return bits.to_offsets(matches(filter, view, view.live_bits()), view.watermark)


def located(
    ids: IdRows, view: ShardView, *, required: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, of the distinct ids, (int64[m] position of the segment or -1, int64[m] offset or -1);
    NotFound where one is `required` and lacks."""
    distinct = ids[id_kernels.distinct_last(ids)]
    owners, offsets = view.locate(distinct)
    if required and (owners < 0).any():
        missing = decode_id(distinct[np.argmax(owners < 0)])
        raise NotFound(f"there is no point with id {missing}")
    return owners, offsets


def groups_of(
    view: ShardView, owners: NDArray[np.int64], offsets: NDArray[np.int64]
) -> Iterator[Group]:
    """Yield, for each segment that owns some of the located ids, the group of these."""
    for _, group in placed_groups(view, owners, offsets):
        yield group


def placed_groups(
    view: ShardView, owners: NDArray[np.int64], offsets: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.intp], Group]]:
    """Yield, for each segment that owns some of them, their places in the request and the group."""
    if not len(owners) or owners.max() < 0:
        return
    for position, part in enumerate(view.segments):
        place = np.flatnonzero(owners == position)
        if len(place):
            yield place, Group(position, part, offsets[place].astype(np.uint32))


def admitted(
    operation: CheckedUpsert,
    view: ShardView,
    owners: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> Offsets | None:
    """Return the positions that the upsert's mode and condition let through; None: all."""
    if operation.condition is None and operation.update_mode is UpdateMode.Upsert:
        return None
    there = owners >= 0
    passes = ADMITS[operation.update_mode](there)
    if operation.condition is not None:
        fulfils = np.zeros(len(there), bool)
        for place, group in placed_groups(view, owners, offsets):
            fulfils[place] = fulfil(operation.condition, group)
        passes &= fulfils | ~there
    return None if passes.all() else np.flatnonzero(passes).astype(np.uint32)


ADMITS: dict[UpdateMode, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]] = {
    UpdateMode.Upsert: np.ones_like,
    UpdateMode.InsertOnly: np.logical_not,
    UpdateMode.UpdateOnly: np.copy,
}


def fulfil(condition: Filter, group: Group) -> NDArray[np.bool_]:
    """Return bool[m]: which points of the group fulfil the condition."""
    ascending = np.sort(group.offsets)
    return np.isin(group.offsets, matching(condition, group.view, ascending))
