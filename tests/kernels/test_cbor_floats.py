"""Places of CBOR floats, against a reader that goes byte by byte."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_kernels import cbor_floats

SIZES = {0xF9: 3, 0xFA: 5, 0xFB: 9}


def slowly(data: bytes, at: int, count: int) -> tuple[list[int], int] | None:
    found = []
    for _ in range(count):
        if at >= len(data) or data[at] not in SIZES:
            return None
        found.append(at)
        at += SIZES[data[at]]
    return (found, at) if at <= len(data) else None


elements = st.one_of(
    *(
        st.binary(min_size=size - 1, max_size=size - 1).map(bytes([kind]).__add__)
        for kind, size in SIZES.items()
    )
)


@given(st.lists(elements, max_size=12).map(b"".join), st.binary(max_size=4), st.integers(0, 14))
def test_as_slowly(floats: bytes, more: bytes, count: int) -> None:
    for data in (floats, more + floats, floats + more):
        for at in {0, min(len(more), len(data))}:
            found = cbor_floats.places(np.frombuffer(data, np.uint8), at, count)
            expected = slowly(data, at, count)
            if expected is None:
                assert found is None
            else:
                assert found is not None
                assert (found[0].tolist(), found[1]) == expected


def test_a_count_that_cannot_be() -> None:
    assert cbor_floats.places(np.full(9, 0xF9, np.uint8), 0, 2**62) is None
