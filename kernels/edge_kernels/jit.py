"""How kernels are compiled, how they touch memory, and how Python calls them.

Invariants:
- A *door* is a kernel that Python calls. It takes one int64, the address of a block of int64 words
  (its arguments: addresses, sizes, codes), and returns one int64. It allocates nothing, raises
  nothing, captures nothing and holds no GIL.
- Addresses are int64, never uint64: numba turns a mix of the two into float64.
- No fastmath anywhere. Speed comes from the eight-lane vector type, whose accumulation order is
  written down by the kernel; so a result is the same bits whatever kernel computes it.
- Whoever calls a door keeps every array alive, and does not resize it, until the call returns.
- Intrinsics exist only in compiled code: with the JIT switched off nothing here works.
"""

from __future__ import annotations

import hashlib
import inspect
from array import array
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types.misc import unliteral
from numba.extending import intrinsic, models, register_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    AnyArray = NDArray[Any]

F = TypeVar("F", bound=Callable[..., Any])
Door = Callable[[int], int]

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}
_DOOR_ARGUMENTS = (types.int64,)
_ELEMENTS: tuple[Any, ...] = (
    types.float32,
    types.uint64,
    types.int64,
    types.uint32,
    types.int32,
    types.uint16,
    types.uint8,
)
_doors: list[Any] = []


# --- compiling -------------------------------------------------------------------------------


def inner(function: F) -> F:
    """Compile `function` for use by kernels only; its types come from the first call.

    It is not cached itself: the doors that use it carry it in their cache entry. Python cannot call
    it, which spares the compiler a third of its work.
    """
    dispatcher: Any = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(
        function
    )
    typed = dispatcher.get_call_template

    def without_literals(arguments: Any, keywords: Any) -> Any:
        # numba would compile f(x, 0) and f(x, n) apart; LLVM propagates constants well enough.
        return typed(tuple(unliteral(kind) for kind in arguments), keywords)

    dispatcher.get_call_template = without_literals
    compiled: F = dispatcher
    return compiled


def door(function: Callable[[int], int]) -> Door:
    """Compile `function`, of type int64(int64), as a kernel that Python may call.

    Compiled at the first call and cached on disk where a folder for it can be written; a read-only
    system compiles once a process.
    """
    dispatcher: Any = numba.njit(no_cfunc_wrapper=True, **_OPTIONS)(function)
    _doors.append(dispatcher)
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # numba found no writable folder
        return dispatcher  # type: ignore[no-any-return]
    # numba looks only at the door's own file to see whether its cache is fresh, but the machine
    # code also holds inner functions of other files: fold those files into the stamp.
    stamped = dispatcher._cache._cache_file
    stamped._source_stamp = (stamped._source_stamp, _digest_of_sources(function))
    return dispatcher  # type: ignore[no-any-return]


def compile_doors() -> int:
    """Compile the doors of all modules imported so far, or load them from the cache; how many.

    Also `address_of` for every kind of array that the engine passes. Call it where a pause of
    seconds does no harm: a door that is compiled by its first use holds the GIL meanwhile.
    """
    for dispatcher in _doors:
        dispatcher.compile(_DOOR_ARGUMENTS)
    for kind, ndim, fixed in product(_ELEMENTS, (1, 2), (False, True)):
        address_of.compile((types.Array(kind, ndim, "C", readonly=fixed),))  # type: ignore[attr-defined]
    return len(_doors)


def doors_are_cached() -> bool:
    """Whether `compile_doors` would find everything on disk, and so take no time to speak of."""
    return all(_is_cached(dispatcher) for dispatcher in (*_doors, address_of))


def _is_cached(dispatcher: Any) -> bool:
    file = getattr(dispatcher._cache, "_cache_file", None)
    return file is not None and bool(file._load_index())


def _digest_of_sources(function: Callable[..., Any]) -> str:
    files: set[str] = {__file__}
    _collect_sources(function, files)
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def _collect_sources(function: Callable[..., Any], files: set[str]) -> None:
    file = inspect.getfile(function)
    if file in files:
        return
    files.add(file)
    for value in list(function.__globals__.values()):
        compiled = getattr(value, "py_func", None)
        if compiled is not None:
            _collect_sources(compiled, files)


# --- calling ---------------------------------------------------------------------------------


def call(kernel: Door, *arguments: int) -> int:
    """Pack `arguments` into a block of int64 words and enter `kernel` with its address.

    The block belongs to this call, so any number of threads may call at once (about 0.8 us).
    Arrays are passed as `address_of(array)`; the caller keeps them alive.
    """
    block = array("q", arguments)
    return kernel(block.buffer_info()[0])


