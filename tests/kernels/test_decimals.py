"""Numbers as JSON: the same numbers, in few digits."""

from __future__ import annotations

import json
import re

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_kernels.decimals import json_rows

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def rows_of(block: np.ndarray) -> list[bytes]:
    text, ends = json_rows(block)
    starts = [0, *(ends + 1).tolist()][: len(ends)]
    assert all(bytes(text[end : end + 1]) == b"," for end in ends.tolist())
    assert len(text) == (ends[-1].item() + 1 if len(ends) else 0)
    return [bytes(text[start:end]) for start, end in zip(starts, ends.tolist(), strict=True)]


def same_bits(first: object, second: np.ndarray) -> bool:
    found = np.array(first, np.float64).astype(np.float32)
    return found.tobytes() == second.tobytes()


@given(st.lists(FINITE, min_size=1))
def test_what_is_read_back_is_what_was_written(drawn: list[float]) -> None:
    block = np.array([drawn], np.float32)
    [text] = rows_of(block)
    assert same_bits(json.loads(text), block[0])
    assert same_bits(msgspec.json.decode(text), block[0])


def test_every_power_of_two_and_its_neighbours() -> None:
    """Where the spacing of numbers changes, and numbers without a leading one."""
    powers = np.ldexp(np.float32(1), np.arange(-149, 128)).astype(np.float32)
    around = [np.nextafter(powers, np.float32(limit)) for limit in (0, np.inf)]
    block = np.concatenate([powers, *around, -powers])[:, None]
    block = block[np.isfinite(block[:, 0])]
    found = [json.loads(text) for text in rows_of(block)]
    assert all(same_bits(numbers, row) for numbers, row in zip(found, block, strict=True))


def test_many_numbers_by_their_bits() -> None:
    bits = np.random.default_rng(4).integers(0, 2**32, 200_000, np.uint32)
    block = bits.view(np.float32)
    block = block[np.isfinite(block)][None]
    [text] = rows_of(block)
    assert same_bits(json.loads(text), block[0])
    numbers = text[1:-1].decode().split(",")
    grammar = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?(e-?\d+)?")
    assert all(grammar.fullmatch(number) for number in numbers)
    digits = [
        number.lstrip("-").partition("e")[0].replace(".", "").strip("0") for number in numbers
    ]
    assert max(map(len, digits)) <= 9


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (-10.0, "-10.0"), (0.1, "0.100000001"),
        (123456.75, "123456.75"), (1e8, "100000000.0"), (1e9, "1e9"), (1e10, "1e10"),
        (0.125, "0.125"), (2.0**-17, "7.62939453e-6"), (2.0**-16, "0.0000152587891"),
        (-1.5e-45, "-1.40129846e-45"), (3.4028234663852886e38, "3.40282347e38"),
        (999999999.9, "1e9"), (2.0**-100, "7.88860905e-31"), (-25.5, "-25.5"),
    ],
)  # fmt: skip
def test_how_numbers_look(number: float, text: str) -> None:
    assert rows_of(np.array([[number]], np.float32)) == [f"[{text}]".encode()]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (4, 1), (5, 7)])
def test_rows_of_every_shape(shape: tuple[int, int]) -> None:
    block = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape) / 7
    found = [json.loads(text) for text in rows_of(block)]
    assert [len(row) for row in found] == [shape[1]] * shape[0]
    assert same_bits(found, block)
    if block.size:
        assert rows_of(block[::2, ::2]) == rows_of(block[::2, ::2].copy())


@pytest.mark.parametrize(
    "block",
    [
        np.zeros((2, 2)),
        np.zeros(2, np.float32),
        np.array([[1, np.nan]], np.float32),
        np.array([[np.inf]], np.float32),
    ],
)
def test_what_is_no_block_of_finite_numbers(block: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"finite|block"):
        json_rows(block)
