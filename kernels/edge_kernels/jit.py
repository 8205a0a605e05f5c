"""How kernels are compiled, how they touch memory, and how Python calls them.

Invariants:
- A *door* is a kernel that Python calls. It takes one int64, the address of a block of int64 words
  (its arguments: addresses, sizes, codes), and returns one int64. It allocates nothing, raises
  nothing, captures nothing and holds no GIL.
- A *routine* is a kernel that other kernels enter by its address, which comes to them as data: so
  it is compiled once, not once for each door that needs it. It takes int64 words and returns one.
- Addresses are int64, never uint64: numba turns a mix of the two into float64.
- No fastmath anywhere. Speed comes from vector types (`lanes`), whose accumulation order is
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
_ELEMENTS: tuple[Any, ...] = (
    types.float32,
    types.uint64,
    types.int64,
    types.uint32,
    types.int32,
    types.uint16,
    types.int16,
    types.uint8,
    types.int8,
)
_entries: list[Any] = []  # doors and routines


# --- compiling -------------------------------------------------------------------------------


def inner(function: F) -> F:
    """Compile `function` for use by kernels only; its types come from the first call.

    It is not cached itself: the doors that use it carry it in their cache entry. Python cannot call
    it, which spares the compiler a third of its work.
    """
    _name_apart(function)
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


def _name_apart(function: Callable[..., Any]) -> None:
    """Give what a factory made a name of its own, which says where it was made and of what.

    Machine code is linked by name. Of equal names numba tells two apart by a number that counts
    within a process; so code that two processes have cached could be taken for one.
    """
    held = [_held_name(cell.cell_contents) for cell in function.__closure__ or ()]
    if "<locals>" in function.__qualname__:
        made = hashlib.sha256(repr((_lines_above(), held)).encode()).hexdigest()[:16]
        function.__qualname__ = f"{function.__qualname__}_{made}"


def _held_name(value: Any) -> str:
    """What tells a value apart that a closure holds: constants themselves, functions by name."""
    made = getattr(value, "py_func", value)
    return str(getattr(made, "__qualname__", None) or repr(value))


def _lines_above() -> list[tuple[str, int]]:
    """The places in files, up to the module that is being loaded, where a function is made."""
    frame, found = inspect.currentframe(), []
    while frame is not None:
        found.append((frame.f_globals.get("__name__", ""), frame.f_lineno))
        if frame.f_code.co_name == "<module>":
            break
        frame = frame.f_back
    return found


def door(function: Callable[[int], int]) -> Door:
    """Compile `function`, of type int64(int64), as a kernel that Python may call.

    Compiled at the first call and cached on disk where a folder for it can be written; a read-only
    system compiles once a process.
    """
    dispatcher: Any = numba.njit(no_cfunc_wrapper=True, **_OPTIONS)(function)
    _keep_on_disk(dispatcher, function)
    return dispatcher  # type: ignore[no-any-return]


def routine(function: F) -> F:
    """Compile `function`, of seven int64 words and one as its result, as a kernel to `enter`.

    Compiled when its address is asked for, and cached as a door is. Python cannot call it.
    """
    dispatcher: Any = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(
        function
    )
    _keep_on_disk(dispatcher, function)
    compiled: F = dispatcher
    return compiled


def entry_of(function: Callable[..., Any]) -> int:
    """Address of a routine's machine code, good as long as the process lives."""
    dispatcher: Any = function
    kinds = _kinds(dispatcher)
    dispatcher.compile(kinds)
    compiled = dispatcher.overloads[kinds]
    name = compiled.fndesc.llvm_func_name
    address: int = compiled.library.get_pointer_to_function(name)
    return address


def _kinds(dispatcher: Any) -> tuple[Any, ...]:
    return (types.int64,) * len(inspect.signature(dispatcher.py_func).parameters)


def _keep_on_disk(dispatcher: Any, function: Callable[..., Any]) -> None:
    _entries.append(dispatcher)
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # numba found no writable folder
        return
    # numba looks only at the function's own file to see whether its cache is fresh, but the machine
    # code also holds inner functions of other files: fold those files into the stamp.
    stamped = dispatcher._cache._cache_file
    stamped._source_stamp = (stamped._source_stamp, _digest_of_sources(function))


