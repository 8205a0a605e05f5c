"""Payloads: what is one, what is refused and where, and that none costs more than it may."""

from __future__ import annotations

import datetime
import enum
import json
import uuid
from collections import OrderedDict, UserDict, deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import qdrant_edge
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.errors import CorruptData, LimitExceeded, ValidationError
from edge.model.limits import Limits
from edge.model.payload import decode_payload, encode_payload, encode_plain

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
payloads = st.dictionaries(st.text(), values, max_size=5)


class Colour(enum.StrEnum):
    """A str that is an enum member too."""

    RED = "red"


class Level(enum.IntEnum):
    """An int that is an enum member too."""

    LOW = 1


def nested(depth: int) -> dict[str, Any]:
    """Objects in objects, `depth` levels of them."""
    payload: dict[str, Any] = {}
    for _ in range(depth - 1):
        payload = {"a": payload}
    return payload


def nested_lists(depth: int) -> dict[str, Any]:
    """One object that holds lists in lists, `depth` levels in all."""
    value: list[Any] = []
    for _ in range(depth - 2):
        value = [value]
    return {"a": value}


@given(payloads)
def test_reads_back_as_given(payload: dict[str, Any]) -> None:
    found = decode_payload(encode_payload(payload))
    assert found == payload
    assert repr(found) == repr(payload)


STAND_INS: list[Any] = [
    (1, 2), (1, (2, 3.5)), b"ab", bytearray(b"ab"), memoryview(b"ab"), np.arange(3),
    np.zeros((2, 2)),
    np.array(1.5), np.float32(0.1), np.float64(1.5), np.float16(1.5), np.int8(3), np.bool_(True),
    np.uint64(2**64 - 1), range(3), deque([1, 2]), OrderedDict(b=1), Colour.RED, Decimal("1.5"),
    [np.int8(1), (2,)], {"b": (1,)}, [{"b": np.float32(2)}],
]  # fmt: skip


@pytest.mark.parametrize("value", STAND_INS, ids=lambda value: type(value).__name__)
def test_stand_ins_become_what_qdrant_makes_of_them(value: Any) -> None:
    expected = qdrant_edge.Point(1, [1.0], {"a": value}).payload
    found = decode_payload(encode_payload({"a": value}))
    assert found == expected
    assert repr(found) == repr(expected)


def test_an_int_enum_is_its_int() -> None:
    assert decode_payload(encode_payload({"a": Level.LOW})) == {"a": 1}


def test_the_callers_payload_is_not_changed() -> None:
    inner = (1, np.int8(2))
    payload = {"a": [inner]}
    encode_payload(payload)
    assert payload == {"a": [inner]}
    assert payload["a"][0] is inner


REFUSED: list[tuple[Any, str]] = [
    ({"a": float("nan")}, r"payload\['a'\]: nan"),
    ({"a": [1.0, float("inf")]}, r"payload\['a'\]\[1\]: inf"),
    ({"a": [1.0, float("inf"), float("-inf")]}, r"payload\['a'\]\[1\]: inf"),
    ({"a": {"b": [1, {"c": float("-inf")}]}}, r"payload\['a'\]\['b'\]\[1\]\['c'\]"),
    ({"a": np.array([np.nan])}, r"payload\['a'\]"),
    ({"a": np.float32("inf")}, r"payload\['a'\]: inf"),
    ({"a": Decimal("NaN")}, r"payload\['a'\]: nan"),
    ({"a": 2**64}, r"payload\['a'\]: 18446744073709551616"),
    ({"a": [-(2**63) - 1]}, r"payload\['a'\]\[0\]"),
    ({"a": 2**200_000}, r"payload\['a'\]: a number of 200001 bits"),
    ({1: 2}, "expected str keys, got 1"),
    ({"a": {None: 2}}, r"payload\['a'\]: expected str keys"),
    ({"a": "\ud800"}, r"payload\['a'\]: a lone surrogate"),
    ({"a": ["é\udfff"]}, r"payload\['a'\]\[0\]: a lone surrogate"),
    ({"\ud800": 1}, "a lone surrogate"),
    ({"a": datetime.datetime(2026, 1, 1)}, r"payload\['a'\]: datetime"),
    ({"a": uuid.UUID(int=1)}, r"payload\['a'\]: UUID"),
    ({"a": {1, 2}}, r"payload\['a'\]: set"),
    ({"a": object()}, r"payload\['a'\]: object"),
    ({"a": 1j}, r"payload\['a'\]: complex"),
    ({"a": np.array(["2026-01-01"], "datetime64[s]")}, r"payload\['a'\]\[0\]: datetime"),
    ([1], "payload: expected a dict"),
    ("a", "payload: expected a dict"),
    (UserDict(a=1), "payload: expected a dict"),
]