def _address_of(values: AnyArray) -> int:
    """Address of the first element of a C-contiguous array (0.25 us; `.ctypes.data` takes five
    times that). The array must outlive every use of the address.
    """
    return values.ctypes.data


address_of: Callable[[AnyArray], int] = numba.njit(cache=True)(_address_of)


# --- the vector type -------------------------------------------------------------------------


class _V8f(types.Type):
    """Eight float32 lanes in a register."""

    def __init__(self) -> None:
        super().__init__(name="V8f")


_F32 = ir.FloatType()
_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_V8 = ir.VectorType(_F32, 8)
_v8f = _V8f()


@register_model(_V8f)
class _V8fModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _V8)


# --- intrinsics ------------------------------------------------------------------------------

_Emit = Callable[..., Any]
V8f = Any  # what mypy knows of eight lanes
_Load = Callable[[int], int]
_Store = Callable[[int, int], None]


def _operation(signature: Any, emit: _Emit) -> Any:
    """Intrinsic of the given signature; `emit(builder, *values)` writes its instructions."""

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        result = emit(builder, *values)
        return context.get_dummy_value() if signature.return_type == types.void else result

    # numba reads the number of arguments from the function, hence one spelling for each.
    def nullary(typingctx: Any) -> Any:
        return signature, generate

    def unary(typingctx: Any, a: Any) -> Any:
        return signature, generate

    def binary(typingctx: Any, a: Any, b: Any) -> Any:
        return signature, generate

    def ternary(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
        return signature, generate

    return intrinsic((nullary, unary, binary, ternary)[len(signature.args)])


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _load(kind: Any, result: Any, widen: str = "") -> Any:
    def emit(builder: Any, address: Any) -> Any:
        value = builder.load(_pointer(builder, address, kind))
        return getattr(builder, widen)(value, _I64) if widen else value

    return _operation(result(types.int64), emit)


def _store(kind: Any, argument: Any, narrow: bool = False) -> Any:
    def emit(builder: Any, address: Any, value: Any) -> Any:
        kept = builder.trunc(value, kind) if narrow else value
        return builder.store(kept, _pointer(builder, address, kind))

    return _operation(types.void(types.int64, argument), emit)


def _external(name: str, result: Any, *arguments: Any) -> _Emit:
    """Emit a call of the LLVM intrinsic `name` (declared by its full name)."""

    def emit(builder: Any, *values: Any) -> Any:
        kind = ir.FunctionType(result, arguments)
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, values)

    return emit


load_f32: Callable[[int], float] = _load(_F32, types.float32)
load_i32: _Load = _load(_I32, types.int64, "sext")
load_u32: _Load = _load(_I32, types.int64, "zext")
load_u16: _Load = _load(_I16, types.int64, "zext")
load_u8: _Load = _load(_I8, types.int64, "zext")
load_i64: _Load = _load(_I64, types.int64)
load_u64: Callable[[int], Any] = _load(_I64, types.uint64)

store_f32: Callable[[int, float], None] = _store(_F32, types.float32)
store_i32: _Store = _store(_I32, types.int64, narrow=True)
store_u16: _Store = _store(_I16, types.int64, narrow=True)
store_u8: _Store = _store(_I8, types.int64, narrow=True)
store_i64: _Store = _store(_I64, types.int64)
store_u64: Callable[[int, Any], None] = _store(_I64, types.uint64)

bits_of_f32: Callable[[float], int] = _operation(
    types.int64(types.float32), lambda builder, x: builder.sext(builder.bitcast(x, _I32), _I64)
)
f32_of_bits: Callable[[int], float] = _operation(
    types.float32(types.int64), lambda builder, x: builder.bitcast(builder.trunc(x, _I32), _F32)
)
shift_right: Callable[[int, int], int] = (
    _operation(  # logical; `>>` of an int64 drags the sign along
        types.int64(types.int64, types.int64), lambda builder, x, by: builder.lshr(x, by)
    )
)


def _emit_ctpop(builder: Any, x: Any) -> Any:
    return _external("llvm.ctpop.i64", _I64, _I64)(builder, x)


def _emit_cttz(builder: Any, x: Any) -> Any:
    return _external("llvm.cttz.i64", _I64, _I64, _I1)(builder, x, ir.Constant(_I1, 0))


