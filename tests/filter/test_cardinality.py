"""Estimates: their bounds hold whatever the index knows; a number is exact where it is cheap."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from edge.errors import DeadlineExceeded
from edge.filter import cardinality
from edge.filter.cardinality import approximate, estimate
from edge.filter.mask import matching
from edge.model.filter import FieldCondition, Filter, HasIdCondition, MatchValue, RangeFloat
from edge.model.schema import PayloadSchemaType, indexed_field
from edge_kernels import bits
from tests.filter.indexed_rows import Case, IndexedRows, cases, condition_of, indexes


def nothing() -> None:
    """A checkpoint of a request without a deadline."""


def among(rows: IndexedRows, chosen: list[int]) -> Any:
    return bits.from_offsets(rows.watermark, rows.all()[chosen])


@given(cases())
@settings(max_examples=3 * settings.default.max_examples)
def test_bounds_hold(case: Case) -> None:
    field, path, payloads, covered, _, draw = case
    chosen = sorted(draw.sample(range(len(payloads)), draw.randint(0, len(payloads))))
    filter = Filter(
        must=[condition_of(path, draw)],
        must_not=[condition_of(path, draw)] if draw.random() < 0.5 else None,
    )
    for index in indexes(field, path, payloads, covered):
        rows = IndexedRows(payloads, {path: (field, index)})
        true = len(matching(filter, rows, rows.all()[chosen]))
        rows.decoded.clear()
        found = estimate(filter, rows, among(rows, chosen))
        assert rows.decoded == [], "no payload is read"
        assert 0 <= found.least <= true <= found.most <= len(chosen)
        assert found.least <= found.likely <= found.most
        # the sample is larger than all of them
        assert approximate(filter, rows, among(rows, chosen), nothing) == true


def numbered(count: int, *, indexed: bool) -> IndexedRows:
    payloads = [{"n": n} for n in range(count)]
    field = indexed_field(PayloadSchemaType.Integer)
    index = indexes(field, "n", payloads, count)[1] if indexed else None
    return IndexedRows(payloads, {"n": (field, index)})


LOW = Filter(must=[FieldCondition("n", range=RangeFloat(lt=500))])


def test_where_the_index_tells_all_nothing_is_read() -> None:
    rows = numbered(5_000, indexed=True)
    found = estimate(LOW, rows, bits.ones(5_000))
    assert (found.least, found.likely, found.most) == (500, 500, 500)
    assert approximate(LOW, rows, bits.ones(5_000), nothing) == 500
    assert rows.decoded == []


def test_without_an_index_everything_may_match() -> None:
    rows = numbered(70, indexed=False)
    found = estimate(LOW, rows, bits.from_offsets(70, rows.all()[:10]))
    assert (found.least, found.likely, found.most) == (0, 5, 10)
    known = estimate(Filter(must_not=[HasIdCondition(range(60))]), rows, bits.ones(70))
    assert (known.least, known.most) == (10, 10)
    both = Filter(must=[HasIdCondition(range(60)), *LOW.conditions()])
    assert estimate(both, rows, bits.ones(70)).most == 60


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (Filter(), 70),
        (Filter(must_not=[Filter()]), 0),
        (Filter(must=[HasIdCondition([])]), 0),
    ],
)
def test_what_is_known_of_all_rows_is_a_number(filter: Filter, expected: int) -> None:
    rows = numbered(70, indexed=False)
    found = estimate(filter, rows, bits.ones(70))
    assert (found.least, found.likely, found.most) == (expected, expected, expected)
    assert approximate(filter, rows, bits.ones(70), nothing) == expected


def test_no_more_than_a_sample_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cardinality, "SAMPLE", 100)
    rows = numbered(2_000, indexed=False)
    found = approximate(LOW, rows, bits.ones(2_000), nothing)
    assert len(rows.decoded) == 100
    assert 450 <= found <= 550
    rows.decoded.clear()
    few = bits.from_offsets(2_000, rows.all()[:100])
    assert approximate(LOW, rows, few, nothing) == 100
    never = Filter(must=[FieldCondition("n", match=MatchValue("x"))])
    assert approximate(never, rows, bits.ones(2_000), nothing) == 0


def test_a_checkpoint_may_end_it() -> None:
    def over() -> None:
        raise DeadlineExceeded("too late")

    with pytest.raises(DeadlineExceeded):
        approximate(LOW, numbered(9, indexed=False), bits.ones(9), over)
