"""Vectors in a register: the types that distances are computed in, and what can be done with them.

Invariants:
- A vector has as many lanes as a loop takes elements in one turn (sixteen floats, thirty-two
  bytes); LLVM cuts it into the registers that the processor has. So a kernel is one text for all
  processors, and gives the same bits on all of them.
- The order of additions is written down: lanes are folded by halves, whether one vector is folded
  or four together.
- A product is rounded before it is added, but for `fma16`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from llvmlite import binding, ir
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import models, register_model

from edge_kernels.jit import external, operation, pointer_to

V16f = Any  # what mypy knows of sixteen float32 lanes,
V4f = Any  # of four float32 lanes,
V32h = Any  # of thirty-two int16 lanes,
V16i = Any  # of sixteen int32 lanes
V4q = Any  # and of four int64 lanes

_F16, _F32 = ir.HalfType(), ir.FloatType()
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_FLOATS, _FOUR = ir.VectorType(_F32, 16), ir.VectorType(_F32, 4)
_SHORTS, _INTS = ir.VectorType(_I16, 32), ir.VectorType(_I32, 16)
_WORDS = ir.VectorType(_I64, 4)


class _Lanes(types.Type):
    """A vector, as numba knows it."""

    def __init__(self, name: str, kind: Any) -> None:
        super().__init__(name=name)
        self.kind = kind


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, lanes.kind)


_v16f, _v4f = _Lanes("V16f", _FLOATS), _Lanes("V4f", _FOUR)
_v32h, _v16i, _v4q = _Lanes("V32h", _SHORTS), _Lanes("V16i", _INTS), _Lanes("V4q", _WORDS)


# --- writing instructions --------------------------------------------------------------------


def _all_lanes(kind: Any, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _zero(lanes: Any) -> Any:
    return operation(lanes(), lambda builder: _all_lanes(lanes.kind, 0))


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    unset, first = ir.Constant(kind, ir.Undefined), ir.Constant(_I32, 0)
    one = builder.insert_element(unset, value, first)
    return builder.shuffle_vector(one, one, _all_lanes(ir.VectorType(_I32, kind.count), 0))


def _pick(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """The vector of those lanes of `a` and then `b`."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


def _halves(builder: Any, a: Any, b: Any, lanes: int, group: int) -> tuple[Any, Any]:
    """Of the first `lanes` lanes of `a` and `b`: the lower half of every group, and the upper."""
    places, middle = range(lanes), group // 2
    low = _pick(builder, a, b, [place for place in places if place % group < middle])
    high = _pick(builder, a, b, [place for place in places if place % group >= middle])
    return low, high


def _fold(builder: Any, vectors: list[Any], add: str) -> Any:
    """As many sums as there are vectors (one, two or four): pairs of vectors share one register,
    as soon as halves of both fit into it.
    """
    group = vectors[0].type.count
    while group > 1:
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True)) if len(vectors) > 1 else None
        count = vectors[0].type.count
        lanes = 2 * count if pairs else count
        halves = [_halves(builder, a, b, lanes, group) for a, b in pairs or [(vectors[0],) * 2]]
        vectors = [getattr(builder, add)(low, high) for low, high in halves]
        group //= 2
    return vectors[0]


def _first_lane(builder: Any, vector: Any) -> Any:
    return builder.extract_element(vector, ir.Constant(_I32, 0))


def _load(lanes: Any, element: Any, align: int, *steps: tuple[str, Any]) -> Any:
    """Intrinsic that loads as many elements as there are lanes and converts them step by step."""
    kind = ir.VectorType(element, lanes.kind.count)

    def emit(builder: Any, address: Any) -> Any:
        value = builder.load(pointer_to(builder, address, kind), align=align)
        for name, target in steps:
            value = getattr(builder, name)(value, target)
        return value

    return operation(lanes(types.int64), emit)


def _store(lanes: Any, align: int) -> Any:
    def emit(builder: Any, address: Any, value: Any) -> Any:
        return builder.store(value, pointer_to(builder, address, lanes.kind), align=align)

    return operation(types.void(types.int64, lanes), emit)


def _binary(lanes: Any, name: str) -> Any:
    return operation(lanes(lanes, lanes), lambda builder, a, b: getattr(builder, name)(a, b))


# --- float16 ---------------------------------------------------------------------------------

_WIDEN_HALVES = """
define <16 x float> @widened(<16 x half> %halves) {
  %floats = fpext <16 x half> %halves to <16 x float>
  ret <16 x float> %floats
}
"""


