"""What the model tests draw: few ids, few vectors and few values, so that everything meets."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import strategies as st

from edge.model.filter import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    MatchAny,
    MatchExcept,
    MatchValue,
    MinShould,
    RangeFloat,
)
from tests.model_based.plain_model import DIMENSIONS, Asked

IDS: list[int | UUID] = [
    *range(10), 2**63, 2**64 - 1, UUID(int=0), UUID(int=7), UUID(int=2**128 - 1),
]  # fmt: skip
BULK_IDS = range(100, 180)
NAMES = list(DIMENSIONS)
ROOMS = ["hall", "kitchen", "größe"]

ids = st.sampled_from(IDS)
any_ids = ids | st.sampled_from(BULK_IDS)
seeds = st.integers(0, 40)


@lru_cache(maxsize=4096)
def vector(name: str, seed: int) -> list[float]:
    """Small whole numbers: dot, euclid and manhattan are exact, and ties are common."""
    drawn = np.random.default_rng([seed, DIMENSIONS[name]]).integers(-2, 3, DIMENSIONS[name])
    return [float(x) for x in drawn]


def block(name: str, seed: int, count: int) -> np.ndarray:
    """`count` such vectors as float32[count, dim]."""
    drawn = np.random.default_rng([seed, count]).integers(-2, 3, (count, DIMENSIONS[name]))
    return drawn.astype(np.float32)


@st.composite
def vectors(draw: st.DrawFn) -> dict[str, list[float]]:
    """Some of the named vectors, often all, sometimes none."""
    seed = draw(seeds)
    absent = draw(st.sampled_from([(), (), (), ("dot",), ("", "euclid"), tuple(NAMES)]))
    return {name: vector(name, seed) for name in NAMES if name not in absent}


@st.composite
def payloads(draw: st.DrawFn) -> dict[str, Any]:
    """A room, a number, something nested: each there or not."""
    parts: dict[str, Any] = {
        "room": draw(st.sampled_from(ROOMS)),
        "n": draw(st.integers(0, 5)),
        "deep": draw(st.sampled_from([{}, {"x": 1}, {"x": {"y": [1, None]}}, None, [1]])),
        "list": draw(st.sampled_from([[], [1, 2], [{"a": 1.5}], ["hall"]])),
    }
    kept = draw(st.integers(0, 15))
    return {key: value for bit, (key, value) in enumerate(parts.items()) if kept >> bit & 1}


patches = payloads()
nested_keys = st.sampled_from([None, None, "deep", "deep.x", "new.place"])
removed_keys = st.lists(st.sampled_from(["n", "room", "deep.x", "deep", "gone.z"]), max_size=3)


def _in_room(room: str) -> Asked:
    wanted = Filter(must=[FieldCondition("room", match=MatchValue(room))])
    return Asked(wanted, lambda i, p, s: p.payload.get("room") == room)


def _not_in(rooms: list[str]) -> Asked:
    wanted = Filter(must_not=[FieldCondition("room", match=MatchAny(rooms))])
    return Asked(wanted, lambda i, p, s: p.payload.get("room") not in rooms)


def _other_room(room: str) -> Asked:
    wanted = Filter(must=[FieldCondition("room", match=MatchExcept([room]))])
    return Asked(wanted, lambda i, p, s: p.payload.get("room", room) != room)


def _at_least(low: int) -> Asked:
    wanted = Filter(should=[FieldCondition("n", range=RangeFloat(gte=low))])
    return Asked(wanted, lambda i, p, s: p.payload.get("n", -1) >= low)


def _one_of(chosen: set[int | UUID]) -> Asked:
    return Asked(Filter(must=[HasIdCondition(chosen)]), lambda i, p, s: i in chosen)


def _has(name: str) -> Asked:
    return Asked(Filter(must=[HasVectorCondition(name)]), lambda i, p, s: name in p.vectors)


def _no_x() -> Asked:
    def empty(deep: Any) -> bool:
        return not isinstance(deep, dict) or deep.get("x") in (None, [])

    wanted = Filter(must=[IsEmptyCondition("deep.x")])
    return Asked(wanted, lambda i, p, s: empty(p.payload.get("deep")))


def _two_of(low: int, room: str, name: str) -> Asked:
    parts = [_at_least(low), _in_room(room), _has(name)]
    counted = MinShould([part.filter for part in parts], 2)
    return Asked(
        Filter(min_should=counted), lambda i, p, s: sum(part.test(i, p, s) for part in parts) >= 2
    )


filters = st.one_of(
    st.just(Asked(Filter(), lambda i, p, s: True)),
    st.builds(_in_room, st.sampled_from(ROOMS)),
    st.builds(_not_in, st.lists(st.sampled_from(ROOMS), max_size=2)),
    st.builds(_other_room, st.sampled_from(ROOMS)),
    st.builds(_at_least, st.integers(0, 6)),
    st.builds(_one_of, st.sets(any_ids, max_size=6)),
    st.builds(_has, st.sampled_from(NAMES)),
    st.builds(_no_x),
    st.builds(_two_of, st.integers(0, 6), st.sampled_from(ROOMS), st.sampled_from(NAMES)),
)
few_filters = filters.filter(lambda asked: asked.filter != Filter())
maybe_filters = st.none() | filters
id_targets = st.lists(any_ids, max_size=4)
targets = id_targets | few_filters