@pytest.mark.parametrize(("payload", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_refuses_naming_the_place(payload: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        encode_payload(payload)


@pytest.mark.parametrize("build", [nested, nested_lists])
def test_depth_ends_exactly_at_the_limit(build: Any) -> None:
    limits = Limits(payload_depth=32)
    assert decode_payload(encode_payload(build(32), limits)) == build(32)
    for depth in (33, 120, 5_000):
        with pytest.raises(LimitExceeded, match="nested deeper than 32 levels"):
            encode_payload(build(depth), limits)


def test_a_cycle_runs_into_the_depth() -> None:
    payload: dict[str, Any] = {}
    payload["a"] = [payload]
    with pytest.raises(LimitExceeded, match="nested deeper than 32 levels"):
        encode_payload(payload)


def test_size_ends_exactly_at_the_limit() -> None:
    limits = Limits(payload_bytes=1000)
    overhead = len(encode_payload({"a": "x" * 300})) - 300
    assert len(encode_payload({"a": "x" * (1000 - overhead)}, limits)) == 1000
    with pytest.raises(LimitExceeded):
        encode_payload({"a": "x" * (1001 - overhead)}, limits)


@pytest.mark.parametrize("value", [np.zeros(990, np.int8), bytes(990), (0,) * 990, [[]] * 990])
def test_what_fits_encoded_is_not_refused_for_its_size(value: Any) -> None:
    assert 990 < len(encode_payload({"a": value}, Limits(payload_bytes=1000))) < 1000
    with pytest.raises(LimitExceeded):
        encode_payload({"a": value}, Limits(payload_bytes=900))


def test_shared_parts_are_counted_each_time() -> None:
    """A few objects that name each other twice would otherwise be 2^31 values."""
    payload: dict[str, Any] = {"a": 1}
    for _ in range(30):
        payload = {"a": payload, "b": payload}
    with pytest.raises(LimitExceeded, match="larger than 1048576 bytes"):
        encode_payload(payload)
    with pytest.raises(LimitExceeded, match="larger than 1048576 bytes"):
        encode_payload({"a": ["x" * 1_000_000] * 1_000})
    with pytest.raises(LimitExceeded, match="larger than 1048576 bytes"):
        encode_payload({"a": range(2**40)})
    with pytest.raises(LimitExceeded, match="larger than 1048576 bytes"):
        encode_payload({"a": np.broadcast_to(np.float64(1), (10**6, 10**6))})


DAMAGED = [
    b"", b"\x81", b"\x01", b"\x81\x01\x02", b"\x81\xa1\xff\x01", b"\x81\xa1a" + b"\x91" * 100_000,
    encode_payload({"a": 1}) + b"\x00", b"\xc1",
]  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED, ids=[str(i) for i in range(len(DAMAGED))])
def test_damaged_bytes_are_corrupt_data(data: bytes) -> None:
    with pytest.raises(CorruptData, match="payload"):
        decode_payload(data)


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_corrupt_data(data: bytes) -> None:
    try:
        found = decode_payload(data)
    except CorruptData:
        return
    assert isinstance(found, dict)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.integers(1, 9), st.integers(1, 60)
)
def test_what_was_json_is_encoded_as_whatever_else(
    payload: dict[str, Any], depth: int, size: int
) -> None:
    """By the short way and the long one: the same bytes, or the same refusal."""
    text = json.dumps(payload, allow_nan=True)
    limits = Limits(payload_depth=depth, payload_bytes=size)
    brackets = text.count("{") + text.count("[")

    def outcome(encode: Callable[[], bytes]) -> Any:
        try:
            return encode()
        except ValidationError as error:
            return type(error), str(error)

    assume("Infinity" not in text)
    assert outcome(lambda: encode_plain(payload, brackets, limits, "payload")) == outcome(
        lambda: encode_payload(payload, limits)
    )
