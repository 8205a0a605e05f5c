"""Graphs of payload values alone (`m` 0, `payload_m`): tenants find what they find in Qdrant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge

from edge.model.config import Durability, EdgeConfig, EdgeOptimizersConfig
from edge.model.filter import FieldCondition, Filter, MatchAny, MatchValue, RangeFloat
from edge.model.query import Query, SearchParams
from edge.model.request import QueryRequest
from edge.model.schema import IntegerIndexParams, KeywordIndexParams
from edge.model.update import UpdateOperation
from edge.model.vector_params import Distance, EdgeVectorParams, HnswIndexConfig
from edge.query import search
from tests.congruence.engines import Pair, theirs

U = UpdateOperation
ROWS, SIZE = 3000, 24
CONFIG = EdgeConfig(
    vectors=EdgeVectorParams(SIZE, Distance.Cosine),
    hnsw_config=HnswIndexConfig(0, 64, 1, max_indexing_threads=1, payload_m=16),
    optimizers=EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1),
    durability=Durability.Os,
)


def tenant(n: int) -> Any:
    """Four, two and one of ten have a tenant in common; a third has one more."""
    kind = n % 10
    owner = "red" if kind < 4 else "blue" if kind < 6 else "green" if kind == 6 else f"other {n}"
    return [owner, "all"] if n % 3 == 0 else owner


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both have the field indexed before they are filled, as Qdrant wants it, and are built."""
    made = Pair(Path(tmp_path_factory.mktemp("tenants")), CONFIG)
    made.update(U.create_field_index("tenant", KeywordIndexParams(is_tenant=True)))
    made.update(U.create_field_index("n", IntegerIndexParams()))
    block = np.random.default_rng(1).normal(size=(ROWS, SIZE)).astype(np.float32)
    payloads = [{"tenant": tenant(n), "n": n % 100} for n in range(ROWS)]
    for first in range(0, ROWS, 500):
        part = slice(first, first + 500)
        numbers = range(first, first + 500)
        made.ours.update(U.upsert_arrays(numbers, block[part], payloads[part]))
        points = [qdrant_edge.Point(n, block[n].tolist(), payloads[n]) for n in numbers]
        made.theirs.update(qdrant_edge.UpdateOperation.upsert_points(points))
    made.optimize()
    yield made
    made.close()


def of(owner: str, *more: Any) -> Filter:
    return Filter(must=[FieldCondition("tenant", match=MatchValue(owner)), *more])


FILTERS = {
    "red": of("red"),
    "blue": of("blue"),
    "green": of("green"),
    "all": of("all"),
    "any of one": Filter(must=[FieldCondition("tenant", match=MatchAny(["blue"]))]),
    "red and half": of("red", FieldCondition("n", range=RangeFloat(lt=50))),
    "red and a fifth": of("red", FieldCondition("n", range=RangeFloat(gte=80))),
    "nobody": of("grey"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_what_a_tenant_finds(pair: Pair, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a scan finds, at the same settings; and a scan finds the same in both."""
    monkeypatch.setattr(search, "scan_cost", lambda rows, size: 1e9 * rows)  # never the shorter
    monkeypatch.setattr(search, "walk_cost", lambda ef, size: 0.0)
    right = ours = other = 0
    for vector in np.random.default_rng(2).normal(size=(30, SIZE)):
        query = Query.Nearest(vector)
        exact = QueryRequest(10, query=query, filter=FILTERS[name], params=SearchParams(exact=True))
        pair.compare_query(exact)
        wanted = {hit.id for hit in pair.ours.query(exact)}
        params = SearchParams(hnsw_ef=64)
        walk = QueryRequest(10, query=query, filter=FILTERS[name], params=params, explain=True)
        found = pair.ours.query(walk)
        assert name == "nobody" or "graph of a value" in found.plan[0].way
        right += len(wanted)
        ours += len(wanted & {hit.id for hit in found})
        other += len(wanted & {hit.id for hit in pair.theirs.query(theirs(walk))})
    assert right == (0 if name == "nobody" else 300)
    assert ours >= min(0.95 * right, other - 0.03 * right)