def _emit_prefetch(builder: Any, address: Any) -> Any:
    pointer = _pointer(builder, address, _I8)
    read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
    name, kind = "llvm.prefetch.p0", _I8.as_pointer()
    return _external(name, ir.VoidType(), kind, _I32, _I32, _I32)(
        builder, pointer, read, keep, data
    )


def _emit_move(builder: Any, target: Any, source: Any, size: Any) -> Any:
    kind = _I8.as_pointer()
    to, start = _pointer(builder, target, _I8), _pointer(builder, source, _I8)
    name, final = "llvm.memmove.p0.p0.i64", ir.Constant(_I1, 0)
    return _external(name, ir.VoidType(), kind, kind, _I64, _I1)(builder, to, start, size, final)


def _emit_fill(builder: Any, target: Any, value: Any, size: Any) -> Any:
    kind = _I8.as_pointer()
    to, byte = _pointer(builder, target, _I8), builder.trunc(value, _I8)
    name, final = "llvm.memset.p0.i64", ir.Constant(_I1, 0)
    return _external(name, ir.VoidType(), kind, _I8, _I64, _I1)(builder, to, byte, size, final)


ctpop: _Load = _operation(types.int64(types.int64), _emit_ctpop)  # bits set
cttz: _Load = _operation(types.int64(types.int64), _emit_cttz)  # lowest set bit; 64 for zero
prefetch: Callable[[int], None] = _operation(types.void(types.int64), _emit_prefetch)
move_bytes: Callable[[int, int, int], None] = _operation(
    types.void(types.int64, types.int64, types.int64), _emit_move
)
fill_bytes: Callable[[int, int, int], None] = _operation(
    types.void(types.int64, types.int64, types.int64), _emit_fill
)


def _emit_load8(builder: Any, address: Any) -> Any:
    return builder.load(_pointer(builder, address, _V8), align=4)


def _emit_store8(builder: Any, address: Any, value: Any) -> Any:
    return builder.store(value, _pointer(builder, address, _V8), align=4)


def _constant8(value: float) -> Any:
    return ir.Constant(_V8, [value] * 8)


def _emit_splat8(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_V8, ir.Undefined), value, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, 8), [0] * 8)
    return builder.shuffle_vector(one, one, lanes)


def _emit_sum8(builder: Any, value: Any) -> Any:
    """Halves onto each other until one lane is left: the order is part of what a distance is."""
    for width in (4, 2, 1):
        kind = ir.VectorType(_I32, width)
        low = builder.shuffle_vector(value, value, ir.Constant(kind, list(range(width))))
        upper = ir.Constant(kind, list(range(width, 2 * width)))
        high = builder.shuffle_vector(value, value, upper)
        value = builder.fadd(low, high)
    return builder.extract_element(value, ir.Constant(_I32, 0))


load8: Callable[[int], V8f] = _operation(_v8f(types.int64), _emit_load8)
store8: Callable[[int, V8f], None] = _operation(types.void(types.int64, _v8f), _emit_store8)
zero8 = _operation(_v8f(), lambda builder: _constant8(0.0))
splat8: Callable[[float], V8f] = _operation(_v8f(types.float32), _emit_splat8)
add8 = _operation(_v8f(_v8f, _v8f), lambda builder, a, b: builder.fadd(a, b))
sub8 = _operation(_v8f(_v8f, _v8f), lambda builder, a, b: builder.fsub(a, b))
mul8 = _operation(_v8f(_v8f, _v8f), lambda builder, a, b: builder.fmul(a, b))
abs8 = _operation(_v8f(_v8f), _external("llvm.fabs.v8f32", _V8, _V8))
fma8 = _operation(_v8f(_v8f, _v8f, _v8f), _external("llvm.fma.v8f32", _V8, _V8, _V8, _V8))
sum8: Callable[[V8f], float] = _operation(types.float32(_v8f), _emit_sum8)


# --- order of floats -------------------------------------------------------------------------


@inner
def order_key(distance: float) -> int:
    """Signed 32-bit integer (in an int64) that orders as the float32 does; NaN comes last.

    Key << 32 plus an offset below 2^32 is then one int64 that sorts by (distance, offset).
    """
    if distance != distance:
        return 0x7FFFFFFF
    bits = bits_of_f32(distance)
    return bits if bits >= 0 else bits ^ 0x7FFFFFFF


@inner
def distance_of_key(key: int) -> float:
    """The float32 whose `order_key` is `key`."""
    return f32_of_bits(key if key >= 0 else key ^ 0x7FFFFFFF)