@lru_cache(maxsize=1)
def _has_halves() -> bool:
    """Whether the processor can convert float16; if not, LLVM would call a function that no
    process has.
    """
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    target = binding.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(binding.parse_assembly(_WIDEN_HALVES))
    return not any(name in assembly for name in ("extendhfsf2", "h2f"))


def _emit_widen_halves(builder: Any, halves: Any) -> Any:
    """float32 of the bits of float16, one or sixteen."""
    one = isinstance(halves.type, ir.IntType)
    if _has_halves():
        half, floats = (_F16, _F32) if one else (ir.VectorType(_F16, 16), _FLOATS)
        return builder.fpext(builder.bitcast(halves, half), floats)
    if not one:
        return _emit_widen_by_hand(builder, builder.zext(halves, _INTS))
    every = _splat(builder, halves, ir.VectorType(_I16, 16))
    return _first_lane(builder, _emit_widen_by_hand(builder, builder.zext(every, _INTS)))


def _emit_widen_by_hand(builder: Any, bits: Any) -> Any:
    """The exponent moves to its place and is put right by a multiplication, which is exact for
    subnormal numbers too; infinities and NaN get the greatest exponent.
    """
    magnitude = builder.and_(bits, _all_lanes(_INTS, 0x7FFF))
    sign = builder.shl(builder.sub(bits, magnitude), _all_lanes(_INTS, 16))
    moved = builder.bitcast(builder.shl(magnitude, _all_lanes(_INTS, 13)), _FLOATS)
    scaled = builder.bitcast(builder.fmul(moved, _all_lanes(_FLOATS, 2.0**112)), _INTS)
    is_finite = builder.icmp_unsigned("<", magnitude, _all_lanes(_INTS, 0x7C00))
    ones = builder.select(is_finite, _all_lanes(_INTS, 0), _all_lanes(_INTS, 0x7F800000))
    return builder.bitcast(builder.or_(sign, builder.or_(scaled, ones)), _FLOATS)


def _emit_load16_half(builder: Any, address: Any) -> Any:
    kind = ir.VectorType(_I16, 16)
    halves = builder.load(pointer_to(builder, address, kind), align=2)
    return _emit_widen_halves(builder, halves)


def _emit_load_f16(builder: Any, address: Any) -> Any:
    return _emit_widen_halves(builder, builder.load(pointer_to(builder, address, _I16), align=2))


load_f16: Callable[[int], float] = operation(types.float32(types.int64), _emit_load_f16)
"""The float16 at an address, as a float32."""


# --- sixteen float32, and four ---------------------------------------------------------------


def _emit_sum16(builder: Any, value: Any) -> Any:
    return _first_lane(builder, _fold(builder, [value], "fadd"))


def _emit_sums16(builder: Any, *values: Any) -> Any:
    return _fold(builder, list(values), "fadd")


_LoadFloats = Callable[[int], V16f]

load16: _LoadFloats = _load(_v16f, _F32, 4)
load16_half: _LoadFloats = operation(_v16f(types.int64), _emit_load16_half)
load16_byte: _LoadFloats = _load(_v16f, _I8, 1, ("sext", _INTS), ("sitofp", _FLOATS))
load16_short: _LoadFloats = _load(_v16f, _I16, 2, ("sext", _INTS), ("sitofp", _FLOATS))
store16: Callable[[int, V16f], None] = _store(_v16f, 4)
zero16: Callable[[], V16f] = _zero(_v16f)
splat16: Callable[[float], V16f] = operation(
    _v16f(types.float32), lambda builder, value: _splat(builder, value, _FLOATS)
)
add16 = _binary(_v16f, "fadd")
sub16 = _binary(_v16f, "fsub")
mul16 = _binary(_v16f, "fmul")
abs16 = operation(_v16f(_v16f), external("llvm.fabs.v16f32", _FLOATS, _FLOATS))
fma16 = operation(
    _v16f(_v16f, _v16f, _v16f), external("llvm.fma.v16f32", _FLOATS, _FLOATS, _FLOATS, _FLOATS)
)
sum16: Callable[[V16f], float] = operation(types.float32(_v16f), _emit_sum16)
sums16: Callable[[V16f, V16f, V16f, V16f], V4f] = operation(
    _v4f(_v16f, _v16f, _v16f, _v16f), _emit_sums16
)  # the sums of four vectors


def _emit_lower_two(builder: Any, address: Any, values: Any) -> Any:
    two = ir.VectorType(_F32, 2)
    least = external("llvm.minnum.v2f32", two, two, two)
    place = pointer_to(builder, address, two)
    nearest = least(builder, *_halves(builder, values, values, 4, 4))
    return builder.store(least(builder, builder.load(place, align=4), nearest), place, align=4)


