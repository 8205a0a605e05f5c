"""One call on two sides: a qdrant_edge shard and our rows over the same points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import qdrant_edge

import edge.model.filter as ours
from edge.model import geo
from tests.filter.list_rows import ListRows

Build = Callable[[Any], Any]
"""Makes a condition from a module that has its class: qdrant_edge, or edge.model.filter."""

POINTS = 60
IDS = [*range(50), *(UUID(int=2**127 + i) for i in range(POINTS - 50))]
V = [i for i in range(POINTS) if i % 3]


class Both:
    """One qdrant_edge shard, filled anew for each example, and our rows over the same points."""

    def __init__(self, folder: Path) -> None:
        size = qdrant_edge.EdgeVectorParams(size=2, distance=qdrant_edge.Distance.Dot)
        config = qdrant_edge.EdgeConfig(vectors={"v": size, "w": size})
        self.shard = qdrant_edge.EdgeShard.create(str(folder), config)
        self.rows = ListRows([])

    def fill(self, payloads: Sequence[dict[str, Any]]) -> None:
        ids = IDS[: len(payloads)]
        self.shard.update(
            qdrant_edge.UpdateOperation.upsert_points(
                [
                    qdrant_edge.Point(id, {"v": [1.0, 0.0]} if i in V else {}, payload)
                    for i, (id, payload) in enumerate(zip(ids, payloads, strict=True))
                ]
            )
        )
        self.rows = ListRows(payloads, ids, {"v": V, "w": []})

    def theirs(self, build: Build) -> list[int]:
        request = qdrant_edge.ScrollRequest(limit=POINTS, filter=build(qdrant_edge))
        records, _ = self.shard.scroll(request)
        return sorted(IDS.index(record.id) for record in records)

    def ours(self, build: Build) -> list[int]:
        return self.rows.matching(build(ours))


class Described(NamedTuple):
    """A builder that hypothesis can print."""

    text: str
    build: Build


def condition(name: str, *args: Any, **kwargs: Any) -> Described:
    """Arguments that are Described are built first, alone or in lists."""
    parts = [*map(_text, args), *(f"{key}={_text(value)}" for key, value in kwargs.items())]

    def build(module: Any) -> Any:
        make = partial(_built, module)
        place = geo if module is ours and name.startswith("Geo") else module
        return getattr(place, name)(
            *map(make, args), **{key: make(value) for key, value in kwargs.items()}
        )

    return Described(f"{name}({', '.join(parts)})", build)


def _text(value: Any) -> str:
    if isinstance(value, Described):
        return value.text
    return f"[{', '.join(map(_text, value))}]" if isinstance(value, list) else repr(value)


def _built(module: Any, value: Any) -> Any:
    if isinstance(value, Described):
        return value.build(module)
    return [_built(module, each) for each in value] if isinstance(value, list) else value


def field(key: str, **kwargs: Any) -> Described:
    return condition("FieldCondition", key, **kwargs)


def match(name: str, value: Any) -> Described:
    return field("a", match=condition(name, value))


def only(part: Described) -> Described:
    return condition("Filter", must=[part])
