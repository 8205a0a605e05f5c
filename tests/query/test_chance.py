"""Points by chance: distinct ones that fulfil the filter, each as likely as another."""

from __future__ import annotations

from collections import Counter

import pytest

from edge.errors import DeadlineExceeded
from edge.model.query import Sample
from edge.model.request import QueryRequest
from edge.query import deadline
from edge.query.answer import answer
from edge.query.deadline import Deadline
from tests.query.indexed_shards import CONFIG, FILTERS, Shard, chosen
from tests.segment.made import start


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("limit", [0, 1, 7, 1000])
def test_they_are_distinct_and_fulfil_the_filter(indexed: Shard, name: str, limit: int) -> None:
    allowed = chosen(indexed, name)
    hits = answer(indexed.view, QueryRequest(limit, query=Sample.Random, filter=FILTERS[name]))
    ids = [hit.id for hit in hits]
    assert len(ids) == len(set(ids)) == min(limit, len(allowed))
    assert set(ids) <= set(allowed)
    assert {hit.score for hit in hits} <= {1.0}


def test_an_offset_leaves_some_out(indexed: Shard) -> None:
    hits = answer(indexed.view, QueryRequest(10, 5, query=Sample.Random))
    assert len({hit.id for hit in hits}) == 10
    total = len(indexed.points)
    assert len(answer(indexed.view, QueryRequest(10, total - 3, query=Sample.Random))) == 3
    assert answer(indexed.view, QueryRequest(10, total + 3, query=Sample.Random)) == []


def test_payloads_and_vectors_are_those_of_the_point(indexed: Shard) -> None:
    request = QueryRequest(20, query=Sample.Random, with_payload=True, with_vector=True)
    for hit in answer(indexed.view, request):
        assert hit.payload == indexed.points[hit.id]
        assert len(hit.vector) == 4


def test_every_point_has_its_chance(indexed: Shard) -> None:
    """Of 30,000 draws each point has its part: less than half of it is one in 10**9."""
    total, rounds = len(indexed.points), 400
    found: Counter[object] = Counter()
    for _ in range(rounds):
        hits = answer(indexed.view, QueryRequest(75, query=Sample.Random))
        found.update(hit.id for hit in hits)
    part = rounds * 75 / total
    assert len(found) == total
    assert part / 2 < min(found.values())
    assert max(found.values()) < part * 1.5


def test_an_empty_shard_has_none() -> None:
    assert answer(start(CONFIG), QueryRequest(5, query=Sample.Random)) == []


def test_a_sample_stops_at_its_deadline(indexed: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "monotonic", iter(range(1000)).__next__)
    for name in ("none", "open"):
        request = QueryRequest(5, query=Sample.Random, filter=FILTERS[name])
        with pytest.raises(DeadlineExceeded):
            answer(indexed.view, request, Deadline(1.5))