store4: Callable[[int, V4f], None] = _store(_v4f, 4)
lower_two: Callable[[int, V4f], None] = operation(types.void(types.int64, _v4f), _emit_lower_two)
"""Lower the two floats at an address to the first and third of four, and the second and fourth,
where those are less; NaN is passed over."""
min4 = operation(_v4f(_v4f, _v4f), external("llvm.minnum.v4f32", _FOUR, _FOUR, _FOUR))
splat4: Callable[[float], V4f] = operation(
    _v4f(types.float32), lambda builder, value: _splat(builder, value, _FOUR)
)
add4 = _binary(_v4f, "fadd")
sub4 = _binary(_v4f, "fsub")
mul4 = _binary(_v4f, "fmul")


# --- thirty-two bytes, as int16, and the sums of what they make ------------------------------


def _emit_add_products(builder: Any, a: Any, b: Any, total: Any) -> Any:
    """Products of neighbours go into one lane: processors have an instruction for that."""
    wide = ir.VectorType(_I32, 32)
    products = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    even, odd = (_pick(builder, products, products, [*range(at, 32, 2)]) for at in (0, 1))
    return builder.add(total, builder.add(even, odd))


def _emit_add_lanes(builder: Any, values: Any, total: Any) -> Any:
    for half in _halves(builder, values, values, 32, 32):
        total = builder.add(total, builder.sext(half, _INTS))
    return total


def _emit_absolute(builder: Any, value: Any) -> Any:
    negated = builder.sub(_all_lanes(_SHORTS, 0), value)
    positive = builder.icmp_signed(">", value, negated)
    return builder.select(positive, value, negated)


def _emit_sum_ints(builder: Any, value: Any) -> Any:
    return builder.zext(_first_lane(builder, _fold(builder, [value], "add")), _I64)


def _sum_ints(widen: str) -> Any:
    def emit(builder: Any, value: Any) -> Any:
        total = _first_lane(builder, _fold(builder, [value], "add"))
        return getattr(builder, widen)(total, _F32)

    return operation(types.float32(_v16i), emit)


def _sums_ints(widen: str) -> Any:
    def emit(builder: Any, *values: Any) -> Any:
        return getattr(builder, widen)(_fold(builder, list(values), "add"), _FOUR)

    return operation(_v4f(_v16i, _v16i, _v16i, _v16i), emit)


_LoadBytes = Callable[[int], V32h]

load32_signed: _LoadBytes = _load(_v32h, _I8, 1, ("sext", _SHORTS))
load32_unsigned: _LoadBytes = _load(_v32h, _I8, 1, ("zext", _SHORTS))
sub32 = _binary(_v32h, "sub")
abs32 = operation(_v32h(_v32h), _emit_absolute)
zero_ints: Callable[[], V16i] = _zero(_v16i)
add_products = operation(_v16i(_v32h, _v32h, _v16i), _emit_add_products)
add_lanes = operation(_v16i(_v32h, _v16i), _emit_add_lanes)
sum_ints: Callable[[V16i], int] = operation(types.int64(_v16i), _emit_sum_ints)
sum_signed, sums_signed = _sum_ints("sitofp"), _sums_ints("sitofp")
sum_unsigned, sums_unsigned = _sum_ints("uitofp"), _sums_ints("uitofp")
# All modulo 2^32: as an int64 of 0 or more; rounded once to float32, of one vector and of four.


# --- four words of bits ----------------------------------------------------------------------


def _emit_sum_words(builder: Any, value: Any) -> Any:
    return _first_lane(builder, _fold(builder, [value], "add"))


def _emit_last_words(builder: Any, value: Any, count: Any) -> Any:
    """The last `count` lanes; zero in the others."""
    places = ir.Constant(_WORDS, [4, 3, 2, 1])  # counted from behind
    kept = builder.icmp_signed("<=", places, _splat(builder, count, _WORDS))
    return builder.select(kept, value, _all_lanes(_WORDS, 0))


load_words: Callable[[int], V4q] = _load(_v4q, _I64, 8)
zero_words: Callable[[], V4q] = _zero(_v4q)
and_words = _binary(_v4q, "and_")
add_words = _binary(_v4q, "add")
count_bits = operation(_v4q(_v4q), external("llvm.ctpop.v4i64", _WORDS, _WORDS))
last_words = operation(_v4q(_v4q, types.int64), _emit_last_words)
sum_words: Callable[[V4q], int] = operation(types.int64(_v4q), _emit_sum_words)
