"""How vectors are made smaller for searching: one struct a kind of quantization.

Invariants: what exists can be carried out; None means "not specified", and what that comes to is
said at each argument. The originals are kept in any case, and what a search finds by the small
form is ranked anew by them unless `QuantizationSearchParams` says otherwise.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from edge.errors import ValidationError
from edge.model import fields
from edge.model.choice import Choice, Memory


class ScalarType(Choice):
    """The type of a scalar-quantized element."""

    Int8 = "int8"


class CompressionRatio(Choice):
    """How many times smaller than float32 a product-quantized vector is."""

    X4 = "x4"
    X8 = "x8"
    X16 = "x16"
    X32 = "x32"
    X64 = "x64"


class BinaryQuantizationEncoding(Choice):
    """Bits an element."""

    OneBit = "one_bit"
    TwoBits = "two_bits"
    OneAndHalfBits = "one_and_half_bits"


class BinaryQuantizationQueryEncoding(Choice):
    """Bits an element of a query that is compared with binary vectors. Default: eight; Binary: as
    many as a vector has."""

    Default = "default"
    Binary = "binary"
    Scalar4Bits = "scalar4bits"
    Scalar8Bits = "scalar8bits"


class TurboQuantBitSize(Choice):
    """Bits an element, after a rotation that spreads what a vector holds over all of them."""

    Bits1 = "bits1"
    Bits1_5 = "bits1_5"
    Bits2 = "bits2"
    Bits4 = "bits4"
    Bits8 = "bits8"


class Quantization(Struct, frozen=True, tag_field="kind"):
    """The kinds of quantization."""


class ScalarQuantizationConfig(Quantization, frozen=True, tag="scalar"):
    """One byte an element.

    `quantile` (0.5 to 1) is the share of vectors that the range covers: for each of the others one
    element in `size` is cut. None: as many are cut as leave the least squared error.
    `memory` (default Pinned) says where the bytes live; the older `always_ram` is read where it is
    None: True is Pinned, False Cold.
    """

    type: ScalarType
    quantile: float | None = None
    always_ram: bool | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        fields.member(self.type, "type", ScalarType)
        quantile = fields.number_or_none(self.quantile, "quantile")
        if quantile is not None and not 0.5 <= quantile <= 1.0:
            raise ValidationError(f"quantile: expected 0.5 to 1, got {quantile}")
        force_setattr(self, "quantile", quantile)
        _check_place(self)


class ProductQuantizationConfig(Quantization, frozen=True, tag="product"):
    """One byte for several elements: the nearest of 256 centroids. `memory` as for scalar."""

    compression: CompressionRatio
    always_ram: bool | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        fields.member(self.compression, "compression", CompressionRatio)
        _check_place(self)


class BinaryQuantizationConfig(Quantization, frozen=True, tag="binary"):
    """One to two bits an element. `memory` as for scalar.

    `encoding` None is OneBit, `query_encoding` None is Default.
    """

    always_ram: bool | None = None
    encoding: BinaryQuantizationEncoding | None = None
    query_encoding: BinaryQuantizationQueryEncoding | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        fields.member_or_none(self.encoding, "encoding", BinaryQuantizationEncoding)
        fields.member_or_none(
            self.query_encoding, "query_encoding", BinaryQuantizationQueryEncoding
        )
        _check_place(self)


class TurboQuantQuantizationConfig(Quantization, frozen=True, tag="turbo"):
    """One to eight bits an element after a rotation. `memory` as for scalar.

    `bits` None is Bits4. For Manhattan 8 bits are taken without a rotation, 4 and 2 of some
    elements together as product quantization does; by fewer, candidates are ranked by squares of
    differences.
    """

    always_ram: bool | None = None
    bits: TurboQuantBitSize | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        fields.member_or_none(self.bits, "bits", TurboQuantBitSize)
        _check_place(self)


class NoQuantization(Quantization, frozen=True, tag="none"):
    """Ours: no quantization, also where the shard has one."""


QuantizationConfig: TypeAlias = (
    ScalarQuantizationConfig
    | ProductQuantizationConfig
    | BinaryQuantizationConfig
    | TurboQuantQuantizationConfig
    | NoQuantization
)


def _check_place(
    config: ScalarQuantizationConfig
    | ProductQuantizationConfig
    | BinaryQuantizationConfig
    | TurboQuantQuantizationConfig,
) -> None:
    fields.flag_or_none(config.always_ram, "always_ram")
    fields.member_or_none(config.memory, "memory", Memory)


def place_of(config: QuantizationConfig) -> Memory:
    """Where the small form lives."""
    if isinstance(config, NoQuantization):
        return Memory.Pinned
    if config.memory is not None:
        return config.memory
    return Memory.Cold if config.always_ram is False else Memory.Pinned


class QuantizationSearchParams(Struct, frozen=True):
    """How a search uses quantized vectors, where there are any.

    `ignore`: compare the originals only. `rescore` (None: yes): rank what was found anew by the
    originals. `oversampling` (1 or more; None: 1): how many times the limit is found before that.
    """

    ignore: bool = False
    rescore: bool | None = None
    oversampling: float | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "ignore", fields.flag(self.ignore, "ignore"))
        fields.flag_or_none(self.rescore, "rescore")
        factor = fields.number_or_none(self.oversampling, "oversampling")
        if factor is not None and not 1.0 <= factor <= 1000.0:
            raise ValidationError(f"oversampling: expected 1 to 1000, got {factor}")
        force_setattr(self, "oversampling", factor)


def encode_quantization(config: QuantizationConfig) -> bytes:
    """The config as bytes, for the manifest."""
    return msgspec.msgpack.encode(config)


def decode_quantization(data: bytes) -> QuantizationConfig:
    """The config of `encode_quantization`. Raises ValueError where it is none."""
    found: QuantizationConfig = msgspec.msgpack.decode(data, type=QuantizationConfig)
    return found
