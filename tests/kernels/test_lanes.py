"""Vectors in a register: float16 on processors that do not know it, and sums of four at once."""

from __future__ import annotations

import numpy as np
import pytest
from llvmlite import ir
from numba.core import types

from edge_kernels import jit, lanes


def _emit_by_hand(builder, address):
    kind = ir.VectorType(ir.IntType(16), 16)
    halves = builder.load(jit.pointer_to(builder, address, kind), align=2)
    wide = builder.zext(halves, ir.VectorType(ir.IntType(32), 16))
    return lanes._emit_widen_by_hand(builder, wide)


def _emit_one_by_hand(builder, address):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "_has_halves", lambda: False)
        return lanes._emit_load_f16(builder, address)


load_by_hand = jit.operation(lanes._v16f(types.int64), _emit_by_hand)


load_one_by_hand = jit.operation(types.float32(types.int64), _emit_one_by_hand)


@jit.door
def _widen_one_by_one(block):
    halves, floats = jit.load_i64(block), jit.load_i64(block + 8)
    for at in range(jit.load_i64(block + 16)):
        value = load_one_by_hand(halves + 2 * at)
        if jit.load_i64(block + 24) != 0:
            value = lanes.load_f16(halves + 2 * at)
        jit.store_f32(floats + 4 * at, value)
    return 0


@jit.door
def _widen(block):
    halves, floats = jit.load_i64(block), jit.load_i64(block + 8)
    for at in range(jit.load_i64(block + 16) >> 4):
        value = load_by_hand(halves + 32 * at)
        if jit.load_i64(block + 24) != 0:
            value = lanes.load16_half(halves + 32 * at)
        lanes.store16(floats + 64 * at, value)
    return 0


@jit.door
def _sums(block):
    rows, out = jit.load_i64(block), jit.load_i64(block + 8)
    a, b = lanes.load16(rows), lanes.load16(rows + 64)
    c, d = lanes.load16(rows + 128), lanes.load16(rows + 192)
    lanes.store4(out, lanes.sums16(a, b, c, d))
    for at in range(4):
        jit.store_f32(out + 16 + 4 * at, lanes.sum16(lanes.load16(rows + 64 * at)))
    return 0


@pytest.mark.parametrize("widen", [_widen, _widen_one_by_one])
@pytest.mark.parametrize("by_processor", [0, 1])
def test_every_float16_becomes_its_float32(widen, by_processor):
    halves = np.arange(2**16, dtype=np.uint16)
    floats = np.empty(2**16, np.float32)
    words = jit.address_of(halves), jit.address_of(floats), len(halves), by_processor
    jit.call(widen, *words)
    wanted = halves.view(np.float16).astype(np.float32)
    numbers = ~np.isnan(wanted)
    assert floats[numbers].tobytes() == wanted[numbers].tobytes()
    assert np.isnan(floats[~numbers]).all()


def test_four_sums_have_the_bits_of_single_ones():
    random = np.random.default_rng(0)
    for _ in range(50):
        rows = random.standard_normal((4, 16)) * 10.0 ** random.integers(-6, 6, (4, 16))
        rows, out = rows.astype(np.float32), np.empty(8, np.float32)
        jit.call(_sums, jit.address_of(rows), jit.address_of(out))
        assert out[:4].tobytes() == out[4:].tobytes()
        folded = rows
        while folded.shape[1] > 1:
            middle = folded.shape[1] // 2
            folded = folded[:, :middle] + folded[:, middle:]
        assert out[:4].tobytes() == folded.tobytes()