def compile_doors() -> int:
    """Compile doors and routines of all modules imported so far, or load them from the cache.

    Also `address_of` for every kind of array that the engine passes. Returns how many doors and
    routines there are. Call it where a pause of seconds does no harm: what is compiled by its first
    use holds the GIL meanwhile.
    """
    for dispatcher in _entries:
        dispatcher.compile(_kinds(dispatcher))
    for kind, ndim, fixed in product(_ELEMENTS, (1, 2), (False, True)):
        address_of.compile((types.Array(kind, ndim, "C", readonly=fixed),))  # type: ignore[attr-defined]
    return len(_entries)


def doors_are_cached() -> bool:
    """Whether `compile_doors` would find everything on disk, and so take no time to speak of."""
    return all(_is_cached(dispatcher) for dispatcher in (*_entries, address_of))


def _is_cached(dispatcher: Any) -> bool:
    file = getattr(dispatcher._cache, "_cache_file", None)
    return file is not None and bool(file._load_index())


def _digest_of_sources(function: Callable[..., Any]) -> str:
    digest = hashlib.sha256()
    for file in sorted(sources_of(function)):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def sources_of(function: Callable[..., Any]) -> set[str]:
    """The files whose text may be part of the machine code of `function`."""
    seen: set[Callable[..., Any]] = set()
    _collect_compiled(function, seen)
    return {__file__} | {inspect.getfile(each) for each in seen}


def _collect_compiled(function: Callable[..., Any], seen: set[Callable[..., Any]]) -> None:
    seen.add(function)
    captured = [cell.cell_contents for cell in function.__closure__ or ()]
    for value in [*function.__globals__.values(), *captured]:
        compiled = getattr(value, "py_func", None)
        if compiled is not None and compiled not in seen:
            _collect_compiled(compiled, seen)


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


def address_of_any(values: AnyArray) -> int:
    """`address_of` an array that may be float16, of which numba has no arrays."""
    return address_of(values.view("int16") if values.dtype.char == "e" else values)


# --- intrinsics ------------------------------------------------------------------------------

_F32 = ir.FloatType()
_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))

_Emit = Callable[..., Any]
_Load = Callable[[int], int]
_Store = Callable[[int, int], None]


