"""Quantization: what its structs take, where a small form lives, and how it is stored."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ValidationError
from edge.model.choice import Memory
from edge.model.quantization import (
    BinaryQuantizationConfig,
    BinaryQuantizationEncoding,
    BinaryQuantizationQueryEncoding,
    CompressionRatio,
    NoQuantization,
    ProductQuantizationConfig,
    Quantization,
    QuantizationConfig,
    QuantizationSearchParams,
    ScalarQuantizationConfig,
    ScalarType,
    TurboQuantBitSize,
    TurboQuantQuantizationConfig,
    decode_quantization,
    encode_quantization,
    place_of,
)
from tests.model.strategies import quantizations

Scalar, Product = ScalarQuantizationConfig, ProductQuantizationConfig
Binary, Turbo = BinaryQuantizationConfig, TurboQuantQuantizationConfig
Int8, X4 = ScalarType.Int8, CompressionRatio.X4
MAKES: list[Callable[..., QuantizationConfig]] = [
    lambda **place: Scalar(Int8, **place),
    lambda **place: Product(X4, **place),
    lambda **place: Binary(**place),
    lambda **place: Turbo(**place),
]


@given(quantizations)
def test_a_config_is_a_value_that_comes_back(config: QuantizationConfig) -> None:
    assert decode_quantization(encode_quantization(config)) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert isinstance(config, Quantization)
    assert "\n" not in repr(config)


@given(quantizations, quantizations)
def test_different_configs_are_written_differently(
    first: QuantizationConfig, second: QuantizationConfig
) -> None:
    """What a small form was made by is told from what is asked for by comparing them."""
    assert (encode_quantization(first) == encode_quantization(second)) is (first == second)


@given(quantizations, st.data())
def test_damaged_bytes_are_a_value_error(config: QuantizationConfig, data: st.DataObject) -> None:
    body = encode_quantization(config)
    with pytest.raises(ValueError, match=r"."):
        decode_quantization(body[: data.draw(st.integers(0, len(body) - 1))])
    damaged = bytearray(body)
    damaged[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_quantization(bytes(damaged))
    except ValueError:
        return
    assert isinstance(found, Quantization)


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"kind": "strange"}, {"kind": 1}, {"kind": "scalar"}, {"kind": "product"},
        {"kind": "scalar", "type": "int4"}, {"kind": "scalar", "type": "int8", "quantile": 0.4},
        {"kind": "scalar", "type": "int8", "quantile": float("nan")},
        {"kind": "product", "compression": "x5"}, {"kind": "binary", "encoding": "three_bits"},
        {"kind": "turbo", "bits": 4}, {"kind": "turbo", "memory": "warm"},
        {"kind": "binary", "always_ram": 1},
    ],
    ids=repr,
)  # fmt: skip
def test_fields_of_no_config_are_a_value_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_quantization(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("make", MAKES)
def test_where_a_small_form_lives(make: Callable[..., QuantizationConfig]) -> None:
    assert place_of(make()) is Memory.Pinned
    assert place_of(make(always_ram=True)) is Memory.Pinned
    assert place_of(make(always_ram=False)) is Memory.Cold
    for memory in Memory:
        for flag in (None, False, True):
            assert place_of(make(always_ram=flag, memory=memory)) is memory


def test_what_is_not_specified_stays_none() -> None:
    assert Scalar(Int8) == Scalar(Int8, None, None, None)
    assert (Scalar(Int8).quantile, Binary().encoding, Turbo().bits) == (None, None, None)
    assert Scalar(Int8, 1).quantile == 1.0
    assert type(Scalar(Int8, np.float64(0.5)).quantile) is float
    assert NoQuantization() == NoQuantization()
    found = QuantizationSearchParams()
    assert (found.ignore, found.rescore, found.oversampling) == (False, None, None)
    asked = QuantizationSearchParams(np.True_, False, 1)
    assert (asked.ignore, asked.rescore, asked.oversampling) == (True, False, 1.0)
    assert QuantizationSearchParams(oversampling=1000).oversampling == 1000.0


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Scalar("int8"), "type: expected a ScalarType"),
    (lambda: Scalar(None), "type: expected a ScalarType"),
    (lambda: Scalar(X4), "type: expected a ScalarType"),
    (lambda: Scalar(Int8, 0.49), "quantile: expected 0.5 to 1, got 0.49"),
    (lambda: Scalar(Int8, 1.01), "quantile: expected 0.5 to 1"),
    (lambda: Scalar(Int8, float("nan")), "quantile: expected a number"),
    (lambda: Scalar(Int8, "1"), "quantile: expected a number"),
    (lambda: Scalar(Int8, True), "quantile: expected a number"),
    (lambda: Product(4), "compression: expected a CompressionRatio"),
    (lambda: Product(None), "compression: expected a CompressionRatio"),
    (lambda: Binary(encoding="one_bit"), "encoding: expected a BinaryQuantizationEncoding"),
    (
        lambda: Binary(encoding=BinaryQuantizationQueryEncoding.Binary),
        "encoding: expected a BinaryQuantizationEncoding",
    ),
    (
        lambda: Binary(query_encoding=BinaryQuantizationEncoding.OneBit),
        "query_encoding: expected a BinaryQuantizationQueryEncoding",
    ),
    (lambda: Turbo(bits=4), "bits: expected a TurboQuantBitSize"),
    (lambda: Turbo(bits=TurboQuantBitSize), "bits: expected a TurboQuantBitSize"),
    *((lambda make=make: make(always_ram=1), "always_ram: expected a bool") for make in MAKES),
    *((lambda make=make: make(memory="Cold"), "memory: expected a Memory") for make in MAKES),
    (lambda: QuantizationSearchParams(None), "ignore: expected a bool"),
    (lambda: QuantizationSearchParams(1), "ignore: expected a bool"),
    (lambda: QuantizationSearchParams(rescore=1), "rescore: expected a bool"),
    (lambda: QuantizationSearchParams(oversampling=0.99), "oversampling: expected 1 to 1000"),
    (lambda: QuantizationSearchParams(oversampling=1001), "oversampling: expected 1 to 1000"),
    (lambda: QuantizationSearchParams(oversampling="2"), "oversampling: expected a number"),
    (lambda: QuantizationSearchParams(oversampling=float("inf")), "oversampling: expected 1 to"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_naming_the_argument(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()
