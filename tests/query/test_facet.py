"""Facets against a Counter, whichever segments have an index."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from edge.errors import DeadlineExceeded
from edge.model.request import FacetHit, FacetRequest
from edge.model.schema import PayloadSchemaType
from edge.model.update import UpdateOperation
from edge.query import deadline, facet
from edge.query.answer import answer
from edge.query.deadline import Deadline
from edge.segment.view import SegmentView
from tests.disk.simulated import SimulatedStorage
from tests.query.indexed_shards import (
    CONFIG,
    FILTERS,
    INDEXES,
    Shard,
    chosen,
    elements,
)
from tests.segment.made import after, built, start

RANKS: dict[type, int] = {bool: 0, int: 1, str: 2}


def as_uuid(value: Any) -> Any:
    try:
        return str(UUID(value))
    except ValueError:
        return value


def counted(shard: Shard, path: str, name: str) -> list[tuple[Any, int]]:
    """(value, points) by the definition, most first."""
    is_uuid = path == "tag" and shard.view.schema
    counts: Counter[tuple[int, Any]] = Counter()
    for document in chosen(shard, name).values():
        held = [e for e in elements(document, path) if type(e) in RANKS]
        if is_uuid:
            held = [as_uuid(e) if type(e) is str else e for e in held]
        counts.update({(RANKS[type(e)], e) for e in held})
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(value, count) for (_, value), count in best]


def pairs(hits: Any) -> list[tuple[Any, int]]:
    return [(hit.value, hit.count) for hit in hits]


def typed(found: list[tuple[Any, int]]) -> list[tuple[type, Any, int]]:
    return [(type(value), value, count) for value, count in found]


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("path", [*INDEXES, "parts", "parts[].n[]", "other", "gone.far"])
def test_values_are_counted_as_by_hand(indexed: Shard, path: str, name: str) -> None:
    expected = counted(indexed, path, name)
    for exact in (True, False):
        found = answer(indexed.view, FacetRequest(path, 1000, exact, FILTERS[name]))
        assert typed(pairs(found)) == typed(expected)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7])
def test_the_limit_keeps_the_best_and_ties_go_by_value(indexed: Shard, limit: int) -> None:
    for path in ("room", "n", "ok", "tag"):
        expected = counted(indexed, path, "none")[:limit]
        assert pairs(answer(indexed.view, FacetRequest(path, limit, True))) == expected


def test_a_limit_of_one_source_keeps_ties_in_order() -> None:
    """One segment whose index tells all, where only the best places are looked at."""
    rooms = ["d", "b", "c", "a", "b", "d"]
    view = after(
        start(CONFIG),
        UpdateOperation.create_field_index("room", PayloadSchemaType.Keyword),
        UpdateOperation.upsert_arrays(range(6), _vectors(6), [{"room": room} for room in rooms]),
    )
    for limit in range(6):
        expected = [("b", 2), ("d", 2), ("a", 1), ("c", 1)][:limit]
        assert pairs(answer(view, FacetRequest("room", limit))) == expected


def _vectors(count: int) -> Any:
    return [[1.0, 0.0, 0.0, 0.0]] * count


def test_of_many_payloads_a_sample_is_read(indexed: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facet, "SAMPLE", 20)
    exact = answer(indexed.view, FacetRequest("other", 10, exact=True))
    assert pairs(exact) == counted(indexed, "other", "none")
    about = answer(indexed.view, FacetRequest("other", 10, exact=False))
    assert {hit.value for hit in about} <= {hit.value for hit in exact}
    total, guess = sum(hit.count for hit in exact), sum(hit.count for hit in about)
    assert 0.8 * total < guess < 1.2 * total


def test_no_payload_is_read_where_an_index_tells_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: object) -> None:
        raise AssertionError("a payload was read")

    view = after(
        start(CONFIG),
        UpdateOperation.create_field_index("room", PayloadSchemaType.Keyword),
        UpdateOperation.upsert_arrays(range(6), _vectors(6), [{"room": "a"}] * 5 + [{}]),
    )
    view = after(
        built(view, SimulatedStorage()),
        UpdateOperation.upsert_arrays([9], _vectors(1), [{"room": "a"}]),
        UpdateOperation.delete_points([0]),
    )
    monkeypatch.setattr(SegmentView, "reader", none)
    assert answer(view, FacetRequest("room")).hits == [FacetHit("a", 5)]
    assert answer(view, FacetRequest("room", exact=True)).hits == [FacetHit("a", 5)]


def test_an_empty_shard_has_no_values() -> None:
    assert answer(start(CONFIG), FacetRequest("room")).hits == []


@pytest.mark.parametrize("path", ["room", "other"])
def test_a_facet_stops_at_its_deadline(
    indexed: Shard, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "monotonic", iter(range(1000)).__next__)
    with pytest.raises(DeadlineExceeded):
        answer(indexed.view, FacetRequest(path), Deadline(0))
    with pytest.raises(DeadlineExceeded):
        answer(indexed.view, FacetRequest(path), Deadline(2.5))