def operation(signature: Any, emit: _Emit) -> Any:
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

    def quaternary(typingctx: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return signature, generate

    return intrinsic((nullary, unary, binary, ternary, quaternary)[len(signature.args)])


def pointer_to(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _load(kind: Any, result: Any, widen: str = "") -> Any:
    def emit(builder: Any, address: Any) -> Any:
        value = builder.load(pointer_to(builder, address, kind))
        return getattr(builder, widen)(value, _I64) if widen else value

    return operation(result(types.int64), emit)


def _store(kind: Any, argument: Any, narrow: bool = False) -> Any:
    def emit(builder: Any, address: Any, value: Any) -> Any:
        kept = builder.trunc(value, kind) if narrow else value
        return builder.store(kept, pointer_to(builder, address, kind))

    return operation(types.void(types.int64, argument), emit)


def external(name: str, result: Any, *arguments: Any) -> _Emit:
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

bits_of_f32: Callable[[float], int] = operation(
    types.int64(types.float32), lambda builder, x: builder.sext(builder.bitcast(x, _I32), _I64)
)
f32_of_bits: Callable[[int], float] = operation(
    types.float32(types.int64), lambda builder, x: builder.bitcast(builder.trunc(x, _I32), _F32)
)
f32_of_int: Callable[[int], float] = operation(
    types.float32(types.int64), lambda builder, x: builder.sitofp(x, _F32)
)
f32_of_f64: Callable[[float], float] = operation(
    types.float32(types.float64), lambda builder, x: builder.fptrunc(x, _F32)
)
shift_right: Callable[[int, int], int] = (
    operation(  # logical; `>>` of an int64 drags the sign along
        types.int64(types.int64, types.int64), lambda builder, x, by: builder.lshr(x, by)
    )
)


def _emit_ctpop(builder: Any, x: Any) -> Any:
    return external("llvm.ctpop.i64", _I64, _I64)(builder, x)


def _emit_cttz(builder: Any, x: Any) -> Any:
    return external("llvm.cttz.i64", _I64, _I64, _I1)(builder, x, ir.Constant(_I1, 0))


def _emit_prefetch(builder: Any, address: Any) -> Any:
    pointer = pointer_to(builder, address, _I8)
    read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
    name, kind = "llvm.prefetch.p0", _I8.as_pointer()
    return external(name, ir.VoidType(), kind, _I32, _I32, _I32)(builder, pointer, read, keep, data)


def _emit_move(builder: Any, target: Any, source: Any, size: Any) -> Any:
    kind = _I8.as_pointer()
    to, start = pointer_to(builder, target, _I8), pointer_to(builder, source, _I8)
    name, final = "llvm.memmove.p0.p0.i64", ir.Constant(_I1, 0)
    return external(name, ir.VoidType(), kind, kind, _I64, _I1)(builder, to, start, size, final)


def _emit_fill(builder: Any, target: Any, value: Any, size: Any) -> Any:
    kind = _I8.as_pointer()
    to, byte = pointer_to(builder, target, _I8), builder.trunc(value, _I8)
    name, final = "llvm.memset.p0.i64", ir.Constant(_I1, 0)
    return external(name, ir.VoidType(), kind, _I8, _I64, _I1)(builder, to, byte, size, final)


ctpop: _Load = operation(types.int64(types.int64), _emit_ctpop)  # bits set
cttz: _Load = operation(types.int64(types.int64), _emit_cttz)  # lowest set bit; 64 for zero
prefetch: Callable[[int], None] = operation(types.void(types.int64), _emit_prefetch)
move_bytes: Callable[[int, int, int], None] = operation(
    types.void(types.int64, types.int64, types.int64), _emit_move
)
fill_bytes: Callable[[int, int, int], None] = operation(
    types.void(types.int64, types.int64, types.int64), _emit_fill
)


def _emit_try_lock(builder: Any, address: Any) -> Any:
    free, taken = ir.Constant(_I8, 0), ir.Constant(_I8, 1)
    place = pointer_to(builder, address, _I8)
    outcome = builder.cmpxchg(place, free, taken, "acquire", "monotonic")
    return builder.zext(builder.extract_value(outcome, 1), _I64)


def _emit_unlock(builder: Any, address: Any) -> Any:
    place = pointer_to(builder, address, _I8)
    return builder.store_atomic(ir.Constant(_I8, 0), place, "release", align=1)


def _emit_load_shared(builder: Any, address: Any) -> Any:
    value = builder.load_atomic(pointer_to(builder, address, _I32), "monotonic", align=4)
    return builder.sext(value, _I64)


def _emit_store_shared(builder: Any, address: Any, value: Any) -> Any:
    place = pointer_to(builder, address, _I32)
    return builder.store_atomic(builder.trunc(value, _I32), place, "monotonic", align=4)


# An int32 that other threads write or read at the same moment: never half of it, never read twice.
load_shared_i32: _Load = operation(types.int64(types.int64), _emit_load_shared)
store_shared_i32: _Store = operation(types.void(types.int64, types.int64), _emit_store_shared)
try_lock: _Load = operation(types.int64(types.int64), _emit_try_lock)  # 1 if it was free
unlock: Callable[[int], None] = operation(types.void(types.int64), _emit_unlock)
let_others_run: Callable[[], int] = operation(types.int32(), external("sched_yield", _I32))


def _emit_stack_floats(builder: Any) -> Any:
    return builder.ptrtoint(cgutils.alloca_once(builder, ir.ArrayType(_F32, STACK_FLOATS)), _I64)


STACK_FLOATS = 64
stack_floats: Callable[[], int] = operation(types.int64(), _emit_stack_floats)
"""Address of float32[STACK_FLOATS], which is good until the kernel that asks returns."""


# --- eight float32 in a register -------------------------------------------------------------


class _V8f(types.Type):
    """Eight float32 lanes in a register."""

    def __init__(self) -> None:
        super().__init__(name="V8f")


_V8 = ir.VectorType(_F32, 8)
_v8f = _V8f()
V8f = Any  # what mypy knows of eight lanes


@register_model(_V8f)
class _V8fModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _V8)


def _emit_load8(builder: Any, address: Any) -> Any:
    return builder.load(pointer_to(builder, address, _V8), align=4)


def _emit_store8(builder: Any, address: Any, value: Any) -> Any:
    return builder.store(value, pointer_to(builder, address, _V8), align=4)


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


load8: Callable[[int], V8f] = operation(_v8f(types.int64), _emit_load8)
store8: Callable[[int, V8f], None] = operation(types.void(types.int64, _v8f), _emit_store8)
zero8 = operation(_v8f(), lambda builder: _constant8(0.0))
splat8: Callable[[float], V8f] = operation(_v8f(types.float32), _emit_splat8)
add8 = operation(_v8f(_v8f, _v8f), lambda builder, a, b: builder.fadd(a, b))
sub8 = operation(_v8f(_v8f, _v8f), lambda builder, a, b: builder.fsub(a, b))
mul8 = operation(_v8f(_v8f, _v8f), lambda builder, a, b: builder.fmul(a, b))
abs8 = operation(_v8f(_v8f), external("llvm.fabs.v8f32", _V8, _V8))
fma8 = operation(_v8f(_v8f, _v8f, _v8f), external("llvm.fma.v8f32", _V8, _V8, _V8, _V8))
sum8: Callable[[V8f], float] = operation(types.float32(_v8f), _emit_sum8)


# --- entering routines -----------------------------------------------------------------------

_WORDS = (types.int64,) * 7


def _emit_enter(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
    convention = context.call_conv
    kind = convention.get_function_type(types.int64, _WORDS)
    entry = builder.inttoptr(values[0], kind.as_pointer())
    _status, result = convention.call_function(builder, entry, types.int64, _WORDS, values[1:])
    return result


def _enter(
    typingctx: Any, entry: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any
) -> Any:
    return types.int64(types.int64, *_WORDS), _emit_enter


enter: Callable[[int, int, int, int, int, int, int, int], int] = intrinsic(_enter)
"""Run the routine at an address with seven words: what numba does for a function it knows."""


# --- asking the system -----------------------------------------------------------------------

_ADVICE = ir.FunctionType(_I32, (_I64, _I64, _I32))


def _emit_ask(builder: Any, entry: Any, address: Any, size: Any, advice: Any) -> Any:
    function = builder.inttoptr(entry, _ADVICE.as_pointer())
    kept = builder.trunc(advice, _I32)
    return builder.sext(builder.call(function, (address, size, kept)), _I64)


_ask: Callable[[int, int, int, int], int] = operation(
    types.int64(types.int64, types.int64, types.int64, types.int64), _emit_ask
)

_CLOCK = ir.FunctionType(_I32, (_I32, _I64))


def _emit_read_clock(builder: Any, entry: Any, clock: Any, time: Any) -> Any:
    function = builder.inttoptr(entry, _CLOCK.as_pointer())
    return builder.sext(builder.call(function, (builder.trunc(clock, _I32), time)), _I64)


_read_clock: Callable[[int, int, int], int] = operation(
    types.int64(types.int64, types.int64, types.int64), _emit_read_clock
)


@inner
def advise(how: int, address: int, size: int) -> None:
    """Ask the system to read `size` bytes of a mapped file, without waiting for them.

    `how`: the address of int64[6]: the address of `madvise`, the bytes of a page, the advices to
    read and to let go, the address of `clock_gettime`, the clock.
    """
    begin = address & -load_i64(how + 8)
    _ask(load_i64(how), begin, address + size - begin, load_i64(how + 16))


@inner
def let_go(how: int, address: int, size: int) -> None:
    """Let the pages that lie in these `size` bytes of a mapped file go; see `advise` for `how`."""
    page = load_i64(how + 8)
    begin, end = (address + page - 1) & -page, (address + size) & -page
    if begin < end:
        _ask(load_i64(how), begin, end - begin, load_i64(how + 24))


@inner
def nanoseconds(how: int) -> int:
    """The time by the clock of `how`; see `advise`."""
    time = stack_floats()
    _read_clock(load_i64(how + 32), load_i64(how + 40), time)
    return 1_000_000_000 * load_i64(time) + load_i64(time + 8)


# --- locks -----------------------------------------------------------------------------------


@inner
def lock(address: int) -> None:
    """Take the lock that is the byte at an address; 0 is free.

    Who holds it may have lost the processor, so a thread that waits offers its own.
    """
    while try_lock(address) == 0:
        let_others_run()


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
