"""Queries: what orders and text queries are read back as."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from edge.model.query import Bm25Params, Direction, OrderBy, Query, Sample, TextQuery


def test_orders_are_read_back_in_one_form() -> None:
    assert OrderBy("a") == OrderBy("a", None) == OrderBy("a", Direction.Asc, None)
    assert OrderBy("a", Direction.Desc).direction is Direction.Desc
    assert OrderBy("a[].b").key == "a[].b"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (5, 5),
        (-(2**63) - 1, -(2**63) - 1),
        (2**64, 2**64),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (float("inf"), float("inf")),
        ("2024-01-01", "2024-01-01 00:00:00 UTC"),
        ("2024-01-01T12:00:00+02:00", "2024-01-01 10:00:00 UTC"),
        (datetime(2024, 1, 1), "2024-01-01 00:00:00 UTC"),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01 00:00:00 UTC"),
        (datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "2024-01-01 00:00:00 UTC"),
    ],
)
def test_where_an_order_starts(given: Any, kept: Any) -> None:
    """An int stays one: whether 2**53 + 1 is before 2**53 is no matter of floats."""
    found = OrderBy("a", start_from=given).start_from
    assert (found, type(found)) == (kept, type(kept))


def test_bm25_is_held_in_single_precision() -> None:
    assert Bm25Params() == Bm25Params(None, None)
    assert (Bm25Params().k, Bm25Params().b) == (float(np.float32(1.2)), 0.75)
    assert Bm25Params(np.float64(0.1)).k == float(np.float32(0.1))
    for edge in ((0, 0), (3e38, 1), (0.0, 1.0)):
        found = Bm25Params(*edge)
        assert found.b == edge[1]
        assert 0 <= found.k < float("inf")


def test_text_queries_are_read_back_in_one_form() -> None:
    found = TextQuery("a.b", "")
    assert (found.field, found.query, found.scoring) == ("a.b", "", Bm25Params())
    assert TextQuery("a", "x", None) == TextQuery("a", "x", Bm25Params())


def test_only_vectors_make_a_query() -> None:
    for other in (OrderBy("a"), TextQuery("a", "x"), Sample.Random):
        assert not isinstance(other, Query)
