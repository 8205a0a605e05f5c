"""The tail's payloads: appended in order, given back as they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.payload.storage import GrowingPayloads


@given(st.lists(st.lists(st.none() | st.binary(max_size=8), max_size=5)))
def test_payloads_are_got_by_offset(batches: list[list[bytes | None]]) -> None:
    column, expected = GrowingPayloads(), []
    for batch in batches:
        column.append(batch)
        expected += [blob or b"" for blob in batch]
        assert [column.get(offset) for offset in range(len(expected))] == expected


def test_any_iterable_is_taken() -> None:
    column = GrowingPayloads()
    column.append(iter([b"x", None]))
    assert column.get(0) == b"x"
    assert column.get(1) == b""
