"""CBOR against the examples of RFC 8949 (appendix A), and against an encoder of a few lines."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.qdrant.cbor import MOST_LEVELS, decode

EXAMPLES = {
    "00": 0,
    "17": 23,
    "1818": 24,
    "1903e8": 1000,
    "1a000f4240": 1_000_000,
    "1bffffffffffffffff": 2**64 - 1,
    "20": -1,
    "3863": -100,
    "3bffffffffffffffff": -(2**64),
    "f90000": 0.0,
    "f93c00": 1.0,
    "fb3ff199999999999a": 1.1,
    "f97bff": 65504.0,
    "fa47c35000": 100000.0,
    "f97c00": math.inf,
    "f4": False,
    "f5": True,
    "f6": None,
    "f7": None,
    "40": b"",
    "4401020304": b"\1\2\3\4",
    "60": "",
    "62c3bc": "ü",
    "64f0908591": "\U00010151",
    "80": [],
    "83010203": [1, 2, 3],
    "8301820203820405": [1, [2, 3], [4, 5]],
    "a0": {},
    "a26161016162820203": {"a": 1, "b": [2, 3]},
    "c11a514b67b0": 1363896240,
    "5f42010243030405ff": b"\1\2\3\4\5",
    "7f657374726561646d696e67ff": "streaming",
    "9fff": [],
    "9f018202039f0405ffff": [1, [2, 3], [4, 5]],
    "bf61610161629f0203ffff": {"a": 1, "b": [2, 3]},
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples(text: str) -> None:
    found = decode(bytes.fromhex(text))
    assert found == EXAMPLES[text]
    assert type(found) is type(EXAMPLES[text])


REFUSED = {
    "": "cut off",
    "0000": "not one value",
    "ff": "not one value",
    "18": "cut off",
    "1c": "argument of kind 28",
    "62c3": "cut off",
    "61ff": "utf-8",
    "8201": "cut off",
    "82ff": "an end",
    "9f01": "cut off",
    "a1": "cut off",
    "bf01ff": "a key without a value",
    "a18001": "a key that is a list",
    "5f01ff": "bytes of other parts",
    "7f4161ff": "a text of other parts",
    "f0": "simple value 16",
    "9bffffffffffffffff": "cut off",
    "7bffffffffffffffff": "cut off",
    "81" * MOST_LEVELS + "00": "deeper than",
    "9f" * MOST_LEVELS + "00": "deeper than",
    "c1" * MOST_LEVELS + "00": "deeper than",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[text]):
        decode(bytes.fromhex(text))


def float32(number: float) -> bytes:
    return b"\xfa" + struct.pack(">f", number)


def test_arrays_of_float32() -> None:
    """They are read at once; one element of another kind, or too few, and they are not."""
    numbers = [0.5, -2.0, math.inf, 3.25]
    whole = b"".join(map(float32, numbers))
    assert decode(b"\x84" + whole) == numbers
    assert decode(b"\x82\x84" + whole + b"\x07") == [numbers, 7]
    assert decode(b"\x85" + whole + b"\x07") == [*numbers, 7]
    assert decode(b"\x85" + float32(1.5) + b"\xf9\x3c\x00" + whole[:15]) == [1.5, 1, *numbers[:3]]
    with pytest.raises(ValueError, match="cut off"):
        decode(b"\x84" + whole[:-1])


def encoded(value: Any) -> bytes:
    """A value in the plainest CBOR."""
    match value:
        case None | False | True:
            return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case bytes():
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case list():
            return head(4, len(value)) + b"".join(map(encoded, value))
        case _:
            pairs = [encoded(key) + encoded(item) for key, item in value.items()]
            return head(5, len(value)) + b"".join(pairs)


def head(kind: int, number: int) -> bytes:
    return bytes([kind << 5 | 27]) + struct.pack(">Q", number)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=9)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values, st.integers(0, 2**30))
def test_values_come_back_and_parts_of_them_are_none(value: Any, cut: int) -> None:
    data = encoded(value)
    assert decode(data) == value
    with pytest.raises(ValueError, match="CBOR"):
        decode(data[: cut % len(data)])


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    with suppress(ValueError):
        decode(data)
